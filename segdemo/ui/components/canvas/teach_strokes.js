// Strokes on a photo: a map of its own beside the mask, 255 where nothing is painted, with its own undo.
import { makeHistory } from "./history.js";
import { countClasses } from "./statistics.js";

export const UNPAINTED = 255;

// `map` is painted on; `changed(x0, y0, x1, y1)` hears of every rectangle that may look different.
export function makeStrokes(map, width, height, changed) {
  const counts = countClasses(map);
  const boxes = []; // of pixels whose cells have to be counted again
  const history = makeHistory(map, width, height, counts, touch);
  let cells = null, // cell -> Map of class -> pixels, of the cells with paint
    shape = "";

  function touch(...box) {
    boxes.push(box);
    changed(...box);
  }

  // The first pixel of each of `count` cells on an axis of `size` pixels, and `size`: the pixel p lies in the cell
  // floor(p count / size).
  const borders = (size, count) =>
    Int32Array.from({ length: count + 1 }, (_, cell) => Math.ceil((cell * size) / count));

  function recount(cell, x0, y0, x1, y1) {
    const found = new Map();
    for (let y = y0; y < y1; y++)
      for (let i = y * width + x0; i < y * width + x1; i++)
        if (map[i] !== UNPAINTED) found.set(map[i], (found.get(map[i]) ?? 0) + 1);
    if (found.size) cells.set(cell, found);
    else cells.delete(cell);
  }

  // Painted cells of a grid, in reading order: {cells, ids, shares (cells, ids)}, ids in order, shares of pixels 0..1.
  function votes(rows, columns) {
    const [tops, lefts] = [borders(height, rows), borders(width, columns)];
    if (shape !== `${rows} ${columns}`) {
      [cells, shape] = [new Map(), `${rows} ${columns}`];
      boxes.splice(0, Infinity, [0, 0, width, height]);
    }
    const wanted = new Set();
    for (const [x0, y0, x1, y1] of boxes.splice(0)) {
      const last = [Math.floor(((y1 - 1) * rows) / height), Math.floor(((x1 - 1) * columns) / width)];
      for (let r = Math.floor((y0 * rows) / height); r <= last[0]; r++)
        for (let c = Math.floor((x0 * columns) / width); c <= last[1]; c++) wanted.add(r * columns + c);
    }
    for (const cell of wanted) {
      const [r, c] = [Math.floor(cell / columns), cell % columns];
      recount(cell, lefts[c], tops[r], lefts[c + 1], tops[r + 1]);
    }
    const painted = Int32Array.from(cells.keys()).sort();
    const ids = [...new Set([...cells.values()].flatMap((found) => [...found.keys()]))].sort((a, b) => a - b);
    const shares = new Float64Array(painted.length * ids.length);
    painted.forEach((cell, j) => {
      const [r, c] = [Math.floor(cell / columns), cell % columns];
      const pixels = (tops[r + 1] - tops[r]) * (lefts[c + 1] - lefts[c]);
      for (const [id, n] of cells.get(cell)) shares[j * ids.length + ids.indexOf(id)] = n / pixels;
    });
    return { cells: painted, ids, shares };
  }

  function clear() {
    if (counts[UNPAINTED] === map.length) return false;
    map.fill(UNPAINTED);
    history.mark(0, 0, width, height);
    return history.commit("Cleared the strokes");
  }

  return { map, history, votes, clear, isEmpty: () => counts[UNPAINTED] === map.length };
}
