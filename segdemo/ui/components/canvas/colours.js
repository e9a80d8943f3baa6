// What a label looks like: colours, hatchings, and the tables of both that drawing reads.

export const VOID = 255;
export const PATTERN = 16; // side of a pattern tile in screen pixels

// Viridis at 9 points (Smith & van der Walt, matplotlib, CC0): evenly perceived steps, safe for colour-blind eyes.
export const VIRIDIS = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];

export function viridis(t) {
  const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[i].map((v, k) => Math.round(v + (VIRIDIS[i + 1][k] - v) * (at - i)));
}

export const rgba = (r, g, b, a) => ((Math.round(a * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0; // little-endian RGBA
export const luminance = ([r, g, b]) => (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;

// Hatchings that stay apart at small sizes; classes take them in turn. Entry 0 is blank.
const PATTERN_RULES = [
  () => false,
  (x, y) => (x + y) % 8 < 2,
  (x, y) => (x - y + 16) % 8 < 2,
  (x, y) => x % 8 < 3 && y % 8 < 3,
  (_, y) => y % 8 < 2,
  (x) => x % 8 < 2,
  (x, y) => (x + y) % 8 < 1 || (x - y + 16) % 8 < 1,
  (x, y) => x % 8 < 1 || y % 8 < 1,
  (x, y) => (x + y) % 16 < 4,
  (x, y) => Math.abs((x % 16) - 8) + Math.abs((y % 16) - 8) < 5,
  (x, y) => (y + Math.abs((x % 16) - 8)) % 8 < 2,
  (x, y) => x % 4 < 2 === y % 4 < 2,
];
export const PATTERN_BANK = new Uint8Array(PATTERN_RULES.length * PATTERN * PATTERN);
PATTERN_RULES.forEach((rule, p) => {
  for (let i = 0; i < PATTERN * PATTERN; i++)
    PATTERN_BANK[p * PATTERN * PATTERN + i] = rule(i % PATTERN, Math.floor(i / PATTERN)) ? 1 : 0;
});
const VOID_PATTERN = 3;
const CLASS_PATTERNS = PATTERN_RULES.map((_, p) => p).filter((p) => p && p !== VOID_PATTERN);
export const patternOf = (id) => (id === VOID ? VOID_PATTERN : CLASS_PATTERNS[id % CLASS_PATTERNS.length]);

// Colours of the error map: Okabe-Ito blue and vermilion, told apart by every common form of colour blindness.
export const ERROR_CODES = [
  { code: 1, name: "Correct", color: [0, 114, 178], pattern: 0, alpha: 0.35 },
  { code: 2, name: "Wrong", color: [213, 94, 0], pattern: 1, alpha: 1 },
  { code: 0, name: "Void (not counted)", color: [150, 150, 150], pattern: VOID_PATTERN, alpha: 0.5 },
];

// Fills per-class tables of packed colours for the overlay. `shown(id)` says which classes are drawn.
export function buildStyle(entries, options, shown) {
  const style = {
    fill: new Uint32Array(257),
    ink: new Uint32Array(257),
    line: new Uint32Array(257),
    tile: new Uint16Array(257),
    outline: options.outline,
    patterns: options.patterns,
  };
  for (const { id, color, pattern, alpha = 1 } of entries) {
    if (!shown(id)) continue;
    const opacity = options.opacity * alpha;
    const ink = luminance(color) > 0.45 ? 0 : 255;
    style.fill[id] = rgba(...color, opacity);
    style.ink[id] = rgba(ink, ink, ink, opacity * 0.85);
    // The outline has the class's hue, but is always bright: that of a dark colour must show on a dark photo.
    const top = Math.max(...color, 1);
    style.line[id] = rgba(...color.map((v) => (top > 200 ? v : 76 + (130 + top * 0.19) * (v / top))), 1);
    style.tile[id] = pattern * PATTERN * PATTERN;
  }
  return style;
}
