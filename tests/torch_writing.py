"""Files as ``torch.save`` wrote them before PyTorch 1.6, made without PyTorch."""

import pickle
import struct
import sys
import types
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
}


class _Tensor:
    """Pickled as the call of ``torch._utils._rebuild_tensor_v2`` that a tensor is."""

    def __init__(self, array, key, torch, transposed):
        self.array, self.key, self.torch = array, key, torch
        self.transposed = transposed

    def __reduce__(self):
        strides = [step // self.array.itemsize for step in self.array.strides]
        shape = self.array.shape
        if self.transposed:
            shape, strides = shape[::-1], strides[::-1]
        storage = (
            "storage",
            getattr(self.torch, STORAGES[self.array.dtype.name]),
            self.key,
            "cpu",
            self.array.size,
            None,
        )
        return self.torch._utils._rebuild_tensor_v2, (
            _Storage(storage),
            0,
            shape,
            tuple(strides),
            False,
            OrderedDict(),
        )


class _Storage:
    def __init__(self, pid):
        self.pid = pid


class _Pickler(pickle.Pickler):
    def persistent_id(self, found):
        return found.pid if isinstance(found, _Storage) else None


@contextmanager
def _torch():
    # Modules with the names that such a pickle refers to.
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2():
        raise AssertionError("only named")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        yield torch
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def write_state_dict(path, state, transposed=()):
    """Write arrays by name; those named in ``transposed`` as tensors whose axes run the other way round."""
    with _torch() as torch, path.open("wb") as file:
        for value in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True}):
            pickle.dump(value, file, protocol=2)
        arrays = {str(n): np.array(array, order="C") for n, array in enumerate(state.values())}
        tensors = OrderedDict(
            (name, _Tensor(array, key, torch, name in transposed))
            for name, (key, array) in zip(state, arrays.items(), strict=True)
        )
        _Pickler(file, protocol=2).dump(tensors)
        pickle.dump(list(arrays), file, protocol=2)
        for array in arrays.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
