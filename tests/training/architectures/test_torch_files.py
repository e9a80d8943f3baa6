import pickle

import numpy as np
import pytest
from torch_writing import MAGIC, write_state_dict

from segdemo.training.architectures.torch_files import read_state_dict

RNG = np.random.default_rng(0)
STATE = {
    "a.weight": RNG.normal(size=(3, 2, 5)).astype(np.float32),
    "a.half": RNG.normal(size=4).astype(np.float16),
    "a.count": np.array(7),
    "b": RNG.normal(size=(2, 3)),
    "empty": np.zeros((0, 3), np.float32),
}


def test_arrays_are_read_as_they_were_written(tmp_path):
    write_state_dict(tmp_path / "a.pth", STATE, transposed=("b",))
    found = read_state_dict(tmp_path / "a.pth")
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        expected = array.T if name == "b" else array
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], expected)


class Harmful:
    def __reduce__(self):
        return print, ("this was run",)


@pytest.mark.parametrize("place", ["magic", "state", "keys"])
def test_nothing_in_a_file_is_run(tmp_path, capsys, place):
    parts = {"magic": MAGIC, "version": 1001, "sizes": {}, "state": {}, "keys": []}
    parts[place] = Harmful()
    (tmp_path / "a.pth").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts.values()))
    with pytest.raises(ValueError, match=r"a\.pth is not a file of plain tensors"):
        read_state_dict(tmp_path / "a.pth")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_files_that_are_cut_short_are_refused(tmp_path, share):
    path = tmp_path / "a.pth"
    write_state_dict(path, STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"not a file of plain tensors"):
        read_state_dict(path)


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    write_state_dict(path, {"a": np.arange(6, dtype=np.float32).reshape(2, 3)})
    data = path.read_bytes()
    assert data.count(b"K\x02K\x03\x86") == 1  # the shape (2, 3)
    for shape in (b"K\x02K\x04\x86", b"K\x07K\x03\x86"):
        path.write_bytes(data.replace(b"K\x02K\x03\x86", shape))
        with pytest.raises(ValueError, match="not a file of plain tensors"):
            read_state_dict(path)


def test_other_pickles_are_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": [1, 2]}))
    with pytest.raises(ValueError, match=r"before its version 1\.6"):
        read_state_dict(tmp_path / "a.pth")
