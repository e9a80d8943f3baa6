"""Untrusted files to upright RGB photos.

``read_photo`` is the only door through which a photo enters. Whatever it refuses, it refuses with an
``IntakeError`` of one sentence that says what is wrong and what to do, before memory is spent on pixels.
"""

import io
import os
import stat
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from PIL import Image, PngImagePlugin

from segdemo.core import apart, decoding, faithful, settings, tiff
from segdemo.core.arrays import UInt8
from segdemo.core.faithful import orientation
from segdemo.core.quiet import quiet_pillow
from segdemo.errors import UserError

# No EPS, PDF or WMF (they start other programs) and nothing without a signature.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# Present where Pillow was built with AVIF, or where a plug-in registered HEIF.
BOXED_FORMATS = ("AVIF", "HEIF")

_PHOTOMETRIC_TAG = 262
_TURNING_TEXTS = b"XML:com.adobe.xmp", b"Raw profile type exif"  # where Pillow looks for a PNG's orientation
_UPRIGHT = {  # EXIF orientation -> what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Bytes of memory that a pixel takes while it is decoded, measured: WebP holds two canvases and two copies.
_COSTS = {("WEBP", "RGB"): 15, ("WEBP", "RGBA"): 19, ("AVIF", "RGB"): 10, ("AVIF", "RGBA"): 14}
_SAVE_AS = "save it as JPEG or PNG and try again"

STRIP_BYTES = 8_000_000  # copied at a time
BYTES_PER_PIXEL = 6  # a TIFF may take this, unpacked, times the limit of pixels: three bands of 16 bits

# Pillow takes a PNG with a profile or a text of more than 1 MiB for a bomb. Profiles of printers have up to 10 MB;
# other texts never reach Pillow, see ``_without_texts``.
MAX_PROFILE_BYTES = 16 * 2**20
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES
PngImagePlugin.MAX_TEXT_MEMORY = 4 * MAX_PROFILE_BYTES


# What a photo may come as: its bytes, a path, or an open binary file.
Source = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO


class IntakeError(UserError):
    """A file that cannot be used as a photo. The message is one sentence meant for the person who sent it."""


@dataclass(frozen=True)
class Limits:
    """What a photo may cost.

    Attributes:
        max_bytes: file size in bytes (40 MB).
        max_pixels: width times height (64 million, so 8000x6000 passes); Pillow itself stops at 179 million.
        max_side: longest side in pixels.
        max_aspect: longest side over shortest side.
        max_photo_seconds: processor time of decoding.
        max_photo_mb: memory that decoders may take which run in a process of their own, millions of bytes.
    """

    max_bytes: int = 40_000_000
    max_pixels: int = 64_000_000
    max_side: int = 32_768
    max_aspect: int = 1000
    max_photo_seconds: int = 5
    max_photo_mb: int = 1024

    @classmethod
    def from_env(cls) -> Self:
        """The limits, each overridden by ``SEGDEMO_MAX_BYTES``, ``SEGDEMO_MAX_PIXELS`` and so on.

        Raises:
            SettingError: a setting is not a positive whole number.
        """
        return cls(**{field.name: settings.read(f"SEGDEMO_{field.name.upper()}") for field in fields(cls)})


def read_photo(
    source: Source,
    limits: Limits | None = None,
    draft_size: tuple[int, int] | None = None,
    name: str | None = None,
) -> UInt8:
    """Decode one photo.

    The first frame is taken, and the page of a TIFF that ``tiff.photo_page`` finds; EXIF rotation is applied; alpha,
    palette transparency and colour keys are composited on white; grey, palette, 1-bit, 16-bit, float, CMYK and Lab
    become RGB; an embedded colour profile other than sRGB is converted to sRGB.

    Args:
        source: bytes, a path (str or Path), or an open binary file.
        limits: a ``Limits``; None reads them from the environment.
        draft_size: for thumbnails only: (height, width) that is enough. A JPEG is then decoded at 1/2, 1/4 or
            1/8 of its size, still at least this large, in a fraction of the time. None decodes every pixel.
        name: what messages call it; None for the file's own name.

    Returns:
        uint8 (H, W, 3), RGB, contiguous and writable, H and W those of the upright photo.

    Raises:
        IntakeError: the file is missing, empty, not a supported photo, damaged or over a limit.
    """
    limits = limits or Limits.from_env()
    name, data = read_bytes(source, limits, name)
    if apart.wanted(data):
        ask: dict[str, Any] = {"name": name, "limits": asdict(limits), "draft_size": draft_size}
        costs = limits.max_photo_seconds, limits.max_photo_mb
        try:
            decoded: UInt8 = apart.run(f"{__name__}:decode", data, *costs, **ask)
            return decoded
        except apart.ApartError as error:
            raise IntakeError(str(error)) from None
        except apart.CostError as error:
            raise IntakeError(f"{name} {_too_much(limits)}.") from error
        except OSError:  # no process or no memory for one: better here than not at all
            pass
    return decode(data, name, limits, draft_size)


def decode(
    data: bytes, name: str, limits: Limits | dict[str, int], draft_size: tuple[int, int] | None = None
) -> UInt8:
    """As ``read_photo``, of bytes, in this process. ``limits`` may be plain data, as it comes from another one."""
    limits = Limits(**limits) if isinstance(limits, dict) else limits
    with quiet_pillow, closing(_opened(name, data, limits)) as photo:
        try:
            return _pixels(photo.upright_rgb(draft_size))
        except decoding.OutOfTimeError as error:
            raise IntakeError(f"{name} {_too_much(limits)}.") from error
        except tiff.TiffError as error:
            raise IntakeError(f"{name} {error}.") from error
        except MemoryError as error:
            raise IntakeError(f"{name} needs more memory than there is for it: {_SAVE_AS}.") from error
        except Exception as error:  # decoders of hostile bytes raise anything from OSError to KeyError
            raise IntakeError(f"{name} is cut short or damaged: save or download it again.") from error


def _pixels(image: Image.Image) -> UInt8:
    """An RGB image as a uint8 array, strip by strip: all at once, Pillow and NumPy would hold it three times."""
    width, height = image.size
    array = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_BYTES // (3 * width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        array[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return array


def of_picture(image: Image.Image, limits: Limits | None = None) -> UInt8:
    """The pixels of a picture that a program has opened or made with Pillow, as ``read_photo`` gives those of a file.

    Args:
        image: of any mode; it stays as it is.
        limits: a ``Limits``; None reads them from the environment.

    Returns:
        uint8 (H, W, 3), RGB, upright.

    Raises:
        IntakeError: it is too large or cannot be decoded.
    """
    limits = limits or Limits.from_env()
    width, height = image.size
    if width < 1 or height < 1:
        raise IntakeError("The picture holds no pixels: give another one.")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise IntakeError(
            f"The picture measures {width}x{height} pixels, which is too large: {_shrink(limits)}."
        )
    with quiet_pillow:
        try:
            turned = 1 if image.format == "TIFF" else orientation(image)
            clock = decoding.Clock(limits.max_photo_seconds)
            return _pixels(_upright_rgb(image.copy(), image.info.get("icc_profile"), turned, clock))
        except Exception as error:  # as ``decode``: it may be read from its file only now
            raise IntakeError("The picture is cut short or damaged: open or make it again.") from error


def encode_jpeg(image: UInt8, quality: int) -> bytes:
    """A picture uint8 (H, W, 3) as a JPEG of a quality up to 95, to be looked at."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return out.getvalue()


def encode_png(image: UInt8) -> bytes:
    """Pixels uint8 (H, W), (H, W, 3) or (H, W, 4) as a PNG. Higher levels would take seconds on large photos."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def photo_orientation(source: Source, limits: Limits | None = None) -> int:
    """How the stored pixels of a photo are turned when it is read, as EXIF counts it: 1 (not at all) to 8.

    Raises:
        IntakeError: as ``read_photo``, as far as the header shows it.
    """
    name, data = read_bytes(source, limits := limits or Limits.from_env())
    with quiet_pillow, closing(_opened(name, data, limits)) as photo:
        return photo.orientation if photo.orientation in _UPRIGHT else 1


def turn_upright(label_map: UInt8, orientation: int) -> UInt8:
    """A label map drawn on the stored pixels of a photo, turned as ``read_photo`` turns these.

    Args:
        label_map: uint8 (H, W).
        orientation: of the photo, 1..8.

    Returns:
        uint8 (H, W), or (W, H) from 5 on.
    """
    if orientation not in _UPRIGHT:
        return label_map
    return np.array(Image.fromarray(label_map).transpose(_UPRIGHT[orientation]))


def is_plain_jpeg(data: bytes) -> bool:
    """Whether bytes are a JPEG that every reader shows as ``read_photo`` does: upright, RGB or grey.

    Only the header is looked at; damage shows when ``read_photo`` decodes it.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    with quiet_pillow:
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                return (
                    image.mode in ("RGB", "L") and orientation(image) == faithful.jpeg_orientation(data) == 1
                )
        except Exception:  # hostile bytes make the parser raise anything
            return False


def read_bytes(source: Source, limits: Limits, name: str | None = None) -> tuple[str, bytes]:
    """The bytes of ``source`` and what to call it in messages.

    Args:
        source: bytes, a path (str or Path), or an open binary file.
        limits: a ``Limits``; only ``max_bytes`` counts.
        name: what to call it; None for the file's own name.

    Returns:
        (name, bytes), never empty.

    Raises:
        IntakeError: missing, unreadable, a folder, a device, empty, or longer than ``limits.max_bytes``.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data: bytes | None = bytes(source)
        name, size = name or "The file", memoryview(source).nbytes
    elif isinstance(source, (str, os.PathLike)):
        name = name or Path(source).name or str(source)
        data, size = _read_path(source, name, limits)
    elif hasattr(source, "read"):
        name = name or Path(str(getattr(source, "name", None) or "The file")).name
        data = source.read(limits.max_bytes + 1)
        size = len(data)
        if not isinstance(data, bytes):
            raise IntakeError(f"{name} was opened as text: open it in binary mode.")
    else:
        raise IntakeError(f"A photo comes as bytes, a path or an open file, not as {type(source).__name__}.")
    if size > limits.max_bytes:
        shown = f"{size / 1e6:.1f} MB" if data is None else "more"
        raise IntakeError(
            f"{name} has {shown} where {limits.max_bytes / 1e6:g} MB are allowed: send a smaller file."
        )
    if not size or data is None:
        raise IntakeError(f"{name} is empty: save or download it again.")
    return name, data


def _read_path(path: Any, name: str, limits: Limits) -> tuple[bytes | None, int]:
    """(bytes or None if too long, size in bytes)."""
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise IntakeError(f"{name} is a folder: choose a photo in it.")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or device could block for ever
            raise IntakeError(f"{name} is not a regular file: choose a photo.")
        if status.st_size > limits.max_bytes:
            return None, status.st_size
        with Path(path).open("rb") as file:
            data = file.read(limits.max_bytes + 1)  # no more, even if the file is still growing
    except IntakeError:
        raise
    except FileNotFoundError as error:
        raise IntakeError(f"There is no file {path}: check its name.") from error
    except PermissionError as error:
        raise IntakeError(f"{name} may not be read: change its permissions or copy it.") from error
    except (OSError, ValueError) as error:
        raise IntakeError(f"{name!r} cannot be opened: check its name.") from error
    return data, len(data)


class _Photo:
    """A photo that Pillow has opened: its header is read and no pixel decoded.

    Attributes:
        stored_size: (width, height) in the file, pixels.
        cost: bytes of memory per pixel that it takes at least, where it is known.
    """

    def __init__(self, image: Image.Image, clock: decoding.Clock, parent_orientation: int = 1) -> None:
        self._image, self._clock, self._parent_orientation = image, clock, parent_orientation
        self.stored_size = image.size
        self.cost = _COSTS.get((image.format or "", image.mode), 0)

    @property
    def orientation(self) -> int:
        """How the stored pixels are to be turned, 1..8. Pillow turns those of a TIFF, and its size, by itself."""
        # Of a PNG it may stand behind the pixels, and Pillow decodes them to find it.
        return self._parent_orientation if self._image.format == "TIFF" else orientation(self._image)

    def close(self) -> None:
        self._image.close()

    def upright_rgb(self, draft_size: tuple[int, int] | None = None) -> Image.Image:
        """The decoded picture, mode RGB."""
        image, orientation = self._image, self.orientation
        if draft_size is not None and image.format in ("JPEG", "MPO"):
            height, width = draft_size
            image.draft(image.mode, (height, width) if orientation >= 5 else (width, height))
        image.load()
        return _upright_rgb(image, image.info.get("icc_profile"), orientation, self._clock)


class _TiffPhoto:
    """A page of a TIFF that Pillow would read wrong or not at all; otherwise as ``_Photo``."""

    def __init__(self, data: bytes, clock: decoding.Clock, page: tiff.Page) -> None:
        self._data, self._clock, self._page = data, clock, page
        self.stored_size = page.size
        self.cost = 0
        self.orientation = page.orientation

    def close(self) -> None:
        self._data = b""

    def upright_rgb(self, draft_size: tuple[int, int] | None = None) -> Image.Image:
        """The decoded picture, mode RGB; ``draft_size`` is of no use here."""
        image = tiff.picture(self._data, self._page)
        return _upright_rgb(image, tiff.profile(self._data, self._page), self.orientation, self._clock)


def _opened(name: str, data: bytes, limits: Limits) -> _Photo | _TiffPhoto:
    """A photo, as ``_Photo``, whose size is within the limits; no pixel is decoded."""
    clock = decoding.Clock(limits.max_photo_seconds)
    try:
        photo = (_opened_tiff if tiff.is_tiff(data) else _opened_by_pillow)(data, limits, clock)
    except decoding.OutOfTimeError as error:
        raise IntakeError(f"{name} {_too_much(limits)}.") from error
    except tiff.TiffError as error:
        raise IntakeError(f"{name} {error}.") from error
    except Image.DecompressionBombError as error:
        raise IntakeError(f"{name} has too many pixels: {_shrink(limits)}.") from error
    except Exception as error:  # header parsers of hostile bytes raise anything from OSError to struct.error
        if "MAX_TEXT_CHUNK" in str(error):
            most = f"{MAX_PROFILE_BYTES / 1e6:.0f} MB"
            raise IntakeError(f"{name} has a colour profile of more than {most}: save it without.") from error
        raise IntakeError(f"{name} {_not_a_photo(data)}.") from error
    width, height = photo.stored_size
    problem = None
    if width < 1 or height < 1:
        problem = "holds no pixels: save or download it again"
    elif width * height > limits.max_pixels or max(width, height) > limits.max_side:
        problem = f"measures {width}x{height} pixels, which is too large: {_shrink(limits)}"
    elif max(width, height) > limits.max_aspect * min(width, height):
        problem = f"measures {width}x{height} pixels, which is too narrow to be a photo: crop it"
    else:
        problem = decoding.objection(data, width, height)
        if width * height * photo.cost > limits.max_photo_mb * 1e6:
            problem = _too_much(limits)  # their decoders would say that the file is damaged
    if problem:
        photo.close()
        raise IntakeError(f"{name} {problem}.")
    return photo


def _opened_by_pillow(data: bytes, limits: Limits, clock: decoding.Clock) -> _Photo:
    if (size := decoding.webp_size(data)) and size[0] * size[1] > limits.max_pixels:
        raise Image.DecompressionBombError
    file = decoding.TimedFile(_without_texts(data), clock)
    return _Photo(Image.open(file, formats=_formats(data)), clock)


def _opened_tiff(data: bytes, limits: Limits, clock: decoding.Clock) -> _Photo | _TiffPhoto:
    """As ``_opened``. Raises TiffError for a sound file of a kind that cannot be read, whatever else for others."""
    page = tiff.photo_page(data)
    if (why := tiff.refusal(page)) is not None:
        raise tiff.TiffError(why)
    if page.is_unusual and page.is_readable:
        width, height = page.size
        if width * height <= limits.max_pixels and page.decoded_bytes > BYTES_PER_PIXEL * limits.max_pixels:
            raise tiff.TiffError(
                f"takes {page.decoded_bytes / 1e6:.0f} MB unpacked: save it with 8 bits a sample"
            )
        return _TiffPhoto(data, clock, page)
    if page.is_beyond_pillow:
        raise tiff.TiffError(tiff.cannot(page))
    try:
        image = Image.open(decoding.TimedFile(tiff.with_first_page(data, page), clock), formats=("TIFF",))
    except (Image.DecompressionBombError, decoding.OutOfTimeError):
        raise
    except Exception as error:
        raise tiff.TiffError(tiff.cannot(page)) from error
    return _Photo(image, clock, 1 if tiff.ORIENTATION in page.tags else page.orientation)


def _without_texts(data: bytes) -> bytes:
    """A PNG without its texts, which may unpack to any size, but for those that may say how it is to be turned.

    Bytes of anything else come back as they are.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    kept, begin, place, dropped = [], 0, 8, False
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if kind in (b"tEXt", b"zTXt", b"iTXt") and not _may_turn(kind, data[place + 8 : end - 4]):
            kept.append(data[begin:place])
            begin, dropped = end, True
        place = end
    return b"".join([*kept, data[begin:]]) if dropped else data


def _may_turn(kind: bytes, text: bytes) -> bool:
    """Whether a text chunk of a PNG is one in which Pillow looks for an orientation, and of bounded size."""
    keyword, _, rest = text.partition(b"\0")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    most = MAX_PROFILE_BYTES // 1032 if packed else MAX_PROFILE_BYTES  # what Deflate gains at most
    return keyword in _TURNING_TEXTS and len(rest) <= most


def _too_much(limits: Limits) -> str:
    return f"takes more than {limits.max_photo_seconds} seconds or too much memory to decode: {_SAVE_AS}"


def _shrink(limits: Limits) -> str:
    return (
        f"scale it down to at most {limits.max_pixels / 1e6:g} million pixels and {limits.max_side} on a side"
    )


def _formats(data: bytes) -> tuple[str, ...]:
    if data[4:8] != b"ftyp":
        return FORMATS
    Image.init()  # loads the plug-ins that Pillow leaves until they are needed
    return tuple(name for name in BOXED_FORMATS if name in Image.OPEN)


def _not_a_photo(data: bytes) -> str:
    """Why Pillow could not open ``data``, told from its first bytes, and what to do."""
    head = bytes(data[:1024])
    box, brand = head[4:8], head[8:12]
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if box == b"ftyp" and brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "is a HEIC photo, which cannot be read here: export it as JPEG or PNG"
    if box == b"ftyp" and brand in (b"avif", b"avis"):
        return f"is a damaged AVIF photo, or AVIF cannot be read here: {_SAVE_AS}"
    if box in (b"ftyp", b"moov", b"mdat") or head.startswith(
        (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"FLV")
    ):
        return "is a video: send a single frame as JPEG or PNG"
    if head.startswith(b"RIFF") and brand == b"AVI ":
        return "is a video: send a single frame as JPEG or PNG"
    if head.startswith(b"%PDF"):
        return "is a PDF document: export the page as JPEG or PNG"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "is a PostScript drawing: export it as JPEG or PNG"
    if text.startswith(b"<") and b"<svg" in text:
        return "is an SVG drawing: export it as PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page: download the photo itself"
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP archive: unpack it and choose a photo"
    signatures = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
    if head.startswith(signatures) or (head.startswith(b"RIFF") and brand == b"WEBP"):
        return "is cut short or damaged: save or download it again"
    return f"is not a photo that can be read here (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF): {_SAVE_AS}"


def _upright_rgb(
    image: Image.Image, profile: bytes | None, orientation: int, clock: decoding.Clock
) -> Image.Image:
    """A decoded Pillow image of any mode as an upright mode-RGB one, transparency composited on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _grey_from_deep(image)
    elif image.mode == "LAB":
        image = _to_srgb(image, None, clock)
    elif image.has_transparency_data:
        # A premultiplied grey ("La") only converts by way of LA.
        image = image.convert("LA") if image.mode == "La" else image
        image = image if image.mode == "RGBA" else image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile, clock)
    if image.mode == "RGBA":
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        image = page
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _grey_from_deep(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or float to mode L, see ``tiff.eight_bits``."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    keyed = values == key if isinstance(key, int) else None
    # The samples of a PNG or PPM span 0..65535, those of a TIFF whatever the camera made.
    grey = tiff.eight_bits(values, None if image.format == "TIFF" else 65535)
    tags = getattr(image, "tag_v2", {})
    # Pillow turns "white is zero" around for 8-bit TIFF only.
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == 0:
        grey = 255 - grey
    if keyed is not None:
        grey[keyed] = 255
    return Image.fromarray(grey)


def _to_srgb(image: Image.Image, profile: bytes | None, clock: decoding.Clock) -> Image.Image:
    """``image`` (L, RGB, RGBA, CMYK; LAB with ``profile`` None) in sRGB; unchanged if the profile is bad."""
    from PIL import ImageCms  # not needed for most photos

    try:
        opened = io.BytesIO(profile) if profile is not None else ImageCms.createProfile("LAB")
        source = ImageCms.ImageCmsProfile(opened)
        if profile is not None and "sRGB" in (source.profile.profile_description or ""):
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, image.mode, mode)
        out = Image.new(mode, image.size)
        width, height = image.size
        rows = max(1, STRIP_BYTES // (4 * width))
        for top in range(0, height, rows):  # a strip at a time, so that it can be stopped
            clock.check()
            strip = image.crop((0, top, width, min(top + rows, height)))
            out.paste(transform.apply(strip), (0, top))
        return out
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        if profile is None:
            raise
        # a broken or mismatched profile: the colours are a guess either way, the photo is not lost
        return image
