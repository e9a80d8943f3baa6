// Teach: strokes of each class on the photo, kept apart from the mask, from which a Worker learns to label the whole photo
// after every one. Apply writes that into the mask. docs/teach.md is the contract.
import { paintCapsule } from "./brush.js";
import { VOID } from "./colours.js";
import { makeTeachLearning } from "./teach_learning.js";
import { makeTeachPanel } from "./teach_panel.js";
import { makeTeachStore } from "./teach_store.js";
import { UNPAINTED, makeStrokes } from "./teach_strokes.js";
import { makeTeachSync } from "./teach_sync.js";
import { makeTeachView } from "./teach_view.js";

const KEEP = 400; // milliseconds from a stroke until it is kept

export function makeTeach(canvas, editor) {
  const { element, state, view } = canvas;
  const { announce, banner } = canvas.page;
  const { e } = editor;
  const store = makeTeachStore(canvas);
  const sync = makeTeachSync(canvas, store, joined);
  const look = makeTeachView(canvas);
  const learning = makeTeachLearning(canvas, store);
  // Of a photo: {payload, strokes, grid, classes, answer, failed, learning, wanted, applying}.
  let session = null,
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
    editor.toolbar.refreshThing();
    editor.toolbar.refreshButtons();
  }

  function draw() {
    if (isOn() && session) look.draw(session.strokes?.map, session.answer);
  }

  // --- a photo ---

  function open() {
    const { payload } = state;
    const mine = { payload, strokes: null, grid: null, classes: [], answer: null, failed: "" };
    session = mine;
    readStrokes(mine); // until then nothing can be painted
  }

  async function readStrokes(mine) {
    const { width, height } = mine.payload;
    await keeping; // what is on its way may be of this photo
    const kept = await sync.read(mine.payload);
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
      if (touchedBox) look.drawStrokes(...touchedBox);
      touchedBox = null;
    });
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
        mine.grid ??= await learning.open(mine.payload, () => isCurrent(mine));
        if (!isCurrent(mine)) return;
        const { began } = mine;
        const own = mine.strokes.votes(mine.grid.rows, mine.grid.columns);
        const answer = await learning.learn(own, least);
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
      const put = sync.keep(payload, strokes, grid);
      keeping = Promise.all([keeping, put]).then(
        () => (canvas.nodes.root.dataset.strokes = payload.key),
        () => {}, // storage is forbidden: nothing can be done, and the draft of the mask says so
      );
    }
    return keeping;
  }

  // Somebody else painted on this photo meanwhile: that shows where nothing is painted here.
  function joined(photo, there) {
    const { strokes, payload } = session ?? {};
    if (payload?.key !== photo || !strokes) return;
    const { map, history } = strokes;
    history.cancel();
    there.forEach((id, i) => {
      if (map[i] === UNPAINTED && state.byId.has(id)) map[i] = id;
    });
    history.mark(0, 0, payload.width, payload.height);
    if (history.commit("Strokes painted elsewhere")) changed();
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
      const answer = await learning.look(least);
      if (!isCurrent(mine) || !mine.answer || !answer.data) return;
      mine.answer = { ...mine.answer, ...answer };
      draw();
    });
  }

  async function apply() {
    const mine = session;
    if (!mine?.answer || mine.applying) return;
    mine.applying = true;
    refresh();
    try {
      await mine.learning; // the last stroke counts
      const map =
        isCurrent(mine) && mine.answer
          ? await learning.labels(mine.payload, least, () => isCurrent(mine))
          : null;
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

  // The class at a pixel of the photo in the label map that is shown in place of the mask; null where it has none.
  function labelAt(x, y) {
    const answer = isOn() ? session?.answer : null;
    if (!answer) return null;
    const { data, width, height } = answer;
    const id = data[Math.floor((y * height) / state.height) * width + Math.floor((x * width) / state.width)];
    return id === UNPAINTED ? null : id;
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
    return keepAndSend();
  }

  const keepAndSend = () => keep().then(sync.flush);
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
    const same = ["key", "width", "height", "labels"].every(
      (name) => JSON.stringify(session?.payload[name]) === JSON.stringify(payload?.[name]),
    );
    if (editing && session && same) return;
    keepAndSend();
    session = null;
    look.hide();
  }

  const panel = makeTeachPanel(canvas, { apply, clear, next, setLeast, least: () => least });
  document.addEventListener(
    "visibilitychange",
    () => document.hidden && element.isConnected && keepAndSend(),
  );
  addEventListener("pagehide", () => element.isConnected && keep());
  Object.assign(teach, {
    down,
    move,
    up,
    cancel,
    step,
    enter,
    leave,
    keeps,
    key,
    keep,
    forget,
    draw,
    isOn,
    labelAt,
  });
  teach.controls = panel.build;
  teach.hint = () => (isOn() && session ? panel.hintOf(session) : null);
  teach.history = () => session?.strokes?.history;
  teach.session = () => session;
  return teach;
}
