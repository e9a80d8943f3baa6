import assert from "node:assert/strict";
import test from "node:test";
import { anchorsOf } from "../../segdemo/ui/components/canvas/names.js";

const WIDTH = 200,
  HEIGHT = 120;
const paint = (map, id, x0, y0, x1, y1) => {
  for (let y = y0; y < y1; y++) map.fill(id, y * WIDTH + x0, y * WIDTH + x1);
};
const isNamed = (id) => id > 0 && id < 255;

test("each component is named in its middle, the largest first", () => {
  const map = new Uint8Array(WIDTH * HEIGHT);
  paint(map, 8, 10, 10, 90, 90);
  paint(map, 8, 120, 20, 160, 60);
  paint(map, 15, 100, 70, 190, 110);
  const found = anchorsOf(map, WIDTH, HEIGHT, isNamed);
  assert.deepEqual(
    found.map(({ id }) => id),
    [8, 15, 8],
  );
  const near = ([x, y], anchor) => Math.hypot(anchor.x - x, anchor.y - y);
  assert.ok(near([50, 50], found[0]) < 8);
  assert.ok(Math.abs(found[1].y - 90) < 6);
  assert.ok(near([140, 40], found[2]) < 6);
  assert.ok(Math.abs(found[0].share - 6400 / (WIDTH * HEIGHT)) < 0.03);
});

test("a name lies on its own thing, even on a ring", () => {
  const map = new Uint8Array(WIDTH * HEIGHT);
  paint(map, 3, 20, 10, 150, 110);
  paint(map, 5, 40, 25, 130, 100);
  for (const { id, x, y } of anchorsOf(map, WIDTH, HEIGHT, isNamed))
    assert.equal(map[Math.floor(y) * WIDTH + Math.floor(x)], id);
});

test("specks, background and void have no name, and there are not too many", () => {
  const map = new Uint8Array(WIDTH * HEIGHT);
  paint(map, 255, 0, 0, 100, 100);
  paint(map, 4, 150, 100, 153, 103);
  assert.deepEqual(anchorsOf(map, WIDTH, HEIGHT, isNamed), []);
  for (let k = 0; k < 40; k++)
    paint(
      map,
      1 + (k % 2),
      (k % 8) * 25,
      Math.floor(k / 8) * 24,
      (k % 8) * 25 + 22,
      Math.floor(k / 8) * 24 + 21,
    );
  assert.equal(anchorsOf(map, WIDTH, HEIGHT, isNamed).length, 24);
});

test("a map of one pixel has one name", () => {
  assert.deepEqual(anchorsOf(new Uint8Array([7]), 1, 1, isNamed), [{ id: 7, x: 0.5, y: 0.5, share: 1 }]);
});
