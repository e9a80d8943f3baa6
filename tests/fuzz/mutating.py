"""Damage: to bytes, to pictures, to plain data and to ZIPs, as a ``random.Random`` says."""

import copy
import io
import json
import struct
import warnings
import zipfile
import zlib

NUMBERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 1000, 8000, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
SIZES = (
    (8000, 8000),
    (1000, 32768),
    (32768, 1000),
    (65535, 65535),
    (1, 60000),
    (0, 5),
    (16383, 3900),
    (5000, 5000),
)
NAMES = (
    *("../../out.png", "/etc/x.png", "C:\\x.png", "a\\b.png", "", " ", ".", ".."),
    *("a\0b.png", "con.png", "a\nb.png"),
    *(
        "x" * 300 + ".png",
        "a/" * 200 + "b.png",
        "é.png",
        "JPEGImages/a.png",
        "labels.json",
        "x/",
        "\u202egnp.a",
    ),
)
VALUES = (
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        1e308,
        -1e308,
        2**31,
        2**53 + 1,
        2**63,
        10**30,
        float("nan"),
        float("inf"),
    ),
    *(
        "",
        "x",
        "a.png",
        "../x",
        "9" * 400,
        "\ud800",
        "\0",
        "a\nb",
        "x" * 5000,
        [],
        {},
        [1],
        {"a": 1},
        [[1, 2]],
    ),
    *([[]] * 3, [None], ["x"], [1e308] * 6, {"": None}, "queued", "voc", "2026-13-45T99:00:00"),
)
RAW = (
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 5000,
    b"NaN",
)


def damaged(random, data, others):
    """Bytes with one to a few faults.

    Args:
        random: a ``random.Random``.
        data: bytes.
        others: further files of the kind, to splice with.
    """
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        data = random.choice((_flip, _flip, _number, _number, _cut, _repeat, _splice, _insert, _head))(
            random, bytearray(data), others
        )
    return bytes(data[:2_000_000])


def damaged_picture(random, data, others):
    """As ``damaged``, and in the places that matter in a JPEG, PNG, TIFF, GIF, BMP, WebP or AVIF."""
    special = _SPECIAL.get(data[:2])
    if special and random.random() < 0.5:
        data = special(random, data)
        if random.random() < 0.5:
            return data
    return damaged(random, data, others)


def _flip(random, data, others):
    for _ in range(random.choice((1, 1, 4, 30))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return data


def _number(random, data, others):
    code = random.choice(("<I", ">I", "<H", ">H", "<Q"))
    size = struct.calcsize(code)
    if len(data) > size:
        place = random.randrange(min(len(data) - size, random.choice((64, 400, 10**9))))
        struct.pack_into(code, data, place, random.choice(NUMBERS) % 2 ** (8 * size))
    return data


def _cut(random, data, others):
    place = random.randrange(len(data) + 1)
    if random.random() < 0.5:
        return data[:place]
    return data[:place] + data[place + random.choice((1, 10, 300)) :]


def _repeat(random, data, others):
    start = random.randrange(len(data) + 1)
    part = data[start : start + random.choice((1, 12, 60, 400))]
    return data[:start] + part * random.choice((2, 2, 20, 1000)) + data[start:]


def _splice(random, data, others):
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _insert(random, data, others):
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.choice((1, 2, 30))) + data[place:]


def _head(random, data, others):
    if len(data) > 8:
        data[random.randrange(min(64, len(data)))] = random.randrange(256)
    return data


# ------------------------------------------------------------------------------------------------ pictures


def _jpeg(random, data):
    data, kind = bytearray(data), random.randrange(3)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    scan = data.rfind(b"\xff\xda")
    if kind == 0 and frame > 0:
        width, height = random.choice(SIZES)
        struct.pack_into(">HH", data, frame + 5, height & 65535, width & 65535)
    elif kind == 1 and scan > 0:
        last = data[scan : data.rfind(b"\xff\xd9")]
        data[scan:scan] = last[:2000] * random.choice((1, 12, 400, 2000))
        if random.random() < 0.5 and frame > 0:
            width, height = random.choice(SIZES)
            struct.pack_into(">HH", data, frame + 5, height & 65535, width & 65535)
    else:
        segment = random.choice(
            (b"\xff\xfe\0\2", b"\xff\xe1\0\x08Exif\0\0", b"\xff\xe2\0\2", b"\xff\xdd\0\4\0\1")
        )
        data[2:2] = segment * random.choice((1, 40, 20_000))
    return bytes(data)


