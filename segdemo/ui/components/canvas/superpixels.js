// Superpixels and the graph between them, for the selection by colour. Self-contained: its source also runs in a Worker.
//
// SNIC (Achanta & Suesstrunk, "Superpixels and Polygons using Simple Non-Iterative Clustering", CVPR 2017): seeds on a
// grid grow by taking, always, the cheapest pixel next to any of them, so pieces are connected and hug edges.
export function makeSuperpixels() {
  const linear = Float32Array.from({ length: 256 }, (_, v) => {
    const c = v / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });

  function toLab(rgba) {
    const n = rgba.length / 4,
      lab = new Float32Array(n * 3);
    const f = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
    for (let i = 0; i < n; i++) {
      const r = linear[rgba[i * 4]],
        g = linear[rgba[i * 4 + 1]],
        b = linear[rgba[i * 4 + 2]];
      const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505);
      const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
      const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089);
      lab[i * 3] = 116 * y - 16;
      lab[i * 3 + 1] = 500 * (x - y);
      lab[i * 3 + 2] = 200 * (y - z);
    }
    return lab;
  }

  // A binary heap of (cost, pixel, label) in typed arrays: millions of pushes without garbage.
  function makeHeap(capacity) {
    let cost = new Float32Array(capacity),
      pixel = new Int32Array(capacity),
      label = new Int32Array(capacity),
      size = 0;
    function push(c, p, l) {
      if (size === cost.length) {
        const grown = (A, old) => {
          const big = new A(size * 2);
          big.set(old);
          return big;
        };
        [cost, pixel, label] = [
          grown(Float32Array, cost),
          grown(Int32Array, pixel),
          grown(Int32Array, label),
        ];
      }
      let i = size++;
      while (i > 0) {
        const up = (i - 1) >> 1;
        if (cost[up] <= c) break;
        cost[i] = cost[up];
        pixel[i] = pixel[up];
        label[i] = label[up];
        i = up;
      }
      cost[i] = c;
      pixel[i] = p;
      label[i] = l;
    }
    function pop(out) {
      out.pixel = pixel[0];
      out.label = label[0];
      out.cost = cost[0];
      const c = cost[--size],
        p = pixel[size],
        l = label[size];
      let i = 0;
      for (let child = 1; child < size; child = 2 * i + 1) {
        if (child + 1 < size && cost[child + 1] < cost[child]) child++;
        if (cost[child] >= c) break;
        cost[i] = cost[child];
        pixel[i] = pixel[child];
        label[i] = label[child];
        i = child;
      }
      cost[i] = c;
      pixel[i] = p;
      label[i] = l;
    }
    return { push, pop, size: () => size };
  }

  function snic(lab, width, height, wanted, compactness) {
    const n = width * height,
      step = Math.max(1, Math.sqrt(n / wanted));
    const labels = new Int32Array(n).fill(-1);
    const heap = makeHeap(n);
    const columns = Math.max(1, Math.round(width / step)),
      rows = Math.max(1, Math.round(height / step));
    const count = columns * rows;
    const sums = new Float64Array(count * 6); // x, y, L, a, b, pixels
    for (let k = 0; k < count; k++) {
      const x = Math.floor((((k % columns) + 0.5) * width) / columns);
      const y = Math.floor(((Math.floor(k / columns) + 0.5) * height) / rows);
      heap.push(0, y * width + x, k);
    }
    const top = { pixel: 0, label: 0, cost: 0 };
    const spatial = 1 / (step * step),
      colour = 1 / (compactness * compactness);
    const visit = (pixel, label) => {
      if (labels[pixel] >= 0) return;
      const s = label * 6,
        m = sums[s + 5];
      const dx = (pixel % width) - sums[s] / m,
        dy = Math.floor(pixel / width) - sums[s + 1] / m;
      const dl = lab[pixel * 3] - sums[s + 2] / m,
        da = lab[pixel * 3 + 1] - sums[s + 3] / m;
      const db = lab[pixel * 3 + 2] - sums[s + 4] / m;
      heap.push((dx * dx + dy * dy) * spatial + (dl * dl + da * da + db * db) * colour, pixel, label);
    };
    while (heap.size()) {
      heap.pop(top);
      const { pixel, label } = top;
      if (labels[pixel] >= 0) continue;
      labels[pixel] = label;
      const x = pixel % width,
        y = (pixel - x) / width,
        s = label * 6;
      sums[s] += x;
      sums[s + 1] += y;
      sums[s + 5] += 1;
      for (let c = 0; c < 3; c++) sums[s + 2 + c] += lab[pixel * 3 + c];
      if (x > 0) visit(pixel - 1, label);
      if (x + 1 < width) visit(pixel + 1, label);
      if (y > 0) visit(pixel - width, label);
      if (y + 1 < height) visit(pixel + width, label);
    }
    return { labels, sums, count };
  }

  // Neighbours in compressed rows; an edge costs the colour step across the shared border as well as between means.
  function buildGraph({ labels, sums, count }, lab, width, height) {
    const pairs = new Map();
    const touch = (i, j) => {
      const a = labels[i],
        b = labels[j];
      if (a === b) return;
      const id = a < b ? a * count + b : b * count + a;
      const entry = pairs.get(id) || pairs.set(id, [0, 0]).get(id);
      entry[0] += Math.hypot(
        lab[i * 3] - lab[j * 3],
        lab[i * 3 + 1] - lab[j * 3 + 1],
        lab[i * 3 + 2] - lab[j * 3 + 2],
      );
      entry[1]++;
    };
    for (let y = 0, i = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++) {
        if (x + 1 < width) touch(i, i + 1);
        if (y + 1 < height) touch(i, i + width);
      }
    const means = new Float32Array(count * 3);
    for (let k = 0; k < count; k++)
      for (let c = 0; c < 3; c++) means[k * 3 + c] = sums[k * 6 + 2 + c] / Math.max(1, sums[k * 6 + 5]);
    const first = new Int32Array(count + 1),
      ends = new Int32Array(pairs.size * 2),
      step = new Float32Array(pairs.size * 2);
    for (const id of pairs.keys()) {
      first[Math.floor(id / count) + 1]++;
      first[(id % count) + 1]++;
    }
    for (let k = 0; k < count; k++) first[k + 1] += first[k];
    const at = first.slice();
    for (const [id, [sum, length]] of pairs) {
      const a = Math.floor(id / count),
        b = id % count;
      const between = Math.hypot(...[0, 1, 2].map((c) => means[a * 3 + c] - means[b * 3 + c]));
      const cost = between + 0.5 * (sum / length);
      ends[at[a]] = b;
      step[at[a]++] = cost;
      ends[at[b]] = a;
      step[at[b]++] = cost;
    }
    return { first, ends, step, means };
  }

  // Colours in cells of 3 units, and how alike every two cells are (lightness counts half: shadows are not edges).
  function buildColours({ count }, { means }) {
    const numbers = new Map(),
      colours = [],
      cell = new Int32Array(count);
    for (let k = 0; k < count; k++) {
      const lab = [means[k * 3] / 2, means[k * 3 + 1], means[k * 3 + 2]];
      const id = lab.map((v) => Math.round(v / 3)).join();
      if (!numbers.has(id)) numbers.set(id, colours.push(lab) - 1);
      cell[k] = numbers.get(id);
    }
    const cells = colours.length,
      alike = new Float32Array(cells * cells);
    for (let i = 0; i < cells; i++)
      for (let j = 0; j < cells; j++) {
        const d =
          (colours[i][0] - colours[j][0]) ** 2 +
          (colours[i][1] - colours[j][1]) ** 2 +
          (colours[i][2] - colours[j][2]) ** 2;
        alike[i * cells + j] = Math.exp(-d / 72); // a Gaussian of 6 units
      }
    return { cell, cells, alike };
  }

  function findBorder(labels, count, width, height) {
    const border = new Uint8Array(count);
    for (let x = 0; x < width; x++) border[labels[x]] = border[labels[(height - 1) * width + x]] = 1;
    for (let y = 0; y < height; y++) border[labels[y * width]] = border[labels[(y + 1) * width - 1]] = 1;
    return border;
  }

  // rgba: width*height*4 bytes -> labels (Int32Array) and the graph between superpixels.
  function build(rgba, width, height, wanted) {
    const lab = toLab(rgba);
    const pieces = snic(lab, width, height, wanted, 12);
    const graph = buildGraph(pieces, lab, width, height);
    const border = findBorder(pieces.labels, pieces.count, width, height);
    return {
      width,
      height,
      labels: pieces.labels,
      count: pieces.count,
      border,
      ...graph,
      ...buildColours(pieces, graph),
    };
  }
  return { build };
}
