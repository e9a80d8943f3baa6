// Files that a person takes home.
import { el } from "../dom.js";
import { renderFullSize } from "./drawing.js";
import { heatOf } from "./state.js";

function saveFile(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export function makeDownloads(canvas) {
  const { state, codec } = canvas;
  const { announce } = canvas.page;
  const encode = (name) => codec.call("encode", state.width, state.height, state.maps[name], state.palette);

  async function labels() {
    saveFile(new Blob([await encode(state.layer)], { type: "image/png" }), `${state.name}.png`);
    announce("Label map downloaded");
  }

  async function overlay() {
    announce("Preparing the overlay");
    const { pyramid, options, width, height } = state;
    const heat = heatOf(state);
    const layer = heat ? null : canvas.frames.mainLayer();
    const blob = await renderFullSize(pyramid, layer, heat, options.opacity, width, height);
    saveFile(blob, `${state.name}_overlay.png`);
    announce("Overlay downloaded");
  }

  return { encode, labels, overlay };
}
