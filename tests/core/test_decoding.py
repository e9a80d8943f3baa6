"""What is refused before it is decoded, and the clock that stops the rest."""

import time

import numpy as np
import pytest
from drawn import encoded
from PIL import Image

from segdemo.core import decoding


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (1000, 1200), (1, 5000)])
def test_the_emptiest_whole_png_is_decoded(mode, size):
    data = encoded(Image.new(mode, size), "PNG", optimize=True)
    assert decoding.objection(data, *size) is None
    assert "is cut short" in decoding.objection(data, 32000, 32000)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 1}]
)
@pytest.mark.parametrize("size", [(1, 1), (9, 1), (1600, 1200)])
def test_the_emptiest_whole_jpeg_is_decoded(mode, options, size):
    data = encoded(Image.new(mode, size), "JPEG", quality=1, **options)
    assert decoding.objection(data, *size) is None
    assert "is cut short" in decoding.objection(data, 32000, 32000)


def test_scans_are_counted_in_the_picture_alone():
    """Not in previews, in what the entropy-coded data happen to hold, or behind the picture."""
    scans = b"\xff\xda" * 5000
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", exif=b"Exif\0\0" + scans, progressive=True)
    assert decoding.objection(data + scans, 64, 64) is None
    last = data[data.rfind(b"\xff\xda") : -2]
    many = data[:-2] + last * 150 + b"\xff\xd9"
    assert "more than 100 scans" in decoding.objection(many, 64, 64)
    assert decoding.objection(data[:-2] + last * 30 + b"\xff\xd9", 64, 64) is None


def test_fewer_scans_of_more_pixels():
    data = encoded(Image.new("L", (8000, 8000)), "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    assert decoding.objection(data[:-2] + last * 15 + b"\xff\xd9", 8000, 8000) is None
    assert "more than 25 scans" in decoding.objection(data[:-2] + last * 30 + b"\xff\xd9", 8000, 8000)


def test_other_formats_are_left_to_their_decoders():
    assert decoding.objection(b"GIF89a", 60000, 60000) is None
    for head in (b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8" + b"\xff" * 100):
        decoding.objection(head, 10, 10)


def test_the_clock_counts_this_threads_processor_time():
    clock = decoding.Clock(0.2)
    file = decoding.TimedFile(b"abc\nd", clock)
    time.sleep(0.3)
    assert file.read(1) == b"a" and file.readline() == b"bc\n" and file.read() == b"d"
    while time.thread_time() < clock._end:
        np.sort(np.zeros(1000))
    for read in (file.read, file.readline, clock.check):
        with pytest.raises(decoding.OutOfTimeError):
            read()
