// The elements of the canvas, and how it speaks: to everybody by a banner, to screen readers by a live region.
import { el } from "../dom.js";
import { iconButton, plainButton } from "./controls.js";
import { icon } from "./icons.js";

const SAID = 6000; // milliseconds

export function makePage(canvas) {
  let timer = 0;
  const nodes = (canvas.nodes = { root: canvas.element.querySelector(".sc") });
  nodes.base = el("canvas", { class: "sc-layer" });
  nodes.over = el("canvas", { class: "sc-layer" });
  nodes.glow = el("canvas", { class: "sc-layer" });
  nodes.draft = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  nodes.draft.setAttribute("class", "sc-layer");
  nodes.ring = el("div", { class: "sc-ring", hidden: true });
  nodes.cross = el("div", { class: "sc-cross", "aria-hidden": "true", hidden: true });
  nodes.chip = el("div", { class: "sc-chip", hidden: true });
  nodes.tags = el("div", { class: "sc-tags", "aria-hidden": "true" });
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
  nodes.uncertain = iconButton(
    "target",
    "Jump to the most uncertain region",
    () => canvas.stage.jumpToUncertain(),
    { key: "U" },
  );
  const actualSize = {
    type: "button",
    class: "sc-button",
    title: "One image pixel per screen pixel (Shift+W)",
    "aria-label": "Actual size",
    onclick: () => canvas.stage.actualSize(),
  };
  nodes.fold = iconButton("panel", "Side panel", () => canvas.stage.toggleSide(), {
    key: "V",
    class: "sc-button sc-fold",
    "aria-pressed": "true",
  });
  const zoomBar = el(
    "div",
    { class: "sc-zoombar", role: "group", "aria-label": "Zoom" },
    iconButton("minus", "Zoom out", () => canvas.stage.zoomBy(1 / 1.5), { key: "-" }),
    nodes.zoom,
    iconButton("plus", "Zoom in", () => canvas.stage.zoomBy(1.5), { key: "+" }),
    iconButton("fit", "Fit the photo", () => canvas.stage.fit(), { key: "W" }),
    el("button", actualSize, el("span", { class: "sc-text" }, "1:1")),
    nodes.uncertain,
    iconButton("expand", "Full screen", () => canvas.stage.toggleFullScreen()),
    nodes.fold,
    iconButton("help", "Keyboard shortcuts", () => canvas.keys.showHelp(), { key: "?" }),
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
    nodes.tags,
    nodes.glow,
    nodes.draft,
    nodes.ring,
    nodes.handle,
    ...nodes.splitNames,
    nodes.note,
    nodes.chip,
    nodes.busy,
    nodes.cross,
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
  nodes.root.append(
    nodes.toolbar,
    el(
      "div",
      { class: "sc-body" },
      el("div", { class: "sc-main" }, nodes.stage, zoomBar, nodes.banner),
      nodes.side,
    ),
    nodes.live,
    nodes.dialog,
  );

  function announce(text) {
    nodes.live.textContent = "";
    requestAnimationFrame(() => (nodes.live.textContent = text));
  }

  // A line over the stage, so that nothing moves: what happened, and what can be done about it, as [label, action] pairs.
  // What is only said goes by itself.
  function banner(text, kind = "info", ...buttons) {
    clearTimeout(timer);
    nodes.banner.hidden = !text;
    if (!text) return;
    const dismiss = () => (nodes.banner.hidden = true);
    if (kind === "info" && !buttons.length) timer = setTimeout(dismiss, SAID);
    nodes.banner.dataset.kind = kind;
    nodes.banner.replaceChildren(
      el("span", {}, text),
      ...buttons.map(([label, action]) =>
        plainButton(label, () => {
          dismiss();
          action();
        }),
      ),
      iconButton("close", "Dismiss this message", dismiss),
    );
  }

  return { announce, banner };
}
