// Names on the things themselves: where in a label map each thing is best written on, and the tags drawn there.
import { el } from "../dom.js";
import { cutOf, isThing } from "./state.js";

const GRID = 96; // cells along the longer side of the copy that is looked at
const LEAST = 0.006; // share of the photo that a thing takes to be named
const MOST = 24; // tags

// The innermost cell of each connected component of a class in a map (width x height), the largest components first:
// [{id, x, y, share}], x and y in pixels of the map.
export function anchorsOf(map, width, height, isNamed) {
  const step = Math.max(1, Math.max(width, height) / GRID);
  const columns = Math.max(1, Math.round(width / step)),
    rows = Math.max(1, Math.round(height / step));
  const ids = new Uint8Array(columns * rows);
  for (let y = 0; y < rows; y++) {
    const line = Math.min(height - 1, Math.floor(((y + 0.5) * height) / rows)) * width;
    for (let x = 0; x < columns; x++)
      ids[y * columns + x] = map[line + Math.min(width - 1, Math.floor(((x + 0.5) * width) / columns))];
  }
  const depth = depths(ids, columns, rows);
  const seen = new Uint8Array(ids.length),
    found = [];
  for (let start = 0; start < ids.length; start++) {
    if (seen[start] || !isNamed(ids[start])) continue;
    const id = ids[start],
      stack = [start];
    let best = start,
      count = 0;
    seen[start] = 1;
    while (stack.length) {
      const at = stack.pop(),
        x = at % columns;
      count++;
      if (depth[at] > depth[best]) best = at;
      for (const next of [x ? at - 1 : -1, x + 1 < columns ? at + 1 : -1, at - columns, at + columns])
        if (next >= 0 && next < ids.length && !seen[next] && ids[next] === id) {
          seen[next] = 1;
          stack.push(next);
        }
    }
    found.push({
      id,
      x: (((best % columns) + 0.5) * width) / columns,
      y: ((Math.floor(best / columns) + 0.5) * height) / rows,
      share: count / ids.length,
    });
  }
  return found
    .filter(({ share }) => share >= LEAST)
    .sort((a, b) => b.share - a.share)
    .slice(0, MOST);
}

// How far each cell is from another label or the border, in two passes of a chamfer (3, 4).
function depths(ids, columns, rows) {
  const depth = new Int32Array(ids.length);
  const from = (at, x, y, dx, dy) => {
    const nx = x + dx,
      ny = y + dy;
    if (nx < 0 || ny < 0 || nx >= columns || ny >= rows) return 0;
    const next = ny * columns + nx;
    return ids[next] === ids[at] ? depth[next] : 0;
  };
  const pass = (at, steps, limit) => {
    const x = at % columns,
      y = Math.floor(at / columns);
    let least = limit;
    for (const [dx, dy] of steps) least = Math.min(least, from(at, x, y, dx, dy) + (dx && dy ? 4 : 3));
    depth[at] = least;
  };
  const before = [
    [-1, 0],
    [-1, -1],
    [0, -1],
    [1, -1],
  ];
  const after = before.map(([dx, dy]) => [-dx, -dy]);
  for (let at = 0; at < ids.length; at++) pass(at, before, 1e9);
  for (let at = ids.length - 1; at >= 0; at--) pass(at, after, depth[at]);
  return depth;
}

export function makeNames({ state, view, nodes }) {
  let of = null, // the map that the anchors are of
    anchors = [];

  function refresh() {
    const map = state.maps[state.layer];
    const wanted = state.options.names && state.show === "classes" && !state.editing && map;
    if (!wanted) return (anchors = []);
    if (of !== map) {
      of = map;
      anchors = anchorsOf(map, state.width, state.height, (id) => isThing(state, id) && state.byId.has(id));
    }
    return anchors;
  }

  // Called with every frame that moves the photo.
  function place() {
    const cut = cutOf(state) * nodes.stage.clientWidth;
    const tags = [];
    for (const { id, x, y } of refresh()) {
      const [left, top] = view.toStage(x, y);
      const inside =
        left > 4 && top > 4 && left < nodes.stage.clientWidth - 4 && top < nodes.stage.clientHeight - 4;
      if (state.hidden.has(id) || !inside || left > cut) continue;
      const { name, color } = state.byId.get(id);
      const tag = el(
        "span",
        { class: "sc-tag" },
        el("i", { style: `background:rgb(${color.join(",")})` }),
        el("bdi", {}, name),
      );
      tag.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px) translate(-50%, -50%)`;
      tags.push(tag);
    }
    nodes.tags.replaceChildren(...tags);
  }

  return { place, forget: () => (of = null) };
}
