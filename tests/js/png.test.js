import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";
import { crc32, deflateSync } from "node:zlib";

import { makePngCodec } from "../../segdemo/ui/components/canvas/png.js";
import { makeRandom } from "./helpers.js";

const { encode, decode } = makePngCodec();
const palette = Uint8Array.from({ length: 768 }, (_, i) => (i * 7) % 256);

// Written by Pillow 12: pixel (x, y) of 13 x 11 has the id (7 x + 5 y) mod `ids`.
const BY_PILLOW = {
  "8-bit grey": [
    256,
    "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALCAAAAACB2Vi9AAAAEklEQVR42mNkYEcCTKzIYGB5AOkGAvSVscMGAAAAAElFTkSuQmCC",
  ],
  "1-bit grey": [
    2,
    "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALAQAAAACMyTrMAAAAEUlEQVR4nGMM/c0S+o8RNwkA7YwOmvRGeIgAAAAASUVORK5CYII=",
  ],
  "1-bit palette": [
    2,
    "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALAQMAAACefJUiAAAABlBMVEUAAAAyWhTYBumSAAAAEUlEQVR4nGMM/c0S+o8RNwkA7YwOmvRGeIgA" +
      "AAAASUVORK5CYII=",
  ],
  "2-bit palette": [
    4,
    "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALAgMAAADZ3O/yAAAADFBMVEUAAAAyWhRktCiWDjw5j3kTAAAAH0lEQVR4nGO0ZGA4ziLKwODA4srA" +
      "8JbxCQPDHUbCYgArNgsz5xEKMAAAAABJRU5ErkJggg==",
  ],
  "4-bit palette": [
    16,
    "iVBORw0KGgoAAAANSUhEUgAAAA0AAAALBAMAAABWnBpSAAAAMFBMVEUAAAAyWhRktCiWDjzIaFD6wmQsHHhedoyQ0KDCKrT0hMgm3txYOPCK" +
      "kgS87BjuRiwl6Ms/AAAARElEQVR4nAXByw1FABQFwJyVWl4LWtCCnp4WlCQ+CZJhY3uX1mbSoMzpgYwFe16UJR24MhQceSjWtODOH5xZKLb8" +
      "oKYPvdQ+/PabbcsAAAAASUVORK5CYII=",
  ],
};

for (const [kind, [ids, text]] of Object.entries(BY_PILLOW))
  test(`a ${kind} PNG of Pillow is read`, async () => {
    const map = await decode(Uint8Array.from(Buffer.from(text, "base64")));
    assert.deepEqual([map.width, map.height], [13, 11]);
    const wanted = Uint8Array.from({ length: 143 }, (_, i) => ((i % 13) * 7 + Math.floor(i / 13) * 5) % ids);
    assert.deepEqual(map.data, wanted);
    assert.equal(map.palette === null, kind.endsWith("grey"));
    if (map.palette) assert.deepEqual([...map.palette.subarray(3, 6)], [50, 90, 20]);
  });

test("label maps of every size and id come back as they were", async () => {
  const rng = makeRandom(20);
  for (const [width, height] of [
    [1, 1],
    [1, 301],
    [301, 1],
    [16, 16],
    [13, 7],
    [2000, 1100], // more than one block of rows
  ]) {
    const map = new Uint8Array(width * height).map(() => rng.below(256));
    const png = await encode(width, height, map, palette);
    const back = await decode(png);
    assert.deepEqual([back.width, back.height], [width, height]);
    assert.deepEqual(back.data, map);
    assert.deepEqual(back.palette, palette);
  }
  const values = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual((await decode(await encode(256, 1, values, palette))).data, values);
});

test("without a palette a grey picture is written, as Pillow writes it", async () => {
  const map = Uint8Array.from({ length: 143 }, (_, i) => ((i % 13) * 7 + Math.floor(i / 13) * 5) % 256);
  const png = await encode(13, 11, map, null);
  const wanted = Buffer.from(BY_PILLOW["8-bit grey"][1], "base64");
  assert.deepEqual(Buffer.from(png.subarray(0, 33)), wanted.subarray(0, 33)); // signature and header
  const back = await decode(png, 143);
  assert.deepEqual([back.width, back.height, back.data, back.palette], [13, 11, map, null]);
  await assert.rejects(decode(png, 142), /too large/);
});

