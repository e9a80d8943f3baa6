// Editing: tools, smart select, toolbar, saving. One map is edited, `state.maps.yours`; a pixel has one class
// by nature.

// ---------------------------------------------------------------------------------------------------- tools

const TOOLS = {
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
  smart: {
    icon: "smart",
    label: "Smart select",
    key: "S",
    hint: "Click or scribble on a thing. [ and ] reach less or further, Shift adds, Alt leaves out.",
  },
  pick: { icon: "pick", label: "Pick a class from the mask", key: "I" },
};

// Every tool: down, move and up take image coordinates. `e` is the editor's own state, see makeEditor.
const TOOL_ACTIONS = {
  brush: {
    down: (e, point) => e.stroke(point, point),
    move: (e, point) => e.stroke(e.last, point),
    up: (e) => e.commit(e.erasing ? "Erased" : "Painted"),
  },
  rectangle: {
    down(e, point) {
      e.points = [point, point];
      e.place();
    },
    move(e, point) {
      e.points[1] = point;
      e.place();
    },
    up(e) {
      const [[ax, ay], [bx, by]] = e.points;
      e.points = [];
      e.place();
      const [x0, x1] = [Math.floor(Math.min(ax, bx)), Math.ceil(Math.max(ax, bx))];
      const [y0, y1] = [Math.floor(Math.min(ay, by)), Math.ceil(Math.max(ay, by))];
      fillRectangle(e.map, state.width, state.height, x0, y0, x1, y1, e.id, e.only, e.history.mark);
      e.commit("Rectangle");
    },
  },
  polygon: {
    down(e, point) {
      const reach = (8 * view.dpr) / view.scale,
        near = (p) => p && Math.hypot(p[0] - point[0], p[1] - point[1]) < reach;
      const now = performance.now();
      const twice = near(e.points.at(-1)) && now - e.clicked < 400;
      e.clicked = now;
      if (e.points.length > 2 && (twice || near(e.points[0]))) return e.closePolygon();
      if (!twice) e.points.push(point);
      e.place();
    },
    move(e, point) {
      const [x, y] = e.points.at(-1) ?? [NaN];
      if (Math.hypot(point[0] - x, point[1] - y) * view.scale > 4 * view.dpr) {
        e.points.push(point);
        e.freehand = true;
      }
      e.place();
    },
    up(e) {
      if (e.freehand && e.points.length > 8) e.closePolygon(); // a lasso closes when the finger lifts
      e.freehand = false;
    },
  },
  fill: {
    down(e, point) {
      const [x, y] = point.map(Math.floor);
      if (x < 0 || y < 0 || x >= state.width || y >= state.height) return;
      floodFill(e.map, state.width, state.height, x, y, e.id, e.history.mark);
      e.commit("Filled");
    },
  },
  pick: {
    down(e, point) {
      const [x, y] = point.map(Math.floor);
      if (x >= 0 && y >= 0 && x < state.width && y < state.height) e.choose(e.map[y * state.width + x]);
    },
  },
  smart: {
    down: (e, point, event) => e.smart.begin(point, event),
    move: (e, point) => e.smart.extend(point),
    up: (e) => e.smart.finish(),
  },
};

