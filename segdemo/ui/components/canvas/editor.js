// Editing. One map is edited, `state.maps.yours`; a pixel has one class by nature.
import { paintCapsule } from "./brush.js";
import { VOID } from "./colours.js";
import { makeHistory } from "./history.js";
import { makeMarks } from "./marks.js";
import { fillPolygon } from "./polygon.js";
import { makeSaving } from "./saving.js";
import { makeShortcuts } from "./shortcuts.js";
import { makeSmart } from "./smart.js";
import { countsOf, isThing } from "./state.js";
import { makeTeach } from "./teach.js";
import { makeThing } from "./thing.js";
import { makeToolbar } from "./toolbar.js";
import { makeTools } from "./tools.js";

export function makeEditor(canvas) {
  const { state, nodes, trigger } = canvas;
  const { announce, banner } = canvas.page;
  const { redraw, redrawRect } = canvas.frames;
  // What the parts of the editor share.
  const e = {
    tool: "brush",
    active: null, // the tool between press and release
    size: 24,
    tolerance: 20,
    onlyBackground: false,
    history: null,
    map: null,
    saved: null, // the map as the server has it
    id: 0, // the class that is painted
    only: null,
    last: null,
    points: [],
    clicked: 0,
    freehand: false,
    erasing: false,
    waiting: false, // for superpixels
    version: 0,
    savedVersion: 0,
    saving: false,
  };
  const timers = {};

  // Once per frame at most, the latest request wins.
  function later(name, work) {
    if (!timers[name])
      requestAnimationFrame(() => {
        const run = timers[name];
        timers[name] = null;
        run();
      });
    timers[name] = work;
  }

  const blank = () => (state.background === null ? VOID : state.background);
  const dirty = () => e.version !== e.savedVersion || editor.thing.isOpen();

  function overBackground() {
    const table = new Uint8Array(256);
    table[blank()] = table[VOID] = 1;
    return table;
  }

  // Odd sizes centre on a pixel, even ones on a corner, so a brush of n is n pixels wide wherever it lands.
  function snap([x, y]) {
    if (e.size > 12) return [x, y];
    return e.size % 2 ? [Math.floor(x) + 0.5, Math.floor(y) + 0.5] : [Math.round(x), Math.round(y)];
  }

  function stroke(from, to) {
    const { width, height } = state;
    const [id, only] = e.erasing ? [blank(), null] : [e.id, e.only];
    paintCapsule(e.map, width, height, snap(from), snap(to), e.size / 2, id, only, e.history.mark);
  }

  function closePolygon() {
    const points = e.points;
    e.points = [];
    editor.place();
    if (points.length < 3) return;
    fillPolygon(e.map, state.width, state.height, points, e.id, e.only, e.history.mark);
    commit("Polygon");
  }

  // Ends a step; false if nothing changed.
  function commit(label) {
    const changed = e.history.commit(label);
    if (changed) changedMap();
    return changed;
  }

  function changedMap() {
    e.version++;
    delete state.ious.yours;
    editor.toolbar.refreshButtons();
    later("legend", canvas.side.refreshLegend);
    editor.saving.writeDraftSoon();
    editor.saving.saveSoon();
    trigger("edit", { key: state.payload.key });
  }

  // A whole-map operation, told about in words.
  function operate(label, work) {
    if (!e.history) return;
    editor.thing.finish();
    lookAtMask();
    work(e.history.mark);
    const changed = commit(label);
    announce(changed ? label : `${label}: nothing to change`);
    if (!changed) banner(`${label}: nothing to change.`);
  }

  function replaceMap(label, data) {
    operate(label, (mark) => {
      e.map.set(data);
      mark(0, 0, state.width, state.height);
    });
  }

  function undo() {
    if (editor.teach.isOn()) return editor.teach.step("undo");
    // What is being selected is a step like any other.
    if (editor.thing.isOpen() && !editor.thing.finish()) return announce("Undone: Select thing");
    const label = e.history?.undo();
    if (!label) return announce("Nothing to undo");
    changedMap();
    announce(`Undone: ${label}`);
  }

  function redo() {
    if (editor.teach.isOn()) return editor.teach.step("redo");
    editor.thing.finish();
    const label = e.history?.redo();
    if (!label) return announce("Nothing to redo");
    changedMap();
    announce(`Redone: ${label}`);
  }

  function lookAtMask() {
    if (state.layer === "yours" && state.show === "classes") return;
    [state.layer, state.show] = ["yours", "classes"];
    canvas.side.build();
    redraw("overlay");
  }

  function choose(id) {
    const entry = state.byId.get(id);
    if (!entry) return announce(`There is no class ${id} in this label set.`);
    state.paintClass = id;
    if (id !== state.background && state.hidden.delete(id)) state.solo = null;
    editor.toolbar.refreshClass();
    canvas.side.refreshLegend();
    editor.thing.recolour();
    redraw("overlay");
    announce(`Painting ${entry.name}`);
  }

  function down(point, event) {
    lookAtMask();
    if (e.tool !== "thing") editor.thing.finish();
    e.erasing = e.tool === "eraser" || event.button === 2;
    e.id = state.paintClass;
    e.only = e.onlyBackground ? overBackground() : null;
    const picking = event.altKey && e.tool === "brush";
    e.active = editor.tools[e.tool === "eraser" ? "brush" : picking ? "pick" : e.tool];
    e.active.down(point, event);
    e.last = point;
  }

  function move(point) {
    e.active?.move?.(point);
    e.last = point;
  }

  function up() {
    e.active?.up?.();
    e.active = null;
  }

  function cancel() {
    if (e.active?.cancel) e.active.cancel();
    else e.history?.cancel();
    if (e.tool === "rectangle" || e.freehand) e.points = [];
    e.active = null;
    editor.place();
  }

  // The photo of the state is there now; `draft` is unsaved work on it, if any.
  function enter(draft) {
    editor.smart.forget();
    editor.thing.forget();
    editor.teach.forget();
    e.points = [];
    if (!state.editing) {
      e.history = e.map = null;
      nodes.toolbar.hidden = true;
      return editor.saving.begin();
    }
    const { width, height, maps } = state;
    e.saved = maps.yours?.slice() ?? null;
    e.map = maps.yours ??= maps.prediction?.slice() ?? new Uint8Array(width * height).fill(blank());
    state.layer = "yours";
    e.history = makeHistory(e.map, width, height, countsOf(state, "yours"), redrawRect);
    e.version = e.savedVersion = 0;
    e.saving = false;
    banner("");
    if (draft && draft.map.some((id, i) => id !== e.map[i])) editor.saving.restore(draft);
    if (!state.byId.has(state.paintClass) || state.paintClass === state.background)
      state.paintClass = firstClass();
    editor.toolbar.build();
    editor.saving.begin();
    if (draft) editor.saving.saveSoon();
  }

  function firstClass() {
    const counts = countsOf(state, "yours");
    const things = state.classes.filter(({ id }) => isThing(state, id));
    return (things.find(({ id }) => counts[id]) ?? things[0] ?? state.classes[0]).id;
  }

  const editor = { e, later, blank, dirty, snap, stroke, closePolygon, commit, operate, replaceMap };
  Object.assign(editor, { undo, redo, choose, down, move, up, cancel, enter });
  editor.paints = () => state.editing && e.tool !== "hand";
  editor.leave = () => (e.waiting = false);
  // To another photo. What was changed is saved on the way, and with `accept` the mask as it is; nobody waits for it.
  editor.next = (accept = false) => {
    const { key } = state.payload,
      saving = editor.saving.leave(accept),
      shown = canvas.loader.showAhead();
    trigger("next", { key, saving, shown: shown && { key: shown.key, revision: shown.revision } });
  };
  editor.previous = () => {
    editor.saving.leave();
    trigger("previous", { key: state.payload.key });
  };
  editor.saving = makeSaving(canvas, editor);
  editor.marks = makeMarks(canvas, editor);
  editor.smart = makeSmart(canvas, editor);
  editor.thing = makeThing(canvas, editor);
  editor.teach = makeTeach(canvas, editor);
  editor.tools = makeTools(canvas, editor);
  const { readDraft, save } = editor.saving,
    { hover, place } = editor.marks;
  Object.assign(editor, { readDraft, save, hover, place });
  // Another value is to be shown: what is selected is kept, and what is not saved yet is.
  editor.leavePhoto = () => {
    editor.thing.finish();
    const written = Promise.all([editor.saving.writeDraft(), editor.teach.keep()]);
    editor.saving.leave();
    return written;
  };
  editor.writeDraft = editor.saving.writeDraft;
  editor.toolbar = makeToolbar(canvas, editor);
  const { setTool, setSize } = editor.toolbar;
  return Object.assign(editor, { setTool, setSize }, makeShortcuts(canvas, editor));
}
