"""The HTTP API, for ``gradio_client`` and curl: ``/segment``, ``/click``, ``/models``, and those of ``endpoints``."""

from typing import Any

import gradio as gr
import numpy as np

from segdemo import zoo
from segdemo.core import label_maps, settings
from segdemo.core.clicks import extent, read_box, read_clicks
from segdemo.core.photos import IntakeError, encode_png
from segdemo.ui.arguments import json_text
from segdemo.ui.endpoints import batches, collections, runs, tokens, videos
from segdemo.ui.events import endpoint
from segdemo.ui.inputs import photo_input
from segdemo.ui.queueing import PREDICT
from segdemo.ui.served import cached
from segdemo.ui.services import Services


def build(services: Services) -> None:
    """Add the endpoints to the Blocks being built; their components are not shown."""
    image = photo_input(visible=False)
    model = gr.Textbox(visible=False)
    clicks, mask, box = json_text(visible=False), photo_input(visible=False), json_text(visible=False)
    call = gr.Button(visible=False)  # an endpoint hangs on an event
    label_map, facts, models = gr.File(visible=False), gr.JSON(visible=False), gr.JSON(visible=False)
    selected, told = gr.File(visible=False), gr.JSON(visible=False)

    def segment(image: str, model: str) -> tuple[str, dict[str, Any]]:
        """Segment a photo.

        Args:
            image: the photo.
            model: name of a served model, see /models.

        Returns:
            The label map, a palettized PNG of the photo's size, and what is in it. `out_of_domain` tells whether the
            photo probably shows nothing the model knows, null if the model cannot say.
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
            "out_of_domain": prediction.out_of_domain,
            "classes": label_maps.class_table(prediction.label_map, entry.label_set),
        }

    def click(
        image: str, clicks: str | None = None, mask: str | None = None, box: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Select the thing that is clicked on, or correct a mask of it.

        Args:
            image: the photo.
            clicks: JSON such as [[120, 80, 1], [30, 40, 0]] in the order made: x and y in pixels of the photo, then 1
                for what belongs to the thing or 0 for what does not.
            mask: a PNG of the photo's size to correct, 255 inside and 0 outside; left out, there is none yet.
            box: JSON such as [20, 30, 180, 220] around the thing: left, top, right, bottom. It may stand for clicks.

        Returns:
            The mask, a grey PNG of the photo's size, 255 inside and 0 outside; and the milliseconds it took, with the
            box of the pixels that changed, or null.
        """
        if not image:
            raise IntakeError("There is no photo: send one as `image`.")
        size = services.photos.read(image).shape[:2]
        before = label_maps.decode_mask(mask, size, services.limits) if mask else np.zeros(size, bool)
        selection = services.clicks.select(image, read_clicks(clicks), before, read_box(box))
        inside = np.where(selection.mask, np.uint8(255), np.uint8(0))
        return cached(encode_png(inside), "mask.png"), {
            "milliseconds": round(selection.milliseconds, 1),
            "changed": extent(selection.mask != before),
        }

    def list_models() -> list[dict[str, Any]]:
        """The models that can segment photos.

        Returns:
            A list of {name, title, architecture, label_set, classes, long_side, bytes} and more, such as metrics.
        """
        return [entry.to_json() for entry in zoo.served_models().values()]

    call.click(
        endpoint(segment),
        [image, model],
        [label_map, facts],
        api_name="segment",
        concurrency_limit=settings.read("SEGDEMO_PREDICTIONS"),
        concurrency_id=PREDICT,
    )
    call.click(
        endpoint(click),
        [image, clicks, mask, box],
        [selected, told],
        api_name="click",
        concurrency_limit=settings.read("SEGDEMO_PREDICTIONS"),
        concurrency_id=PREDICT,
    )
    call.click(endpoint(list_models), None, models, api_name="models", queue=False)
    for part in (batches, collections, runs, videos, tokens):
        part.build(services, call)
