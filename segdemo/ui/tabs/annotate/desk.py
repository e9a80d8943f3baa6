"""What the Annotate tab does, apart from its looks: photos into collections, masks out of models and archives."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from copy import deepcopy
from itertools import chain
from pathlib import Path
from threading import Lock, Semaphore, Thread
from typing import Any

import gradio as gr
import numpy as np
from cachetools import LRUCache
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from segdemo import zoo
from segdemo.annotations import drafts, strokes
from segdemo.annotations.collection import Collection, ConflictError, Page
from segdemo.annotations.records import Photo
from segdemo.annotations.store import AnnotationStore
from segdemo.annotations.transfer import import_annotations
from segdemo.core import label_maps, names, settings
from segdemo.core.conventions import now, slug
from segdemo.core.files import DiskError, StoreError, read_json, write_json
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import LABEL_SETS, VOID, LabelSet
from segdemo.core.photos import IntakeError
from segdemo.data.formats import Account, export_zip
from segdemo.errors import UserError
from segdemo.inference.predict import Prediction
from segdemo.ui.components import canvas
from segdemo.ui.components.label_table import from_table, is_changed, to_table
from segdemo.ui.components.photo_list import UNSURE
from segdemo.ui.guard import person
from segdemo.ui.photos import shown_as_it_is
from segdemo.ui.served import cached
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.prelabel import Prelabelling
from segdemo.zoo import taught

_log = logging.getLogger(__name__)
RANKING_SECONDS = 10  # after each photo that is opened, for looking at those nobody has looked at yet
AHEAD = 8  # photos that are ready to be opened
AHEAD_SECONDS = 600  # and for how long: their files go after an hour
BEGUN = 10_000  # photos without a mask of which it is known what they were shown with
NAMED = 5  # files listed by name in one sentence


class Desk:
    """One for each process."""

    def __init__(self, services: Services):
        self.services = services
        self.prelabelling = Prelabelling(lambda: services.store, services.limits)
        self._entropies = Entropies(settings.home() / "cache" / "entropy")
        # Folder of a collection and canvas key -> the model whose prediction an unlabelled photo was shown with.
        self._begun: LRUCache[tuple[Path, str], str] = LRUCache(BEGUN)
        # What a photo is shown with, before somebody opens it: (what it depends on) -> (when, payload).
        self._ahead: LRUCache[tuple[Any, ...], tuple[float, dict[str, Any]]] = LRUCache(AHEAD)
        self._lock = Lock()
        self._ranking = Semaphore()

    @property
    def store(self) -> AnnotationStore:
        """The collections of whoever is being answered."""
        return self.services.store

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
        """Give a collection another title and other classes (renamed, recoloured, added).

        Raises:
            StoreError: what cannot be; the classes are others now than those that the table was made of.
        """
        collection = self.store.open(name)
        now = collection.label_set
        if is_changed(table) and table != to_table(now):
            label_set = from_table(table, name, title.strip() or collection.title)
            if table.get("of") != to_table(now)["of"]:
                raise StoreError(
                    "Somebody else has changed the classes meanwhile: open the collection again, and write yours anew."
                )
            collection.change_label_set(label_set, of=now)
        collection.rename(title)

    # --- photos ---

    def add_photos(
        self, name: str, paths: Iterable[str | Path], stop: Callable[[], bool] = lambda: False
    ) -> tuple[list[str], list[str]]:
        """Take uploaded files into a collection, until ``stop`` says that those left are not wanted any more.

        Returns:
            (ids, sentences): of the photos that are there now, each once, and one for each file that is no photo,
            on those that were there already, and where there is no room for more; by name.
        """
        collection, together = self.store.open(name), now()
        ids: dict[str, None] = {}
        sentences, there = [], []
        for path in sorted(map(Path, paths), key=lambda path: names.counted(path.name)):
            if stop():
                break
            try:
                admitted = collection.admit(path, path.name, self.services.limits, together)
                if admitted.photo == "there":
                    there.append(path.name)
                ids[admitted.id] = None
            except IntakeError as error:
                sentences.append(str(error) if path.name in str(error) else f"{path.name}: {error}")
            except StoreError as error:  # there is no room for it, nor for those behind it
                sentences.append(str(error))
                break
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
        fitting = [c.name for c in self.store.collections() if c.label_set.classes == label_set.classes]
        if preferred is not None and preferred in fitting:
            return preferred
        return fitting[0] if fitting else self.store.create(f"{label_set.title} corrections", label_set).name

    # --- the canvas ---

    def models(self, name: str) -> list[tuple[str, str]]:
        """(title, name) of the served models that know a class of the collection."""
        label_set = self.store.open(name).label_set
        served = self.services.models().items()
        return [(e.title, model) for model, e in served if lookup(e.label_set, label_set) is not None]

    def first_model(self, name: str) -> str | None:
        """The model of ``models`` that photos of a collection are shown with as long as nobody chooses another.

        What the collection was taught; else the first one that knows all its classes; else the first one. None that
        another collection was taught.
        """
        label_set, own = self.store.open(name).label_set, taught.name_of(name)
        offered = [model for _, model in self.models(name)]
        if own in offered:
            return own
        others = [model for model in offered if not taught.is_taught(model)]
        knowing = (model for model in others if knows(zoo.served_model(model), label_set))
        return next(knowing, others[0] if others else None)

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
        photo, key = collection.photo(id_), f"{name}/{id_}"
        if revision is not None:
            mask = collection.mask_png(id_, revision)
            return canvas.payload(
                key=f"{key}/{revision}", yours=mask, message="", **self._shown(collection, photo)
            )
        with self._lock:
            when, ready = self._ahead.pop(self._made_of(collection, photo, model), (0, None))
        self._begin((collection.folder, key), None if photo.revision else model)
        if ready is not None and time.monotonic() - when < AHEAD_SECONDS:
            return ready
        return self._editing(collection, photo, model)

    def _begin(self, place: tuple[Path, str], model: str | None) -> None:
        with self._lock:
            if model is None:
                self._begun.pop(place, None)
            else:
                self._begun[place] = model

    def look_ahead(self, name: str, id_: str, model: str | None = None) -> dict[str, Any]:
        """What ``payload`` will give for a photo that is probably opened next; it is kept ready for that."""
        collection = self.store.open(name)
        photo = collection.photo(id_)
        made_of = self._made_of(collection, photo, model)
        with self._lock:
            _, payload = self._ahead.pop(made_of, (0, None))
        payload = payload or self._editing(collection, photo, model)
        with self._lock:
            self._ahead[made_of] = time.monotonic(), payload
        return deepcopy(payload)

    @staticmethod
    def _made_of(collection: Collection, photo: Photo, model: str | None) -> tuple[Any, ...]:
        entry = zoo.served_model(model) if model else None
        draft = _draft_by(collection, photo, model)
        made_by = draft.png if draft else entry and entry.onnx_sha256
        return (collection.folder, photo.id, photo.revision, collection.label_set, made_by)

    def _shown(self, collection: Collection, photo: Photo) -> dict[str, Any]:
        path = collection.image_path(photo.id)
        image = path if shown_as_it_is(path) else self.services.photos.read(path)
        return {"image": image, "label_set": collection.label_set, "name": Path(photo.source).stem}

    def _editing(self, collection: Collection, photo: Photo, model: str | None) -> dict[str, Any]:
        prediction: Any = None
        uncertainty = None
        if draft := _draft_by(collection, photo, model):
            prediction = drafts.png(collection, photo.id, draft)
        elif model:
            prediction, uncertainty = self._suggest(collection, photo, model)
        return canvas.payload(
            key=f"{collection.name}/{photo.id}",
            yours=collection.mask_png(photo.id),
            prediction=prediction,
            uncertainty=uncertainty,
            mode="edit",
            revision=photo.revision or None,
            next_photo=True,
            autosave=True,
            **self._shown(collection, photo),
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
        sitting: str = "",
        auto: bool = False,
        request: gr.Request = None,  # type: ignore[assignment]  # Gradio knows the bare class only
    ) -> dict[str, Any]:
        """``on_save`` of the canvas."""
        name, _, id_ = key.partition("/")
        collection = self.store.open(name)
        photo = collection.photo(id_)
        label_map = label_maps.decode_png(
            png, collection.label_set, (photo.height, photo.width), self.services.limits
        )
        with self._lock:
            model = None if photo.revision else self._begun.get((collection.folder, key))
        try:
            meta = {"model": model} if model else None
            author = person(request)  # type: ignore[arg-type]  # functions of components get the bare one
            number = collection.save(id_, label_map, base_revision or 0, meta, author, sitting, auto)
        except ConflictError as error:
            return {"conflict": str(error), "revision": error.current}
        self._begin((collection.folder, key), None)
        return {"revision": number, "message": "Saved" if auto else f"Saved as revision {number}"}

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

    def strokes(self, key: str, data: bytes | None, base: str) -> dict[str, Any]:
        """``on_strokes`` of the canvas."""
        name, _, id_ = key.partition("/")
        collection = self.store.open(name)
        photo = collection.photo(id_)
        if data is None:
            kept = strokes.png(collection, id_)
            return {"version": strokes.version(kept), "png": kept}
        size = photo.height, photo.width
        painted = label_maps.decode_png(data, collection.label_set, size, self.services.limits)
        try:
            return {"version": strokes.save(collection, id_, painted, base)}
        except strokes.StaleStrokesError:
            kept = strokes.png(collection, id_)
            return {"version": strokes.version(kept), "png": kept, "conflict": True}

    def take_over(self, name: str, least: float, author: str = "") -> tuple[int, list[str]]:
        """Make the drafts of a collection that are surer than ``least``, 0..1, the masks of their photos.

        Returns:
            How many, and the names of photos whose draft is gone or damaged, or that got a mask meanwhile.
        """
        collection, taken, failed = self.store.open(name), 0, []
        for id_, draft in drafts.found(collection).items():
            if draft.sure > least:
                try:
                    drafts.take_over(collection, id_, draft, author)
                    taken += 1
                except DiskError:
                    raise
                except (StoreError, MaskError):
                    failed.append(collection.photo(id_).source)
        return taken, failed

    # --- what to label next ---

    def next_photo(
        self,
        name: str,
        model: str | None = None,
        seen: Sequence[str] = (),
        current: str | None = None,
        sort: str = "created",
    ) -> str | None:
        """The photo to label next: of those without a mask the one that the model is least sure of.

        That is asked only where the model knows all classes of the collection, and of photos that ``rank`` has looked
        at; else the next one of the list counts.

        Args:
            name: the collection.
            model: a served model; None takes the photos as they stand in the list.
            seen: ids of photos that were offered already; they come again when all had their turn.
            current: id of the photo that is open, which is not offered.
            sort: order of the list, of ``photos``.

        Returns:
            Its id; None if no other photo is without a mask.
        """
        collection = self.store.open(name)
        listed = self.photos(collection, sort, model).photos
        at = next((i for i, photo in enumerate(listed) if photo.id == current), -1) + 1
        open_ = [p for p in (*listed[at:], *listed[:at]) if not p.revision and p.id != current]
        waiting = [p for p in open_ if p.id not in seen] or open_
        if not waiting:
            return None
        ranks = self.doubts(collection, model)
        if sort != UNSURE and (model is None or not knows(zoo.served_model(model), collection.label_set)):
            return waiting[0].id
        return max(waiting, key=lambda photo: ranks.get(photo.id, 0)).id

    def doubts(self, collection: Collection, model: str | None) -> dict[str, float]:
        """How unsure a model is of photos without a mask, 0..1 by their ids, as far as is known.

        Args:
            collection: the collection.
            model: a served model; None for what made the drafts.
        """
        made = drafts.found(collection)
        known = {id_: draft.unsure for id_, draft in made.items() if model in (None, draft.model)}
        if model is not None and knows(entry := zoo.served_model(model), collection.label_set):
            for photo in collection.photos(annotated=False, per_page=1_000_000).photos:
                if photo.id not in known and (entropy := self._entropies.get(entry, photo)) is not None:
                    known[photo.id] = entropy
        return known

    def photos(
        self,
        collection: Collection,
        sort: str,
        model: str | None = None,
        per_page: int = 1_000_000,
        **filters: Any,
    ) -> Page:
        """As ``Collection.photos``; its order may be ``UNSURE`` too: those that a model is least sure of come first."""
        if sort != UNSURE:
            return collection.photos(sort=sort, per_page=per_page, **filters)
        ranks = self.doubts(collection, model)
        return collection.photos(sort="created", per_page=per_page, ranks=ranks, **filters)

    def previous_photo(
        self, name: str, current: str, sort: str = "created", model: str | None = None
    ) -> str | None:
        """Id of the photo that stands before another one in the list, or None."""
        ids = [photo.id for photo in self.photos(self.store.open(name), sort, model).photos]
        return ids[ids.index(current) - 1] if current in ids[1:] else None

    def rank(self, name: str, model: str) -> Thread | None:
        """Look at photos without a mask that this model has not looked at yet, for ``RANKING_SECONDS`` at most.

        That goes on in the background; the others have their turn with the next call.

        Returns:
            The thread; None if there is nothing to do, or if some collection is being looked at already.
        """
        collection, entry = self.store.open(name), zoo.served_model(model)
        if not knows(entry, collection.label_set):
            return None
        photos = collection.photos(annotated=False, per_page=1_000_000).photos
        fresh = [photo for photo in photos if self._entropies.get(entry, photo) is None]
        if not fresh or not self._ranking.acquire(blocking=False):
            return None

        def look() -> None:
            try:
                self._look_at(collection, entry, fresh)
            except (UserError, OSError) as error:  # a photo is damaged or was deleted meanwhile
                _log.warning("Not ranked: %s", error)
            finally:
                self._ranking.release()

        # In the workspace of whoever is being answered, if each visitor has one.
        thread = Thread(target=copy_context().run, args=(look,), name="rank", daemon=True)
        thread.start()
        return thread

    def _look_at(self, collection: Collection, entry: zoo.ModelEntry, photos: Sequence[Photo]) -> None:
        start = time.monotonic()
        for photo in photos:
            began = time.monotonic()
            image = self.services.photos.read(collection.image_path(photo.id))
            self._entropies.add(entry, photo, self.services.predict(entry.name, image))
            now = time.monotonic()
            if now - start > RANKING_SECONDS:
                break
            time.sleep(min(0.5, now - began))  # half of the time belongs to those who wait for an answer
        self._entropies.write(entry)

    # --- archives ---

    def export(
        self,
        name: str,
        formats: Sequence[str],
        progress: Callable[[int], object] | None = None,
        with_drafts: bool = False,
    ) -> Path:
        """Path, in the page's cache, of one ZIP of all annotated photos; ``formats`` as ``export_zip`` takes them.

        Those with a draft are in it if that is wanted.
        """
        collection = self.store.open(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{collection.name}.zip")
            outgoing = chain(collection.annotations(), drafts.annotations(collection) if with_drafts else ())
            export_zip(outgoing, path, formats, self.services.limits, progress)
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
        # Model checksum -> {photo checksum: mean entropy over log K, 0..1}
        self._known: dict[str, dict[str, float]] = {}
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


def _draft_by(collection: Collection, photo: Photo, model: str | None) -> drafts.Draft | None:
    """The draft of a photo that this model made, or None."""
    draft = drafts.find(collection, photo.id) if model else None
    return draft if draft and draft.model == model else None


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


def knows(entry: zoo.ModelEntry, label_set: LabelSet) -> bool:
    """Whether a model knows every class of a label set but the background, classes matched by name."""
    known = set(map(_plain, entry.label_set.classes))
    return all(_plain(c) in known for i, c in enumerate(label_set.classes) if i != label_set.background)


def some(names: Sequence[object]) -> str:
    """The first few of many names, for a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
