import assert from "node:assert/strict";
import { test } from "node:test";

import { makeRunReader, makeRunWriter } from "../../segdemo/ui/components/canvas/rle.js";
import { makeRandom } from "./helpers.js";

test("runs are a length of seven bits a byte, low ones first, and a value", () => {
  const writer = makeRunWriter();
  for (const [length, value] of [
    [1, 255],
    [127, 0],
    [128, 7],
    [0, 9],
    [300, 1],
  ])
    writer.add(length, value);
  assert.deepEqual([...writer.take()], [1, 255, 127, 0, 128, 1, 7, 172, 2, 1]);
  assert.deepEqual([...writer.take()], []);
});

test("runs come back as they were, from one pixel to hundreds of millions", () => {
  const rng = makeRandom(15);
  const runs = Array.from({ length: 40000 }, () => [1 + Math.floor(2 ** rng.between(0, 28)), rng.below(256)]);
  const writer = makeRunWriter();
  for (const [length, value] of runs) writer.add(length, value);
  const code = writer.take();
  assert.ok(code.length > 65536); // its buffer had to grow
  const run = makeRunReader(code);
  for (const [length, value] of runs) {
    run.next();
    assert.equal(run.length, length);
    assert.equal(run.value, value);
  }
});
