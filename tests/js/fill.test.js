import assert from "node:assert/strict";
import { test } from "node:test";

import { fillRectangle, floodFill, replaceClass, setRun } from "../../segdemo/ui/components/canvas/fill.js";
import { changed, drawn, makeRandom, patches, regionOf } from "./helpers.js";

test("flood fill takes the 4-connected region, whatever its shape", () => {
  const rng = makeRandom(1);
  for (let round = 0; round < 60; round++) {
    const width = 1 + rng.below(24),
      height = 1 + rng.below(24);
    const before = patches(rng, width, height, 4);
    const start = rng.below(before.length);
    const after = changed(before, width, height, (map, mark) =>
      floodFill(map, width, height, start % width, Math.floor(start / width), 9, mark),
    );
    const region = regionOf(before, width, height, start);
    assert.deepEqual(
      after,
      before.map((id, i) => (region.has(i) ? 9 : id)),
    );
  }
});

test("flood fill does not cross a corner, and a class filled with itself stays", () => {
  const map = drawn("11..", "11..", "..11");
  assert.deepEqual(
    changed(map, 4, 3, (m, mark) => floodFill(m, 4, 3, 0, 0, 5, mark)),
    drawn("55..", "55..", "..11"),
  );
  floodFill(map, 4, 3, 0, 0, 1, () => assert.fail("nothing changes"));
});

test("a spiral is filled without deep recursion", () => {
  const size = 301,
    map = new Uint8Array(size * size);
  for (let y = 1; y < size; y += 2)
    map.fill(1, y * size + (y % 4 === 1 ? 0 : 1), y * size + size - (y % 4 === 1 ? 1 : 0));
  floodFill(map, size, size, 0, 0, 2, () => {});
  assert.ok(!map.includes(0));
});

test("a rectangle is cut at the border, whichever corner comes first", () => {
  const before = new Uint8Array(20);
  for (const [x0, y0, x1, y1] of [
    [-3, 1, 2, 9],
    [2, 9, -3, 1],
  ])
    assert.deepEqual(
      changed(before, 5, 4, (map, mark) => fillRectangle(map, 5, 4, x0, y0, x1, y1, 7, null, mark)),
      drawn(".....", "77...", "77...", "77..."),
    );
  fillRectangle(before, 5, 4, 6, 0, 9, 4, 7, null, () => assert.fail("it lies outside"));
});

test("only the ids of the table are painted over", () => {
  const only = new Uint8Array(256);
  only[2] = 1;
  const map = drawn("123212");
  setRun(map, 1, 6, 9, only);
  assert.deepEqual(map, drawn("193919"));
});

test("one class becomes another everywhere", () => {
  const rng = makeRandom(2);
  const before = patches(rng, 17, 9, 3);
  const after = changed(before, 17, 9, (map, mark) => replaceClass(map, 17, 9, 1, 2, mark));
  assert.deepEqual(
    after,
    before.map((id) => (id === 1 ? 2 : id)),
  );
});
