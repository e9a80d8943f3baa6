// What is counted on label maps.
import { VOID } from "./colours.js";

export function countClasses(map) {
  const counts = new Int32Array(256);
  for (let i = 0; i < map.length; i++) counts[map[i]]++;
  return counts;
}

// Pixels that are void in the truth, correct, and wrong: the codes of the error map.
export function countErrors(map, truth) {
  const counts = new Int32Array(3);
  for (let i = 0; i < map.length; i++) counts[truth[i] === VOID ? 0 : truth[i] === map[i] ? 1 : 2]++;
  return counts;
}

// Intersection over union of each class on this photo; null where neither map has the class. Void is not counted.
export function classIous(map, truth) {
  const both = new Int32Array(256),
    either = new Int32Array(256);
  for (let i = 0; i < map.length; i++) {
    const t = truth[i],
      p = map[i];
    if (t === VOID) continue;
    either[t]++;
    if (t === p) both[t]++;
    else either[p]++;
  }
  return Array.from(either, (n, id) => (n ? both[id] / n : null));
}

const CELLS = 24; // along each side of the photo
const WINDOW = 3; // cells along each side of a region

// The region of highest mean in an 8-bit grey map that overlaps none of `visited`: { x, y, mean }, the first in cells,
// of which the photo has CELLS by CELLS; null if none is left.
export function mostUncertain({ width, height, data }, visited) {
  const sums = new Float64Array(CELLS * CELLS),
    counts = new Float64Array(CELLS * CELLS);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const cell = Math.floor((y * CELLS) / height) * CELLS + Math.floor((x * CELLS) / width);
      sums[cell] += data[i];
      counts[cell]++;
    }
  let best = null;
  for (let y = 0; y < CELLS - WINDOW + 1; y++)
    for (let x = 0; x < CELLS - WINDOW + 1; x++) {
      if (visited.some((v) => Math.abs(v.x - x) < WINDOW && Math.abs(v.y - y) < WINDOW)) continue;
      let sum = 0,
        count = 0;
      for (let k = 0; k < WINDOW * WINDOW; k++) {
        const cell = (y + Math.floor(k / WINDOW)) * CELLS + x + (k % WINDOW);
        sum += sums[cell];
        count += counts[cell];
      }
      if (count && sum / count > (best?.mean ?? -1)) best = { x, y, mean: sum / count };
    }
  return best;
}

// The same region with a cell of its surroundings, in pixels of a photo: [x0, y0, x1, y1].
export const surroundings = ({ x, y }, width, height) =>
  [x - 1, y - 1, x + WINDOW + 1, y + WINDOW + 1].map((v, k) => (v * (k % 2 ? height : width)) / CELLS);
