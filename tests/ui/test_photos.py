"""Photos on the page, and what is remembered of them."""

import numpy as np
import pytest
from drawn import encoded

from segdemo.core.photos import IntakeError, Limits
from segdemo.ui.photos import PhotoCache


def test_a_photo_whose_file_is_gone_is_told_without_its_path(tmp_path):
    photos, path = PhotoCache(Limits(), 10**6), tmp_path / "my holiday.png"
    path.write_bytes(encoded(np.full((4, 6, 3), 99, np.uint8)))
    assert photos.read(path).shape == (4, 6, 3)
    path.unlink()
    for gone in (path, tmp_path / "x" / "y.png", tmp_path / "\0"):
        with pytest.raises(IntakeError, match=r"^This photo is not kept here any more: choose it again\.$"):
            photos.read(gone)
