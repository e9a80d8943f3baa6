import os
import time

import numpy as np
import pytest
from skimage import data
from tiny import write_features

from segdemo.core.arrays import digest_of
from segdemo.inference import features
from segdemo.inference.features import Features, grid_size
from segdemo.inference.predict import DamagedModelError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def means(tmp_path):
    return Features(write_features(tmp_path / "graph"))


def kept(home):
    return sorted((home / "cache" / "features").iterdir())


@pytest.mark.parametrize(
    ("size", "grid"),
    [((375, 500), (96, 128)), ((3000, 4000), (96, 128)), ((1, 1), (128, 128)), ((1, 900), (8, 128))],
)
def test_grids_are_of_whole_blocks(size, grid):
    assert grid_size(*size, 512) == grid


def test_features_are_those_of_the_scaled_photo(means):
    photo = np.zeros((96, 128, 3), np.uint8)
    photo[:, 64:] = (200, 100, 50)
    found = means.compute(photo)
    assert (found.dtype, found.shape) == (np.uint8, (16, 16, 3))
    assert (found[:, :7] == 0).all()
    assert (found[:, 9:] == (200, 100, 50)).all()


def test_features_are_made_once_a_photo(means, home, monkeypatch):
    photo = data.coffee()[:90, :120]
    first = means.of(photo)
    assert len(kept(home)) == 1
    monkeypatch.setattr(Features, "compute", lambda *_: pytest.fail("made again"))
    np.testing.assert_array_equal(means.of(photo), first)
    np.testing.assert_array_equal(means.of(photo, digest_of(photo)), first)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"\x80\x04K\x01.", "other"])
def test_damaged_ones_are_made_again(means, home, damage):
    photo = data.coffee()[:90, :120]
    first = means.of(photo)
    (path,) = kept(home)
    if damage == "other":
        np.save(path, np.zeros((2, 2), np.uint8))
    else:
        path.write_bytes(damage)
    np.testing.assert_array_equal(means.of(photo), first)


def test_the_cache_is_bounded(means, home, monkeypatch):
    monkeypatch.setattr(features, "CACHE_BYTES", 1000)
    for shade in (10, 20, 30):
        means.of(np.full((64, 64, 3), shade, np.uint8))
        for path in kept(home):
            os.utime(path, (time.time() - 100, time.time() - 100))
    assert len(kept(home)) <= 2


def test_photos_of_other_pixels_or_sizes_have_other_keys():
    photo = np.zeros((4, 6, 3), np.uint8)
    changed = photo.copy()
    changed[3, 5, 2] = 1
    assert len({digest_of(p) for p in (photo, changed, photo.reshape(6, 4, 3))}) == 3
    assert digest_of(photo[:, ::-1]) == digest_of(photo)


def test_another_graph_than_promised_is_refused(tmp_path):
    entry = write_features(tmp_path / "graph")
    entry.path.write_bytes(entry.path.read_bytes() + b" ")
    with pytest.raises(DamagedModelError, match="damaged"):
        Features(entry).compute(data.coffee())
    entry.path.unlink()
    with pytest.raises(DamagedModelError, match="missing"):
        Features(entry).compute(data.coffee())


def test_the_shipped_graph_makes_half_a_megabyte():
    shipped = Features()
    found = shipped.compute(data.chelsea())
    assert (found.dtype, found.shape) == (np.uint8, (88, 128, len(shipped.steps)))
    assert 300_000 < found.nbytes < 700_000
    assert found.std((0, 1)).min() > 2  # no channel is empty
    assert np.mean((found == 0) | (found == 255)) < 0.02  # nor cut off
