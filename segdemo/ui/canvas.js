// The mask canvas: what happens when. Gradio runs this (after the files it builds on) once per component with
// `element`, `trigger`, `props`, `server` and `watch` in scope; `props.value` is what canvas.py's `payload` built.

const codec = makeWorker(makePngCodec);
const view = makeView();
const state = {
  payload: null,
  width: 0,
  height: 0,
  name: "photo",
  message: null,
  revision: null,
  saved: null, // {key, revision} of the last mask saved from here
  classes: [],
  byId: new Map(),
  background: null,
  palette: null,
  maps: {},
  counts: {},
  ious: {},
  heat: {},
  layer: "prediction",
  show: "classes",
  hidden: new Set(),
  solo: null,
  paintClass: 0,
  editing: false,
  options: readOptions(),
  split: { on: false, at: 0.5, with: "photo" },
  pyramid: null,
  visited: [],
};
let loading = 0; // number of the load under way; an older one that finishes late is dropped
let wanted = { photo: false, overlay: false, rect: null }; // what the next frame has to draw
let frameAsked = false;

// ---------------------------------------------------------------------------------------------------- options

function readOptions() {
  const defaults = { opacity: 0.55, outline: true, patterns: false };
  try {
    return { ...defaults, ...JSON.parse(localStorage.getItem("segdemo-canvas") || "{}") };
  } catch {
    return defaults; // storage can be forbidden, as in a private window
  }
}

function setOption(name, value) {
  state.options[name] = value;
  try {
    localStorage.setItem("segdemo-canvas", JSON.stringify(state.options));
  } catch {
    // Nothing is lost but a preference.
  }
  redraw("overlay");
}

// ---------------------------------------------------------------------------------------------------- the page

const nodes = {};

function buildPage() {
  const root = element.querySelector(".sc");
  nodes.root = root;
  nodes.base = el("canvas", { class: "sc-layer" });
  nodes.over = el("canvas", { class: "sc-layer" });
  nodes.draft = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  nodes.draft.setAttribute("class", "sc-layer");
  nodes.ring = el("div", { class: "sc-ring", hidden: true });
  nodes.chip = el("div", { class: "sc-chip", hidden: true });
  nodes.note = el("p", { class: "sc-note", hidden: true });
  nodes.busy = el("p", { class: "sc-busy" }, "No photo yet");
  nodes.handle = el(
    "div",
    {
      class: "sc-split",
      role: "slider",
      tabindex: 0,
      "aria-label": "Position of the split",
      hidden: true,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    },
    el("span", {}, icon("split")),
  );
  nodes.splitNames = ["sc-side-name", "sc-side-name sc-right"].map((name) =>
    el("span", { class: name, hidden: true }),
  );
  nodes.zoom = el("span", { class: "sc-number" }, "100 %");
  nodes.zoomBar = el(
    "div",
    { class: "sc-zoombar", role: "group", "aria-label": "Zoom" },
    iconButton("minus", "Zoom out", () => zoomBy(1 / 1.5), { key: "-" }),
    nodes.zoom,
    iconButton("plus", "Zoom in", () => zoomBy(1.5), { key: "+" }),
    iconButton("fit", "Fit the photo", () => fit(), { key: "W" }),
    el(
      "button",
      {
        type: "button",
        class: "sc-button",
        title: "One image pixel per screen pixel (Shift+W)",
        "aria-label": "Actual size",
        onclick: () => actualSize(),
      },
      el("span", { class: "sc-text" }, "1:1"),
    ),
    (nodes.uncertain = iconButton("target", "Jump to the most uncertain region", () => jumpToUncertain(), {
      key: "U",
    })),
    iconButton("expand", "Full screen", () => toggleFullScreen()),
  );
  nodes.stage = el(
    "div",
    {
      class: "sc-stage",
      tabindex: 0,
      role: "application",
      "aria-label":
        "Photo and mask. Arrow keys move a cursor that reads out the class under it; press ? for all keys.",
    },
    nodes.base,
    nodes.over,
    nodes.draft,
    nodes.ring,
    nodes.handle,
    ...nodes.splitNames,
    nodes.note,
    nodes.chip,
    nodes.busy,
  );
  nodes.banner = el("div", { class: "sc-banner", role: "status", hidden: true });
  nodes.toolbar = el("div", {
    class: "sc-toolbar",
    role: "toolbar",
    "aria-label": "Editing tools",
    hidden: true,
  });
  nodes.live = el("div", { class: "sc-hidden", "aria-live": "polite" });
  nodes.side = el("div", { class: "sc-side" });
  nodes.dialog = el("dialog", { class: "sc-dialog", "aria-label": "Keyboard shortcuts" });
  root.append(
    nodes.toolbar,
    nodes.banner,
    el("div", { class: "sc-body" }, el("div", { class: "sc-main" }, nodes.stage, nodes.zoomBar), nodes.side),
    nodes.live,
    nodes.dialog,
  );
}

