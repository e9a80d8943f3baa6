"""TIFFs that Pillow reads wrong or not at all; the files are laid out in ``tiff_files``."""

import struct

import numpy as np
import pytest
from drawn import encoded
from photo_files import UPRIGHT
from tiff_files import ORIENTATION, SUB_PAGES, SUBFILE, tiff_file, tiff_page

from segdemo.core import tiff
from segdemo.core.photos import IntakeError, Limits, read_photo

RNG = np.random.default_rng(7)
PHOTO = RNG.integers(0, 256, (20, 28, 3), np.uint8)
DEEP = PHOTO.astype(np.uint16) * 257
THUMBNAIL = np.full((5, 7, 3), 9, np.uint8)
REDUCED = ((SUBFILE, 1),)


def refusal(data, limits=None):
    with pytest.raises(IntakeError) as caught:
        read_photo(data, limits)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 250
    return message


# --- samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize(
    "how",
    [
        *({}, {"rows": 3}, {"tile": (16, 16)}, {"compression": 8}, {"compression": 8, "rows": 7}),
        *({"compression": 8, "predictor": 2}, {"compression": 8, "predictor": 2, "tile": (16, 16)}),
    ],
)
def test_sixteen_bit_rgb(endian, big, planar, how):
    data = tiff_file(tiff_page(DEEP, planar=planar, **how), endian=endian, big=big)
    np.testing.assert_array_equal(read_photo(data), PHOTO)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_blocks_that_another_program_compressed(compression, predictor):
    # Pillow writes 16-bit grey through libtiff; the reader here undoes its compression and its predictor.
    if predictor == 2 and compression in ("packbits", "raw"):
        predictor = 1
    grey = DEEP[..., 0]
    data = encoded(grey, "TIFF", compression=compression, tiffinfo={317: predictor})
    page = tiff.photo_page(data)
    assert page.get(tiff.PREDICTOR, 1) == predictor
    np.testing.assert_array_equal(tiff.samples_of(data, page)[..., 0], grey)
    np.testing.assert_array_equal(read_photo(data)[..., 0], PHOTO[..., 0])


@pytest.mark.parametrize("white", [1023, 4095, 16383])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("planar", [1, 2])
def test_cameras_that_leave_the_upper_bits_empty(white, bands, planar):
    values = np.rint(PHOTO[..., :bands] / 255 * white).astype(np.uint16)
    values[0, 0] = white
    expected = np.rint(values / white * 255)
    result = read_photo(tiff_file(tiff_page(values, planar=planar)))[..., :bands]
    np.testing.assert_array_equal(result, expected)


def test_a_white_level_that_the_file_states_counts():
    values = np.full((4, 5), 1000, np.uint16)
    assert read_photo(tiff_file(tiff_page(values, tags=[(281, 10_000)])))[0, 0, 0] == 26
    # It cannot be: of 1023
    assert read_photo(tiff_file(tiff_page(values, tags=[(281, 500)])))[0, 0, 0] == 249


