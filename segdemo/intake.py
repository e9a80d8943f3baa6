"""Untrusted files to upright RGB photos.

``read_photo`` is the only door through which a photo enters. Whatever it refuses, it refuses with an
``IntakeError`` of one sentence that says what is wrong and what to do, before memory is spent on pixels.
"""

import io
import os
import stat
import threading
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

# No EPS, PDF or WMF (they start other programs) and nothing without a signature.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# Present where Pillow was built with AVIF, or where a plug-in registered HEIF.
BOXED_FORMATS = ("AVIF", "HEIF")

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262
_UPRIGHT = {  # EXIF orientation -> what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAVE_AS = "save it as JPEG or PNG and try again"

STRIP_BYTES = 8_000_000  # copied at a time


class IntakeError(ValueError):
    """A file that cannot be used as a photo. The message is one sentence meant for the person who sent it."""


@dataclass(frozen=True)
class Limits:
    """What a photo may cost.

    Attributes:
        max_bytes: file size in bytes (40 MB).
        max_pixels: width times height (64 million, so 8000x6000 passes); Pillow itself stops at 179 million.
        max_side: longest side in pixels.
        max_aspect: longest side over shortest side.
    """

    max_bytes: int = 40_000_000
    max_pixels: int = 64_000_000
    max_side: int = 32_768
    max_aspect: int = 1000

    @classmethod
    def from_env(cls):
        """The limits, each overridden by ``SEGDEMO_MAX_BYTES``, ``SEGDEMO_MAX_PIXELS`` and so on.

        Raises:
            IntakeError: a setting is not a positive whole number.
        """
        values = {}
        for field in fields(cls):
            variable = f"SEGDEMO_{field.name.upper()}"
            text = os.environ.get(variable, "").strip()
            if text:
                if not text.isdecimal() or int(text) < 1:
                    raise IntakeError(f"{variable} must be a positive whole number, not {text!r}.")
                values[field.name] = int(text)
        return cls(**values)


def read_photo(source, limits=None, draft_size=None):
    """Decode one photo.

    The first frame or page is taken; EXIF rotation is applied; alpha, palette transparency and colour keys
    are composited on white; grey, palette, 1-bit, 16-bit, float, CMYK and Lab become RGB; an embedded colour
    profile other than sRGB is converted to sRGB.

    Args:
        source: bytes, a path (str or Path), or an open binary file.
        limits: a ``Limits``; None reads them from the environment.
        draft_size: for thumbnails only: (height, width) that is enough. A JPEG is then decoded at 1/2, 1/4 or
            1/8 of its size, still at least this large, in a fraction of the time. None decodes every pixel.

    Returns:
        uint8 (H, W, 3), RGB, contiguous and writable, H and W those of the upright photo.

    Raises:
        IntakeError: the file is missing, empty, not a supported photo, damaged or over a limit.
    """
    limits = limits or Limits.from_env()
    name, data = read_bytes(source, limits)
    with quiet_pillow, _opened(name, data, limits) as image:
        if draft_size is not None and image.format in ("JPEG", "MPO"):
            height, width = draft_size
            sideways = _orientation(image) >= 5
            image.draft(image.mode, (height, width) if sideways else (width, height))
        try:
            image.load()
            return _pixels(_upright_rgb(image))
        except MemoryError as error:
            raise IntakeError(f"{name} needs more memory than there is: {_shrink(limits)}.") from error
        except Exception as error:  # decoders of hostile bytes raise anything from OSError to KeyError
            raise IntakeError(f"{name} is cut short or damaged: save or download it again.") from error


def _pixels(image):
    """An RGB image as a uint8 array, strip by strip: all at once, Pillow and NumPy would hold it three times."""
    width, height = image.size
    array = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_BYTES // (3 * width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        array[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return array


def photo_size(source, limits=None):
    """Upright (height, width) of a photo in pixels, in most formats without decoding it.

    Raises:
        IntakeError: as ``read_photo``, as far as the header shows it.
    """
    limits = limits or Limits.from_env()
    name, data = read_bytes(source, limits)
    with quiet_pillow, _opened(name, data, limits) as image:
        width, height = image.size
        # Pillow reports TIFF sizes already turned.
        return (width, height) if image.format != "TIFF" and _orientation(image) >= 5 else (height, width)


def is_plain_jpeg(data):
    """Whether bytes are a JPEG that every reader shows as ``read_photo`` does: upright, RGB or grey.

    Only the header is looked at; damage shows when ``read_photo`` decodes it.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    with quiet_pillow:
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                return image.mode in ("RGB", "L") and _orientation(image) == 1
        except Exception:  # hostile bytes make the parser raise anything
            return False


def read_bytes(source, limits):
    """The bytes of ``source`` and what to call it in messages.

    Args:
        source: bytes, a path (str or Path), or an open binary file.
        limits: a ``Limits``; only ``max_bytes`` counts.

    Returns:
        (name, bytes), never empty.

    Raises:
        IntakeError: missing, unreadable, a folder, a device, empty, or longer than ``limits.max_bytes``.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = "The file", bytes(source)
        size = len(data)
    elif isinstance(source, (str, os.PathLike)):
        name = Path(source).name or str(source)
        data, size = _read_path(source, name, limits)
    elif hasattr(source, "read"):
        name = Path(str(getattr(source, "name", None) or "The file")).name
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
    if not size:
        raise IntakeError(f"{name} is empty: save or download it again.")
    return name, data


def _read_path(path, name, limits):
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


class _QuietPillow:
    """Context manager that keeps Pillow's warnings about odd files from reaching anybody, in any thread.

    ``warnings.catch_warnings`` alone restores the wrong filters when two threads leave it out of order, so
    the first one in sets the filter and the last one out restores what was there.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._users = 0
        self._catcher = None

    def __enter__(self):
        with self._lock:
            if not self._users:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._users += 1

    def __exit__(self, *exc_info):
        with self._lock:
            self._users -= 1
            if not self._users:
                self._catcher.__exit__(*exc_info)


quiet_pillow = _QuietPillow()


def _opened(name, data, limits):
    """The image with its header read and its size within the limits; no pixel is decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=_formats(data))
    except Image.DecompressionBombError as error:
        raise IntakeError(f"{name} has too many pixels: {_shrink(limits)}.") from error
    except Exception as error:  # header parsers of hostile bytes raise anything from OSError to struct.error
        raise IntakeError(f"{name} {_not_a_photo(data)}.") from error
    width, height = image.size
    problem = None
    if width < 1 or height < 1:
        problem = "holds no pixels: save or download it again"
    elif width * height > limits.max_pixels or max(width, height) > limits.max_side:
        problem = f"measures {width}x{height} pixels, which is too large: {_shrink(limits)}"
    elif max(width, height) > limits.max_aspect * min(width, height):
        problem = f"measures {width}x{height} pixels, which is too narrow to be a photo: crop it"
    if problem:
        image.close()
        raise IntakeError(f"{name} {problem}.")
    return image


