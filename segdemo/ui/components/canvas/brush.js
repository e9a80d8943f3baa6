import { setRun } from "./fill.js";

// Every pixel whose centre is within `radius` of the segment a-b. The shape is convex, so each row is one run.
export function paintCapsule(map, width, height, [ax, ay], [bx, by], radius, id, only, mark) {
  const y0 = Math.max(0, Math.ceil(Math.min(ay, by) - radius - 0.5));
  const y1 = Math.min(height - 1, Math.floor(Math.max(ay, by) + radius - 0.5));
  const dx = bx - ax,
    dy = by - ay,
    length = Math.hypot(dx, dy);
  let left = width,
    right = 0;
  for (let y = y0; y <= y1; y++) {
    const cy = y + 0.5;
    let lo = Infinity,
      hi = -Infinity;
    for (const [px, py] of [
      [ax, ay],
      [bx, by],
    ]) {
      const half = radius * radius - (cy - py) ** 2;
      if (half < 0) continue;
      lo = Math.min(lo, px - Math.sqrt(half));
      hi = Math.max(hi, px + Math.sqrt(half));
    }
    if (length > 0) {
      // Where this row crosses the two long sides of the stroke.
      for (const side of [-1, 1]) {
        const ox = (-dy / length) * radius * side,
          oy = (dx / length) * radius * side;
        const t = dy ? (cy - ay - oy) / dy : -1;
        if (t < 0 || t > 1) continue;
        lo = Math.min(lo, ax + ox + t * dx);
        hi = Math.max(hi, ax + ox + t * dx);
      }
    }
    const x0 = Math.max(0, Math.ceil(lo - 0.5 - 1e-9)),
      x1 = Math.min(width - 1, Math.floor(hi - 0.5 + 1e-9));
    if (x0 > x1) continue;
    setRun(map, y * width + x0, y * width + x1 + 1, id, only);
    left = Math.min(left, x0);
    right = Math.max(right, x1 + 1);
  }
  if (left < right) mark(left, y0, right, y1 + 1);
}
