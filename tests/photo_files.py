"""Photos whose orientation or colours programs see differently, for tests: name to bytes.

Those of ``PLAIN`` every browser shows as ``photos`` reads them; of those of ``MISLEADING`` some or all show other
pixels.
"""

import struct
import zlib

import drawn
import numpy as np
from PIL import Image

PHOTO = np.zeros((32, 64, 3), np.uint8)
PHOTO[:16, :32], PHOTO[:16, 32:], PHOTO[16:, :32], PHOTO[16:, 32:] = (
    (200, 40, 40),
    (40, 160, 60),
    (60, 60, 190),
    (190, 180, 60),
)

UPRIGHT = {  # EXIF orientation -> what a viewer shows of stored pixels
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def encoded(format, mode="RGB", **options):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(
        format, {}
    ) | options
    return drawn.encoded(Image.fromarray(PHOTO).convert(mode), format, **options)


def noise_png(rng, height=20):
    """An RGB photo of random pixels, 30 wide."""
    return drawn.encoded(rng.integers(0, 256, (height, 30, 3), np.uint8))


def exif(orientation, endian="<", kind=3, count=1, times=1):
    """A TIFF structure with an orientation."""
    packed = (
        struct.pack(f"{endian}HH", orientation, 0) if kind == 3 else struct.pack(f"{endian}I", orientation)
    )
    entry = struct.pack(f"{endian}HHI", 0x0112, kind, count) + packed
    head = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(f"{endian}IH", 8, times)
    return head + entry * times + bytes(4)


def xmp(orientation):
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    ) % orientation


def jpeg(*segments, **options):
    """A JPEG with further APP1 segments behind its head."""
    data = encoded("JPEG", **options)
    parts = [b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments]
    return data[:2] + b"".join(parts) + data[2:]


def jpeg_exif(*args, **options):
    return b"Exif\0\0" + exif(*args, **options)


def png(*chunks, data=None):
    """A PNG with further (kind, body) chunks behind its head."""
    data = data or encoded("PNG")
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:33] + b"".join(parts) + data[33:]


def deep_png():
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in PHOTO)
    blank = png((b"IDAT", zlib.compress(rows)), data=_head(16) + bytes(0))
    return blank + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def _head(depth):
    header = b"IHDR" + struct.pack(">IIBBBBB", 64, 32, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def animation(format):
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::-1])]
    options = {"lossless": True} if format == "WEBP" else {}
    return drawn.encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=40, **options)


_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0" + xmp(6)
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)
_PRIMARIES = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_WIDE = struct.pack(">8I", 31270, 32900, 70000, 29000, 17000, 79700, 13100, 4600)

PLAIN = {
    "plain.jpg": jpeg(),
    "progressive.jpg": jpeg(progressive=True),
    "grey.jpg": jpeg(mode="L"),
    "turned.jpg": jpeg(jpeg_exif(6)),
    "turned, big endian.jpg": jpeg(jpeg_exif(8, ">")),
    "mirrored.jpg": jpeg(jpeg_exif(2)),
    "exif and xmp agree.jpg": jpeg(jpeg_exif(6), _XMP_SEGMENT),
    "plain.png": png(),
    "with notes.png": png((b"tEXt", b"Software\0any"), (b"pHYs", struct.pack(">IIB", 3000, 3000, 1))),
    "gamma of sRGB.png": png((b"gAMA", struct.pack(">I", 45455)), (b"cHRM", _PRIMARIES)),
    "upright by exif.png": png((b"eXIf", exif(1))),
    "plain.webp": encoded("WEBP"),
    "lossy.webp": encoded("WEBP", lossless=False, quality=95),
}
MISLEADING = {
    "xmp.jpg": jpeg(_XMP_SEGMENT),
    "long number.jpg": jpeg(jpeg_exif(6, kind=4)),
    "two numbers.jpg": jpeg(jpeg_exif(6, count=2)),
    "said twice.jpg": jpeg(jpeg_exif(6, times=2)),
    "two blocks.jpg": jpeg(jpeg_exif(6), jpeg_exif(1)),
    "mangled exif.jpg": jpeg(b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "ink.jpg": encoded("JPEG", mode="CMYK"),
    "turned.png": png((b"eXIf", exif(6))),
    "xmp.png": png((b"iTXt", _PNG_XMP)),
    "packed xmp.png": png((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(6)))),
    "linear.png": png((b"gAMA", struct.pack(">I", 100_000))),
    "wide colours.png": png((b"cHRM", _WIDE), (b"gAMA", struct.pack(">I", 45455))),
    "hdr.png": png((b"cICP", bytes([9, 16, 0, 1]))),
    "deep.png": deep_png(),
    "see-through.png": encoded("PNG", mode="RGBA"),
    "indexed.png": encoded("PNG", mode="P"),
    "moving.png": animation("PNG"),
    "turned.webp": encoded("WEBP", exif=exif(6)),
    "xmp.webp": encoded("WEBP", xmp=xmp(6)),
    "moving.webp": animation("WEBP"),
    "moving.gif": animation("GIF"),
    "turned.avif": encoded("AVIF", exif=exif(6)),
    "picture.bmp": encoded("BMP"),
    "picture.tif": encoded("TIFF"),
}
