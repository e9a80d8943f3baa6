// The settings of Teach in the toolbar, and what is said about it.
import { el } from "../dom.js";
import { iconButton, slider } from "./controls.js";

const START = "Paint a little of each class, and of the background. A right drag erases.";
const GO_ON = "Paint where it is wrong. Apply writes it into the mask; Esc leaves.";

export function makeTeachPanel({ state, nodes, page }, teach) {
  const ui = {};
  let said = "";

  function build() {
    ui.apply = iconButton("check", "Apply: write what was taught into the mask", teach.apply, {
      text: "Apply",
      class: "sc-button sc-primary",
    });
    ui.least = slider(
      "Surer than",
      { min: 0, max: 95, step: 5, value: Math.round(teach.least() * 100) },
      (v) => `${v} %`,
      (v) => teach.setLeast(v / 100),
    );
    ui.next = iconButton("target", "Paint here next", teach.next, { key: "U" });
    ui.least.title = "Apply only where the class is surer than this";
    ui.clear = iconButton("clean", "Clear strokes", teach.clear);
    ui.row = el(
      "div",
      { class: "sc-thing sc-teach", role: "group", "aria-label": "Teach", hidden: true },
      ui.apply,
      ui.least,
      ui.next,
      ui.clear,
    );
    said = "";
    return ui.row;
  }

  // What to do, for the toolbar to show.
  function hintOf({ strokes, classes, failed }) {
    if (failed) return failed;
    if (!strokes) return "Getting this photo ready…";
    if (classes.length === 1)
      return `Only ${state.byId.get(classes[0])?.name} is painted: paint a second class, or background, too.`;
    return classes.length ? GO_ON : START;
  }

  // `session` is that of teach.js, or null.
  function refresh(session, isOn, erasing) {
    if (!ui.row) return;
    ui.row.hidden = !isOn;
    if (!isOn || !session) return;
    ui.apply.disabled = !session.answer || session.applying;
    ui.next.disabled = !session.answer;
    ui.clear.disabled = !session.strokes || session.strokes.isEmpty();
    for (const button of nodes.toolbar.querySelectorAll('[data-tool="eraser"]'))
      button.setAttribute("aria-pressed", String(erasing));
    const hint = hintOf(session);
    if (hint === said) return;
    said = hint;
    page.announce(hint);
  }

  return { build, refresh, hintOf };
}
