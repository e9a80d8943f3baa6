// The list of photos. Gradio runs this once per component with `element`, `trigger`, `props` and `watch` in scope;
// `props.value` is { photos: [{ id, name, labelled, thumbnail }], current: id or null, empty: sentence }.

const root = element.querySelector(".sp");

function drawPhoto({ id, name, labelled, thumbnail }, current) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.id = id;
  button.title = name;
  button.setAttribute("aria-label", name + (labelled ? ", labelled" : ", to label"));
  button.setAttribute("aria-pressed", String(id === current));
  if (thumbnail) {
    const image = document.createElement("img");
    image.src = thumbnail.url;
    image.alt = "";
    image.loading = "lazy";
    button.append(image);
  }
  if (labelled) button.append(Object.assign(document.createElement("i"), { textContent: "✓" }));
  button.append(Object.assign(document.createElement("span"), { textContent: name }));
  button.addEventListener("click", () => {
    for (const other of root.children) other.setAttribute("aria-pressed", String(other === button));
    trigger("pick", { id });
  });
  return button;
}

function show() {
  const value = props.value ? JSON.parse(JSON.stringify(props.value)) : { photos: [] };
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  root.replaceChildren(...value.photos.map((photo) => drawPhoto(photo, value.current)));
  if (!value.photos.length && value.empty)
    root.append(Object.assign(document.createElement("p"), { textContent: value.empty }));
  if (focused) [...root.children].find((node) => node.dataset.id === focused)?.focus();
}

watch("value", show);
show();
