// Classes taught by painting: the twin of segdemo/inference/teach.py, whose contract is docs/teach.md. Self-contained but
// for what teach_spread.js and teach_outlines.js make: its source also runs in a Worker. Cells are in reading order; numbers
// have 64 bits.
export function makeTeachLearner(spreading, outlines) {
  const [PENALTY, BIAS_PENALTY, OTHERS, MOST_CELLS, ROUNDS, CHANGE] = [10, 0.01, 0.1, 2000, 100, 1e-4];
  const LEAST = 0.1; // a class that is nowhere likelier than this, and nowhere the likeliest, has no outline
  let grid = null, // of the photo: rows, columns, channels, its values x, how alike neighbours are, and the guide
    picture = null, // the photo in small, of which `learn` gives the label map
    weights = null, // of `learned`, to begin with the next time
    learned = "",
    taught = null; // what the last strokes gave: classes, functions of colour, probabilities

  // --- the photo ---

  // The photo that is painted on. features: bytes (rows, columns, channels); steps: what one is worth; guide: bytes
  // (rows, columns, 3), its colours; small: {width, height, rgba}, the photo as label maps of `learn` show it.
  function open({ rows, columns, channels, features, steps, guide, small }) {
    const x = valuesOf(features, steps);
    grid = { rows, columns, channels, x, steps, guide: Float64Array.from(guide, (byte) => byte / 255) };
    grid.edges = spreading.likeness(grid);
    picture = small;
    weights = taught = null;
    return {};
  }

  function valuesOf(bytes, steps) {
    const x = new Float64Array(bytes.length);
    for (let i = 0, c = 0; i < x.length; i++, c = c + 1 === steps.length ? 0 : c + 1)
      x[i] = (bytes[i] - 128) * steps[c];
    return x;
  }

  // --- learning ---

  // Rows [inputs, 1] and targets of painted cells, no more than MOST_CELLS of a photo. classes are all K there are;
  // ids those of the columns of shares.
  function samples(classes, { ids, shares }, row, weight, cells) {
    const n = Math.min(cells, MOST_CELLS),
      inputs = [],
      targets = new Float64Array(n * classes.length);
    const at = ids.map((id) => classes.indexOf(id));
    for (let j = 0; j < n; j++) {
      const position = cells > MOST_CELLS ? Math.floor((j * cells) / MOST_CELLS) : j;
      inputs.push(row(position));
      for (let k = 0; k < ids.length; k++)
        targets[j * classes.length + at[k]] = weight * shares[position * ids.length + k];
    }
    return { inputs, targets };
  }

  // own: {cells, ids, shares}, painted cells of the photo, (n, ids); others: [{features, ids, shares}], bytes
  // (n, channels) of painted cells of other photos. Ids are in order.
  function gather(classes, own, others) {
    const { channels, x, steps } = grid;
    const parts = [
      samples(
        classes,
        own,
        (j) => x.subarray(own.cells[j] * channels, (own.cells[j] + 1) * channels),
        1,
        own.cells.length,
      ),
    ];
    for (const one of others) {
      const values = valuesOf(one.features, steps);
      const row = (j) => values.subarray(j * channels, (j + 1) * channels);
      const weight = own.cells.length ? OTHERS : 1;
      parts.push(samples(classes, one, row, weight, values.length / channels));
    }
    const n = parts.reduce((sum, { inputs }) => sum + inputs.length, 0),
      size = channels + 1;
    const inputs = new Float64Array(n * size),
      targets = new Float64Array(n * classes.length);
    let at = 0;
    for (const part of parts) {
      targets.set(part.targets, at * classes.length);
      for (const row of part.inputs) {
        inputs.set(row, at * size);
        inputs[at++ * size + channels] = 1;
      }
    }
    return { n, inputs, targets };
  }

  // The lower Cholesky factor of X' diag(total / 2) X + diag(penalties).
  function boundOf(inputs, total, size) {
    const bound = new Float64Array(size * size);
    for (let n = 0; n < total.length; n++)
      for (let i = 0; i < size; i++) {
        const share = (inputs[n * size + i] * total[n]) / 2;
        for (let j = 0; j <= i; j++) bound[i * size + j] += share * inputs[n * size + j];
      }
    for (let i = 0; i < size; i++) bound[i * size + i] += i === size - 1 ? BIAS_PENALTY : PENALTY;
    for (let i = 0; i < size; i++)
      for (let j = 0; j <= i; j++) {
        let sum = bound[i * size + j];
        for (let k = 0; k < j; k++) sum -= bound[i * size + k] * bound[j * size + k];
        bound[i * size + j] = i === j ? Math.sqrt(sum) : sum / bound[j * size + j];
      }
    return bound;
  }

  // Solves for each row of `right` (K, size), in place.
  function solve(factor, right, size, K) {
    for (let k = 0; k < K; k++) {
      const row = right.subarray(k * size, (k + 1) * size);
      for (let i = 0; i < size; i++) {
        for (let j = 0; j < i; j++) row[i] -= factor[i * size + j] * row[j];
        row[i] /= factor[i * size + i];
      }
      for (let i = size - 1; i >= 0; i--) {
        row[i] /= factor[i * size + i];
        for (let j = 0; j < i; j++) row[j] -= factor[i * size + j] * row[i];
      }
    }
  }

  // The softmax of `channels` values times weights (with the bias last) into out[at..].
  function likelyOf(values, from, channels, w, K, out, at) {
    let most = -Infinity,
      sum = 0;
    for (let k = 0; k < K; k++) {
      const row = k * (channels + 1);
      let value = w[row + channels];
      for (let d = 0; d < channels; d++) value += values[from + d] * w[row + d];
      out[at + k] = value;
      if (value > most) most = value;
    }
    for (let k = at; k < at + K; k++) {
      out[k] = Math.exp(out[k] - most);
      sum += out[k];
    }
    for (let k = at; k < at + K; k++) out[k] /= sum;
  }

  function gradientOf({ n, inputs, targets }, total, w, size, K) {
    const gradient = new Float64Array(K * size),
      likely = new Float64Array(K);
    for (let i = 0; i < n; i++) {
      const from = i * size;
      likelyOf(inputs, from, size - 1, w, K, likely, 0);
      for (let k = 0; k < K; k++) {
        const by = total[i] * likely[k] - targets[i * K + k],
          row = k * size;
        for (let d = 0; d < size; d++) gradient[row + d] += by * inputs[from + d];
      }
    }
    for (let i = 0; i < gradient.length; i++) gradient[i] += ((i + 1) % size ? PENALTY : BIAS_PENALTY) * w[i];
    return gradient;
  }

  // Weights (K, channels + 1), each with its bias last, at the minimum. `start` may be any: there is only one.
  function regression(set, K, size, start) {
    const total = new Float64Array(set.n);
    for (let i = 0; i < set.n; i++) for (let k = 0; k < K; k++) total[i] += set.targets[i * K + k];
    const factor = boundOf(set.inputs, total, size);
    let w = start,
      ahead = start,
      momentum = 1;
    for (let round = 0; round < ROUNDS; round++) {
      const step = gradientOf(set, total, ahead, size, K);
      solve(factor, step, size, K);
      let turn = 0,
        most = 0;
      for (let i = 0; i < step.length; i++) {
        const change = ahead[i] - step[i] - w[i];
        turn += step[i] * change;
        step[i] = ahead[i] - step[i];
      }
      if (turn > 0) momentum = 1; // it turns back
      const following = (1 + Math.sqrt(1 + 4 * momentum * momentum)) / 2;
      const next = new Float64Array(step.length);
      for (let i = 0; i < step.length; i++) {
        const change = step[i] - w[i];
        next[i] = step[i] + ((momentum - 1) / following) * change;
        most = Math.max(most, Math.abs(change));
      }
      [w, ahead, momentum] = [step, next, following];
      if (most < CHANGE) break;
    }
    return w;
  }

  // The middle of the cell around which the two likeliest classes are closest, as [x, y] of the photo, 0..1.
  function leastSure(likely, shares, K) {
    const { rows, columns } = grid;
    const doubt = new Float64Array(rows * columns);
    for (let i = 0; i < doubt.length; i++) {
      let [first, second, paint] = [0, 0, 0];
      for (let k = i * K; k < (i + 1) * K; k++) {
        if (likely[k] > first) [first, second] = [likely[k], first];
        else if (likely[k] > second) second = likely[k];
        paint += shares[k];
      }
      doubt[i] = paint ? 0 : 1 - (first - second);
    }
    let best = 0,
      most = -1;
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        let sum = 0;
        for (let y = Math.max(0, r - 2); y <= Math.min(rows - 1, r + 2); y++)
          for (let x = Math.max(0, c - 2); x <= Math.min(columns - 1, c + 2); x++)
            sum += doubt[y * columns + x];
        if (sum > most) [most, best] = [sum, r * columns + c];
      }
    return [((best % columns) + 0.5) / columns, (Math.floor(best / columns) + 0.5) / rows];
  }

  // Classes that are nowhere likely and nowhere the likeliest are left out of the filter.
  function keptOf(likely, K) {
    const seen = new Uint8Array(K);
    for (let i = 0; i < likely.length; i += K) {
      let best = 0;
      for (let k = 0; k < K; k++) {
        if (likely[i + k] >= LEAST) seen[k] = 1;
        if (likely[i + k] > likely[i + best]) best = k;
      }
      seen[best] = 1;
    }
    return [...seen.keys()].filter((k) => seen[k]);
  }

  // Learns from strokes (see `gather`) and labels the photo: {data: label map of the small picture, width, height, classes,
  // next: [x, y]}. With fewer than two classes, {classes} alone.
  function learn({ own, others, least }) {
    const classes = [...new Set([own, ...others].flatMap(({ ids }) => [...ids]))].sort((a, b) => a - b);
    const K = classes.length,
      { rows, columns, channels, x } = grid,
      cells = rows * columns,
      size = channels + 1;
    taught = null;
    if (K < 2) return { classes };
    const start = learned === String(classes) && weights ? weights : new Float64Array(size * K);
    weights = regression(gather(classes, own, others), K, size, start);
    learned = String(classes);
    const rounded = Float32Array.from(weights),
      likely = new Float64Array(cells * K),
      shares = new Float64Array(cells * K);
    for (let i = 0; i < cells; i++) likelyOf(x, i * channels, channels, rounded, K, likely, i * K);
    own.cells.forEach((cell, j) =>
      own.ids.forEach(
        (id, k) => (shares[cell * K + classes.indexOf(id)] = own.shares[j * own.ids.length + k]),
      ),
    );
    spreading.spread(likely, shares, grid, K);
    const kept = keptOf(likely, K);
    const some = new Float64Array(cells * kept.length);
    for (let i = 0; i < cells; i++)
      for (let k = 0; k < kept.length; k++) some[i * kept.length + k] = likely[i * K + kept[k]];
    const functions = outlines.coefficients(some, grid, kept.length);
    const ids = kept.map((k) => classes[k]);
    taught = { rows, columns, classes, ids, functions, likely: some, weights: rounded };
    return { ...look({ least }), classes, next: leastSure(likely, shares, K) };
  }

  // The label map of the small picture once more, with another `least`; nothing if nothing is learned.
  function look({ least }) {
    if (!taught) return {};
    const { width, height, rgba } = picture;
    return { ...outline({ rgba, width, height, top: 0, least }), width, height };
  }

  // The label map of some rows of the photo itself, see `labels` of teach_outlines.js.
  const outline = (strip) => ({ data: outlines.labels(taught, strip) });

  return { open, learn, look, outline, weights: () => taught.weights };
}
