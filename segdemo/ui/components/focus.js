// Moves the keyboard's focus to the first field that a selector finds, once it is there.
export function run({ selector }) {
  const look = (frames) => {
    const field = document.querySelector(selector);
    if (field?.checkVisibility()) field.focus();
    else if (frames) requestAnimationFrame(() => look(frames - 1));
  };
  look(30);
}
