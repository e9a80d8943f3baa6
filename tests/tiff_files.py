"""TIFF files of one's choice, for tests: pages, pages within pages, depths, planes, tiles and predictors."""

import struct
import zlib

import numpy as np

SUBFILE, ORIENTATION, SUB_PAGES = 254, 274, 330


def tiff_page(
    pixels,
    photometric=None,
    planar=1,
    compression=1,
    predictor=1,
    rows=None,
    tile=None,
    extra=(),
    tags=(),
    parts=(),
):
    """A page as ``tiff_file`` takes it.

    Args:
        pixels: (H, W) or (H, W, S) of an integer or float dtype.
        photometric: by default grey for one band, else RGB.
        planar: 2 puts each band into strips of its own. compression: 1 or 8 (Deflate), or a number to claim only.
        predictor: 1, 2 or 3. rows: of a strip; by default one strip. tile: (height, width) instead.
        extra: ``ExtraSamples``. tags: further (tag, value) pairs. parts: pages within this one.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return {**locals(), "pixels": pixels}


def tiff_file(*pages, endian="<", big=False):
    """The bytes of a TIFF, or BigTIFF, of these pages."""
    body = bytearray(struct.pack(f"{endian}2sHHHQ", *_head(endian), 43, 8, 0, 0) if big else b"")
    body = body or bytearray(struct.pack(f"{endian}2sHI", *_head(endian), 42, 0))
    place = 8 if big else 4
    for page in pages:
        place = _write(body, page, place, endian, big)
    return bytes(body)


def _head(endian):
    return (b"II" if endian == "<" else b"MM",)


def _write(body, page, place, endian, big):
    """Append a page, put its offset at ``place``; returns where the next page's offset goes."""
    parts = []
    for part in page["parts"]:
        body += bytes(8)
        slot = len(body) - 8
        _write(body, part, slot, endian, big)
        parts.append(struct.unpack_from(f"{endian}{'Q' if big else 'I'}", body, slot)[0])
    pixels = page["pixels"]
    height, width, samples = pixels.shape
    dtype = pixels.dtype.newbyteorder(endian)
    planes = [pixels[..., n : n + 1] for n in range(samples)] if page["planar"] == 2 else [pixels]
    high, wide = page["tile"] or (page["rows"] or height, width)
    offsets, counts = [], []
    for plane in planes:
        for top in range(0, height, high):
            for left in range(0, width, wide):
                block = plane[top : top + high, left : left + wide]
                if page["tile"]:
                    gap = (high - block.shape[0], wide - block.shape[1])
                    block = np.pad(block, ((0, gap[0]), (0, gap[1]), (0, 0)))
                data = _predicted(block.astype(dtype), page["predictor"])
                data = zlib.compress(data) if page["compression"] == 8 else data
                offsets.append(len(body))
                counts.append(len(data))
                body += data
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    photometric = page["photometric"]
    entries = {
        **{256: (width,), 257: (height,), 258: (8 * pixels.dtype.itemsize,) * samples},
        **{
            259: (page["compression"],),
            262: ((1 if samples < 3 else 2) if photometric is None else photometric,),
        },
        **{277: (samples,), 284: (page["planar"],), 317: (page["predictor"],), 339: (kind,) * samples},
    }
    if page["tile"]:
        entries |= {322: (wide,), 323: (high,), 324: offsets, 325: counts}
    else:
        entries |= {273: offsets, 278: (high,), 279: counts}
    if page["extra"]:
        entries[338] = page["extra"]
    if parts:
        entries[SUB_PAGES] = parts
    entries |= {tag: (value,) for tag, value in page["tags"]}
    code, size = ("Q", 8) if big else ("I", 4)
    directory = struct.pack(f"{endian}{'Q' if big else 'H'}", len(entries))
    for tag, values in sorted(entries.items()):
        wide_type = tag in (256, 257, 273, 278, 279, 322, 323, 324, 325, 330)
        packed = struct.pack(f"{endian}{len(values)}{'I' if wide_type else 'H'}", *values)
        if len(packed) > size:
            where = struct.pack(f"{endian}{code}", len(body))
            body += packed
        else:
            where = packed.ljust(size, b"\0")
        directory += struct.pack(f"{endian}HH{code}", tag, 4 if wide_type else 3, len(values)) + where
    struct.pack_into(f"{endian}{code}", body, place, len(body))
    body += directory + bytes(size)
    return len(body) - size


def _predicted(block, predictor):
    if predictor == 2:
        whole = block.view(np.dtype(f"{block.dtype.str[0]}u{block.dtype.itemsize}"))
        return np.concatenate([whole[:, :1], np.diff(whole, axis=1)], axis=1).astype(whole.dtype).tobytes()
    if predictor == 3:
        rows, _, depth = block.shape
        planes = np.ascontiguousarray(block.astype(block.dtype.newbyteorder(">"))).view(np.uint8)
        planes = planes.reshape(rows, -1, block.dtype.itemsize).transpose(0, 2, 1).reshape(rows, -1, depth)
        return np.concatenate([planes[:, :1], np.diff(planes, axis=1)], axis=1).astype(np.uint8).tobytes()
    return block.tobytes()
