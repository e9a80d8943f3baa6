import assert from "node:assert/strict";
import { test } from "node:test";

import { makeSession } from "../../segdemo/ui/components/canvas/thing_session.js";
import { drawn } from "./helpers.js";

const [width, height] = [8, 3];
const map = drawn("....22..", "....22..", "........");
const begin = (seed = null) => makeSession({ map, width, height, seed, id: 2, only: null });
const click = (x, y, sign = 1) => ({ clicks: [[x, y, sign]], box: null });
// An answer of a cell a pixel: `inside` is "1" inside, "0" outside, "." unchanged.
function answer(box, inside) {
  const cells = [...inside];
  return {
    box,
    columns: box[2] - box[0],
    rows: box[3] - box[1],
    probabilities: Uint8Array.from(cells, (c) => (c === "1" ? 255 : 0)),
    changed: Uint8Array.from(cells, (c) => (c === "." ? 0 : 255)),
  };
}

test("clicks are asked about together, in their order, with what there is of the mask", () => {
  const session = begin();
  session.add(click(1, 1));
  const first = session.request();
  assert.deepEqual([first.clicks, first.box, first.corrects], [[[1, 1, 1]], null, null]);
  session.add(click(3, 0));
  session.add(click(6, 2, 0));
  assert.ok(session.receive(first, answer([0, 0, 2, 3], "110110")));
  assert.deepEqual(session.mask, drawn("11......", ".11.....".replace(".11", "01."), "1......."));
  assert.ok(session.pending());
  const second = session.request();
  assert.deepEqual(
    [second.clicks, second.corrects],
    [
      [
        [1, 1, 1],
        [3, 0, 1],
        [6, 2, 0],
      ],
      [0, 0, 2, 3],
    ],
  );
  assert.ok(session.receive(second, answer([1, 0, 4, 1], "011")));
  assert.deepEqual(session.mask, drawn("1.11....", ".1......", "1......."));
  assert.ok(!session.pending());
  assert.deepEqual(session.bounds(), [0, 0, 4, 3]);
});

test("a step taken back leaves the mask of the others", () => {
  const session = begin([5, 1]);
  assert.deepEqual(session.mask, drawn("....11..", "....11..", "........"));
  const masks = [session.mask.slice()];
  const answers = [
    answer([0, 0, 8, 1], "11..1.00"),
    answer([3, 0, 6, 2], "1.0..1"),
    answer([0, 2, 2, 3], "11"),
  ];
  for (const each of answers) {
    session.add(click(1, 1));
    session.receive(session.request(), each);
    masks.push(session.mask.slice());
  }
  assert.deepEqual(session.takeBack(), [0, 0, 8, 3]);
  assert.deepEqual(session.mask, masks[2]);
  session.takeBack();
  assert.deepEqual(session.mask, masks[1]);
  session.takeBack();
  assert.deepEqual(session.mask, masks[0]);
  assert.deepEqual(session.steps, []);
  assert.ok(!session.pending());
});

test("the answer to a step that was taken back is not wanted", () => {
  const session = begin();
  session.add(click(1, 1));
  session.receive(session.request(), answer([0, 0, 2, 1], "11"));
  session.add(click(2, 2));
  const late = session.request();
  assert.equal(session.takeBack(), null);
  session.add(click(3, 2, 0)); // as many steps as the request was about, but others
  assert.ok(!session.receive(late, answer([0, 0, 2, 1], "00")));
  assert.deepEqual(session.mask, drawn("11......", "........", "........"));
  assert.ok(session.pending());
});

test("taking back one of several steps that were answered together asks again for the rest", () => {
  const session = begin();
  session.add(click(1, 1));
  session.receive(session.request(), answer([0, 0, 2, 1], "11"));
  session.add(click(2, 1));
  session.add(click(3, 1));
  session.receive(session.request(), answer([2, 0, 4, 1], "11"));
  session.takeBack();
  assert.deepEqual(session.mask, drawn("11......", "........", "........"));
  assert.ok(session.pending());
  assert.deepEqual(session.request().clicks, [
    [1, 1, 1],
    [2, 1, 1],
  ]);
});

test("a box asks anew, and corrections come after it", () => {
  const session = begin();
  session.add(click(1, 1));
  session.receive(session.request(), answer([0, 0, 2, 1], "11"));
  session.add({ clicks: [], box: [2, 0, 6, 3] });
  const { box, corrects, ...request } = session.request();
  assert.deepEqual([box, corrects], [[2, 0, 6, 3], null]);
  session.receive(request, answer([2, 0, 4, 1], "11"));
  session.add(click(5, 1));
  assert.deepEqual(
    [session.request().box, session.request().corrects],
    [
      [2, 0, 6, 3],
      [0, 0, 4, 1],
    ],
  );
});

test("steps without an answer can be given up", () => {
  const session = begin();
  session.add(click(1, 1));
  session.receive(session.request(), answer([0, 0, 2, 1], "11"));
  const more = [click(2, 1), click(3, 1)];
  more.forEach(session.add);
  assert.deepEqual(session.giveUp(), more);
  assert.ok(!session.pending());
  assert.equal(session.steps.length, 1);
});
