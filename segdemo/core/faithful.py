"""Whether a browser shows a file as ``photos.read_photo`` reads it: the same way up, in the same colours.

Pillow finds orientations in more places than browsers do: in XMP, in the EXIF of a WebP, in numbers of the wrong type.
Browsers in turn obey what Pillow does not look at, such as the gamma of a PNG. So a file is shown as it is only if
it is of a plain kind and its strictest reading is Pillow's; otherwise what was read is encoded anew.
"""

import io
import struct
from collections.abc import Iterator
from typing import Literal

from PIL import Image

from segdemo.core.quiet import quiet_pillow

_ORIENTATION = 0x0112
_SHORT = 3  # the type of EXIF's orientation
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive: no browser shows arithmetic coding
_NEUTRAL = {  # chunks of a PNG that change nothing; others may be what an animation, opacity or HDR needs
    *(b"IHDR", b"IDAT", b"IEND", b"iCCP", b"sRGB", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME"),
    *(b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"gAMA", b"cHRM"),
}
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_SRGB_GAMMA = struct.pack(">I", 45455)
_SRGB_PRIMARIES = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_LOOKED_AT = 65536  # bytes of a chunk
_STILL_WEBP = {b"VP8 ", b"VP8L", b"VP8X", b"ICCP"}


def orientation(image: Image.Image) -> int:
    """How Pillow says the stored pixels are to be turned, by EXIF or XMP: 1..8; 1 for none and for nonsense."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a mangled EXIF block is no reason to refuse a good photo
        return 1
    return value if value in range(1, 9) else 1


def shown_alike(data: bytes) -> bool:
    """Whether browsers show bytes of a photo as ``photos.read_photo`` reads them.

    Args:
        data: bytes of a file that ``read_photo`` reads; only headers are looked at.
    """
    strict = _strict_orientation(data)
    if strict is None:
        return False
    with quiet_pillow:
        try:
            with Image.open(io.BytesIO(data)) as image:
                plain = image.mode in ("RGB", "L") and not image.has_transparency_data
                # Of a PNG Pillow would decode the pixels first, and nothing in a neutral one turns it.
                return plain and (image.format == "PNG" or orientation(image) == strict)
        except Exception:  # hostile bytes make parsers raise anything
            return False


def jpeg_orientation(data: bytes) -> int | None:
    """The orientation that the EXIF block of a JPEG has by the letter, 1..8; 1 without a block.

    None if readers may differ: a second block, one that is malformed, or a JPEG that not every reader decodes.
    """
    found, place = [], 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            found.append(_exif_orientation(body[6:]))
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame
            if marker not in _FRAMES or body[:1] != b"\x08":
                return None
        elif marker == 0xDA:  # the pixels
            return found[0] if len(found) == 1 else None if found else 1
        place = end
    return None


def _strict_orientation(data: bytes) -> int | None:
    """As ``jpeg_orientation``, of any format that browsers show."""
    if data.startswith(b"\xff\xd8"):
        return jpeg_orientation(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return 1 if _is_neutral_png(data) else None
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return 1 if _STILL_WEBP.issuperset(kind for kind, _ in _chunks(data, 12, "little")) else None
    return None


def _is_neutral_png(data: bytes) -> bool:
    for kind, body in _chunks(data, 8, "big"):
        if (
            kind not in _NEUTRAL
            or (kind == b"IHDR" and body[8:9] != b"\x08")  # deeper ones are rounded in different ways
            or (kind == b"eXIf" and _exif_orientation(body) != 1)
            or (kind in _TEXTS and _may_turn(body))
            or (kind == b"gAMA" and body != _SRGB_GAMMA)
            or (kind == b"cHRM" and body != _SRGB_PRIMARIES)
        ):
            return False
    return True


def _may_turn(text: bytes) -> bool:
    """Whether Pillow may find an orientation in a text chunk of a PNG."""
    keyword, _, rest = text.partition(b"\0")
    if keyword == b"XML:com.adobe.xmp":
        return rest[:1] != b"\0" or b"Orientation" in rest or len(text) == _LOOKED_AT
    return keyword.startswith(b"Raw profile type")


def _chunks(data: bytes, place: int, order: Literal["big", "little"]) -> Iterator[tuple[bytes, bytes]]:
    """(kind, first kilobytes) of the chunks of a PNG (``"big"``) or a RIFF file (``"little"``)."""
    while place + 8 <= len(data):
        if order == "big":
            length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
            following = place + 12 + length
        else:
            kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
            following = place + 8 + length + length % 2
        yield kind, data[place + 8 : place + 8 + min(length, _LOOKED_AT)]
        place = following


def _exif_orientation(block: bytes) -> int | None:
    """Orientation in a TIFF structure, by the letter; 1 without one, None if it is malformed."""
    endian = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if endian is None:
        return None
    try:
        (offset,) = struct.unpack_from(f"{endian}I", block, 4)
        (count,) = struct.unpack_from(f"{endian}H", block, offset)
        entries = [struct.unpack_from(f"{endian}HHIH", block, offset + 2 + 12 * n) for n in range(count)]
    except struct.error:
        return None
    found = [entry[1:] for entry in entries if entry[0] == _ORIENTATION]
    if not found:
        return 1
    if len(found) > 1 or found[0][:2] != (_SHORT, 1):
        return None
    return found[0][2] if found[0][2] in range(1, 9) else None
