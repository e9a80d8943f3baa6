// The legend: what each colour means, how much of the photo it takes, and how well it agrees with the truth.
import { el } from "../dom.js";
import { ERROR_CODES, VIRIDIS, VOID } from "./colours.js";
import { iconButton } from "./controls.js";
import { drawSwatch } from "./drawing.js";

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(share * 100).toFixed(1)} %`;
}

export function heatBar(show, uncertaintyNote) {
  const stops = VIRIDIS.map((c) => `rgb(${c.join(",")})`).join(",");
  const [low, high] = show === "confidence" ? ["unsure", "sure"] : ["sure", "unsure"];
  return el(
    "div",
    { class: "sc-heat" },
    el("div", { class: "sc-heatbar", style: `background:linear-gradient(90deg,${stops})` }),
    el("div", { class: "sc-heatends" }, el("span", {}, `0 · ${low}`), el("span", {}, `${high} · 1`)),
    el(
      "p",
      { class: "sc-hint" },
      show === "confidence"
        ? "Probability of the most likely class at each pixel."
        : (uncertaintyNote ??
            "Entropy over the classes at each pixel: 1 means every class is equally likely."),
    ),
  );
}

// One row of the legend: a class, or a code of the error map, which is `fixed`. In edit mode the name chooses the class
// to paint with.
function legendRow({ id, name, color, pattern }, { share, iou, key, fixed }, state, actions) {
  const swatch = el("canvas", { width: 22, height: 22, class: "sc-swatch", "aria-hidden": "true" });
  drawSwatch(swatch, color, pattern);
  const hidden = state.hidden.has(id),
    chosen = state.editing && state.paintClass === id;
  const nameText = el("span", { class: "sc-nametext", dir: "auto" }, name);
  const chooser = {
    type: "button",
    class: "sc-name",
    "aria-pressed": String(chosen),
    title: `Paint with ${name}`,
    onclick: () => actions.choose(id),
  };
  const eye = {
    type: "button",
    class: "sc-eye",
    "aria-pressed": String(!hidden),
    "aria-label": `Show ${name}`,
    title: hidden ? "Show" : "Hide",
    onclick: () => actions.toggleClass(id),
  };
  const agreement = { class: "sc-iou", title: "Intersection over union with the true mask, on this photo" };
  return el(
    "li",
    { class: `sc-class${hidden ? " sc-off" : ""}${chosen ? " sc-chosen" : ""}`, "data-id": id },
    fixed ? swatch : el("button", eye, swatch),
    state.editing && !fixed
      ? el("button", chooser, nameText, key && el("kbd", {}, key))
      : el("span", { class: "sc-name" }, nameText),
    typeof iou === "number" && el("span", agreement, `IoU ${(iou * 100).toFixed(0)}`),
    el("span", { class: "sc-share" }, share ? percent(share) : ""),
    !fixed &&
      iconButton("solo", `Show only ${name}`, () => actions.solo(id), {
        class: "sc-button sc-solo",
        "aria-pressed": String(state.solo === id),
      }),
  );
}

const keyOf = (id) => (id === VOID ? "X" : id < 100 ? String(id) : "");
const totalOf = (counts) =>
  Math.max(
    1,
    counts.reduce((sum, n) => sum + n, 0),
  );

// The rows the legend shows: classes present, largest first, background last; while editing, every class by id.
function legendRows(state, counts, ious) {
  const total = totalOf(counts);
  const rows = state.classes
    .filter(({ id }) => state.editing || counts[id] > 0 || typeof ious?.[id] === "number")
    .map((entry) => ({
      entry,
      share: counts[entry.id] / total,
      iou: entry.id === VOID ? null : ious?.[entry.id],
      key: state.editing ? keyOf(entry.id) : "",
    }));
  if (state.editing) return rows;
  const last = ({ entry }) => (entry.id === VOID ? 2 : entry.id === state.background ? 1 : 0);
  return rows.sort((a, b) => last(a) - last(b) || b.share - a.share);
}

// Within the list only: the page stays where it is.
function toSight(list, row) {
  const box = row.getBoundingClientRect(),
    frame = list.getBoundingClientRect();
  list.scrollTop += Math.min(0, box.top - frame.top) + Math.max(0, box.bottom - frame.bottom);
}

export function buildLegend(list, state, actions, counts, ious) {
  const focused = list.contains(document.activeElement) && document.activeElement;
  const again = focused && [focused.closest("li")?.dataset.id, focused.className.split(" ").at(-1)];
  const top = list.scrollTop;
  let rows;
  if (state.show === "errors") {
    const total = totalOf(counts);
    rows = ERROR_CODES.map((e) =>
      legendRow({ id: e.code, ...e }, { fixed: true, share: counts[e.code] / total }, state, actions),
    );
  } else rows = legendRows(state, counts, ious).map((line) => legendRow(line.entry, line, state, actions));
  list.replaceChildren(...rows);
  list.scrollTop = top;
  const chosen = list.querySelector(".sc-chosen");
  if (chosen && chosen.dataset.id !== list.dataset.chosen) toSight(list, chosen); // by its number, say
  list.dataset.chosen = chosen?.dataset.id ?? "";
  if (again) list.querySelector(`li[data-id="${again[0]}"] .${again[1]}`)?.focus();
}
