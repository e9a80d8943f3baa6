// What one canvas shows and how: every part of it reads and changes this.
import { remember } from "../dom.js";
import { VOID } from "./colours.js";
import { classIous, countClasses } from "./statistics.js";

export const LAYER_NAMES = {
  prediction: "Prediction",
  truth: "Truth",
  yours: "Your mask",
  photo: "Photo only",
};
export const SHOW_NAMES = {
  classes: "Classes",
  confidence: "Confidence",
  uncertainty: "Uncertainty",
  errors: "Errors",
};
const OPTIONS = { opacity: 0.38, outline: true, patterns: false, names: true };
const STORED = "segdemo-canvas"; // where the browser keeps the options

export function makeState() {
  return {
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
    sweep: null, // how far the first mask of the page is drawn, 0..1, while it is
    split: { on: false, at: 0.5, with: "photo" },
    pyramid: null,
    visited: [],
  };
}

function readOptions() {
  try {
    return { ...OPTIONS, ...JSON.parse(remember(STORED) || "{}") };
  } catch {
    return { ...OPTIONS }; // what is kept there is damaged
  }
}

export const keepOptions = (options) => remember(STORED, JSON.stringify(options));

export const layersOf = (state) => ["prediction", "truth", "yours"].filter((name) => state.maps[name]);

export function showsOf(state) {
  const shows = ["classes"];
  if (state.heat.confidence) shows.push("confidence");
  if (state.heat.uncertainty) shows.push("uncertainty");
  if (state.maps.truth && (state.maps.prediction || state.maps.yours)) shows.push("errors");
  return shows;
}

// The map an error map judges: the layer looked at, or the prediction while the truth itself is looked at.
export const judged = (state) =>
  state.layer === "truth" ? (state.maps.prediction ? "prediction" : "yours") : state.layer;

// The picture of the confidence or uncertainty if that is what is shown.
export const heatOf = (state) =>
  (state.show === "confidence" || state.show === "uncertainty") && state.heat[state.show]?.picture;

// How many pixels of a map each id has. Counted once; the history keeps those of the edited map up to date.
export const countsOf = (state, name) => (state.counts[name] ??= countClasses(state.maps[name]));

export function iousOf(state, name) {
  if (!state.maps.truth || name === "truth" || !state.maps[name]) return null;
  return (state.ious[name] ??= classIous(state.maps[name], state.maps.truth));
}

// The background starts hidden: it is everywhere and says nothing. Hiding is about looking, never about the data.
export const startHidden = (state) => new Set(state.background === null ? [] : [state.background]);

// Where the overlay ends and what the split shows begins, as a share of the stage; 1 for nowhere.
export const cutOf = ({ sweep, split }) => (split.on ? split.at : (sweep ?? 1));

export const isInside = (state, x, y) => x >= 0 && y >= 0 && x < state.width && y < state.height;
export const isThing = (state, id) => id !== state.background && id !== VOID;