def _png(random, data):
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    kind = random.randrange(5)
    if kind == 0 and chunks:
        width, height = random.choice(SIZES)
        chunks[0] = (b"IHDR", struct.pack(">II", width, height) + chunks[0][1][8:])
    elif kind == 1 and chunks:
        head = bytearray(chunks[0][1])
        head[random.randrange(8, 13)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        chunks[0] = (b"IHDR", bytes(head))
    elif kind == 2 and chunks:
        chunks.insert(random.randrange(len(chunks)), random.choice(chunks))
    elif kind == 3:
        name = random.choice(
            (b"iCCP", b"tRNS", b"PLTE", b"eXIf", b"zTXt", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"IDAT")
        )
        body = random.choice((b"", b"a\0\0" + zlib.compress(bytes(10**6)), random.randbytes(26), bytes(1000)))
        chunks.insert(1, (name, body))
    elif chunks:
        chunks[1:1] = [(b"tEXt", b"a\0b")] * random.choice((1, 50_000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _tiff(random, data):
    """Other values in the first directory of a classic TIFF."""
    data = bytearray(data)
    endian = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(endian + "I", data, 4)
        (count,) = struct.unpack_from(endian + "H", data, start)
        for _ in range(random.choice((1, 1, 3))):
            entry = start + 2 + 12 * random.randrange(max(1, count))
            (tag,) = struct.unpack_from(endian + "H", data, entry)
            if tag in (256, 257):
                width, height = random.choice(SIZES)
                struct.pack_into(endian + "HII", data, entry + 2, 4, 1, width if tag == 256 else height)
            elif random.random() < 0.5:
                struct.pack_into(endian + "I", data, entry + 8, random.choice(NUMBERS))
            else:
                struct.pack_into(
                    endian + random.choice("HI"), data, entry + 2, random.choice(NUMBERS) & 65535
                )
    except struct.error:
        pass
    return bytes(data)


def _sized(offset, code, limit):
    def change(random, data):
        data = bytearray(data)
        if len(data) > offset + 8:
            sides = [min(side, limit) for side in random.choice(SIZES)]
            struct.pack_into(code, data, offset, *sides)
        return bytes(data)

    return change


def _riff(random, data):
    data, (width, height) = bytearray(data), random.choice(SIZES)
    width, height = max(1, min(width, 16383)), max(1, min(height, 16383))
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8 ":
        struct.pack_into("<HH", data, 26, width, height)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        struct.pack_into("<I", data, 21, (width - 1) | (height - 1) << 14 | bits & 0xF0000000)
    return bytes(data)


_SPECIAL = {
    b"\xff\xd8": _jpeg,
    b"\x89P": _png,
    b"II": _tiff,
    b"MM": _tiff,
    b"GI": _sized(6, "<HH", 65535),
    b"BM": _sized(18, "<ii", 2**31 - 1),
    b"RI": _riff,
}


# ----------------------------------------------------------------------------------------------- plain data


def damaged_text(random, data, others):
    """The bytes of a document: JSON with other values in it, or anything with faults in its bytes."""
    if random.random() < 0.1:
        return random.choice(RAW)
    if random.random() < 0.75:
        try:
            plain = json.loads(data)
        except (ValueError, RecursionError):
            pass
        else:
            for _ in range(random.choice((1, 1, 2, 5))):
                plain = _other_value(random, plain)
            return json.dumps(plain).encode()
    return damaged(random, data, others)


def _other_value(random, plain):
    """Plain data with something else somewhere, or a key less."""
    places = []

    def walk(node, depth=0):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list) and depth < 8:
                walk(node[key], depth + 1)

    if isinstance(plain, dict | list) and plain and random.random() > 0.05:
        walk(plain)
        node, key = random.choice(places)
        if random.random() < 0.15:
            del node[key]
        elif random.random() < 0.1 and isinstance(node, dict):
            node[str(random.choice(VALUES))[:50]] = node.pop(key)
        else:
            node[key] = _nested(random) if random.random() < 0.05 else copy.deepcopy(random.choice(VALUES))
        return plain
    return copy.deepcopy(random.choice(VALUES))


def _nested(random):
    value = []
    for _ in range(random.choice((50, 400))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def damaged_folder(random, files, others):
    """Files with a fault in one or two of them, one missing, or one more."""
    files = dict(files)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(sorted(files))
        texts = [n for n in sorted(files) if n.endswith((".json", ".txt", ".xml", ".yaml", ".jsonl"))]
        if texts and random.random() < 0.7:
            name = random.choice(texts)
        choice = random.random()
        if choice < 0.05 and len(files) > 1:
            del files[name]
        elif choice < 0.1:
            files[f"{name}.json"] = files[name]
        elif name.endswith((".png", ".jpg", ".jpeg")):
            files[name] = damaged_picture(random, files[name], others)
        else:
            files[name] = damaged_text(random, files[name], others)
    return files


# --------------------------------------------------------------------------------------------------- ZIPs


def damaged_zip(random, data, others):
    """A ZIP with faults in its bytes, or packed anew with odd entries."""
    if random.random() < 0.4:
        return damaged(random, data, others)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if random.random() < 0.6:
        files = damaged_folder(random, files, others)
    out = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        entries = list(files.items())
        for _ in range(random.choice((0, 1, 3))):
            name, body = random.choice(entries)
            kind = random.randrange(4)
            if kind == 0:
                entries.append((random.choice(NAMES), body))
            elif kind == 1:
                entries.append((name, body if random.random() < 0.5 else b"other"))
            elif kind == 2:
                entries.append((f"{name}.zip", data))
            else:
                entries.append((name.swapcase(), body))
        for name, body in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("\0", "\1")
            info.compress_type = random.choice(methods)
            if random.random() < 0.02:
                info.external_attr = 0o120777 << 16  # a link
            archive.writestr(info, body)
    data = bytearray(out.getvalue())
    if random.random() < 0.5:
        place = data.rfind(b"PK\1\2", 0, random.randrange(len(data)) + 1) if random.random() < 0.7 else 0
        place = max(0, place)
        offset = random.choice((4, 6, 8, 10, 16, 20, 24, 28, 30, 34, 38, 42))  # fields of the directory
        if place + offset + 4 < len(data):
            struct.pack_into(
                random.choice(("<H", "<I")), data, place + offset, random.choice(NUMBERS) & 65535
            )
        if random.random() < 0.4:
            data = _flip(random, data, others)
    return bytes(data)
