import assert from "node:assert/strict";
import { test } from "node:test";

import {
  PATTERN,
  PATTERN_BANK,
  VOID,
  buildStyle,
  patternOf,
  rgba,
  viridis,
} from "../../segdemo/ui/components/canvas/colours.js";

test("viridis goes from purple to yellow and stays there", () => {
  assert.deepEqual(viridis(0), [68, 1, 84]);
  assert.deepEqual(viridis(1), [253, 231, 37]);
  assert.deepEqual(viridis(0.5), [33, 144, 141]);
  assert.deepEqual(viridis(-1), viridis(0));
  assert.deepEqual(viridis(7), viridis(1));
});

test("packed colours lie in memory as canvases want them", () => {
  assert.deepEqual([...new Uint8Array(Uint32Array.of(rgba(1, 2, 3, 1)).buffer)], [1, 2, 3, 255]);
  assert.equal(rgba(0, 0, 0, 0.5) >>> 24, 128);
});

test("classes next to each other have different hatchings, void one of its own", () => {
  const tile = (pattern) =>
    PATTERN_BANK.subarray(pattern * PATTERN ** 2, (pattern + 1) * PATTERN ** 2).join("");
  for (let id = 0; id < 20; id++) {
    assert.notEqual(tile(patternOf(id)), tile(patternOf(id + 1)));
    assert.notEqual(patternOf(id), patternOf(VOID));
    assert.ok(tile(patternOf(id)).includes("1") && tile(patternOf(id)).includes("0"));
  }
});

test("hidden classes are drawn with nothing, the others with a bright outline", () => {
  const entries = [
    { id: 3, color: [64, 0, 0], pattern: 1 },
    { id: 4, color: [0, 200, 0], pattern: 2 },
  ];
  const style = buildStyle(entries, { opacity: 0.5, outline: true, patterns: false }, (id) => id !== 4);
  assert.equal(style.fill[3], rgba(64, 0, 0, 0.5));
  assert.ok((style.line[3] & 255) > 200); // red
  for (const table of ["fill", "ink", "line", "tile"]) assert.equal(style[table][4], 0);
});
