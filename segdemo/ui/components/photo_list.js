// The list of photos. `props.value` is { photos: [{ id, name, labelled, thumbnail }], current: id or null, empty:
// sentence }; a click is the event "pick".
import { el, plain } from "./dom.js";

export function mount(element, { trigger, props, watch }) {
  const root = element.querySelector(".sp");

  function drawPhoto({ id, name, labelled, thumbnail }, current) {
    const button = el(
      "button",
      {
        type: "button",
        "data-id": id,
        title: name,
        "aria-label": name + (labelled ? ", labelled" : ", to label"),
        "aria-pressed": String(id === current),
        onclick: () => {
          for (const other of root.children) other.setAttribute("aria-pressed", String(other === button));
          trigger("pick", { id });
        },
      },
      thumbnail && el("img", { loading: "lazy", src: thumbnail.url, alt: "" }),
      labelled && el("i", {}, "✓"),
      el("span", {}, name),
    );
    return button;
  }

  function show() {
    const { photos, current, empty } = plain(props.value) ?? { photos: [] };
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    root.replaceChildren(...photos.map((photo) => drawPhoto(photo, current)));
    if (!photos.length && empty) root.append(el("p", {}, empty));
    if (focused) [...root.children].find((node) => node.dataset.id === focused)?.focus();
  }

  watch("value", show);
  show();
}
