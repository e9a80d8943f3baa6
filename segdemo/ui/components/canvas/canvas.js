// The mask canvas. `props.value` is what `payload` of __init__.py builds. Each canvas on a page has its own parts, which
// find each other in the object `canvas`; nothing is shared but the browser's storage and the event "sc-view".
import { makeChip } from "./chip.js";
import { makeDownloads } from "./downloads.js";
import { makeEditor } from "./editor.js";
import { makeFrames } from "./frames.js";
import { makeCursor, makeKeys } from "./keyboard.js";
import { makeLoader } from "./loading.js";
import { makeNames } from "./names.js";
import { makePage } from "./page.js";
import { makePngCodec } from "./png.js";
import { makePointer } from "./pointer.js";
import { makeSide } from "./side.js";
import { makeStage } from "./stage.js";
import { makeState } from "./state.js";
import { makeView } from "./view.js";
import { makeWorker } from "./worker.js";

export function mount(element, { trigger, props, server, watch }) {
  const canvas = { element, trigger, props, server };
  canvas.state = makeState();
  canvas.view = makeView();
  canvas.codec = makeWorker(makePngCodec);
  canvas.page = makePage(canvas); // makes `canvas.nodes` too
  canvas.frames = makeFrames(canvas);
  canvas.names = makeNames(canvas);
  canvas.side = makeSide(canvas);
  canvas.chip = makeChip(canvas);
  canvas.downloads = makeDownloads(canvas);
  canvas.cursor = makeCursor(canvas);
  canvas.pointer = makePointer(canvas);
  canvas.editor = makeEditor(canvas);
  canvas.stage = makeStage(canvas);
  canvas.keys = makeKeys(canvas);
  canvas.loader = makeLoader(canvas);

  // What tests and the benchmark read; also handy in a browser's console.
  element.maskCanvas = canvas.nodes.root.maskCanvas = {
    state: canvas.state,
    view: canvas.view,
    editor: canvas.editor,
    encode: canvas.downloads.encode,
    decode: (bytes) => canvas.codec.call("decode", bytes),
    describe: canvas.chip.describe,
    get loads() {
      return canvas.loader.loads;
    },
    get ahead() {
      return canvas.loader.readyKey();
    },
    get frameMilliseconds() {
      return canvas.frames.milliseconds;
    },
  };
  watch("value", canvas.loader.show);
  canvas.loader.show();
}
