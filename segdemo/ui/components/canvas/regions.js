// 4-connected components as runs of equal `key[label]` per row, joined by union-find. Cost grows with the number of
// runs, so a clean 12-megapixel map takes little more than one pass over its bytes.
function findComponents(map, width, height, key) {
  let capacity = 4096,
    count = 0;
  let start = new Int32Array(capacity),
    end = new Int32Array(capacity),
    parent = new Int32Array(capacity);
  const rowFirst = new Int32Array(height + 1);
  const grow = (old) => {
    const bigger = new Int32Array(capacity);
    bigger.set(old);
    return bigger;
  };
  const find = (i) => {
    while (parent[i] !== i) i = parent[i] = parent[parent[i]];
    return i;
  };
  for (let y = 0; y < height; y++) {
    rowFirst[y] = count;
    let above = y ? rowFirst[y - 1] : 0;
    for (let x = 0, base = y * width; x < width;) {
      const value = key[map[base + x]];
      let stop = x + 1;
      while (stop < width && key[map[base + stop]] === value) stop++;
      if (count === capacity) {
        capacity *= 2;
        [start, end, parent] = [start, end, parent].map(grow);
      }
      start[count] = base + x;
      end[count] = base + stop;
      parent[count] = count;
      if (y) {
        while (above < rowFirst[y] && end[above] - base + width <= x) above++;
        for (let k = above; k < rowFirst[y] && start[k] - base + width < stop; k++)
          if (key[map[start[k]]] === value) parent[find(k)] = find(count);
      }
      count++;
      x = stop;
    }
  }
  rowFirst[height] = count;
  const root = new Int32Array(count),
    area = new Int32Array(count),
    border = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const r = (root[i] = find(i)),
      x = start[i] % width;
    area[r] += end[i] - start[i];
    if (x === 0 || x + end[i] - start[i] === width || i < rowFirst[1] || i >= rowFirst[height - 1])
      border[r] = 1;
  }
  return { count, start, end, root, area, border };
}

// Gives class `id` everything it encloses completely.
export function fillHoles(map, width, height, id, mark) {
  const key = new Uint8Array(256).fill(1);
  key[id] = 0;
  const { count, start, end, root, border } = findComponents(map, width, height, key);
  for (let i = 0; i < count; i++) {
    if (border[root[i]] || map[start[i]] === id) continue;
    const y = Math.floor(start[i] / width);
    map.fill(id, start[i], end[i]);
    mark(start[i] - y * width, y, end[i] - y * width, y + 1);
  }
}

// Dissolves pieces smaller than `limit` pixels into the class they touch most. `chosen` flags the classes concerned.
export function removeSpecks(map, width, height, limit, chosen, mark) {
  const key = Uint8Array.from({ length: 256 }, (_, i) => i);
  const { count, start, end, root, area } = findComponents(map, width, height, key);
  const touching = new Map(); // component -> how often each class borders it
  const small = (i) => chosen[map[start[i]]] && area[root[i]] < limit;
  const vote = (votes, own, at) => {
    if (map[at] !== own) votes[map[at]]++;
  };
  for (let i = 0; i < count; i++) {
    if (!small(i)) continue;
    if (!touching.has(root[i])) touching.set(root[i], new Int32Array(256));
    const votes = touching.get(root[i]),
      own = map[start[i]],
      y = Math.floor(start[i] / width);
    if (start[i] > y * width) vote(votes, own, start[i] - 1);
    if (end[i] < (y + 1) * width) vote(votes, own, end[i]);
    for (let at = start[i]; at < end[i]; at++) {
      if (y > 0) vote(votes, own, at - width);
      if (y < height - 1) vote(votes, own, at + width);
    }
  }
  const target = new Map();
  for (const [component, votes] of touching) {
    const best = votes.indexOf(Math.max(...votes));
    if (votes[best]) target.set(component, best);
  }
  for (let i = 0; i < count; i++) {
    if (!target.has(root[i])) continue;
    const y = Math.floor(start[i] / width);
    map.fill(target.get(root[i]), start[i], end[i]);
    mark(start[i] - y * width, y, end[i] - y * width, y + 1);
  }
}

// Moves the outline of class `id` by `steps` pixels: outwards, or inwards giving way to whatever is next to it.
// Steps alternate 4- and 8-neighbours, which keeps discs round (an octagonal distance). Cost follows the outline.
export function growClass(map, width, height, id, steps, outwards, mark) {
  const four = [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ];
  const eight = [...four, [1, 1], [1, -1], [-1, 1], [-1, -1]];
  const gains = (label) => (label === id) === outwards; // labels that advance
  let front = [];
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      if (!gains(map[i])) continue;
      if (
        (x + 1 < width && !gains(map[i + 1])) ||
        (x > 0 && !gains(map[i - 1])) ||
        (y + 1 < height && !gains(map[i + width])) ||
        (y > 0 && !gains(map[i - width])) ||
        (x > 0 && y > 0 && !gains(map[i - width - 1])) ||
        (x + 1 < width && y > 0 && !gains(map[i - width + 1])) ||
        (x > 0 && y + 1 < height && !gains(map[i + width - 1])) ||
        (x + 1 < width && y + 1 < height && !gains(map[i + width + 1]))
      )
        front.push(i);
    }
  for (let step = 0; step < steps && front.length; step++) {
    const next = [],
      claims = [];
    for (const at of front) {
      const x = at % width,
        y = (at - x) / width;
      for (const [dx, dy] of step % 2 ? eight : four) {
        const nx = x + dx,
          ny = y + dy,
          to = ny * width + nx;
        if (nx < 0 || ny < 0 || nx >= width || ny >= height || gains(map[to])) continue;
        claims.push(to, map[at]);
      }
      if (!(step % 2)) next.push(at); // its diagonal neighbours come in the next step
    }
    // Applied together, so a step never feeds on itself.
    for (let k = 0; k < claims.length; k += 2) {
      const to = claims[k];
      if (gains(map[to])) continue;
      map[to] = claims[k + 1];
      next.push(to);
      mark(to % width, Math.floor(to / width), (to % width) + 1, Math.floor(to / width) + 1);
    }
    front = next;
  }
}