function announce(text) {
  nodes.live.textContent = "";
  requestAnimationFrame(() => (nodes.live.textContent = text));
}

// A line under the toolbar: what happened, and what can be done about it.
function banner(text, kind = "info", ...buttons) {
  nodes.banner.hidden = !text;
  if (!text) return;
  nodes.banner.dataset.kind = kind;
  nodes.banner.replaceChildren(
    el("span", {}, text),
    ...buttons.map(([label, onclick]) =>
      el(
        "button",
        {
          type: "button",
          class: "sc-button sc-plain",
          onclick: () => {
            banner("");
            onclick();
          },
        },
        label,
      ),
    ),
    iconButton("close", "Dismiss this message", () => banner("")),
  );
}

// ---------------------------------------------------------------------------------------------------- side panel

function layersHere() {
  return ["prediction", "truth", "yours"].filter((name) => state.maps[name]);
}

function showsHere() {
  const shows = ["classes"];
  if (state.heat.confidence) shows.push("confidence");
  if (state.heat.uncertainty) shows.push("uncertainty");
  if (state.maps.truth && (state.maps.prediction || state.maps.yours)) shows.push("errors");
  return shows;
}

// The map an error map judges: the layer looked at, or the prediction while the truth itself is looked at.
const judged = () =>
  state.layer === "truth" ? (state.maps.prediction ? "prediction" : "yours") : state.layer;

function buildSide() {
  const layers = layersHere(),
    shows = showsHere();
  if (!layers.includes(state.layer)) state.layer = layers[0] || "prediction";
  if (!shows.includes(state.show)) state.show = "classes";
  const parts = [];
  if (layers.length > 1)
    parts.push(
      segmented(
        "Mask to look at",
        layers.map((l) => [l, LAYER_NAMES[l]]),
        state.layer,
        setLayer,
      ),
    );
  if (shows.length > 1)
    parts.push(
      segmented(
        "What to show",
        shows.map((s) => [s, SHOW_NAMES[s]]),
        state.show,
        setShow,
      ),
    );
  nodes.opacity = slider(
    "Opacity",
    { min: 0, max: 100, value: Math.round(state.options.opacity * 100) },
    (v) => `${v} %`,
    (v) => setOption("opacity", v / 100),
  );
  nodes.toggles = el(
    "div",
    { class: "sc-toggles", role: "group", "aria-label": "How the mask is drawn" },
    toggle("outline", "Outline", state.options.outline, (on) => setOption("outline", on), "O"),
    toggle("pattern", "Patterns", state.options.patterns, (on) => setOption("patterns", on), "T"),
    layers.length ? toggle("split", "Split", state.split.on, (on) => setSplit(on), "D") : null,
  );
  nodes.splitWith = el("select", {
    class: "sc-select",
    "aria-label": "Right half shows",
    onchange: (event) => {
      state.split.with = event.target.value;
      redraw("overlay");
    },
  });
  nodes.splitRow = el(
    "label",
    { class: "sc-row", hidden: !state.split.on },
    el("span", { class: "sc-label" }, "Right half"),
    nodes.splitWith,
  );
  nodes.legendTitle = el("span", { class: "sc-heading" }, "Classes");
  nodes.showAll = el(
    "button",
    { type: "button", class: "sc-button sc-plain", hidden: true, onclick: showAllClasses },
    "Show all",
  );
  nodes.legend = el("ul", { class: "sc-legend", "aria-label": "Legend" });
  nodes.heat = el("div", {});
  parts.push(
    nodes.opacity,
    nodes.toggles,
    nodes.splitRow,
    nodes.heat,
    el("div", { class: "sc-row sc-legendhead" }, nodes.legendTitle, nodes.showAll),
    nodes.legend,
    el(
      "div",
      { class: "sc-toggles" },
      iconButton("download", "Download the photo with its overlay", () => downloadOverlay(), {
        text: "Overlay",
      }),
      iconButton("download", "Download the label map as a palette PNG", () => downloadLabels(), {
        text: "Label map",
      }),
      state.editing ? null : iconButton("help", "Keyboard shortcuts", () => showHelp(), { key: "?" }),
    ),
  );
  nodes.side.replaceChildren(...parts);
  nodes.uncertain.hidden = !state.heat.uncertainty;
  refreshSplit();
  refreshLegend();
}

