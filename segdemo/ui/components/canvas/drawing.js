// Drawing: the photo and the label map as seen through the current view.
//
// Overlays are drawn per screen pixel, not per image pixel: whatever the photo's size, a frame costs what the viewport
// holds, outlines stay one line wide at every zoom, and a brush stroke redraws only the rectangle it touched.
import { PATTERN, PATTERN_BANK, VOID, luminance, rgba, viridis } from "./colours.js";
import { makeView } from "./view.js";

const LINE = 2; // CSS pixels of an outline
const WIDEST = 4; // device pixels of one
const ROWS = 2 * WIDEST + 1; // of labels that are remembered

// Halved copies of the photo, so that a zoomed-out frame never resamples all of a 12-megapixel picture.
export function makePyramid(bitmap) {
  const levels = [bitmap];
  let stopped = false;

  async function grow(onLevel) {
    while (!stopped && Math.max(levels.at(-1).width, levels.at(-1).height) > 1200) {
      const last = levels.at(-1);
      const size = { resizeWidth: Math.ceil(last.width / 2), resizeHeight: Math.ceil(last.height / 2) };
      const next = await createImageBitmap(last, { ...size, resizeQuality: "medium" });
      if (stopped) return next.close();
      levels.push(next);
      onLevel();
    }
  }

  return {
    grow,
    // The smallest copy that still has a pixel for every device pixel.
    level: (scale) =>
      levels[Math.min(levels.length - 1, Math.max(0, Math.floor(Math.log2(1 / scale) + 1e-6)))],
    close() {
      stopped = true;
      levels.forEach((level) => level.close());
    },
  };
}

// Draws label maps into a canvas through the view, in rectangles of device pixels.
export function makeOverlay(canvas, view) {
  const context = canvas.getContext("2d");
  let frame = null,
    pixels = null,
    columns = new Int32Array(0),
    from = 0,
    to = 0;
  let ring = [];

  function resize() {
    canvas.width = view.width;
    canvas.height = view.height;
    frame = context.createImageData(view.width, view.height);
    pixels = new Uint32Array(frame.data.buffer);
    columns = new Int32Array(view.width);
    ring = Array.from({ length: ROWS }, () => ({ row: -1, labels: new Uint16Array(view.width) }));
  }

  // Which image column each device column shows; called once per change of view.
  function place() {
    const last = view.imageWidth - 1;
    from = Math.min(view.width, Math.max(0, Math.ceil(view.tx - 0.5)));
    to = Math.max(from, Math.min(view.width, Math.ceil(view.tx + view.imageWidth * view.scale - 0.5)));
    for (let x = from; x < to; x++)
      columns[x] = Math.min(last, Math.max(0, Math.floor((x + 0.5 - view.tx) / view.scale)));
  }

  const imageRow = (y) => Math.floor((y + 0.5 - view.ty) / view.scale);

  // Labels of device row y between x0 and x1. With a truth map, codes 0 void, 1 correct, 2 wrong instead.
  function sample(layer, y, x0, x1) {
    const source = imageRow(y);
    if (source < 0 || source >= view.imageHeight) return null;
    const slot = ring[((y % ROWS) + ROWS) % ROWS];
    if (slot.row === y) return slot.labels;
    slot.row = y;
    const { map, truth } = layer,
      base = source * view.imageWidth,
      out = slot.labels;
    if (truth) {
      for (let x = x0; x < x1; x++) {
        const expected = truth[base + columns[x]];
        out[x] = expected === VOID ? 0 : expected === map[base + columns[x]] ? 1 : 2;
      }
    } else for (let x = x0; x < x1; x++) out[x] = map[base + columns[x]];
    return out;
  }

  function drawRow(layer, y, x0, x1, reach) {
    const { fill, ink, line, tile, outline, patterns } = layer.style;
    const lo = Math.max(from, x0 - reach),
      hi = Math.min(to, x1 + reach);
    const labels = sample(layer, y, lo, hi);
    const start = y * view.width,
      a = Math.max(from, x0),
      b = Math.min(to, x1);
    if (!labels || a >= b) return pixels.fill(0, start + x0, start + x1);
    pixels.fill(0, start + x0, start + a);
    pixels.fill(0, start + b, start + x1);
    const up = outline ? sample(layer, y - reach, lo, hi) || labels : labels;
    const down = outline ? sample(layer, y + reach, lo, hi) || labels : labels;
    const hatch = patterns ? ((y - Math.round(view.ty)) & 15) << 4 : 0;
    const shift = 16 - (Math.round(view.tx) & 15);
    for (let x = a; x < b; x++) {
      const c = labels[x];
      if (
        outline &&
        line[c] &&
        (up[x] !== c ||
          down[x] !== c ||
          (x - reach >= lo && labels[x - reach] !== c) ||
          (x + reach < hi && labels[x + reach] !== c))
      )
        pixels[start + x] = line[c];
      else if (patterns && PATTERN_BANK[tile[c] + hatch + ((x + shift) & 15)]) pixels[start + x] = ink[c];
      else pixels[start + x] = fill[c];
    }
  }

  // Draws `layer` ({map, truth?, style}) into device columns x0..x1 and rows y0..y1; a null layer clears them.
  function paint(layer, x0, y0, x1, y1) {
    [x0, y0] = [Math.max(0, Math.floor(x0)), Math.max(0, Math.floor(y0))];
    [x1, y1] = [Math.min(view.width, Math.ceil(x1)), Math.min(view.height, Math.ceil(y1))];
    if (x0 >= x1 || y0 >= y1) return;
    if (!layer) return context.clearRect(x0, y0, x1 - x0, y1 - y0);
    for (const slot of ring) slot.row = -1e9;
    const reach = Math.min(WIDEST, Math.max(1, Math.round(LINE * view.dpr)));
    for (let y = y0; y < y1; y++) drawRow(layer, y, x0, x1, reach);
    context.putImageData(frame, 0, 0, x0, y0, x1 - x0, y1 - y0);
  }

  // Draws a smooth picture (a coloured confidence map) that spans the whole photo.
  function paintHeat(picture, alpha, x0, x1) {
    context.clearRect(x0, 0, x1 - x0, view.height);
    context.save();
    context.beginPath();
    context.rect(x0, 0, x1 - x0, view.height);
    context.clip();
    context.globalAlpha = alpha;
    const { tx, ty, scale, imageWidth, imageHeight } = view;
    context.drawImage(picture, tx, ty, imageWidth * scale, imageHeight * scale);
    context.restore();
  }

  return { resize, place, paint, paintHeat };
}

