import json

import pytest
from tiny import write_features

from segdemo.core.documents import DamagedError
from segdemo.core.files import sha256
from segdemo.zoo.features import served_features


def test_the_shipped_features_are_those_of_the_manifest():
    entry = served_features()
    assert sha256(entry.path) == entry.onnx_sha256
    assert entry.path.stat().st_size < 6_000_000
    assert 32 <= len(entry.steps) <= 64
    assert min(entry.steps) > 0


def test_an_entry_is_read_with_its_folder(tmp_path):
    entry = write_features(tmp_path)
    assert entry.path == tmp_path / "features.onnx"
    assert entry.steps == (1 / 40,) * 3


@pytest.mark.parametrize("features", [None, {"onnx": 3}, {"onnx": "a.onnx"}, [1]])
def test_a_manifest_without_good_ones_is_damaged(tmp_path, features):
    (tmp_path / "manifest.json").write_text(json.dumps({"models": {}, "features": features}))
    with pytest.raises(DamagedError, match="is damaged"):
        served_features(tmp_path)
