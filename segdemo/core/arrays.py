"""Names for the arrays that are handed around; shapes and ranges stand in each docstring."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
UInt8 = npt.NDArray[np.uint8]  # photos, label maps, masks


def digest_of(array: UInt8) -> str:
    """Hexadecimal SHA-256 of the shape and values of a uint8 array: what photos and masks are known by."""
    digest = hashlib.sha256(f"{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
