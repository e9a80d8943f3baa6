"""The HTTP interface of the running application, as ``gradio_client`` and plain HTTP see it."""

import io
import json
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import waiting
from drawn import encoded
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import last_message, served_app
from skimage import data
from tiny import bright, write_click_model, write_model

from segdemo import zoo
from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC
from segdemo.core.photos import read_photo
from segdemo.inference.predict import Predictor
from segdemo.ui.services import GIVE_BACK_SECONDS

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of gradio_client's own making


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the application runs on: two models of its own, and one whose file is damaged."""
    folder = tmp_path_factory.mktemp("api")
    models = folder / "home" / "models"
    write_model(models / "colours", "colours", PETS, *bright(3, 0, 1))
    write_model(models / "scenes", "scenes", VOC, *bright(21, 8, 0), stride=4)
    write_click_model(models / "click")
    write_model(models / "broken", "broken", VOC, *bright(21, 8, 0)).path.write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def app(folder):
    with served_app(folder, SEGDEMO_MAX_SIDE="3000") as (url, process):
        yield url, process


@pytest.fixture(scope="module")
def client(app, folder):
    client = Client(app[0], verbose=False, download_files=folder / "downloads")
    yield client
    client.close()


@pytest.fixture
def photo(tmp_path):
    """A landscape photo stored on its side, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "lying.jpg"
    Image.fromarray(np.rot90(data.chelsea())).save(path, exif=exif, quality=95)
    return path


def read(path):
    with Image.open(path) as image:
        image.load()
        return image


BATCHES = {"/batch", "/batch_status", "/batch_cancel", "/batch_resume", "/batch_result", "/batch_delete"}
MASKS = {"/mask_read", "/mask_write", "/next_photo", "/propose_mask"}
COLLECTIONS = {"/collections", "/collection_create", "/collection_photos", "/photo_add", *MASKS}
VIDEOS = {"/video", "/video_cancel"}
VIDEOS = {"/video", "/video_cancel"}
RUNS = {"/runs", "/run_start", "/run_follow", "/run_cancel", "/run_promote"}


def test_only_what_scripts_need_is_public(client):
    described = client.view_api(return_format="dict", print_info=False)
    mine = {"/segment", "/click", "/models", "/collection_export", *BATCHES, *COLLECTIONS, *RUNS, *VIDEOS}
    assert described["named_endpoints"].keys() == mine
    for name, endpoint in described["named_endpoints"].items():
        assert endpoint["description"], name
        assert all(parameter["parameter_name"] != "request" for parameter in endpoint["parameters"])
    assert described["unnamed_endpoints"] == {}
    parameters = described["named_endpoints"]["/segment"]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == ["image", "model"]
    parameters = described["named_endpoints"]["/click"]["parameters"]
    names = ["image", "clicks", "mask", "box"]
    assert [(p["parameter_name"], p["parameter_has_default"]) for p in parameters] == [
        (name, name != "image") for name in names
    ]


def test_models_lists_what_is_served(client, folder, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(folder / "home"))
    assert client.predict(api_name="/models") == [entry.to_json() for entry in zoo.served_models().values()]


def test_a_rotated_jpeg_is_segmented_upright(client, photo, folder, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(folder / "home"))
    path, facts = client.predict(handle_file(photo), "scenes", api_name="/segment")
    keys = {"model", "label_set", "width", "height", "milliseconds", "out_of_domain", "classes"}
    assert facts.keys() == keys
    assert facts["out_of_domain"] is None  # nobody has measured it of this model
    assert (facts["model"], facts["label_set"]) == ("scenes", "voc")
    assert (facts["width"], facts["height"]) == (451, 300)
    assert facts["milliseconds"] > 0
    picture = read(path)
    assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (451, 300))
    assert picture.getpalette() == VOC.palette()
    label_map = np.asarray(picture)
    expected = Predictor(zoo.served_model("scenes"))(read_photo(photo)).label_map
    np.testing.assert_array_equal(label_map, expected)
    assert facts["classes"] == label_maps.class_table(label_map, VOC)
    assert facts["classes"][0].keys() == {"id", "name", "color", "pixels", "share"}
    assert sum(row["pixels"] for row in facts["classes"]) == 451 * 300


