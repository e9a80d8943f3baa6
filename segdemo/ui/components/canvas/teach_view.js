// How strokes and what was learned from them look: two layers over the photo, in place of the mask.
import { buildStyle } from "./colours.js";
import { makeOverlay } from "./drawing.js";
import { UNPAINTED } from "./teach_strokes.js";

export function makeTeachView({ state, view, nodes }) {
  const layer = () => {
    const node = document.createElement("canvas");
    node.className = "sc-layer";
    return node;
  };
  const [taught, painted] = [layer(), layer()];
  // The view of a label map that is smaller than the photo.
  const small = {
    imageWidth: 1,
    imageHeight: 1,
    get scale() {
      return (view.scale * state.width) / small.imageWidth;
    },
  };
  for (const name of ["width", "height", "tx", "ty", "dpr"])
    Object.defineProperty(small, name, { get: () => view[name] });
  const [map, strokes] = [makeOverlay(taught, small), makeOverlay(painted, view)];
  let shown = null; // {map, width, height} of what was learned, or null
  const full = { opacity: 1, outline: false, patterns: false };

  function ready() {
    if (!taught.isConnected) nodes.glow.after(taught, painted);
    if (painted.width === view.width && painted.height === view.height) return;
    map.resize();
    strokes.resize();
  }

  function hide() {
    taught.hidden = painted.hidden = true;
    nodes.over.style.visibility = nodes.tags.style.visibility = "";
  }

  // Draws all of it: the map of strokes, and a label map {data, width, height} or null.
  function draw(strokeMap, answer) {
    ready();
    painted.hidden = !strokeMap;
    taught.hidden = !answer;
    nodes.over.style.visibility = nodes.tags.style.visibility = answer ? "hidden" : "";
    if (answer) {
      [small.imageWidth, small.imageHeight] = [answer.width, answer.height];
      const visible = (id) => id !== UNPAINTED && !state.hidden.has(id);
      map.place();
      const style = buildStyle(state.classes, state.options, visible);
      map.paint({ map: answer.data, style }, 0, 0, view.width, view.height);
    }
    shown = strokeMap && { map: strokeMap, style: buildStyle(state.classes, full, (id) => id !== UNPAINTED) };
    if (!shown) return;
    strokes.place();
    strokes.paint(shown, 0, 0, view.width, view.height);
  }

  // Draws a rectangle of the strokes, in image pixels.
  function drawStrokes(x0, y0, x1, y1) {
    const [left, top] = view.toDevice(x0, y0),
      [right, bottom] = view.toDevice(x1, y1);
    const margin = 1 + view.scale;
    if (shown) strokes.paint(shown, left - margin, top - margin, right + margin, bottom + margin);
  }

  return { draw, drawStrokes, hide };
}
