// Teach: strokes of each class on the photo, kept apart from the mask, from which a Worker learns to label the whole photo
// after every one. Apply writes that into the mask. docs/teach.md is the contract.
import { fromBase64 } from "./base64.js";
import { paintCapsule } from "./brush.js";
import { VOID } from "./colours.js";
import { makeTeachLearner } from "./teach_learner.js";
import { makeTeachOutlines } from "./teach_outlines.js";
import { makeTeachPanel } from "./teach_panel.js";
import { makeTeachSpread } from "./teach_spread.js";
import { makeTeachStore } from "./teach_store.js";
import { UNPAINTED, makeStrokes } from "./teach_strokes.js";
import { makeTeachView } from "./teach_view.js";
import { makeWorker } from "./worker.js";

const LONGEST = 1024; // pixels of the longest side of the label map that is shown; Apply makes that of the photo
const STRIP = 2e6; // pixels that Apply has outlined at a time
const KEEP = 400; // milliseconds from a stroke until it is kept

async function inflate(text, size) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (bytes.length !== size)
    throw new Error("What the server knows of this photo arrived damaged: try again.");
  return bytes;
}

export function makeTeach(canvas, editor) {
  const { element, state, view, server } = canvas;
  const { announce, banner } = canvas.page;
  const { e } = editor;
  const store = makeTeachStore(canvas);
  const look = makeTeachView(canvas);
  let worker = null,
    // Of a photo: {payload, strokes, grid, others, classes, answer, failed, learning, wanted, applying}.
    session = null,
    erasing = false, // what plain strokes do
    least = 0, // how likely a class has to be, 0..1
    before = "brush", // the tool to go back to
    timer = 0,
    keeping = Promise.resolve();
  const teach = { milliseconds: 0 }; // from the last stroke to the frame that shows what it taught

  const isOn = () => state.editing && e.tool === "teach";
  const isCurrent = (mine) => mine === session;

  function refresh() {
    panel.refresh(session, isOn(), erasing);
    editor.toolbar.refreshButtons();
  }

  function draw() {
    if (isOn() && session) look.draw(session.strokes?.map, session.answer);
  }

  // --- a photo ---

  function open() {
    const { payload } = state;
    const mine = { payload, strokes: null, grid: null, others: [], classes: [], answer: null, failed: "" };
    session = mine;
    readStrokes(mine);
  }

  async function readStrokes(mine) {
    const { width, height } = mine.payload;
    const kept = await store.read(mine.payload).catch(() => null); // storage can be forbidden
    if (!isCurrent(mine)) return;
    const map = kept ?? new Uint8Array(width * height).fill(UNPAINTED);
    const known = Uint8Array.from({ length: 256 }, (_, id) => (state.byId.has(id) ? id : UNPAINTED));
    if (kept) for (let i = 0; i < map.length; i++) map[i] = known[map[i]]; // classes may be gone
    mine.strokes = makeStrokes(map, width, height, (...box) => isCurrent(mine) && touched(box));
    refresh();
    draw();
    learn();
  }

  let touchedBox = null;
  function touched([x0, y0, x1, y1]) {
    const [a0, b0, a1, b1] = (touchedBox ??= [x0, y0, x1, y1]);
    touchedBox = [Math.min(a0, x0), Math.min(b0, y0), Math.max(a1, x1), Math.max(b1, y1)];
    editor.later("strokes", () => {
      look.drawStrokes(...touchedBox);
      touchedBox = null;
    });
  }

  // Features of the photo, once, and what was painted on others.
  async function getReady(mine) {
    if (mine.grid) return;
    const { payload } = mine;
    const answer = await server.teach_features({ key: payload.key }).catch(() => {
      throw new Error("The server does not answer: your strokes are kept, paint on to try again.");
    });
    if (answer.error) throw new Error(answer.error);
    const { rows, columns, channels, steps, features: graph } = answer;
    const [bytes, guide, others] = await Promise.all([
      inflate(answer.data, rows * columns * channels),
      inflate(answer.guide, rows * columns * 3),
      store.others(payload, graph).catch(() => []),
    ]);
    if (!isCurrent(mine)) return;
    worker ??= makeWorker(makeTeachLearner, makeTeachSpread, makeTeachOutlines);
    const small = pixelsOf(Math.min(1, LONGEST / Math.max(payload.width, payload.height)));
    await worker.call("open", { rows, columns, channels, features: bytes, steps, guide, small });
    const known = others.filter(({ ids }) => ids.every((id) => state.byId.has(id)));
    Object.assign(mine, { grid: { rows, columns, channels, bytes, graph }, others: known });
  }

  // The photo in small: {width, height, rgba}.
  function pixelsOf(scale) {
    const [width, height] = [state.width, state.height].map((side) => Math.max(1, Math.round(side * scale)));
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(state.pyramid.level(scale), 0, 0, width, height);
    return { width, height, rgba: context.getImageData(0, 0, width, height).data };
  }

  // Learns from what is painted. Strokes made meanwhile are learned from together.
  function learn() {
    const mine = session;
    if (!mine?.strokes) return;
    mine.wanted = true;
    mine.learning ??= learnAll(mine).finally(() => {
      mine.learning = null;
      if (isCurrent(mine)) refresh();
    });
  }

  async function learnAll(mine) {
    try {
      while (mine.wanted && isCurrent(mine)) {
        mine.wanted = false;
        await getReady(mine);
        if (!isCurrent(mine)) return;
        const { began } = mine;
        const own = mine.strokes.votes(mine.grid.rows, mine.grid.columns);
        const answer = await worker.call("learn", { own, others: mine.others, least });
        if (!isCurrent(mine)) return;
        mine.classes = answer.classes;
        mine.answer = answer.data ? answer : null;
        mine.failed = "";
        draw();
        if (began) teach.milliseconds = performance.now() - began;
        refresh();
      }
    } catch (error) {
      mine.wanted = false;
      if (!isCurrent(mine)) return;
      mine.failed = error.message;
      if (isOn()) banner(error.message, "warning");
    }
  }

  // --- strokes ---

  function changed() {
    session.began = performance.now();
    learn();
    refresh();
    clearTimeout(timer);
    timer = setTimeout(keep, KEEP);
  }

  // Keeps strokes in the browser, if some are not kept yet.
  function keep() {
    if (!timer) return keeping;
    clearTimeout(timer);
    timer = 0;
    const { payload, strokes, grid } = session ?? {};
    if (strokes) {
      const put = strokes.isEmpty() ? store.remove(payload.key) : store.write(payload, strokes, grid);
      keeping = Promise.all([keeping, put]).then(
        () => (canvas.nodes.root.dataset.strokes = payload.key),
        () => {}, // storage is forbidden: nothing can be done, and the draft of the mask says so
      );
    }
    return keeping;
  }

  function stroke(from, to) {
    const { width, height } = state,
      { strokes } = session;
    const id = erasing || e.erasing ? UNPAINTED : e.id;
    paintCapsule(
      strokes.map,
      width,
      height,
      editor.snap(from),
      editor.snap(to),
      e.size / 2,
      id,
      null,
      strokes.history.mark,
    );
  }

  const isReady = () => session?.strokes && !session.applying;
  const canPaint = () => isReady() && (erasing || e.erasing || e.id !== VOID);

  function down(point) {
    if (canPaint()) stroke(point, point);
    else if (isReady()) banner("Void cannot be taught: choose a class.");
  }

  const move = (point) => canPaint() && stroke(e.last, point);
  const up = () => isReady() && session.strokes.history.commit("Stroke") && changed();
  const cancel = () => session?.strokes?.history.cancel();

  function step(name) {
    const label = isReady() && session.strokes.history[name]();
    if (label) changed();
    announce(label ? `${name === "undo" ? "Undone" : "Redone"}: ${label}` : `Nothing to ${name}`);
  }

  function clear() {
    if (!isReady() || !session.strokes.clear()) return;
    changed();
    announce("Cleared the strokes");
  }

  // --- what was taught ---

  function setLeast(value) {
    least = value;
    editor.later("least", async () => {
      const mine = session;
      if (!mine?.answer) return;
      const answer = await worker.call("look", { least });
      if (!isCurrent(mine) || !mine.answer || !answer.data) return;
      mine.answer = { ...mine.answer, ...answer };
      draw();
    });
  }

  // The label map at the photo's own size.
  async function labelsOf(mine) {
    const { width, height } = mine.payload;
    const rows = Math.max(1, Math.min(height, Math.floor(STRIP / width)));
    const context = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
    const map = new Uint8Array(width * height);
    for (let top = 0; top < height && isCurrent(mine); top += rows) {
      const count = Math.min(rows, height - top);
      context.drawImage(state.pyramid.level(1), 0, top, width, count, 0, 0, width, count);
      const rgba = context.getImageData(0, 0, width, count).data;
      const { data } = await worker.call("outline", { rgba, width, height, top, least });
      map.set(data, top * width);
    }
    return map;
  }

  async function apply() {
    const mine = session;
    if (!mine?.answer || mine.applying) return;
    mine.applying = true;
    refresh();
    try {
      await mine.learning; // the last stroke counts
      const map = isCurrent(mine) && mine.answer ? await labelsOf(mine) : null;
      if (!map || !isCurrent(mine)) return;
      write(map);
      if (isOn()) leaveTo("brush");
    } finally {
      mine.applying = false;
      refresh();
    }
  }

  function write(map) {
    const free = new Uint8Array(256).fill(e.onlyBackground ? 0 : 1);
    free[editor.blank()] = free[VOID] = 1;
    editor.operate("Applied what was taught", (mark) => {
      for (let i = 0; i < map.length; i++) if (map[i] !== UNPAINTED && free[e.map[i]]) e.map[i] = map[i];
      mark(0, 0, state.width, state.height);
    });
  }

  // To where it is least sure.
  function next() {
    if (!session?.answer) return announce("Paint two classes first.");
    const [x, y] = session.answer.next;
    const point = [Math.floor(x * state.width), Math.floor(y * state.height)];
    view.centre(point[0] + 0.5, point[1] + 0.5, Math.max(view.scale, 2 * view.fitScale()));
    canvas.stage.moved();
    canvas.cursor.set(point);
    announce("Here it is least sure: paint here next.");
  }

  // --- the tool ---

  function enter() {
    if (session?.payload.key !== state.payload.key) open();
    else if (session.failed) learn();
    refresh();
    draw();
  }

  function leave() {
    erasing = false;
    look.hide();
    refresh();
    return keep();
  }

  const leaveTo = (name) => editor.setTool(name);

  // Whether a tool that is chosen only changes what strokes do: the eraser takes strokes away.
  function keeps(name) {
    if (!isOn()) before = name === "teach" ? e.tool : before;
    erasing = isOn() && name === "eraser";
    if (erasing) announce("Strokes are taken away");
    if (erasing) refresh();
    return erasing;
  }

  // Does what a key means while the tool is on; false if it means nothing to it.
  function key(name) {
    if (!isOn()) return false;
    if (name === "u") next();
    else if (name === "Escape") leaveTo(before);
    else return false;
    return true;
  }

  // Another photo, or none. The same one, with another prediction, keeps its strokes.
  function forget() {
    touchedBox = null;
    const { payload, editing } = state;
    const fits =
      editing && session?.payload.key === payload.key && session.payload.labels.name === payload.labels.name;
    if (fits && session.payload.width === payload.width && session.payload.height === payload.height) return;
    keep();
    session = null;
    look.hide();
  }

  const panel = makeTeachPanel(canvas, { apply, clear, next, setLeast, least: () => least });
  document.addEventListener("visibilitychange", () => document.hidden && element.isConnected && keep());
  addEventListener("pagehide", () => element.isConnected && keep());
  Object.assign(teach, { down, move, up, cancel, step, enter, leave, keeps, key, keep, forget, draw, isOn });
  teach.controls = panel.build;
  teach.history = () => session?.strokes?.history;
  teach.session = () => session;
  return teach;
}
