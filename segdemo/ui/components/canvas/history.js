import { makeRunReader, makeRunWriter } from "./rle.js";

const TILE = 128;
const LIMITS = { mostSteps: 1000, mostBytes: 128e6, leastSteps: 100 };

// Undo and redo of a label map. A step keeps, for the tiles it touched, the run-length code of old XOR new: XOR takes
// the map either way, and equal pixels (nearly all) cost nothing. `current` is the live map, `counts` its histogram,
// and `changed(x0, y0, x1, y1)` hears of every rectangle that may look different now. Beyond `limits` the oldest steps
// are forgotten: more than mostSteps, or more than mostBytes in more than leastSteps.
export function makeHistory(current, width, height, counts, changed, limits = LIMITS) {
  const columns = Math.ceil(width / TILE);
  const settled = current.slice(); // the map as of the last step
  const touched = new Set();
  const done = [],
    undone = [];
  const writer = makeRunWriter();

  function mark(x0, y0, x1, y1) {
    for (let ty = Math.floor(y0 / TILE); ty <= Math.floor((y1 - 1) / TILE); ty++)
      for (let tx = Math.floor(x0 / TILE); tx <= Math.floor((x1 - 1) / TILE); tx++)
        touched.add(ty * columns + tx);
    changed(x0, y0, x1, y1);
  }

  function boxOf(tile) {
    const x0 = (tile % columns) * TILE,
      y0 = Math.floor(tile / columns) * TILE;
    return [x0, y0, Math.min(width, x0 + TILE), Math.min(height, y0 + TILE)];
  }

  // Calls visit(start, end) with the flat range of each row of each tile.
  function eachRow(tiles, visit) {
    for (const tile of tiles) {
      const [x0, y0, x1, y1] = boxOf(tile);
      for (let y = y0; y < y1; y++) visit(y * width + x0, y * width + x1);
    }
  }

  function tell(tiles) {
    for (const tile of tiles) changed(...boxOf(tile));
  }

  function encode(tiles) {
    let run = 0,
      value = -1,
      any = false;
    eachRow(tiles, (start, end) => {
      for (let i = start; i < end; i++) {
        const was = settled[i],
          now = current[i],
          diff = was ^ now;
        if (diff) {
          any = true;
          counts[was]--;
          counts[now]++;
          settled[i] = now;
        }
        if (diff === value) run++;
        else {
          writer.add(run, value);
          run = 1;
          value = diff;
        }
      }
    });
    writer.add(run, value);
    const code = writer.take();
    return any ? { tiles, code } : null;
  }

  function apply({ tiles, code }) {
    const run = makeRunReader(code);
    let left = 0;
    eachRow(tiles, (start, end) => {
      for (let i = start; i < end;) {
        if (!left) {
          run.next();
          left = run.length;
        }
        const stop = Math.min(end, i + left);
        left -= stop - i;
        if (!run.value) {
          i = stop;
          continue;
        }
        for (; i < stop; i++) {
          counts[settled[i]]--;
          settled[i] ^= run.value;
          counts[settled[i]]++;
          current[i] = settled[i];
        }
      }
    });
    tell(tiles);
  }

  function move(from, to) {
    const step = from.pop();
    if (!step) return null;
    apply(step);
    to.push(step);
    return step.label;
  }

  function trim() {
    let bytes = done.reduce((sum, step) => sum + step.code.length, 0);
    while (done.length > limits.mostSteps || (bytes > limits.mostBytes && done.length > limits.leastSteps))
      bytes -= done.shift().code.length;
  }

  return {
    mark,
    // Ends a step. False if nothing changed.
    commit(label) {
      const step = touched.size ? encode([...touched]) : null;
      touched.clear();
      if (!step) return false;
      step.label = label;
      done.push(step);
      undone.length = 0;
      trim();
      return true;
    },
    // Puts the pixels inside a rectangle back to the last step.
    restore(x0, y0, x1, y1) {
      for (let y = y0; y < y1; y++)
        current.set(settled.subarray(y * width + x0, y * width + x1), y * width + x0);
    },
    // Forgets what was painted since the last step.
    cancel() {
      eachRow(touched, (start, end) => current.set(settled.subarray(start, end), start));
      tell(touched);
      touched.clear();
    },
    undo: () => move(done, undone),
    redo: () => move(undone, done),
    dropRedo: () => undone.pop(),
    top: () => done.at(-1),
    steps: () => done.length,
    canRedo: () => undone.length > 0,
  };
}
