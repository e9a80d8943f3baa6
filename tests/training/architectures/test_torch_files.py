import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from torch_writing import MAGIC, write_state_dict

from segdemo.training.architectures.torch_files import _Tensor, read_state_dict

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


@pytest.mark.parametrize(
    "harm",
    [
        b"r\xff\xff\xff\x7f",  # to be remembered by a number for which Python would make room of 32 GB
        b"p1999999999\n",
    ],
)
def test_room_is_not_made_for_any_number(tmp_path, harm):
    path = tmp_path / "a.pth"
    write_state_dict(path, STATE)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"N" + harm + b"0" + data[2:])  # behind the mark of the protocol
    with pytest.raises(ValueError, match=r"a\.pth is not a file of plain tensors"):
        read_state_dict(path)


def test_a_tensor_is_not_larger_than_what_is_stored(tmp_path):
    path = tmp_path / "a.pth"
    write_state_dict(path, {"a": np.zeros((257, 1), np.float32)})
    data = path.read_bytes()
    assert read_state_dict(path)["a"].shape == (257, 1) and data.count(b"M\x01\x01K\x01\x86") == 1
    path.write_bytes(data.replace(b"M\x01\x01K\x01\x86", b"M\x01\x01M\xff\xff\x86"))
    with pytest.raises(ValueError, match=r"a\.pth is not a file of plain tensors"):
        read_state_dict(path)


def test_steps_of_nothing_do_not_make_a_tensor_of_any_size():
    storage = SimpleNamespace(dtype=np.dtype("<f4"), count=1, values=np.zeros(1, np.float32))
    assert _Tensor(storage, 0, (1, 1), (0, 0)).array().shape == (1, 1)
    with pytest.raises(ValueError, match="larger than its storage"):
        _Tensor(storage, 0, (10**6, 10**6), (0, 0)).array()
