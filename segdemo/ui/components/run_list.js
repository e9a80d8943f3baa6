// The list of runs is HTML; a click on one of its buttons is the event "pick" with the run's id.
export function mount(element, { trigger }) {
  element.addEventListener("click", (event) => {
    const row = event.target.closest("[data-id]");
    if (!row) return;
    for (const other of element.querySelectorAll("[data-id]"))
      other.setAttribute("aria-pressed", String(other === row));
    trigger("pick", { id: row.dataset.id });
  });
}
