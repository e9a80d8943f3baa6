"""Collections of annotated photos: made, filled, read, labelled and exported by scripts, as in the Annotate tab."""

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from segdemo.annotations.collection import Collection
from segdemo.annotations.records import Photo
from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.conventions import clean_title
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.labels import LABEL_SETS, LabelSet
from segdemo.core.photos import IntakeError
from segdemo.data.formats import export_zip
from segdemo.data.formats.classes import make_label_set
from segdemo.ui.endpoints import add, listed, text
from segdemo.ui.guard import person
from segdemo.ui.inputs import photo_input
from segdemo.ui.served import cached, linked
from segdemo.ui.services import Services

PER_PAGE = 100  # photos that one call lists


def build(services: Services, call: gr.Button) -> None:
    """Add the endpoints to the Blocks being built."""
    title, collection, photo = text(), text(), text()
    classes, name, formats = text("voc"), text(""), text("voc,coco")
    image, mask = photo_input(visible=False), photo_input(visible=False)
    page = gr.Number(value=1, precision=0, visible=False)
    revision = gr.Number(value=None, precision=0, visible=False)
    base = gr.Number(value=0, precision=0, visible=False)
    told, png, picture, archive = gr.JSON(visible=False), *(gr.File(visible=False) for _ in range(3))

    def collections() -> list[dict[str, Any]]:
        """The collections of annotated photos that are here.

        Returns:
            A list of {collection, title, classes, photos, labelled}.
        """
        return [_about(found) for found in services.store.collections()]

    def collection_create(title: str, classes: str = "voc") -> dict[str, Any]:
        """Make a collection.

        Args:
            title: what people call it.
            classes: voc or pets, or own names with commas between; a background is added where none is named.

        Returns:
            As in /collections.
        """
        return _about(services.store.create(title, _label_set(title, classes)))

    def collection_photos(collection: str, page: int = 1) -> dict[str, Any]:
        """The photos of a collection, oldest first, a hundred at a time.

        Args:
            collection: its name, as /collections has it.
            page: which hundred, from 1.

        Returns:
            {photos: [{photo, name, width, height, revision, subset}], total, page, pages}; revision 0 is no mask.
        """
        found = services.store.open(collection).photos(sort="source", page=int(page or 1), per_page=PER_PAGE)
        photos = [_told(photo) for photo in found.photos]
        return {"photos": photos, "total": found.total, "page": found.page, "pages": found.pages}

    def photo_add(collection: str, image: str, name: str = "") -> dict[str, Any]:
        """Add a photo to a collection; one that is there already is not added twice.

        Args:
            collection: its name.
            image: the photo.
            name: what it is called; left out, as its file.

        Returns:
            As in /collection_photos.
        """
        if not image:
            raise IntakeError("There is no photo: send one as `image`.")
        opened = services.store.open(collection)
        return _told(opened.photo(opened.add_photo(image, name or Path(image).name, services.limits)))

    def mask_read(collection: str, photo: str, revision: int | None = None) -> tuple[str, dict[str, Any]]:
        """The mask of a photo.

        Args:
            collection: its name.
            photo: the photo's id.
            revision: an older one; left out, the newest.

        Returns:
            A palettized PNG of class ids, 255 for void, and {photo, name, width, height, revision, subset}.
        """
        opened = services.store.open(collection)
        found = opened.photo(photo)
        data = opened.mask_png(photo, None if revision is None else int(revision))
        if data is None:
            raise NotFoundError(f"{found.source} has no mask yet: write one with /mask_write.")
        return cached(data, f"{photo}.png"), _told(found)

    def sent(collection: str, photo: str, mask: str) -> tuple[Collection, UInt8]:
        """A collection, and the label map of a photo of it that was sent as a PNG. Raises UserError."""
        if not mask:
            raise label_maps.MaskError("There is no mask: send a PNG as `mask`.")
        opened = services.store.open(collection)
        found = opened.photo(photo)
        size = found.height, found.width
        return opened, label_maps.decode_png(mask, opened.label_set, size, services.limits)

    def mask_write(
        collection: str,
        photo: str,
        mask: str,
        revision: int = 0,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Keep a new mask of a photo; the old ones are kept, too.

        Args:
            collection: its name.
            photo: the photo's id.
            mask: a PNG of the photo's size: palettized or grey with class ids, or in the classes' exact colours.
            revision: the one it was made from, 0 for none. If somebody has saved another one since, yours is kept
                beside it, and the error says as which.

        Returns:
            As in /collection_photos.
        """
        opened, label_map = sent(collection, photo, mask)
        opened.save(photo, label_map, int(revision or 0), author=person(request.request))
        return _told(opened.photo(photo))

    def next_photo(collection: str) -> tuple[str, dict[str, Any]]:
        """The photo of a collection to label next: the oldest that has neither a mask nor a proposal of one.

        Args:
            collection: its name, as /collections has it.

        Returns:
            The photo, and {photo, name, width, height, revision, subset, classes}: classes are the names that class ids
            0, 1, ... of its mask mean.
        """
        opened = services.store.open(collection)
        waiting = opened.photos(annotated=False, sort="created", per_page=1_000_000).photos[::-1]
        for found in waiting:
            if not any(revision.meta.get("proposed") for revision in found.revisions):
                path = opened.image_path(found.id)
                about = {**_told(found), "classes": list(opened.label_set.classes)}
                return str(linked(path, path.name)), about
        raise NotFoundError("Every photo of this collection has a mask, or a proposal of one.")

    def propose_mask(
        collection: str,
        photo: str,
        mask: str,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Propose a mask of a photo. It is a draft: it counts once a person opens the photo and restores it.

        Args:
            collection: its name.
            photo: the photo's id, as /next_photo has it.
            mask: a PNG of the photo's size: palettized or grey with class ids, 255 where it is not known.

        Returns:
            {photo, name, width, height, revision, subset, proposed}: proposed is the number the draft is kept under;
            revision, that of the photo's mask, stays.
        """
        opened, label_map = sent(collection, photo, mask)
        number = opened.propose(photo, label_map, person(request.request))
        return {**_told(opened.photo(photo)), "proposed": number}

    def collection_export(collection: str, formats: str = "voc,coco") -> str:
        """All annotated photos of a collection.

        Args:
            collection: its name.
            formats: with commas between: voc, coco, panoptic, yolo, labelme, overlay.

        Returns:
            A ZIP.
        """
        opened = services.store.open(collection)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{opened.name}.zip")
            export_zip(opened.annotations(), path, listed(formats), services.limits)
            opened.keep("exported")
            return str(linked(path, path.name))

    add(call, collections, [], told, tool=True)
    add(call, collection_create, [title, classes], told)
    add(call, collection_photos, [collection, page], told)
    add(call, photo_add, [collection, image, name], told)
    add(call, mask_read, [collection, photo, revision], [png, told])
    add(call, mask_write, [collection, photo, mask, base], told)
    add(call, next_photo, [collection], [picture, told], tool=True)
    add(call, propose_mask, [collection, photo, mask], told, tool=True)
    add(call, collection_export, [collection, formats], archive, group="export", limit=1, tool=True)


def _about(collection: Collection) -> dict[str, Any]:
    return {
        "collection": collection.name,
        "title": collection.title,
        "classes": list(collection.label_set.classes),
        "photos": collection.photos(per_page=1).total,
        "labelled": collection.photos(annotated=True, per_page=1).total,
    }


def _told(photo: Photo) -> dict[str, Any]:
    return {
        "photo": photo.id,
        "name": photo.source,
        "width": photo.width,
        "height": photo.height,
        "revision": photo.revision,
        "subset": photo.split,
    }


def _label_set(title: str, classes: str) -> LabelSet:
    """Raises StoreError, ExchangeError."""
    if classes in LABEL_SETS:
        return LABEL_SETS[classes]
    names = listed(classes)
    if not names:
        raise StoreError("Name the classes: voc, pets, or your own with commas between.")
    return make_label_set(names, clean_title(title))