function setLayer(name) {
  if (!state.maps[name]) return;
  state.layer = name;
  buildSide();
  redraw("overlay");
  announce(`${LAYER_NAMES[name]} shown`);
}

function setShow(name) {
  if (!showsHere().includes(name)) return;
  state.show = name;
  buildSide();
  redraw("overlay");
  announce(`${SHOW_NAMES[name]} shown`);
}

function setSplit(on) {
  const others = layersHere().filter((name) => name !== state.layer);
  state.split.on = on;
  if (on && state.split.with === "photo" && others.length) state.split.with = others[0];
  refreshSplit();
  redraw("overlay");
}

function refreshSplit() {
  const choices = [...layersHere(), "photo"];
  if (!choices.includes(state.split.with)) state.split.with = "photo";
  nodes.splitWith.replaceChildren(
    ...choices.map((c) => el("option", { value: c, selected: c === state.split.with }, LAYER_NAMES[c])),
  );
  nodes.splitRow.hidden = !state.split.on;
}

function countClasses(name) {
  if (!state.counts[name]) {
    const counts = new Int32Array(256),
      map = state.maps[name];
    for (let i = 0; i < map.length; i++) counts[map[i]]++;
    state.counts[name] = counts;
  }
  return state.counts[name];
}

function countErrors() {
  const counts = new Int32Array(3),
    map = state.maps[judged()],
    truth = state.maps.truth;
  for (let i = 0; i < map.length; i++) counts[truth[i] === VOID ? 0 : truth[i] === map[i] ? 1 : 2]++;
  return counts;
}

// Intersection over union of each class on this photo; null where neither map has the class. Void is not counted.
function classIous(name) {
  if (!state.maps.truth || name === "truth" || !state.maps[name]) return null;
  if (!state.ious[name]) {
    const both = new Int32Array(256),
      either = new Int32Array(256),
      map = state.maps[name],
      truth = state.maps.truth;
    for (let i = 0; i < map.length; i++) {
      const t = truth[i],
        p = map[i];
      if (t === VOID) continue;
      either[t]++;
      if (t === p) both[t]++;
      else either[p]++;
    }
    state.ious[name] = Array.from(either, (n, id) => (n ? both[id] / n : null));
  }
  return state.ious[name];
}

function refreshLegend() {
  if (!nodes.legend || !state.maps[state.layer]) return;
  const heat = state.show === "confidence" || state.show === "uncertainty";
  nodes.heat.replaceChildren(...(heat ? [heatBar(state.show, state.payload.uncertainty_note)] : []));
  const ious = state.show === "errors" ? null : classIous(state.layer);
  const counts = state.show === "errors" ? countErrors() : countClasses(state.layer);
  buildLegend(
    nodes.legend,
    state,
    { toggleClass, solo: soloClass, choose: (id) => editor.choose(id) },
    counts,
    ious,
  );
  nodes.showAll.hidden = state.hidden.size === 0 || state.show === "errors";
  nodes.legendTitle.textContent =
    state.show === "errors" ? `${LAYER_NAMES[judged()]} against the truth` : "Classes";
  if (ious && state.show !== "errors") {
    const known = ious.filter((value) => value !== null);
    const mean = known.reduce((sum, value) => sum + value, 0) / Math.max(1, known.length);
    nodes.legendTitle.append(
      el(
        "span",
        { class: "sc-number", title: "Mean of the class IoUs on this photo" },
        ` mean IoU ${(mean * 100).toFixed(0)}`,
      ),
    );
  }
  const found = state.classes.some(
    ({ id }) => id !== state.background && id !== VOID && countClasses(state.layer)[id],
  );
  const silent = found ? !state.payload.warning : state.background === null || state.message === "";
  nodes.note.hidden = silent || state.editing || state.layer === "truth";
  nodes.note.textContent =
    (found ? state.payload.warning : state.message) ??
    `Nothing in this photo belongs to a class of ${state.payload.labels.title}, so there is nothing to colour.`;
}