@pytest.mark.parametrize("name", zoo.read_manifest(zoo.WEIGHTS / "manifest.json"))
def test_every_shipped_model_answers(client, photo, name):
    path, facts = client.predict(handle_file(photo), name, api_name="/segment")
    entry = zoo.read_manifest(zoo.WEIGHTS / "manifest.json")[name]
    assert (facts["model"], facts["label_set"]) == (name, entry.label_set.name)
    assert read(path).size == (451, 300)
    assert read(path).getpalette() == entry.label_set.palette()
    cat = {"voc": "cat", "pets": "pet"}[entry.label_set.name]  # what it shows
    assert cat in {row["name"] for row in facts["classes"]}


def test_a_photo_of_one_pixel(client, tmp_path):
    Image.new("RGB", (1, 1), (255, 255, 255)).save(tmp_path / "dot.png")
    path, facts = client.predict(handle_file(tmp_path / "dot.png"), "colours", api_name="/segment")
    assert read(path).size == (1, 1)
    assert facts["classes"] == [{"id": 0, "name": "pet", "color": [230, 97, 0], "pixels": 1, "share": 1.0}]


def broken_files(folder):
    files = {
        "half.jpg": (encoded(data.coffee(), "JPEG")[:20_000], "cut short or damaged"),
        "words.jpg": (b"these are words and no photo", "not a"),
        "empty.jpg": (b"", "empty"),
    }
    Image.new("L", (3001, 8)).save(buffer := io.BytesIO(), "PNG")
    files["long.png"] = (buffer.getvalue(), "3000")
    for name, (content, sentence) in files.items():
        (folder / name).write_bytes(content)
        yield folder / name, sentence


def test_broken_files_give_a_sentence_and_the_application_goes_on(client, tmp_path, photo):
    for path, sentence in broken_files(tmp_path):
        with pytest.raises(AppError) as caught:
            client.predict(handle_file(path), "colours", api_name="/segment")
        message = str(caught.value)
        assert sentence in message
        assert path.name in message
        assert "\n" not in message
        assert "Traceback" not in message
    assert client.predict(handle_file(photo), "colours", api_name="/segment")[1]["width"] == 451


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("colors", "There is no trained model 'colors'."),
        ("", "There is no trained model ''."),
        ("deeplabv3_resnet50", "not trained yet"),
        ("broken", "broken.onnx is damaged"),
    ],
)
def test_a_wrong_model_gives_a_sentence(client, photo, model, sentence):
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(photo), model, api_name="/segment")
    assert sentence in str(caught.value)
    assert client.predict(handle_file(photo), "colours", api_name="/segment")[1]["model"] == "colours"


def test_no_photo_gives_a_sentence(client):
    with pytest.raises(AppError, match="There is no photo: send one as `image`"):
        client.predict(None, "colours", api_name="/segment")


# --- clicks -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A photo with a red thing and a blue one, and where they are: (path, bool, bool)."""
    red, blue = np.zeros((2, 200, 300), bool)
    red[40:120, 30:140], blue[60:160, 180:260] = True, True
    pixels = np.full((200, 300, 3), 90, np.uint8)
    pixels[red], pixels[blue] = (220, 30, 30), (30, 30, 220)
    path = tmp_path_factory.mktemp("things") / "things.png"
    Image.fromarray(pixels).save(path)
    return path, red, blue


def mask_file(path, mask, **options):
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(path, "PNG", **options)
    return handle_file(path)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_click_selects_a_thing(client, things):
    path, red, _ = things
    mask_png, told = client.predict(handle_file(path), "[[80, 80, 1]]", api_name="/click")
    picture = read(mask_png)
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (300, 200))
    assert set(np.unique(picture)) == {0, 255}
    mask = np.asarray(picture) > 0
    assert iou(mask, red) > 0.95
    assert told.keys() == {"milliseconds", "changed"}
    assert told["milliseconds"] > 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert told["changed"] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_a_mask_is_corrected_and_what_is_right_stays(client, things, tmp_path):
    path, red, blue = things
    wrong = (red | blue).copy()
    wrong[:, :80] = False
    mask_png, told = client.predict(
        handle_file(path), "[[50, 80, 1]]", mask_file(tmp_path / "wrong.png", wrong), api_name="/click"
    )
    mask = np.asarray(read(mask_png)) > 0
    assert iou(mask, red | blue) > 0.95
    np.testing.assert_array_equal(mask[:, 160:], blue[:, 160:])
    assert 20 <= told["changed"][0] <= 40
    assert 75 <= told["changed"][2] <= 90
    again, told = client.predict(handle_file(path), "[[50, 80, 1]]", handle_file(mask_png), api_name="/click")
    assert told["changed"] is None
    np.testing.assert_array_equal(np.asarray(read(again)) > 0, mask)


