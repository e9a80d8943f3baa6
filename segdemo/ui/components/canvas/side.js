// The panel beside the photo: which mask is shown and how, and the legend.
import { el } from "../dom.js";
import { iconButton, plainButton, segmented, slider, toggle } from "./controls.js";
import { buildLegend, heatBar } from "./legend.js";
import {
  LAYER_NAMES,
  SHOW_NAMES,
  countsOf,
  heatOf,
  iousOf,
  isThing,
  judged,
  keepOptions,
  layersOf,
  showsOf,
  startHidden,
} from "./state.js";
import { countErrors } from "./statistics.js";

export function makeSide(canvas) {
  const { state, nodes } = canvas;
  const { announce } = canvas.page;
  const { redraw } = canvas.frames;

  function setOption(name, value) {
    state.options[name] = value;
    keepOptions(state.options);
    redraw("overlay");
  }

  function build() {
    const layers = layersOf(state),
      shows = showsOf(state);
    if (!layers.includes(state.layer)) state.layer = layers[0] || "prediction";
    if (!shows.includes(state.show)) state.show = "classes";
    const named = (list, names) => list.map((name) => [name, names[name]]);
    const { options, split } = state;
    nodes.namesToggle = state.editing
      ? null
      : toggle("names", "Names", options.names, (on) => setOption("names", on), "Shift+N");
    nodes.toggles = el(
      "div",
      { class: "sc-toggles sc-pairs", role: "group", "aria-label": "How the mask is drawn" },
      toggle("outline", "Outline", options.outline, (on) => setOption("outline", on), "O"),
      toggle("pattern", "Patterns", options.patterns, (on) => setOption("patterns", on), "T"),
      layers.length ? toggle("split", "Split", split.on, (on) => setSplit(on), "D") : null,
      nodes.namesToggle,
    );
    const setSplitWith = (event) => {
      split.with = event.target.value;
      redraw("overlay");
    };
    nodes.splitWith = el("select", {
      class: "sc-select",
      "aria-label": "Right half shows",
      onchange: setSplitWith,
    });
    nodes.splitRow = el(
      "label",
      { class: "sc-row", hidden: !split.on },
      el("span", { class: "sc-label" }, "Right half"),
      nodes.splitWith,
    );
    nodes.legendTitle = el("span", { class: "sc-heading" }, "Classes");
    nodes.showAll = plainButton("Show all", showAllClasses, { hidden: true });
    nodes.legend = el("ul", { class: "sc-legend", "aria-label": "Legend" });
    nodes.heat = el("div", {});
    const parts = [
      layers.length > 1 && segmented("Mask to look at", named(layers, LAYER_NAMES), state.layer, setLayer),
      shows.length > 1 && segmented("What to show", named(shows, SHOW_NAMES), state.show, setShow),
      slider(
        "Opacity",
        { min: 0, max: 100, value: Math.round(options.opacity * 100) },
        (v) => `${v} %`,
        (v) => setOption("opacity", v / 100),
      ),
      nodes.toggles,
      nodes.splitRow,
      nodes.heat,
      el("div", { class: "sc-row sc-legendhead" }, nodes.legendTitle, nodes.showAll),
      nodes.legend,
      el(
        "div",
        { class: "sc-toggles sc-pairs" },
        iconButton("download", "Download the photo with its overlay", () => canvas.downloads.overlay(), {
          text: "Overlay",
        }),
        iconButton("download", "Download the label map as a palette PNG", () => canvas.downloads.labels(), {
          text: "Label map",
        }),
        state.payload.correctable &&
          iconButton("brush", "Correct this mask in Annotate", () => canvas.trigger("correct", {}), {
            text: "Correct this mask",
            class: "sc-button sc-primary sc-dirty sc-wide",
            id: "correct",
          }),
      ),
    ];
    nodes.side.replaceChildren(...parts.filter(Boolean));
    nodes.uncertain.hidden = !state.heat.uncertainty;
    refreshSplit();
    refreshLegend();
  }

  function setLayer(name) {
    if (!state.maps[name]) return;
    state.layer = name;
    build();
    redraw("overlay");
    announce(`${LAYER_NAMES[name]} shown`);
  }

  function setShow(name) {
    if (!showsOf(state).includes(name)) return;
    state.show = name;
    build();
    redraw("overlay");
    announce(`${SHOW_NAMES[name]} shown`);
  }

  function setSplit(on) {
    const others = layersOf(state).filter((name) => name !== state.layer);
    state.split.on = on;
    if (on && state.split.with === "photo" && others.length) state.split.with = others[0];
    refreshSplit();
    redraw("overlay");
  }

  function refreshSplit() {
    const choices = [...layersOf(state), "photo"];
    if (!choices.includes(state.split.with)) state.split.with = "photo";
    nodes.splitWith.replaceChildren(
      ...choices.map((c) => el("option", { value: c, selected: c === state.split.with }, LAYER_NAMES[c])),
    );
    nodes.splitRow.hidden = !state.split.on;
  }

  function refreshLegend() {
    if (!nodes.legend || !state.maps[state.layer]) return;
    const errors = state.show === "errors";
    const note = state.payload.uncertainty_note;
    nodes.heat.replaceChildren(...(heatOf(state) ? [heatBar(state.show, note)] : []));
    const ious = errors ? null : iousOf(state, state.layer);
    const counts = errors
      ? countErrors(state.maps[judged(state)], state.maps.truth)
      : countsOf(state, state.layer);
    const actions = { toggleClass, solo: soloClass, choose: (id) => canvas.editor.choose(id) };
    buildLegend(nodes.legend, state, actions, counts, ious);
    const background = startHidden(state);
    nodes.showAll.hidden = errors || [...state.hidden].every((id) => background.has(id));
    nodes.legendTitle.textContent = errors ? `${LAYER_NAMES[judged(state)]} against the truth` : "Classes";
    if (ious) {
      const known = ious.filter((value) => value !== null);
      const mean = known.reduce((sum, value) => sum + value, 0) / Math.max(1, known.length);
      const title = "Mean of the class IoUs on this photo";
      const text = ` mean IoU ${(mean * 100).toFixed(0)}`;
      nodes.legendTitle.append(el("span", { class: "sc-number", title }, text));
    }
    refreshNote();
  }

  // What is said over the photo: the page's warning, or that there is nothing but background.
  function refreshNote() {
    const { payload, message } = state;
    const counts = countsOf(state, state.layer);
    const any = state.classes.some(({ id }) => isThing(state, id) && counts[id]);
    const silent = any ? !payload.warning : state.background === null || message === "";
    nodes.note.hidden = silent || state.editing || state.layer === "truth";
    nodes.note.textContent =
      (any ? payload.warning : message) ??
      `Nothing in this photo belongs to a class of ${payload.labels.title}, so there is nothing to colour.`;
  }

  function afterHiding(text) {
    announce(text);
    refreshLegend();
    redraw("overlay");
  }

  function toggleClass(id) {
    state.solo = null;
    const shown = state.hidden.delete(id);
    if (!shown) state.hidden.add(id);
    afterHiding(`${state.byId.get(id).name} ${shown ? "shown" : "hidden"}`);
  }

  function soloClass(id) {
    const again = state.solo === id;
    state.solo = again ? null : id;
    const others = state.classes.map((c) => c.id).filter((other) => other !== id);
    state.hidden = again ? startHidden(state) : new Set(others);
    afterHiding(again ? "All classes shown" : `Only ${state.byId.get(id).name} shown`);
  }

  // The background stays as it is at first: it is shown by nothing.
  function showAllClasses() {
    state.solo = null;
    state.hidden = startHidden(state);
    afterHiding("All classes shown");
  }

  return { build, setLayer, setShow, refreshLegend, showAllClasses };
}