// The background starts hidden: it is everywhere and says nothing. Hiding is about looking, never about the data.
const startHidden = () => new Set(state.background === null ? [] : [state.background]);

function afterHiding() {
  refreshLegend();
  redraw("overlay");
}

function toggleClass(id) {
  state.solo = null;
  state.hidden.has(id) ? state.hidden.delete(id) : state.hidden.add(id);
  announce(`${state.byId.get(id).name} ${state.hidden.has(id) ? "hidden" : "shown"}`);
  afterHiding();
}

function soloClass(id) {
  const again = state.solo === id;
  state.solo = again ? null : id;
  state.hidden = again
    ? startHidden()
    : new Set(state.classes.map((c) => c.id).filter((other) => other !== id));
  announce(again ? "All classes shown" : `Only ${state.byId.get(id).name} shown`);
  afterHiding();
}

function showAllClasses() {
  state.solo = null;
  state.hidden = new Set();
  announce("All classes shown");
  afterHiding();
}

// ---------------------------------------------------------------------------------------------------- drawing

const overlay = {};

function layerFor(name) {
  if (name === "photo" || !state.maps[name]) return null;
  const style = buildStyle(state.classes, state.options, (id) => !state.hidden.has(id));
  return { map: state.maps[name], style };
}

function mainLayer() {
  if (state.show !== "errors") return layerFor(state.layer);
  const entries = ERROR_CODES.map((e) => ({ id: e.code, ...e }));
  const style = buildStyle(entries, { ...state.options, outline: false }, () => true);
  return { map: state.maps[judged()], truth: state.maps.truth, style };
}

const heatHere = () =>
  (state.show === "confidence" || state.show === "uncertainty") && state.heat[state.show]?.picture;

// Draws the overlay inside a rectangle of device pixels.
function drawOverlay(x0 = 0, y0 = 0, x1 = view.width, y1 = view.height) {
  const cut = state.split.on ? Math.round(view.width * state.split.at) : view.width;
  const heat = heatHere();
  if (heat) overlay.tool.paintHeat(heat, state.options.opacity, 0, cut);
  else overlay.tool.paint(mainLayer(), x0, y0, Math.min(cut, x1), y1);
  if (state.split.on) overlay.tool.paint(layerFor(state.split.with), Math.max(cut, x0), y0, x1, y1);
}

// Draws at most once per frame, whatever asks for it.
function redraw(part) {
  if (part) wanted[part] = true;
  if (frameAsked || !state.pyramid) return;
  frameAsked = true;
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
  frameAsked = false;
  if (!state.pyramid || !view.width) return;
  const began = performance.now();
  if (photo) {
    drawPhoto(nodes.base, view, state.pyramid);
    overlay.tool.place();
    placeMarks();
  }
  if (photo || whole) drawOverlay();
  else if (rect && !heatHere()) {
    const [x0, y0, x1, y1] = rect,
      margin = 3 + view.scale;
    drawOverlay(
      x0 * view.scale + view.tx - margin,
      y0 * view.scale + view.ty - margin,
      x1 * view.scale + view.tx + margin,
      y1 * view.scale + view.ty + margin,
    );
  }
  if (state.split.on || !nodes.handle.hidden) placeSplit();
  api.frameMilliseconds = performance.now() - began;
}

function placeMarks() {
  nodes.zoom.textContent = `${Math.round((view.scale / view.dpr) * 100)} %`;
  const panned = !view.isFitted();
  // At fit, a finger on a picture that is only looked at scrolls the page; otherwise it moves or paints the picture.
  nodes.stage.style.touchAction = panned || state.editing ? "none" : "pan-y";
  editor.place();
  placeCursor();
}

function placeSplit() {
  nodes.handle.hidden = !state.split.on;
  nodes.handle.style.left = `${state.split.at * 100}%`;
  nodes.handle.setAttribute("aria-valuenow", Math.round(state.split.at * 100));
  const left = heatHere() || state.show === "errors" ? SHOW_NAMES[state.show] : LAYER_NAMES[state.layer];
  [left, LAYER_NAMES[state.split.with]].forEach((name, i) => {
    nodes.splitNames[i].hidden = !state.split.on;
    nodes.splitNames[i].textContent = name;
  });
}

