import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";

import { growSelection } from "../../segdemo/ui/components/canvas/selection.js";
import { paintRefined, paintSelection } from "../../segdemo/ui/components/canvas/selection_paint.js";
import { makeSuperpixels } from "../../segdemo/ui/components/canvas/superpixels.js";
import { changed, makeRandom, regionOf } from "./helpers.js";

// An orange disc on noisy grey ground as RGBA, and which pixels are of the disc.
function discPhoto(width, height, noise = 8) {
  const rng = makeRandom(10);
  const rgba = new Uint8ClampedArray(width * height * 4),
    disc = new Uint8Array(width * height);
  for (let i = 0; i < disc.length; i++) {
    const dx = (i % width) + 0.5 - 0.55 * width,
      dy = Math.floor(i / width) + 0.5 - 0.45 * height;
    disc[i] = Math.hypot(dx, dy) < 0.3 * Math.min(width, height) ? 1 : 0;
    const colour = disc[i] ? [210, 120, 40] : [110, 120, 125];
    rgba.set([...colour.map((v) => v + rng.between(-noise, noise)), 255], i * 4);
  }
  return { rgba, disc };
}

const [WIDTH, HEIGHT, WANTED] = [90, 70, 60];
const { rgba: photo, disc: truth } = discPhoto(WIDTH, HEIGHT);
const graph = { ...makeSuperpixels().build(photo, WIDTH, HEIGHT, WANTED), rgba: photo };

test("superpixels cover the photo, each in one piece, in about the number that was asked for", () => {
  const { labels, count } = graph;
  assert.equal(labels.length, WIDTH * HEIGHT);
  assert.ok(Math.abs(count - WANTED) < WANTED / 4, `${count} of ${WANTED}`);
  const seen = new Set();
  for (let i = 0; i < labels.length; i++) {
    assert.ok(labels[i] >= 0 && labels[i] < count);
    if (seen.has(labels[i])) continue;
    seen.add(labels[i]);
    const members = labels.reduce((sum, label) => sum + (label === labels[i] ? 1 : 0), 0);
    assert.equal(regionOf(labels, WIDTH, HEIGHT, i).size, members);
  }
});

test("superpixels snap to edges", () => {
  const { labels, count } = graph;
  const inside = new Int32Array(count),
    all = new Int32Array(count);
  labels.forEach((label, i) => {
    all[label]++;
    inside[label] += truth[i];
  });
  const wrong = inside.reduce((sum, n, k) => sum + Math.min(n, all[k] - n), 0);
  assert.ok(wrong / labels.length < 0.005, `${wrong} pixels are on the wrong side`);
});

test("the same photo gives the same superpixels, also from the factory's source alone", () => {
  const alone = vm.runInNewContext(`(${makeSuperpixels})()`); // as the Worker runs it
  const again = alone.build(photo, WIDTH, HEIGHT, WANTED);
  for (const name of ["labels", "border", "first", "ends", "step", "means", "cell", "alike"])
    assert.deepEqual(Array.from(again[name]), Array.from(graph[name]), name);
});

test("neighbours know each other at the same cost", () => {
  const { count, first, ends, step } = graph;
  const costs = new Map();
  for (let k = 0; k < count; k++)
    for (let e = first[k]; e < first[k + 1]; e++) costs.set(`${k} ${ends[e]}`, step[e]);
  assert.ok(costs.size >= 2 * (count - 1));
  for (const [pair, cost] of costs) assert.equal(costs.get(pair.split(" ").reverse().join(" ")), cost);
});

test("photos of one pixel, one row and one colour work", () => {
  for (const [width, height] of [
    [1, 1],
    [1, 37],
    [37, 1],
    [16, 16],
  ]) {
    const flat = makeSuperpixels().build(
      new Uint8ClampedArray(width * height * 4).fill(90),
      width,
      height,
      4,
    );
    assert.ok(flat.labels.every((label) => label >= 0 && label < flat.count));
  }
});

function agreement(map) {
  let both = 0,
    either = 0;
  map.forEach((id, i) => {
    both += id & truth[i];
    either += id | truth[i];
  });
  return both / either;
}

test("one seed selects the disc, and not more with less reach", () => {
  const seed = graph.labels[Math.floor(0.45 * HEIGHT) * WIDTH + Math.floor(0.55 * WIDTH)];
  const select = (reach, without = []) => {
    const picked = growSelection(graph, [seed], without, reach);
    return changed(new Uint8Array(truth.length), WIDTH, HEIGHT, (map, mark) =>
      paintSelection(graph, picked, map, WIDTH, HEIGHT, 1, null, mark),
    );
  };
  const area = (map) => map.reduce((sum, v) => sum + v, 0);
  assert.ok(agreement(select(20)) > 0.95);
  assert.ok(area(select(2)) <= area(select(20)));
  assert.ok(area(select(20)) <= area(select(60)));
  const left = graph.labels[Math.floor(0.45 * HEIGHT) * WIDTH + Math.floor(0.42 * WIDTH)];
  assert.equal(select(20, [left])[graph.labels.indexOf(left)], 0);
});

test("at the photo's own size the border follows the photo, not the small copy", () => {
  const times = 3;
  const [width, height] = [WIDTH * times, HEIGHT * times];
  const { rgba, disc } = discPhoto(width, height);
  const picked = Uint8Array.from({ length: graph.count }, (_, k) => truth[graph.labels.indexOf(k)]);
  const readTile = (x, y, w, h) => {
    const tile = new Uint8ClampedArray(w * h * 4);
    for (let row = 0; row < h; row++)
      tile.set(rgba.subarray(((y + row) * width + x) * 4, ((y + row) * width + x + w) * 4), row * w * 4);
    return tile;
  };
  const errors = (paint) => {
    const map = changed(new Uint8Array(width * height), width, height, (m, mark) =>
      paint(graph, picked, m, width, height, 1, null, mark, readTile),
    );
    return map.reduce((sum, id, i) => sum + (id === disc[i] ? 0 : 1), 0);
  };
  assert.ok(errors(paintRefined) < 0.5 * errors(paintSelection));
});