// Smart select: seeds -> superpixels -> pixels. The last selection stays adjustable until the next one begins.
function makeSmart(e) {
  const LONGEST = 640,
    PIECE = 110; // pixels: longest side of the copy worked on, mean superpixel
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
    const steps = Math.max(
      1,
      Math.ceil((Math.hypot(to[0] - from[0], to[1] - from[1]) * graph.width) / state.width / 3),
    );
    for (let k = 0; k <= steps; k++) {
      const piece = pieceAt([0, 1].map((c) => from[c] + ((to[c] - from[c]) * k) / steps));
      if (piece < 0) continue;
      (session.without ? session.wanted : session.unwanted).delete(piece);
      (session.without ? session.unwanted : session.wanted).add(piece);
    }
  }

  function paint(paintWith) {
    e.history.cancel();
    const picked = growSelection(graph, [...session.wanted], [...session.unwanted], e.tolerance);
    paintWith(
      graph,
      picked,
      e.map,
      state.width,
      state.height,
      session.id,
      session.only,
      e.history.mark,
      readTile,
    );
  }

  // Takes the session's own step back, so that a new version can replace it.
  function reopen() {
    if (!session?.step || e.history.top() !== session.step) return false;
    e.history.undo();
    e.history.dropRedo();
    session.step = null;
    return true;
  }

  function finish() {
    if (!session) return;
    paint(paintRefined);
    e.commit("Smart select");
    session.step = e.history.top();
  }

  return {
    prepare,
    ready: () => graph !== null,
    forget() {
      graph = building = session = null;
    },
    begin(point, { shiftKey, altKey }) {
      e.waiting = !graph;
      if (!graph)
        return void prepare().then(
          () => graph && e.waiting && this.begin(point, { shiftKey, altKey }) === undefined && finish(),
        );
      const more = (shiftKey || altKey) && session && reopen();
      if (!more) session = { wanted: new Set(), unwanted: new Set(), id: e.id, only: e.only };
      session.without = altKey;
      session.last = point;
      addSeeds(point, point);
      paint(paintSelection);
    },
    extend(point) {
      if (!graph || !session) return;
      addSeeds(session.last, point);
      session.last = point;
      e.later("smart", () => session && gesture === "tool" && paint(paintSelection));
    },
    finish() {
      if (graph && session) finish();
    },
    adjust: () => reopen() && finish(),
  };
}

