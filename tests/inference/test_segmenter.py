import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data
from tiny import bright, write_model

import segdemo
from segdemo import zoo
from segdemo.core import label_maps
from segdemo.core.labels import PETS
from segdemo.core.photos import IntakeError
from segdemo.inference.predict import Predictor


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


@pytest.fixture
def segment():
    return segdemo.load("colours", threads=1)


def test_a_path_bytes_a_picture_and_an_array_give_the_same(segment, tmp_path):
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(path)
    expected = Predictor(zoo.served_model("colours"))(data.chelsea())
    with Image.open(path) as picture:
        ways = [path, str(path), path.read_bytes(), picture, data.chelsea()]
        found = [segment(way) for way in ways]
    for one in found:
        np.testing.assert_array_equal(one.photo, data.chelsea())
        np.testing.assert_array_equal(one.label_map, expected.label_map)


def test_all_that_is_said_of_a_photo(segment, tmp_path):
    photo = data.astronaut()[:200, :300]
    found = segment(photo)
    assert found.classes == label_maps.class_table(found.label_map, PETS)
    np.testing.assert_array_equal(found.overlay, label_maps.overlay(photo, found.label_map, PETS))
    assert found.probabilities.shape == (200, 300, 3)
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)
    found.save(tmp_path / "label_map.png")
    np.testing.assert_array_equal(label_maps.decode_png(tmp_path / "label_map.png", PETS), found.label_map)


def test_a_picture_is_turned_upright_and_its_transparency_is_white(segment):
    lying = Image.fromarray(data.chelsea())
    lying.getexif()[0x0112] = 6
    np.testing.assert_array_equal(segment(lying).photo, np.rot90(data.chelsea(), -1))
    clear = Image.new("RGBA", (8, 4), (200, 0, 0, 0))
    assert (segment(clear).photo == 255).all()
    assert segment(Image.new("1", (8, 4), 1)).label_map.shape == (4, 8)


def test_what_is_no_photo_is_refused_in_a_sentence(segment, tmp_path, monkeypatch):
    grey = np.zeros((4, 4), np.uint8)
    (tmp_path / "words.jpg").write_text("words")
    for wrong in (grey, grey.astype(float), np.zeros((0, 4, 3), np.uint8), 7, tmp_path / "none.jpg", b""):
        with pytest.raises(IntakeError, match=r"^[A-Z].*\.$"):
            segment(wrong)
    with pytest.raises(IntakeError, match=r"words.jpg"):
        segment(tmp_path / "words.jpg")
    monkeypatch.setenv("SEGDEMO_MAX_SIDE", "100")
    with pytest.raises(IntakeError, match="too large"):
        segdemo.load("colours")(Image.new("RGB", (101, 5)))
    half = tmp_path / "half.png"
    Image.fromarray(data.chelsea()).save(half)
    half.write_bytes(half.read_bytes()[:9000])
    with Image.open(half) as picture, pytest.raises(IntakeError, match="damaged"):
        segment(picture)


def test_a_model_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(zoo.UnknownModelError, match="colours"):
        segdemo.load("colors")


def test_the_package_alone_imports_nothing_large():
    code = "import sys, segdemo; assert not {'numpy', 'onnxruntime', 'PIL'} & {*sys.modules}; print(segdemo.load)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
