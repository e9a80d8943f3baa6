// What a frame draws: the photo, the overlay over it, and the split between two of them.
import { ERROR_CODES, buildStyle } from "./colours.js";
import { drawPhoto, makeOverlay } from "./drawing.js";
import { LAYER_NAMES, SHOW_NAMES, cutOf, heatOf, judged } from "./state.js";

export function makeFrames(canvas) {
  const { state, view, nodes } = canvas;
  const overlay = makeOverlay(nodes.over, view);
  let wanted = { photo: false, overlay: false, rect: null }; // what the next frame has to draw
  let asked = false;
  const frames = { milliseconds: 0, redraw, redrawRect, mainLayer, resize };

  function layerFor(name) {
    if (name === "photo" || !state.maps[name]) return null;
    const style = buildStyle(state.classes, state.options, (id) => !state.hidden.has(id));
    return { map: state.maps[name], style };
  }

  function mainLayer() {
    if (state.show !== "errors") return layerFor(state.layer);
    const entries = ERROR_CODES.map((e) => ({ id: e.code, ...e }));
    const style = buildStyle(entries, { ...state.options, outline: false }, () => true);
    return { map: state.maps[judged(state)], truth: state.maps.truth, style };
  }

  // Draws the overlay inside a rectangle of device pixels.
  function drawOverlay(x0 = 0, y0 = 0, x1 = view.width, y1 = view.height) {
    const cut = Math.round(view.width * cutOf(state));
    const heat = heatOf(state);
    if (heat) overlay.paintHeat(heat, state.options.opacity, 0, cut);
    else overlay.paint(mainLayer(), x0, y0, Math.min(cut, x1), y1);
    const right = state.split.on ? layerFor(state.split.with) : null;
    if (cut < view.width) overlay.paint(right, Math.max(cut, x0), y0, x1, y1);
  }

  // Draws at most once per frame, whatever asks for it. `part` is "photo", "overlay" or nothing more than was wanted.
  function redraw(part) {
    if (part) wanted[part] = true;
    if (asked || !state.pyramid) return;
    asked = true;
    requestAnimationFrame(drawFrame);
  }

  // A brush stroke redraws only the image rectangle it touched.
  function redrawRect(x0, y0, x1, y1) {
    const old = wanted.rect;
    wanted.rect = old
      ? [Math.min(old[0], x0), Math.min(old[1], y0), Math.max(old[2], x1), Math.max(old[3], y1)]
      : [x0, y0, x1, y1];
    redraw();
  }

  function drawFrame() {
    const { photo, overlay: whole, rect } = wanted;
    wanted = { photo: false, overlay: false, rect: null };
    asked = false;
    if (!state.pyramid || !view.width) return;
    const began = performance.now();
    if (photo) {
      drawPhoto(nodes.base, view, state.pyramid);
      overlay.place();
      placeMarks();
    }
    if (photo || whole) canvas.editor.teach.draw();
    if (photo || whole) drawOverlay();
    else if (rect && !heatOf(state)) {
      const margin = 3 + view.scale;
      const [x0, y0] = view.toDevice(rect[0], rect[1]),
        [x1, y1] = view.toDevice(rect[2], rect[3]);
      drawOverlay(x0 - margin, y0 - margin, x1 + margin, y1 + margin);
    }
    if (cutOf(state) < 1 || !nodes.handle.hidden) placeSplit();
    if (photo || whole) canvas.names.place();
    frames.milliseconds = performance.now() - began;
  }

  function placeMarks() {
    nodes.zoom.textContent = `${Math.round((view.scale / view.dpr) * 100)} %`;
    const panned = !view.isFitted();
    // At fit, a finger on a picture that is only looked at scrolls the page; otherwise it moves or paints the picture.
    nodes.stage.style.touchAction = panned || state.editing ? "none" : "pan-y";
    canvas.editor.place();
    canvas.cursor.place();
  }

  function placeSplit() {
    nodes.handle.hidden = cutOf(state) === 1 && !state.split.on;
    nodes.handle.style.left = `${cutOf(state) * 100}%`;
    nodes.handle.setAttribute("aria-valuenow", Math.round(state.split.at * 100));
    const whole = heatOf(state) || state.show === "errors";
    const left = whole ? SHOW_NAMES[state.show] : LAYER_NAMES[state.layer];
    [left, LAYER_NAMES[state.split.with]].forEach((name, i) => {
      nodes.splitNames[i].hidden = !state.split.on;
      nodes.splitNames[i].textContent = state.split.on ? name : "";
    });
  }

  function resize() {
    nodes.base.width = view.width;
    nodes.base.height = view.height;
    overlay.resize();
  }

  return frames;
}
