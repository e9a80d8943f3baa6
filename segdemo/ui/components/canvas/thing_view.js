// How a thing that is being selected looks: its outline, a light fill while it is only a preview, and the clicks.
import { rgba } from "./colours.js";
import { applyAnswer } from "./thing_paint.js";

const [LIGHT, DARK] = [rgba(255, 255, 255, 1), rgba(0, 0, 0, 0.75)];
const FILL = 0.35; // opacity of a preview
const SIGNS = [
  { name: "minus", color: "#c81e1e", path: "M-4.500 0h9" },
  { name: "plus", color: "#0c7a3d", path: "M-4.500 0h9M0-4.500v9" },
];

// Both as seen through the view, per device pixel. Only the rectangle of the thing is drawn.
export function makeThingView({ state, view, nodes }) {
  const context = nodes.glow.getContext("2d");
  let drawn = null, // the rectangle of device pixels that is not empty
    shown = []; // what is in it

  function clear() {
    if (drawn) context.clearRect(...drawn);
    drawn = null;
  }

  // Rows of `inside` (0 or 1 per device pixel) as the mask of the photo's size has them.
  function sample(mask, [left, top, width, height], inside) {
    const columns = Int32Array.from({ length: width }, (_, k) =>
      Math.floor((left + k + 0.5 - view.tx) / view.scale),
    );
    for (let r = 0; r < height; r++) {
      const y = Math.floor((top + r + 0.5 - view.ty) / view.scale);
      if (y < 0 || y >= state.height) continue;
      for (let k = 0; k < width; k++)
        if (columns[k] >= 0 && columns[k] < state.width)
          inside[r * width + k] = mask[y * state.width + columns[k]];
    }
  }

  // Light inside the edge and dark outside it: seen on any photo.
  function paint(inside, [left, top, width, height], fill) {
    const image = context.createImageData(width, height),
      pixels = new Uint32Array(image.data.buffer);
    const reach = view.dpr > 1.4 ? 2 : 1;
    for (let r = 0; r < height; r++)
      for (let k = 0, i = r * width; k < width; k++, i++) {
        const own = inside[i];
        const edge =
          (k >= reach && inside[i - reach] !== own) ||
          (k + reach < width && inside[i + reach] !== own) ||
          (r >= reach && inside[i - reach * width] !== own) ||
          (r + reach < height && inside[i + reach * width] !== own);
        pixels[i] = edge ? (own ? LIGHT : DARK) : own ? fill : 0;
      }
    context.putImageData(image, left, top);
  }

  // Draws inside a box of image pixels what `fill(inside, rectangle, box in it)` says, unless it is there already.
  function draw(box, color, fill, ...what) {
    const { tx, ty, scale, width, height } = view;
    const now = [tx, ty, scale, width, height, color, ...what];
    if (drawn && now.every((value, n) => value === shown[n])) return;
    if (nodes.glow.width !== width || nodes.glow.height !== height) {
      [nodes.glow.width, nodes.glow.height] = [width, height]; // which empties it
      drawn = null;
    }
    clear();
    const [x0, y0] = view.toDevice(box[0], box[1]),
      [x1, y1] = view.toDevice(box[2], box[3]);
    const [left, top] = [Math.max(0, Math.floor(x0) - 3), Math.max(0, Math.floor(y0) - 3)];
    const [right, bottom] = [Math.min(width, Math.ceil(x1) + 3), Math.min(height, Math.ceil(y1) + 3)];
    if (left >= right || top >= bottom) return;
    drawn = [left, top, right - left, bottom - top];
    shown = now;
    const inside = new Uint8Array(drawn[2] * drawn[3]);
    fill(inside, drawn, [x0 - left, y0 - top, x1 - left, y1 - top]);
    paint(inside, drawn, color ? rgba(...color, FILL) : 0);
  }

  // The outline of a mask of the photo's size, of which `version` tells whether it has changed.
  const outline = (mask, box, version) =>
    draw(box, null, (inside, rectangle) => sample(mask, rectangle, inside), mask, version);

  // An answer of the server, in the colour of its class.
  const preview = (answer, color) =>
    draw(
      answer.box,
      color,
      (inside, [, , width, height], box) => applyAnswer(inside, width, height, answer, box),
      answer,
    );

  // Signs of white on green or red, in white and dark rings. `shape` adds to the drawing over the photo.
  function clicks(steps, isAnswered, shape) {
    for (const step of steps)
      for (const [x, y, sign] of step.clicks) {
        const [cx, cy] = view.toStage(x + 0.5, y + 0.5);
        const { name, color, path } = SIGNS[sign];
        const at = { transform: `translate(${cx} ${cy})`, opacity: isAnswered(step) ? 1 : 0.6 };
        shape("circle", { ...at, r: 10.5, fill: "#000", "fill-opacity": 0.6 });
        shape("circle", {
          ...at,
          r: 8.5,
          fill: color,
          stroke: "#fff",
          "stroke-width": 1.5,
          class: `sc-click-${name}`,
        });
        shape("path", { ...at, d: path, stroke: "#fff", "stroke-width": 2, "stroke-linecap": "round" });
      }
  }

  // The rubber band of a box, or the path of a scribble, as [x, y] image points.
  function band(points, isBox, shape) {
    const at = points.map(([x, y]) => view.toStage(x, y));
    const [[ax, ay], [bx, by]] = [at[0], at.at(-1)];
    const d = isBox ? `M${ax} ${ay}H${bx}V${by}H${ax}z` : `M${at.map((p) => p.join(" ")).join("L")}`;
    for (const [stroke, width] of [
      ["#000", 3.5],
      ["#fff", 1.5],
    ])
      shape("path", { d, fill: "none", stroke, "stroke-width": width, "stroke-linejoin": "round" });
  }

  return { outline, preview, clear, clicks, band };
}
