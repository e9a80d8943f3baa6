// The selection of one thing, from its first step until it is accepted or given up: its steps are sent one request at a
// time, its mask is painted over the map as of the last step of undo, and it becomes one such step itself.
import { isThing } from "./state.js";
import { nearestOf, paintThing } from "./thing_paint.js";
import { makeSession } from "./thing_session.js";

const BESIDE = 6; // CSS pixels: a first click this near to a region of the class corrects it
const FURTHEST = 60; // image pixels, likewise

// Calls `changed()` when something looks different, `ended()` before that when it is over, and `failed(reason, steps)` when
// there is no answer to any of the steps.
export function makeSelecting({ state, view, page }, editor, wire, { changed, ended, failed }) {
  const { announce, banner } = page;
  const { e } = editor;
  let session = null,
    asking = false;
  const selecting = { milliseconds: 0 }; // from the last step to the frame that shows its answer

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
    changed();
    askAll();
  }

  function open({ clicks: [first], box }) {
    const { width, height } = state;
    const reach = Math.min(FURTHEST, Math.max(2, (BESIDE * view.dpr) / view.scale));
    const corrects = !box && isThing(state, e.id);
    const seed = corrects ? nearestOf(e.map, width, height, first[0], first[1], e.id, reach) : null;
    if (!box && !seed && !first[2]) {
      announce("There is nothing to take away here.");
      return null;
    }
    return makeSession({ map: e.map, width, height, seed, id: e.id, only: e.only });
  }

  // Steps made while a request is under way wait for it, and are sent together.
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
      { width, height } = state,
      request = current.request();
    const { clicks, box, corrects } = request;
    let answer;
    try {
      const mask = corrects && (await encoded(current));
      if (current !== session) return;
      answer = await wire.ask({ key: state.payload.key, width, height, clicks, box, mask });
    } catch (error) {
      if (current === session) fail(error.message);
      return;
    }
    if (current !== session || !current.receive(request, answer)) return;
    paint(answer.box);
    changed();
    requestAnimationFrame(() =>
      setTimeout(() => {
        selecting.milliseconds = performance.now() - began;
        if (current === session) encoded(current);
      }),
    );
  }

  // The mask as it will be sent, made while nobody waits for it.
  const encoded = (current) =>
    (current.encoded ??= wire.encode(current.mask, state.width, state.height, current.bounds()));

  function fail(reason) {
    const steps = session.giveUp();
    if (session.steps.length) {
      banner(`${reason} The last click was left out.`, "warning");
      return changed();
    }
    leave();
    failed(reason, steps);
  }

  // Paints what the session has inside a box.
  function paint(box) {
    const { mask, region, id, only } = session;
    session.encoded = null;
    e.history.restore(...box);
    paintThing(e.map, state.width, box, mask, region, id, only, editor.blank());
    e.history.mark(...box);
  }

  // Ends the session, whatever becomes of its paint.
  function leave() {
    if (!session) return;
    const { done } = session;
    session = null;
    ended();
    done?.();
    changed();
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

  // The map is then as it was before.
  function drop() {
    if (!session) return;
    leave();
    e.history.cancel();
    editor.saving.renewDraft();
    announce("Selection given up");
  }

  function takeBack() {
    const box = session.takeBack();
    if (!session.steps.length) return drop();
    if (box) paint(box);
    changed();
    askAll();
  }

  // The class of the thing is the chosen one.
  function recolour() {
    if (!session || session.id === state.paintClass) return;
    session.id = state.paintClass;
    if (session.bounds()) paint(session.bounds());
  }

  Object.assign(selecting, { take, leave, finish, accept, drop, takeBack, recolour });
  selecting.session = () => session;
  selecting.isAsking = () => asking;
  return selecting;
}