def _shrink(limits):
    return (
        f"scale it down to at most {limits.max_pixels / 1e6:g} million pixels and {limits.max_side} on a side"
    )


def _formats(data):
    if data[4:8] != b"ftyp":
        return FORMATS
    Image.init()  # loads the plug-ins that Pillow leaves until they are needed
    return [name for name in BOXED_FORMATS if name in Image.OPEN]


def _not_a_photo(data):
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


def _orientation(image):
    """EXIF (or XMP) orientation 1..8; 1 where there is none or it is nonsense."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a mangled EXIF block is no reason to refuse a good photo
        return 1
    return value if value in _UPRIGHT else 1


def _upright_rgb(image):
    """A decoded Pillow image of any mode as an upright mode-RGB one, transparency composited on white."""
    orientation = _orientation(image)  # TIFF: already applied by Pillow, which then forgets the tag
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _grey_from_deep(image)
    elif image.mode == "LAB":
        image = _to_srgb(image, None)
    elif image.has_transparency_data:
        # A premultiplied grey ("La") only converts by way of LA.
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    if image.mode == "RGBA":
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        image = page
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _grey_from_deep(image):
    """Grey of 16 or 32 bits or float to mode L.

    16-bit values span 0..65535. Wider integers, and floats that fit neither 0..1, 0..255 nor 0..65535, have
    no agreed white, so their own minimum and maximum are stretched to 0..255.
    """
    values = np.asarray(image)
    key = image.info.get("transparency")
    keyed = values == key if isinstance(key, int) else None
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        if image.mode == "F" and low >= 0 and high <= 65535:
            low, high = 0.0, next(white for white in (1.0, 255.0, 65535.0) if high <= white)
        scaled = (values.astype(np.float64) - low) * (255.0 / ((high - low) or 1.0))
        grey = np.rint(scaled).astype(np.uint8)
    tags = getattr(image, "tag_v2", {})
    # Pillow turns "white is zero" around for 8-bit TIFF only.
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == 0:
        grey = 255 - grey
    if keyed is not None:
        grey[keyed] = 255
    return Image.fromarray(grey)


def _to_srgb(image, profile):
    """``image`` (L, RGB, RGBA, CMYK; LAB with ``profile`` None) in sRGB; unchanged if the profile is bad."""
    from PIL import ImageCms  # not needed for most photos

    try:
        if profile is None:
            source = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" in (source.profile.profile_description or ""):
                return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        if profile is None:
            raise
        return (
            image  # a broken or mismatched profile: the colours are a guess either way, the photo is not lost
        )