def test_masks_may_be_grey_or_of_one_bit(client, things, tmp_path):
    path, red, _ = things
    wrong = red.copy()
    wrong[:, :80] = False
    answers = []
    grey = Image.fromarray(np.where(wrong, np.uint8(128), np.uint8(127)))
    for n, picture in enumerate(
        (grey, grey.point(lambda v: 255 * (v > 127)).convert("1"), grey.convert("RGB"))
    ):
        picture.save(tmp_path / f"{n}.png")
        mask = handle_file(tmp_path / f"{n}.png")
        answers.append(
            np.asarray(read(client.predict(handle_file(path), "[[50, 80, 1]]", mask, api_name="/click")[0]))
        )
    assert iou(answers[0] > 0, red) > 0.95
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_a_box_stands_for_clicks(client, things):
    path, _, blue = things
    mask_png, _ = client.predict(handle_file(path), box="[175, 55, 265, 165]", api_name="/click")
    assert iou(np.asarray(read(mask_png)) > 0, blue) > 0.9


def test_clicks_are_on_the_upright_photo(client, photo):
    mask_png, _ = client.predict(handle_file(photo), "[[440, 10, 1]]", api_name="/click")
    assert read(mask_png).size == (451, 300)


CLICK_JSON = r"Give the clicks as [[120, 80, 1], [30, 40, 0]]"


