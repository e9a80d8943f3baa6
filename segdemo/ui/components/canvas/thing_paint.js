// The arithmetic of Select thing on masks: Uint8Array, width*height, row by row, 1 inside and 0 outside. Boxes are
// [x0, y0, x1, y1] in pixels, the last two exclusive.
import { setRun } from "./fill.js";

const HALF = 127; // a probability (0..255) above it is inside

// Where the pixels whose centres lie between `start` and `end` fall on the cells that span that stretch: between the
// centres of cell `lower` and the next one, `part` of the way on; `nearest` is the cell they lie in. Pixels between the
// same two centres begin at `starts`, which closes with their number.
function placeOn(cells, start, end, most) {
  const first = Math.max(0, Math.ceil(start - 0.5)),
    last = Math.max(first, Math.min(most, Math.ceil(end - 0.5)));
  const lower = new Int32Array(last - first),
    nearest = new Int32Array(last - first),
    part = new Float64Array(last - first),
    starts = [];
  for (let k = 0; k < lower.length; k++) {
    const at = ((first + k + 0.5 - start) * cells) / (end - start);
    nearest[k] = Math.min(cells - 1, Math.floor(at));
    const between = Math.min(Math.max(at - 0.5, 0), cells - 1);
    lower[k] = Math.min(Math.floor(between), Math.max(0, cells - 2));
    part[k] = between - lower[k];
    if (!k || lower[k] !== lower[k - 1]) starts.push(k);
  }
  starts.push(lower.length);
  return { first, count: lower.length, lower, nearest, part, starts: Int32Array.from(starts) };
}

// [start, end, ...] of the pixels whose cell is set.
function runsOf(flags, nearest) {
  const runs = [];
  for (let k = 0; k < nearest.length; k++)
    if (flags[nearest[k]] && !(k && flags[nearest[k - 1]])) {
      let end = k + 1;
      while (end < nearest.length && flags[nearest[end]]) end++;
      runs.push(k, end);
    }
  return runs;
}

// Thresholds a row that is linear between the cells' values: only where two neighbours disagree is there a pixel to
// look at, all else is filled in runs.
function thresholdRow(values, { lower, part, count, starts }, row) {
  const last = values.length - 1;
  let since = 0,
    inside = 0;
  for (let n = 0; n + 1 < starts.length; n++) {
    let k = starts[n];
    const end = starts[n + 1],
      cell = lower[k],
      a = values[cell],
      b = values[Math.min(cell + 1, last)];
    const both = a > HALF && b > HALF ? 1 : a <= HALF && b <= HALF ? 0 : -1;
    if (both !== inside) {
      if (inside >= 0) row.fill(inside, since, k);
      [since, inside] = [k, both];
    }
    if (both < 0) for (; k < end; k++) row[k] = a + (b - a) * part[k] > HALF ? 1 : 0;
  }
  if (inside >= 0) row.fill(inside, since, count);
}

// Writes an answer into a mask: where the cell a pixel lies in is `changed`, it becomes inside exactly if the bilinearly
// enlarged probability is above 127. The grid of `columns` x `rows` cells spans `box`, which may lie anywhere.
export function applyAnswer(mask, width, height, answer, box = answer.box) {
  const { columns, rows, probabilities, changed } = answer;
  const across = placeOn(columns, box[0], box[2], width),
    down = placeOn(rows, box[1], box[3], height);
  const values = new Float64Array(columns),
    row = new Uint8Array(across.count);
  let runs = [],
    runsFor = -1;
  for (let k = 0; k < down.count; k++) {
    const cell = down.nearest[k];
    if (cell !== runsFor) {
      runs = runsOf(changed.subarray(cell * columns, (cell + 1) * columns), across.nearest);
      runsFor = cell;
    }
    if (!runs.length) continue;
    const upper = down.lower[k] * columns,
      below = Math.min(down.lower[k] + 1, rows - 1) * columns,
      part = down.part[k];
    for (let c = 0; c < columns; c++) {
      const value = probabilities[upper + c];
      values[c] = value + (probabilities[below + c] - value) * part;
    }
    thresholdRow(values, across, row);
    const base = (down.first + k) * width + across.first;
    for (let r = 0; r < runs.length; r += 2) mask.set(row.subarray(runs[r], runs[r + 1]), base + runs[r]);
  }
}

// Paints a mask into a label map inside a box. `region` is the thing that was there before, whose pixels become `blank`
// where the mask has left them.
export function paintThing(map, width, [x0, y0, x1, y1], mask, region, id, only, blank) {
  for (let r = 0; region && r < region.runs.length; r += 2) {
    const [start, end] = [region.runs[r], region.runs[r + 1]];
    const y = Math.floor(start / width);
    if (y < y0 || y >= y1) continue;
    const [from, to] = [Math.max(start, y * width + x0), Math.min(end, y * width + x1)];
    if (from < to) map.fill(blank, from, to);
  }
  for (let y = y0; y < y1; y++) {
    const base = y * width + x0,
      row = mask.subarray(base, y * width + x1);
    for (let start = row.indexOf(1); start >= 0;) {
      let end = row.indexOf(0, start);
      if (end < 0) end = row.length;
      setRun(map, base + start, base + end, id, only);
      start = row.indexOf(1, end);
    }
  }
}

