"""What the tabs share: inputs that hand over what the visitor gave, untouched, and answers in a sentence."""

import base64
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from markupsafe import Markup

from segdemo.errors import UserError
from segdemo.ui import visitors
from segdemo.ui.markup import html, join, panel
from segdemo.ui.overriding import overriding
from segdemo.ui.photos import BuiltInPhoto, built_in_thumbnail
from segdemo.ui.served import cached
from segdemo.ui.uploads import kept_data_url

Menu = TypeVar("Menu", gr.Radio, gr.Dropdown, gr.HTML)
NOT_UPLOADED = "This file was not uploaded here: choose it again."
_numbers = itertools.count(1)
_CLOSE = Markup('<button type="button" class="segdemo-close" aria-label="Close" title="Close"></button>')


def notice(*sentences: object, alert: bool = False) -> dict[str, Any]:
    """The update of a ``gr.HTML`` that shows it with plain sentences, one a line, and a button that closes it.

    In a ``notice_board`` one sentence that is no alert leaves by itself.

    Args:
        *sentences: as text; they are escaped here.
        alert: whether a screen reader interrupts to read them.
    """
    told = html('<p role="{}">{}</p>', "alert" if alert else "status", join(sentences, "<br>"))
    passing = " segdemo-passing" if len(sentences) == 1 and not alert else ""
    # The number makes a sentence that is told once more another one, which is shown though the first was closed.
    template = '<div class="segdemo-notice{}" data-number="{}">{}{}</div>'
    return gr.update(value=html(template, passing, next(_numbers), told, _CLOSE), visible=True)


def notice_board(elem_id: str, **kwargs: Any) -> gr.HTML:
    """Where a ``notice`` is shown, over the page. Hidden at first.

    Args:
        elem_id: of the component.
        **kwargs: of ``gr.HTML``.
    """
    return panel(visible=False, elem_classes="segdemo-said segdemo-toast", elem_id=elem_id, **kwargs)


def button(text: str, elem_id: str | None = None, **kwargs: Any) -> gr.Button:
    """A small button; ``kwargs`` are those of ``gr.Button``."""
    return gr.Button(text, size="sm", elem_id=elem_id, **kwargs)


def upload(label: str, elem_id: str, **kwargs: Any) -> gr.File:
    """A place to drop files, that takes nothing but files that a browser uploaded here.

    Gradio checks the paths that come from a browser only where the browser says that they are files
    (``meta._type``), so any path of this machine could be named. What was not uploaded is answered alike, whether it
    is there or not.

    Args:
        label, elem_id: of the component, a ``gr.File``.
        **kwargs: further ones.
    """
    component = gr.File(
        label=label, elem_id=elem_id, **{"height": 132, "elem_classes": "segdemo-drop", **kwargs}
    )
    return overriding(component, preprocess=_uploaded_files)


def _uploaded_files(component: gr.File, payload: Any) -> Any:
    for file in getattr(payload, "root", None) or [payload]:
        _refuse_unless_uploaded(file, component)
    return gr.File.preprocess(component, payload)


def _refuse_unless_uploaded(file: Any, component: gr.File | gr.Image) -> None:
    if file is None:
        return
    try:
        uploaded = Path(file.path or "").resolve().is_relative_to(Path(component.GRADIO_CACHE).resolve())
    except (OSError, RuntimeError, ValueError):  # too long a name, a circle of links, a zero character
        uploaded = False
    if not uploaded or not visitors.is_mine(file.path):
        raise gr.Error(NOT_UPLOADED, print_exception=False)


def photo_input(**kwargs: Any) -> gr.Image:
    """A ``gr.Image`` that gives the path of the raw file: upload, drop, paste or webcam.

    Gradio opens and converts the file itself, and answers one it cannot open with an internal error; here
    ``segdemo.core.photos`` is the only one to look into it.

    Args:
        **kwargs: of ``gr.Image``.
    """
    return overriding(gr.Image(type="filepath", image_mode=None, **kwargs), preprocess=_raw_file)


def _raw_file(component: gr.Image, payload: Any) -> str | None:
    """FileData or data URL to a path, or None."""
    if payload is None:
        return None
    if payload.url and payload.url.startswith("data:"):
        try:
            return kept_data_url(payload.url, gr.context.LocalContext.blocks.get())
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
    _refuse_unless_uploaded(payload, component)
    return str(payload.path)


def frame_input(**kwargs: Any) -> gr.Image:
    """A webcam that streams: gives the bytes of each frame, which are not kept on the disk, as those of photos are.

    Args:
        **kwargs: of ``gr.Image``.
    """
    component = gr.Image(type="filepath", image_mode=None, sources=["webcam"], streaming=True, **kwargs)
    return overriding(component, preprocess=_raw_frame)


def _raw_frame(component: gr.Image, payload: Any) -> bytes | str | None:
    """FileData to a path, or data URL to bytes, or None."""
    kind, comma, encoded = (getattr(payload, "url", None) or "").partition(",")
    if not (kind.startswith("data:") and comma):
        return _raw_file(component, payload)
    try:
        return base64.b64decode(encoded)
    except ValueError:
        raise gr.Error("This frame came damaged: start the webcam again.", print_exception=False) from None


def unchecked(menu: Menu) -> Menu:
    """A menu whose choices change while pages are open; whoever uses its value looks it up anyway.

    Gradio refuses a value that is not among the choices it remembers, which are those of the start after the
    server was started again. What no menu can hold becomes None.
    """
    return overriding(menu, preprocess=_any_choice)


def _any_choice(menu: Menu, payload: Any) -> str | int | None:
    return payload if isinstance(payload, str | int) else None


def samples(photos: Mapping[BuiltInPhoto, Path]) -> list[list[str]]:
    """Built-in photos as the samples of a ``gr.Dataset``: paths of their thumbnails in Gradio's cache."""
    return [[cached(built_in_thumbnail(path), f"{photo.name}.jpg")] for photo, path in photos.items()]


def photo_picker(
    photos_offered: Mapping[BuiltInPhoto, Path], prefix: str = ""
) -> tuple[gr.Dataset, gr.Image]:
    """The built-in photos as thumbnails, and beside them a place for one's own.

    Args:
        photos_offered: of ``photos.built_in_paths``.
        prefix: of the elements' ids ``photos`` and ``photo-input``.

    Returns:
        The thumbnails (their value is the index of the one clicked) and the ``photo_input``.
    """
    photos = gr.Dataset(
        components=[gr.Image(visible=False)],
        samples=samples(photos_offered),
        type="index",
        label="Photos",
        elem_classes="segdemo-photos",
        elem_id=f"{prefix}photos",
    )
    own_photo = photo_input(
        label="Your photo",
        show_label=False,
        placeholder="Your own photo",
        sources=["upload", "webcam", "clipboard"],
        height=100,
        elem_id=f"{prefix}photo-input",
        elem_classes="segdemo-takes-photos",
    )
    return photos, own_photo
