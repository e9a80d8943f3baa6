"""Input components that hand over what the visitor gave, untouched."""

import gradio as gr
from gradio import processing_utils


class PhotoInput(gr.Image):
    """``gr.Image`` that returns the path of the raw file: upload, drop, paste or webcam.

    Gradio opens and converts the file itself, and answers one it cannot open with an internal error; here
    ``segdemo.intake`` is the only one to look into it. Use it with ``type="filepath"``.
    """

    is_template = True  # in the browser it is an ordinary image component

    def preprocess(self, payload):
        """FileData or data URL to a path, or None."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            return processing_utils.save_base64_to_cache(payload.url, self.GRADIO_CACHE)
        return payload.path
