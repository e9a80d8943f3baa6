// The tools of the editor: what they are called, and what they do between press and release.
import { floodFill, fillRectangle } from "./fill.js";
import { isInside } from "./state.js";

const FIRST_CORNER = 8; // CSS pixels: how near to the first corner a click closes a polygon
const SAME_SPOT = 4; // and how near to the last one a quick second click does
const DOUBLE = 350; // milliseconds: how quick

export const TOOLS = {
  hand: { icon: "hand", label: "Move and look", key: "H" },
  brush: { icon: "brush", label: "Brush", key: "B", sized: true },
  eraser: { icon: "eraser", label: "Eraser", key: "E", sized: true },
  polygon: {
    icon: "polygon",
    label: "Polygon or lasso",
    key: "P",
    hint: "Click corners or draw freehand; double-click, Enter or the first corner closes; Backspace takes one back.",
  },
  rectangle: { icon: "rectangle", label: "Rectangle", key: "R", hint: "Drag from corner to corner." },
  fill: {
    icon: "fill",
    label: "Fill a region",
    key: "F",
    hint: "Gives the whole connected region the chosen class.",
  },
  thing: {
    icon: "smart",
    label: "Select thing",
    key: "S",
    hint: "Click a thing; click to add, Alt or right click to take away. Drag a box, Shift drag a scribble. Enter takes it.",
    hintAlike: "Click or scribble on a thing. [ and ] reach less or further, Shift adds, Alt leaves out.",
  },
  teach: { icon: "teach", label: "Teach", key: "G", sized: true, needs: "teach_features" },
  pick: { icon: "pick", label: "Pick a class from the mask", key: "I" },
};

// [name, tool] of those for which the server has what they need.
export const offeredBy = (server) => Object.entries(TOOLS).filter(([, { needs }]) => !needs || server[needs]);

// Every tool: down, move and up take image coordinates. The eraser is the brush, the hand no tool of the editor.
export function makeTools({ state, view }, editor) {
  const { e } = editor;
  const place = () => editor.place();

  const brush = {
    down: (point) => editor.stroke(point, point),
    move: (point) => editor.stroke(e.last, point),
    up: () => editor.commit(e.erasing ? "Erased" : "Painted"),
  };

  const rectangle = {
    down(point) {
      e.points = [point, point];
      place();
    },
    move(point) {
      e.points[1] = point;
      place();
    },
    up() {
      const [[ax, ay], [bx, by]] = e.points;
      e.points = [];
      place();
      const [x0, x1] = [Math.floor(Math.min(ax, bx)), Math.ceil(Math.max(ax, bx))];
      const [y0, y1] = [Math.floor(Math.min(ay, by)), Math.ceil(Math.max(ay, by))];
      fillRectangle(e.map, state.width, state.height, x0, y0, x1, y1, e.id, e.only, e.history.mark);
      editor.commit("Rectangle");
    },
  };

  const polygon = {
    down(point) {
      const pixels = (p) => (Math.hypot(p[0] - point[0], p[1] - point[1]) * view.scale) / view.dpr;
      const near = (p, reach) => p && pixels(p) < reach;
      const now = performance.now();
      const twice = near(e.points.at(-1), SAME_SPOT) && now - e.clicked < DOUBLE;
      e.clicked = now;
      if (e.points.length > 2 && (twice || near(e.points[0], FIRST_CORNER))) return editor.closePolygon();
      if (!twice) e.points.push(point);
      place();
    },
    move(point) {
      const [x, y] = e.points.at(-1) ?? [NaN];
      if (Math.hypot(point[0] - x, point[1] - y) * view.scale > 4 * view.dpr) {
        e.points.push(point);
        e.freehand = true;
      }
      place();
    },
    up() {
      if (e.freehand && e.points.length > 8) editor.closePolygon(); // a lasso closes when the finger lifts
      e.freehand = false;
    },
  };

  const fill = {
    down(point) {
      const [x, y] = point.map(Math.floor);
      if (!isInside(state, x, y)) return;
      floodFill(e.map, state.width, state.height, x, y, e.id, e.history.mark);
      editor.commit("Filled");
    },
  };

  const pick = {
    down(point) {
      const [x, y] = point.map(Math.floor);
      if (isInside(state, x, y)) editor.choose(e.map[y * state.width + x]);
    },
  };

  return { brush, rectangle, polygon, fill, pick, thing: editor.thing, teach: editor.teach };
}