function chunk(type, body) {
  const named = Buffer.concat([Buffer.from(type, "latin1"), body]);
  const out = Buffer.alloc(named.length + 8);
  out.writeUInt32BE(body.length);
  named.copy(out, 4);
  out.writeUInt32BE(crc32(named), named.length + 4);
  return out;
}

// A PNG of scan lines, each with its filter in front. `header` is depth, colour, compression, filter, interlace.
function pngOf(width, height, header, lines, ...more) {
  const size = Buffer.alloc(8);
  size.writeUInt32BE(width);
  size.writeUInt32BE(height, 4);
  const parts = [
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", Buffer.concat([size, Buffer.from(header)])),
    ...more,
    chunk("IDAT", deflateSync(Buffer.from(lines))),
    chunk("IEND", Buffer.alloc(0)),
  ];
  return Uint8Array.from(Buffer.concat(parts));
}

test("every line filter is undone, against the line above and without one", async () => {
  // Worked out by hand from section 9 of the PNG specification.
  const lines = [
    [1, 5, 1, 1], // sub: 5 6 7
    [2, 1, 0, 255], // up: 6 6 6
    [3, 1, 1, 1], // average: 4 6 7
    [4, 1, 1, 1], // Paeth: 5 7 8
    [0, 9, 9, 9],
  ].flat();
  const map = await decode(pngOf(3, 5, [8, 0, 0, 0, 0], lines));
  assert.deepEqual([...map.data], [5, 6, 7, 6, 6, 6, 4, 6, 7, 5, 7, 8, 9, 9, 9]);
  for (const [filter, wanted] of [
    [1, [5, 6, 7]],
    [2, [5, 1, 1]],
    [3, [5, 3, 2]],
    [4, [5, 6, 7]],
  ])
    assert.deepEqual([...(await decode(pngOf(3, 1, [8, 0, 0, 0, 0], [filter, 5, 1, 1]))).data], wanted);
});

test("Paeth takes the pixel above before the corner where both are as near", async () => {
  const map = await decode(pngOf(2, 2, [8, 0, 0, 0, 0], [0, 10, 12, 4, 255, 0]));
  assert.deepEqual([...map.data], [10, 12, 9, 12]);
});

test("other parts of the file are passed over, and pixels may come in several", async () => {
  const text = chunk("tEXt", Buffer.from("Comment\0IDAT"));
  const whole = pngOf(2, 1, [8, 0, 0, 0, 0], [0, 7, 8], text);
  assert.deepEqual([...(await decode(whole)).data], [7, 8]);
});

const damaged = {
  "not a PNG": () => Uint8Array.from(Buffer.from("GIF89a and more")),
  "is cut short": (png) => png.subarray(0, png.length - 14),
  checksum: (png) => png.map((v, i) => (i === 20 ? v ^ 1 : v)),
  "more pixels than it says": () => pngOf(2, 1, [8, 0, 0, 0, 0], [0, 1, 2, 3]),
  "fewer pixels than it says": () => pngOf(2, 2, [8, 0, 0, 0, 0], [0, 1, 2]),
  "unknown line filter \\(9\\)": () => pngOf(2, 1, [8, 0, 0, 0, 0], [9, 1, 2]),
  "grey or palette PNG": () => pngOf(1, 1, [8, 2, 0, 0, 0], [0, 1, 2, 3]),
  "at most 8 bits": () => pngOf(1, 1, [16, 0, 0, 0, 0], [0, 1, 2]),
  "not interlaced": () => pngOf(1, 1, [8, 0, 0, 0, 1], [0, 1]),
};

for (const [sentence, damage] of Object.entries(damaged))
  test(`a damaged file says: ${sentence}`, async () => {
    const png = await encode(9, 9, new Uint8Array(81), palette);
    await assert.rejects(decode(damage(png)), new RegExp(sentence));
  });

test("the factory's source stands alone, as in a Worker", async () => {
  const names = { Uint8Array, Uint32Array, DataView, Blob, Response, CompressionStream, DecompressionStream };
  const alone = vm.runInNewContext(`(${makePngCodec})()`, names);
  const map = Uint8Array.of(1, 2, 3, 4, 5, 255);
  assert.deepEqual((await alone.decode(await alone.encode(2, 3, map, palette))).data, map);
});
