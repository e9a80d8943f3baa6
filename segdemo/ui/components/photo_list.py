"""The list of a collection's photos: thumbnails to choose from, one page at a time."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from segdemo.annotations import drafts
from segdemo.annotations.collection import Collection, Page
from segdemo.annotations.drafts import Draft
from segdemo.core.conventions import number_of
from segdemo.core.display import display_colors
from segdemo.core.files import NotFoundError
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import LabelSet
from segdemo.core.photos import IntakeError
from segdemo.ui.components.bundle import component_script
from segdemo.ui.markup import html, join
from segdemo.ui.served import served

PER_PAGE = 40
ANY_CLASS = -1
MOST_FOUND = 8  # classes told beside the progress
UNSURE = "unsure"  # an order that ``Collection.photos`` takes as ranks
# What the filter offers: value to (text, annotated, deleted) of ``Collection.photos``.
WHICH = {
    "all": ("All photos", None, False),
    "open": ("Still to label", False, False),
    "done": ("Labelled", True, False),
    "draft": ("Drafts", False, False),
    "trash": ("In the trash", None, True),
}
SORTS = [
    ("Newest first", "created"),
    ("Last changed first", "updated"),
    ("By name", "source"),
    ("Least sure first", UNSURE),
]


def photo_list(**kwargs: Any) -> gr.HTML:
    """The component. Its value is what ``listing`` returns; its event ``pick`` carries the photo's ``id``."""
    here = Path(__file__)
    return gr.HTML(
        None,
        html_template='<section class="sp" aria-label="Photos"></section>',
        css_template=here.with_suffix(".css").read_text("utf-8"),
        js_on_load=component_script(here.with_suffix(".js")),
        apply_default_css=False,
        **kwargs,
    )


def listing(
    collection: Collection, page: Page, current: str | None = None, made: Mapping[str, Draft] | None = None
) -> dict[str, Any]:
    """The component's value.

    Args:
        collection: whose photos they are.
        page: of its photos.
        current: id of the photo that is open, or None.
        made: the collection's drafts by the photo's id.
    """
    made = made or {}
    photos = [
        {
            "id": photo.id,
            "name": photo.source,
            "labelled": bool(photo.revision),
            "draft": f"{100 * made[photo.id].sure:.0f} %" if photo.id in made else None,
            "thumbnail": _thumbnail(collection, photo.id, made.get(photo.id)),
        }
        for photo in page.photos
    ]
    return {"photos": photos, "current": current, "empty": "No photo fits: add some, or look for others."}


def summary(page: Page) -> str:
    """Which part of how many photos is shown."""
    photos = number_of(page.total, "photo")
    return f"{photos} · page {page.page} of {page.pages}" if page.pages > 1 else photos


def progress(collection: Collection) -> Markup:
    """How many photos of a collection are labelled, and in how many each class is: the most first, all on demand."""
    photos = collection.photos(per_page=1_000_000).photos
    if not photos:
        return html("")
    done = [photo for photo in photos if photo.revision]
    seen = Counter(i for photo in done for i in photo.classes)
    label_set = collection.label_set
    named = zip(label_set.classes, display_colors(label_set), strict=True)
    rows = [(seen[i], *row) for i, row in enumerate(named) if i != label_set.background]
    rows.sort(key=lambda row: -row[0])
    swatch = '<i style="background:#{:02x}{:02x}{:02x}"></i>'
    found = join(
        html(f'<span dir="auto">{swatch}{{}} {{}}</span>', *color, name, count)
        for count, name, color in rows[:MOST_FOUND]
        if count
    )
    every = join(
        html(
            f'<li><span dir="auto">{swatch}{{}}</span><meter value="{{}}" max="{{}}"></meter><b>{{}}</b></li>',
            *(*color, name, count, max(1, len(done)), count),
        )
        for count, name, color in rows
    )
    return html(
        '<details class="segdemo-counts"><summary><span><b>{0} of {1}</b> labelled '
        '<progress value="{0}" max="{1}" aria-label="Labelled"></progress></span><span>{2}</span></summary>'
        '<div tabindex="0"><p>Labelled photos with each class</p><ul>{3}</ul></div></details>',
        *(len(done), len(photos), found, every),
    )


def class_choices(label_set: LabelSet) -> list[tuple[str, int]]:
    """Choices of the class filter."""
    return [("any class", ANY_CLASS), *((name, i) for i, name in enumerate(label_set.classes))]


def _thumbnail(collection: Collection, id_: str, draft: Draft | None) -> dict[str, Any] | None:
    shown = (draft.png[:8], partial(drafts.load, collection, id_, draft)) if draft else None
    try:
        path = collection.thumbnail(id_, draft=shown)
    except (IntakeError, MaskError, NotFoundError):
        return None  # a damaged file must not take the list with it
    return served(path)