@pytest.mark.parametrize(
    ("clicks", "box", "sentence"),
    [
        ("", "", "Click on the thing, or draw a box around it"),
        ("[]", "null", "Click on the thing, or draw a box around it"),
        ("[[80, 80, 1]", "", CLICK_JSON),
        ("80, 80", "", CLICK_JSON),
        ("[[80, NaN, 1]]", "", CLICK_JSON),
        ("[" * 100_000, "", CLICK_JSON),
        (f"[[{10**400}, 80, 1]]", "", CLICK_JSON),
        (json.dumps([[1, 1, 1]] * 10_000), "", "There are 10000 clicks: 100 are the most"),
        ("[[300, 80, 1]]", "", "The click at (300, 80) is outside the photo of 300 x 200 pixels"),
        ("[[-1, 80, 0]]", "", "outside the photo"),
        ("", "[1, 2, 3]", "Give the box as [20, 30, 180, 220]"),
        ("", "[9, 9, 9, 9]", "The box is [x0, y0, x1, y1]"),
        ("", "[0, 0, 1e999, 9]", "Give the box as"),
    ],
)
def test_clicks_that_cannot_be_used_give_a_sentence(client, things, clicks, box, sentence):
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(things[0]), clicks, None, box, api_name="/click")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def strange_masks(folder):
    mask = np.ones((200, 300), bool)
    mask_file(folder / "narrow.png", mask[:, 1:])
    yield "narrow.png", "a mask must have exactly the size of its photo"
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    colours.save(folder / "colours.png")
    yield "colours.png", "is no mask of one thing: save it as a grey PNG"
    colours.save(folder / "photo.jpg")
    yield "photo.jpg", "is not a PNG: save the mask as PNG"
    frames = [Image.fromarray(np.full((200, 300), value, np.uint8)) for value in (0, 255)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    yield "moving.png", "is no mask of one thing"
    colours.convert("RGBA").save(folder / "clear.png")
    yield "clear.png", "is no mask of one thing"
    Image.fromarray(np.zeros((200, 300), np.uint16)).save(folder / "deep.png")
    yield "deep.png", "16 bits"
    data = (folder / "colours.png").read_bytes()
    (folder / "half.png").write_bytes(data[: len(data) // 2])
    yield "half.png", "damaged"
    (folder / "empty.png").write_bytes(b"")
    yield "empty.png", "empty"


def test_masks_that_cannot_be_used_give_a_sentence(client, things, tmp_path):
    for name, sentence in strange_masks(tmp_path):
        with pytest.raises(AppError) as caught:
            client.predict(
                handle_file(things[0]), "[[80, 80, 1]]", handle_file(tmp_path / name), api_name="/click"
            )
        assert sentence in str(caught.value), name
        assert "\n" not in str(caught.value)
    with pytest.raises(AppError, match="There is no photo: send one as `image`"):
        client.predict(None, "[[1, 1, 1]]", api_name="/click")
    assert client.predict(handle_file(things[0]), "[[80, 80, 1]]", api_name="/click")[1]["changed"]


def post(url, payload):
    request = urllib.request.Request(url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read().decode()


def test_plain_http(app, photo):
    """What curl does: upload, call, read the event."""
    url = app[0] + "gradio_api/"
    boundary = "boundary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="cat.jpg"\r\n\r\n'.encode()
        + photo.read_bytes()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    request = urllib.request.Request(
        url + "upload", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        (path,) = json.load(response)
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = json.loads(post(url + "call/segment", {"data": [file, "colours"]}))["event_id"]
    with urllib.request.urlopen(url + f"call/segment/{event}", timeout=60) as response:
        answer = response.read().decode()
    assert "event: complete" in answer
    label_map, facts = json.loads(answer.split("data: ", 1)[1].splitlines()[0])
    assert facts["height"] == 300
    with urllib.request.urlopen(label_map["url"], timeout=60) as response:
        assert read(io.BytesIO(response.read())).size == (451, 300)


def test_a_file_of_the_server_is_not_to_be_had(app, folder):
    """A path that was not uploaded is refused, whatever it points at."""
    url = app[0] + "gradio_api/"
    secret = folder / "home" / "models" / "colours" / "manifest.json"
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    event = json.loads(post(url + "call/segment", {"data": [file, "colours"]}))["event_id"]
    with urllib.request.urlopen(url + f"call/segment/{event}", timeout=60) as response:
        answer = response.read().decode()
    assert "event: error" in answer
    assert "complete" not in answer


def test_the_application_is_still_the_same_process_and_small(app):
    process = app[1]
    assert process.poll() is None

    def resident():  # kB
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    # What the C library has of freed memory is handed back once a minute.
    waiting.once(resident, lambda kilobytes: kilobytes < 600_000, seconds=2 * GIVE_BACK_SECONDS)


# --- files that were not uploaded -------------------------------------------------------------------------


UNKNOWN = "This file was not uploaded here: choose it again."
UNFIT = "This was sent what it cannot use: open the page again, or see Use via API for what is to be sent."


def events_with_files(url):
    """(index, (kind, value on the page) of each input) of every event that takes a file, private ones too."""
    with urllib.request.urlopen(f"{url}config") as response:
        config = json.load(response)
    inputs = {part["id"]: (part["type"], part["props"].get("value")) for part in config["components"]}
    for event in config["dependencies"]:
        taken = [inputs[id_] for id_ in event["inputs"]]
        if any(kind in ("file", "image") for kind, _ in taken):
            yield event["id"], taken


def answer(url, event, values):
    """What an event answers to values, as anybody can send them: its last message."""
    data = json.dumps({"data": values, "fn_index": event, "session_hash": f"walk{event}"}).encode()
    request = urllib.request.Request(
        f"{url}gradio_api/queue/join", data, {"Content-Type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request).close()
    message = last_message(url, f"walk{event}", 60)
    assert message is not None, "no answer"
    return message


@pytest.mark.parametrize("place", ["a photo", "no photo", "nothing", "a folder", "forbidden", "a link"])
def test_no_event_reads_a_file_that_was_not_uploaded(app, folder, tmp_path, place):
    secret = tmp_path / "secret.png"
    Image.fromarray(data.chelsea()).save(secret)
    (tmp_path / "words.txt").write_text("words")
    link = folder / "gradio" / "link.png"  # leads out of the folder of uploads
    if place == "a link":
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(secret)
    path = {
        "a photo": secret,
        "no photo": tmp_path / "words.txt",
        "nothing": tmp_path / "none.png",
        "a folder": tmp_path,
        "forbidden": Path("/root/../proc/1/mem"),
        "a link": link,
    }[place]
    events = dict(events_with_files(app[0]))
    assert len(events) >= 5  # both tabs' photos, archives, the Zoo's and the API's
    for event, inputs in events.items():
        told = []
        bare = {"path": str(path)}
        described = {**bare, "meta": {"_type": "gradio.FileData"}}
        # What counts is the data, or nothing
        disguised = {**described, "url": "data:image/png;base64,iVBORw0KGgo="}
        for shape in (bare, [bare], described, [described], disguised, [disguised]):
            values = [
                shape if kind in ("file", "image") else "x" if (kind, value) == ("textbox", None) else value
                for kind, value in inputs
            ]
            message = answer(app[0], event, values)
            assert not message["success"]
            told.append(message["output"].get("error"))
            # Where the event takes no such form it says so, the same of every path.
            others = {text for text in told if text not in (UNKNOWN, UNFIT)}
            assert all(
                re.match(r"The parameter \w+ is a ", text) and str(path) not in text for text in others
            )
        if any(kind == "image" for kind, _ in inputs):
            assert told[0] == UNKNOWN
