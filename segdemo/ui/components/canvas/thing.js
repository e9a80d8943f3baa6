// Select thing: the server's model turns clicks, scribbles and boxes into the mask of a thing. From the first of them to
// Enter, Escape or another tool there is a session, which is one step of undo. Without a model or a server that answers,
// superpixels (smart.js) do what they can.
import { isInside } from "./state.js";
import { alongPath } from "./thing_paint.js";
import { makeSelecting } from "./thing_selecting.js";
import { makePreviews, makeThingServer } from "./thing_server.js";
import { makeThingView } from "./thing_view.js";

const CLICK = 6; // CSS pixels: a shorter drag is a click
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
  const selecting = makeSelecting(canvas, editor, wire, { changed: refresh, ended, failed });
  const { session } = selecting;
  let press = null, // between press and release
    takesAway = false, // what plain clicks do
    goneSince = 0, // when the server last failed, 0 for never
    told = false,
    preview = null,
    previewedAt = null;

  const isLearned = () => Boolean(server.select_thing) && !goneSince;
  const apart = (a, b) => (Math.hypot(a[0] - b[0], a[1] - b[1]) * view.scale) / view.dpr; // CSS pixels
  const redraw = () => editor.later("thing", editor.place);

  function refresh() {
    editor.toolbar.refreshThing();
    editor.toolbar.refreshButtons();
    redraw();
  }

  function ended() {
    takesAway = false;
    previews.stop();
  }

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
      if (payload === state.payload && e.tool === "thing") goWithout(error.message);
    }
    editor.toolbar.refreshThing();
  }

  // The steps that got no answer are taken by superpixels.
  async function failed(reason, steps) {
    goWithout(reason);
    const { payload } = state;
    await editor.smart.prepare();
    if (payload !== state.payload || session()) return;
    const middle = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2, 1];
    const clicks = steps.flatMap(({ clicks: all, box }) => (box ? [middle(box)] : all));
    clicks.forEach(([x, y, sign], n) => {
      editor.smart.down([x + 0.5, y + 0.5], { shiftKey: n > 0, altKey: !sign });
      editor.smart.up();
    });
  }

  function down(point, { button = 0, altKey = false, shiftKey = false }) {
    previews.hold(); // it stays in sight until the answer is there
    const sign = altKey || button === 2 || takesAway ? 0 : 1;
    const learned = Boolean(session()) || isLearned();
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
    if (step) selecting.take(step);
    if (!session()) previews.stop();
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

  function drop() {
    press = null;
    selecting.drop();
    redraw();
  }

  // Enter: the thing is taken, unless it is a click at the keyboard's cursor. True if it was.
  function enter(at) {
    const last = session()?.steps.at(-1).clicks.at(-1);
    if (!session() || (at && !(last && at[0] === last[0] && at[1] === last[1]))) return false;
    selecting.accept();
    return true;
  }

  function setSign(minus) {
    takesAway = minus;
    announce(minus ? "Clicks take away" : "Clicks add");
    editor.toolbar.refreshThing();
  }

  const previews = makePreviews(
    ([x, y]) => {
      const { payload, width, height } = state;
      return wire.ask({ key: payload.key, width, height, clicks: [[x, y, 1]], preview: true });
    },
    (answer) => {
      if (!answer) previewedAt = null;
      if (answer !== preview) redraw();
      preview = answer;
    },
  );

  // The pointer moves over a photo that it does not press; null when it leaves.
  function hover(point) {
    if (press || session() || e.tool !== "thing" || !state.editing || !isLearned()) return;
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
    const now = session(),
      bounds = now?.bounds();
    if (bounds) look.outline(now.mask, bounds, now.version());
    else if (preview && !press?.dragged) look.preview(preview, state.byId.get(state.paintClass).color);
    else look.clear();
    if (now) look.clicks(now.steps, now.isAnswered, shape);
    if (press?.dragged) look.band(press.points, press.isBox, shape);
  }

  // Another photo, or none: the map of the session is no longer there.
  function forget() {
    press = null;
    selecting.leave();
    previews.stop();
  }

  function leaveTool() {
    previews.stop();
    selecting.accept();
  }

  const isOpen = () => Boolean(session()),
    isBusy = () => Boolean(press || session());
  const thing = { down, move, up, cancel, drop, enter, prepare, hover, place, forget, leaveTool, setSign };
  const { accept, finish, takeBack, recolour } = selecting;
  Object.assign(thing, { accept, finish, takeBack, recolour, isLearned, isOpen, isBusy });
  thing.takesAway = () => takesAway;
  thing.selecting = selecting;
  return thing;
}
