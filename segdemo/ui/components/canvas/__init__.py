"""The mask canvas: a Gradio component that shows a photo with its label maps and lets a person correct them.

The component is plain JavaScript hosted by ``gr.HTML``. Python sends a photo and label-map PNGs once
(``payload``); everything a person does happens in the browser; a label-map PNG comes back by ``on_save``.
"""

import base64
import binascii
import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.display import display_colors
from segdemo.core.labels import VOID_COLOR, LabelSet
from segdemo.core.photos import encode_png
from segdemo.errors import UserError
from segdemo.ui.components.bundle import component_script
from segdemo.ui.served import served, served_bytes
from segdemo.ui.visitors import entering

_FOLDER = Path(__file__).parent
_HTML = '<section class="sc" aria-label="Mask canvas"></section>'
Layer = np.ndarray | bytes | str | Path | None  # a map, or its PNG, or the path of that
MAX_PNG_BYTES = 128 * 2**20  # of a mask sent by a browser: an incompressible 8000 x 6000 map is 48 MB
_UNREADABLE = "The mask arrived damaged: try again."


def mask_canvas(
    value: Any = None,
    *,
    on_save: Callable[..., dict[str, Any]] | None = None,
    on_import: Callable[..., bytes] | None = None,
    on_select: Callable[..., dict[str, Any]] | None = None,
    on_features: Callable[..., dict[str, Any]] | None = None,
    on_strokes: Callable[..., dict[str, Any]] | None = None,
    **kwargs: Any,
) -> gr.HTML:
    """The component. Give it what ``payload`` returns, as its value or as the output of an event.

    Args:
        value: a ``payload`` dict, a function that returns one, or None for an empty canvas.
        on_save: ``(key, png_bytes, base_revision) -> dict`` called when a mask is saved. The answer is
            ``{"revision": r}`` (and optionally ``"message"``), or, if somebody saved after ``base_revision``,
            ``{"conflict": sentence, "revision": newest}``. A ``ValueError`` is shown as its sentence. The
            bytes come from a browser and are not checked here. Further parameters get more, if there are any:
            ``sitting``, a text for the time in which the page has the photo open, ``auto``, whether the page saves by
            itself, and one annotated ``gr.Request`` the request. None: no save button.
        on_import: ``(key, file_bytes, width, height, label_set_json) -> png_bytes``, the label map in a mask
            file a person chose, or ``ValueError`` with the sentence to show. None: no import entry.
        on_select: ``(data) -> dict`` called while a person selects a thing, with what the browser sends, unchecked:
            ``{"key": str, "clicks": [[x, y, 1 or 0], ...], "box": [x0, y0, x1, y1] or None, "mask": base64 of a
            grey PNG that spans the photo, at most 1024 pixels long, or None, "preview": bool, "prepare": bool}``. The
            answer is ``{"box": [x0, y0, x1, y1], "probabilities": base64 of a grey PNG that spans the box,
            "changed": the same of 0 and 255, where the mask becomes that of the probabilities, "milliseconds"}``,
            ``{"ready": True}`` where the photo was to be prepared only, ``{"busy": True}`` for a preview that would
            have to wait, or ``{"error": sentence}``. None: superpixels are selected, without the server.
        on_features: ``(data) -> dict`` called once a photo when a person teaches classes by painting, with
            ``{"key": str}``, unchecked. The answer is ``{"rows", "columns", "channels", "steps": list of float,
            "features": sha256 of the graph, "data": bytes (rows, columns, channels), "guide": RGB bytes (rows, columns,
            3)}``, bytes in zlib's format and base64 (see ``docs/teach.md``), or ``{"error": sentence}``. None: no such
            tool.
        on_strokes: ``(key, png_bytes, base) -> dict`` called with the strokes on a photo when some were painted, and
            with None instead of the bytes when they are wanted. The answer is ``{"version": str}``, of what is kept
            now; with ``"png"``, its bytes or None, where the strokes were wanted; and with ``"conflict": True`` as
            well where others were saved after ``base``, the version that these were made from. None: strokes are kept
            in the browser only.
        **kwargs: passed to ``gr.HTML`` (``elem_id``, ``visible``, ...).

    Returns:
        gr.HTML: with the events ``ready``, ``edit``, ``saved``, ``reload``, ``next``, ``previous`` and ``correct``. A
        listener that takes a ``gr.EventData`` argument reads ``.key``; after ``saved`` also ``.revision``, and
        ``.open``, the key of what is shown by then; after ``next`` ``.saving``, whether the mask is on its way to
        ``on_save``, and ``.shown``, key and revision of the photo that ``ahead`` had brought and that is shown
        already, or None. ``reload``, ``next`` and ``previous`` ask the page for the photo's newest revision and for
        other photos. A value from before the last save (an answer that was on its way) is not shown: ``reload`` comes
        instead.
    """
    functions = []
    if on_save is not None:
        functions.append(_save_function(on_save))
    if on_import is not None:
        functions.append(_import_function(on_import))
    if on_select is not None:
        functions.append(_select_function(on_select))
    if on_features is not None:
        functions.append(_answer_function("teach_features", on_features))
    if on_strokes is not None:
        functions.append(_strokes_function(on_strokes))
    return gr.HTML(
        value,
        html_template=_HTML,
        css_template=(_FOLDER / "canvas.css").read_text("utf-8"),
        js_on_load=component_script(_FOLDER / "canvas.js"),
        apply_default_css=False,
        server_functions=functions,
        **kwargs,
    )


