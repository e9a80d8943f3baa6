// Probabilities spread among cells that look alike, held by strokes: `spread` of segdemo/inference/teach.py. Self-contained:
// its source also runs in a Worker.
export function makeTeachSpread() {
  const [LIKENESS, PRIOR, HOLD, STEPS] = [3.75, 0.03, 10, 25];

  // To the right, down, down right and down left; 0 beyond the border, and for `columns` + 1 cells before and after all.
  function likeness({ rows, columns, channels, x }) {
    const pad = columns + 1;
    return [
      [0, 1],
      [1, 0],
      [1, 1],
      [1, -1],
    ].map(([down, right]) => {
      const alike = new Float64Array(rows * columns + 2 * pad);
      const far = down && right ? Math.SQRT2 : 1,
        offset = (down * columns + right) * channels;
      for (let r = 0; r < rows - down; r++)
        for (let c = Math.max(0, -right); c < columns - Math.max(0, right); c++) {
          const i = r * columns + c;
          let sum = 0;
          for (let k = i * channels; k < (i + 1) * channels; k++) sum += (x[k] - x[k + offset]) ** 2;
          alike[pad + i] = Math.exp(-LIKENESS * sum) / far;
        }
      return alike;
    });
  }

  // out = A u, where u and out have `pad` cells of nothing before and after.
  function times([right, down, along, across], diagonal, u, out, columns, pad, n) {
    for (let i = pad; i < pad + n; i++) {
      out[i] =
        diagonal[i] * u[i] -
        right[i] * u[i + 1] -
        right[i - 1] * u[i - 1] -
        down[i] * u[i + columns] -
        down[i - columns] * u[i - columns] -
        along[i] * u[i + columns + 1] -
        along[i - columns - 1] * u[i - columns - 1] -
        across[i] * u[i + columns - 1] -
        across[i - columns + 1] * u[i - columns + 1];
    }
  }

  // Probabilities likely (n, K) become those that are spread, given shares (n, K) of paint, in place.
  function spread(likely, shares, { rows, columns, edges }, K) {
    const n = rows * columns,
      pad = columns + 1,
      size = n + 2 * pad;
    const [right, down, along, across] = edges;
    const make = () => new Float64Array(size);
    const [diagonal, u, residual, direction, product] = [make(), make(), make(), make(), make()];
    for (let i = pad; i < pad + n; i++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += shares[(i - pad) * K + k];
      diagonal[i] = PRIOR + HOLD * sum + right[i] + right[i - 1] + down[i] + down[i - columns];
      diagonal[i] += along[i] + along[i - columns - 1] + across[i] + across[i - columns + 1];
    }
    for (let k = 0; k < K; k++) {
      for (let i = 0; i < n; i++) u[pad + i] = likely[i * K + k];
      times(edges, diagonal, u, product, columns, pad, n);
      let length = 0;
      for (let i = pad; i < pad + n; i++) {
        const at = (i - pad) * K + k;
        residual[i] = PRIOR * likely[at] + HOLD * shares[at] - product[i];
        direction[i] = residual[i] / diagonal[i];
        length += residual[i] * direction[i];
      }
      for (let step = 0; step < STEPS; step++) {
        times(edges, diagonal, direction, product, columns, pad, n);
        let curve = 0,
          next = 0;
        for (let i = pad; i < pad + n; i++) curve += direction[i] * product[i];
        const by = length / Math.max(curve, 1e-30);
        for (let i = pad; i < pad + n; i++) {
          u[i] += by * direction[i];
          residual[i] -= by * product[i];
          next += (residual[i] * residual[i]) / diagonal[i];
        }
        const keep = next / Math.max(length, 1e-30);
        for (let i = pad; i < pad + n; i++) direction[i] = residual[i] / diagonal[i] + keep * direction[i];
        length = next;
      }
      for (let i = 0; i < n; i++) likely[i * K + k] = Math.min(1, Math.max(0, u[pad + i]));
    }
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let k = i * K; k < (i + 1) * K; k++) sum += likely[k];
      for (let k = i * K; k < (i + 1) * K; k++) likely[k] /= sum;
    }
  }

  return { likeness, spread };
}
