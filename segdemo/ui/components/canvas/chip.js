// Reads a pixel: its class and how sure the model is of it, in words.
import { el } from "../dom.js";
import { isInside } from "./state.js";

export function makeChip(canvas) {
  const { state, view, nodes } = canvas;

  function heatAt(name, x, y) {
    const map = state.heat[name]?.map;
    if (!map) return null;
    const hx = Math.min(map.width - 1, Math.floor((x * map.width) / state.width));
    const hy = Math.min(map.height - 1, Math.floor((y * map.height) / state.height));
    return map.data[hy * map.width + hx] / 255;
  }

  // What is at an image pixel, { entry, parts, text, where }; null outside the photo.
  function describe(x, y) {
    x = Math.floor(x);
    y = Math.floor(y);
    const map = state.maps[state.layer];
    if (!map || !isInside(state, x, y)) return null;
    const at = y * state.width + x,
      id = canvas.editor.teach.labelAt(x, y) ?? map[at],
      entry = state.byId.get(id),
      parts = [entry?.name ?? `class ${id}`];
    const truth = state.maps.truth && state.layer !== "truth" && state.byId.get(state.maps.truth[at]);
    if (truth && truth !== entry) parts.push(`truth: ${truth.name}`);
    const confidence = state.layer === "prediction" ? heatAt("confidence", x, y) : null;
    if (confidence !== null) parts.push(`${Math.round(confidence * 100)} % sure`);
    if (state.show === "uncertainty") parts.push(`uncertainty ${heatAt("uncertainty", x, y).toFixed(2)}`);
    return { entry, parts, text: parts.join(" · "), where: `${x}, ${y}` };
  }

  // Shows it beside a point in device pixels; while editing in a corner, where it covers nothing.
  function show(x, y) {
    const { chip, stage } = nodes;
    const info = state.pyramid && describe(...view.toImage(x, y));
    chip.hidden = !info;
    if (!info) return;
    const color = info.entry ? `rgb(${info.entry.color.join(",")})` : "transparent";
    chip.replaceChildren(
      el("i", { style: `background:${color}` }),
      el("b", {}, ...info.parts.flatMap((part, n) => [n ? " · " : "", el("bdi", {}, part)])),
      el("span", { class: "sc-where" }, info.where),
    );
    chip.classList.toggle("sc-docked", state.editing);
    if (state.editing) return chip.removeAttribute("style");
    const cx = x / view.dpr,
      cy = y / view.dpr;
    const left = Math.min(Math.max(6, cx + 14), Math.max(6, stage.clientWidth - chip.offsetWidth - 6));
    const below = cy + 18 + chip.offsetHeight <= stage.clientHeight;
    const top = below ? cy + 18 : cy - chip.offsetHeight - 12;
    chip.style.transform = `translate(${left}px, ${Math.max(4, top)}px)`;
  }

  return { describe, show };
}
