// Selection by colour: seeds -> superpixels -> pixels. The last selection stays adjustable until the next one begins.
import { growSelection } from "./selection.js";
import { paintRefined, paintSelection } from "./selection_paint.js";
import { makeSuperpixels } from "./superpixels.js";
import { makeWorker } from "./worker.js";

const LONGEST = 640; // pixels: longest side of the copy worked on
const PIECE = 110; // pixels of a superpixel, on average

export function makeSmart(canvas, editor) {
  const { state } = canvas;
  const { e } = editor;
  const worker = makeWorker(makeSuperpixels);
  let graph = null,
    building = null,
    session = null,
    tile = null;

  // Superpixels are found once per photo, in a Worker, when the tool is first taken up.
  function prepare() {
    if (graph || building) return building;
    const photo = state.pyramid;
    const shrink = Math.min(1, LONGEST / Math.max(state.width, state.height));
    const width = Math.max(1, Math.round(state.width * shrink)),
      height = Math.max(1, Math.round(state.height * shrink));
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(photo.level(shrink), 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    building = worker
      .call("build", data, width, height, Math.max(2, Math.round((width * height) / PIECE)))
      .then((built) => {
        if (photo === state.pyramid) graph = { ...built, rgba: data };
        building = null;
        return graph;
      });
    return building;
  }

  function readTile(x, y, width, height) {
    if (!tile || tile.canvas.width < width || tile.canvas.height < height)
      tile = new OffscreenCanvas(Math.max(width, 512), Math.max(height, 512)).getContext("2d", {
        willReadFrequently: true,
      });
    tile.drawImage(state.pyramid.level(1), x, y, width, height, 0, 0, width, height);
    return tile.getImageData(0, 0, width, height).data;
  }

  function pieceAt([x, y]) {
    const gx = Math.floor((x * graph.width) / state.width),
      gy = Math.floor((y * graph.height) / state.height);
    const inside = gx >= 0 && gy >= 0 && gx < graph.width && gy < graph.height;
    return inside ? graph.labels[gy * graph.width + gx] : -1;
  }

  function addSeeds(from, to) {
    const length = (Math.hypot(to[0] - from[0], to[1] - from[1]) * graph.width) / state.width;
    const steps = Math.max(1, Math.ceil(length / 3));
    for (let k = 0; k <= steps; k++) {
      const piece = pieceAt([0, 1].map((c) => from[c] + ((to[c] - from[c]) * k) / steps));
      if (piece < 0) continue;
      (session.without ? session.wanted : session.unwanted).delete(piece);
      (session.without ? session.unwanted : session.wanted).add(piece);
    }
  }

  function paint(paintWith) {
    const { width, height } = state,
      { map, history, tolerance } = e;
    history.cancel();
    const picked = growSelection(graph, [...session.wanted], [...session.unwanted], tolerance);
    paintWith(graph, picked, map, width, height, session.id, session.only, history.mark, readTile);
  }

  // Takes the session's own step back, so that a new version can replace it.
  function reopen() {
    if (!session?.step || e.history.top() !== session.step) return false;
    e.history.undo();
    e.history.dropRedo();
    session.step = null;
    return true;
  }

  function down(point, { shiftKey, altKey }) {
    e.waiting = !graph;
    if (!graph) {
      // The press may be over by the time there are superpixels, and another photo may be there.
      prepare().then(() => {
        if (!graph || !e.waiting) return;
        down(point, { shiftKey, altKey });
        up();
      });
      return;
    }
    const more = (shiftKey || altKey) && session && reopen();
    if (!more) session = { wanted: new Set(), unwanted: new Set(), id: e.id, only: e.only };
    session.without = altKey;
    session.last = point;
    addSeeds(point, point);
    paint(paintSelection);
  }

  function move(point) {
    if (!graph || !session) return;
    addSeeds(session.last, point);
    session.last = point;
    editor.later("smart", () => session && canvas.pointer.painting() && paint(paintSelection));
  }

  function up() {
    if (!graph || !session) return;
    paint(paintRefined);
    editor.commit("Select thing");
    session.step = e.history.top();
  }

  return {
    prepare,
    forget() {
      graph = building = session = null;
    },
    down,
    move,
    up,
    adjust: () => reopen() && up(),
  };
}
