import assert from "node:assert/strict";
import { test } from "node:test";

import {
  classIous,
  countClasses,
  countErrors,
  mostUncertain,
  surroundings,
} from "../../segdemo/ui/components/canvas/statistics.js";
import { drawn, makeRandom, patches } from "./helpers.js";

const VOID = 255;

test("pixels are counted by id", () => {
  const counts = countClasses(drawn("1123", "...3"));
  assert.deepEqual([...counts.subarray(0, 5)], [3, 2, 1, 2, 0]);
  assert.equal(counts.length, 256);
});

test("errors are void, correct and wrong pixels", () => {
  const truth = Uint8Array.of(1, 1, VOID, 2, 0);
  assert.deepEqual([...countErrors(Uint8Array.of(1, 2, 2, 2, VOID), truth)], [1, 2, 2]);
});

test("IoU leaves out void of the truth, and classes that neither map has are null", () => {
  const truth = Uint8Array.of(1, 1, 1, 2, VOID, 0);
  const ious = classIous(Uint8Array.of(1, 1, 2, 2, 1, 0), truth);
  assert.equal(ious[1], 2 / 3);
  assert.equal(ious[2], 1 / 2);
  assert.equal(ious[0], 1);
  assert.equal(ious[3], null);
  assert.equal(ious[VOID], null);
});

test("a map agrees with itself, and IoU does not depend on which of two maps is the truth", () => {
  const rng = makeRandom(19);
  const [a, b] = [patches(rng, 30, 20, 4), patches(rng, 30, 20, 4)];
  assert.deepEqual(new Set(classIous(a, a)), new Set([null, 1]));
  assert.deepEqual(classIous(a, b), classIous(b, a));
});

test("the most uncertain regions come one after the other and do not overlap", () => {
  const [width, height] = [60, 48]; // two and a half by two pixels a cell
  const data = new Uint8Array(width * height);
  const bright = (x0, y0, value) => {
    for (let y = y0; y < y0 + 6; y++) data.fill(value, y * width + x0, y * width + x0 + 7);
  };
  bright(40, 30, 200);
  bright(5, 6, 90);
  const visited = [];
  const next = () => visited[visited.push(mostUncertain({ width, height, data }, visited)) - 1];
  const covers = (region, x, y) => {
    const [x0, y0, x1, y1] = surroundings(region, width, height);
    return x0 <= x && x <= x1 && y0 <= y && y <= y1;
  };
  assert.ok(covers(next(), 43, 33));
  while (!covers(next(), 8, 9)) assert.ok(visited.length < 12);
  let region = next();
  while (region) region = next();
  assert.equal(visited.pop(), null);
  for (const [k, a] of visited.entries())
    for (const b of visited.slice(0, k)) assert.ok(Math.abs(a.x - b.x) >= 3 || Math.abs(a.y - b.y) >= 3);
});

test("maps with fewer pixels than cells work", () => {
  assert.ok(mostUncertain({ width: 1, height: 1, data: Uint8Array.of(7) }, []).mean === 7);
  assert.equal(mostUncertain({ width: 0, height: 0, data: new Uint8Array(0) }, []), null);
});
