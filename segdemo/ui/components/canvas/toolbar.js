// The toolbar: tools, their settings, undo and save.
import { el } from "../dom.js";
import { iconButton, slider, toggle } from "./controls.js";
import { drawSwatch } from "./drawing.js";
import { makeMenus } from "./menus.js";
import { TOOLS, offeredBy } from "./tools.js";

const WIDEST = 400; // pixels of the widest brush
const toSlider = (size) => Math.round((Math.log(size) / Math.log(WIDEST)) * 100);
const fromSlider = (v) => Math.max(1, Math.round(WIDEST ** (v / 100)));
const UNPAINTED = ["hand", "pick", "fill", "eraser"]; // tools that "only over background" says nothing about

export function makeToolbar(canvas, editor) {
  const { state, nodes, server } = canvas;
  const { announce } = canvas.page;
  const { e } = editor;
  const menus = makeMenus(canvas, editor);
  const ui = {};

  function build() {
    const gap = (more = "") => el("i", { class: `sc-gap${more}` });
    ui.tools = offeredBy(server).map(([name, { icon, label, key }]) =>
      iconButton(icon, label, () => setTool(name), { key, "data-tool": name, "aria-pressed": "false" }),
    );
    ui.undo = iconButton("undo", "Undo", editor.undo, { key: "Ctrl+Z" });
    ui.redo = iconButton("redo", "Redo", editor.redo, { key: "Ctrl+Shift+Z" });
    ui.save = iconButton("save", "Save this mask", editor.save, {
      key: "Ctrl+S",
      text: "Save",
      class: "sc-button sc-primary",
    });
    ui.state = el("span", { class: "sc-state", role: "status" });
    ui.previous = iconButton("previous", "The photo before", editor.previous, { key: "Shift+Enter" });
    ui.next = iconButton("next", "Next photo to label", () => editor.next(), {
      key: "N",
      text: "Next",
      class: "sc-button sc-next",
    });
    ui.save.hidden = !server.save_mask;
    ui.next.hidden = ui.previous.hidden = !state.payload.next_photo;
    ui.size = slider(
      "Size",
      { min: 0, max: 100, value: toSlider(e.size) },
      (v) => `${fromSlider(v)} px`,
      (v) => setSize(fromSlider(v)),
    );
    ui.tolerance = slider("Reach", { min: 2, max: 60, value: e.tolerance }, String, setTolerance);
    const clicks = (icon, label, minus) =>
      iconButton(icon, label, () => editor.thing.setSign(minus), {
        key: "X",
        class: "sc-button sc-finger",
        "aria-pressed": "false",
      });
    ui.signs = [clicks("plus", "Clicks add", false), clicks("minus", "Clicks take away", true)];
    ui.take = iconButton("check", "Take the selected thing", editor.thing.accept, {
      key: "Enter",
      text: "Done",
      class: "sc-button sc-finger",
    });
    ui.drop = iconButton("close", "Give up the selected thing", editor.thing.drop, {
      key: "Escape",
      class: "sc-button sc-finger",
    });
    ui.thing = el(
      "div",
      { class: "sc-thing", role: "group", "aria-label": "Select thing" },
      ...ui.signs,
      ui.take,
      ui.drop,
    );
    ui.hint = el("span", { class: "sc-hint" });
    ui.swatch = el("canvas", { width: 22, height: 22, class: "sc-swatch", "aria-hidden": "true" });
    ui.classes = el(
      "select",
      {
        class: "sc-select",
        "aria-label": "Class to paint",
        onchange: (event) => editor.choose(Number(event.target.value)),
      },
      ...state.classes.map((c) => el("option", { value: c.id }, c.name)),
    );
    ui.only = toggle("under", "Only over background", e.onlyBackground, (on) => (e.onlyBackground = on));
    nodes.toolbar.replaceChildren(
      el(
        "div",
        { class: "sc-tools", role: "group", "aria-label": "Tools" },
        ...ui.tools,
        gap(),
        ui.undo,
        ui.redo,
        gap(),
        menus.clean(),
        menus.start(),
        iconButton("help", "Keyboard shortcuts", () => canvas.keys.showHelp(), { key: "?" }),
        ui.state,
        ui.previous,
        ui.next,
        ui.save,
      ),
      el(
        "div",
        { class: "sc-settings" },
        el("label", { class: "sc-row sc-classpick" }, ui.swatch, ui.classes),
        ui.size,
        ui.tolerance,
        ui.thing,
        ui.only,
        editor.teach.controls(),
        ui.hint,
      ),
    );
    nodes.toolbar.hidden = false;
    setTool(e.tool);
    refreshButtons();
    refreshClass();
  }

  function refreshButtons() {
    if (!ui.save) return;
    const dirty = editor.dirty();
    const history = editor.teach.isOn() ? editor.teach.history() : e.history;
    ui.undo.disabled = !history?.steps() && !editor.thing.isOpen();
    ui.redo.disabled = !history?.canRedo();
    ui.save.disabled = e.saving;
    ui.save.classList.toggle("sc-dirty", dirty);
    const text = e.saving ? "Saving…" : dirty || state.revision === null ? "Save" : "Saved";
    ui.save.lastChild.textContent = text;
  }

  // What became of the mask, in a place of its own so that nothing moves.
  function say(text, kind = "") {
    if (!ui.state || ui.state.textContent === text) return;
    ui.state.textContent = ui.state.title = text;
    ui.state.dataset.kind = kind;
  }

  function refreshClass() {
    const entry = state.byId.get(state.paintClass);
    if (!ui.swatch || !entry) return;
    drawSwatch(ui.swatch, entry.color, entry.pattern);
    ui.classes.value = entry.id;
  }

  function setTool(name) {
    if (editor.teach.keeps(name)) return;
    if (e.points.length && name !== e.tool) e.points = [];
    if (name !== "thing") editor.thing.leaveTool();
    e.tool = name;
    for (const button of ui.tools) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    ui.size.hidden = !TOOLS[name].sized;
    ui.only.hidden = UNPAINTED.includes(name);
    nodes.stage.dataset.tool = name;
    if (name === "thing") editor.thing.prepare();
    if (name === "teach") editor.teach.enter();
    else editor.teach.leave();
    refreshThing();
    nodes.ring.hidden = true;
    editor.place();
    announce(TOOLS[name].label);
  }

  // What depends on the state of Select thing: its switch, its buttons, and what is said about the tool.
  function refreshThing() {
    if (!ui.thing) return;
    const { thing } = editor,
      chosen = e.tool === "thing",
      alike = chosen && !thing.isLearned();
    ui.thing.hidden = !chosen;
    ui.signs.forEach((button, n) =>
      button.setAttribute("aria-pressed", String(Number(thing.takesAway()) === n)),
    );
    ui.take.disabled = ui.drop.disabled = !thing.isOpen();
    ui.tolerance.hidden = !alike;
    const hint = alike ? TOOLS.thing.hintAlike : (editor.teach.hint() ?? TOOLS[e.tool].hint ?? "");
    ui.hint.textContent = ui.hint.title = hint;
  }

  function setSize(size) {
    e.size = Math.min(WIDEST, Math.max(1, Math.round(size)));
    ui.size.setValue(toSlider(e.size));
    ui.size.querySelector("output").textContent = `${e.size} px`;
    editor.marks.drawRing();
  }

  function setTolerance(value) {
    e.tolerance = Math.min(60, Math.max(2, Math.round(value)));
    ui.tolerance.setValue(e.tolerance);
    editor.later("adjust", () => editor.smart.adjust());
  }

  // [ and ]: brush size, or how far a selection by colour reaches.
  function step(up) {
    if (!ui.tolerance.hidden) return setTolerance(e.tolerance + (up ? 2 : -2));
    if (e.tool === "thing") return;
    const next = e.size * (up ? 1.2 : 1 / 1.2);
    setSize(up ? Math.max(e.size + 1, next) : Math.min(e.size - 1, next));
    announce(`Size ${e.size}`);
  }

  return { build, say, refreshButtons, refreshClass, refreshThing, setTool, setSize, step };
}
