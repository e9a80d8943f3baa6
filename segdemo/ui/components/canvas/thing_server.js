// What is asked of the server that selects things, and what it answers, as plain arrays. Class ids and masks never pass
// through a browser's canvas.
import { base64Of, fromBase64 } from "./base64.js";
import { makePngCodec } from "./png.js";
import { shrinkMask } from "./thing_paint.js";

const LONGEST = 1024; // pixels of the longest side of a mask that is sent
const PATIENCE = 10000; // milliseconds until a server counts as gone
const MOST_CELLS = 2 ** 24;
export const GONE = "The server does not answer.";

// `select(data)` is the server's function; see `on_select` of `mask_canvas` for what it takes and gives.
export function makeThingServer(select, patience = PATIENCE) {
  const codec = makePngCodec(); // here and not in a Worker: the pictures are small and a person waits

  async function call(data) {
    let timer = 0;
    const late = new Promise((_, reject) => {
      timer = setTimeout(reject, patience, new Error(GONE));
    });
    const sent = { clicks: [], box: null, mask: null, preview: false, prepare: false, ...data };
    // A call that throws at once is one that fails, too.
    const asked = Promise.resolve()
      .then(() => select(sent))
      .catch(() => {
        throw new Error(GONE);
      });
    try {
      const answer = await Promise.race([asked, late]);
      if (answer?.error) throw new Error(String(answer.error));
      return answer;
    } finally {
      clearTimeout(timer);
    }
  }

  async function read(answer, width, height) {
    const [x0, y0, x1, y1] = answer.box;
    const fits = answer.box.every(Number.isInteger) && 0 <= x0 && x0 < x1 && x1 <= width;
    if (!fits || !(0 <= y0 && y0 < y1 && y1 <= height)) throw new Error(GONE);
    const [likely, changed] = await Promise.all(
      [answer.probabilities, answer.changed].map((text) => codec.decode(fromBase64(text), MOST_CELLS)),
    );
    if (likely.width !== changed.width || likely.height !== changed.height) throw new Error(GONE);
    const { width: columns, height: rows, data: probabilities } = likely;
    return { box: answer.box, columns, rows, probabilities, changed: changed.data };
  }

  return {
    // Rejects with a sentence if the server cannot select things of this photo.
    async prepare(key) {
      await codec.decode(await codec.encode(1, 1, new Uint8Array(1), null)); // a first time takes ten times as long
      await call({ key, prepare: true });
    },

    // A mask as it is sent; outside `box` it is empty.
    async encode(mask, width, height, box) {
      const small = shrinkMask(mask, width, height, box, LONGEST);
      return base64Of(await codec.encode(small.width, small.height, small.data, null));
    },

    // The answer to clicks, a box, or both, on a photo of width x height, where there is an encoded mask or none. Null for a
    // preview that the server is too busy for. Rejects with a sentence.
    async ask({ key, width, height, clicks, box = null, mask = null, preview = false }) {
      const answer = await call({ key, clicks, box, mask, preview });
      if (answer?.busy && preview) return null;
      if (!Array.isArray(answer?.box)) throw new Error(answer?.busy ? "The server is busy." : GONE);
      return read(answer, width, height);
    },
  };
}

// Previews of the thing under a moving pointer: one request at a time, at most one every `every` milliseconds, and of the
// points that come meanwhile only the last counts. `ask(point)` gives an answer, or null for "busy", after which there is
// silence for `pause` milliseconds; `show(answer)` hears of answers, and of null when there is nothing to show.
export function makePreviews(ask, show, { every = 80, pause = 4000 } = {}) {
  let wanted = null,
    asking = false,
    turn = 0,
    notBefore = 0;
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  async function run() {
    if (asking) return;
    asking = true;
    while (wanted) {
      const wait = notBefore - performance.now();
      if (wait > 0) await sleep(wait);
      if (!wanted) break;
      const [point, mine] = [wanted, turn];
      wanted = null;
      notBefore = performance.now() + every;
      const answer = await ask(point).catch(() => null);
      if (!answer) notBefore = performance.now() + pause;
      if (mine === turn) show(answer);
    }
    asking = false;
  }

  function hold() {
    wanted = null;
    turn++;
  }

  return {
    move(point) {
      wanted = point;
      run();
    },
    // No further ones, and what is on its way comes too late; what is shown stays.
    hold,
    stop() {
      hold();
      show(null);
    },
  };
}
