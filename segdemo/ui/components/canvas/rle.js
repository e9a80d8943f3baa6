// Run-length code of bytes: each run is its length, seven bits a byte with the low ones first and the top bit set on all
// but the last, and then the byte that is repeated.

export function makeRunWriter() {
  let buffer = new Uint8Array(65536),
    size = 0;
  return {
    add(length, value) {
      if (!length) return;
      if (size + 8 > buffer.length) {
        const bigger = new Uint8Array(buffer.length * 2);
        bigger.set(buffer);
        buffer = bigger;
      }
      while (length > 127) {
        buffer[size++] = (length & 127) | 128;
        length >>>= 7;
      }
      buffer[size++] = length;
      buffer[size++] = value;
    },
    // The code of what was added since the last time.
    take() {
      const code = buffer.slice(0, size);
      size = 0;
      return code;
    },
  };
}

// `next()` goes to the next run, whose `length` and `value` are then there.
export function makeRunReader(code) {
  let at = 0;
  const run = { length: 0, value: 0, next };
  function next() {
    run.length = 0;
    for (let shift = 0; ; shift += 7) {
      run.length += (code[at] & 127) << shift;
      if (code[at++] < 128) break;
    }
    run.value = code[at++];
  }
  return run;
}
