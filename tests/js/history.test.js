import assert from "node:assert/strict";
import { test } from "node:test";

import { makeHistory } from "../../segdemo/ui/components/canvas/history.js";
import { countClasses } from "../../segdemo/ui/components/canvas/statistics.js";
import { makeRandom, patches } from "./helpers.js";

function begin(rng, width, height, limits) {
  const map = patches(rng, width, height, 5),
    counts = countClasses(map);
  const drawn = map.slice(); // what somebody sees who looks only where `changed` says
  const history = makeHistory(
    map,
    width,
    height,
    counts,
    (x0, y0, x1, y1) => {
      for (let y = y0; y < y1; y++) drawn.set(map.subarray(y * width + x0, y * width + x1), y * width + x0);
    },
    limits,
  );
  const edit = () => {
    const [x0, y0, id] = [rng.below(width), rng.below(height), rng.below(256)];
    const [x1, y1] = [x0 + 1 + rng.below(width - x0), y0 + 1 + rng.below(height - y0)];
    for (let y = y0; y < y1; y++)
      for (let x = x0; x < x1; x++) map[y * width + x] = rng.below(9) ? id : rng.below(256);
    history.mark(x0, y0, x1, y1);
  };
  const check = (wanted) => {
    assert.deepEqual(map, wanted);
    assert.deepEqual(drawn, wanted);
    assert.deepEqual(counts, countClasses(wanted));
  };
  return { map, history, edit, check };
}

for (const [width, height] of [
  [1, 1],
  [1, 300],
  [300, 1],
  [128, 128],
  [261, 140],
])
  test(`undo and redo lead through every state of ${width} x ${height} pixels`, () => {
    const rng = makeRandom(11 + width);
    const { map, history, edit, check } = begin(rng, width, height);
    const states = [map.slice()];
    while (states.length < 25) {
      edit();
      if (rng.below(2)) edit();
      if (history.commit(`step ${states.length}`)) states.push(map.slice());
    }
    let at = states.length - 1;
    for (let k = 0; k < 80; k++) {
      const back = rng.below(2) === 0;
      const label = back ? history.undo() : history.redo();
      const moved = back ? at > 0 : at < states.length - 1;
      assert.equal(label, moved ? `step ${back ? at : at + 1}` : null);
      if (moved) at += back ? -1 : 1;
      check(states[at]);
      assert.equal(history.steps(), at);
      assert.equal(history.canRedo(), at < states.length - 1);
    }
  });

test("a new step forgets what was undone, and one that changes nothing is none", () => {
  const { map, history } = begin(makeRandom(12), 20, 20);
  history.mark(0, 0, 20, 20);
  assert.equal(history.commit("nothing"), false);
  assert.equal(history.steps(), 0);
  const paint = (id) => {
    map[7] = id;
    history.mark(7, 0, 8, 1);
    return history.commit(`paint ${id}`);
  };
  paint(100);
  paint(101);
  history.undo();
  assert.ok(history.canRedo());
  paint(102);
  assert.equal(history.redo(), null);
  assert.equal(history.top().label, "paint 102");
});

test("what was painted since the last step can be forgotten", () => {
  const { map, history, edit, check } = begin(makeRandom(13), 150, 140);
  edit();
  history.commit("one");
  const wanted = map.slice();
  edit();
  history.cancel();
  check(wanted);
  assert.equal(history.commit("nothing"), false);
});

test("pixels of a rectangle can go back to the last step, and the rest stays", () => {
  const { map, history } = begin(makeRandom(15), 150, 140);
  const before = map.slice();
  map.fill(7);
  history.mark(0, 0, 150, 140);
  history.restore(20, 30, 140, 135);
  map.forEach((id, i) => {
    const [x, y] = [i % 150, Math.floor(i / 150)];
    assert.equal(id, x >= 20 && x < 140 && y >= 30 && y < 135 ? before[i] : 7);
  });
});

test("the oldest steps go when there are too many or they take too much room", () => {
  const keep = (limits) => {
    const { history, edit } = begin(makeRandom(14), 40, 40, limits);
    for (let k = 0; k < 30; k++) {
      edit();
      history.commit(String(k));
    }
    const steps = history.steps();
    let last = null;
    for (let label = history.undo(); label !== null; label = history.undo()) last = label;
    return { steps, last };
  };
  assert.deepEqual(keep({ mostSteps: 12, mostBytes: Infinity, leastSteps: 0 }), { steps: 12, last: "18" });
  assert.equal(keep({ mostSteps: 99, mostBytes: 0, leastSteps: 5 }).steps, 5);
  const some = keep({ mostSteps: 99, mostBytes: 3000, leastSteps: 1 }).steps;
  assert.ok(some > 1 && some < 30, `${some} steps`);
});
