"""The HTTP API: ``/segment`` and ``/models``, for ``gradio_client`` and curl."""

from typing import Any

import gradio as gr

from segdemo import zoo
from segdemo.core import label_maps, settings
from segdemo.core.photos import IntakeError
from segdemo.ui.events import endpoint
from segdemo.ui.inputs import photo_input
from segdemo.ui.queueing import PREDICT
from segdemo.ui.served import cached
from segdemo.ui.services import Services


def build(services: Services) -> None:
    """Add the endpoints to the Blocks being built; their components are not shown."""
    image = photo_input(visible=False)
    model = gr.Textbox(visible=False)
    call = gr.Button(visible=False)  # an endpoint hangs on an event
    label_map, facts, models = gr.File(visible=False), gr.JSON(visible=False), gr.JSON(visible=False)

    def segment(image: str, model: str) -> tuple[str, dict[str, Any]]:
        """Segment a photo.

        Args:
            image: the photo.
            model: name of a served model, see /models.

        Returns:
            The label map, a palettized PNG of the photo's size, and what is in it.
        """
        if not image:
            raise IntakeError("There is no photo: send one as `image`.")
        entry = zoo.served_model(model)
        photo = services.photos.read(image)
        prediction = services.predict(model, photo)
        return cached(label_maps.encode_png(prediction.label_map, entry.label_set), "label_map.png"), {
            "model": model,
            "label_set": entry.label_set.name,
            "width": photo.shape[1],
            "height": photo.shape[0],
            "milliseconds": round(prediction.milliseconds, 1),
            "classes": label_maps.class_table(prediction.label_map, entry.label_set),
        }

    def list_models() -> list[dict[str, Any]]:
        return [entry.to_json() for entry in zoo.served_models().values()]

    call.click(
        endpoint(segment),
        [image, model],
        [label_map, facts],
        api_name="segment",
        concurrency_limit=settings.read("SEGDEMO_PREDICTIONS"),
        concurrency_id=PREDICT,
    )
    call.click(endpoint(list_models), None, models, api_name="models", queue=False)
