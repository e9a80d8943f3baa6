// The cards are HTML; a click on one's button is the event "start" with the architecture's name.
export function mount(element, { trigger }) {
  element.addEventListener("click", (event) => {
    const { architecture } = event.target.closest("button[data-architecture]")?.dataset ?? {};
    if (architecture) trigger("start", { architecture });
  });
}
