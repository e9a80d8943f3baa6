import assert from "node:assert/strict";
import { test } from "node:test";

import { makeView } from "../../segdemo/ui/components/canvas/view.js";
import { makeRandom } from "./helpers.js";

function someView(rng) {
  const sizes = { width: 1 + rng.below(2000), height: 1 + rng.below(1500), dpr: rng.between(1, 2) };
  const view = Object.assign(makeView(), sizes, {
    imageWidth: 1 + rng.below(8000),
    imageHeight: 1 + rng.below(6000),
  });
  view.fit();
  return view;
}

const near = (a, b, within = 1e-6) =>
  a.forEach((v, i) =>
    assert.ok(Math.abs(v - b[i]) < within * Math.max(1, Math.abs(b[i])), `${a} is not ${b}`),
  );

test("fitting shows the whole photo, in the middle", () => {
  const rng = makeRandom(16);
  for (let round = 0; round < 100; round++) {
    const view = someView(rng);
    assert.ok(view.isFitted());
    const [x0, y0] = view.toDevice(0, 0),
      [x1, y1] = view.toDevice(view.imageWidth, view.imageHeight);
    near([x0 + x1, y0 + y1], [view.width, view.height]);
    assert.ok(x0 > -1e-6 && y0 > -1e-6);
    assert.ok(Math.min(x0, y0) < 1e-6); // and no smaller than it has to be
  }
});

test("there and back is the same point, on the device and in CSS pixels", () => {
  const rng = makeRandom(17);
  for (let round = 0; round < 100; round++) {
    const view = someView(rng);
    view.zoomAt(rng.between(0, view.width), rng.between(0, view.height), rng.between(0.2, 9));
    const point = [rng.between(0, view.imageWidth), rng.between(0, view.imageHeight)];
    const device = view.toDevice(...point);
    near(view.toImage(...device), point, 1e-5);
    near(
      view.toStage(...point),
      device.map((v) => v / view.dpr),
    );
  }
});

test("zooming keeps the point under the cursor, as long as nothing is pushed out of sight", () => {
  const view = Object.assign(makeView(), { width: 800, height: 600, imageWidth: 1600, imageHeight: 1200 });
  view.fit();
  for (const factor of [1.5, 2, 3, 0.7]) {
    const before = view.toImage(300, 200);
    view.zoomAt(300, 200, factor);
    near(view.toImage(300, 200), before);
  }
});

test("zoom has limits, and a quarter of the photo stays in sight however far it is dragged", () => {
  const rng = makeRandom(18);
  for (let round = 0; round < 100; round++) {
    const view = someView(rng);
    const fitted = view.fitScale();
    view.zoomAt(5, 5, 1e6);
    assert.ok(view.scale <= Math.max(48 * view.dpr, fitted) + 1e-9);
    view.zoomAt(5, 5, 1e-9);
    assert.ok(view.scale >= Math.min(fitted, view.dpr) * 0.5 - 1e-12);
    view.zoomAt(5, 5, rng.between(1, 20));
    view.pan(rng.between(-1e5, 1e5), rng.between(-1e5, 1e5));
    const [x0, y0] = view.toDevice(0, 0),
      [x1, y1] = view.toDevice(view.imageWidth, view.imageHeight);
    for (const [low, high, size] of [
      [x0, x1, view.width],
      [y0, y1, view.height],
    ]) {
      const seen = Math.min(high, size) - Math.max(low, 0);
      assert.ok(seen >= Math.min(size, high - low) / 4 - 1e-6, `${seen} of ${size}`);
    }
  }
});

test("centring puts a point in the middle", () => {
  const view = Object.assign(makeView(), { width: 400, height: 300, imageWidth: 4000, imageHeight: 3000 });
  view.centre(1000, 2000, 2);
  near(view.toImage(200, 150), [1000, 2000]);
});
