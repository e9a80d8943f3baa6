// Hands: pointer, touch, wheel and keyboard.

const pointers = new Map(); // pointers down on the stage: id -> [x, y] in device pixels
let gesture = null; // "pan", "pinch", "tool" or null
let spaceDown = false,
  penSeen = false,
  last = [0, 0],
  travel = 0;
let cursor = null; // keyboard cursor in image pixels

function devicePoint(event) {
  const box = nodes.stage.getBoundingClientRect();
  return [
    (event.clientX - box.left - nodes.stage.clientLeft) * view.dpr,
    (event.clientY - box.top - nodes.stage.clientTop) * view.dpr,
  ];
}

function pinchState() {
  const [[ax, ay], [bx, by]] = [...pointers.values()];
  return { x: (ax + bx) / 2, y: (ay + by) / 2, distance: Math.max(1, Math.hypot(ax - bx, ay - by)) };
}

function onPointerDown(event) {
  if (!state.pyramid || event.target.closest(".sc-split")) return;
  if (event.pointerType === "pen") penSeen = true;
  const point = devicePoint(event);
  pointers.set(event.pointerId, point);
  nodes.stage.setPointerCapture(event.pointerId);
  nodes.stage.focus({ preventScroll: true });
  setCursor(null);
  if (pointers.size === 2) {
    if (gesture === "tool") editor.cancel(); // the first finger of a pinch must leave no paint
    gesture = "pinch";
    last = pinchState();
    return;
  }
  [last, travel] = [point, 0];
  // Once a pen was seen, a finger or a resting palm never paints.
  const touchOnly = event.pointerType === "touch" && penSeen;
  const wantsPan = spaceDown || event.button === 1 || touchOnly || !editor.paints();
  gesture = wantsPan ? "pan" : "tool";
  if (gesture === "tool") editor.down(view.toImage(...point), event);
  if (event.button === 1 || gesture === "tool") event.preventDefault();
}

function onPointerMove(event) {
  const point = devicePoint(event);
  if (!pointers.has(event.pointerId)) {
    if (event.pointerType !== "touch") hover(point, event);
    return;
  }
  pointers.set(event.pointerId, point);
  if (gesture === "pinch" && pointers.size === 2) {
    const now = pinchState();
    view.pan(now.x - last.x, now.y - last.y);
    view.zoomAt(now.x, now.y, now.distance / last.distance);
    last = now;
    return moved();
  }
  travel += Math.abs(point[0] - last[0]) + Math.abs(point[1] - last[1]);
  if (gesture === "pan" && (event.pointerType !== "touch" || nodes.stage.style.touchAction === "none")) {
    view.pan(point[0] - last[0], point[1] - last[1]);
    moved();
  } else if (gesture === "tool") {
    // Coalesced events are the points the device saw between two frames: strokes stay round when drawn fast.
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length ? all : [event]) editor.move(view.toImage(...devicePoint(each)), each);
    hover(point, event);
  }
  last = point;
}

function onPointerUp(event) {
  const point = pointers.get(event.pointerId);
  if (!pointers.delete(event.pointerId)) return;
  if (gesture === "tool")
    event.type === "pointercancel" ? editor.cancel() : editor.up(view.toImage(...point), event);
  else if (gesture === "pan" && travel < 6 * view.dpr && event.type === "pointerup") {
    showChip(...point); // a tap reads the pixel
    const info = describe(...view.toImage(...point));
    if (info) announce(info.text);
  }
  gesture = pointers.size === 1 && gesture === "pinch" ? "pan" : null;
  if (gesture) last = [...pointers.values()][0];
}

function hover(point, event) {
  if (!state.pyramid) return;
  showChip(...point);
  editor.hover(view.toImage(...point), point, event);
}

function onWheel(event) {
  if (!state.pyramid) return;
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : 1;
  // A trackpad pinch arrives as a wheel with ctrl held and small steps.
  zoomBy(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0018)), ...devicePoint(event));
}

function onSplitDrag(event) {
  const box = nodes.stage.getBoundingClientRect();
  state.split.at = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  redraw("overlay");
}

function onSplitKey(event) {
  const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  state.split.at = Math.min(Math.max(state.split.at + step, 0), 1);
  redraw("overlay");
}

// ---------------------------------------------------------------------------------------------------- keyboard

function setCursor(point) {
  cursor = point;
  placeCursor();
}

function placeCursor() {
  nodes.cross ??= nodes.stage.appendChild(el("div", { class: "sc-cross", "aria-hidden": "true" }));
  nodes.cross.hidden = !cursor;
  if (!cursor) return;
  const x = ((cursor[0] + 0.5) * view.scale + view.tx) / view.dpr,
    y = ((cursor[1] + 0.5) * view.scale + view.ty) / view.dpr;
  nodes.cross.style.transform = `translate(${x}px, ${y}px)`;
}

