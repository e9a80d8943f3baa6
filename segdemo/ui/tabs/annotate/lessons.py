"""What a collection learns from its strokes and finished masks: a classifier of its own, in small numbered files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segdemo import zoo
from segdemo.annotations import strokes
from segdemo.annotations.collection import Collection
from segdemo.annotations.records import Photo, Revision
from segdemo.core.arrays import UInt8
from segdemo.core.documents import DamagedError, log_once
from segdemo.core.files import StoreError
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import VOID
from segdemo.core.photos import IntakeError
from segdemo.inference import teach
from segdemo.inference.features import Features
from segdemo.zoo import taught

MOST_PHOTOS = 200  # with strokes that are learned from, those painted on last
MOST_MASKS = 60  # finished masks that are learned from, those changed last
KEPT = 10  # classifiers of a collection


def learn(collection: Collection, features: Features) -> zoo.ModelEntry:
    """The classifier that the strokes and masks of a collection teach, as the served model that it is from now on.

    The same strokes and masks teach the same, so nothing new is kept where none was changed since.

    Args:
        collection: with strokes, or a finished mask, on one photo or more.
        features: the frozen encoder.

    Raises:
        TeachError: there are fewer than two classes. DiskError. DamagedModelError: there are no features.
    """
    ids = sorted(strokes.painted(collection), key=lambda id_: strokes.when(collection, id_))[-MOST_PHOTOS:]
    painted = {int(i) for _, painted in _painted(collection, ids) for i in np.unique(painted)}
    masks = [teach.inside(*one) for one in _masked(collection, features)]
    classes = sorted((painted - {VOID}).union(*masks))
    teach.require_two(classes)
    inputs, targets = [], []
    if any(masks):
        x, shares = teach.examples_inside(masks, classes, features.steps)
        inputs.append(x)
        targets.append(shares)
    for id_, on_photo in _painted(collection, sorted(ids)):  # one at a time: they may be large
        seen = features.of(collection.image(id_), collection.photo(id_).sha256)
        x, shares = teach.examples(teach.Strokes(seen, on_photo), classes, features.steps)
        inputs.append(x)
        targets.append(shares)
    weights = teach.regression(np.concatenate(inputs), np.concatenate(targets)).astype(np.float32)
    _keep(collection, teach.Taught(tuple(classes), weights, features.entry.onnx_sha256))
    return zoo.served_model(taught.name_of(collection.name))


def taught_model(collection: Collection) -> zoo.ModelEntry | None:
    """The classifier of a collection, as a served model; None where it was taught none that can be used."""
    return zoo.served_models().get(taught.name_of(collection.name))


def _painted(collection: Collection, ids: list[str]) -> Iterator[tuple[str, UInt8]]:
    for id_ in ids:
        found = strokes.load(collection, id_)
        if found is not None and (found != VOID).any():
            yield id_, found


def finished(collection: Collection) -> list[Photo]:
    """The photos whose masks are learned from, those changed last.

    A person has called each of these finished: what the page saved meanwhile, and drafts that were taken over unseen,
    are not among them. Nor are masks of val and test, or scores there would mean nothing.
    """
    photos = collection.photos(annotated=True, sort="updated", per_page=1_000_000).photos
    found = [photo for photo in photos if photo.split == "train" and _is_finished(photo.current)]
    return found[:MOST_MASKS]


def _is_finished(mask: Revision | None) -> bool:
    return mask is not None and not mask.auto and "draft" not in mask.meta


def _masked(collection: Collection, features: Features) -> Iterator[tuple[UInt8, UInt8]]:
    for photo in sorted(finished(collection), key=lambda photo: photo.id):
        try:
            label_map = collection.load(photo.id)
            seen = features.of(collection.image(photo.id), photo.sha256)
        except (
            IntakeError,
            MaskError,
            StoreError,
        ) as error:  # a damaged one must not keep the others from it
            log_once(str(error))
            continue
        if label_map is not None:
            yield seen, label_map


def _keep(collection: Collection, learned: teach.Taught) -> None:
    """Write a classifier under the next number, unless it is the newest already."""
    with collection.store.lock(collection.name):
        files = taught.versions(collection.folder)
        if files and _is(learned, files[0]):
            return
        number = int(files[0].stem) + 1 if files else 1
        learned.save(collection.folder / taught.FOLDER / f"{number:06d}.json")
        for old in taught.versions(collection.folder)[KEPT:]:
            old.unlink(missing_ok=True)


def _is(learned: teach.Taught, path: Path) -> bool:
    try:
        known = teach.Taught.read(path)
    except (DamagedError, OSError):
        return False
    return (known.classes, known.features) == (learned.classes, learned.features) and np.array_equal(
        known.weights, learned.weights
    )
