"""What the Annotate tab does, apart from its looks: photos into collections, masks out of models and archives."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from segdemo import zoo
from segdemo.annotations.collection import Collection, ConflictError
from segdemo.annotations.records import Photo
from segdemo.annotations.transfer import import_annotations
from segdemo.core import label_maps, settings
from segdemo.core.conventions import slug
from segdemo.core.files import StoreError, read_json, write_json
from segdemo.core.labels import LABEL_SETS, VOID, LabelSet
from segdemo.core.photos import IntakeError
from segdemo.data.formats import Account, export_zip
from segdemo.inference.predict import Prediction
from segdemo.ui.components import canvas
from segdemo.ui.components.label_table import from_table, to_table
from segdemo.ui.guard import person
from segdemo.ui.photos import shown_as_it_is
from segdemo.ui.served import cached
from segdemo.ui.services import Services

RANKING_SECONDS = 10  # how long one "next photo" may look at photos nobody has looked at yet
NAMED = 5  # files listed by name in one sentence


class Desk:
    """One for each process."""

    def __init__(self, services: Services):
        self.services = services
        self.store = services.store
        self._entropies = Entropies(settings.home() / "cache" / "entropy")
        # Canvas key -> the model whose prediction an unlabelled photo was shown with.
        self._begun: dict[str, str | None] = {}

    # --- collections ---

    def collections(self) -> list[tuple[str, str]]:
        """(title, name) of every collection, by title."""
        return [(collection.title, collection.name) for collection in self.store.collections()]

    def create(self, title: str, label_set_name: str | None, table: Any = None) -> str:
        """A new collection; its name.

        Args:
            title: what it is called.
            label_set_name: a key of ``LABEL_SETS``, or None for the classes in ``table``.
            table: value of the label table.
        """
        if label_set_name is None:
            label_set = from_table(table, slug(title, "own"), title.strip() or "Own classes")
        else:
            label_set = LABEL_SETS[label_set_name]
        return self.store.create(title, label_set).name

    def change(self, name: str, title: str, table: Any) -> None:
        """Give a collection another title and other classes (renamed, recoloured, added)."""
        collection = self.store.open(name)
        if table != to_table(collection.label_set):
            collection.change_label_set(from_table(table, name, title.strip() or collection.title))
        collection.rename(title)

    # --- photos ---

    def add_photos(self, name: str, paths: Iterable[str | Path]) -> tuple[list[str], list[str]]:
        """Take uploaded files into a collection.

        Returns:
            (ids, sentences): of the photos that are there now, each once, and one for each file that is no photo
            and on those that were there already.
        """
        collection = self.store.open(name)
        ids: dict[str, None] = {}
        sentences, there = [], []
        for path in map(Path, paths):
            try:
                admitted = collection.admit(path, path.name, self.services.limits)
                if admitted.photo == "there":
                    there.append(path.name)
                ids[admitted.id] = None
            except IntakeError as error:
                sentences.append(f"{path.name}: {error}")
        if there:
            sentences.append(f"There already, and not added again: {some(there)}.")
        return list(ids), sentences

    def add_photo(self, name: str, path: str | Path, title: str) -> str:
        """Take one photo into a collection under a title; its id. Raises ``photos.IntakeError``."""
        return self.store.open(name).add_photo(path, title, self.services.limits)

    def collection_for(self, model: str, preferred: str | None = None) -> str:
        """Name of a collection with a model's own classes, so that all of a prediction can be corrected in it.

        Args:
            model: a served model.
            preferred: name of the collection to take if there are several, or None. None at all: it is made.
        """
        label_set = zoo.served_model(model).label_set
        names = [c.name for c in self.store.collections() if c.label_set.classes == label_set.classes]
        if preferred is not None and preferred in names:
            return preferred
        return names[0] if names else self.store.create(f"{label_set.title} corrections", label_set).name

    # --- the canvas ---

    def models(self, name: str) -> list[tuple[str, str]]:
        """(title, name) of the served models that know a class of the collection."""
        label_set = self.store.open(name).label_set
        served = self.services.models().items()
        return [(e.title, model) for model, e in served if lookup(e.label_set, label_set) is not None]

    def payload(
        self, name: str, id_: str, model: str | None = None, revision: int | None = None
    ) -> dict[str, Any]:
        """What the canvas shows of a photo.

        Args:
            name, id_: the collection and the photo.
            model: start, or start again, from what this served model predicts; None for no prediction.
            revision: number of an older mask to look at; None to edit the newest.
        """
        collection = self.store.open(name)
        photo, label_set = collection.photo(id_), collection.label_set
        path = collection.image_path(id_)
        common: dict[str, Any] = {
            "image": path if shown_as_it_is(path) else self.services.photos.read(path),
            "label_set": label_set,
            "name": Path(photo.source).stem,
        }
        key = f"{name}/{id_}"
        if revision is not None:
            mask = collection.mask_png(id_, revision)
            return canvas.payload(key=f"{key}/{revision}", yours=mask, message="", **common)
        prediction = uncertainty = None
        if model:
            prediction, uncertainty = self._suggest(collection, photo, model)
        self._begun[key] = model if not photo.revision else None
        return canvas.payload(
            key=key,
            yours=collection.mask_png(id_),
            prediction=prediction,
            uncertainty=uncertainty,
            mode="edit",
            revision=photo.revision or None,
            next_photo=True,
            **common,
        )

    def _suggest(self, collection: Collection, photo: Photo, model: str) -> tuple[np.ndarray, np.ndarray]:
        """A model's prediction in the collection's classes, uint8 (H, W), and its uncertainty."""
        prediction = self.services.predict(model, self.services.photos.read(collection.image_path(photo.id)))
        entry = zoo.served_model(model)
        self._entropies.add(entry, photo, prediction)
        ids = lookup(entry.label_set, collection.label_set)
        if ids is None:
            raise StoreError(
                f"{entry.title} knows none of the classes of {collection.title}: choose another model."
            )
        return ids[prediction.label_map], prediction.uncertainty

    def save(
        self,
        key: str,
        png: bytes,
        base_revision: Any,
        request: gr.Request = None,  # type: ignore[assignment]  # Gradio knows the bare class only
    ) -> dict[str, Any]:
        """``on_save`` of the canvas."""
        name, _, id_ = key.partition("/")
        collection = self.store.open(name)
        photo = collection.photo(id_)
        label_map = label_maps.decode_png(
            png, collection.label_set, (photo.height, photo.width), self.services.limits
        )
        model = None if photo.revision else self._begun.get(key)
        try:
            meta = {"model": model} if model else None
            author = person(request)  # type: ignore[arg-type]  # functions of components get the bare one
            number = collection.save(id_, label_map, base_revision or 0, meta, author)
        except ConflictError as error:
            return {"conflict": str(error), "revision": error.current}
        return {"revision": number, "message": f"Saved as revision {number}."}

    def read_mask(self, key: str, data: bytes, width: int, height: int, _labels: dict[str, Any]) -> bytes:
        """``on_import`` of the canvas: the collection's own classes count, not what the browser says."""
        label_set = self.store.open(key.partition("/")[0]).label_set
        return label_maps.encode_png(
            label_maps.decode_png(data, label_set, (height, width), self.services.limits), label_set
        )

    def photo_of(self, key: str) -> Path:
        """The file of the photo that a key of the canvas stands for. Raises NotFoundError."""
        name, _, id_ = key.partition("/")
        return self.store.open(name).image_path(id_)

    # --- what to label next ---

    def next_photo(
        self,
        name: str,
        model: str | None = None,
        seen: Sequence[str] = (),
        progress: Callable[[int, int], object] | None = None,
    ) -> tuple[str | None, int, int]:
        """The photo without a mask that the model is least sure of.

        Photos that this model has not looked at yet are looked at now, for ``RANKING_SECONDS`` at most; the
        others have their turn with the next call.

        Args:
            name: the collection.
            model: a served model; None takes the photos in the order they came.
            seen: ids that were offered already, the last one now; they come again when all had their turn.
            progress: called with (photos looked at, photos to look at).

        Returns:
            (id or None if every photo has a mask, number of photos without one, number of them ranked).
        """
        collection = self.store.open(name)
        every = collection.photos(annotated=False, sort="created", per_page=1_000_000).photos[::-1]
        waiting = [p for p in every if p.id not in seen] or [p for p in every if p.id != seen[-1]] or every
        if not waiting:
            return None, 0, 0
        if model is None:
            return waiting[0].id, len(every), len(every)
        entry = zoo.served_model(model)
        self._look_at(collection, entry, waiting, progress)
        known = {photo.id: self._entropies.get(entry, photo) for photo in every}
        best = max(waiting, key=lambda photo: -1 if (mean := known[photo.id]) is None else mean)
        return best.id, len(every), sum(value is not None for value in known.values())

    def _look_at(
        self,
        collection: Collection,
        entry: zoo.ModelEntry,
        photos: Sequence[Photo],
        progress: Callable[[int, int], object] | None,
    ) -> None:
        start = time.monotonic()
        fresh = [photo for photo in photos if self._entropies.get(entry, photo) is None]
        for number, photo in enumerate(fresh):
            if number and time.monotonic() - start > RANKING_SECONDS:
                break
            if progress:
                progress(number, len(fresh))
            image = self.services.photos.read(collection.image_path(photo.id))
            self._entropies.add(entry, photo, self.services.predict(entry.name, image))
        self._entropies.write(entry)

    # --- archives ---

    def export(
        self, name: str, formats: Sequence[str], progress: Callable[[int], object] | None = None
    ) -> Path:
        """Path, in the page's cache, of one ZIP of all annotated photos; ``formats`` as ``export_zip`` takes them."""
        collection = self.store.open(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{collection.name}.zip")
            export_zip(collection.annotations(), path, formats, self.services.limits, progress)
            collection.keep("exported")
            return Path(save_file_to_cache(path, get_upload_folder()))

    def import_archive(
        self, path: str | Path, name: str | None = None, progress: Callable[[int], object] | None = None
    ) -> Account:
        """Take the annotations of a ZIP into a collection.

        Args:
            path: of the ZIP.
            name: the collection; None makes one of the archive's own label set.
            progress: called with the number of photos read.

        Returns:
            The ``formats.Account``.
        """
        if name is not None:
            self.store.open(name)  # which may be gone; it is not made anew
        return import_annotations(
            self.store, Path(path), name, limits=self.services.limits, progress=progress
        )

    def account_file(self, account: Account) -> Path:
        """Path, in the page's cache, of an account's lists as a table for spreadsheets."""
        data = account.to_csv().encode("utf-8-sig")  # Excel takes others for the local code page
        return Path(cached(data, f"{account.collection}-import.csv"))


class Entropies:
    """Mean uncertainty of models over photos, remembered across restarts: one small file a model.

    Values go by the checksums of model and photo, so they never go out of date.

    Args:
        folder: where the files are kept.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[
            str, dict[str, float]
        ] = {}  # model checksum -> {photo checksum: mean entropy over log K, 0..1}
        self._lock = Lock()

    def get(self, entry: zoo.ModelEntry, photo: Photo) -> float | None:
        """Mean entropy of a served model's prediction, over its maximum: 0..1, or None if not known."""
        return self._of(entry).get(photo.sha256)

    def add(self, entry: zoo.ModelEntry, photo: Photo, prediction: Prediction) -> None:
        """Remember what a ``Prediction`` shows."""
        self._of(entry)[photo.sha256] = round(float(np.mean(prediction.uncertainty)) / 255, 5)

    def write(self, entry: zoo.ModelEntry) -> None:
        """Keep what is known. If it cannot be written nothing is lost but time."""
        with contextlib.suppress(StoreError):
            write_json(self._path(entry), dict(self._of(entry)))

    def _of(self, entry: zoo.ModelEntry) -> dict[str, float]:
        with self._lock:
            if entry.onnx_sha256 not in self._known:
                try:
                    known = read_json(self._path(entry))
                except (OSError, ValueError):
                    known = {}
                self._known[entry.onnx_sha256] = known if isinstance(known, dict) else {}
            return self._known[entry.onnx_sha256]

    def _path(self, entry: zoo.ModelEntry) -> Path:
        return self._folder / f"{entry.onnx_sha256[:16]}.json"


def lookup(source: LabelSet, target: LabelSet) -> np.ndarray | None:
    """Class ids of one label set in another, classes matched by name.

    A class the other does not have becomes its background, or void if it has none.

    Args:
        source, target: LabelSets.

    Returns:
        uint8 (256,), to be indexed with a label map; None if they share no class but the background.
    """
    ids = np.full(256, VOID, np.uint8)
    own = {_plain(name): i for i, name in enumerate(target.classes)}
    common = {i: own[_plain(name)] for i, name in enumerate(source.classes) if _plain(name) in own}
    if not common.keys() - {source.background}:
        return None
    ids[: len(source)] = VOID if target.background is None else target.background
    for i, j in common.items():
        ids[i] = j
    return ids


def some(names: Sequence[object]) -> str:
    """The first few of many names, for a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