function moveCursor(dx, dy) {
  const [x, y] = cursor ?? view.toImage(view.width / 2, view.height / 2).map(Math.floor);
  const next = [
    Math.min(Math.max(x + dx, 0), state.width - 1),
    Math.min(Math.max(y + dy, 0), state.height - 1),
  ];
  const sx = next[0] * view.scale + view.tx,
    sy = next[1] * view.scale + view.ty;
  if (sx < 0 || sy < 0 || sx > view.width || sy > view.height) {
    view.centre(...next, view.scale);
    moved();
  }
  setCursor(next);
  showChip((next[0] + 0.5) * view.scale + view.tx, (next[1] + 0.5) * view.scale + view.ty);
  announce(describe(...next)?.text ?? "");
}

const cycle = (list, value) => list[(list.indexOf(value) + 1) % list.length];
const pressToggle = (n) => nodes.toggles.children[n]?.click();

// Keys that work whether or not the mask can be edited: key -> [what it does, action].
const VIEW_KEYS = {
  "+": ["Zoom in", () => zoomBy(1.5)],
  "-": ["Zoom out", () => zoomBy(1 / 1.5)],
  w: ["Fit the photo", fit],
  W: ["Actual size", actualSize],
  l: ["Next mask (prediction, truth, yours)", () => setLayer(cycle(layersHere(), state.layer))],
  m: ["Next way of showing it (classes, confidence, …)", () => setShow(cycle(showsHere(), state.show))],
  o: ["Outline on or off", () => pressToggle(0)],
  t: ["Patterns on or off", () => pressToggle(1)],
  d: ["Split on or off", () => pressToggle(2)],
  a: ["Show all classes", showAllClasses],
  u: ["Jump to the most uncertain region", jumpToUncertain],
  "?": ["This list", showHelp],
};
const STAGE_KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// The component listens while the focus is in it, or while the pointer is over it and the focus is nowhere.
function isOurs(event) {
  if (element.contains(event.target)) return true;
  return event.target === document.body && nodes.root.matches(":hover");
}

function isTyping({ target, key }) {
  if (target.matches("textarea, select, [contenteditable]")) return true;
  if (!target.matches("input")) return false;
  if (target.type === "range" || target.type === "radio") return key.startsWith("Arrow") || key === " ";
  return target.type !== "checkbox" && target.type !== "file";
}

function onKeyDown(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKeyDown);
  if (!state.pyramid || !isOurs(event) || isTyping(event) || nodes.dialog.open) return;
  const onStage = event.target === nodes.stage || event.target === document.body;
  const arrow = onStage && !event.ctrlKey && STAGE_KEYS[event.key];
  let handled = true;
  if (arrow) moveCursor(...arrow.map((d) => d * (event.shiftKey ? 10 : 1)));
  else if (onStage && event.key === " ") {
    spaceDown = true;
    nodes.stage.classList.add("sc-panning");
  } else if (editor.key(event, onStage)) handled = true;
  else if (onStage && event.key === "Escape" && cursor) setCursor(null);
  else if (
    !event.ctrlKey &&
    !event.metaKey &&
    !event.altKey &&
    VIEW_KEYS[event.key === "=" ? "+" : event.key]
  )
    VIEW_KEYS[event.key === "=" ? "+" : event.key][1]();
  else handled = false;
  if (handled) event.preventDefault();
}

function onKeyUp(event) {
  if (!element.isConnected) return document.removeEventListener("keyup", onKeyUp);
  if (event.key !== " ") return;
  spaceDown = false;
  nodes.stage.classList.remove("sc-panning");
}

function showHelp() {
  const keys = [
    ...(state.editing ? editor.help() : []),
    ...Object.entries(VIEW_KEYS).map(([key, [what]]) => [
      key.length === 1 && key !== key.toLowerCase() ? `Shift ${key}` : key.toUpperCase(),
      what,
    ]),
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

function listen() {
  nodes.stage.addEventListener("pointerdown", onPointerDown);
  nodes.stage.addEventListener("pointermove", onPointerMove);
  nodes.stage.addEventListener("pointerup", onPointerUp);
  nodes.stage.addEventListener("pointercancel", onPointerUp);
  nodes.stage.addEventListener("pointerleave", () => {
    if (!pointers.size) nodes.chip.hidden = nodes.ring.hidden = true;
  });
  nodes.stage.addEventListener("wheel", onWheel, { passive: false });
  nodes.stage.addEventListener("contextmenu", (event) => state.editing && event.preventDefault());
  // Two fingers belong to the picture even where one finger scrolls the page.
  for (const name of ["touchstart", "touchmove"])
    nodes.stage.addEventListener(name, (e) => e.touches.length > 1 && e.cancelable && e.preventDefault(), {
      passive: false,
    });
  nodes.handle.addEventListener("pointerdown", (event) => {
    nodes.handle.setPointerCapture(event.pointerId);
    nodes.handle.onpointermove = onSplitDrag;
    event.stopPropagation();
  });
  nodes.handle.addEventListener("pointerup", () => (nodes.handle.onpointermove = null));
  nodes.handle.addEventListener("keydown", onSplitKey);
  document.addEventListener("keydown", onKeyDown);
  document.addEventListener("keyup", onKeyUp);
  document.addEventListener("sc-view", follow);
  new ResizeObserver(fitStage).observe(nodes.stage.parentElement);
}
