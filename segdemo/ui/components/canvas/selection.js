// How far every superpixel is from the seeds, walking over the picture: crossing an edge is far.
function walkFrom({ count, first, ends, step }, seeds) {
  const distance = new Float32Array(count).fill(Infinity),
    queued = new Uint8Array(count),
    queue = [...seeds];
  for (const s of seeds) distance[s] = 0;
  for (let head = 0; head < queue.length; head++) {
    const k = queue[head];
    queued[k] = 0;
    for (let e = first[k]; e < first[k + 1]; e++) {
      const d = distance[k] + 0.4 + 0.35 * Math.max(0, step[e] - 3);
      if (d >= distance[ends[e]]) continue;
      distance[ends[e]] = d;
      if (!queued[ends[e]]) queue.push(ends[e]);
      queued[ends[e]] = 1;
    }
  }
  return distance;
}

// Density of each colour cell in a weighted set of superpixels (a kernel density estimate).
function colourDensity({ count, cell, cells, alike }, weight) {
  const mass = new Float64Array(cells),
    density = new Float64Array(cells);
  let total = 1e-9;
  for (let k = 0; k < count; k++) {
    mass[cell[k]] += weight[k];
    total += weight[k];
  }
  for (let j = 0; j < cells; j++)
    if (mass[j]) for (let i = 0; i < cells; i++) density[i] += (alike[i * cells + j] * mass[j]) / total;
  return density;
}

// Smooths the belief over the graph, strongly where neighbours look alike: a random walk that ends at the seeds or at
// the colour model (Grady, "Multilabel Random Walker Image Segmentation Using Prior Models", CVPR 2005), Gauss-Seidel.
function settleBelief({ count, first, ends, step }, prior, seed) {
  const TRUST = 0.05,
    ROUNDS = 40; // weight of the colour model against one neighbour
  const belief = Float32Array.from(prior, (v, k) => (seed[k] ? (seed[k] + 1) / 2 : v));
  const affinity = Float32Array.from(step, (s) => Math.exp((-s * s) / 200) + 0.002);
  for (let round = 0; round < ROUNDS; round++)
    for (let k = 0; k < count; k++) {
      if (seed[k]) continue;
      let sum = TRUST * prior[k],
        all = TRUST;
      for (let e = first[k]; e < first[k + 1]; e++) {
        sum += affinity[e] * belief[ends[e]];
        all += affinity[e];
      }
      belief[k] = sum / all;
    }
  return belief;
}

// Which superpixels a scribble means, as flags. Colours of the scribble against colours of the photo's rim (and of
// what is to be left out), damped with the distance walked, then smoothed; learnt again from the first answer. `reach`
// is 2..60, 20 being neutral. The constants were tuned on 60 objects of VOC 2012: one click gives a mean IoU of 0.48 at
// reach 20 and 0.63 at the best reach per object, one straight stroke along the object 0.72 and 0.80.
export function growSelection(graph, wanted, unwanted, reach) {
  const { count, first, ends, border, cell } = graph;
  const seed = new Int8Array(count);
  for (const s of wanted) seed[s] = 1;
  for (const s of unwanted) seed[s] = -1;
  const distance = walkFrom(graph, wanted),
    odds = Math.exp(0.1 * (reach - 20));
  let inside = Float64Array.from(seed, (v) => (v > 0 ? 1 : 0));
  let outside = Float64Array.from(seed, (v, k) => (v > 0 ? 0 : v < 0 ? 20 : 0.15 + 2 * border[k]));
  let belief = null;
  for (let round = 0; round < 2; round++) {
    const here = colourDensity(graph, inside),
      there = colourDensity(graph, outside);
    const prior = Float32Array.from(cell, (c, k) => {
      const yes = (here[c] + 1e-4) * Math.exp(-distance[k] / 30) * odds;
      return yes / (yes + there[c] + 1e-4);
    });
    belief = settleBelief(graph, prior, seed);
    inside = Float64Array.from(belief, (v, k) => (seed[k] > 0 ? 3 : 0) + (v > 0.5 ? v : 0));
    outside = Float64Array.from(belief, (v, k) => (seed[k] < 0 ? 20 : 0) + (v < 0.5 ? 1 - v : 0));
  }
  // Only what hangs together with the scribble.
  const picked = new Uint8Array(count),
    stack = [...wanted];
  for (const s of wanted) picked[s] = 1;
  while (stack.length) {
    const k = stack.pop();
    for (let e = first[k]; e < first[k + 1]; e++) {
      const next = ends[e];
      if (picked[next] || belief[next] <= 0.5) continue;
      picked[next] = 1;
      stack.push(next);
    }
  }
  return picked;
}
