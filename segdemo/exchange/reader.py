"""What every format needs when it is read: photos, side-cars, the label set and what was refused."""

import json
from pathlib import PurePosixPath

from segdemo import intake, masks
from segdemo.exchange import sidecars
from segdemo.exchange.annotation import FORBIDDEN, Annotation, ExchangeError
from segdemo.labels import LabelSet, voc_color

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif")
_UNREAD = (masks.MaskError, intake.IntakeError)


class Reader:
    """An archive that is being read.

    Args:
        source: ``archives.ZipSource`` or ``archives.FolderSource``.
        label_set: the ``LabelSet`` to read into; None takes the archive's own, if it has one.
        limits: ``intake.Limits`` for photos and masks.

    Attributes:
        names: of all files, sorted.
        root: what the names of the files beside ``labels.json`` begin with.
        label_set: None until somebody knows it.
        photos: names of the photos by their last part.
        refused: one sentence for each mask that could not be used.
    """

    def __init__(self, source, label_set, limits):
        self.source, self.limits = source, limits
        self.refused, self._used, self._ids = [], set(), set()
        self.names = sorted(source.sizes)
        own = [n for n in self.names if PurePosixPath(n).name == sidecars.LABEL_SET]
        own = min(own, key=len, default=None)
        self.root = own.removesuffix(sidecars.LABEL_SET) if own else ""
        self.label_set = label_set
        if own:
            self._used.add(own)
            if label_set is None:
                self.label_set = sidecars.read_label_set(self, own)
        self.photos = {}
        for name in self.names:
            if name.lower().endswith(PHOTO_SUFFIXES):
                self.photos.setdefault(PurePosixPath(name).name, []).append(name)

    def use(self, *names):
        """Files that are understood, so that they are not among the skipped."""
        self._used.update(names)

    def skipped(self, format):
        """Files nobody asked for, less what an export holds for other formats."""
        others = {"voc": "SegmentationClass", "coco": "coco", "yolo": "yolo"}
        folders = ["overlays", sidecars.FOLDER, "ImageSets", "labelme", "panoptic", "coco/annotations"]
        folders += ["JPEGImages"] if format == "yolo" else []
        folders += [folder for other, folder in others.items() if other != format]
        known = tuple(f"{self.root}{folder}/" for folder in folders)
        own = f"{self.root}{sidecars.LABEL_SET}" in self._used
        rest = [n for n in self.names if n not in self._used and not (own and n.startswith(known))]
        return sorted([*self.source.skipped, *rest])

    def text(self, name):
        """A file as text. Raises ExchangeError: damaged, too large, or not UTF-8."""
        try:
            return self.source.read(name, self.source.limits.max_json_bytes).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ExchangeError(f"{name} is not UTF-8 text.") from error

    def json(self, name):
        """A file as plain data. Raises ExchangeError: as ``text``, or not JSON."""
        text = self.text(name)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExchangeError(f"{name} is not JSON: {error}.") from error

    def annotation(self, stem, mask_name, photo_name, subset, make_label_map):
        """One annotation; what goes wrong with it is noted in ``refused``.

        Args:
            stem: what its files are called.
            mask_name: what to call its mask in messages.
            photo_name: name of its photo in the archive.
            subset: the one it is in, or None; a side-car knows better.
            make_label_map: takes the photo's (height, width) and returns uint8 (height, width).

        Returns:
            An ``Annotation``, or None if it could not be used.
        """
        try:
            photo = self.source.read(photo_name, self.limits.max_bytes)
            try:
                height, width, _ = intake.read_photo(photo, self.limits).shape
            except intake.IntakeError as error:
                raise ExchangeError(f"the photo {photo_name} cannot be used: {error}") from error
            label_map = make_label_map(height, width)
            meta = sidecars.read(self, stem)
        except (ExchangeError, *_UNREAD) as error:
            self.refused.append(f"{mask_name}: {error}")
            return None
        if meta is None:
            meta = {"subset": subset} if subset else {}
        return Annotation(self._id(stem), photo, label_map, self.label_set, meta)

    def _id(self, stem):
        base = (FORBIDDEN.sub("_", stem).lstrip(".") or "photo")[:140]
        id_, number = base, 1
        while id_.casefold() in self._ids:
            number += 1
            id_ = f"{base}-{number}"
        self._ids.add(id_.casefold())
        return id_

    def named_label_set(self, names, title):
        """Take the classes' names from the files, if no label set is known yet; background comes first.

        Raises:
            ExchangeError: they cannot be names of classes.
        """
        if self.label_set is not None:
            return
        lower = [name.lower() for name in names]
        if "background" in lower:
            background = lower.index("background")
        else:
            names, background = ["background", *names], 0
        try:
            colors = [voc_color(i) for i in range(len(names))]
            self.label_set = LabelSet("imported", title, tuple(names), tuple(colors), background)
        except ValueError as error:
            raise ExchangeError(f"The class names of {self.source.title} cannot be used: {error}") from error

    def class_ids(self):
        """Class name in lower case to id."""
        return {name.strip().lower(): i for i, name in enumerate(self.label_set.classes)}
