"""The HTTP interface of the running application, as ``gradio_client`` and plain HTTP see it."""

import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import last_message, served_app
from skimage import data
from tiny import bright, write_model

from segdemo import zoo
from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC
from segdemo.core.photos import read_photo
from segdemo.inference.predict import Predictor

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of gradio_client's own making


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the application runs on: two models of its own, and one whose file is damaged."""
    folder = tmp_path_factory.mktemp("api")
    models = folder / "home" / "models"
    write_model(models / "colours", "colours", PETS, *bright(3, 0, 1))
    write_model(models / "scenes", "scenes", VOC, *bright(21, 8, 0), stride=4)
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


def test_only_the_two_endpoints_are_public(client):
    described = client.view_api(return_format="dict", print_info=False)
    assert described["named_endpoints"].keys() == {"/segment", "/models"}
    assert described["unnamed_endpoints"] == {}
    parameters = described["named_endpoints"]["/segment"]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == ["image", "model"]


def test_models_lists_what_is_served(client, folder, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(folder / "home"))
    assert client.predict(api_name="/models") == [entry.to_json() for entry in zoo.served_models().values()]


def test_a_rotated_jpeg_is_segmented_upright(client, photo, folder, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(folder / "home"))
    path, facts = client.predict(handle_file(photo), "scenes", api_name="/segment")
    assert facts.keys() == {"model", "label_set", "width", "height", "milliseconds", "classes"}
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
    buffer = io.BytesIO()
    Image.fromarray(data.coffee()).save(buffer, "JPEG")
    files = {
        "half.jpg": (buffer.getvalue()[:20_000], "cut short or damaged"),
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
        ("fcn16s", "not trained yet"),
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
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident < 600_000  # kB


# --- files that were not uploaded -------------------------------------------------------------------------


UNKNOWN = "This file was not uploaded here: choose it again."


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
        disguised = {
            **described,
            "url": "data:image/png;base64,iVBORw0KGgo=",
        }  # what counts is the data, or nothing
        for shape in (bare, [bare], described, [described], disguised, [disguised]):
            values = [shape if kind in ("file", "image") else value for kind, value in inputs]
            message = answer(app[0], event, values)
            assert not message["success"]
            told.append(message["output"].get("error"))
            assert set(told) <= {
                UNKNOWN,
                None,
            }  # None where the event takes no such form, or Gradio refuses it
        if any(kind == "image" for kind, _ in inputs):
            assert told[0] == UNKNOWN
