// From the files that Python names to the maps and the photo that are shown.
import { plain } from "../dom.js";
import { VOID, patternOf } from "./colours.js";
import { colourHeat, makePyramid } from "./drawing.js";
import { startHidden } from "./state.js";

const urlOf = (file) => (typeof file === "string" ? file : file?.url);

async function fetchBytes(file) {
  const response = await fetch(urlOf(file));
  if (!response.ok)
    throw new Error(`A file of this photo could not be loaded (${response.status}): reload the page.`);
  return response.arrayBuffer();
}

const SWEEP = 1100; // milliseconds in which the mask is drawn over the first photo

export function makeLoader(canvas) {
  const { element, state, view, nodes, codec, trigger } = canvas;
  const { announce } = canvas.page;
  const { redraw } = canvas.frames;
  const loader = { loads: 0, show: () => show(plain(canvas.props.value)), showAhead, readyKey };
  let swept = false; // once a page
  let ahead = null; // { payload, files: promise of readFiles, isRead }
  let loading = 0; // number of the load under way; an older one that finishes late is dropped

  async function loadMap(file, width, height) {
    if (!file) return null;
    const map = await codec.call("decode", new Uint8Array(await fetchBytes(file)));
    if (width && (map.width !== width || map.height !== height))
      throw new Error(`The mask is ${map.width} x ${map.height} but the photo is ${width} x ${height}.`);
    return map;
  }

  async function loadPhoto(file) {
    return createImageBitmap(new Blob([await fetchBytes(file)]));
  }

  function readLabels(labels) {
    const colored = (c) => ({ ...c, color: labels.shown?.[c.id] ?? c.color, pattern: patternOf(c.id) });
    state.classes = labels.classes.map(colored);
    state.classes.push({ id: VOID, name: "void", color: labels.void_color, pattern: patternOf(VOID) });
    state.byId = new Map(state.classes.map((c) => [c.id, c]));
    state.background = labels.background;
    state.palette = Uint8Array.from(labels.palette.match(/../g), (pair) => parseInt(pair, 16));
  }

  function wait(text) {
    nodes.busy.hidden = !text;
    if (text) nodes.busy.textContent = text;
  }

  // Keys work at once, unless somebody is writing or choosing something elsewhere on the page.
  function mayFocus() {
    const at = document.activeElement;
    return (
      !at?.matches("input:not([type=file]), textarea, select, [contenteditable]") &&
      !at?.closest("dialog, details")
    );
  }

  // The page asked for a photo before it was saved and is answered after.
  const isOlderThanSaved = ({ key, mode, revision }) =>
    mode === "edit" && state.saved?.key === key && (revision ?? 0) < state.saved.revision;

  // What the files of a payload hold.
  async function readFiles({ image, width, height, layers, confidence, uncertainty }, withPhoto) {
    const sized = (file) => loadMap(file, width, height);
    const files = [sized(layers.prediction), sized(layers.truth), sized(layers.yours), loadMap(confidence)];
    return Promise.all([withPhoto ? loadPhoto(image) : null, ...files, loadMap(uncertainty)]);
  }

  // Keeps the photo that will probably be wanted next, so that `showAhead` shows it at once.
  function keep(payload) {
    const old = ahead;
    old?.files.then(
      ([bitmap]) => bitmap.close(),
      () => {},
    );
    ahead = payload && { payload, files: readFiles(payload, true), isRead: false };
    const now = ahead;
    now?.files.then(
      () => (now.isRead = true),
      () => {}, // it is loaded again when it is asked for, and what is wrong is said then
    );
  }

  // Key of what is kept and read, or null.
  function readyKey() {
    return ahead?.isRead ? ahead.payload.key : null;
  }

  // Shows what was kept and returns its payload; null if that is not there, or of another collection.
  function showAhead() {
    const collection = (key) => key.split("/")[0];
    const { payload, files, isRead } = ahead ?? {};
    if (!isRead || payload.key === state.payload.key) return null;
    if (collection(payload.key) !== collection(state.payload.key)) return null;
    ahead = null;
    show(payload, files);
    return payload;
  }

  // Shows what `payload` describes. Keeps the photo and the view when only the masks changed (another model).
  async function load(payload, files) {
    const { editor } = canvas;
    const turn = ++loading;
    const samePhoto = state.pyramid && state.payload && urlOf(payload.image) === urlOf(state.payload.image);
    const sameClasses =
      state.payload && JSON.stringify(payload.labels) === JSON.stringify(state.payload.labels);
    if (!files) wait("Loading…");
    nodes.root.setAttribute("aria-busy", "true");
    editor.leavePhoto(); // which may also be this one
    await editor.saving.settled(payload.key);
    const { width, height } = payload;
    const [[bitmap, prediction, truth, yours, confidence, uncertainty], draft] = await Promise.all([
      files ?? readFiles(payload, !samePhoto),
      editor.readDraft(payload),
    ]);
    if (turn !== loading) return bitmap?.close();
    if (isOlderThanSaved(payload)) {
      bitmap?.close();
      wait("");
      nodes.root.removeAttribute("aria-busy");
      state.saved = null; // what comes next is shown, whatever it is
      return trigger("reload", { key: payload.key });
    }
    editor.leave();
    if (bitmap) {
      state.pyramid?.close();
      state.pyramid = makePyramid(bitmap);
      state.pyramid.grow(() => redraw("photo"));
    }
    const maps = Object.entries({ prediction, truth, yours }).filter(([, map]) => map);
    Object.assign(state, {
      payload,
      width,
      height,
      name: payload.name || "photo",
      message: payload.message,
      revision: payload.revision ?? null,
      counts: {},
      ious: {},
      visited: [],
      editing: payload.mode === "edit",
      maps: Object.fromEntries(maps.map(([name, map]) => [name, map.data])),
      heat: {},
    });
    for (const [name, map] of Object.entries({ confidence, uncertainty }))
      if (map) state.heat[name] = { map, picture: colourHeat(map) };
    readLabels(payload.labels);
    if (!samePhoto || !sameClasses || !state.hidden.size)
      [state.hidden, state.solo] = [startHidden(state), null];
    editor.enter(draft);
    canvas.side.build();
    wait("");
    nodes.root.removeAttribute("aria-busy");
    if (!samePhoto) view.width = 0; // so that the new photo is fitted
    canvas.stage.fitStage();
    if (payload.look_at) canvas.stage.showRegion(...payload.look_at);
    redraw("photo");
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    if (state.editing && mayFocus()) nodes.stage.focus({ preventScroll: true });
    sweep();
    loader.loads++;
    nodes.root.dataset.ready = payload.key;
    trigger("ready", { key: payload.key });
  }

  // The first mask of the page comes from the left, so that photo and mask are both seen. The split line is the hand.
  function sweep() {
    if (swept || state.editing || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    swept = true;
    const began = performance.now();
    const step = (now) => {
      const t = Math.min(1, (now - began) / SWEEP);
      state.sweep = t < 1 ? 1 - (1 - t) ** 3 : null;
      redraw("overlay");
      if (t < 1) requestAnimationFrame(step);
    };
    state.sweep = 0;
    requestAnimationFrame(step);
  }

  async function show(payload, files) {
    if (!payload?.image) return;
    try {
      await load(payload, files);
    } catch (error) {
      wait(error.message);
      nodes.root.removeAttribute("aria-busy");
      announce(error.message);
    }
  }

  document.addEventListener("sc-ahead", ({ detail }) => {
    if (element.isConnected && state.editing && state.payload.next_photo) keep(plain(detail));
  });
  return loader;
}
