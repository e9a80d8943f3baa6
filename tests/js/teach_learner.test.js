// Against tests/js/teach.json, which tests/taught.py makes with the Python code.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inflateSync } from "node:zlib";

import { makeTeachLearner } from "../../segdemo/ui/components/canvas/teach_learner.js";
import { makeTeachOutlines } from "../../segdemo/ui/components/canvas/teach_outlines.js";
import { makeTeachSpread } from "../../segdemo/ui/components/canvas/teach_spread.js";
import { makeStrokes } from "../../segdemo/ui/components/canvas/teach_strokes.js";

const told = JSON.parse(readFileSync(new URL("./teach.json", import.meta.url), "utf-8"));
const { rows, columns, channels, width, height, steps } = told;
const unpacked = (text) => new Uint8Array(inflateSync(Buffer.from(text, "base64")));
const rgba = new Uint8Array(width * height * 4).fill(255);
unpacked(told.photo).forEach((byte, i) => (rgba[Math.floor(i / 3) * 4 + (i % 3)] = byte));
const features = unpacked(told.features);
const votesOf = (painted) => makeStrokes(unpacked(painted), width, height, () => {}).votes(rows, columns);

function openLearner(small = { width, height, rgba }) {
  const learner = makeTeachLearner(makeTeachSpread(), makeTeachOutlines());
  learner.open({ rows, columns, channels, features, steps, guide: unpacked(told.guide), small });
  return learner;
}

// What a case of the file learns from.
function strokesOf({ own, others }) {
  return {
    own: votesOf(told.painted[own]),
    others: others.map((name) => {
      const { cells, ids, shares } = votesOf(told.others[name].painted);
      const all = unpacked(told.others[name].features);
      const bytes = [...cells].flatMap((cell) => [...all.subarray(cell * channels, (cell + 1) * channels)]);
      return { features: Uint8Array.from(bytes), ids, shares };
    }),
    least: 0,
  };
}

const differing = (a, b) => a.reduce((sum, id, i) => sum + (id !== b[i]), 0) / a.length;

for (const one of told.cases)
  test(`${one.name}: weights, label map and the least sure place are those of Python`, () => {
    const learner = openLearner();
    const answer = learner.learn(strokesOf(one));
    assert.deepEqual(answer.classes, one.classes);
    const weights = learner.weights();
    assert.equal(weights.length, (channels + 1) * one.classes.length);
    one.weights.forEach((row, d) =>
      row.forEach((w, k) => assert.ok(Math.abs(w - weights[k * (channels + 1) + d]) < 0.003)),
    );
    const expected = unpacked(one.labels);
    assert.equal(answer.data.length, expected.length);
    assert.ok(differing(answer.data, expected) < 0.01, String(differing(answer.data, expected)));
    one.next.forEach((p, i) => assert.ok(Math.abs(p - answer.next[i]) < 1e-5));
  });

test("beginning with the last weights ends in the same place", () => {
  const [alone, together] = told.cases;
  const learner = openLearner();
  learner.learn(strokesOf(together));
  learner.learn(strokesOf(alone));
  const warm = learner.weights();
  const fresh = openLearner();
  fresh.learn(strokesOf(alone));
  fresh.weights().forEach((w, i) => assert.ok(Math.abs(w - warm[i]) < 0.003));
});

test("one class teaches nothing, and what was taught before is gone", () => {
  const learner = openLearner();
  const { cells, shares } = votesOf(told.painted.own);
  const own = { cells: cells.subarray(0, 4), ids: [5], shares: shares.subarray(0, 4) };
  assert.deepEqual(learner.learn({ own, others: [], least: 0 }), { classes: [5] });
  assert.deepEqual(learner.learn({ own: votesOf(told.painted.none), others: [], least: 0 }), { classes: [] });
});

test("strips of the photo make up its label map", () => {
  const learner = openLearner();
  const whole = learner.learn(strokesOf(told.cases[0])).data;
  for (let top = 0; top < height; top += 32) {
    const strip = rgba.subarray(top * width * 4, (top + 32) * width * 4);
    const { data } = learner.outline({ rgba: strip, width, height, top, least: 0 });
    assert.deepEqual(data, whole.subarray(top * width, (top + 32) * width));
  }
});

test("where no class is likely enough there is none", () => {
  const learner = openLearner();
  const whole = learner.learn(strokesOf(told.cases[0])).data;
  let last = 0;
  for (const least of [0.5, 0.7, 0.9, 0.999]) {
    const { data } = learner.look({ least });
    const none = data.filter((id) => id === 255).length;
    assert.ok(none >= last);
    last = none;
    data.forEach((id, i) => assert.ok(id === 255 || id === whole[i]));
  }
  assert.ok(last > 0);
});
