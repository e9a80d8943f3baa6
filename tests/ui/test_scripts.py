"""Batches, collections and runs by the HTTP API of the running application, and the examples of docs/api.md."""

import json
import math
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import ROOT, served_app
from skimage import data
from tiny import bright, write_model
from video_files import colours, draw_clip
from visiting import Browser
from waiting import once

from segdemo.annotations.store import AnnotationStore
from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of gradio_client's own making
DOCUMENT = (ROOT / "docs" / "api.md").read_text("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    write_model(folder / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    return folder


@pytest.fixture(scope="module")
def url(folder):
    with served_app(folder, SEGDEMO_TRAINING="token", SEGDEMO_TRAINING_TOKEN="right") as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(url, folder):
    client = Client(url, verbose=False, download_files=folder / "downloads")
    yield client
    client.close()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(data.chelsea()).save(path)
    return path


def ask(client, name, *arguments, **named):
    return client.predict(*arguments, **named, api_name=f"/{name}")


def refused(client, name, *arguments, **named):
    """The sentence of the error."""
    with pytest.raises(AppError) as caught:
        ask(client, name, *arguments, **named)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


def ended(client, job):
    def look():
        return ask(client, "batch_status", job["job"])

    return once(look, lambda job: job["state"] not in ("queued", "running"), 120)


def test_a_batch(client, photo, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"words")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(photo, "more.jpg")
    files = [handle_file(path) for path in (photo, tmp_path / "bad.jpg", tmp_path / "more.zip")]
    job = ended(client, ask(client, "batch", files, "colours", "label_map,cutout,coco"))
    assert (job["state"], job["photos"], job["done"], job["failed"]) == ("done", 3, 2, 1)
    assert job["why"][0][0] == "bad.jpg"
    with zipfile.ZipFile(ask(client, "batch_result", job["job"])) as archive:
        assert {"label_maps/photo.png", "label_maps/more.png", "cutouts/photo.png", "coco.json"} <= {
            *archive.namelist()
        }
    assert ask(client, "batch_cancel", job["job"])["state"] == "done"
    assert ask(client, "batch_resume", job["job"])["state"] == "done"
    ask(client, "batch_delete", job["job"])
    assert "no such batch" in refused(client, "batch_status", job["job"])


def test_batches_that_cannot_be(client, photo, tmp_path):
    file = [handle_file(photo)]
    assert "There are no photos" in refused(client, "batch", None, "colours", "csv")
    assert "no trained model" in refused(client, "batch", file, "colors", "csv")
    assert "There is no format 'exe'" in refused(client, "batch", file, "colours", "exe")
    assert "Nothing is to be written" in refused(client, "batch", file, "colours", "")
    (tmp_path / "no.zip").write_bytes(b"words")
    assert "not a ZIP file" in refused(client, "batch", [handle_file(tmp_path / "no.zip")], "colours", "csv")
    for name in ("batch_status", "batch_cancel", "batch_resume", "batch_result", "batch_delete"):
        for id_ in ("", "x" * 32, "../../home", "0" * 32):
            assert "no such batch" in refused(client, name, id_)


def test_a_collection_from_nothing_to_its_export(client, photo, tmp_path):
    made = ask(client, "collection_create", "My pets", "pets")
    assert (made["classes"], made["photos"], made["labelled"]) == (list(PETS.classes), 0, 0)
    name = made["collection"]
    added = ask(client, "photo_add", name, handle_file(photo), "cat.jpg")
    assert (added["name"], added["width"], added["height"], added["revision"]) == ("cat.jpg", 451, 300, 0)
    assert ask(client, "photo_add", name, handle_file(photo))["photo"] == added["photo"]
    assert "has no mask yet" in refused(client, "mask_read", name, added["photo"])
    label_map = np.zeros((300, 451), np.uint8)
    label_map[50:100, 60:200] = 1
    mask = tmp_path / "mask.png"
    mask.write_bytes(label_maps.encode_png(label_map, PETS))
    saved = ask(client, "mask_write", name, added["photo"], handle_file(mask), 0)
    assert saved["revision"] == 1
    png, told = ask(client, "mask_read", name, added["photo"])
    np.testing.assert_array_equal(label_maps.decode_png(png, PETS), label_map)
    assert told["revision"] == 1
    label_map[0] = 2
    mask.write_bytes(label_maps.encode_png(label_map, PETS))
    assert "saved elsewhere" in refused(client, "mask_write", name, added["photo"], handle_file(mask), 0)
    assert ask(client, "mask_write", name, added["photo"], handle_file(mask), 1)["revision"] == 3
    older, _ = ask(client, "mask_read", name, added["photo"], 1)
    assert (label_maps.decode_png(older, PETS)[0] == 0).all()
    listed = ask(client, "collection_photos", name)
    assert (listed["total"], listed["pages"], listed["photos"][0]["revision"]) == (1, 1, 3)
    (about,) = [one for one in ask(client, "collections") if one["collection"] == name]
    assert (about["photos"], about["labelled"]) == (1, 1)
    with zipfile.ZipFile(ask(client, "collection_export", name, "voc,coco")) as archive:
        assert "SegmentationClass/cat.png" in archive.namelist()


def test_who_saves_is_told_by_their_own_request_whoever_else_is_answered(
    url, folder, client, photo, tmp_path
):
    """By two without cookies who come from behind a proxy at the same time, with the same program."""
    name = ask(client, "collection_create", "Whose", "pets")["collection"]
    id_ = ask(client, "photo_add", name, handle_file(photo))["photo"]

    def propose(address):
        caller, numbers = Client(url, verbose=False, headers={"X-Forwarded-For": address}), []
        for row in range(4):
            label_map = np.zeros((300, 451), np.uint8)
            label_map[row, : int(address.rpartition(".")[2])] = 1
            mask = tmp_path / f"{address}-{row}.png"
            mask.write_bytes(label_maps.encode_png(label_map, PETS))
            numbers.append(ask(caller, "propose_mask", name, id_, handle_file(mask))["proposed"])
        caller.close()
        return numbers

    with ThreadPoolExecutor(2) as pool:
        numbers = [*pool.map(propose, ("203.0.113.1", "203.0.113.2"))]
    revisions = AnnotationStore(folder / "home" / "annotations").open(name).photo(id_).revisions
    authors = [{r.author for r in revisions if r.number in own} for own in numbers]
    assert [len(own) for own in authors] == [1, 1]
    assert authors[0] != authors[1]


def test_own_classes(client):
    made = ask(client, "collection_create", "Leaves", "leaf, stem")
    assert made["classes"] == ["background", "leaf", "stem"]


def test_collections_that_cannot_be(client, photo, tmp_path):
    assert "Give it a name" in refused(client, "collection_create", "", "voc")
    assert "Name the classes" in refused(client, "collection_create", "x", " , ")
    refused(client, "collection_create", "x", ",".join(f"c{i}" for i in range(300)))
    name = ask(client, "collection_create", "Strict", "voc")["collection"]
    id_ = ask(client, "photo_add", name, handle_file(photo))["photo"]
    assert "There is no photo" in refused(client, "photo_add", name, None)
    (tmp_path / "bad.jpg").write_bytes(b"words")
    assert "not a photo" in refused(client, "photo_add", name, handle_file(tmp_path / "bad.jpg"))
    for function in ("collection_photos", "collection_export"):
        for wrong in ("nobody", "", "../annotations", "/etc"):
            assert "no collection" in refused(client, function, wrong)
    assert "There is no mask" in refused(client, "mask_write", name, id_, None, 0)
    mask = tmp_path / "mask.png"
    mask.write_bytes(label_maps.encode_png(np.zeros((5, 5), np.uint8), VOC))
    assert "measures 5x5" in refused(client, "mask_write", name, id_, handle_file(mask), 0)
    Image.fromarray(np.full((300, 451), 200, np.uint8)).save(mask)
    assert "class id 200" in refused(client, "mask_write", name, id_, handle_file(mask), 0)
    assert "photo" in refused(client, "mask_read", name, "../../x")
    refused(client, "mask_read", name, id_, 7)
    assert "nothing to export" in refused(client, "collection_export", name, "voc")


def test_runs_are_under_the_policy_of_the_page(client, folder):
    name = ask(client, "collection_create", "Few", "pets")["collection"]
    assert ask(client, "runs") == []
    wish = ("untrained:unet", name, "Mine")
    assert "training token" in refused(client, "run_start", *wish, "{}")
    assert "training token" in refused(client, "run_start", *wish, "{}", "wrong")
    assert "photos" in refused(client, "run_start", *wish, "{}", "right")  # there are none to learn from
    assert "small JSON object" in refused(client, "run_start", *wish, "[", "right")
    assert "small JSON object" in refused(client, "run_start", *wish, "[" * 5000, "right")
    assert "no setting 'data'" in refused(client, "run_start", *wish, '{"data": "/etc"}', "right")
    assert "a number or a word" in refused(client, "run_start", *wish, '{"loss": [1]}', "right")
    assert "as frozen" in refused(client, "run_start", *wish, '{"frozen": "x"}', "right")
    assert "Epochs" in refused(client, "run_start", *wish, '{"epochs": -1}', "right")
    assert "no collection" in refused(client, "run_start", "untrained:unet", "/etc", "x", "{}", "right")
    assert "Choose what to learn from" in refused(client, "run_start", "untrained:unet", "dataset:/etc", "x")
    refused(client, "run_start", "untrained:nothing", name, "x", "{}", "right")
    for function in ("run_follow", "run_cancel"):
        for id_ in ("", "../..", "nobody"):
            refused(client, function, id_)
    assert "training token" in refused(client, "run_promote", "nobody")
    assert "nobody" in refused(client, "run_promote", "nobody", False, "right")


def blocks(kind):
    """The code of the document's blocks of a kind, but for those that are not run."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_document_run(url, photo, tmp_path):
    draw_clip(tmp_path / "clip.mp4", colours(*[(90, 90, 90)] * 3))
    Image.fromarray(np.ones((300, 451), np.uint8)).save(tmp_path / "mask.png")
    code = "\n".join(blocks("python")).replace("http://127.0.0.1:7860", url.rstrip("/"))
    code += "\nprint(facts['revision'], listing['total'], results_zip, export_zip)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    revision, total, results, export = done.stdout.splitlines()[-1].split()
    assert (revision, total) == ("1", "1")
    assert zipfile.is_zipfile(results)
    assert zipfile.is_zipfile(export)
    if not shutil.which("curl"):
        return
    (script,) = blocks("bash")
    script = script.replace("http://127.0.0.1:7860", url.rstrip("/"))
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "event: complete" in done.stdout
    assert '"model": "deeplabv3"' in done.stdout


UNLIKE = {  # of each kind of parameter, what is none
    "integer": ["x", 1.5, math.nan, 10**400, True, [1]],
    "number": ["x", math.inf, {"a": 1}],
    "boolean": ["yes", 1],
    "string": [["x"], {"a": [1]}, True, "\ud800"],
    "filepath": [7, "x.png", {"path": 7}, [[]]],
}


def test_an_argument_of_another_kind_gives_a_sentence_that_names_it(url, folder):
    browser = Browser(url)
    asked = []
    for name, endpoint in json.loads(browser.get("/gradio_api/info")[1])["named_endpoints"].items():
        parameters = endpoint["parameters"]
        for n, parameter in enumerate(parameters):
            [kind] = [kind for kind in UNLIKE if kind in {parameter["type"].get("type"), "filepath"}][:1]
            as_it_is = parameter["parameter_name"] in ("clicks", "box", "settings")  # JSON
            for value in UNLIKE[kind] if not as_it_is else ["\ud800"]:
                values = [p["parameter_default"] if p["parameter_has_default"] else "x" for p in parameters]
                files = [p["type"].get("type") not in UNLIKE for p in parameters]
                values = [None if file else given for given, file in zip(values, files, strict=True)]
                values[n] = value
                asked.append((name.strip("/"), parameter["parameter_name"], values))
    assert len({(name, parameter) for name, parameter, _ in asked}) > 40
    with ThreadPoolExecutor(8) as pool:
        told = pool.map(lambda one: browser.call(one[0], *one[2]), asked)
        for (name, parameter, values), answer in zip(asked, told, strict=True):
            sentence = f'"error": "The parameter {parameter} is '
            assert "event: error" in answer, (name, values, answer)
            assert sentence in answer, (name, values, answer)
    for name, values, sentence in (
        (
            "collection_photos",
            [],
            "Send collection, too: the parameters are, in this order, collection, page.",
        ),
        ("collection_create", [None, "voc"], "Send title, too"),
        ("run_start", ["deeplabv3", None], "Send collection, too"),
        ("segment", [{"path": "/etc/passwd"}, "colours"], "was not uploaded here"),
        ("collection_photos", ["nobody-s"], "There is no collection"),  # what has a default may be left out
        ("click", [None, [[1, 1, 1]]], "There is no photo"),  # a list is as good as its JSON
    ):
        assert sentence in browser.call(name, *values)
    assert "Traceback" not in (folder / "app.log").read_text()


def test_the_document_names_every_endpoint(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    text = DOCUMENT + Path(ROOT / "README.md").read_text("utf-8")
    assert [name for name in named if name not in text] == []
