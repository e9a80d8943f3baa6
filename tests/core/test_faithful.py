"""Which files browsers show as they are read here. Chromium itself is asked in browser/test_faithful.py."""

import io

import numpy as np
import pytest
from photo_files import MISLEADING, PLAIN, jpeg, jpeg_exif
from PIL import Image

from segdemo.annotations.store import AnnotationStore
from segdemo.core import faithful
from segdemo.core.labels import PETS
from segdemo.core.photos import is_plain_jpeg, read_photo
from segdemo.ui.components import canvas
from segdemo.ui.photos import shown_as_it_is

ALL = {**PLAIN, **MISLEADING}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_plain_is_shown_as_it_is_and_has_its_size(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PLAIN[name])
    assert shown_as_it_is(path)
    height, width = read_photo(path).shape[:2]
    shown = canvas.payload("key", path, PETS)
    assert (shown["height"], shown["width"]) == (height, width)


@pytest.mark.parametrize("name", MISLEADING)
def test_what_is_misleading_is_not(name):
    read_photo(MISLEADING[name])  # it is a good photo
    assert not faithful.shown_alike(MISLEADING[name])


@pytest.mark.parametrize("name", ALL)
def test_a_collection_keeps_no_file_that_shows_other_pixels(name, tmp_path):
    collection = AnnotationStore(tmp_path).create("Any", PETS)
    id_ = collection.add_photo(ALL[name], name)
    data = collection.image_path(id_).read_bytes()
    pixels = read_photo(ALL[name])
    assert faithful.shown_alike(data)
    with Image.open(io.BytesIO(data)) as stored:  # by a program that turns nothing
        np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), pixels)
    assert (data == ALL[name]) == (name in PLAIN and name.endswith((".jpg", ".png")) and "turned" not in name
                                   and "mirrored" not in name and "agree" not in name)  # fmt: skip


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], 1),
        ([jpeg_exif(5)], 5),
        ([jpeg_exif(5, ">")], 5),
        ([jpeg_exif(0)], None),
        ([jpeg_exif(9)], None),
        ([b"Exif\0\0"], None),
        ([b"Exif\0\0II*\0\x08\0\0\0\0\0"], 1),
    ],
)
def test_the_letter_of_exif(segments, expected):
    data = jpeg(*segments)
    assert faithful.jpeg_orientation(data) == expected
    assert is_plain_jpeg(data) == (expected == 1)


def test_arithmetic_coding_is_not_shown_as_it_is():
    data = jpeg()
    place = data.index(b"\xff\xc0")
    assert faithful.jpeg_orientation(data[: place + 1] + b"\xc9" + data[place + 2 :]) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\0\0" * 9, b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"]
)
def test_anything_else_is_not(data):
    assert not faithful.shown_alike(data)


def test_flipped_bytes_raise_nothing():
    rng = np.random.default_rng(0)
    for data in ALL.values():
        for _ in range(20):
            broken = bytearray(data)
            for place in rng.integers(0, min(len(broken), 400), 4):
                broken[place] = rng.integers(0, 256)
            assert faithful.shown_alike(bytes(broken)) in (True, False)
