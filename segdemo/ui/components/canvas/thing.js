// Select thing: the server's model turns clicks, scribbles and boxes into the mask of a thing. From the first of them to
// Enter, Escape or another tool there is a session, which is one step of undo. Without a model or a server that answers,
// superpixels (smart.js) do what they can.
import { isInside, isThing } from "./state.js";
import { alongPath, nearestOf, paintThing } from "./thing_paint.js";
import { makePreviews, makeThingServer } from "./thing_server.js";
import { makeSession } from "./thing_session.js";
import { makeThingView } from "./thing_view.js";

const CLICK = 6; // CSS pixels: a shorter drag is a click
const BESIDE = 6; // CSS pixels: a first click this near to a region of the class corrects it
const FURTHEST = 60; // image pixels, likewise
const SCRIBBLE = 5; // clicks that a scribble counts for at most
const RETRY = 10000; // milliseconds until a server that was gone is asked again
const INSTEAD = "Areas of like colour are selected instead.";
const NO_MODEL = "There is no model here that selects things.";

export function makeThing(canvas, editor) {
  const { state, view, server } = canvas;
  const { announce, banner } = canvas.page;
  const { e } = editor;
  const wire = makeThingServer((data) => server.select_thing(data));
  const look = makeThingView(canvas);
  let session = null,
    press = null, // between press and release
    asking = false,
    takesAway = false, // what plain clicks do
    goneSince = 0, // when the server last failed, 0 for never
    told = false,
    preview = null,
    previewedAt = null;

  const isLearned = () => Boolean(server.select_thing) && !goneSince;
  const photo = () => ({ key: state.payload.key, width: state.width, height: state.height });
  const apart = (a, b) => (Math.hypot(a[0] - b[0], a[1] - b[1]) * view.scale) / view.dpr; // CSS pixels
  const redraw = () => editor.later("thing", editor.place);

  function refresh() {
    editor.toolbar.refreshThing();
    editor.toolbar.refreshButtons();
    redraw();
  }

  // ------------------------------------------------------------------------------------------- with and without a server

  function goWithout(reason) {
    goneSince = performance.now();
    if (!told) banner(`${reason} ${INSTEAD}`, "warning");
    told = true;
    editor.smart.prepare();
    editor.toolbar.refreshThing();
  }

  // When the tool is taken up, or a photo comes while it is: the server gets the photo ready.
  async function prepare() {
    if (!server.select_thing) return goWithout(NO_MODEL);
    const { payload } = state;
    try {
      await wire.prepare(payload.key);
      if (goneSince) told = false;
      goneSince = 0;
    } catch (error) {
      if (payload === state.payload) goWithout(error.message);
    }
    editor.toolbar.refreshThing();
  }

  // The steps that got no answer, by superpixels.
  async function selectAlike(steps) {
    const { payload } = state;
    await editor.smart.prepare();
    if (payload !== state.payload || session) return;
    const middle = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2, 1];
    const clicks = steps.flatMap(({ clicks: all, box }) => (box ? [middle(box)] : all));
    clicks.forEach(([x, y, sign], n) => {
      editor.smart.down([x + 0.5, y + 0.5], { shiftKey: n > 0, altKey: !sign });
      editor.smart.up();
    });
  }

  // ------------------------------------------------------------------------------------------- press, move, release

  function down(point, { button = 0, altKey = false, shiftKey = false }) {
    previews.hold(); // it stays in sight until the answer is there
    const sign = altKey || button === 2 || takesAway ? 0 : 1;
    const learned = Boolean(session) || isLearned();
    press = { points: [point], sign, isBox: Boolean(sign) && !shiftKey, learned, dragged: false };
    if (!learned) editor.smart.down(point, { shiftKey, altKey: !sign });
  }

  function move(point) {
    if (!press) return;
    if (!press.learned) return editor.smart.move(point);
    press.points.push(point);
    press.dragged ||= apart(press.points[0], point) >= CLICK;
    if (press.dragged) redraw();
  }

  function up() {
    const done = press;
    press = null;
    if (!done) return;
    if (!done.learned) {
      editor.smart.up();
      if (server.select_thing && performance.now() - goneSince > RETRY) prepare();
      return;
    }
    const step = stepOf(done);
    if (step) take(step);
    else previews.stop();
    redraw();
  }

  // The press gave no step: a second finger came, or the browser took it back.
  function cancel() {
    if (press && !press.learned) e.history.cancel();
    press = null;
    previews.stop();
    redraw();
  }

  function stepOf({ points, sign, isBox, dragged }) {
    if (dragged && isBox) {
      const [[ax, ay], [bx, by]] = [points[0], points.at(-1)];
      const [x0, x1] = [Math.max(0, Math.floor(Math.min(ax, bx))), Math.ceil(Math.max(ax, bx))];
      const [y0, y1] = [Math.max(0, Math.floor(Math.min(ay, by))), Math.ceil(Math.max(ay, by))];
      const box = [x0, y0, Math.min(state.width, x1), Math.min(state.height, y1)];
      return box[0] < box[2] && box[1] < box[3] ? { clicks: [], box } : null;
    }
    const path = dragged ? alongPath(points, SCRIBBLE, 1) : [points[0]];
    const inside = path.map((p) => p.map(Math.floor)).filter(([x, y]) => isInside(state, x, y));
    return inside.length ? { clicks: inside.map(([x, y]) => [x, y, sign]), box: null } : null;
  }

  // ------------------------------------------------------------------------------------------- the session

  function take(step) {
    if (session?.accepted) {
      const { payload } = state; // the last thing's mask is on its way: this one comes after it
      session.accepted.then(() => payload === state.payload && take(step));
      return;
    }
    session ??= open(step);
    if (!session) return;
    session.add(step);
    session.began = performance.now();
    refresh();
    askAll();
  }

  function open({ clicks: [first], box }) {
    const { width, height } = state;
    const reach = Math.min(FURTHEST, Math.max(2, (BESIDE * view.dpr) / view.scale));
    const corrects = !box && isThing(state, e.id);
    const seed = corrects ? nearestOf(e.map, width, height, first[0], first[1], e.id, reach) : null;
    if (!box && !seed && !first[2]) {
      announce("There is nothing to take away here.");
      previews.stop();
      return null;
    }
    return makeSession({ map: e.map, width, height, seed, id: e.id, only: e.only });
  }

  // One request at a time: steps made meanwhile wait, and are sent together.
  async function askAll() {
    if (asking) return;
    asking = true;
    try {
      while (session?.pending()) await ask(session);
    } finally {
      asking = false;
    }
    if (session?.accepted) finish();
  }

  async function ask(current) {
    const { began } = current,
      request = current.request();
    const { clicks, box, corrects } = request;
    let answer;
    try {
      answer = await wire.ask({ ...photo(), clicks, box, mask: current.mask, corrects });
    } catch (error) {
      if (current === session) fail(error.message);
      return;
    }
    if (current !== session || !current.receive(request, answer)) return;
    previews.stop();
    paint(answer.box);
    refresh();
    requestAnimationFrame(() => setTimeout(() => (thing.milliseconds = performance.now() - began)));
  }

  function fail(reason) {
    const steps = session.giveUp();
    if (session.steps.length) {
      banner(`${reason} The last click was left out.`, "warning");
      return refresh();
    }
    leave();
    goWithout(reason);
    selectAlike(steps);
  }

  // Paints what the session has inside a box.
  function paint(box) {
    const { mask, region, id, only } = session;
    e.history.restore(...box);
    paintThing(e.map, state.width, box, mask, region, id, only, editor.blank());
    e.history.mark(...box);
  }

  // Ends the session, whatever becomes of its paint.
  function leave() {
    const { done } = session;
    session = null;
    takesAway = false;
    previews.stop();
    done?.();
    if (e.history) refresh();
  }

  // Keeps what is there now; steps without an answer are forgotten. False if that changes nothing.
  function finish() {
    if (!session) return false;
    leave();
    return editor.commit("Select thing");
  }

  // Keeps the thing once all its steps have their answers; resolves when it is kept or gone.
  function accept() {
    if (!session) return Promise.resolve();
    session.accepted ??= new Promise((resolve) => (session.done = resolve));
    const { accepted } = session;
    if (!session.pending()) {
      finish();
      announce("Selected");
    }
    return accepted;
  }

  function drop() {
    press = null;
    if (session) {
      leave();
      e.history.cancel();
      editor.saving.renewDraft();
      announce("Selection given up");
    }
    redraw();
  }

  function takeBack() {
    const changed = session.takeBack();
    if (!session.steps.length) return drop();
    if (changed) paint(changed);
    refresh();
    askAll();
  }

  // The class of the session's thing is the chosen one.
  function recolour() {
    if (!session || session.id === state.paintClass) return;
    session.id = state.paintClass;
    if (session.bounds()) paint(session.bounds());
  }

  // Enter: the thing is taken, unless it is a click at the keyboard's cursor. True if it was.
  function enter(at) {
    const last = session?.steps.at(-1).clicks.at(-1);
    if (!session || (at && !(last && at[0] === last[0] && at[1] === last[1]))) return false;
    accept();
    return true;
  }

  function setSign(minus) {
    takesAway = minus;
    announce(minus ? "Clicks take away" : "Clicks add");
    editor.toolbar.refreshThing();
  }

  // ------------------------------------------------------------------------------------------- previews and looks

  const previews = makePreviews(
    ([x, y]) => wire.ask({ ...photo(), clicks: [[x, y, 1]], preview: true }),
    (answer) => {
      if (!answer) previewedAt = null;
      if (answer !== preview) redraw();
      preview = answer;
    },
  );

  // The pointer moves over a photo that it does not press; null when it leaves.
  function hover(point) {
    if (press || session || e.tool !== "thing" || !state.editing || !isLearned()) return;
    const pixel = point?.map(Math.floor);
    if (!pixel || !isInside(state, ...pixel)) {
      previewedAt = null;
      return previews.stop();
    }
    if (previewedAt && apart(previewedAt, point) < 3) return;
    previewedAt = point;
    previews.move(pixel);
  }

  function place(shape) {
    const bounds = session?.bounds();
    if (bounds) look.outline(bounds, session);
    else if (preview && !press?.dragged)
      look.outline(preview.box, { answer: preview, color: state.byId.get(state.paintClass).color });
    else look.clear();
    if (session) look.clicks(session.steps, session.isAnswered, shape);
    if (press?.dragged) look.band(press.points, press.isBox, shape);
  }

  // Another photo, or none: the map of the session is no longer there.
  function forget() {
    press = null;
    if (session) leave();
    previews.stop();
  }

  function leaveTool() {
    previews.stop();
    accept();
  }

  const thing = { down, move, up, cancel, prepare, accept, finish, drop, takeBack, recolour, enter };
  Object.assign(thing, { hover, place, forget, leaveTool, setSign, isLearned, milliseconds: 0 });
  thing.isOpen = () => Boolean(session);
  thing.isBusy = () => Boolean(session || press);
  thing.isAsking = () => asking;
  thing.takesAway = () => takesAway;
  return thing;
}
