// The menus of the toolbar: operations on the whole map, and maps to start again from.
import { el } from "../dom.js";
import { VOID } from "./colours.js";
import { plainButton, row } from "./controls.js";
import { replaceClass } from "./fill.js";
import { icon } from "./icons.js";
import { fillHoles, growClass, removeSpecks } from "./regions.js";

const numberInput = (label, value, most) =>
  el("input", { type: "number", class: "sc-input", "aria-label": label, min: 1, max: most, value });
const numberOf = (input) => Math.min(Number(input.max), Math.max(1, Math.round(Number(input.value)) || 1));
const heading = (text) => el("p", { class: "sc-heading" }, text);

export function makeMenus({ state, nodes, server }, editor) {
  const { e } = editor;

  function menu(name, label, ...items) {
    const text = el("span", { class: "sc-text" }, label);
    const summary = el(
      "summary",
      { class: "sc-button", title: label, "aria-label": label },
      icon(name),
      text,
    );
    const node = el("details", { class: "sc-menu" }, summary, el("div", { class: "sc-pop" }, ...items));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !node.open) return;
      node.open = false;
      summary.focus();
      event.stopPropagation();
    });
    node.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !node.contains(relatedTarget)) node.open = false;
    });
    node.addEventListener("toggle", () => node.open && placePop(node));
    return node;
  }

  // Keeps an open menu inside the component; in a narrow one it lies at the foot of the window.
  function placePop(node) {
    const pop = node.lastChild;
    pop.removeAttribute("style");
    if (nodes.root.classList.contains("sc-narrow")) return;
    const box = nodes.root.getBoundingClientRect(),
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

  function clean() {
    const { width: w, height: h } = state;
    const nameOf = (id) => state.byId.get(Number(id)).name;
    const steps = numberInput("Pixels to grow or shrink by", 3, 200),
      limit = numberInput("Smallest piece kept, in pixels", 64, 1e7);
    const from = classSelect("Class to change", state.paintClass),
      to = classSelect("Class it becomes", editor.blank());
    const holes = () =>
      editor.operate(`Filled holes of ${nameOf(state.paintClass)}`, (mark) =>
        fillHoles(e.map, w, h, state.paintClass, mark),
      );
    const grow = (outwards) =>
      editor.operate(`${outwards ? "Grew" : "Shrank"} ${nameOf(state.paintClass)}`, (mark) =>
        growClass(e.map, w, h, state.paintClass, numberOf(steps), outwards, mark),
      );
    const specks = (all) => {
      const chosen = new Uint8Array(256).fill(all ? 1 : 0);
      chosen[VOID] = 0;
      chosen[state.paintClass] = 1;
      editor.operate(all ? "Removed specks" : `Removed specks of ${nameOf(state.paintClass)}`, (mark) =>
        removeSpecks(e.map, w, h, numberOf(limit), chosen, mark),
      );
    };
    const change = () => {
      const [a, b] = [Number(from.value), Number(to.value)];
      editor.operate(
        `Made ${nameOf(a)} ${nameOf(b)}`,
        (mark) => a !== b && replaceClass(e.map, w, h, a, b, mark),
      );
    };
    return menu(
      "clean",
      "Clean up",
      heading("The chosen class"),
      row(plainButton("Fill its holes", holes)),
      row(
        plainButton("Grow", () => grow(true)),
        plainButton("Shrink", () => grow(false)),
        "by",
        steps,
        "px",
      ),
      heading("Specks"),
      row(
        "under",
        limit,
        "px:",
        plainButton("chosen class", () => specks(false)),
        plainButton("all", () => specks(true)),
      ),
      heading("Change a class everywhere"),
      row(from, "→", to, plainButton("Change", change)),
    );
  }

  function start() {
    const { maps } = state;
    const item = (text, action) =>
      plainButton(text, (event) => {
        event.target.closest("details").open = false;
        action();
      });
    const map = (text, done, data) => item(text, () => editor.replaceMap(done, data()));
    const filled = (id) => new Uint8Array(e.map.length).fill(id);
    const file = el("input", {
      type: "file",
      accept: "image/*",
      class: "sc-hidden",
      tabindex: -1,
      "aria-label": "Mask file",
      onchange: () => {
        editor.saving.importFile(file.files[0]);
        file.value = "";
      },
    });
    return menu(
      "start",
      "Start from",
      maps.prediction && map("The prediction", "Started from the prediction", () => maps.prediction),
      maps.truth && map("The true mask", "Started from the true mask", () => maps.truth),
      e.saved && map("The saved mask", "Back to the saved mask", () => e.saved),
      map("An empty mask", "Emptied", () => filled(editor.blank())),
      map("All void", "Made everything void", () => filled(VOID)),
      server.import_mask && item("A mask file…", () => file.click()),
      server.import_mask && file,
    );
  }

  return { clean, start };
}
