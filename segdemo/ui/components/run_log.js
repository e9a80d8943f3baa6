// The log stays at its end, where the newest lines are.
export function mount(element, { watch }) {
  const end = () => {
    const log = element.querySelector("pre");
    if (log) log.scrollTop = log.scrollHeight;
  };
  watch("value", end);
  end();
}