// ---------------------------------------------------------------------------------------------------- view

function fitStage() {
  if (!nodes.root.clientWidth) return; // in a tab that is not open
  nodes.root.classList.toggle("sc-narrow", nodes.root.clientWidth < 720);
  const width = nodes.stage.parentElement.clientWidth;
  const natural = state.width ? (width * state.height) / state.width : width * 0.66;
  const full = document.fullscreenElement === nodes.root;
  const most = full ? innerHeight * 0.8 : Math.min(innerHeight * 0.72, 760);
  nodes.stage.style.height = `${Math.round(Math.min(Math.max(natural, 220), Math.max(most, 260)))}px`;
  const fitted = !view.width || view.width === 1 || view.isFitted();
  const [x, y] = view.toImage(view.width / 2, view.height / 2);
  const old = view.width;
  const box = nodes.stage.getBoundingClientRect();
  // More than 2.5 million device pixels per frame would not keep up on two cores.
  view.dpr = Math.min(devicePixelRatio || 1, 2, Math.sqrt(2.5e6 / Math.max(1, box.width * box.height)));
  view.width = Math.max(1, Math.round(nodes.stage.clientWidth * view.dpr));
  view.height = Math.max(1, Math.round(nodes.stage.clientHeight * view.dpr));
  view.imageWidth = Math.max(1, state.width);
  view.imageHeight = Math.max(1, state.height);
  nodes.base.width = view.width;
  nodes.base.height = view.height;
  overlay.tool.resize();
  fitted ? view.fit() : view.centre(x, y, view.scale * (view.width / old));
  redraw("photo");
}

// Components with the same `sync` name show the same part of the picture, as in a comparison of two models.
function moved() {
  redraw("photo");
  const group = state.payload?.sync;
  if (!group) return;
  const [x, y] = view.toImage(view.width / 2, view.height / 2);
  document.dispatchEvent(
    new CustomEvent("sc-view", {
      detail: {
        group,
        from: element,
        x: x / state.width,
        y: y / state.height,
        zoom: view.scale / view.fitScale(),
      },
    }),
  );
}

function follow({ detail }) {
  if (
    !element.isConnected ||
    detail.from === element ||
    detail.group !== state.payload?.sync ||
    !state.pyramid
  )
    return;
  view.centre(detail.x * state.width, detail.y * state.height, detail.zoom * view.fitScale());
  redraw("photo");
}

function zoomBy(factor, x = view.width / 2, y = view.height / 2) {
  view.zoomAt(x, y, factor);
  moved();
}

function fit() {
  view.fit();
  moved();
}

function actualSize() {
  const [x, y] = view.toImage(view.width / 2, view.height / 2);
  view.centre(x, y, view.dpr);
  moved();
}

function showRegion(x0, y0, x1, y1) {
  const scale = Math.min(view.width / (x1 - x0), view.height / (y1 - y0)) * 0.9;
  view.centre((x0 + x1) / 2, (y0 + y1) / 2, Math.max(scale, view.fitScale()));
  moved();
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else nodes.root.requestFullscreen?.();
}

// The window with the highest mean uncertainty that was not visited yet.
function jumpToUncertain() {
  const map = state.heat.uncertainty?.map;
  if (!map) return announce("This prediction has no uncertainty map.");
  const n = 24,
    sums = new Float64Array(n * n),
    counts = new Float64Array(n * n);
  for (let y = 0, i = 0; y < map.height; y++)
    for (let x = 0; x < map.width; x++, i++) {
      const cell = Math.floor((y * n) / map.height) * n + Math.floor((x * n) / map.width);
      sums[cell] += map.data[i];
      counts[cell]++;
    }
  let best = -1,
    where = 0;
  for (let y = 0; y < n - 2; y++)
    for (let x = 0; x < n - 2; x++) {
      if (state.visited.some(([vx, vy]) => Math.abs(vx - x) < 3 && Math.abs(vy - y) < 3)) continue;
      let sum = 0,
        count = 0;
      for (let k = 0; k < 9; k++) {
        const cell = (y + Math.floor(k / 3)) * n + x + (k % 3);
        sum += sums[cell];
        count += counts[cell];
      }
      if (count && sum / count > best) [best, where] = [sum / count, y * n + x];
    }
  if (best < 0 || state.visited.length >= 20) {
    state.visited = [];
    if (best < 0) return fit();
  }
  const x = where % n,
    y = Math.floor(where / n);
  state.visited.push([x, y]);
  const cw = state.width / n,
    ch = state.height / n;
  showRegion((x - 1) * cw, (y - 1) * ch, (x + 4) * cw, (y + 4) * ch);
  announce(`Uncertain region ${state.visited.length}: mean uncertainty ${(best / 255).toFixed(2)}`);
}

