// A view maps image to device pixels: device = image * scale + (tx, ty).
export function makeView() {
  const view = { scale: 1, tx: 0, ty: 0, width: 1, height: 1, imageWidth: 1, imageHeight: 1, dpr: 1 };

  const fitScale = () => Math.min(view.width / view.imageWidth, view.height / view.imageHeight);
  const limits = () => [Math.min(fitScale(), view.dpr) * 0.5, Math.max(48 * view.dpr, fitScale())];

  // Keeps at least a quarter of the picture (or of the stage) in sight, so nobody loses it.
  function clamp() {
    const keepX = Math.min(view.width, view.imageWidth * view.scale) / 4;
    const keepY = Math.min(view.height, view.imageHeight * view.scale) / 4;
    view.tx = Math.min(Math.max(view.tx, keepX - view.imageWidth * view.scale), view.width - keepX);
    view.ty = Math.min(Math.max(view.ty, keepY - view.imageHeight * view.scale), view.height - keepY);
  }

  function centre(x, y, scale) {
    const [low, high] = limits();
    view.scale = Math.min(Math.max(scale, low), high);
    view.tx = view.width / 2 - x * view.scale;
    view.ty = view.height / 2 - y * view.scale;
    clamp();
  }

  return Object.assign(view, {
    fitScale,
    clamp,
    centre,
    fit: () => centre(view.imageWidth / 2, view.imageHeight / 2, fitScale()),
    isFitted: () => Math.abs(view.scale / fitScale() - 1) < 1e-3,
    toImage: (x, y) => [(x - view.tx) / view.scale, (y - view.ty) / view.scale],
    toDevice: (x, y) => [x * view.scale + view.tx, y * view.scale + view.ty],
    toStage: (x, y) => [(x * view.scale + view.tx) / view.dpr, (y * view.scale + view.ty) / view.dpr], // CSS pixels
    zoomAt(x, y, factor) {
      const [low, high] = limits();
      const scale = Math.min(Math.max(view.scale * factor, low), high);
      view.tx = x - ((x - view.tx) * scale) / view.scale;
      view.ty = y - ((y - view.ty) * scale) / view.scale;
      view.scale = scale;
      clamp();
    },
    pan(dx, dy) {
      view.tx += dx;
      view.ty += dy;
      clamp();
    },
  });
}
