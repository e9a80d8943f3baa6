import assert from "node:assert/strict";
import { test } from "node:test";

import { fillHoles, growClass, removeSpecks } from "../../segdemo/ui/components/canvas/regions.js";
import { changed, drawn, makeRandom, patches, regionOf } from "./helpers.js";

function sizes(rng) {
  return [2 + rng.below(22), 2 + rng.below(22)];
}

test("holes are what a class encloses: all that the border cannot be reached from", () => {
  const rng = makeRandom(6);
  for (let round = 0; round < 80; round++) {
    const [width, height] = sizes(rng);
    const before = patches(rng, width, height, 3);
    const after = changed(before, width, height, (map, mark) => fillHoles(map, width, height, 1, mark));
    const outside = before.map((id) => (id === 1 ? 1 : 0));
    const reached = new Set();
    outside.forEach((id, i) => {
      const x = i % width,
        y = (i - x) / width;
      const rim = x === 0 || y === 0 || x === width - 1 || y === height - 1;
      if (rim && !id) for (const at of regionOf(outside, width, height, i)) reached.add(at);
    });
    assert.deepEqual(
      after,
      before.map((id, i) => (id !== 1 && !reached.has(i) ? 1 : id)),
    );
  }
});

test("pieces under the limit dissolve into the class that they touch most", () => {
  const before = drawn("11222", "13222", "11222", "....4");
  const chosen = new Uint8Array(256).fill(1);
  const after = changed(before, 5, 4, (map, mark) => removeSpecks(map, 5, 4, 3, chosen, mark));
  assert.deepEqual(after, drawn("11222", "11222", "11222", "....."));
  chosen[3] = 0;
  const kept = changed(before, 5, 4, (map, mark) => removeSpecks(map, 5, 4, 3, chosen, mark));
  assert.deepEqual(kept, drawn("11222", "13222", "11222", "....."));
});

test("pieces at the limit stay, and smaller ones are the only ones that change", () => {
  const rng = makeRandom(7);
  for (let round = 0; round < 60; round++) {
    const [width, height] = sizes(rng);
    const limit = 1 + rng.below(12);
    const before = patches(rng, width, height, 4);
    const chosen = new Uint8Array(256).fill(1);
    const after = changed(before, width, height, (map, mark) =>
      removeSpecks(map, width, height, limit, chosen, mark),
    );
    before.forEach((id, i) => {
      const region = regionOf(before, width, height, i);
      const alone = region.size === before.length;
      assert.equal(after[i] !== id, region.size < limit && !alone, `round ${round}, pixel ${i}`);
    });
  }
});

// Dilation with 4 and 8 neighbours in turn.
function dilated(inside, width, height, steps) {
  for (let step = 0; step < steps; step++) {
    const last = inside;
    inside = last.map((v, i) => {
      if (v) return 1;
      const x = i % width,
        y = (i - x) / width;
      for (let dy = -1; dy <= 1; dy++)
        for (let dx = -1; dx <= 1; dx++) {
          if (!(step % 2) && dx && dy) continue;
          const [nx, ny] = [x + dx, y + dy];
          if (nx >= 0 && ny >= 0 && nx < width && ny < height && last[ny * width + nx]) return 1;
        }
      return 0;
    });
  }
  return inside;
}

test("a class grows by alternating 4 and 8 neighbours", () => {
  const rng = makeRandom(8);
  for (let round = 0; round < 60; round++) {
    const [width, height] = sizes(rng);
    const steps = rng.below(6);
    const before = patches(rng, width, height, 3);
    const after = changed(before, width, height, (map, mark) =>
      growClass(map, width, height, 1, steps, true, mark),
    );
    const inside = dilated(
      before.map((id) => (id === 1 ? 1 : 0)),
      width,
      height,
      steps,
    );
    assert.deepEqual(
      after,
      before.map((id, i) => (inside[i] ? 1 : id)),
    );
  }
});

test("a class shrinks as all others grow, and gives its place to what is next to it", () => {
  const rng = makeRandom(9);
  for (let round = 0; round < 60; round++) {
    const [width, height] = sizes(rng);
    const steps = rng.below(6);
    const before = patches(rng, width, height, 3);
    const after = changed(before, width, height, (map, mark) =>
      growClass(map, width, height, 1, steps, false, mark),
    );
    const others = dilated(
      before.map((id) => (id === 1 ? 0 : 1)),
      width,
      height,
      steps,
    );
    after.forEach((id, i) => {
      if (before[i] !== 1) assert.equal(id, before[i]);
      else assert.equal(id === 1, !others[i]);
    });
  }
});