// ---------------------------------------------------------------------------------------------------- reading a pixel

function heatAt(name, x, y) {
  const map = state.heat[name]?.map;
  if (!map) return null;
  const hx = Math.min(map.width - 1, Math.floor((x * map.width) / state.width));
  const hy = Math.min(map.height - 1, Math.floor((y * map.height) / state.height));
  return map.data[hy * map.width + hx] / 255;
}

function describe(x, y) {
  x = Math.floor(x);
  y = Math.floor(y);
  if (x < 0 || y < 0 || x >= state.width || y >= state.height) return null;
  const at = y * state.width + x,
    map = state.maps[state.layer];
  if (!map) return null;
  const entry = state.byId.get(map[at]),
    parts = [];
  const truth = state.maps.truth && state.layer !== "truth" && state.byId.get(state.maps.truth[at]);
  if (truth && truth !== entry) parts.push(`truth: ${truth.name}`);
  const confidence = state.layer === "prediction" ? heatAt("confidence", x, y) : null;
  if (confidence !== null) parts.push(`${Math.round(confidence * 100)} % sure`);
  if (state.show === "uncertainty") parts.push(`uncertainty ${heatAt("uncertainty", x, y).toFixed(2)}`);
  return { entry, text: [entry?.name ?? `class ${map[at]}`, ...parts].join(" · "), where: `${x}, ${y}` };
}

function showChip(x, y) {
  const info = state.pyramid && describe(...view.toImage(x, y));
  nodes.chip.hidden = !info;
  if (!info) return;
  const color = info.entry ? `rgb(${info.entry.color.join(",")})` : "transparent";
  nodes.chip.replaceChildren(
    el("i", { style: `background:${color}` }),
    el("b", {}, info.text),
    el("span", { class: "sc-where" }, info.where),
  );
  const cx = x / view.dpr,
    cy = y / view.dpr,
    box = nodes.stage;
  nodes.chip.classList.toggle("sc-docked", state.editing);
  if (state.editing) return nodes.chip.removeAttribute("style");
  const left = Math.min(Math.max(6, cx + 14), Math.max(6, box.clientWidth - nodes.chip.offsetWidth - 6));
  const top =
    cy + 18 + nodes.chip.offsetHeight > box.clientHeight ? cy - nodes.chip.offsetHeight - 12 : cy + 18;
  nodes.chip.style.transform = `translate(${left}px, ${Math.max(4, top)}px)`;
}

// ---------------------------------------------------------------------------------------------------- loading

async function fetchBytes(file) {
  const url = typeof file === "string" ? file : file.url;
  const response = await fetch(url);
  if (!response.ok)
    throw new Error(`A file of this photo could not be loaded (${response.status}): reload the page.`);
  return response.arrayBuffer();
}

async function loadMap(file, width, height) {
  if (!file) return null;
  const map = await codec.call("decode", new Uint8Array(await fetchBytes(file)));
  if (width && (map.width !== width || map.height !== height))
    throw new Error(`The mask is ${map.width} x ${map.height} but the photo is ${width} x ${height}.`);
  return map;
}

async function loadPhoto(file) {
  return createImageBitmap(new Blob([await fetchBytes(file)]));
}

function readLabels(labels) {
  state.classes = labels.classes.map((c) => ({ ...c, pattern: patternOf(c.id) }));
  state.classes.push({ id: VOID, name: "void", color: labels.void_color, pattern: patternOf(VOID) });
  state.byId = new Map(state.classes.map((c) => [c.id, c]));
  state.background = labels.background;
  state.palette = Uint8Array.from(labels.palette.match(/../g), (pair) => parseInt(pair, 16));
}

const urlOf = (file) => (typeof file === "string" ? file : file?.url);

function stopWaiting() {
  nodes.busy.hidden = true;
  nodes.root.removeAttribute("aria-busy");
}

