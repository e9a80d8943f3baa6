// Strokes go to the server a while after they are kept in the browser, and come from there with a photo: other browsers, and
// what the collection learns, have them too.
import { base64Of, fromBase64 } from "./base64.js";
import { UNPAINTED } from "./teach_strokes.js";

const SEND = 1500; // milliseconds from keeping strokes to sending them
const AGAIN = 10000; // milliseconds after which a server that could not be reached is asked again
const PATIENCE = 5000; // milliseconds until a server counts as gone
const TRIES = 3; // of strokes that somebody else paints on at the same time

// What is painted in `above`, and elsewhere what is in `below`.
export const laid = (above, below) => above.map((id, i) => (id === UNPAINTED ? below[i] : id));

// `arrived(key, map)` hears of strokes on a photo that somebody else painted meanwhile.
export function makeTeachSync({ server, codec, nodes, page }, store, arrived) {
  const versions = new Map(); // key of a photo -> version of its strokes on the server, as far as is known here
  const waiting = new Map(); // key of a photo -> [payload, PNG] to be sent
  let timer = 0,
    told = false,
    sending = Promise.resolve();

  async function ask(data) {
    let late = 0;
    const gone = new Promise((_, reject) => (late = setTimeout(reject, PATIENCE, new Error("gone"))));
    try {
      return await Promise.race([Promise.resolve().then(() => server.teach_strokes(data)), gone]);
    } finally {
      clearTimeout(late);
    }
  }

  async function decode({ width, height }, text) {
    const found = text ? await codec.call("decode", fromBase64(text)) : null;
    return found?.width === width && found.height === height ? found.data : null;
  }

  // The map of strokes on a photo, or null. What was painted here and is not sent yet lies over what the server has.
  async function read(payload) {
    const { key } = payload;
    const asked = server.teach_strokes && ask({ key, base: "" }).catch(() => null);
    const kept = await store.read(payload).catch(() => null); // storage can be forbidden
    const answer = await asked;
    if (!answer || answer.error) return kept?.map ?? null;
    const there = await decode(payload, answer.png);
    versions.set(key, answer.version);
    if (!kept || kept.sent) return there;
    const both = there && kept.version !== answer.version ? laid(kept.map, there) : kept.map;
    const png = await store.encode(payload, both);
    await store.note(key, kept.png, { png, version: answer.version, sent: false });
    send(payload, png);
    return both;
  }

  // Keeps strokes in the browser, and sends them soon. grid: see `store.write`.
  async function keep(payload, strokes, grid) {
    const { key } = payload;
    if (!server.teach_strokes && strokes.isEmpty()) return store.remove(key);
    const png = await store.encode(payload, strokes.map);
    send(payload, png);
    await store.write(payload, png, strokes, grid, versions.get(key));
  }

  function send(payload, png) {
    if (!server.teach_strokes) return;
    waiting.set(payload.key, [payload, png]);
    clearTimeout(timer);
    timer = setTimeout(flush, SEND);
  }

  // Sends what waits, now.
  function flush() {
    clearTimeout(timer);
    sending = sending.then(async () => {
      for (const [key, [payload, png]] of [...waiting]) {
        try {
          await put(payload, png);
          if (waiting.get(key)?.[1] === png) waiting.delete(key);
        } catch (error) {
          if (!error.refused) {
            clearTimeout(timer);
            timer = setTimeout(flush, AGAIN);
            continue;
          }
          waiting.delete(key);
          if (!told) page.banner(`Your strokes are kept in this browser only: ${error.message}`, "warning");
          told = true;
        }
      }
    });
    return sending;
  }

  async function put(payload, png) {
    const { key } = payload;
    for (let tries = 0, sent = png; tries < TRIES; tries++) {
      const answer = await ask({ key, png: base64Of(sent), base: versions.get(key) ?? "" });
      if (answer.error) throw Object.assign(new Error(answer.error), { refused: true });
      versions.set(key, answer.version);
      if (!answer.conflict) {
        const changes = { png: sent, version: answer.version, sent: true };
        await store.note(key, png, changes).catch(() => {});
        nodes.root.dataset.strokesSent = key;
        told = false;
        return;
      }
      const there = await decode(payload, answer.png);
      if (!there) continue;
      const mine = (await codec.call("decode", png)).data;
      sent = await store.encode(payload, laid(mine, there));
      arrived(key, there);
    }
  }

  return { read, keep, flush };
}