def test_packed_twelve_bit_grey():
    values = np.array([[0, 4095], [2048, 1024]], np.uint16)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.tolist())
    entries = [
        (256, 2),
        (257, 2),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 2),
        (279, len(packed)),
    ]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    body = struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed
    data = body + struct.pack("<H", len(entries)) + directory + bytes(4)
    assert read_photo(data)[..., 0].tolist() == [[0, 255], [128, 64]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("how", [{}, {"planar": 2}, {"compression": 8, "predictor": 3}, {"tile": (16, 16)}])
def test_float_rgb(dtype, how):
    values = (PHOTO / 255).astype(dtype)
    result = read_photo(tiff_file(tiff_page(values, **how))).astype(int)
    assert np.abs(result - PHOTO).max() <= (1 if dtype == np.float16 else 0)


def test_floats_a_little_above_white_do_not_turn_the_photo_black():
    values = (PHOTO / 255).astype(np.float32)
    values[0, 0] = 1.02
    assert np.abs(read_photo(tiff_file(tiff_page(values)))[1:].astype(int) - PHOTO[1:]).max() <= 6


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("pixels", [PHOTO, DEEP], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("more", [1, 2, 3, 5])
def test_bands_beyond_the_colours_are_left_out(planar, pixels, more):
    bands = np.concatenate([pixels, np.full((20, 28, more), pixels.max(), pixels.dtype)], 2)
    data = tiff_file(tiff_page(bands, planar=planar, photometric=2, extra=(0,) * more))
    np.testing.assert_array_equal(read_photo(data), PHOTO)


@pytest.mark.parametrize("bands", [4, 5, 12])
def test_bands_without_a_meaning_are_refused_with_their_number(bands):
    data = tiff_file(tiff_page(np.zeros((6, 8, bands), np.uint16), photometric=1, extra=(0,) * (bands - 1)))
    assert f"has {bands} bands and does not say which are red, green and blue" in refusal(data)


def test_three_bands_that_are_not_called_colours_are_taken_for_them():
    data = tiff_file(tiff_page(DEEP, photometric=1, extra=(0, 0)))
    np.testing.assert_array_equal(read_photo(data), PHOTO)


def test_opacity_of_sixteen_bits_is_composited_on_white():
    rgba = np.array([[[65535, 0, 0, 65535], [65535, 0, 0, 0], [0, 0, 0, 13107]]], np.uint16)
    expected = [[255, 0, 0], [255, 255, 255], [204, 204, 204]]
    assert read_photo(tiff_file(tiff_page(rgba, extra=(2,))))[0].tolist() == expected
    assert read_photo(tiff_file(tiff_page(rgba, extra=(2,), planar=2)))[0].tolist() == expected
    multiplied = rgba.copy()
    multiplied[..., :3] = (rgba[..., :3].astype(np.uint32) * rgba[..., 3:] // 65535).astype(np.uint16)
    assert read_photo(tiff_file(tiff_page(multiplied, extra=(1,))))[0].tolist() == expected
    grey = np.array([[[65535, 65535], [0, 0]]], np.uint16)
    assert read_photo(tiff_file(tiff_page(grey, extra=(2,))))[0, :, 0].tolist() == [255, 255]


def test_eight_bits_in_planes():
    np.testing.assert_array_equal(read_photo(tiff_file(tiff_page(PHOTO, planar=2, rows=6))), PHOTO)


def test_white_is_zero():
    data = tiff_file(tiff_page(DEEP[..., 0], photometric=0, compression=8))
    np.testing.assert_array_equal(read_photo(data)[..., 0], 255 - PHOTO[..., 0])


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (tiff_page(DEEP, compression=34712), "16-bit samples in 3 bands, compressed with JPEG 2000"),
        (tiff_page(DEEP, planar=2, compression=50002), "compressed with JPEG XL"),
        (tiff_page(PHOTO, compression=12345), "compressed with method 12345"),
        (tiff_page(DEEP[..., 0], photometric=32803), "camera's raw photo: develop it"),
        (tiff_page(DEEP, photometric=34892), "camera's raw photo: develop it"),
    ],
)
def test_what_cannot_be_read_is_called_what_it_is(page, words):
    message = refusal(tiff_file(page))
    assert words in message
    assert "damaged" not in message


def test_cut_short_is_still_called_damaged():
    whole = tiff_file(tiff_page(DEEP, rows=4), tiff_page(DEEP))
    (first,) = struct.unpack_from("<I", whole, 4)
    assert "damaged" in refusal(whole[: first - 10])
    beyond = tiff_file(tiff_page(DEEP, tags=[(273, len(whole))]))  # where the pixels are said to be
    assert "damaged" in refusal(beyond)


def test_what_it_unpacks_to_is_bounded_before_it_is_unpacked(monkeypatch):
    data = tiff_file(tiff_page(np.zeros((300, 300, 3), np.float64), compression=8))
    monkeypatch.setattr(tiff, "samples_of", lambda *_: pytest.fail("it was unpacked"))
    assert "takes 2 MB unpacked: save it with 8 bits" in refusal(data, Limits(max_pixels=90_000))
    assert "which is too large" in refusal(data, Limits(max_pixels=80_000))


def test_a_block_unpacks_to_no_more_than_its_size():
    bomb = bytearray(tiff_file(tiff_page(np.zeros((2000, 2000), np.uint16), compression=8)))
    page = tiff.photo_page(bytes(bomb))
    small = tiff.Page(page.offset, {**page.tags, tiff.LENGTH: (4,), tiff.ROWS_PER_STRIP: (4,)}, "<")
    assert tiff.samples_of(bytes(bomb), small).shape == (4, 2000, 1)


def test_flipped_bytes_never_raise_anything_else():
    good = [
        tiff_file(tiff_page(DEEP, planar=2, compression=8, predictor=2)),
        tiff_file(tiff_page(THUMBNAIL, tags=REDUCED, parts=[tiff_page(PHOTO / 255, tile=(16, 16))])),
        tiff_file(tiff_page(DEEP, rows=2), big=True, endian=">"),
    ]
    for data in good:
        for _ in range(150):
            broken = bytearray(data)
            for place in RNG.integers(0, len(broken), 5):
                broken[place] = RNG.integers(0, 256)
            start = len(broken) - 300  # where the directory is
            broken[int(RNG.integers(start, len(broken)))] = int(RNG.integers(0, 256))
            try:
                result = read_photo(bytes(broken), Limits(max_pixels=1_000_000))
            except IntakeError:
                continue
            assert result.ndim == 3 and result.dtype == np.uint8


# --- pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photo", [PHOTO, DEEP], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize(
    "layout",
    [
        lambda photo: [tiff_page(THUMBNAIL, tags=REDUCED, parts=[tiff_page(photo)])],
        lambda photo: [tiff_page(THUMBNAIL, tags=REDUCED), tiff_page(photo)],
        lambda photo: [tiff_page(THUMBNAIL, tags=[(255, 2)]), tiff_page(photo)],
        lambda photo: [tiff_page(THUMBNAIL), tiff_page(photo)],  # half its side or less, and of its shape
        lambda photo: [tiff_page(photo), tiff_page(THUMBNAIL, tags=REDUCED)],
        lambda photo: [tiff_page(photo, parts=[tiff_page(photo[::2, ::2], tags=REDUCED)])],
        lambda photo: [
            tiff_page(
                THUMBNAIL, tags=REDUCED, parts=[tiff_page(photo[::2, ::2], tags=REDUCED), tiff_page(photo)]
            )
        ],
    ],
)
@pytest.mark.parametrize("endian", ["<", ">"])
def test_the_photo_is_taken_and_not_its_thumbnail(photo, layout, endian):
    data = tiff_file(*layout(photo), endian=endian)
    np.testing.assert_array_equal(read_photo(data), PHOTO)


