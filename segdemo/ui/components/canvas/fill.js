// Algorithms on label maps (Uint8Array, width*height, row by row) change the map in place and report every changed stretch
// through `mark(x0, y0, x1, y1)` (end exclusive). `only` is null, or a table of 256 flags of the ids to paint over.

export function setRun(map, start, end, id, only) {
  if (!only) map.fill(id, start, end);
  else for (let i = start; i < end; i++) if (only[map[i]]) map[i] = id;
}

export function fillRectangle(map, width, height, x0, y0, x1, y1, id, only, mark) {
  [x0, x1] = [Math.max(0, Math.min(x0, x1)), Math.min(width, Math.max(x0, x1))];
  [y0, y1] = [Math.max(0, Math.min(y0, y1)), Math.min(height, Math.max(y0, y1))];
  for (let y = y0; y < y1; y++) setRun(map, y * width + x0, y * width + x1, id, only);
  if (x0 < x1 && y0 < y1) mark(x0, y0, x1, y1);
}

// Scan-line flood fill of the 4-connected region around (x, y).
export function floodFill(map, width, height, x, y, id, mark) {
  const from = map[y * width + x];
  if (from === id) return;
  const stack = [x, y];
  while (stack.length) {
    const row = stack.pop(),
      seed = stack.pop(),
      base = row * width;
    if (map[base + seed] !== from) continue;
    let lo = seed,
      hi = seed + 1;
    while (lo > 0 && map[base + lo - 1] === from) lo--;
    while (hi < width && map[base + hi] === from) hi++;
    map.fill(id, base + lo, base + hi);
    mark(lo, row, hi, row + 1);
    for (const next of [row - 1, row + 1]) {
      if (next < 0 || next >= height) continue;
      for (let i = lo, inside = false; i < hi; i++) {
        const hit = map[next * width + i] === from;
        if (hit && !inside) stack.push(i, next);
        inside = hit;
      }
    }
  }
}

export function replaceClass(map, width, height, from, to, mark) {
  for (let y = 0; y < height; y++) {
    const base = y * width,
      end = base + width;
    const first = map.subarray(base, end).indexOf(from);
    if (first < 0) continue;
    let last = first;
    for (let i = base + first; i < end; i++)
      if (map[i] === from) {
        map[i] = to;
        last = i - base;
      }
    mark(first, y, last + 1, y + 1);
  }
}
