import { setRun } from "./fill.js";

// Even-odd rule at pixel centres: two polygons that share an edge never both claim a pixel.
export function fillPolygon(map, width, height, points, id, only, mark) {
  const ys = points.map((p) => p[1]);
  const top = Math.max(0, Math.ceil(Math.min(...ys) - 0.5)),
    bottom = Math.min(height, Math.ceil(Math.max(...ys) - 0.5));
  for (let y = top; y < bottom; y++) {
    const crossings = [];
    for (let i = 0; i < points.length; i++) {
      const [ax, ay] = points[i],
        [bx, by] = points[(i + 1) % points.length];
      if (ay <= y + 0.5 !== by <= y + 0.5) crossings.push(ax + ((y + 0.5 - ay) / (by - ay)) * (bx - ax));
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const x0 = Math.max(0, Math.ceil(crossings[k] - 0.5)),
        x1 = Math.min(width, Math.ceil(crossings[k + 1] - 0.5));
      if (x0 >= x1) continue;
      setRun(map, y * width + x0, y * width + x1, id, only);
      mark(x0, y, x1, y + 1);
    }
  }
}