def test_pages_of_a_document_give_the_first():
    sheets = [tiff_page(np.full((30, 20, 3), n, np.uint8)) for n in (50, 60, 70)]
    assert (read_photo(tiff_file(*sheets)) == 50).all()
    larger = tiff_page(np.full((60, 70, 3), 80, np.uint8))  # of another shape: no larger copy
    assert (read_photo(tiff_file(sheets[0], larger)) == 50).all()


def test_nothing_but_reduced_pages_give_the_largest():
    pages = [tiff_page(THUMBNAIL, tags=REDUCED), tiff_page(PHOTO, tags=REDUCED)]
    np.testing.assert_array_equal(read_photo(tiff_file(*pages)), PHOTO)


@pytest.mark.parametrize("photo", [PHOTO, DEEP], ids=["8 bits", "16 bits"])
def test_a_part_is_turned_as_the_page_it_belongs_to(photo):
    upright = np.rot90(PHOTO, -1)
    for own in ([], [(ORIENTATION, 6)]):
        part = tiff_page(photo, tags=own)
        data = tiff_file(tiff_page(THUMBNAIL, tags=[*REDUCED, (ORIENTATION, 6)], parts=[part]))
        np.testing.assert_array_equal(read_photo(data), upright)
    part = tiff_page(photo, tags=[(ORIENTATION, 1)])
    data = tiff_file(tiff_page(THUMBNAIL, tags=[*REDUCED, (ORIENTATION, 6)], parts=[part]))
    np.testing.assert_array_equal(read_photo(data), PHOTO)


@pytest.mark.parametrize("photo", [DEEP, PHOTO], ids=["16 bits", "8 bits"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_unusual_pages(photo, orientation):
    expected = UPRIGHT[orientation](PHOTO)
    data = tiff_file(tiff_page(photo, planar=2, tags=[(ORIENTATION, orientation)]))
    np.testing.assert_array_equal(read_photo(data), expected)


def test_pages_in_a_circle_come_to_an_end():
    data = bytearray(tiff_file(tiff_page(PHOTO), tiff_page(PHOTO)))
    (first,) = struct.unpack_from("<I", data, 4)
    data[-4:] = struct.pack("<I", first)
    np.testing.assert_array_equal(read_photo(bytes(data)), PHOTO)
    inside = tiff_page(THUMBNAIL, tags=[*REDUCED, (SUB_PAGES, 8)])  # which is no page
    np.testing.assert_array_equal(read_photo(tiff_file(inside, tiff_page(PHOTO))), PHOTO)
