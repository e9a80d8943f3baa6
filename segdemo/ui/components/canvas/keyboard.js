// Keys that work whether or not the mask can be edited, and the cursor that arrow keys move over the photo.
import { el } from "../dom.js";
import { iconButton } from "./controls.js";
import { layersOf, showsOf } from "./state.js";

const STAGE_KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const cycle = (list, value) => list[(list.indexOf(value) + 1) % list.length];

export function makeCursor(canvas) {
  const { state, view, nodes } = canvas;
  let cursor = null; // in image pixels

  function set(point) {
    cursor = point;
    place();
  }

  function place() {
    nodes.cross.hidden = !cursor;
    if (!cursor) return;
    const [x, y] = view.toStage(cursor[0] + 0.5, cursor[1] + 0.5);
    nodes.cross.style.transform = `translate(${x}px, ${y}px)`;
  }

  function move(dx, dy) {
    const [x, y] = cursor ?? view.toImage(view.width / 2, view.height / 2).map(Math.floor);
    const next = [
      Math.min(Math.max(x + dx, 0), state.width - 1),
      Math.min(Math.max(y + dy, 0), state.height - 1),
    ];
    const [sx, sy] = view.toDevice(...next);
    if (sx < 0 || sy < 0 || sx > view.width || sy > view.height) {
      view.centre(...next, view.scale);
      canvas.stage.moved();
    }
    set(next);
    canvas.chip.show(...view.toDevice(next[0] + 0.5, next[1] + 0.5));
    canvas.page.announce(canvas.chip.describe(...next)?.text ?? "");
  }

  return { at: () => cursor, set, place, move };
}

function isTyping({ target, key }) {
  if (target.matches("textarea, select, [contenteditable]")) return true;
  if (!target.matches("input")) return false;
  if (target.type === "range" || target.type === "radio") return key.startsWith("Arrow") || key === " ";
  return target.type !== "checkbox" && target.type !== "file";
}

export function makeKeys(canvas) {
  const { element, state, nodes, stage, side, pointer, cursor } = canvas;
  const pressToggle = (n) => nodes.toggles.children[n]?.click();

  // Key -> [what it does, action].
  const VIEW_KEYS = {
    "+": ["Zoom in", () => stage.zoomBy(1.5)],
    "-": ["Zoom out", () => stage.zoomBy(1 / 1.5)],
    w: ["Fit the photo", stage.fit],
    W: ["Actual size", stage.actualSize],
    l: ["Next mask (prediction, truth, yours)", () => side.setLayer(cycle(layersOf(state), state.layer))],
    m: [
      "Next way of showing it (classes, confidence, …)",
      () => side.setShow(cycle(showsOf(state), state.show)),
    ],
    o: ["Outline on or off", () => pressToggle(0)],
    t: ["Patterns on or off", () => pressToggle(1)],
    d: ["Split on or off", () => pressToggle(2)],
    N: ["Names on or off", () => nodes.namesToggle?.click()],
    a: ["Show all classes", side.showAllClasses],
    u: ["Jump to the most uncertain region", stage.jumpToUncertain],
    v: ["Side panel on or off", stage.toggleSide],
    "?": ["This list", showHelp],
  };
  // Where photos follow one another and are only looked at.
  const to = (which) => () => canvas.trigger(which, { key: state.payload.key });
  const ROW_KEYS = { n: ["Next photo", to("next")], p: ["The photo before", to("previous")] };
  const keysNow = () =>
    state.payload.next_photo && !state.editing ? { ...ROW_KEYS, ...VIEW_KEYS } : VIEW_KEYS;

  // The component listens while the focus is in it, or while the pointer is over it and the focus is nowhere.
  function isOurs(event) {
    if (element.contains(event.target)) return true;
    return event.target === document.body && nodes.root.matches(":hover");
  }

  function onKeyDown(event) {
    if (!element.isConnected) return document.removeEventListener("keydown", onKeyDown);
    if (!state.pyramid || !isOurs(event) || isTyping(event) || nodes.dialog.open) return;
    if (press(event)) event.preventDefault();
  }

  // Does what the key means; false if it means nothing here.
  function press(event) {
    const onStage = event.target === nodes.stage || event.target === document.body;
    const arrow = onStage && !event.ctrlKey && STAGE_KEYS[event.key];
    const plainKey = !event.ctrlKey && !event.metaKey && !event.altKey;
    const action = plainKey && keysNow()[event.key === "=" ? "+" : event.key];
    if (arrow) cursor.move(...arrow.map((d) => d * (event.shiftKey ? 10 : 1)));
    else if (onStage && event.key === " ") {
      pointer.spaceDown = true;
      nodes.stage.classList.add("sc-panning");
    } else if (canvas.editor.key(event, onStage)) return true;
    else if (onStage && event.key === "Escape" && cursor.at()) cursor.set(null);
    else if (action) action[1]();
    else return false;
    return true;
  }

  function onKeyUp(event) {
    if (!element.isConnected) return document.removeEventListener("keyup", onKeyUp);
    if (event.key !== " ") return;
    pointer.spaceDown = false;
    nodes.stage.classList.remove("sc-panning");
  }

  function showHelp() {
    const named = (key) => (key !== key.toLowerCase() ? `Shift ${key}` : key.toUpperCase());
    const keys = [
      ...(state.editing ? canvas.editor.help() : []),
      ...Object.entries(keysNow()).map(([key, [what]]) => [named(key), what]),
      ["Wheel, pinch", "Zoom to the cursor"],
      ["Space or middle drag", "Pan"],
      ["Arrow keys", "Move a cursor over the photo; Shift moves ten pixels"],
    ];
    nodes.dialog.replaceChildren(
      el(
        "div",
        { class: "sc-row sc-legendhead" },
        el("span", { class: "sc-heading" }, "Keyboard shortcuts"),
        iconButton("close", "Close", () => nodes.dialog.close()),
      ),
      el(
        "dl",
        { class: "sc-keys" },
        ...keys.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what))),
      ),
    );
    nodes.dialog.showModal();
  }

  document.addEventListener("keydown", onKeyDown);
  document.addEventListener("keyup", onKeyUp);
  return { showHelp };
}
