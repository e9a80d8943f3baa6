// Hands: pointer, touch and wheel.

export function makePointer(canvas) {
  const { state, view, nodes } = canvas;
  const { stage, handle } = nodes;
  const pointers = new Map(); // pointers down on the stage: id -> [x, y] in device pixels
  let gesture = null; // "pan", "pinch", "tool" or null
  let penSeen = false,
    last = [0, 0],
    travel = 0;
  const pointer = { spaceDown: false, painting: () => gesture === "tool" };

  function devicePoint(event) {
    const box = stage.getBoundingClientRect();
    return [
      (event.clientX - box.left - stage.clientLeft) * view.dpr,
      (event.clientY - box.top - stage.clientTop) * view.dpr,
    ];
  }

  function pinchState() {
    const [[ax, ay], [bx, by]] = [...pointers.values()];
    return { x: (ax + bx) / 2, y: (ay + by) / 2, distance: Math.max(1, Math.hypot(ax - bx, ay - by)) };
  }

  function onPointerDown(event) {
    const { editor } = canvas;
    if (!state.pyramid || event.target.closest(".sc-split")) return;
    if (event.pointerType === "pen") penSeen = true;
    const point = devicePoint(event);
    pointers.set(event.pointerId, point);
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
    canvas.cursor.set(null);
    if (pointers.size === 2) {
      if (gesture === "tool") editor.cancel(); // the first finger of a pinch must leave no paint
      gesture = "pinch";
      last = pinchState();
      return;
    }
    [last, travel] = [point, 0];
    // Once a pen was seen, a finger or a resting palm never paints.
    const touchOnly = event.pointerType === "touch" && penSeen;
    const wantsPan = pointer.spaceDown || event.button === 1 || touchOnly || !editor.paints();
    gesture = wantsPan ? "pan" : "tool";
    if (gesture === "tool") editor.down(view.toImage(...point), event);
    if (event.button === 1 || gesture === "tool") event.preventDefault();
  }

  function onPointerMove(event) {
    const point = devicePoint(event);
    if (!pointers.has(event.pointerId)) {
      if (event.pointerType !== "touch") hover(point);
      return;
    }
    pointers.set(event.pointerId, point);
    if (gesture === "pinch" && pointers.size === 2) {
      const now = pinchState();
      view.pan(now.x - last.x, now.y - last.y);
      view.zoomAt(now.x, now.y, now.distance / last.distance);
      last = now;
      return canvas.stage.moved();
    }
    travel += Math.abs(point[0] - last[0]) + Math.abs(point[1] - last[1]);
    if (gesture === "pan" && (event.pointerType !== "touch" || stage.style.touchAction === "none")) {
      view.pan(point[0] - last[0], point[1] - last[1]);
      canvas.stage.moved();
    } else if (gesture === "tool") {
      // Coalesced events are the points the device saw between two frames: strokes stay round when drawn fast.
      const all = event.getCoalescedEvents?.() ?? [];
      for (const each of all.length ? all : [event]) canvas.editor.move(view.toImage(...devicePoint(each)));
      hover(point);
    }
    last = point;
  }

  function onPointerUp(event) {
    const point = pointers.get(event.pointerId);
    if (!pointers.delete(event.pointerId)) return;
    if (gesture === "tool") {
      if (event.type === "pointercancel") canvas.editor.cancel();
      else canvas.editor.up();
    } else if (gesture === "pan" && travel < 6 * view.dpr && event.type === "pointerup") {
      canvas.chip.show(...point); // a tap reads the pixel
      const info = canvas.chip.describe(...view.toImage(...point));
      if (info) canvas.page.announce(info.text);
    }
    gesture = pointers.size === 1 && gesture === "pinch" ? "pan" : null;
    if (gesture) last = [...pointers.values()][0];
  }

  function hover(point) {
    if (!state.pyramid) return;
    canvas.chip.show(...point);
    canvas.editor.hover(view.toImage(...point));
  }

  function onWheel(event) {
    if (!state.pyramid) return;
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    // A trackpad pinch arrives as a wheel with ctrl held and small steps.
    const factor = Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0018));
    canvas.stage.zoomBy(factor, ...devicePoint(event));
  }

  function splitAt(share) {
    state.split.at = Math.min(Math.max(share, 0), 1);
    canvas.frames.redraw("overlay");
  }

  function onSplitDrag(event) {
    const box = stage.getBoundingClientRect();
    splitAt((event.clientX - box.left) / box.width);
  }

  function onSplitKey(event) {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    splitAt(state.split.at + step);
  }

  stage.addEventListener("pointerdown", onPointerDown);
  stage.addEventListener("pointermove", onPointerMove);
  stage.addEventListener("pointerup", onPointerUp);
  stage.addEventListener("pointercancel", onPointerUp);
  stage.addEventListener("pointerleave", ({ pointerType }) => {
    if (pointers.size) return;
    nodes.ring.hidden = true;
    if (pointerType !== "touch") nodes.chip.hidden = true; // a lifted finger leaves what it read in sight
    canvas.editor.thing.hover(null);
  });
  stage.addEventListener("wheel", onWheel, { passive: false });
  stage.addEventListener("contextmenu", (event) => state.editing && event.preventDefault());
  // Two fingers belong to the picture even where one finger scrolls the page.
  const ofPicture = (event) => event.touches.length > 1 && event.cancelable && event.preventDefault();
  for (const name of ["touchstart", "touchmove"]) stage.addEventListener(name, ofPicture, { passive: false });
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = onSplitDrag;
    event.stopPropagation();
  });
  handle.addEventListener("pointerup", () => (handle.onpointermove = null));
  handle.addEventListener("keydown", onSplitKey);
  return pointer;
}
