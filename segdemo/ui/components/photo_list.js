// The list of photos. `props.value` is { photos: [{ id, name, labelled, draft, thumbnail }], current: id or null, empty:
// sentence }; a click is the event "pick".
import { el, plain } from "./dom.js";

export function mount(element, { trigger, props, watch }) {
  const root = element.querySelector(".sp");
  let shown = null; // id of the photo that was open when it was last drawn

  function drawPhoto({ id, name, labelled, draft, thumbnail }, current) {
    const button = el(
      "button",
      {
        type: "button",
        "data-id": id,
        title: name,
        "aria-label": name + (labelled ? ", labelled" : draft ? `, draft, ${draft} sure` : ", to label"),
        "aria-pressed": String(id === current),
        onclick: () => {
          for (const other of root.children) other.setAttribute("aria-pressed", String(other === button));
          trigger("pick", { id });
        },
      },
      thumbnail && el("img", { loading: "lazy", src: thumbnail.url, alt: "" }),
      labelled && el("i", {}, "✓"),
      draft && el("b", { title: "A draft that nobody has looked at, and how sure it is" }, `draft ${draft}`),
      el("span", { dir: "auto" }, name),
    );
    return button;
  }

  // Within the list only: the page stays where it is.
  function toSight(button) {
    if (!button) return;
    const box = button.getBoundingClientRect(),
      frame = root.getBoundingClientRect();
    root.scrollTop += Math.min(0, box.top - frame.top) + Math.max(0, box.bottom - frame.bottom);
    root.scrollLeft += Math.min(0, box.left - frame.left) + Math.max(0, box.right - frame.right);
  }

  function show() {
    const { photos, current, empty } = plain(props.value) ?? { photos: [] };
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    root.replaceChildren(...photos.map((photo) => drawPhoto(photo, current)));
    if (!photos.length && empty) root.append(el("p", {}, empty));
    if (current !== shown) toSight(root.querySelector("[aria-pressed=true]"));
    shown = current;
    if (focused) [...root.children].find((node) => node.dataset.id === focused)?.focus();
  }

  watch("value", show);
  show();
}
