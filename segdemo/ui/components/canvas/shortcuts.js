// Keys that work while a mask is edited.
import { VOID } from "./colours.js";
import { offeredBy } from "./tools.js";

const PHOTOS = [
  ["N", "Next photo to label; changes are saved"],
  ["Enter", "Save the mask as it is and go to the next photo, when nothing else is under way"],
  ["Shift Enter", "The photo before; changes are saved"],
];
const DIGITS_APART = 800; // milliseconds after which a digit begins a new number

export function makeShortcuts(canvas, editor) {
  const { state, server } = canvas;
  const { e, thing, toolbar } = editor;
  let digits = "",
    timer = 0;

  function onDigit(digit) {
    clearTimeout(timer);
    digits += digit;
    // With a dozen classes, "1" then "2" means class 12; a pause starts again.
    if (!state.byId.has(Number(digits))) digits = digit;
    editor.choose(Number(digits));
    timer = setTimeout(() => (digits = ""), DIGITS_APART);
  }

  // Does what the key means; false if it means nothing here.
  function key(event, onStage) {
    if (!state.editing) return false;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (name === "y" || (name === "z" && event.shiftKey)) editor.redo();
      else if (name === "z") editor.undo();
      else if (name === "s") editor.save();
      else return false;
      return true;
    }
    if (event.altKey || (event.shiftKey && name !== "Enter")) return false;
    if (editor.teach.key(name)) return true;
    const tool = offeredBy(server).find(([, t]) => t.key.toLowerCase() === name);
    if (tool) toolbar.setTool(tool[0]);
    else if (/^[0-9]$/.test(name)) onDigit(name);
    else if (name === "x" && e.tool === "thing") thing.setSign(!thing.takesAway());
    else if (name === "x") editor.choose(VOID);
    else if (name === "[" || name === "]") toolbar.step(name === "]");
    else if (name === "n" && state.payload.next_photo) editor.next();
    else if (name === "Enter" && onStage && isIdle() && event.shiftKey) editor.previous();
    else if (name === "Enter" && onStage && isIdle()) editor.next(true);
    else if (name === "Escape" && thing.isBusy()) thing.drop();
    else if (name === "Backspace" && thing.isOpen()) thing.takeBack();
    else if (name === "Enter" && onStage && thing.enter(canvas.cursor.at())) return true;
    else if (name === "Escape" && e.points.length) setPoints([]);
    else if (name === "Backspace" && e.tool === "polygon" && e.points.length)
      setPoints(e.points.slice(0, -1));
    else if (name === "Enter" && onStage) pressAt(canvas.cursor.at());
    else return false;
    return true;
  }

  // Nothing is under way that Enter would end, and no cursor that it would press at.
  const isIdle = () =>
    state.payload.next_photo && !thing.isBusy() && !e.points.length && !e.active && !canvas.cursor.at();

  function setPoints(points) {
    e.points = points;
    editor.place();
  }

  // Enter uses the tool at the keyboard cursor: rectangles take two presses, polygons close on a repeated corner.
  function pressAt(at) {
    if (!at) return e.tool === "polygon" && e.points.length ? editor.closePolygon() : undefined;
    const point = [at[0] + 0.5, at[1] + 0.5];
    if (e.tool === "hand") return;
    if (e.tool === "rectangle" && e.points.length) {
      const [[x, y]] = e.points;
      e.points = [
        [Math.min(x, point[0]) - 0.5, Math.min(y, point[1]) - 0.5],
        [Math.max(x, point[0]) + 0.5, Math.max(y, point[1]) + 0.5],
      ];
      return editor.tools.rectangle.up();
    }
    if (e.tool === "polygon" && e.points.length > 2 && String(e.points.at(-1)) === String(point))
      return editor.closePolygon();
    e.clicked = 0;
    editor.down(point, { button: 0 });
    if (e.tool !== "rectangle" && e.tool !== "polygon") e.active.up?.();
    e.active = null;
  }

  const help = () => [
    ...offeredBy(server).map(([, tool]) => [tool.key, tool.label]),
    ["0 – 9", "Choose a class by its number (two digits in a row work)"],
    ["X", "Choose void; with Select thing, whether clicks add or take away"],
    ["[ ]", "Brush size, or reach of a selection by colour"],
    ["Right drag", "Erase"],
    ["Alt click", "Pick the class under the brush; with Select thing take away, as a right click does"],
    ["Drag, Shift drag", "Box around a thing to select, or a scribble on it"],
    ["Ctrl Z", "Undo"],
    ["Ctrl Shift Z", "Redo"],
    ["Ctrl S", "Save"],
    ["Enter", "Use the tool at the keyboard cursor; close a polygon; take the selected thing"],
    ["Backspace", "Take back a corner, or a click of Select thing"],
    ["Esc", "Give up a polygon or a selected thing"],
    ...(server.teach_features ? [["U, Esc", "With Teach, where to paint next; leave it"]] : []),
    ...(state.payload.next_photo ? PHOTOS : []),
  ];

  return { key, help };
}
