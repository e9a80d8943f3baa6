// Strokes on their way to the server and back, with a server and a browser's storage made of plain objects.
import assert from "node:assert/strict";
import test, { mock } from "node:test";

import { base64Of, fromBase64 } from "../../segdemo/ui/components/canvas/base64.js";
import { UNPAINTED } from "../../segdemo/ui/components/canvas/teach_strokes.js";
import { makeTeachSync } from "../../segdemo/ui/components/canvas/teach_sync.js";

mock.timers.enable({ apis: ["setTimeout"] }); // nothing is sent by itself
const PAYLOAD = { key: "leaves/1", width: 4, height: 1 };
const NONE = Uint8Array.of(UNPAINTED, UNPAINTED, UNPAINTED, UNPAINTED);
const mapOf = (...ids) => Uint8Array.from(ids);

// A "PNG" is the map itself.
const codec = { call: async (_, data) => ({ width: data.length, height: 1, data: Uint8Array.from(data) }) };

function makeServer() {
  let png = null,
    number = 0;
  const log = [];
  return {
    log,
    png: () => png,
    put(data) {
      png = data;
      number++;
    },
    async teach_strokes(data) {
      log.push(data);
      const kept = png && base64Of(png);
      if (data.png === undefined) return { version: png ? `v${number}` : "", png: kept };
      if (data.base !== (png ? `v${number}` : ""))
        return { version: `v${number}`, png: kept, conflict: true };
      this.put(fromBase64(data.png));
      return { version: `v${number}`, png: null };
    },
  };
}

function makeStore() {
  let found = null;
  return {
    found: () => found,
    read: async () => found && { ...found, map: Uint8Array.from(found.png) },
    encode: async (_, map) => Uint8Array.from(map),
    async write(_, png, __, ___, version) {
      found = { png, version, sent: false };
    },
    async note(_, png, changes) {
      if (String(found?.png) === String(png)) found = { ...found, ...changes };
    },
    remove: async () => (found = null),
  };
}

function begin(server, store = makeStore()) {
  const heard = [],
    banners = [];
  const page = { banner: (text) => banners.push(text) };
  const nodes = { root: { dataset: {} } };
  const sync = makeTeachSync({ server, codec, nodes, page }, store, (_, map) => heard.push(map));
  return { sync, store, heard, banners, nodes };
}

const strokes = (map) => ({ map, isEmpty: () => map.every((id) => id === UNPAINTED) });

test("strokes reach another browser", async () => {
  const server = makeServer();
  const { sync, store, nodes } = begin(server);
  assert.equal(await sync.read(PAYLOAD), null);
  await sync.keep(PAYLOAD, strokes(mapOf(1, 255, 255, 2)), null);
  assert.equal(server.png(), null); // a moment later
  await sync.flush();
  assert.equal(nodes.root.dataset.strokesSent, PAYLOAD.key);
  assert.deepEqual([store.found().sent, store.found().version], [true, "v1"]);
  assert.deepEqual(await begin(server).sync.read(PAYLOAD), mapOf(1, 255, 255, 2));
  // What was painted on elsewhere replaces what is kept here and was sent.
  server.put(mapOf(3, 255, 255, 255));
  assert.deepEqual(await begin(server, store).sync.read(PAYLOAD), mapOf(3, 255, 255, 255));
});

test("strokes that were not sent lie over those of the server", async () => {
  const server = makeServer();
  const store = makeStore();
  const offline = begin({ teach_strokes: async () => Promise.reject(new Error("gone")) }, store).sync;
  await offline.keep(PAYLOAD, strokes(mapOf(1, 255, 255, 255)), null);
  await offline.flush();
  assert.equal(store.found().sent, false);
  server.put(mapOf(2, 2, 255, 255));
  const { sync } = begin(server, store);
  assert.deepEqual(await sync.read(PAYLOAD), mapOf(1, 2, 255, 255));
  await sync.flush();
  assert.deepEqual(server.png(), mapOf(1, 2, 255, 255));
  assert.equal(store.found().sent, true);
});

test("two who paint at the same time keep each other's strokes", async () => {
  const server = makeServer();
  const [mine, theirs] = [begin(server), begin(server)];
  await Promise.all([mine.sync.read(PAYLOAD), theirs.sync.read(PAYLOAD)]);
  await theirs.sync.keep(PAYLOAD, strokes(mapOf(2, 2, 255, 255)), null);
  await theirs.sync.flush();
  await mine.sync.keep(PAYLOAD, strokes(mapOf(1, 255, 255, 255)), null);
  await mine.sync.flush();
  assert.deepEqual(server.png(), mapOf(1, 2, 255, 255));
  assert.deepEqual(mine.heard, [mapOf(2, 2, 255, 255)]);
  assert.deepEqual(mine.store.found().png, mapOf(1, 2, 255, 255));
});

test("a refusal is said once, and a page without the server's part keeps all to itself", async () => {
  const refusing = begin({
    teach_strokes: async () => ({ error: "It is in the trash: take it out first." }),
  });
  for (const id of [1, 2]) {
    await refusing.sync.keep(PAYLOAD, strokes(mapOf(id, 255, 255, 255)), null);
    await refusing.sync.flush();
  }
  assert.deepEqual(refusing.banners, [
    "Your strokes are kept in this browser only: It is in the trash: take it out first.",
  ]);
  const alone = begin({});
  await alone.sync.keep(PAYLOAD, strokes(mapOf(1, 255, 255, 255)), null);
  assert.deepEqual(await alone.sync.read(PAYLOAD), mapOf(1, 255, 255, 255));
  await alone.sync.keep(PAYLOAD, strokes(NONE), null);
  assert.equal(await alone.sync.read(PAYLOAD), null);
});