// The 4-connected region of equal ids around (x, y), set in `mask`, which is empty. Returns its box and its runs, as
// [start, end, ...] of flat indices.
export function takeRegion(map, width, height, x, y, mask) {
  const id = map[y * width + x],
    stack = [x, y],
    runs = [];
  const box = [x, y, x + 1, y + 1];
  while (stack.length) {
    const row = stack.pop(),
      seed = stack.pop(),
      base = row * width;
    if (mask[base + seed]) continue; // runs are taken whole
    let lo = seed,
      hi = seed + 1;
    while (lo > 0 && map[base + lo - 1] === id) lo--;
    while (hi < width && map[base + hi] === id) hi++;
    mask.fill(1, base + lo, base + hi);
    runs.push(base + lo, base + hi);
    [box[0], box[1]] = [Math.min(box[0], lo), Math.min(box[1], row)];
    [box[2], box[3]] = [Math.max(box[2], hi), Math.max(box[3], row + 1)];
    for (const next of [row - 1, row + 1]) {
      if (next < 0 || next >= height) continue;
      const end = next * width + hi;
      for (let at = next * width + lo; at < end; at++) {
        if (map[at] !== id) continue;
        if (!mask[at]) stack.push(at - next * width, next);
        while (at < end && map[at] === id) at++;
      }
    }
  }
  return { runs, box };
}

// The pixel of class `id` that is nearest to (x, y) and no further than `reach`, as [x, y], or null.
export function nearestOf(map, width, height, x, y, id, reach) {
  let best = null,
    least = reach * reach;
  const [y0, y1] = [Math.max(0, Math.ceil(y - reach)), Math.min(height - 1, Math.floor(y + reach))];
  const [x0, x1] = [Math.max(0, Math.ceil(x - reach)), Math.min(width - 1, Math.floor(x + reach))];
  for (let v = y0; v <= y1; v++)
    for (let u = x0; u <= x1; u++) {
      const far = (u - x) ** 2 + (v - y) ** 2;
      if (map[v * width + u] !== id || far > least || (best && far === least)) continue;
      [best, least] = [[u, v], far];
    }
  return best;
}

// A mask as a grey picture (0 and 255) whose longest side is at most `longest`; outside `box` the mask is empty.
export function shrinkMask(mask, width, height, [x0, y0, x1, y1], longest) {
  const shrink = Math.min(1, longest / Math.max(width, height));
  const columns = Math.max(1, Math.round(width * shrink)),
    rows = Math.max(1, Math.round(height * shrink));
  const data = new Uint8Array(columns * rows);
  const from = Math.floor((x0 * columns) / width),
    to = Math.min(columns, Math.ceil((x1 * columns) / width));
  const source = Int32Array.from({ length: columns }, (_, c) => Math.floor(((c + 0.5) * width) / columns));
  const last = Math.min(rows, Math.ceil((y1 * rows) / height));
  for (let r = Math.floor((y0 * rows) / height); r < last; r++) {
    const base = Math.floor(((r + 0.5) * height) / rows) * width;
    for (let c = from; c < to; c++) if (mask[base + source[c]]) data[r * columns + c] = 255;
  }
  return { width: columns, height: rows, data };
}

// At most `most` points along a path, evenly apart and at least `apart`, both ends included.
export function alongPath(points, most, apart) {
  const lengths = [0];
  for (let k = 1; k < points.length; k++)
    lengths.push(
      lengths[k - 1] + Math.hypot(points[k][0] - points[k - 1][0], points[k][1] - points[k - 1][1]),
    );
  const length = lengths.at(-1),
    count = Math.min(most, Math.floor(length / apart) + 1);
  if (count < 2) return [points[0]];
  return Array.from({ length: count }, (_, n) => {
    const at = (length * n) / (count - 1);
    const k = Math.max(
      1,
      lengths.findIndex((far) => far >= at - 1e-9),
    );
    const part = (at - lengths[k - 1]) / Math.max(1e-9, lengths[k] - lengths[k - 1]);
    return [0, 1].map((c) => points[k - 1][c] + (points[k][c] - points[k - 1][c]) * part);
  });
}

export const around = (...boxes) => {
  const all = boxes.filter(Boolean);
  if (!all.length) return null;
  const side = (n, pick) => pick(...all.map((box) => box[n]));
  return [side(0, Math.min), side(1, Math.min), side(2, Math.max), side(3, Math.max)];
};
