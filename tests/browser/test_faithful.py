"""Chromium shows the files that ``faithful`` lets through with the very pixels that are segmented."""

import base64

import numpy as np
import pytest
from photo_files import MISLEADING, PLAIN

from segdemo.core.faithful import shown_alike
from segdemo.core.photos import read_photo

_SHOW = """async (text) => {
    const blob = await (await fetch("data:application/octet-stream;base64," + text)).blob();
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    try { await image.decode(); } catch { return null; }
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.height, canvas.width, Array.from(pixels)];
}"""


@pytest.fixture(scope="module")
def shown(browser):
    """A function from the bytes of a file to what Chromium shows: uint8 (H, W, 3), or None."""
    page = browser.new_page()

    def show(data):
        answer = page.evaluate(_SHOW, base64.b64encode(data).decode())
        if answer is None:
            return None
        height, width, pixels = answer
        return np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]

    yield show
    page.close()


def alike(one, other):
    return one is not None and one.shape == other.shape and np.abs(one.astype(int) - other).mean() < 3


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_show_what_is_segmented(shown, name):
    assert shown_alike(PLAIN[name])
    assert alike(shown(PLAIN[name]), read_photo(PLAIN[name]))


def test_the_others_are_held_back_for_a_reason(shown):
    different = {name for name, data in MISLEADING.items() if not alike(shown(data), read_photo(data))}
    # Of what every Chromium shows otherwise; some of the others depend on the browser.
    assert {
        "xmp.jpg",
        "xmp.png",
        "xmp.webp",
        "turned.webp",
        "long number.jpg",
        "linear.png",
        "hdr.png",
    } <= different
    assert not any(shown_alike(MISLEADING[name]) for name in different)
