// Strokes as they are kept in the browser, each photo's with what was learned from it: other photos learn from that.
import { makeDrafts } from "./drafts.js";

const MOST_OTHERS = 8; // photos, those painted on last, whose strokes count for another one

export function makeTeachStore({ codec }) {
  const kept = makeDrafts("segdemo-teach");

  // Strokes of others count in the same collection and label set, with features of the same graph.
  const groupOf = ({ key, labels }) => `${labels.name} ${key.slice(0, key.indexOf("/") + 1)}`;

  // What other photos learn from.
  function taughtBy(strokes, { rows, columns, channels, bytes, graph }) {
    const { cells, ids, shares } = strokes.votes(rows, columns);
    const features = new Uint8Array(cells.length * channels);
    cells.forEach((cell, j) =>
      features.set(bytes.subarray(cell * channels, (cell + 1) * channels), j * channels),
    );
    return { graph, ids, shares, features };
  }

  return {
    // Strokes on a photo, {map, png, version, sent}, or null; see `write`.
    async read({ key, width, height, labels }) {
      const found = await kept.get(key);
      if (!found || found.labels !== labels.name) return null;
      const map = await codec.call("decode", found.png);
      return map.width === width && map.height === height ? { ...found, map: map.data } : null;
    },

    // Strokes on a photo as a PNG.
    encode: ({ width, height }, map) => codec.call("encode", width, height, map, null),

    // Keeps them. grid: {rows, columns, channels, bytes, graph}, features of the photo; null if there are none yet. version:
    // of the server's strokes that these were made from.
    async write(payload, png, strokes, grid, version) {
      const { key, labels } = payload;
      const taught = grid && !strokes.isEmpty() ? taughtBy(strokes, grid) : null;
      const [group, when] = [groupOf(payload), Date.now()];
      await kept.put({ key, labels: labels.name, group, png, taught, when, version, sent: false });
    },

    // Changes what is kept with `png` to {png, version, sent}; of what was painted since, the version only.
    async note(key, png, changes) {
      const found = await kept.get(key);
      if (!found) return;
      const same = found.png.length === png.length && found.png.every((byte, i) => byte === png[i]);
      if (same && changes.sent && !changes.version) return kept.remove(key); // nothing is painted
      await kept.put({ ...found, ...(same ? changes : { version: changes.version }) });
    },

    remove: (key) => kept.remove(key),

    // What others teach: [{features, ids, shares}].
    async others(payload, graph) {
      const group = groupOf(payload);
      const all = (await kept.all()).filter(
        (one) => one.group === group && one.key !== payload.key && one.taught?.graph === graph,
      );
      return all
        .sort((a, b) => b.when - a.when)
        .slice(0, MOST_OTHERS)
        .map(({ taught }) => taught);
    },
  };
}
