// Pictures of the same photos after each epoch, to scrub through. `props.value` is { run, epochs, pictures: [{ epoch,
// score, file: { url } }] }.
import { plain } from "./dom.js";

export function mount(element, { props, watch }) {
  const root = element.querySelector(".ts");
  const image = root.querySelector("img");
  const range = root.querySelector("input");
  const label = root.querySelector("output");
  let pictures = [];
  let run = null;

  function draw() {
    const picture = pictures[Number(range.value)];
    if (!picture) return;
    image.src = picture.file.url;
    const when = picture.epoch ? `after epoch ${picture.epoch}` : "before training";
    image.alt = `Photo, truth and prediction ${when}`;
    label.textContent = when + (picture.score ? `, mean IoU ${picture.score}` : "");
    root.dataset.epoch = picture.epoch;
    for (const near of [-1, 1]) {
      const neighbour = pictures[Number(range.value) + near];
      if (neighbour) new Image().src = neighbour.file.url; // so that scrubbing does not flicker
    }
  }

  function show() {
    const value = plain(props.value) ?? { run: null, pictures: [] };
    // Whoever looks at the newest epoch goes on to the next; whoever has scrubbed back stays there.
    const newest = value.run !== run || Number(range.value) >= pictures.length - 1;
    ({ run, pictures } = value);
    root.hidden = !pictures.length;
    range.max = Math.max(0, pictures.length - 1);
    if (newest) range.value = range.max;
    draw();
  }

  function step(by) {
    range.value = Number(range.value) + by;
    draw();
  }

  range.addEventListener("input", draw);
  root.querySelector("[data-by='-1']").addEventListener("click", () => step(-1));
  root.querySelector("[data-by='1']").addEventListener("click", () => step(1));
  watch("value", show);
  show();
}
