import base64
import json
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from drawn import encoded
from PIL import Image

from segdemo.core.labels import VOC, LabelSet
from segdemo.ui.components import canvas

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("event_loops_collected"),
]
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (7, 13, 3), dtype=np.uint8)
LABELS = (np.arange(91) % 21).astype(np.uint8).reshape(7, 13)
EVERY_ID = LabelSet(
    "many", "Many", tuple(f"c{i}" for i in range(255)), tuple((i, 255 - i, 7) for i in range(255))
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


def opened(file):
    with Image.open(file["path"]) as image:
        image.load()
        return image


def pixels(file):
    return np.asarray(opened(file))


def test_payload_describes_the_photo_and_is_json():
    value = canvas.payload("k", PHOTO, VOC, prediction=LABELS, revision=3, name="dog", message="Nothing.")
    assert json.loads(json.dumps(value)) == value
    assert (value["width"], value["height"]) == (13, 7)
    assert (value["key"], value["revision"], value["name"], value["mode"]) == ("k", 3, "dog", "view")
    assert value["message"] == "Nothing."
    assert value["layers"]["truth"] is None
    assert value["confidence"] is None
    np.testing.assert_array_equal(pixels(value["image"]), PHOTO)  # small photos stay lossless


def test_label_maps_keep_all_values_and_carry_the_palette():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    photo = np.zeros((16, 16, 3), np.uint8)
    value = canvas.payload("k", photo, EVERY_ID, prediction=labels, truth=labels[::-1], yours=labels.T.copy())
    image = opened(value["layers"]["prediction"])
    assert image.mode == "P"
    assert image.getpalette() == EVERY_ID.palette()
    np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(pixels(value["layers"]["truth"]), labels[::-1])
    np.testing.assert_array_equal(pixels(value["layers"]["yours"]), labels.T)
    assert bytes.fromhex(value["labels"]["palette"]) == bytes(EVERY_ID.palette())


def test_large_photos_are_sent_as_jpeg():
    photo = np.full((300, 400, 3), 200, np.uint8)
    value = canvas.payload("k", photo, VOC)
    image = opened(value["image"])
    assert image.format == "JPEG"
    assert image.size == (400, 300)


def test_files_and_bytes_are_passed_on_unchanged(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    mask = encoded(LABELS)
    value = canvas.payload("k", path, VOC, prediction=mask, truth=str(path))
    assert Path(value["image"]["path"]).read_bytes() == path.read_bytes()
    assert Path(value["layers"]["truth"]["path"]).read_bytes() == path.read_bytes()
    assert Path(value["layers"]["prediction"]["path"]).read_bytes() == mask


def test_size_of_a_photo_stored_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PHOTO).save(tmp_path / "turned.jpg", exif=exif)
    value = canvas.payload("k", tmp_path / "turned.jpg", VOC)
    assert (value["width"], value["height"]) == (7, 13)


def test_confidence_becomes_grey_levels():
    confidence = np.array([[0.0, 0.5, 1.0], [1.5, -1.0, np.nan]], np.float32)
    value = canvas.payload("k", PHOTO, VOC, confidence=confidence, uncertainty=np.uint8([[7]]))
    np.testing.assert_array_equal(pixels(value["confidence"]), [[0, 128, 255], [255, 0, 0]])
    np.testing.assert_array_equal(pixels(value["uncertainty"]), [[7]])


def test_same_bytes_have_the_same_file():
    first, second = (canvas.payload("k", PHOTO, VOC, prediction=LABELS) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (LABELS[:-1], r"The truth is \(6, 13\) but the photo needs a label map of \(7, 13\)"),
        (LABELS.astype(np.int64), "A label map is a uint8 array"),
        (LABELS + 1, "The pixel at x=7, y=1 has class id 21"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        canvas.payload("k", PHOTO, VOC, truth=bad)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match='"view" or "edit"'):
        canvas.payload("k", PHOTO, VOC, mode="paint")


def test_component_hosts_the_scripts_and_events():
    with gr.Blocks():
        component = canvas.mask_canvas(
            on_save=lambda *_: {}, on_import=lambda *_: b"", on_select=lambda *_: {}
        )
        for event in ("ready", "edit", "saved", "reload", "next", "previous"):
            getattr(component, event)(lambda: None)
    config = component.get_config()
    assert config["server_fns"] == ["save_mask", "import_mask", "select_thing"]
    # Gradio renders the style sheet as a JavaScript template literal and as a Handlebars template.
    assert not set("`\\") & set(component.css_template)
    assert "{{" not in component.css_template
    assert "${" not in component.css_template


def test_without_callables_nothing_can_be_sent():
    with gr.Blocks():
        assert canvas.mask_canvas().server_fns == []


def sent(data=b"png", revision=4):
    return {"key": "k", "png": base64.b64encode(data).decode(), "revision": revision}


def test_saving_hands_over_bytes_and_revision():
    seen = []
    save = canvas._save_function(lambda *args: seen.append(args) or {"revision": 5})
    assert save(sent(), None) == {"revision": 5}
    assert seen == [("k", b"png", 4)]


def test_saving_can_see_the_request():
    def on_save(key, png, revision, request: gr.Request):
        return {"revision": request}

    assert canvas._save_function(on_save)(sent(), "the request") == {"revision": "the request"}


def test_saving_can_see_the_sitting_and_whether_the_page_saves_by_itself():
    seen = []

    def on_save(key, png, revision, sitting, auto):
        seen.append((sitting, auto))
        return {"revision": 1}

    save = canvas._save_function(on_save)
    for more in ({}, {"sitting": "morning", "auto": True}, {"sitting": 7, "auto": "yes"}):
        assert save({**sent(), **more}, None) == {"revision": 1}
    assert seen == [("", False), ("morning", True), ("", False)]


def refuse(*_):
    raise ValueError("Too many classes.")


@pytest.mark.parametrize(
    ("on_save", "data", "expected"),
    [
        (refuse, sent(), "Too many classes."),
        (None, {"key": "k"}, "The mask arrived damaged: try again."),
        (None, None, "The mask arrived damaged: try again."),
        (None, {**sent(), "png": "not base64!"}, "The mask arrived damaged: try again."),
        (None, {**sent(), "png": 7}, "The mask arrived damaged: try again."),
    ],
)
def test_what_cannot_be_saved_gives_a_sentence(on_save, data, expected):
    assert expected in canvas._save_function(on_save)(data, None)["error"]


def test_masks_over_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(canvas, "MAX_PNG_BYTES", 2**20)
    assert canvas._save_function(refuse)(sent(bytes(2**21)), None) == {
        "error": "The mask file is over the limit of 1 MB."
    }


def test_importing():
    data = {
        "key": "k",
        "data": base64.b64encode(b"file").decode(),
        "width": 4,
        "height": 3,
        "labels": {"name": "v"},
    }
    seen = []
    function = canvas._import_function(lambda *args: seen.append(args) or b"map")
    assert function(data, None) == {"png": base64.b64encode(b"map").decode()}
    assert seen == [("k", b"file", 4, 3, {"name": "v"})]
    assert canvas._import_function(refuse)(data, None) == {"error": "Too many classes."}
    assert "damaged" in function({**data, "width": "wide"}, None)["error"]


def test_selecting_hands_over_what_the_browser_sends_and_gives_back_the_answer():
    seen = []
    function = canvas._select_function(lambda data: seen.append(data) or {"ready": True})
    assert function({"key": "k", "prepare": True}, None) == {"ready": True}
    assert seen == [{"key": "k", "prepare": True}]
    assert canvas._select_function(refuse)({}, None) == {"error": "Too many classes."}