function makeEditor() {
  const drafts = makeDrafts();
  const e = {
    tool: "brush",
    size: 24,
    tolerance: 20,
    onlyBackground: false,
    history: null,
    map: null,
    id: 0,
    only: null,
    last: null,
    points: [],
    clicked: 0,
    freehand: false,
    erasing: false,
    version: 0,
    savedVersion: 0,
    saving: false,
    timers: {},
  };
  const ui = {};
  let digits = "",
    digitTimer = 0,
    draftTimer = 0;
  e.smart = makeSmart(e);

  // Once per frame at most, the latest request wins.
  e.later = (name, work) => {
    if (!e.timers[name])
      requestAnimationFrame(() => {
        const run = e.timers[name];
        e.timers[name] = null;
        run();
      });
    e.timers[name] = work;
  };

  const blank = () => (state.background === null ? VOID : state.background);
  const overBackground = () => {
    const table = new Uint8Array(256);
    table[blank()] = table[VOID] = 1;
    return table;
  };
  const dirty = () => e.version !== e.savedVersion;

  // ------------------------------------------------------------------------------------------------ painting

  // Odd sizes centre on a pixel, even ones on a corner, so a brush of n is n pixels wide wherever it lands.
  function snap([x, y]) {
    if (e.size > 12) return [x, y];
    return e.size % 2 ? [Math.floor(x) + 0.5, Math.floor(y) + 0.5] : [Math.round(x), Math.round(y)];
  }

  e.stroke = (from, to) => {
    const id = e.erasing ? blank() : e.id;
    paintCapsule(
      e.map,
      state.width,
      state.height,
      snap(from),
      snap(to),
      e.size / 2,
      id,
      e.erasing ? null : e.only,
      e.history.mark,
    );
  };

  e.commit = (label) => {
    if (!e.history.commit(label)) return false;
    changedMap();
    return true;
  };

  e.closePolygon = () => {
    const points = e.points;
    e.points = [];
    e.place();
    if (points.length < 3) return;
    fillPolygon(e.map, state.width, state.height, points, e.id, e.only, e.history.mark);
    e.commit("Polygon");
  };

  function changedMap() {
    e.version++;
    delete state.ious.yours;
    refreshButtons();
    e.later("legend", refreshLegend);
    clearTimeout(draftTimer);
    draftTimer = setTimeout(writeDraft, 400);
    trigger("edit", { key: state.payload.key });
  }

  // A whole-map operation, told about in words.
  function operate(label, work) {
    if (!e.history) return;
    lookAtMask();
    work(e.history.mark);
    const changed = e.commit(label);
    announce(changed ? label : `${label}: nothing to change`);
    if (!changed) banner(`${label}: nothing to change.`);
  }

  function replaceMap(label, data) {
    operate(label, (mark) => {
      e.map.set(data);
      mark(0, 0, state.width, state.height);
    });
  }

  function undo() {
    const label = e.history?.undo();
    if (!label) return announce("Nothing to undo");
    changedMap();
    announce(`Undone: ${label}`);
  }

  function redo() {
    const label = e.history?.redo();
    if (!label) return announce("Nothing to redo");
    changedMap();
    announce(`Redone: ${label}`);
  }

  function lookAtMask() {
    if (state.layer === "yours" && state.show === "classes") return;
    [state.layer, state.show] = ["yours", "classes"];
    buildSide();
    redraw("overlay");
  }

  e.choose = (id) => {
    const entry = state.byId.get(id);
    if (!entry) return announce(`There is no class ${id} in this label set.`);
    state.paintClass = id;
    if (id !== state.background && state.hidden.delete(id)) state.solo = null;
    refreshClass();
    refreshLegend();
    redraw("overlay");
    announce(`Painting ${entry.name}`);
  };

  // ------------------------------------------------------------------------------------------------ drafts, saving

  let writing = Promise.resolve(); // the drafts on their way

  function writeDraft(map = e.map) {
    clearTimeout(draftTimer);
    if (map && dirty() && state.payload) {
      const put = putDraft(map); // begins at once: a page that is being left does not wait
      writing = writing.then(() => put);
    }
    return writing;
  }

  // What is on its way would come after the removal and bring the draft back.
  async function dropDraft(key) {
    clearTimeout(draftTimer);
    await writing;
    await drafts.remove(key).catch(() => {});
  }

  async function putDraft(map) {
    const { key } = state.payload,
      { width, height, revision, palette } = state,
      labels = state.payload.labels.name;
    const version = e.version;
    try {
      const png = await codec.call("encode", width, height, map, palette);
      await drafts.put({ key, width, height, labels, revision, png, when: Date.now() });
      if (version === e.version) nodes.root.dataset.draft = key;
    } catch {
      banner("This browser does not allow work to be kept here between visits: save often.", "warning");
    }
  }

  async function readDraft(payload) {
    if (payload.mode !== "edit") return null;
    try {
      const draft = await drafts.get(payload.key);
      if (
        !draft ||
        draft.width !== payload.width ||
        draft.height !== payload.height ||
        draft.labels !== payload.labels.name
      )
        return null;
      return { ...draft, map: (await codec.call("decode", draft.png)).data };
    } catch {
      return null;
    }
  }

  const toBase64 = (bytes) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(new Blob([bytes]));
    });

  async function save() {
    if (e.saving || !e.history || !server.save_mask) return;
    e.saving = true;
    refreshButtons();
    const { key } = state.payload,
      version = e.version;
    try {
      const png = await toBase64(await encodeMap("yours"));
      const answer = await server.save_mask({ key, png, revision: state.revision });
      if (key !== state.payload.key) return;
      if (answer.conflict) return askAboutConflict(answer);
      if (answer.error) return banner(answer.error, "error", ["Try again", save]);
      state.revision = answer.revision;
      state.saved = { key, revision: answer.revision };
      e.savedVersion = version;
      if (!dirty()) await dropDraft(key);
      banner(answer.message || "Saved.", "good");
      announce("Saved");
      nodes.root.dataset.saved = String(answer.revision);
      trigger("saved", { key, revision: answer.revision });
    } catch {
      banner("The server could not be reached. Your work is kept in this browser.", "error", [
        "Try again",
        save,
      ]);
    } finally {
      e.saving = false;
      refreshButtons();
    }
  }

  // Two tabs, one photo: nobody's work is overwritten without being asked.
  function askAboutConflict(answer) {
    banner(
      answer.conflict,
      "warning",
      [
        "Save mine as the newest",
        () => {
          state.revision = answer.revision ?? null;
          save();
        },
      ],
      [
        "Load the other one",
        async () => {
          const { key } = state.payload;
          e.savedVersion = e.version; // leaving this photo must not write the draft again
          await dropDraft(key);
          trigger("reload", { key });
        },
      ],
    );
    announce(answer.conflict);
  }

  async function importFile(file) {
    if (!file) return;
    try {
      const data = await toBase64(await file.arrayBuffer());
      const { key, width, height, labels } = state.payload;
      const answer = await server.import_mask({ key, data, width, height, labels });
      if (answer.error) return banner(answer.error, "error");
      const bytes = Uint8Array.from(atob(answer.png), (c) => c.charCodeAt(0));
      const map = await codec.call("decode", bytes);
      if (map.width !== width || map.height !== height) throw new Error("The mask does not fit the photo.");
      replaceMap(`Loaded ${file.name}`, map.data);
    } catch (error) {
      banner(`The mask could not be loaded: ${error.message}`, "error");
    }
  }

  // ------------------------------------------------------------------------------------------------ toolbar

  function buildToolbar() {
    const button = (name, label, action, options) => iconButton(name, label, action, options);
    ui.tools = Object.entries(TOOLS).map(([name, { icon: i, label, key }]) =>
      button(i, label, () => setTool(name), { key, "data-tool": name, "aria-pressed": "false" }),
    );
    ui.undo = button("undo", "Undo", undo, { key: "Ctrl+Z" });
    ui.redo = button("redo", "Redo", redo, { key: "Ctrl+Shift+Z" });
    ui.save = button("save", "Save this mask", save, {
      key: "Ctrl+S",
      text: "Save",
      class: "sc-button sc-primary",
    });
    ui.next = button("next", "Next photo to label", () => trigger("next", { key: state.payload.key }), {
      key: "N",
      text: "Next",
    });
    ui.save.hidden = !server.save_mask;
    ui.next.hidden = !state.payload.next_photo;
    ui.size = slider(
      "Size",
      { min: 0, max: 100, value: toSlider(e.size) },
      (v) => `${fromSlider(v)} px`,
      (v) => setSize(fromSlider(v)),
    );
    ui.tolerance = slider(
      "Reach",
      { min: 2, max: 60, value: e.tolerance },
      (v) => String(v),
      (v) => setTolerance(v),
    );
    ui.hint = el("span", { class: "sc-hint" });
    ui.swatch = el("canvas", { width: 22, height: 22, class: "sc-swatch", "aria-hidden": "true" });
    ui.classes = el(
      "select",
      {
        class: "sc-select",
        "aria-label": "Class to paint",
        onchange: (event) => e.choose(Number(event.target.value)),
      },
      ...state.classes.map((c) => el("option", { value: c.id }, c.name)),
    );
    ui.only = toggle("under", "Only over background", e.onlyBackground, (on) => (e.onlyBackground = on));
    nodes.toolbar.replaceChildren(
      el(
        "div",
        { class: "sc-tools", role: "group", "aria-label": "Tools" },
        ...ui.tools,
        el("i", { class: "sc-gap" }),
        ui.undo,
        ui.redo,
        el("i", { class: "sc-gap" }),
        cleanMenu(),
        startMenu(),
        button("help", "Keyboard shortcuts", () => showHelp(), { key: "?" }),
        el("i", { class: "sc-gap sc-stretch" }),
        ui.next,
        ui.save,
      ),
      el(
        "div",
        { class: "sc-settings" },
        el("label", { class: "sc-row sc-classpick" }, ui.swatch, ui.classes),
        ui.size,
        ui.tolerance,
        ui.only,
        ui.hint,
      ),
    );
    nodes.toolbar.hidden = false;
    setTool(e.tool);
    refreshButtons();
    refreshClass();
  }

  const toSlider = (size) => Math.round((Math.log(size) / Math.log(400)) * 100);
  const fromSlider = (v) => Math.max(1, Math.round(400 ** (v / 100)));

  function menu(name, label, ...items) {
    const node = el(
      "details",
      { class: "sc-menu" },
      el(
        "summary",
        { class: "sc-button", title: label, "aria-label": label },
        icon(name),
        el("span", { class: "sc-text" }, label),
      ),
      el("div", { class: "sc-pop" }, ...items),
    );
    const close = () => node.removeAttribute("open");
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !node.open) return;
      close();
      node.firstChild.focus();
      event.stopPropagation();
    });
    node.addEventListener(
      "focusout",
      (event) => event.relatedTarget && !node.contains(event.relatedTarget) && close(),
    );
    node.addEventListener("toggle", () => node.open && placePop(node));
    return node;
  }

  // Keeps an open menu inside the component, however narrow it is.
  function placePop(node) {
    const pop = node.lastChild,
      box = nodes.root.getBoundingClientRect(),
      at = node.getBoundingClientRect();
    pop.style.left = "0px";
    pop.style.left = `${Math.min(0, box.right - at.left - pop.offsetWidth - 8)}px`;
  }

  const classSelect = (label, value) =>
    el(
      "select",
      { class: "sc-select", "aria-label": label },
      ...state.classes.map((c) => el("option", { value: c.id, selected: c.id === value }, c.name)),
    );
  const numberInput = (label, value, most) =>
    el("input", { type: "number", class: "sc-input", "aria-label": label, min: 1, max: most, value });
  const numberOf = (input, most) => Math.min(most, Math.max(1, Math.round(Number(input.value)) || 1));

  function cleanMenu() {
    const { width: w, height: h } = state,
      name = () => state.byId.get(state.paintClass).name;
    const steps = numberInput("Pixels to grow or shrink by", 3, 200),
      limit = numberInput("Smallest piece kept, in pixels", 64, 1e7);
    const from = classSelect("Class to change", state.paintClass),
      to = classSelect("Class it becomes", blank());
    const plain = (text, action) =>
      el("button", { type: "button", class: "sc-button sc-plain", onclick: action }, text);
    const grow = (outwards) =>
      operate(`${outwards ? "Grew" : "Shrank"} ${name()}`, (mark) =>
        growClass(e.map, w, h, state.paintClass, numberOf(steps, 200), outwards, mark),
      );
    const specks = (all) =>
      operate(all ? "Removed specks" : `Removed specks of ${name()}`, (mark) => {
        const chosen = new Uint8Array(256).fill(all ? 1 : 0);
        chosen[VOID] = 0;
        chosen[state.paintClass] = 1;
        removeSpecks(e.map, w, h, numberOf(limit, 1e7), chosen, mark);
      });
    return menu(
      "clean",
      "Clean up",
      el("p", { class: "sc-heading" }, "The chosen class"),
      el(
        "div",
        { class: "sc-row" },
        plain("Fill its holes", () =>
          operate(`Filled holes of ${name()}`, (mark) => fillHoles(e.map, w, h, state.paintClass, mark)),
        ),
      ),
      el(
        "div",
        { class: "sc-row" },
        plain("Grow", () => grow(true)),
        plain("Shrink", () => grow(false)),
        "by",
        steps,
        "px",
      ),
      el("p", { class: "sc-heading" }, "Specks"),
      el(
        "div",
        { class: "sc-row" },
        "under",
        limit,
        "px:",
        plain("chosen class", () => specks(false)),
        plain("all", () => specks(true)),
      ),
      el("p", { class: "sc-heading" }, "Change a class everywhere"),
      el(
        "div",
        { class: "sc-row" },
        from,
        "→",
        to,
        plain("Change", () => {
          const [a, b] = [Number(from.value), Number(to.value)];
          operate(
            `Made ${state.byId.get(a).name} ${state.byId.get(b).name}`,
            (mark) => a !== b && replaceClass(e.map, w, h, a, b, mark),
          );
        }),
      ),
    );
  }

  function startMenu() {
    const plain = (text, action) =>
      el(
        "button",
        {
          type: "button",
          class: "sc-button sc-plain",
          onclick: (event) => {
            event.target.closest("details").removeAttribute("open");
            action();
          },
        },
        text,
      );
    const file = el("input", {
      type: "file",
      accept: "image/*",
      class: "sc-hidden",
      tabindex: -1,
      "aria-label": "Mask file",
      onchange: () => {
        importFile(file.files[0]);
        file.value = "";
      },
    });
    return menu(
      "start",
      "Start from",
      state.maps.prediction &&
        plain("The prediction", () => replaceMap("Started from the prediction", state.maps.prediction)),
      state.maps.truth &&
        plain("The true mask", () => replaceMap("Started from the true mask", state.maps.truth)),
      e.saved && plain("The saved mask", () => replaceMap("Back to the saved mask", e.saved)),
      plain("An empty mask", () => replaceMap("Emptied", new Uint8Array(e.map.length).fill(blank()))),
      plain("All void", () => replaceMap("Made everything void", new Uint8Array(e.map.length).fill(VOID))),
      server.import_mask && plain("A mask file…", () => file.click()),
      server.import_mask && file,
    );
  }

  function refreshButtons() {
    if (!ui.save) return;
    ui.undo.disabled = !e.history?.steps();
    ui.redo.disabled = !e.history?.canRedo();
    ui.save.disabled = e.saving;
    ui.save.classList.toggle("sc-dirty", dirty());
    ui.save.lastChild.textContent = e.saving
      ? "Saving…"
      : dirty() || state.revision === null
        ? "Save"
        : "Saved";
  }

  function refreshClass() {
    const entry = state.byId.get(state.paintClass);
    if (!ui.swatch || !entry) return;
    drawSwatch(ui.swatch, entry.color, entry.pattern);
    ui.classes.value = entry.id;
  }

  function setTool(name) {
    if (e.points.length && name !== e.tool) e.points = [];
    e.tool = name;
    for (const button of ui.tools) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    ui.size.hidden = !TOOLS[name].sized;
    ui.tolerance.hidden = name !== "smart";
    ui.only.hidden = ["hand", "pick", "fill", "eraser"].includes(name);
    ui.hint.textContent = TOOLS[name].hint ?? "";
    nodes.stage.dataset.tool = name;
    if (name === "smart") e.smart.prepare();
    nodes.ring.hidden = true;
    e.place();
    announce(TOOLS[name].label);
  }

  function setSize(size) {
    e.size = Math.min(400, Math.max(1, Math.round(size)));
    ui.size.setValue(toSlider(e.size));
    ui.size.querySelector("output").textContent = `${e.size} px`;
    drawRing();
  }

  function setTolerance(value) {
    e.tolerance = Math.min(60, Math.max(2, Math.round(value)));
    ui.tolerance.setValue(e.tolerance);
    e.later("adjust", () => e.smart.adjust());
  }

  // [ and ]: brush size, or how far smart select reaches.
  function step(up) {
    if (e.tool === "smart") return setTolerance(e.tolerance + (up ? 2 : -2));
    const next = e.size * (up ? 1.2 : 1 / 1.2);
    setSize(up ? Math.max(e.size + 1, next) : Math.min(e.size - 1, next));
    announce(`Size ${e.size}`);
  }

  // ------------------------------------------------------------------------------------------------ marks on the stage

  let ringAt = null;
  function drawRing() {
    const show = ringAt && state.editing && TOOLS[e.tool].sized;
    nodes.ring.hidden = !show;
    if (!show) return;
    const [x, y] = snap(ringAt),
      size = (e.size * view.scale) / view.dpr;
    nodes.ring.style.width = nodes.ring.style.height = `${Math.max(3, size)}px`;
    const [left, top] = [(x * view.scale + view.tx) / view.dpr, (y * view.scale + view.ty) / view.dpr];
    nodes.ring.style.transform = `translate(${left}px, ${top}px) translate(-50%, -50%)`;
  }

  // The polygon or rectangle being drawn, in the colour of its class, over a dark halo.
  e.place = () => {
    drawRing();
    nodes.draft.replaceChildren();
    if (!e.points.length || !state.editing) return;
    let corners = e.points;
    if (e.tool === "rectangle") {
      const [[ax, ay], [bx, by]] = e.points;
      corners = [
        [ax, ay],
        [bx, ay],
        [bx, by],
        [ax, by],
      ];
    }
    const at = corners.map(([x, y]) => [
      (x * view.scale + view.tx) / view.dpr,
      (y * view.scale + view.ty) / view.dpr,
    ]);
    const shape = (name, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      nodes.draft.append(node);
    };
    const color = `rgb(${state.byId.get(e.id).color.join(",")})`,
      points = at.map((p) => p.join(",")).join(" ");
    shape("polygon", { points, fill: color, "fill-opacity": 0.25, stroke: "#000", "stroke-width": 3 });
    shape("polygon", { points, fill: "none", stroke: "#fff", "stroke-width": 1.5 });
    if (e.tool === "polygon" && !e.freehand)
      at.forEach(([x, y], i) =>
        shape("circle", { cx: x, cy: y, r: i ? 3.5 : 6, fill: i ? "#fff" : color, stroke: "#000" }),
      );
  };

  // ------------------------------------------------------------------------------------------------ events

  function down(point, event) {
    lookAtMask();
    e.erasing = e.tool === "eraser" || event.button === 2;
    e.id = state.paintClass;
    e.only = e.onlyBackground ? overBackground() : null;
    const actions =
      TOOL_ACTIONS[e.tool === "eraser" ? "brush" : event.altKey && e.tool === "brush" ? "pick" : e.tool];
    e.active = actions;
    actions.down(e, point, event);
    e.last = point;
  }

  function enter(draft) {
    e.smart.forget();
    e.points = [];
    if (!state.editing) {
      e.history = e.map = null;
      nodes.toolbar.hidden = true;
      return;
    }
    e.saved = state.maps.yours?.slice() ?? null;
    e.map = state.maps.yours ??=
      state.maps.prediction?.slice() ?? new Uint8Array(state.width * state.height).fill(blank());
    state.layer = "yours";
    e.history = makeHistory(e.map, state.width, state.height, countClasses("yours"), redrawRect);
    e.version = e.savedVersion = 0;
    banner("");
    if (draft && draft.map.some((id, i) => id !== e.map[i])) restore(draft);
    if (!state.byId.has(state.paintClass) || state.paintClass === state.background)
      state.paintClass = firstClass();
    buildToolbar();
    if (e.tool === "smart") e.smart.prepare();
  }

  // Unsaved work comes back as one undoable step on top of what the server has, so either can be had.
  function restore(draft) {
    e.map.set(draft.map);
    e.history.mark(0, 0, state.width, state.height);
    e.history.commit("Restored unsaved work");
    e.version = 1;
    const stale = draft.revision !== state.revision;
    const when = new Date(draft.when).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    banner(
      `Your unsaved work from ${when} is back.${stale ? " A newer version was saved meanwhile." : ""}`,
      "info",
      [
        "Discard it",
        async () => {
          undo();
          e.savedVersion = e.version;
          await dropDraft(state.payload.key);
          refreshButtons();
        },
      ],
    );
  }

  function firstClass() {
    const counts = countClasses("yours");
    const things = state.classes.filter(({ id }) => id !== state.background && id !== VOID);
    return (things.find(({ id }) => counts[id]) ?? things[0] ?? state.classes[0]).id;
  }

  function onDigit(key) {
    clearTimeout(digitTimer);
    digits += key;
    // With a dozen classes, "1" then "2" means class 12; a pause starts again.
    if (!state.byId.has(Number(digits))) digits = key;
    e.choose(Number(digits));
    digitTimer = setTimeout(() => (digits = ""), 800);
  }

  function key(event, onStage) {
    if (!state.editing) return false;
    const control = event.ctrlKey || event.metaKey,
      name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (control) {
      if (name === "z") event.shiftKey ? redo() : undo();
      else if (name === "y") redo();
      else if (name === "s") save();
      else return false;
      return true;
    }
    if (event.altKey || (event.shiftKey && name !== "Enter")) return false;
    const tool = Object.keys(TOOLS).find((t) => TOOLS[t].key.toLowerCase() === name);
    if (tool) setTool(tool);
    else if (/^[0-9]$/.test(name)) onDigit(name);
    else if (name === "x") e.choose(VOID);
    else if (name === "[" || name === "]") step(name === "]");
    else if (name === "n" && state.payload.next_photo) trigger("next", { key: state.payload.key });
    else if (name === "Escape" && e.points.length) ((e.points = []), e.place());
    else if (name === "Backspace" && e.tool === "polygon" && e.points.length) (e.points.pop(), e.place());
    else if (name === "Enter" && onStage) pressAt(cursor);
    else return false;
    return true;
  }

  // Enter uses the tool at the keyboard cursor: rectangles take two presses, polygons close on a repeated corner.
  function pressAt(at) {
    if (!at) return e.tool === "polygon" && e.points.length ? e.closePolygon() : undefined;
    const point = [at[0] + 0.5, at[1] + 0.5],
      event = { button: 0 };
    if (e.tool === "hand") return;
    if (e.tool === "rectangle" && e.points.length) {
      const [[x, y]] = e.points;
      e.points = [
        [Math.min(x, point[0]) - 0.5, Math.min(y, point[1]) - 0.5],
        [Math.max(x, point[0]) + 0.5, Math.max(y, point[1]) + 0.5],
      ];
      return TOOL_ACTIONS.rectangle.up(e);
    }
    if (e.tool === "polygon" && e.points.length > 2 && String(e.points.at(-1)) === String(point))
      return e.closePolygon();
    e.clicked = 0;
    down(point, event);
    if (e.tool !== "rectangle" && e.tool !== "polygon") e.active.up?.(e);
  }

  document.addEventListener("visibilitychange", () => document.hidden && element.isConnected && writeDraft());
  addEventListener("pagehide", () => element.isConnected && writeDraft());

  return {
    e,
    enter,
    readDraft,
    writeDraft: () => writeDraft(),
    key,
    down,
    choose: e.choose,
    place: e.place,
    save,
    undo,
    redo,
    setTool,
    setSize,
    paints: () => state.editing && e.tool !== "hand",
    leave: () => (e.waiting = false),
    move(point, event) {
      e.active?.move?.(e, point, event);
      e.last = point;
    },
    up(point, event) {
      e.active?.up?.(e, point, event);
      e.active = null;
    },
    cancel() {
      e.history?.cancel();
      if (e.tool === "rectangle" || e.freehand) e.points = [];
      e.active = null;
      e.place();
    },
    hover(point) {
      ringAt = point;
      e.later("ring", drawRing);
    },
    help: () => [
      ...Object.values(TOOLS).map(({ key: k, label }) => [k, label]),
      ["0 – 9", "Choose a class by its number (two digits in a row work)"],
      ["X", "Choose void"],
      ["[ ]", "Brush size, or reach of smart select"],
      ["Right drag", "Erase"],
      ["Alt click", "Pick the class under the brush"],
      ["Ctrl Z", "Undo"],
      ["Ctrl Shift Z", "Redo"],
      ["Ctrl S", "Save"],
      ["Enter", "Use the tool at the keyboard cursor; close a polygon"],
      ["Esc", "Give up a polygon"],
      ...(state.payload.next_photo ? [["N", "Next photo to label"]] : []),
    ],
  };
}
