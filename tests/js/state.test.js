import assert from "node:assert/strict";
import { test } from "node:test";

import {
  countsOf,
  iousOf,
  isInside,
  judged,
  layersOf,
  makeState,
  showsOf,
  startHidden,
} from "../../segdemo/ui/components/canvas/state.js";
import { drawn } from "./helpers.js";

const withMaps = (maps, more) => Object.assign(makeState(), { maps }, more);
const map = drawn("12");

test("two canvases share no state", () => {
  const [a, b] = [makeState(), makeState()];
  a.hidden.add(1);
  a.options.opacity = 0;
  a.maps.truth = map;
  assert.deepEqual([b.hidden.size, b.options.opacity, b.maps], [0, 0.38, {}]);
});

test("only what there is can be looked at", () => {
  assert.deepEqual(layersOf(withMaps({ yours: map, prediction: map })), ["prediction", "yours"]);
  assert.deepEqual(showsOf(withMaps({ truth: map })), ["classes"]);
  assert.deepEqual(showsOf(withMaps({ truth: map, yours: map }, { heat: { confidence: {} } })), [
    "classes",
    "confidence",
    "errors",
  ]);
});

test("an error map judges what is looked at, and the prediction if that is the truth itself", () => {
  assert.equal(judged(withMaps({ yours: map, truth: map }, { layer: "yours" })), "yours");
  assert.equal(judged(withMaps({ yours: map, truth: map }, { layer: "truth" })), "yours");
  assert.equal(judged(withMaps({ prediction: map, truth: map }, { layer: "truth" })), "prediction");
});

test("counts and IoUs are made once, and the truth has none with itself", () => {
  const state = withMaps({ prediction: map, truth: drawn("11") });
  assert.equal(countsOf(state, "prediction"), countsOf(state, "prediction"));
  assert.equal(iousOf(state, "prediction")[1], 0.5);
  assert.equal(iousOf(state, "truth"), null);
  assert.equal(iousOf(withMaps({ prediction: map }), "prediction"), null);
});

test("the background starts hidden", () => {
  assert.deepEqual(startHidden({ background: 0 }), new Set([0]));
  assert.deepEqual(startHidden({ background: null }), new Set());
  assert.ok(isInside({ width: 2, height: 1 }, 1, 0));
  assert.ok(!isInside({ width: 2, height: 1 }, 2, 0));
});
