import assert from "node:assert/strict";
import { test } from "node:test";

import { paintCapsule } from "../../segdemo/ui/components/canvas/brush.js";
import { changed, makeRandom } from "./helpers.js";

function distance([ax, ay], [bx, by], px, py) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const t = length ? Math.min(1, Math.max(0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length)) : 0;
  return Math.hypot(px - ax - t * (bx - ax), py - ay - t * (by - ay));
}

test("a stroke is every pixel whose centre is within the radius of it", () => {
  const rng = makeRandom(3);
  for (let round = 0; round < 200; round++) {
    const width = 1 + rng.below(30),
      height = 1 + rng.below(30),
      radius = rng.between(0.3, 9);
    const point = () => [rng.between(-5, width + 5), rng.between(-5, height + 5)];
    const a = point(),
      b = round % 5 ? point() : a;
    const map = changed(new Uint8Array(width * height), width, height, (m, mark) =>
      paintCapsule(m, width, height, a, b, radius, 1, null, mark),
    );
    map.forEach((id, i) => {
      const d = distance(a, b, (i % width) + 0.5, Math.floor(i / width) + 0.5);
      if (Math.abs(d - radius) > 1e-6) assert.equal(id, d < radius ? 1 : 0, `round ${round}, pixel ${i}`);
    });
  }
});

test("straight strokes have the brush's width", () => {
  for (const [a, b] of [
    [
      [2.5, 5.5],
      [12.5, 5.5],
    ],
    [
      [5.5, 2.5],
      [5.5, 12.5],
    ],
  ]) {
    const map = new Uint8Array(15 * 15);
    paintCapsule(map, 15, 15, a, b, 1.5, 1, null, () => {});
    const line = Array.from({ length: 15 }, (_, k) => map[a[1] === b[1] ? k * 15 + 7 : 7 * 15 + k]);
    assert.deepEqual(line, [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  }
});
