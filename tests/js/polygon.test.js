import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { fillPolygon } from "../../segdemo/ui/components/canvas/polygon.js";
import { changed, makeRandom } from "./helpers.js";

const fixtures = JSON.parse(readFileSync(new URL("polygons.json", import.meta.url), "utf8"));

function filled(points, width, height, before = new Uint8Array(width * height)) {
  return changed(before, width, height, (map, mark) =>
    fillPolygon(map, width, height, points, 1, null, mark),
  );
}

for (const { name, points, rows } of fixtures)
  test(`the pixels are those of the Python rasteriser: ${name}`, () => {
    const [width, height] = [rows[0].length, rows.length];
    const map = filled(points, width, height);
    const got = rows.map((_, y) =>
      Array.from(map.subarray(y * width, (y + 1) * width), (v) => ".#"[v]).join(""),
    );
    assert.deepEqual(got, rows);
  });

// Whether a ray from the point to the left crosses the outline an odd number of times.
function isInside(points, px, py) {
  let inside = false;
  points.forEach(([ax, ay], i) => {
    const [bx, by] = points[(i + 1) % points.length];
    if (ay > py !== by > py && ax + ((py - ay) / (by - ay)) * (bx - ax) < px) inside = !inside;
  });
  return inside;
}

test("a pixel is in if its centre is, for polygons that cross themselves and leave the photo too", () => {
  const rng = makeRandom(4);
  for (let round = 0; round < 150; round++) {
    const width = 1 + rng.below(25),
      height = 1 + rng.below(25);
    const points = Array.from({ length: 3 + rng.below(8) }, () => [
      rng.between(-8, width + 8),
      rng.between(-8, height + 8),
    ]);
    filled(points, width, height).forEach((id, i) =>
      assert.equal(id === 1, isInside(points, (i % width) + 0.5, Math.floor(i / width) + 0.5)),
    );
  }
});

test("neighbours that share an edge leave no gap and claim no pixel twice", () => {
  const rng = makeRandom(5);
  const half = () => rng.below(41) / 2; // often exactly on centres of pixels
  for (let round = 0; round < 100; round++) {
    const cut = [
      [half(), 0],
      [half(), 20],
    ];
    const left = filled([[0, 0], cut[0], cut[1], [0, 20]], 20, 20);
    const right = filled([cut[0], [20, 0], [20, 20], cut[1]], 20, 20);
    left.forEach((id, i) => assert.equal(id + right[i], 1));
  }
});
