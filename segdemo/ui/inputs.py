"""What the tabs share: inputs that hand over what the visitor gave, untouched, and answers in a sentence."""

import html

import gradio as gr
from gradio import processing_utils

from segdemo.ui.photos import built_in_paths


def notice(*sentences, alert=False):
    """The update of a ``gr.HTML`` that shows it with plain sentences, one a line.

    Args:
        *sentences: as text; they are escaped here.
        alert: whether a screen reader interrupts to read them.
    """
    text = "<br>".join(html.escape(sentence) for sentence in sentences)
    role = "alert" if alert else "status"
    return gr.update(value=f'<p role="{role}">{text}</p>', visible=True)


def photo_input(**kwargs):
    """A ``gr.Image`` that gives the path of the raw file: upload, drop, paste or webcam.

    Gradio opens and converts the file itself, and answers one it cannot open with an internal error; here
    ``segdemo.intake`` is the only one to look into it. The instance is changed rather than a subclass made, since
    Gradio writes a stub file next to the code of every subclass of a component.

    Args:
        **kwargs: of ``gr.Image``.
    """
    component = gr.Image(type="filepath", image_mode=None, **kwargs)

    def raw_file(payload):
        """FileData or data URL to a path, or None."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            return processing_utils.save_base64_to_cache(payload.url, component.GRADIO_CACHE)
        return payload.path

    component.preprocess = raw_file
    return component


def unchecked(menu):
    """A Radio or Dropdown whose choices change while pages are open; whoever uses its value looks it up anyway.

    Gradio refuses a value that is not among the choices it remembers, which are those of the start after the
    server was started again.
    """
    menu.preprocess = lambda value: value
    return menu


def photo_picker(prefix=""):
    """The built-in photos as thumbnails, and below them a place for one's own.

    Args:
        prefix: of the elements' ids ``photos`` and ``photo-input``.

    Returns:
        ``built_in_paths()``, the thumbnails (their value is the index of the one clicked) and the ``photo_input``.
    """
    built_in = built_in_paths()
    photos = gr.Dataset(
        components=[gr.Image(visible=False)],
        samples=[[str(path)] for path in built_in.values()],
        type="index",
        label="Photos",
        elem_classes="segdemo-photos",
        elem_id=f"{prefix}photos",
    )
    own_photo = photo_input(
        label="Your photo: drop, paste, pick or take one",
        sources=["upload", "webcam", "clipboard"],
        height=170,
        elem_id=f"{prefix}photo-input",
    )
    return built_in, photos, own_photo