def ahead(**kwargs: Any) -> gr.HTML:
    """A component that shows nothing: its value is the ``payload`` that the canvas will probably show next, or None.

    A canvas with a button for the next photo loads it while nobody waits, and shows it when that is pressed.
    """
    script = component_script(_FOLDER / "ahead.js")
    hidden = "<span hidden></span>"
    return gr.HTML(
        None, html_template=hidden, js_on_load=script, apply_default_css=False, padding=False, **kwargs
    )


def payload(
    key: str,
    image: np.ndarray | Image.Image | str | Path,
    label_set: LabelSet,
    *,
    prediction: Layer = None,
    truth: Layer = None,
    yours: Layer = None,
    confidence: Layer = None,
    uncertainty: Layer = None,
    mode: str = "view",
    message: str | None = None,
    warning: str | None = None,
    uncertainty_note: str | None = None,
    revision: Any = None,
    name: str = "photo",
    sync: str | None = None,
    next_photo: bool = False,
    autosave: bool = False,
    correctable: bool = False,
    look_at: tuple[int, int, int, int] | None = None,
) -> dict[str, Any]:
    """What the canvas shows, as the dict that is its value.

    Args:
        key: str that identifies photo and origin; unsaved work is kept in the browser under it.
        image: uint8 (H, W, 3) RGB, a PIL image, or the path of an upright file that browsers can show.
        label_set: a ``segdemo.core.labels.LabelSet``.
        prediction: label map, uint8 (H, W) of the image's size, or the bytes or path of its PNG, or None.
        truth: the true label map, likewise.
        yours: the person's own saved mask, likewise; in edit mode None starts from the prediction.
        confidence: (h, w) of any size spanning the photo, float 0..1 or uint8 0..255; the largest softmax
            probability per pixel; or PNG bytes or path (8-bit grey); or None.
        uncertainty: entropy divided by the logarithm of the number of classes, or what ``uncertainty_note``
            says, likewise.
        mode: ``"view"`` or ``"edit"``.
        message: sentence shown over the photo when it holds nothing but background; None for a standard one,
            "" for none.
        warning: sentence shown over the photo whatever its label map holds, or None.
        uncertainty_note: sentence that says what the uncertainty is; None for the entropy.
        revision: of ``yours``, handed back to ``on_save``; any JSON value.
        name: stem of downloaded files.
        sync: canvases with the same name show the same part of the photo; None for an independent one.
        next_photo: whether to offer the buttons for the next and the previous photo; where none is edited, their keys.
        autosave: whether the page saves by itself, when nothing is changed for a while and when the photo is left.
        correctable: whether to offer a button whose press is the event ``correct``.
        look_at: the part of the photo that comes into sight, left, top, right, bottom in pixels; None for all of it.

    Raises:
        ValueError: a map whose size is not the image's or with ids outside the label set, or an unknown mode.
    """
    if mode not in ("view", "edit"):
        raise ValueError(f'The mode is "view" or "edit", not {mode!r}.')
    file, width, height = _image_file(image, name)
    maps = {"prediction": prediction, "truth": truth, "yours": yours}
    return {
        "key": key,
        "image": file,
        "width": width,
        "height": height,
        "layers": {
            layer: _label_file(data, layer, (height, width), label_set) for layer, data in maps.items()
        },
        "confidence": _grey_file(confidence, "confidence"),
        "uncertainty": _grey_file(uncertainty, "uncertainty"),
        "labels": {
            **label_set.to_json(),
            "shown": [list(color) for color in display_colors(label_set)],
            "palette": bytes(label_set.palette()).hex(),
            "void_color": list(VOID_COLOR),
        },
        "mode": mode,
        "message": message,
        "warning": warning,
        "uncertainty_note": uncertainty_note,
        "revision": revision,
        "name": name,
        "sync": sync,
        "next_photo": next_photo,
        "autosave": autosave,
        "correctable": correctable,
        "look_at": list(look_at) if look_at else None,
    }


