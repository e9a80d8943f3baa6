// Outlines of what was taught where the photo has them: the twin of segdemo/inference/refine.py. Self-contained: its source
// also runs in a Worker.
export function makeTeachOutlines() {
  const [RADIUS, EPSILON, SURELY] = [2, 1e-3, 1e-5]; // of the guided filter; the radius in cells
  const NONE = 255;

  // Means over windows that end at the border, of values (rows, columns, C): first across, then down.
  function boxMean(values, rows, columns, C) {
    const across = new Float64Array(values.length),
      out = new Float64Array(values.length);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const [low, high] = [Math.max(0, c - RADIUS), Math.min(columns - 1, c + RADIUS)];
        addMean(values, across, (r * columns + c) * C, C, (r * columns + low) * C, high - low + 1, C);
      }
    for (let r = 0; r < rows; r++) {
      const [low, high] = [Math.max(0, r - RADIUS), Math.min(rows - 1, r + RADIUS)];
      const row = columns * C;
      addMean(across, out, r * row, row, low * row, high - low + 1, row);
    }
    return out;
  }

  // The mean of `count` pieces of `size` values, the first at `start` and each `stride` after the last, into out[at..].
  function addMean(values, out, at, size, start, count, stride) {
    for (let j = 0; j < count; j++)
      for (let i = 0, from = start + j * stride; i < size; i++) out[at + i] += values[from + i];
    for (let i = at; i < at + size; i++) out[i] /= count;
  }

  // Linear functions of colour, (cells, K, 4): He, Sun and Tang, "Guided Image Filtering", with a colour guide.
  // likely: (cells, K); guide: (cells, 3), colours 0..1.
  function coefficients(likely, { rows, columns, guide }, K) {
    const cells = guide.length / 3,
      C = 9 + 4 * K; // products of the guide with itself and with each class, and the classes
    const means = new Float64Array(cells * C);
    for (let i = 0; i < cells; i++)
      for (let a = 0, at = i * C; a < 3; a++) {
        const g = guide[i * 3 + a];
        means[at + a] = g;
        for (let b = 0; b <= a; b++) means[at + 3 + (a * (a + 1)) / 2 + b] = g * guide[i * 3 + b];
        for (let k = 0; k < K; k++) {
          means[at + 9 + k] = likely[i * K + k];
          means[at + 9 + K + a * K + k] = g * likely[i * K + k];
        }
      }
    const mean = boxMean(means, rows, columns, C),
      found = new Float64Array(cells * K * 4);
    for (let i = 0; i < cells; i++) {
      const at = i * C;
      const [r, g, b] = [mean[at], mean[at + 1], mean[at + 2]];
      const rr = mean[at + 3] - r * r + EPSILON,
        rg = mean[at + 4] - r * g,
        gg = mean[at + 5] - g * g + EPSILON,
        rb = mean[at + 6] - r * b,
        gb = mean[at + 7] - g * b,
        bb = mean[at + 8] - b * b + EPSILON;
      const [a00, a01, a02] = [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg];
      const [a11, a12, a22] = [rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg];
      const determinant = rr * a00 + rg * a01 + rb * a02;
      for (let k = 0; k < K; k++) {
        const p = mean[at + 9 + k];
        const x = mean[at + 9 + K + k] - r * p,
          y = mean[at + 9 + 2 * K + k] - g * p,
          z = mean[at + 9 + 3 * K + k] - b * p;
        const into = (i * K + k) * 4;
        found[into] = (a00 * x + a01 * y + a02 * z) / determinant;
        found[into + 1] = (a01 * x + a11 * y + a12 * z) / determinant;
        found[into + 2] = (a02 * x + a12 * y + a22 * z) / determinant;
        found[into + 3] = p - found[into] * r - found[into + 1] * g - found[into + 2] * b;
      }
    }
    return boxMean(found, rows, columns, K * 4);
  }

  // The number of the class that wins at a cell whatever the colour, or -1.
  function sureOf(functions, K) {
    const sure = new Int16Array(functions.length / (4 * K));
    for (let i = 0; i < sure.length; i++) {
      const f = functions.subarray(i * K * 4, (i + 1) * K * 4);
      let winner = 0,
        most = -Infinity;
      for (let k = 0; k < K; k++) {
        const middle = f[k * 4 + 3] + (f[k * 4] + f[k * 4 + 1] + f[k * 4 + 2]) / 2;
        if (middle > most) [most, winner] = [middle, k];
      }
      let lead = Infinity;
      for (let k = 0; k < K; k++) {
        if (k === winner) continue;
        let least = f[winner * 4 + 3] - f[k * 4 + 3];
        for (let c = 0; c < 3; c++) least += Math.min(0, f[winner * 4 + c] - f[k * 4 + c]);
        lead = Math.min(lead, least);
      }
      sure[i] = lead > SURELY ? winner : -1;
    }
    return sure;
  }

  // Where `count` points on an axis lie among `size` cells: the cells before and after, and the second's weight.
  function lerp(size, count) {
    const before = new Int32Array(count),
      after = new Int32Array(count),
      share = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const point = Math.min(Math.max((i + 0.5) * (size / count) - 0.5, 0), size - 1);
      before[i] = Math.floor(point);
      after[i] = Math.min(before[i] + 1, size - 1);
      share[i] = point - before[i];
    }
    return { before, after, share };
  }

  // Rows from `top` of the label map of a photo of width x height. ids: of the K classes; functions: of `coefficients`;
  // likely: (cells, K); rgba: those rows of the photo; least: how likely a class has to be, 0..1. 255 where none is.
  function labels({ rows, columns, ids, functions, likely }, { rgba, width, height, top, least }) {
    const K = ids.length,
      sure = sureOf(functions, K),
      count = rgba.length / (4 * width);
    const out = new Uint8Array(width * count);
    const across = lerp(columns, width),
      down = lerp(rows, height);
    const row = new Float64Array(columns * K * 4),
      sureRow = new Int16Array(columns);
    for (let y = 0; y < count; y++) {
      const a = down.before[top + y] * columns,
        b = down.after[top + y] * columns,
        share = down.share[top + y];
      const [above, below] = [a * K * 4, b * K * 4];
      for (let i = 0; i < row.length; i++) {
        const value = functions[above + i];
        row[i] = value + (functions[below + i] - value) * share;
      }
      for (let c = 0; c < columns; c++) sureRow[c] = sure[a + c] === sure[b + c] ? sure[a + c] : -1;
      for (let x = 0, at = y * width; x < width; x++, at++) {
        const [left, right, w] = [across.before[x], across.after[x], across.share[x]];
        let winner = sureRow[left] === sureRow[right] ? sureRow[left] : -1;
        if (winner < 0) {
          const [red, green, blue] = [rgba[at * 4], rgba[at * 4 + 1], rgba[at * 4 + 2]];
          let most = -Infinity;
          for (let k = 0, l = left * K * 4, r = right * K * 4; k < K; k++, l += 4, r += 4) {
            const before = (row[l] * red + row[l + 1] * green + row[l + 2] * blue) / 255 + row[l + 3];
            const after = (row[r] * red + row[r + 1] * green + row[r + 2] * blue) / 255 + row[r + 3];
            const value = before + (after - before) * w;
            if (value > most) [most, winner] = [value, k];
          }
        }
        out[at] = ids[winner];
        if (!least) continue;
        const before = likely[(a + left) * K + winner] * (1 - w) + likely[(a + right) * K + winner] * w;
        const after = likely[(b + left) * K + winner] * (1 - w) + likely[(b + right) * K + winner] * w;
        if (before + (after - before) * share < least) out[at] = NONE;
      }
    }
    return out;
  }

  return { coefficients, labels };
}
