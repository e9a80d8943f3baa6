// PNG codec for label maps.
//
// A browser may colour-manage, premultiply or dither what passes through an <img> or a 2-D canvas, so label ids never
// do: they are read from and written to PNG bytes here. Reads 8-bit-or-less grey and palette images (the id is the
// sample itself), writes 8-bit palette or grey images. PNG specification, third edition: https://www.w3.org/TR/png-3/
//
// The factory refers to nothing outside itself, because its source text is also the body of a Worker.
export function makePngCodec() {
  const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
  const CRC_TABLE = new Uint32Array(256).map((_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });

  function crc32(bytes, start, end) {
    let crc = -1;
    for (let i = start; i < end; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    return (crc ^ -1) >>> 0;
  }

  function readChunks(bytes) {
    if (SIGNATURE.some((v, i) => bytes[i] !== v)) throw new Error("This file is not a PNG image.");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const found = { data: [], palette: null, header: null, ended: false };
    for (let at = 8; at + 12 <= bytes.length && !found.ended;) {
      const length = view.getUint32(at);
      const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      const body = at + 8;
      if (body + length + 4 > bytes.length) break;
      if (view.getUint32(body + length) !== crc32(bytes, at + 4, body + length))
        throw new Error(`This PNG is damaged: the checksum of its ${type} part is wrong.`);
      if (type === "IHDR")
        found.header = {
          width: view.getUint32(body),
          height: view.getUint32(body + 4),
          depth: bytes[body + 8],
          colour: bytes[body + 9],
          interlace: bytes[body + 12],
        };
      else if (type === "PLTE") found.palette = bytes.slice(body, body + length);
      else if (type === "IDAT") found.data.push(bytes.subarray(body, body + length));
      else if (type === "IEND") found.ended = true;
      at = body + length + 4;
    }
    if (!found.header || !found.ended) throw new Error("This PNG is cut short.");
    return found;
  }

  // Inflates into a buffer of the size the header promises, so a hostile file cannot ask for more memory.
  async function inflate(parts, size) {
    const out = new Uint8Array(size);
    const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
    let at = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > size) throw new Error("This PNG holds more pixels than it says.");
      out.set(value, at);
      at += value.length;
    }
    if (at !== size) throw new Error("This PNG holds fewer pixels than it says.");
    return out;
  }

  function paeth(a, b, c) {
    const pa = Math.abs(b - c),
      pb = Math.abs(a - c),
      pc = Math.abs(a + b - 2 * c);
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
  }

  // Undoes one scan line's filter in place. One byte per pixel or less, so the "pixel to the left" is one byte away.
  function unfilter(filter, row, above) {
    const n = row.length;
    if (filter === 1) for (let i = 1; i < n; i++) row[i] += row[i - 1];
    else if (filter === 2) for (let i = 0; i < n; i++) row[i] += above ? above[i] : 0;
    else if (filter === 3)
      for (let i = 0; i < n; i++) row[i] += ((i ? row[i - 1] : 0) + (above ? above[i] : 0)) >> 1;
    else if (filter === 4)
      for (let i = 0; i < n; i++)
        row[i] += paeth(i ? row[i - 1] : 0, above ? above[i] : 0, i && above ? above[i - 1] : 0);
    else if (filter !== 0) throw new Error(`This PNG uses an unknown line filter (${filter}).`);
  }

  function unpackRow(row, depth, out, at, width) {
    const perByte = 8 / depth,
      mask = (1 << depth) - 1;
    for (let x = 0; x < width; x++)
      out[at + x] = (row[(x / perByte) | 0] >> (8 - depth * ((x % perByte) + 1))) & mask;
  }

  // bytes: Uint8Array -> {width, height, data: Uint8Array of width*height samples, palette: Uint8Array or null}.
  // More than `most` pixels are refused.
  async function decode(bytes, most = Infinity) {
    const { header, data, palette } = readChunks(bytes);
    const { width, height, depth, colour, interlace } = header;
    if ((colour !== 0 && colour !== 3) || depth > 8 || interlace)
      throw new Error("A label map is a grey or palette PNG with at most 8 bits, not interlaced.");
    if (width * height > most) throw new Error(`A PNG of ${width} x ${height} pixels is too large here.`);
    const stride = Math.ceil((width * depth) / 8);
    const raw = await inflate(data, (stride + 1) * height);
    const out = new Uint8Array(width * height);
    let above = null;
    for (let y = 0; y < height; y++) {
      const start = y * (stride + 1);
      const row = raw.subarray(start + 1, start + 1 + stride);
      unfilter(raw[start], row, above);
      if (depth === 8) out.set(row, y * width);
      else unpackRow(row, depth, out, y * width, width);
      above = row;
    }
    return { width, height, data: out, palette };
  }

  function join(parts) {
    const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  function chunk(type, ...parts) {
    const out = join([new Uint8Array(8), ...parts, new Uint8Array(4)]);
    const view = new DataView(out.buffer);
    const end = out.length - 4;
    view.setUint32(0, end - 8);
    for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
    view.setUint32(end, crc32(out, 4, end));
    return out;
  }

  // Feeds whole rows in blocks of about a megabyte: small writes are slow and one write would copy the map again.
  async function deflateRows(data, width, height) {
    const stream = new CompressionStream("deflate");
    const writer = stream.writable.getWriter();
    const collected = new Response(stream.readable).arrayBuffer();
    const step = Math.max(1, Math.floor(1e6 / (width + 1)));
    for (let y = 0; y < height; y += step) {
      const rows = Math.min(step, height - y);
      const block = new Uint8Array(rows * (width + 1));
      for (let r = 0; r < rows; r++)
        block.set(data.subarray((y + r) * width, (y + r + 1) * width), r * (width + 1) + 1);
      await writer.ready;
      writer.write(block);
    }
    await writer.close();
    return new Uint8Array(await collected);
  }

  // data: width*height ids, palette: 768 bytes, or null for grey -> Uint8Array of an 8-bit PNG.
  async function encode(width, height, data, palette) {
    const header = new Uint8Array(13);
    const view = new DataView(header.buffer);
    view.setUint32(0, width);
    view.setUint32(4, height);
    header.set([8, palette ? 3 : 0, 0, 0, 0], 8);
    return join([
      Uint8Array.from(SIGNATURE),
      chunk("IHDR", header),
      ...(palette ? [chunk("PLTE", palette)] : []),
      chunk("IDAT", await deflateRows(data, width, height)),
      chunk("IEND"),
    ]);
  }

  return { decode, encode };
}
