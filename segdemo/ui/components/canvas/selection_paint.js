import { setRun } from "./fill.js";

// Paints the picked superpixels at the size they were computed at, enlarged to the photo: quick, for the preview.
export function paintSelection(graph, picked, map, width, height, id, only, mark) {
  const column = Int32Array.from({ length: width }, (_, x) => Math.floor((x * graph.width) / width));
  for (let y = 0; y < height; y++) {
    const base = Math.floor((y * graph.height) / height) * graph.width;
    for (let x = 0; x < width;) {
      if (!picked[graph.labels[base + column[x]]]) {
        x++;
        continue;
      }
      let stop = x + 1;
      while (stop < width && picked[graph.labels[base + column[stop]]]) stop++;
      setRun(map, y * width + x, y * width + stop, id, only);
      mark(x, y, stop, y + 1);
      x = stop;
    }
  }
}

// Where the enlarged selection has its border, decides every photo pixel by its own colour: joint bilateral upsampling
// (Kopf et al., SIGGRAPH 2007) of the selection, guided by the photo. `readTile(x, y, w, h)` gives photo pixels (RGBA).
export function paintRefined(graph, picked, map, width, height, id, only, mark, readTile) {
  const { width: gw, height: gh, labels, rgba: small } = graph;
  const fx = width / gw,
    fy = height / gh;
  if (fx < 1.01 && fy < 1.01) return paintSelection(graph, picked, map, width, height, id, only, mark);
  const inside = Uint8Array.from(labels, (label) => picked[label]);
  const isBorder = (x, y) => {
    const own = inside[y * gw + x];
    for (let v = Math.max(0, y - 1); v <= Math.min(gh - 1, y + 1); v++)
      for (let u = Math.max(0, x - 1); u <= Math.min(gw - 1, x + 1); u++)
        if (inside[v * gw + u] !== own) return true;
    return false;
  };
  const decide = (px, py, r, g, b) => {
    const cx = Math.min(gw - 1, Math.floor(px / fx)),
      cy = Math.min(gh - 1, Math.floor(py / fy));
    let yes = 0,
      all = 0;
    for (let v = Math.max(0, cy - 1); v <= Math.min(gh - 1, cy + 1); v++)
      for (let u = Math.max(0, cx - 1); u <= Math.min(gw - 1, cx + 1); u++) {
        const k = v * gw + u,
          i = k * 4;
        const near = (u + 0.5 - (px + 0.5) / fx) ** 2 + (v + 0.5 - (py + 0.5) / fy) ** 2;
        const alike = (small[i] - r) ** 2 + (small[i + 1] - g) ** 2 + (small[i + 2] - b) ** 2;
        const weight = Math.exp(-near - alike / 800);
        all += weight;
        yes += weight * inside[k];
      }
    return all > 1e-12 ? yes > 0.5 * all : inside[cy * gw + cx] === 1;
  };
  const block = 64; // cells per side of the tiles the photo is read in
  for (let ty = 0; ty < gh; ty += block)
    for (let tx = 0; tx < gw; tx += block) {
      const x0 = Math.ceil(tx * fx),
        y0 = Math.ceil(ty * fy);
      const x1 = Math.min(width, Math.ceil((tx + block) * fx)),
        y1 = Math.min(height, Math.ceil((ty + block) * fy));
      let tile = null;
      for (let gy = ty; gy < Math.min(gh, ty + block); gy++)
        for (let gx = tx; gx < Math.min(gw, tx + block); gx++) {
          const border = isBorder(gx, gy);
          if (!border && !inside[gy * gw + gx]) continue;
          const left = Math.ceil(gx * fx),
            right = Math.min(width, Math.ceil((gx + 1) * fx));
          const top = Math.ceil(gy * fy),
            bottom = Math.min(height, Math.ceil((gy + 1) * fy));
          if (border) tile ??= readTile(x0, y0, x1 - x0, y1 - y0);
          for (let y = top; y < bottom; y++)
            if (!border) setRun(map, y * width + left, y * width + right, id, only);
            else
              for (let x = left; x < right; x++) {
                const i = ((y - y0) * (x1 - x0) + x - x0) * 4;
                if (decide(x, y, tile[i], tile[i + 1], tile[i + 2]))
                  setRun(map, y * width + x, y * width + x + 1, id, only);
              }
          mark(left, top, right, bottom);
        }
    }
}
