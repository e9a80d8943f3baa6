import assert from "node:assert/strict";
import test from "node:test";
import { led, matching } from "../../segdemo/ui/components/model_menu.js";

// Two groups in three columns: 0 1 2, 3, and below a heading 4 5.
const boxes = [
  [0, 0],
  [100, 0],
  [200, 0],
  [0, 50],
  [0, 140],
  [100, 140],
].map(([left, top]) => ({ left, top }));

test("arrows lead through cards in rows, across groups", () => {
  assert.equal(led("ArrowRight", boxes, 2), 3);
  assert.equal(led("ArrowLeft", boxes, 0), 0);
  assert.equal(led("ArrowRight", boxes, 5), 5);
  assert.equal(led("ArrowDown", boxes, 2), 3); // the only one of the next row
  assert.equal(led("ArrowDown", boxes, 3), 4);
  assert.equal(led("ArrowDown", boxes, 5), 5);
  assert.equal(led("ArrowUp", boxes, 5), 3);
  assert.equal(led("ArrowUp", boxes, 3), 0);
  assert.equal(led("ArrowUp", boxes, 1), 1);
  assert.deepEqual([led("Home", boxes, 4), led("End", boxes, 0)], [0, 5]);
});

test("without a card that the keyboard is at, arrows begin at the first", () => {
  assert.equal(led("ArrowDown", boxes, -1), 3);
  assert.equal(led("ArrowRight", boxes, -1), 0);
});

test("other keys lead nowhere", () => {
  for (const key of ["Enter", "Tab", "a", "toString"]) assert.equal(led(key, boxes, 1), undefined);
  assert.equal(led("ArrowDown", [], 0), undefined);
});

test("models are found by every word, in title or classes", () => {
  const models = [
    { title: "DeepLabv3", knows: "People and animals" },
    { title: "My leaves", knows: "leaf, stem" },
  ];
  const found = (text) => matching(models, text).map(({ title }) => title);
  assert.deepEqual(found(" "), ["DeepLabv3", "My leaves"]);
  assert.deepEqual(found("LEAF my"), ["My leaves"]);
  assert.deepEqual(found("animals leaf"), []);
});
