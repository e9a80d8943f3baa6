import assert from "node:assert/strict";
import { test } from "node:test";

import { makePngCodec } from "../../segdemo/ui/components/canvas/png.js";
import { makeWorker } from "../../segdemo/ui/components/canvas/worker.js";

// Node has no Worker of browsers: this is how a page fares whose security policy forbids them.
test("without Workers the functions run in this thread", async () => {
  const codec = makeWorker(makePngCodec);
  const palette = new Uint8Array(768);
  const maps = [1, 2, 3].map((id) => new Uint8Array(6).fill(id));
  const pngs = await Promise.all(maps.map((map) => codec.call("encode", 3, 2, map, palette)));
  const back = await Promise.all(pngs.map((png) => codec.call("decode", png)));
  assert.deepEqual(
    back.map(({ data }) => data),
    maps,
  );
  await assert.rejects(codec.call("decode", new Uint8Array(9)), /not a PNG/);
});

test("a factory is given what its parts make", async () => {
  const worker = makeWorker(
    (two, three) => ({ sum: () => ({ value: two.value + three.value }) }),
    () => ({ value: 2 }),
    () => ({ value: 3 }),
  );
  assert.deepEqual(await worker.call("sum"), { value: 5 });
});
