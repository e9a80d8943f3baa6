import assert from "node:assert/strict";
import { test } from "node:test";

import { makeStrokes } from "../../segdemo/ui/components/canvas/teach_strokes.js";
import { makeRandom } from "./helpers.js";

// Shares of cells, the plain way.
function counted(map, width, height, rows, columns) {
  const shares = {},
    pixels = {};
  map.forEach((id, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const cell = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
    pixels[cell] = (pixels[cell] ?? 0) + 1;
    if (id !== 255) shares[cell] = { ...shares[cell], [id]: (shares[cell]?.[id] ?? 0) + 1 };
  });
  for (const [cell, of] of Object.entries(shares)) for (const id of Object.keys(of)) of[id] /= pixels[cell];
  return shares;
}

function asObject({ cells, ids, shares }) {
  const found = {};
  cells.forEach((cell, j) =>
    ids.forEach((id, k) => {
      const share = shares[j * ids.length + k];
      if (share) found[cell] = { ...found[cell], [id]: share };
    }),
  );
  return found;
}

const [width, height] = [53, 38];
const empty = () => new Uint8Array(width * height).fill(255);

test("votes follow every stroke, undo, redo and clearing", () => {
  const { below } = makeRandom(3);
  const strokes = makeStrokes(empty(), width, height, () => {});
  const check = (rows, columns) => {
    const votes = strokes.votes(rows, columns);
    assert.deepEqual(asObject(votes), counted(strokes.map, width, height, rows, columns));
    assert.deepEqual(
      [...votes.cells],
      [...votes.cells].sort((a, b) => a - b),
    );
  };
  for (let n = 0; n < 30; n++) {
    const [x, y] = [below(width - 9), below(height - 5)];
    const id = n % 5 === 4 ? 255 : below(4);
    for (let row = y; row < y + 5; row++) strokes.map.fill(id, row * width + x, row * width + x + 9);
    strokes.history.mark(x, y, x + 9, y + 5);
    strokes.history.commit("Stroke");
    if (n % 4 === 3) strokes.history.undo();
    if (n % 8 === 7) strokes.history.redo();
    check(8, 12);
  }
  assert.ok(strokes.clear());
  check(8, 12);
  assert.ok(strokes.isEmpty());
  assert.equal(strokes.clear(), false);
  assert.equal(strokes.history.undo(), "Cleared the strokes");
  assert.ok(!strokes.isEmpty());
  check(8, 12);
  check(64, 96); // cells smaller than pixels
});

test("strokes that were there before count, and cannot be undone", () => {
  const map = empty();
  map[5 * width + 7] = 3;
  const heard = [];
  const strokes = makeStrokes(map, width, height, (...box) => heard.push(box));
  const { cells, ids, shares } = strokes.votes(height, width);
  assert.deepEqual([[...cells], ids, [...shares]], [[5 * width + 7], [3], [1]]);
  assert.equal(strokes.history.undo(), null);
  assert.deepEqual(heard, []);
});