def _image_file(image: np.ndarray | Image.Image | str | Path, name: str) -> tuple[dict[str, Any], int, int]:
    if isinstance(image, str | Path):
        with Image.open(image) as opened:
            turned = opened.getexif().get(0x0112, 1) >= 5  # stored on its side; browsers turn it upright
            size = opened.size[::-1] if turned else opened.size
        return served(image), *size
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image, np.uint8))
    buffer = io.BytesIO()
    if max(picture.size) <= 256:  # too small to gain anything, and every pixel will be looked at
        picture.convert("RGB").save(buffer, "PNG")
        suffix = "png"
    else:
        picture.convert("RGB").save(buffer, "JPEG", quality=92)
        suffix = "jpg"
    return served_bytes(buffer.getvalue(), f"{name}.{suffix}"), *picture.size


def _label_file(
    data: Layer, layer: str, shape: tuple[int, int], label_set: LabelSet
) -> dict[str, Any] | None:
    if data is None:
        return None
    if isinstance(data, bytes):
        return served_bytes(data, f"{layer}.png")
    if isinstance(data, str | Path):
        return served(data)
    if data.shape != shape:
        raise UserError(f"The {layer} is {data.shape} but the photo needs a label map of {shape}.")
    return served_bytes(label_maps.encode_png(data, label_set), f"{layer}.png")


def _grey_file(data: Layer, kind: str) -> dict[str, Any] | None:
    if data is None:
        return None
    if isinstance(data, bytes):
        return served_bytes(data, f"{kind}.png")
    if isinstance(data, str | Path):
        return served(data)
    is_grey = data.dtype == np.uint8
    grey = data if is_grey else np.rint(np.clip(np.nan_to_num(data), 0, 1) * 255).astype(np.uint8)
    return served_bytes(encode_png(grey), f"{kind}.png")


def _decode(text: str) -> bytes:
    if len(text) > MAX_PNG_BYTES * 4 // 3 + 4:
        raise UserError(f"The mask file is over the limit of {MAX_PNG_BYTES // 2**20} MB.")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(_UNREADABLE) from error


def _fields(data: Any, /, **kinds: type) -> list[Any]:
    # What a browser sends can be anything; the callables get the types they were promised.
    if not isinstance(data, dict) or not all(isinstance(data.get(k), kind) for k, kind in kinds.items()):
        raise ValueError(_UNREADABLE)
    return [data.get(name) for name in kinds]


def _call(function: Callable[..., Any], request: gr.Request, *args: Any, **more: Any) -> Any:
    # Like Gradio's own events: a parameter annotated gr.Request receives the request.
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: more[p.name] for p in parameters if p.name in more}
    named |= {p.name: request for p in parameters if p.annotation is gr.Request}
    with entering(
        request
    ):  # Gradio hands functions of components their request, and nothing else of the visitor
        return function(*args, **named)


def _save_function(on_save: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def save_mask(data: Any, request: gr.Request) -> dict[str, Any]:
        try:
            key, png, revision = _fields(data, key=str, png=str, revision=object)
            sitting, auto = data.get("sitting"), data.get("auto") is True
            more = {"sitting": sitting if isinstance(sitting, str) else "", "auto": auto}
            answer: dict[str, Any] = _call(on_save, request, key, _decode(png), revision, **more)
            return answer
        except ValueError as error:
            return {"error": str(error)}

    return save_mask


def _import_function(on_import: Callable[..., bytes]) -> Callable[..., dict[str, Any]]:
    def import_mask(data: Any, request: gr.Request) -> dict[str, Any]:
        try:
            key, file, width, height, labels = _fields(
                data, key=str, data=str, width=int, height=int, labels=dict
            )
            png = _call(on_import, request, key, _decode(file), width, height, labels)
        except ValueError as error:
            return {"error": str(error)}
        return {"png": base64.b64encode(png).decode("ascii")}

    return import_mask


def _strokes_function(on_strokes: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def teach_strokes(data: Any, request: gr.Request) -> dict[str, Any]:
        try:
            key, base = _fields(data, key=str, base=str)
            png = data.get("png")
            if not isinstance(png, str | None):
                raise ValueError(_UNREADABLE)
            strokes = None if png is None else _decode(png)
            answer: dict[str, Any] = _call(on_strokes, request, key, strokes, base)
        except ValueError as error:
            return {"error": str(error)}
        kept = answer.get("png")
        return {**answer, "png": base64.b64encode(kept).decode("ascii") if kept else None}

    return teach_strokes


def _select_function(on_select: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return _answer_function("select_thing", on_select)


def _answer_function(name: str, on_ask: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def answer(data: Any, request: gr.Request) -> dict[str, Any]:
        try:
            found: dict[str, Any] = _call(on_ask, request, data)
            return found
        except ValueError as error:
            return {"error": str(error)}

    answer.__name__ = name  # what the page calls it by
    return answer
