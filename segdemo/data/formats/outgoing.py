"""A photo with its label map on its way out, as the writers of all formats take it."""

import io
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from PIL import Image

from segdemo.core.labels import LabelSet
from segdemo.core.photos import IntakeError, Limits, is_plain_jpeg, read_bytes, read_photo
from segdemo.core.quiet import quiet_pillow
from segdemo.core.shapes import polygons
from segdemo.data.formats.annotation import SUBSETS, Annotation
from segdemo.data.formats.naming import KEPT_ENDINGS, Names, split_name

JPEG_QUALITY = 95
ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Outgoing:
    """One photo with its label map, and what its files are called.

    Attributes:
        number: counts from 1; the photo's id where a format wants a number.
        annotation: what goes out.
        stem: what all its files are called, without ending.
        file_name: of the photo: ``stem`` and an ending.
        original_name: the name it came with, if that is known and not ``file_name``; else None.
        subset: train, val or test; train where the annotation names none.
        photo: the bytes of its file.
        rgb: its pixels, uint8 (H, W, 3).
    """

    FOLDER: ClassVar[str] = "JPEGImages"  # where the photos are

    number: int
    annotation: Annotation
    stem: str
    file_name: str
    original_name: str | None
    subset: str
    photo: bytes = field(repr=False)
    rgb: np.ndarray = field(repr=False)
    _regions: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def label_map(self) -> np.ndarray:
        """uint8 (H, W)."""
        assert self.annotation.label_map is not None  # photos without a mask are not exported
        return self.annotation.label_map

    @property
    def label_set(self) -> LabelSet:
        """The ``LabelSet`` of the label map."""
        return self.annotation.label_set

    def regions(self, class_id: int) -> list[list[np.ndarray]]:
        """The outlines of a class as ``shapes.polygons`` gives them; traced once for all formats."""
        if class_id not in self._regions:
            self._regions[class_id] = polygons(self.label_map == class_id)
        return self._regions[class_id]


def png(pixels: np.ndarray, **options) -> bytes:
    """Pixels as the file of a PNG: uint8 (H, W, 3) RGB, or grey, uint8 or bool (H, W); options are Pillow's."""
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8, copy=False)).save(out, "PNG", **options)
    return out.getvalue()


def prepare(number: int, annotation: Annotation, names: Names, limits: Limits) -> Outgoing:
    """Read an annotation's photo and name its files.

    The original bytes go out where they are a JPEG or PNG that every program shows alike, under the ending they
    came with; anything else becomes a JPEG.

    Args:
        number: which of the export it is, from 1.
        annotation: what goes out.
        names: those given so far; gets this one.
        limits: for the photo.

    Raises:
        intake.IntakeError: the photo cannot be read.
    """
    photo, ending, rgb = _encoded(annotation.image, limits)
    source = annotation.meta.get("source")
    source = source if isinstance(source, str) and source.strip() else None
    wanted, own_ending = split_name(source) if source else (annotation.id, "")
    stem = names.take(wanted)
    # A photo that was encoded anew came as something else, or under an ending that does not fit it.
    file_name = stem + (own_ending if own_ending in KEPT_ENDINGS[ending] else ending)
    subset = annotation.meta.get("subset")
    return Outgoing(
        number,
        annotation,
        stem,
        file_name,
        source if source != file_name else None,
        subset if subset in SUBSETS else SUBSETS[0],
        photo,
        rgb,
    )


def _encoded(image, limits):
    """(bytes, ".jpg" or ".png", uint8 (H, W, 3)) of a photo."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise IntakeError(f"a photo is uint8 (height, width, 3), not {image.dtype} {image.shape}.")
        rgb = image
    else:
        _, data = read_bytes(image, limits)
        rgb = read_photo(data, limits)
        if is_plain_jpeg(data):
            return data, ".jpg", rgb
        if _is_plain_png(data, rgb):
            return data, ".png", rgb
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue(), ".jpg", rgb


def _is_plain_png(data, rgb):
    """Whether bytes are a PNG that every program shows as ``rgb``: one upright and opaque picture."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    with quiet_pillow:
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                return (
                    image.mode in ("RGB", "L")
                    and not image.has_transparency_data
                    and not getattr(image, "is_animated", False)
                    and image.getexif().get(ORIENTATION, 1) == 1
                    and np.array_equal(np.asarray(image.convert("RGB")), rgb)
                )
        except Exception:  # hostile bytes make the parser raise anything
            return False
