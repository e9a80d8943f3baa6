// How long the page takes from a stroke to the label map that it shows, without the browser's own drawing:
//
//   node benchmarks/teach_stroke.js
//
// A photo of 12 megapixels has 96 x 128 cells of 40 channels; the label map that is shown has 1,024 x 768 pixels. Strokes of
// K classes come one by one, as a person makes them, and after each the learner learns, spreads and outlines anew.
import { makeTeachLearner } from "../segdemo/ui/components/canvas/teach_learner.js";
import { makeTeachOutlines } from "../segdemo/ui/components/canvas/teach_outlines.js";
import { makeTeachSpread } from "../segdemo/ui/components/canvas/teach_spread.js";
import { makeStrokes } from "../segdemo/ui/components/canvas/teach_strokes.js";
import { paintCapsule } from "../segdemo/ui/components/canvas/brush.js";
import { makeRandom } from "../tests/js/helpers.js";

const [rows, columns, channels] = [96, 128, 40];
const [width, height] = [4000, 3000];
const small = { width: 1024, height: 768 };
const STROKES = 40;

// The photo is of regions of K kinds, whose colours and features are alike.
function makePhoto(K, { below, random }) {
  const kinds = Array.from({ length: K }, () => Array.from({ length: channels }, () => 90 + below(76)));
  const centres = Array.from({ length: 4 * K }, (_, n) => [random(), random(), n % K]);
  const kindAt = (x, y) => {
    const near = ([cx, cy]) => (x - cx) ** 2 + (y - cy) ** 2;
    return centres.reduce((a, b) => (near(b) < near(a) ? b : a))[2];
  };
  const features = new Uint8Array(rows * columns * channels),
    guide = new Uint8Array(rows * columns * 3),
    rgba = new Uint8Array(small.width * small.height * 4);
  for (let i = 0; i < rows * columns; i++) {
    const kind = kinds[kindAt(((i % columns) + 0.5) / columns, (Math.floor(i / columns) + 0.5) / rows)];
    kind.forEach((v, c) => (features[i * channels + c] = v + below(50) - 25));
    for (let c = 0; c < 3; c++) guide[i * 3 + c] = kind[c] + below(30) - 15;
  }
  for (let i = 0; i < small.width * small.height; i++) {
    const x = ((i % small.width) + 0.5) / small.width,
      y = (Math.floor(i / small.width) + 0.5) / small.height;
    const kind = kinds[kindAt(x, y)];
    for (let c = 0; c < 3; c++) rgba[i * 4 + c] = kind[c] + below(30) - 15;
  }
  return { kindAt, features, guide, rgba };
}

function measure(K, radius) {
  const random = makeRandom(K);
  const { kindAt, features, guide, rgba } = makePhoto(K, random);
  const learner = makeTeachLearner(makeTeachSpread(), makeTeachOutlines());
  const steps = new Array(channels).fill(0.02);
  learner.open({ rows, columns, channels, features, steps, guide, small: { ...small, rgba } });
  const strokes = makeStrokes(new Uint8Array(width * height).fill(255), width, height, () => {});
  const times = [],
    processor = [];
  let painted = 0;
  for (let n = 0; n < STROKES; n++) {
    const from = [random.below(width), random.below(height)];
    const to = from.map((v, i) => Math.min(Math.max(v + random.below(601) - 300, 0), i ? height : width));
    const id = kindAt(from[0] / width, from[1] / height);
    paintCapsule(strokes.map, width, height, from, to, radius, id, null, strokes.history.mark);
    const began = performance.now(),
      used = process.cpuUsage();
    strokes.history.commit("Stroke");
    const own = strokes.votes(rows, columns);
    learner.learn({ own, others: [], least: 0 });
    if (own.ids.length > 1) {
      const { user, system } = process.cpuUsage(used);
      times.push(performance.now() - began);
      processor.push((user + system) / 1000);
    }
    painted = own.cells.length;
  }
  const told = [times, processor].map((values) => {
    values.sort((a, b) => a - b);
    const at = (share) => values[Math.min(values.length - 1, Math.floor(share * values.length))].toFixed(0);
    return `median ${at(0.5)}, 95 % ${at(0.95)}, most ${at(1)} ms`;
  });
  console.log(
    `${K} classes, ${painted} cells in the end: ${told[0]}; processor time (all threads): ${told[1]}`,
  );
}

for (const K of [2, 3, 5]) for (const radius of [12, 60]) measure(K, radius);
