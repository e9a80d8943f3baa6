// Outlines of what was taught where the photo has them: the twin of segdemo/inference/refine.py. Self-contained: its source
// also runs in a Worker.
export function makeTeachOutlines() {
  const [RADIUS, EPSILON, SURELY] = [2, 1e-3, 1e-5]; // of the guided filter; the radius in cells
  const NONE = 255;

  // Means over windows that end at the border, of values (rows, columns, C): first across, then down.
  function boxMean(values, rows, columns, C) {
    const across = new Float64Array(values.length),
      out = new Float64Array(values.length),
      row = columns * C;
    for (let r = 0; r < rows; r++) slide(values, across, r * row, columns, C);
    slide(across, out, 0, rows, row);
    return out;
  }

  // Means over windows of `count` pieces of `size` values from `start` on: what enters is added, what leaves subtracted.
  function slide(values, out, start, count, size) {
    const sums = new Float64Array(size);
    let inside = 0;
    for (let j = -RADIUS; j < count; j++) {
      if (j + RADIUS < count) {
        const from = start + (j + RADIUS) * size;
        for (let i = 0; i < size; i++) sums[i] += values[from + i];
        inside++;
      }
      if (j > RADIUS) {
        const from = start + (j - RADIUS - 1) * size;
        for (let i = 0; i < size; i++) sums[i] -= values[from + i];
        inside--;
      }
      if (j >= 0) for (let i = 0, to = start + j * size; i < size; i++) out[to + i] = sums[i] / inside;
    }
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
    const { before, after, share } = lerp(columns, width),
      down = lerp(rows, height);
    const differ = (x) => !x || before[x] !== before[x - 1] || after[x] !== after[x - 1];
    const borders = [...[...before.keys()].filter(differ), width]; // of runs of pixels that are between the same cells
    const row = new Float64Array(columns * K * 4),
      winners = new Uint8Array(width);

    // The first of the likeliest classes at the colours of pixels of the row that begins at `at`.
    function decide(from, to, at) {
      for (let x = from; x < to; x++) {
        const red = rgba[(at + x) * 4] / 255,
          green = rgba[(at + x) * 4 + 1] / 255,
          blue = rgba[(at + x) * 4 + 2] / 255;
        let most = -Infinity,
          l = before[x] * K * 4,
          r = after[x] * K * 4;
        for (let k = 0; k < K; k++, l += 4, r += 4) {
          const one = row[l] * red + row[l + 1] * green + row[l + 2] * blue + row[l + 3];
          const two = row[r] * red + row[r + 1] * green + row[r + 2] * blue + row[r + 3];
          const value = one + (two - one) * share[x];
          if (value > most) {
            most = value;
            winners[x] = k;
          }
        }
      }
    }

    for (let y = 0; y < count; y++) {
      const a = down.before[top + y] * columns,
        b = down.after[top + y] * columns,
        lower = down.share[top + y],
        at = y * width;
      for (let i = 0, one = a * K * 4, two = b * K * 4; i < row.length; i++)
        row[i] = functions[one + i] + (functions[two + i] - functions[one + i]) * lower;
      for (let n = 0; n + 1 < borders.length; n++) {
        const x = borders[n],
          winner = sure[a + before[x]];
        const same = sure[a + after[x]] === winner && sure[b + before[x]] === winner;
        if (winner >= 0 && same && sure[b + after[x]] === winner) winners.fill(winner, x, borders[n + 1]);
        else decide(x, borders[n + 1], at);
      }
      for (let x = 0; x < width; x++) {
        const k = winners[x];
        out[at + x] = ids[k];
        if (!least) continue;
        const [left, right] = [before[x] * K + k, after[x] * K + k];
        const one = likely[a * K + left] * (1 - share[x]) + likely[a * K + right] * share[x];
        const two = likely[b * K + left] * (1 - share[x]) + likely[b * K + right] * share[x];
        if (one + (two - one) * lower < least) out[at + x] = NONE;
      }
    }
    return out;
  }

  return { coefficients, labels };
}
