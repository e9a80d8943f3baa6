"""What Pillow does not read rightly of TIFF: which page is the photo, and samples that are deep, planar or many.

The layout is that of the "TIFF Revision 6.0" specification (Adobe, 1992), its Technical Notes 1 (trees of pages) and
3 (the predictor of floating-point numbers), and BigTIFF. Compressed blocks are unpacked by Pillow's libtiff, which
stops at the size a block is said to have. tifffile would unpack Deflate blocks of a few megabytes to gigabytes, and
has no LZW without a further package.
"""

import io
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from segdemo.core.arrays import AnyArray, UInt8
from segdemo.errors import UserError

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, WHITE_LEVEL = 273, 274, 277, 278, 279, 281
PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES = 284, 317, 322, 323, 324, 325
SUBFILE, OLD_SUBFILE, SUB_PAGES, EXTRA, FORMAT, PROFILE = 254, 255, 330, 338, 339, 34675
_HEADER = {
    *(WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION, SAMPLES, ROWS_PER_STRIP),
    *(WHITE_LEVEL, PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH),
    *(SUBFILE, OLD_SUBFILE, SUB_PAGES, EXTRA, FORMAT),
}
_TYPES = {
    **{1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i"},
    **{11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"},
}
_SIGNATURES = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
MAX_PAGES = 1000
MAX_NUMBERS = 1000  # of a tag that is read of every page

# Compressions of bytes that do not know what the bytes mean, so that any samples can be unpacked.
_RAW, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
_BYTEWISE = (_RAW, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD)
_COMPRESSIONS = {
    **{2: "CCITT", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate"},
    **{32773: "PackBits", 32946: "Deflate", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000"},
    **{34713: "Nikon raw", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA", 34933: "PNG", 34934: "JPEG XR"},
    **{50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}
_GREY_INVERTED, _GREY, _RGB = 0, 1, 2
_SENSOR = (32803, 34892)  # the pattern of a camera's sensor, or its linear light: no photo yet
_SAVE_AS = "save it as JPEG or PNG, or as a TIFF of 8 bits, and try again"
WHITES = (255, 1023, 4095, 16383, 65535)  # of sensors of 8, 10, 12, 14 and 16 bits


class TiffError(UserError):
    """A TIFF that cannot be read although it is sound. The message goes on after the file's name, without a dot."""


@dataclass(frozen=True)
class Page:
    """One image of a TIFF, its header read and none of its pixels.

    Attributes:
        offset: of its directory in the file, bytes.
        tags: tag number to tuple of numbers, for the tags that count here.
        endian: ``"<"`` or ``">"``.
        parent_orientation: orientation of the page it is a part of; 1 for none.
    """

    offset: int
    tags: Mapping[int, tuple[Any, ...]]
    endian: str
    parent_orientation: int = 1

    def get(self, tag: int, default: Any = None) -> Any:
        """First number of a tag."""
        return self.tags[tag][0] if self.tags.get(tag) else default

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored, pixels."""
        return self.get(WIDTH, 0), self.get(LENGTH, 0)

    @property
    def orientation(self) -> int:
        """1..8, of the page itself or else of the one it is a part of."""
        found: int = self.get(ORIENTATION, self.parent_orientation)
        return found if found in range(1, 9) else 1

    @property
    def reduced(self) -> bool:
        """Whether it says itself that it is a thumbnail, a smaller copy or a mask of another page."""
        return bool(self.get(SUBFILE, 0) & 0b101) or self.get(OLD_SUBFILE, 1) == 2

    @property
    def samples(self) -> int:
        """Numbers per pixel."""
        return int(self.get(SAMPLES, 1))

    @property
    def bits(self) -> int | None:
        """Bits of each sample, if all have as many; else None."""
        bits = set(self.tags.get(BITS) or (1,))
        return bits.pop() if len(bits) == 1 else None

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of the samples, in the file's byte order; None where it is none of NumPy's."""
        formats = set(self.tags.get(FORMAT) or (1,))
        kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(formats.pop(), "") if len(formats) == 1 else ""
        known = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}.get(kind, ())
        return np.dtype(f"{self.endian}{kind}{self.bits // 8}") if self.bits and self.bits in known else None

    @property
    def decoded_bytes(self) -> int:
        """What ``samples_of`` would take."""
        width, height = self.size
        return width * height * self.samples * (self.bits or 8) // 8

    @property
    def is_unusual(self) -> bool:
        """Whether Pillow would read it wrong or not at all: deep samples, planes, or more bands than colours."""
        if self.get(PHOTOMETRIC, _GREY_INVERTED) not in (_GREY_INVERTED, _GREY, _RGB) or (self.bits or 8) < 8:
            return False
        plain = {_RGB: (3, 4)}.get(self.get(PHOTOMETRIC), (1,))
        return self.bits != 8 or self.samples not in plain or (self.get(PLANAR) == 2 and self.samples > 1)

    @property
    def is_readable(self) -> bool:
        """Whether ``samples_of`` can read it."""
        return (
            self.dtype is not None
            and self.get(COMPRESSION, _RAW) in _BYTEWISE
            and self.get(FILL_ORDER, 1) == 1
        )

    @property
    def is_beyond_pillow(self) -> bool:
        """Whether Pillow would open it and give wrong colours, or a wrong number of bands."""
        deep = (self.bits or 8) > 8 and self.samples > 1
        return deep and (self.get(PLANAR) == 2 or self.is_unusual)

    def description(self) -> str:
        """What it is, for a message: ``"16-bit samples in 5 bands, compressed with JPEG XL"``."""
        compression = self.get(COMPRESSION, _RAW)
        packed = _COMPRESSIONS.get(compression, f"method {compression}")
        bits = "samples of different depths" if self.bits is None else f"{self.bits}-bit samples"
        bands = f" in {self.samples} bands" if self.samples > 1 else ""
        return f"{bits}{bands}" + (f", compressed with {packed}" if compression != _RAW else "")


def is_tiff(data: bytes) -> bool:
    """Whether bytes begin as a TIFF or BigTIFF does."""
    return bytes(data[:4]) in _SIGNATURES


def photo_page(data: bytes) -> Page:
    """The page of a TIFF that is the photo.

    The first one, unless it says that it is a reduced copy, as in cameras' files, or shows a later page's shape at half
    its side or less; then the largest of the pages, and of pages within pages, that are not reduced.

    Raises:
        ValueError, struct.error: the file is damaged.
    """
    pages = _pages(data)
    first, full = pages[0], [page for page in pages if not page.reduced]
    if not full:
        return max(pages, key=_area)
    if first.reduced:
        return max(full, key=_area)
    return max((page for page in full if page is first or _is_thumbnail(first, page)), key=_area)


def with_first_page(data: bytes, page: Page) -> bytes:
    """The bytes of a TIFF whose first page is ``page``, as readers that look at one page only want it."""
    endian, big = _SIGNATURES[bytes(data[:4])]
    place = slice(8, 16) if big else slice(4, 8)
    number = struct.pack(endian + ("Q" if big else "I"), page.offset)
    return data if data[place] == number else data[: place.start] + number + data[place.stop :]


def profile(data: bytes, page: Page) -> bytes | None:
    """The colour profile of a page, bytes; None without one."""
    return _numbers(data, page, {PROFILE}).get(PROFILE, [None])[0]


def refusal(page: Page) -> str | None:
    """Why a sound page cannot be read at all, to go on after the file's name; None if it may be."""
    if page.get(PHOTOMETRIC) in _SENSOR:
        return "is a camera's raw photo: develop it, then send it as JPEG"
    return None


def cannot(page: Page) -> str:
    """That a page is of a kind nobody here reads, to go on after the file's name."""
    return f"is a TIFF of {page.description()}, which cannot be read here: {_SAVE_AS}"


def picture(data: bytes, page: Page) -> Image.Image:
    """An unusual page as a Pillow image of 8 bits.

    Integers of up to 16 bits keep their black; their white is the tag's, or the smallest of ``WHITES`` that holds all
    of them, since cameras leave the upper bits empty. Other numbers are stretched, see ``eight_bits``. Samples beyond
    the colours are left out unless they are said to be the opacity.

    Args:
        data: bytes of the file. page: of ``photo_page``.

    Returns:
        Mode L, LA, RGB or RGBA, as stored, not turned upright.

    Raises:
        TiffError: it cannot be read. ValueError, OSError, struct.error: it is damaged.
    """
    if not page.is_readable:
        raise TiffError(cannot(page))
    extra = page.tags.get(EXTRA, ())
    rgb = page.get(PHOTOMETRIC) == _RGB
    opacities = [page.samples - len(extra) + n for n, kind in enumerate(extra) if kind in (1, 2)]
    if rgb and page.samples == 4 and not extra:
        opacities = [3]
    if not rgb and page.samples > 3 and (page.samples, opacities) != (4, [3]):
        raise TiffError(
            f"has {page.samples} bands and does not say which are red, green and blue: save it as an RGB photo"
        )
    colors = 3 if rgb or page.samples >= 3 else 1
    if page.samples < colors:
        raise ValueError("bands are missing")
    values = samples_of(data, page)
    white = page.get(WHITE_LEVEL) if page.bits == 16 else None
    shown = eight_bits(values[..., :colors], white)
    if page.get(PHOTOMETRIC) == _GREY_INVERTED:
        shown = 255 - shown
    opacity = next((band for band in opacities if colors <= band < page.samples), None)
    if opacity is None:
        return Image.fromarray(shown[..., 0] if colors == 1 else shown)
    alpha = _opacity(values[..., opacity])
    if extra and extra[opacity - page.samples] == 1:  # the colours have been multiplied by it
        full = np.maximum(alpha, 1)[..., None].astype(np.uint16)
        shown = np.minimum(shown.astype(np.uint16) * 255 // full, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([shown, alpha]))  # two bands are LA, four RGBA


def eight_bits(values: AnyArray, white: float | None = None) -> UInt8:
    """Numbers of any kind as uint8 of the same shape.

    Integers of 0..65535 keep their black, and ``white`` or the smallest of ``WHITES`` that holds all becomes 255.
    Floats of 0..1, 0..255 and 0..65535 keep black and white too, but for those that go a little above 1, whose highest
    becomes white. Other numbers have no agreed white, so their own minimum and maximum are stretched to 0..255. What is
    not finite counts as 0.

    Args:
        values: of integer or float dtype, not empty.
        white: of integers, if it is known; ignored if a value is larger.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        if values.dtype.kind == "f":
            low, high = (
                0.0,
                next((w for w in (1.0, 255.0, 65535.0) if high <= w and not 1 < high <= 16), high),
            )
        else:
            known = white is not None and high <= white <= 65535
            low, high = (
                0.0,
                float(white if white is not None and known else next(w for w in WHITES if high <= w)),
            )
    out = np.empty(values.shape, np.uint8)
    factor = 255.0 / ((high - low) or 1.0)
    for row, into in zip(
        values, out, strict=True
    ):  # a row at a time: double precision takes eight times the memory
        np.rint((row.astype(np.float64) - low) * factor, out=into, casting="unsafe")
    return out


def samples_of(data: bytes, page: Page) -> AnyArray:
    """The samples of a page, (H, W, S) in its own dtype, in native byte order.

    Raises:
        ValueError, OSError, struct.error: it is damaged.
    """
    (width, height), dtype = page.size, page.dtype
    if dtype is None:
        raise ValueError("no such numbers")
    planes = page.samples if page.get(PLANAR, 1) == 2 else 1
    depth = page.samples // planes  # samples of a pixel that lie together
    tiled = page.get(TILE_WIDTH) is not None
    block_width = page.get(TILE_WIDTH) if tiled else width
    block_height = page.get(TILE_LENGTH) if tiled else min(page.get(ROWS_PER_STRIP, height), height)
    where = _numbers(data, page, {TILES, TILE_BYTES} if tiled else {STRIPS, STRIP_BYTES})
    offsets, counts = (
        where.get(tag, ()) for tag in ((TILES, TILE_BYTES) if tiled else (STRIPS, STRIP_BYTES))
    )
    if (
        not block_width
        or not block_height
        or block_width > 2 * width + 1024
        or block_height > 2 * height + 1024
    ):
        raise ValueError("nonsense blocks")
    across, down = -(-width // block_width), -(-height // block_height)
    if len(offsets) < planes * across * down:
        raise ValueError("blocks are missing")
    out = np.empty((height, width, page.samples), dtype.newbyteorder("="))
    for plane in range(planes):
        bands = slice(plane, plane + 1) if planes > 1 else slice(None)
        for row in range(down):
            top = row * block_height
            rows = block_height if tiled else min(block_height, height - top)
            for column in range(across):
                number = (plane * down + row) * across + column
                count = (
                    counts[number] if number < len(counts) else rows * block_width * depth * dtype.itemsize
                )
                packed = data[offsets[number] : offsets[number] + count]
                block = _block(packed, page, dtype, (rows, block_width, depth))
                left = column * block_width
                block = block[: height - top, : width - left]
                out[top : top + block.shape[0], left : left + block.shape[1], bands] = block
    return out


def _block(packed: bytes, page: Page, dtype: np.dtype[Any], shape: tuple[int, int, int]) -> AnyArray:
    """One strip or tile, (rows, columns, samples) in ``dtype``, the page's own."""
    rows, columns, depth = shape
    row_bytes = columns * depth * dtype.itemsize
    raw = _unpacked(packed, page.get(COMPRESSION, _RAW), rows, row_bytes)
    predictor = page.get(PREDICTOR, 1) if page.get(COMPRESSION, _RAW) != _RAW else 1
    if predictor == 3:
        summed = np.cumsum(raw.reshape(rows, -1, depth), axis=1, dtype=np.uint8)
        planes = summed.reshape(rows, dtype.itemsize, columns * depth)  # most significant bytes first
        raw = np.ascontiguousarray(planes.transpose(0, 2, 1))
        return raw.view(dtype.newbyteorder(">")).reshape(shape)
    values = raw.view(dtype).reshape(shape)
    if predictor == 2:
        whole = values.view(np.dtype(f"{page.endian}u{dtype.itemsize}"))
        native = whole.dtype.newbyteorder("=")
        values = np.cumsum(whole, axis=1, dtype=native).view(dtype.newbyteorder("="))
    elif predictor != 1:
        raise TiffError(cannot(page))
    return values


def _unpacked(packed: bytes, compression: int, rows: int, row_bytes: int) -> UInt8:
    """The bytes of a block, uint8 (rows, row_bytes)."""
    if compression == _RAW:
        if len(packed) < rows * row_bytes:
            raise ValueError("a block is cut short")
        return np.frombuffer(packed, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    entries = [
        *((WIDTH, row_bytes), (LENGTH, rows), (BITS, 8), (COMPRESSION, compression), (PHOTOMETRIC, _GREY)),
        *((STRIPS, 0), (SAMPLES, 1), (ROWS_PER_STRIP, rows), (STRIP_BYTES, len(packed))),
    ]
    start = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == STRIPS else value) for tag, value in entries
    )
    file = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + packed
    # Not by Image.open, which counts bytes as pixels here; the caller has looked at the size.
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        image.load()
        return np.array(image)


def _opacity(values: AnyArray) -> UInt8:
    """uint8 of an opacity whose highest number is that of its dtype, or 1 for floats."""
    if values.dtype.kind == "f":
        values = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255)
    else:
        values = np.maximum(values, 0) // max(1, np.iinfo(values.dtype).max // 255)
    return np.asarray(values.clip(0, 255), np.uint8)


def _area(page: Page) -> int:
    return page.size[0] * page.size[1]


def _is_thumbnail(small: Page, large: Page) -> bool:
    """Whether a page shows, as far as its size tells, another one at half its side or less."""
    (w, h), (width, height) = small.size, large.size
    same_shape = abs(w * height - h * width) <= max(width, height)  # to a pixel of the thumbnail
    return same_shape and 2 * max(w, h) <= max(width, height)


def _pages(data: bytes) -> list[Page]:
    """All pages in the file's order, each followed by the pages within it. Raises as ``photo_page``."""
    endian, big = _SIGNATURES[bytes(data[:4])]
    (offset,) = struct.unpack_from(endian + ("Q" if big else "I"), data, 8 if big else 4)
    pages: list[Page] = []
    seen: set[int] = set()
    waiting: list[tuple[int, Page | None]] = [(offset, None)]
    while waiting and len(seen) < MAX_PAGES:
        offset, parent = waiting.pop()
        if not offset or offset in seen:
            continue
        seen.add(offset)
        try:
            tags, following = _directory(data, offset, _HEADER, MAX_NUMBERS)
        except (ValueError, struct.error):
            if pages:  # a later one is no reason to refuse the photo
                continue
            raise
        page = Page(offset, tags, endian, parent.orientation if parent else 1)
        waiting.append((following, parent))
        if all(isinstance(side, int) and side > 0 for side in page.size):
            pages.append(page)
        waiting += [(sub, page) for sub in reversed(tags.get(SUB_PAGES, ()))]
    if not pages:
        raise ValueError("no page")
    return pages


def _numbers(data: bytes, page: Page, wanted: Collection[int]) -> dict[int, tuple[Any, ...]]:
    """Tags of a page that may be long and so are not among its ``tags``."""
    return _directory(data, page.offset, wanted, None)[0]


def _directory(
    data: bytes, offset: int, wanted: Collection[int], most: int | None
) -> tuple[dict[int, tuple[Any, ...]], int]:
    """(tags, offset of the next directory); of a tag, the first ``most`` numbers. Raises struct.error, ValueError."""
    endian, big = _SIGNATURES[bytes(data[:4])]
    count_code, entry_size, inline, code = ("Q", 20, 8, "HHQ") if big else ("H", 12, 4, "HHI")
    pointer = endian + ("Q" if big else "I")
    (count,) = struct.unpack_from(endian + count_code, data, offset)
    start = offset + struct.calcsize(endian + count_code)
    end = start + count * entry_size
    if count > 65535 or end > len(data):
        raise ValueError("the directory is cut short")
    tags = {}
    for place in range(start, end, entry_size):
        tag, kind, length = struct.unpack_from(endian + code, data, place)
        if tag not in wanted or kind not in _TYPES or tag in tags:
            continue
        size = length * struct.calcsize(endian + _TYPES[kind])
        value = place + struct.calcsize(endian + code)
        if size > inline:
            (value,) = struct.unpack_from(pointer, data, value)
        if value + size > len(data):
            continue  # whoever needs it will miss it
        length = length if most is None else min(length, most)
        kind = f"{size}s" if tag == PROFILE else f"{length}{_TYPES[kind]}"
        tags[tag] = struct.unpack_from(endian + kind, data, value)
    following = (
        struct.unpack_from(pointer, data, end)[0] if end + struct.calcsize(pointer) <= len(data) else 0
    )
    return tags, following
