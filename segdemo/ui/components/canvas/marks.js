// What is drawn over the mask while somebody edits: the ring of the brush, the polygon, rectangle or selection under way.
import { TOOLS } from "./tools.js";

export function makeMarks({ state, view, nodes }, editor) {
  const { e } = editor;
  let ringAt = null;

  function drawRing() {
    const show = ringAt && state.editing && TOOLS[e.tool].sized;
    nodes.ring.hidden = !show;
    if (!show) return;
    const size = (e.size * view.scale) / view.dpr;
    nodes.ring.style.width = nodes.ring.style.height = `${Math.max(3, size)}px`;
    const [left, top] = view.toStage(...editor.snap(ringAt));
    nodes.ring.style.transform = `translate(${left}px, ${top}px) translate(-50%, -50%)`;
  }

  function hover(point) {
    ringAt = point;
    editor.later("ring", drawRing);
    editor.thing.hover(point);
  }

  function cornersOf(points) {
    if (e.tool !== "rectangle") return points;
    const [[ax, ay], [bx, by]] = points;
    return [
      [ax, ay],
      [bx, ay],
      [bx, by],
      [ax, by],
    ];
  }

  function shape(name, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    nodes.draft.append(node);
  }

  // In the colour of its class, over a dark halo.
  function place() {
    drawRing();
    nodes.draft.replaceChildren();
    editor.thing.place(shape);
    if (!e.points.length || !state.editing) return;
    const at = cornersOf(e.points).map(([x, y]) => view.toStage(x, y));
    const color = `rgb(${state.byId.get(e.id).color.join(",")})`,
      points = at.map((p) => p.join(",")).join(" ");
    shape("polygon", { points, fill: color, "fill-opacity": 0.25, stroke: "#000", "stroke-width": 3 });
    shape("polygon", { points, fill: "none", stroke: "#fff", "stroke-width": 1.5 });
    if (e.tool === "polygon" && !e.freehand)
      at.forEach(([x, y], i) =>
        shape("circle", { cx: x, cy: y, r: i ? 3.5 : 6, fill: i ? "#fff" : color, stroke: "#000" }),
      );
  }

  return { drawRing, hover, place };
}