export function drawPhoto(canvas, view, pyramid) {
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  // Past two device pixels per image pixel a person wants to see the pixels themselves.
  context.imageSmoothingEnabled = view.scale < 2;
  context.drawImage(
    pyramid.level(view.scale),
    view.tx,
    view.ty,
    view.imageWidth * view.scale,
    view.imageHeight * view.scale,
  );
}

// Colours an 8-bit grey map with viridis.
export function colourHeat({ width, height, data }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const table = Uint32Array.from({ length: 256 }, (_, v) => rgba(...viridis(v / 255), 1));
  const out = new Uint32Array(image.data.buffer);
  for (let i = 0; i < out.length; i++) out[i] = table[data[i]];
  context.putImageData(image, 0, 0);
  return canvas;
}

// A legend swatch: the class's colour under its hatching.
export function drawSwatch(canvas, color, pattern) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const out = new Uint32Array(image.data.buffer);
  const ink = luminance(color) > 0.45 ? 0 : 255;
  for (let i = 0; i < out.length; i++) {
    const x = i % canvas.width,
      y = Math.floor(i / canvas.width);
    const hit = PATTERN_BANK[pattern * PATTERN * PATTERN + (y % PATTERN) * PATTERN + (x % PATTERN)];
    out[i] = hit ? rgba(ink, ink, ink, 0.8) : rgba(...color, 1);
  }
  context.putImageData(image, 0, 0);
  if (pattern) {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = `rgb(${color.join(",")})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
}

// The overlay at the photo's own size, for download: one image pixel per pixel, drawn in strips to bound memory.
export async function renderFullSize(pyramid, layer, heat, opacity, width, height) {
  const out = new OffscreenCanvas(width, height);
  const context = out.getContext("2d");
  context.drawImage(pyramid.level(1), 0, 0, width, height);
  if (heat) {
    context.globalAlpha = opacity;
    context.drawImage(heat, 0, 0, width, height);
  }
  const rows = Math.max(1, Math.min(height, Math.floor(4e6 / width)));
  for (let y = 0; layer && y < height; y += rows) {
    const view = Object.assign(makeView(), {
      width,
      height: rows,
      imageWidth: width,
      imageHeight: height,
      ty: -y,
    });
    const strip = new OffscreenCanvas(width, rows);
    const overlay = makeOverlay(strip, view);
    overlay.resize();
    overlay.place();
    overlay.paint(layer, 0, 0, width, Math.min(rows, height - y));
    context.drawImage(strip, 0, y);
    await new Promise((resolve) => setTimeout(resolve)); // let the page breathe between strips
  }
  return out.convertToBlob({ type: "image/png" });
}
