"""The HTTP API: ``/segment`` and ``/models``, for ``gradio_client`` and curl."""

import gradio as gr

from segdemo import zoo
from segdemo.core import label_maps, settings
from segdemo.core.files import DiskError
from segdemo.core.photos import IntakeError
from segdemo.inference.predict import DamagedModelError
from segdemo.ui.inputs import photo_input
from segdemo.ui.queueing import PREDICT
from segdemo.ui.served import cached


def build(services):
    """Add the endpoints to the Blocks being built; their components are not shown."""
    image = photo_input(visible=False)
    model = gr.Textbox(visible=False)
    call = gr.Button(visible=False)  # an endpoint hangs on an event
    label_map, facts, models = gr.File(visible=False), gr.JSON(visible=False), gr.JSON(visible=False)

    def segment(image: str, model: str):
        """Segment a photo.

        Args:
            image: the photo.
            model: name of a served model, see /models.

        Returns:
            The label map, a palettized PNG of the photo's size, and what is in it.
        """
        try:
            if not image:
                raise IntakeError("There is no photo: send one as `image`.")
            entry = zoo.served_model(model)
            photo = services.photos.read(image)
            prediction = services.predict(model, photo)
            path = cached(label_maps.encode_png(prediction.label_map, entry.label_set), "label_map.png")
        except (IntakeError, zoo.UnknownModelError, DamagedModelError, DiskError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        return path, {
            "model": model,
            "label_set": entry.label_set.name,
            "width": photo.shape[1],
            "height": photo.shape[0],
            "milliseconds": round(prediction.milliseconds, 1),
            "classes": label_maps.class_table(prediction.label_map, entry.label_set),
        }

    call.click(
        segment,
        [image, model],
        [label_map, facts],
        api_name="segment",
        concurrency_limit=settings.read("SEGDEMO_PREDICTIONS"),
        concurrency_id=PREDICT,
    )
    call.click(
        lambda: [entry.to_json() for entry in zoo.served_models().values()],
        None,
        models,
        api_name="models",
        queue=False,
    )
