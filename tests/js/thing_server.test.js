import assert from "node:assert/strict";
import { test } from "node:test";

import { base64Of, fromBase64 } from "../../segdemo/ui/components/canvas/base64.js";
import { makePngCodec } from "../../segdemo/ui/components/canvas/png.js";
import { GONE, makePreviews, makeThingServer } from "../../segdemo/ui/components/canvas/thing_server.js";

const { encode, decode } = makePngCodec();
const photo = { key: "k", width: 40, height: 30 };
const grey = async (width, height, value) =>
  base64Of(await encode(width, height, new Uint8Array(width * height).fill(value), null));
const answerOf = async (more) => ({
  box: [10, 5, 30, 25],
  probabilities: await grey(4, 2, 200),
  changed: await grey(4, 2, 255),
  ...more,
});
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test("a request says everything, and its answer comes as arrays", async () => {
  let sent;
  const server = makeThingServer(async (data) => {
    sent = data;
    return answerOf();
  });
  const mask = new Uint8Array(1200);
  mask.fill(1, 405, 410);
  const encoded = await server.encode(mask, 40, 30, [5, 10, 10, 11]);
  const answer = await server.ask({ ...photo, clicks: [[7, 10, 1]], mask: encoded });
  const { mask: png, ...rest } = sent;
  assert.deepEqual(rest, { key: "k", clicks: [[7, 10, 1]], box: null, preview: false, prepare: false });
  const small = await decode(fromBase64(png));
  assert.deepEqual([small.width, small.height, small.palette], [40, 30, null]);
  assert.deepEqual(
    small.data,
    mask.map((flag) => flag * 255),
  );
  assert.deepEqual([answer.box, answer.columns, answer.rows], [[10, 5, 30, 25], 4, 2]);
  assert.deepEqual(
    [answer.probabilities, answer.changed],
    [new Uint8Array(8).fill(200), new Uint8Array(8).fill(255)],
  );
  await server.ask({ ...photo, clicks: [], box: [1, 2, 3, 4] });
  assert.deepEqual([sent.mask, sent.box], [null, [1, 2, 3, 4]]);
});

test("what a server says that cannot select is told, and all else is a server that does not answer", async () => {
  const fails = async (answer, sentence, more = {}) =>
    assert.rejects(
      makeThingServer(async () => answer).ask({ ...photo, clicks: [[1, 1, 1]], ...more }),
      new Error(sentence),
    );
  await fails(
    { error: "The photo is no longer here: open it again." },
    "The photo is no longer here: open it again.",
  );
  await fails({ busy: true }, "The server is busy.");
  for (const odd of [undefined, null, {}, "no", { box: 3 }]) await fails(odd, GONE);
  for (const box of [
    [10, 5, 41, 25],
    [10, 5, 10, 25],
    [-1, 5, 30, 25],
    [1.5, 5, 30, 25],
    [10, 5, 30],
    [10, 25, 30, 5],
  ])
    await fails(await answerOf({ box }), GONE);
  await fails(await answerOf({ changed: await grey(4, 3, 255) }), GONE);
  const unreachable = makeThingServer(() => Promise.reject(new TypeError("Failed to fetch")));
  await assert.rejects(unreachable.ask({ ...photo, clicks: [] }), new Error(GONE));
  const broken = makeThingServer(() => {
    throw new TypeError("not a function");
  });
  await assert.rejects(broken.prepare("k"), new Error(GONE));
  const silent = makeThingServer(() => new Promise(() => {}), 20);
  await assert.rejects(silent.prepare("k"), new Error(GONE));
});

test("a busy server is no failure of a preview", async () => {
  const server = makeThingServer(async () => ({ busy: true }));
  assert.equal(await server.ask({ ...photo, clicks: [[1, 1, 1]], preview: true }), null);
});

test("of previews one is under way, and the latest point wins", async () => {
  const asked = [],
    shown = [],
    waiting = [];
  const ask = (point) => {
    asked.push(point);
    return new Promise((resolve) => waiting.push(() => resolve({ point })));
  };
  const previews = makePreviews(ask, (answer) => shown.push(answer?.point ?? null), {
    every: 5,
    pause: 1000,
  });
  for (const point of [1, 2, 3]) previews.move(point);
  await sleep(20);
  previews.move(4);
  await sleep(20);
  assert.deepEqual(asked, [1]);
  waiting.shift()();
  await sleep(40);
  assert.deepEqual([asked, shown], [[1, 4], [1]]);
  previews.stop();
  waiting.shift()();
  await sleep(20);
  assert.deepEqual(shown, [1, null]); // what was under way comes too late
});

test("after a busy server there is silence, and then the last point is asked for", async () => {
  const asked = [];
  const previews = makePreviews(
    async (point) => (asked.push(point) > 1 ? { point } : null),
    () => {},
    { every: 1, pause: 120 },
  );
  previews.move(1);
  await sleep(20);
  previews.move(2);
  previews.move(3);
  await sleep(40);
  assert.deepEqual(asked, [1]);
  await sleep(120);
  assert.deepEqual(asked, [1, 3]);
});