// The page asked for a photo before it was saved and is answered after.
const isOlderThanSaved = ({ key, mode, revision }) =>
  mode === "edit" && state.saved?.key === key && (revision ?? 0) < state.saved.revision;

// Shows what `payload` describes. Keeps the photo and the view when only the masks changed (another model).
async function load(payload) {
  const turn = ++loading;
  const samePhoto = state.pyramid && state.payload && urlOf(payload.image) === urlOf(state.payload.image);
  const sameClasses = state.payload && JSON.stringify(payload.labels) === JSON.stringify(state.payload.labels);
  nodes.busy.hidden = false;
  nodes.busy.textContent = "Loading…";
  nodes.root.setAttribute("aria-busy", "true");
  await editor.writeDraft(); // of the photo being left, which may also be this one
  const { width, height, layers } = payload;
  const sized = (file) => loadMap(file, width, height);
  const [bitmap, prediction, truth, yours, confidence, uncertainty, draft] = await Promise.all([
    samePhoto ? null : loadPhoto(payload.image),
    sized(layers.prediction),
    sized(layers.truth),
    sized(layers.yours),
    loadMap(payload.confidence),
    loadMap(payload.uncertainty),
    editor.readDraft(payload),
  ]);
  if (turn !== loading) return bitmap?.close();
  if (isOlderThanSaved(payload)) {
    bitmap?.close();
    stopWaiting();
    state.saved = null; // what comes next is shown, whatever it is
    return trigger("reload", { key: payload.key });
  }
  editor.leave();
  if (bitmap) {
    state.pyramid?.close();
    state.pyramid = makePyramid(bitmap);
    state.pyramid.grow(() => redraw("photo"));
  }
  Object.assign(state, {
    payload,
    width,
    height,
    name: payload.name || "photo",
    message: payload.message,
    revision: payload.revision ?? null,
    counts: {},
    ious: {},
    visited: [],
    editing: payload.mode === "edit",
    maps: Object.fromEntries(
      Object.entries({ prediction, truth, yours })
        .filter(([, m]) => m)
        .map(([k, m]) => [k, m.data]),
    ),
    heat: {},
  });
  for (const [name, map] of Object.entries({ confidence, uncertainty }))
    if (map) state.heat[name] = { map, picture: colourHeat(map) };
  readLabels(payload.labels);
  if (!samePhoto || !sameClasses || !state.hidden.size) [state.hidden, state.solo] = [startHidden(), null];
  editor.enter(draft);
  buildSide();
  stopWaiting();
  if (!samePhoto) view.width = 0; // so that the new photo is fitted
  fitStage();
  redraw("photo");
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  api.loads++;
  nodes.root.dataset.ready = payload.key;
  trigger("ready", { key: payload.key });
}

async function show() {
  // Gradio's props are live proxies; plain data cannot change while a photo loads.
  const payload = props.value ? JSON.parse(JSON.stringify(props.value)) : null;
  if (!payload?.image) return;
  try {
    await load(payload);
  } catch (error) {
    nodes.busy.hidden = false;
    nodes.busy.textContent = error.message;
    nodes.root.removeAttribute("aria-busy");
    announce(error.message);
  }
}

// ---------------------------------------------------------------------------------------------------- downloads

function saveFile(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const encodeMap = (name) => codec.call("encode", state.width, state.height, state.maps[name], state.palette);

async function downloadLabels() {
  saveFile(new Blob([await encodeMap(state.layer)], { type: "image/png" }), `${state.name}.png`);
  announce("Label map downloaded");
}

async function downloadOverlay() {
  announce("Preparing the overlay");
  const heat = heatHere();
  const blob = await renderFullSize(
    state.pyramid,
    heat ? null : mainLayer(),
    heat,
    state.options.opacity,
    state.width,
    state.height,
  );
  saveFile(blob, `${state.name}_overlay.png`);
  announce("Overlay downloaded");
}

// ---------------------------------------------------------------------------------------------------- start

const editor = makeEditor();

// What tests and the benchmark read; also handy in a browser's console.
const api = {
  state,
  view,
  editor,
  loads: 0,
  frameMilliseconds: 0,
  encode: encodeMap,
  decode: (bytes) => codec.call("decode", bytes),
  describe,
};

buildPage();
overlay.tool = makeOverlay(nodes.over, view);
listen();
element.maskCanvas = nodes.root.maskCanvas = api;
watch("value", show);
show();
