// What keeps a person's work: undo and redo of the label map, and drafts in the browser's own database.

// ---------------------------------------------------------------------------------------------------- history

// Undo and redo of a label map. A step keeps, for the tiles it touched, the run-length code of old XOR new: XOR takes
// the map either way, and equal pixels (nearly all) cost nothing. `current` is the live map, `counts` its histogram.
function makeHistory(current, width, height, counts, changed) {
  const TILE = 128,
    columns = Math.ceil(width / TILE);
  const MOST_STEPS = 1000,
    MOST_BYTES = 128e6,
    LEAST_STEPS = 100;
  const settled = current.slice(); // the map as of the last step
  const touched = new Set();
  const done = [],
    undone = [];
  let buffer = new Uint8Array(65536);

  function mark(x0, y0, x1, y1) {
    for (let ty = Math.floor(y0 / TILE); ty <= Math.floor((y1 - 1) / TILE); ty++)
      for (let tx = Math.floor(x0 / TILE); tx <= Math.floor((x1 - 1) / TILE); tx++)
        touched.add(ty * columns + tx);
    changed(x0, y0, x1, y1);
  }

  // Calls visit(start, end) with the flat range of each row of each tile.
  function eachRow(tiles, visit) {
    for (const tile of tiles) {
      const x0 = (tile % columns) * TILE,
        y0 = Math.floor(tile / columns) * TILE;
      const x1 = Math.min(width, x0 + TILE),
        y1 = Math.min(height, y0 + TILE);
      for (let y = y0; y < y1; y++) visit(y * width + x0, y * width + x1, tile);
    }
  }

  function encode(tiles) {
    let size = 0,
      run = 0,
      value = -1,
      any = false;
    const flush = () => {
      if (!run) return;
      if (size + 8 > buffer.length) {
        const bigger = new Uint8Array(buffer.length * 2);
        bigger.set(buffer);
        buffer = bigger;
      }
      while (run > 127) {
        buffer[size++] = (run & 127) | 128;
        run >>>= 7;
      }
      buffer[size++] = run;
      buffer[size++] = value;
    };
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
          flush();
          run = 1;
          value = diff;
        }
      }
    });
    flush();
    return any ? { tiles, code: buffer.slice(0, size) } : null;
  }

  function apply({ tiles, code }) {
    let at = 0,
      left = 0,
      value = 0;
    eachRow(tiles, (start, end) => {
      for (let i = start; i < end;) {
        if (!left) {
          for (let shift = 0; ; shift += 7) {
            left += (code[at] & 127) << shift;
            if (code[at++] < 128) break;
          }
          value = code[at++];
        }
        const stop = Math.min(end, i + left);
        left -= stop - i;
        if (!value) {
          i = stop;
          continue;
        }
        for (; i < stop; i++) {
          counts[settled[i]]--;
          settled[i] ^= value;
          counts[settled[i]]++;
          current[i] = settled[i];
        }
      }
    });
    for (const tile of tiles) {
      const x0 = (tile % columns) * TILE,
        y0 = Math.floor(tile / columns) * TILE;
      changed(x0, y0, Math.min(width, x0 + TILE), Math.min(height, y0 + TILE));
    }
  }

  function trim() {
    let bytes = done.reduce((sum, step) => sum + step.code.length, 0);
    while (done.length > MOST_STEPS || (bytes > MOST_BYTES && done.length > LEAST_STEPS))
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
    // Forgets what was painted since the last step.
    cancel() {
      eachRow(touched, (start, end) => current.set(settled.subarray(start, end), start));
      for (const tile of touched) {
        const x0 = (tile % columns) * TILE,
          y0 = Math.floor(tile / columns) * TILE;
        changed(x0, y0, Math.min(width, x0 + TILE), Math.min(height, y0 + TILE));
      }
      touched.clear();
    },
    undo() {
      const step = done.pop();
      if (!step) return null;
      apply(step);
      undone.push(step);
      return step.label;
    },
    redo() {
      const step = undone.pop();
      if (!step) return null;
      apply(step);
      done.push(step);
      return step.label;
    },
    dropRedo: () => undone.pop(),
    top: () => done.at(-1),
    steps: () => done.length,
    canRedo: () => undone.length > 0,
  };
}

// ---------------------------------------------------------------------------------------------------- drafts

// Unsaved work, kept in the browser's own database: a refresh, a crash or a lost connection costs nothing.
function makeDrafts() {
  const MOST = 200; // photos with unsaved work that are remembered
  let opening = null;

  function open() {
    opening ??= new Promise((resolve, reject) => {
      const request = indexedDB.open("segdemo-canvas", 1);
      request.onupgradeneeded = () =>
        request.result.createObjectStore("drafts", { keyPath: "key" }).createIndex("when", "when");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return opening;
  }

  async function run(mode, work) {
    const transaction = (await open()).transaction("drafts", mode, { durability: "strict" });
    const request = work(transaction.objectStore("drafts"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }

  async function prune() {
    const keys = await run("readonly", (store) => store.index("when").getAllKeys());
    for (const key of keys.slice(0, Math.max(0, keys.length - MOST)))
      await run("readwrite", (store) => store.delete(key));
  }

  return {
    get: (key) => run("readonly", (store) => store.get(key)),
    put: (draft) => run("readwrite", (store) => store.put(draft)).then(prune),
    remove: (key) => run("readwrite", (store) => store.delete(key)),
  };
}
