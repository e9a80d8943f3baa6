"""Names for the arrays that are handed around; shapes and ranges stand in each docstring."""

from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
UInt8 = npt.NDArray[np.uint8]  # photos, label maps, masks
