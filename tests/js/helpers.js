// What the tests of label-map algorithms share.
import assert from "node:assert/strict";

// Numbers that look random and are the same at every run (mulberry32). random() is in [0, 1).
export function makeRandom(seed) {
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n) => Math.floor(random() * n);
  return { random, below, between: (low, high) => low + random() * (high - low) };
}

// A label map of patches: `classes` ids, in blobs rather than noise.
export function patches({ below }, width, height, classes) {
  const map = new Uint8Array(width * height);
  for (let k = 0; k < 12; k++) {
    const [x0, y0, id] = [below(width), below(height), below(classes)];
    const [x1, y1] = [x0 + 1 + below(width), y0 + 1 + below(height)];
    for (let y = y0; y < Math.min(y1, height); y++)
      map.fill(id, y * width + x0, y * width + Math.min(x1, width));
  }
  for (let k = 0; k < (width * height) / 20; k++) map[below(map.length)] = below(classes);
  return map;
}

// Runs work(map, mark) on a copy of `before` and returns it. Every pixel that changed must lie in a marked rectangle,
// and every marked rectangle inside the map, because only those are drawn and kept for undo.
export function changed(before, width, height, work) {
  const map = before.slice(),
    marked = new Uint8Array(map.length);
  work(map, (x0, y0, x1, y1) => {
    assert.ok(
      0 <= x0 && x0 < x1 && x1 <= width && 0 <= y0 && y0 < y1 && y1 <= height,
      `mark ${[x0, y0, x1, y1]}`,
    );
    for (let y = y0; y < y1; y++) marked.fill(1, y * width + x0, y * width + x1);
  });
  map.forEach((id, i) => assert.ok(id === before[i] || marked[i], `pixel ${i} changed without a mark`));
  return map;
}

// Rows of characters as a map: "." is 0, digits are themselves.
export function drawn(...rows) {
  return Uint8Array.from(rows.join(""), (c) => (c === "." ? 0 : Number(c)));
}

// The 4-connected region of equal ids around a pixel, as a set of indices. The plain way, to compare with.
export function regionOf(map, width, height, start) {
  const region = new Set([start]);
  for (const at of region) {
    const x = at % width,
      y = (at - x) / width;
    if (x > 0 && map[at - 1] === map[start]) region.add(at - 1);
    if (x + 1 < width && map[at + 1] === map[start]) region.add(at + 1);
    if (y > 0 && map[at - width] === map[start]) region.add(at - width);
    if (y + 1 < height && map[at + width] === map[start]) region.add(at + width);
  }
  return region;
}
