// The Worker that learns from strokes, and what it is given of the photo.
import { fromBase64 } from "./base64.js";
import { makeTeachLearner } from "./teach_learner.js";
import { makeTeachOutlines } from "./teach_outlines.js";
import { makeTeachSpread } from "./teach_spread.js";
import { makeWorker } from "./worker.js";

const LONGEST = 1024; // pixels of the longest side of the label map that is shown; Apply makes that of the photo
const STRIP = 2e6; // pixels that Apply has outlined at a time

async function inflate(text, size) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (bytes.length !== size)
    throw new Error("What the server knows of this photo arrived damaged: try again.");
  return bytes;
}

export function makeTeachLearning({ state, server }, store) {
  let worker = null, // there is none before it is needed
    others = []; // what was painted on other photos

  // Gets a photo ready, with what was painted on others: {rows, columns, channels, bytes, graph}, its features. Null if it is
  // no longer the current one. Rejects with a sentence.
  async function open(payload, isCurrent) {
    // A call that throws at once is one that fails, too.
    const asked = Promise.resolve().then(() => server.teach_features({ key: payload.key }));
    const answer = await asked.catch(() => null);
    if (!answer) throw new Error("The server does not answer: your strokes are kept, paint on to try again.");
    if (answer.error) throw new Error(answer.error);
    const { rows, columns, channels, steps, features: graph } = answer;
    const [bytes, guide, all] = await Promise.all([
      inflate(answer.data, rows * columns * channels),
      inflate(answer.guide, rows * columns * 3),
      store.others(payload, graph).catch(() => []),
    ]);
    if (!isCurrent()) return null;
    worker ??= makeWorker(makeTeachLearner, makeTeachSpread, makeTeachOutlines);
    const small = pixelsOf(Math.min(1, LONGEST / Math.max(payload.width, payload.height)));
    await worker.call("open", { rows, columns, channels, features: bytes, steps, guide, small });
    others = all.filter(({ ids }) => ids.every((id) => state.byId.has(id))); // classes may be gone
    return { rows, columns, channels, bytes, graph };
  }

  // The photo in small: {width, height, rgba}.
  function pixelsOf(scale) {
    const [width, height] = [state.width, state.height].map((side) => Math.max(1, Math.round(side * scale)));
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(state.pyramid.level(scale), 0, 0, width, height);
    return { width, height, rgba: context.getImageData(0, 0, width, height).data };
  }

  // See `learn` and `look` of teach_learner.js.
  const learn = (own, least) => worker.call("learn", { own, others, least });
  const look = (least) => worker.call("look", { least });

  // The label map at the photo's own size.
  async function labels({ width, height }, least, isCurrent) {
    const rows = Math.max(1, Math.min(height, Math.floor(STRIP / width)));
    const context = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
    const map = new Uint8Array(width * height);
    for (let top = 0; top < height && isCurrent(); top += rows) {
      const count = Math.min(rows, height - top);
      context.drawImage(state.pyramid.level(1), 0, top, width, count, 0, 0, width, count);
      const rgba = context.getImageData(0, 0, width, count).data;
      const { data } = await worker.call("outline", { rgba, width, height, top, least });
      map.set(data, top * width);
    }
    return map;
  }

  return { open, learn, look, labels };
}
