"""Input components that hand over what the visitor gave, untouched."""

import gradio as gr
from gradio import processing_utils


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
