// The part of the photo that the stage shows.
import { remember } from "../dom.js";
import { mostUncertain, surroundings } from "./statistics.js";

const SIDE = "segdemo-side"; // whether the side panel is folded, between visits

export function makeStage(canvas) {
  const { element, state, view, nodes } = canvas;
  const { announce } = canvas.page;
  const { redraw } = canvas.frames;
  const middle = () => view.toImage(view.width / 2, view.height / 2);

  // What full screen leaves to other things than the stage, in pixels.
  function aroundFull() {
    const { root, stage, toolbar } = nodes;
    const tools = toolbar.hidden
      ? 0
      : toolbar.offsetHeight + parseFloat(getComputedStyle(toolbar).marginBottom);
    const { paddingTop, paddingBottom } = getComputedStyle(root);
    return tools + stage.nextElementSibling.offsetHeight + parseFloat(paddingTop) + parseFloat(paddingBottom);
  }

  // What is above the stage on the page, and what belongs below it.
  function aroundHere() {
    const { stage } = nodes;
    return stage.getBoundingClientRect().top + scrollY + stage.nextElementSibling.offsetHeight + 4;
  }

  function fitStage() {
    const { root, stage } = nodes;
    if (!root.clientWidth) return canvas.editor.saving.saveNow(); // in a tab that is not open
    root.classList.toggle("sc-narrow", root.clientWidth < 720);
    root.classList.toggle("sc-tight", root.clientWidth < 960);
    const width = stage.parentElement.clientWidth;
    const natural = state.width ? (width * state.height) / state.width : width * 0.66;
    const full = document.fullscreenElement === root;
    const set = getComputedStyle(root).getPropertyValue("--sc-around").trim();
    const around = set === "measured" ? aroundHere() : parseFloat(set) || innerHeight * 0.28;
    const most = full ? innerHeight - aroundFull() : innerHeight - around;
    // While photos are labelled one after the other it does not change with them; full screen is full.
    const wanted = full || state.editing ? most : Math.min(Math.max(natural, 220), most);
    stage.style.height = `${Math.round(Math.max(wanted, 260))}px`;
    const fitted = !view.width || view.width === 1 || view.isFitted();
    const [x, y] = middle();
    const old = view.width;
    const box = stage.getBoundingClientRect();
    // More than 2.5 million device pixels per frame would not keep up on two cores.
    view.dpr = Math.min(devicePixelRatio || 1, 2, Math.sqrt(2.5e6 / Math.max(1, box.width * box.height)));
    view.width = Math.max(1, Math.round(stage.clientWidth * view.dpr));
    view.height = Math.max(1, Math.round(stage.clientHeight * view.dpr));
    view.imageWidth = Math.max(1, state.width);
    view.imageHeight = Math.max(1, state.height);
    canvas.frames.resize();
    if (fitted) view.fit();
    else view.centre(x, y, view.scale * (view.width / old));
    redraw("photo");
  }

  // Components with the same `sync` name show the same part of the picture, as in a comparison of two models.
  function moved() {
    redraw("photo");
    const group = state.payload?.sync;
    if (!group) return;
    const [x, y] = middle(),
      zoom = view.scale / view.fitScale();
    const detail = { group, from: element, x: x / state.width, y: y / state.height, zoom };
    document.dispatchEvent(new CustomEvent("sc-view", { detail }));
  }

  function follow({ detail }) {
    const ours = element.isConnected && detail.from !== element && detail.group === state.payload?.sync;
    if (!ours || !state.pyramid) return;
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
    view.centre(...middle(), view.dpr);
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

  // Goes on to a region that was not visited yet, and after twenty begins again.
  function jumpToUncertain() {
    const map = state.heat.uncertainty?.map;
    if (!map) return announce("This prediction has no uncertainty map.");
    const region = mostUncertain(map, state.visited);
    if (!region || state.visited.length >= 20) state.visited = [];
    if (!region) return fit();
    state.visited.push(region);
    showRegion(...surroundings(region, state.width, state.height));
    const mean = (region.mean / 255).toFixed(2);
    announce(`Uncertain region ${state.visited.length}: mean uncertainty ${mean}`);
  }

  document.addEventListener("sc-view", follow);
  // The panel beside the photo folds for a larger photo; below it, in a narrow window, there is nothing to gain.
  function showSide(shown) {
    nodes.root.classList.toggle("sc-folded", !shown);
    nodes.fold.setAttribute("aria-pressed", String(shown));
  }

  function toggleSide() {
    const shown = nodes.root.classList.contains("sc-folded");
    remember(SIDE, shown ? "" : "folded");
    showSide(shown);
    fitStage();
  }

  showSide(remember(SIDE) !== "folded");
  new ResizeObserver(fitStage).observe(nodes.stage.parentElement);
  addEventListener("resize", () => element.isConnected && fitStage());
  return {
    ...{ fitStage, moved, zoomBy, fit, actualSize, showRegion, toggleFullScreen, jumpToUncertain },
    toggleSide,
  };
}
