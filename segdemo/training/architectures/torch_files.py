"""Weights in files that ``torch.save`` wrote, read without PyTorch and without running what is in them.

Such a file is a pickle of tensors. A pickle may name any function to be called while it is read; this reader knows the
few names that plain tensors need and refuses all others. The layout is that of PyTorch before 1.6, in
``torch/serialization.py`` called legacy: three pickles that say what it is, the state dict, the keys of its storages,
and each storage's number of elements followed by these.
"""

import math
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

from segdemo.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "LongStorage": "<i8"}


def read_state_dict(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a state dict.

    Args:
        path: a file in PyTorch's layout from before 1.6.

    Returns:
        A dictionary of names to arrays.

    Raises:
        ValueError: it is no such file, is damaged, or holds anything but arrays by name.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            state = _read(file)
            return {name: tensor.array() for name, tensor in state.items()}
        except Exception:  # a damaged pickle raises nearly anything
            raise UserError(
                f"{path.name} is not a file of plain tensors as PyTorch wrote them before its version 1.6."
            ) from None


def _read(file):
    storages = {}
    if pickle_of(file, storages) != _MAGIC:
        raise ValueError("no such file")
    pickle_of(file, storages)  # the version of the protocol
    pickle_of(file, storages)  # sizes of numbers: always those of a little-endian machine
    state = pickle_of(file, storages)
    for key in pickle_of(file, storages):
        storage = storages[key]
        (count,) = np.frombuffer(file.read(8), "<i8")
        if count != storage.count:
            raise ValueError("a storage of another size")
        values = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
        if len(values) != count:
            raise ValueError("the file ends too early")
        storage.values = values
    return state


def pickle_of(file: BinaryIO, storages: dict[str, SimpleNamespace]) -> Any:
    """The next object of a file; its storages are noted in a dictionary by their keys, still without values."""
    start, names = file.tell(), 0
    for opcode, argument, _ in pickletools.genops(file):
        # Python makes room for a number that objects are remembered by, whatever that is.
        names += opcode.name in _MEMO
        if opcode.name in _MEMO and int(argument or 0) > 2 * names + 100:
            raise ValueError("a name out of range")
    file.seek(start)
    return _PlainUnpickler(file, storages).load()


class _Tensor:
    def __init__(self, storage, offset, size, stride, *_):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self):
        if min(0, self.offset, *self.size, *self.stride) < 0:
            raise ValueError("a tensor of no possible shape")
        if math.prod(self.size) > self.storage.count:
            raise ValueError("a tensor larger than its storage")
        if 0 in self.size:
            return np.zeros(self.size, self.storage.dtype)
        values = self.storage.values[self.offset :]
        if 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True)) > len(values):
            raise ValueError("a tensor larger than its storage")
        strides = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values, self.size, strides, writeable=False).copy()


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self._storages = storages

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a plain tensor")

    def persistent_load(self, pid):
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("not a plain storage")
        return self._storages.setdefault(key, SimpleNamespace(dtype=dtype, count=count, values=None))
