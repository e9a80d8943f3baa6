"""Photos of every kind, good and bad, drawn here: what ``read_photo`` makes of them."""

import io
import os
import struct
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn import encoded
from photo_files import UPRIGHT
from PIL import Image, ImageCms, features

from segdemo.core import apart, decoding
from segdemo.core.photos import MAX_PROFILE_BYTES, IntakeError, Limits, is_plain_jpeg, read_photo
from segdemo.errors import UserError

# Four corners that tell every rotation and mirroring apart: red, green / blue, white.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
PHOTO = np.kron(CORNERS, np.ones((8, 12, 1), np.uint8))  # 16 high, 24 wide


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, depth, kind, rows, *chunks):
    """A PNG with a header of one's choice; ``rows`` are the unfiltered bytes of each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def refusal(source, limits=None):
    with pytest.raises(IntakeError) as caught:
        read_photo(source, limits)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 250
    return message


def assert_photo(result, height, width):
    assert result.dtype == np.uint8 and result.shape == (height, width, 3)
    assert result.flags.c_contiguous and result.flags.writeable


# ------------------------------------------------------------------------------------------ good photos


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "AVIF"])
def test_lossless_formats_give_back_the_pixels(format):
    if format == "AVIF" and not features.check("avif"):
        pytest.fail("this Pillow lacks AVIF, which requirements promise")
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(format, {})
    data = encoded(PHOTO, format, **options)
    result = read_photo(data)
    assert_photo(result, 16, 24)
    assert np.abs(result.astype(int) - PHOTO).max() <= (3 if format == "AVIF" else 0)


def test_bytes_paths_and_files_are_all_sources(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(PHOTO))
    data = path.read_bytes()
    with path.open("rb") as file:
        sources = [data, bytearray(data), memoryview(data), path, str(path), io.BytesIO(data), file]
        for source in sources:
            assert np.array_equal(read_photo(source), PHOTO)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    data = encoded(PHOTO, format, exif=exif, **options)
    expected = UPRIGHT[orientation](PHOTO)
    result = read_photo(data)
    assert_photo(result, *expected.shape[:2])
    assert np.abs(result.astype(int) - expected).max() <= (6 if format == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_photo(encoded(PHOTO, exif=exif)), PHOTO)


def test_broken_exif_does_not_cost_the_photo():
    data = encoded(PHOTO, exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert np.array_equal(read_photo(data), PHOTO)


def test_alpha_is_composited_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 51]]  # opaque, clear, one fifth
    assert read_photo(encoded(rgba))[0].tolist() == [[200, 0, 0], [255, 255, 255], [244, 204, 204]]


def test_grey_alpha_is_composited_on_white():
    la = Image.merge("LA", [Image.new("L", (2, 1), 100), Image.new("L", (2, 1))])
    la.putpixel((0, 0), (100, 255))
    assert read_photo(encoded(la))[0].tolist() == [[100] * 3, [255] * 3]


def test_palette_with_and_without_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    assert read_photo(encoded(image))[0].tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    clear = read_photo(encoded(image, transparency=1))[0].tolist()
    assert clear == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]
    half = read_photo(encoded(image, transparency=bytes([255, 255, 0])))[0].tolist()
    assert half == [[10, 20, 30], [40, 50, 60], [255, 255, 255]]


def test_colour_keys_become_white():
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert read_photo(encoded(grey, transparency=7))[0].tolist() == [[255] * 3, [8] * 3]
    rgb = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert read_photo(encoded(rgb, transparency=(4, 5, 6)))[0].tolist() == [[1, 2, 3], [255] * 3]


def test_grey_and_one_bit():
    grey = np.array([[0, 100, 255]], np.uint8)
    assert read_photo(encoded(grey))[0].tolist() == [[0] * 3, [100] * 3, [255] * 3]
    bits = Image.new("1", (3, 1))
    bits.putpixel((1, 0), 255)
    for format in ("PNG", "TIFF", "BMP"):
        assert read_photo(encoded(bits, format))[0].tolist() == [[0] * 3, [255] * 3, [0] * 3]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format):
    values = np.array([[0, 257, 128 * 257, 65535, 700]], np.uint16)
    assert read_photo(encoded(values, format))[0, :, 0].tolist() == [0, 1, 128, 255, 3]


def test_sixteen_bit_rgb_png_is_scaled():
    row = struct.pack(">6H", 0, 128 * 257, 65535, 257, 0, 10 * 257)
    assert read_photo(raw_png(2, 1, 16, 2, [row]))[0].tolist() == [[0, 128, 255], [1, 0, 10]]


def test_sixteen_bit_rgba_png_is_scaled_and_composited():
    row = struct.pack(">8H", 257 * 9, 0, 65535, 65535, 0, 0, 0, 0)
    assert read_photo(raw_png(2, 1, 16, 6, [row]))[0].tolist() == [[9, 0, 255], [255, 255, 255]]


def test_sixteen_bit_grey_colour_key_becomes_white():
    data = raw_png(2, 1, 16, 0, [struct.pack(">2H", 257, 514)], png_chunk(b"tRNS", struct.pack(">H", 257)))
    assert read_photo(data)[0, :, 0].tolist() == [255, 2]


def test_white_is_zero_tiff_is_turned_around():
    values = np.array([[0, 65535]], np.uint16)
    data = encoded(values, "TIFF", tiffinfo={262: 0})
    assert Image.open(io.BytesIO(data)).tag_v2[262] == 0
    assert read_photo(data)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 200.0], [0, 100, 200]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([float("nan"), 0.5, float("inf")], [0, 128, 0]),
        ([1e30, 1e30, 1e30], [0, 0, 0]),
    ],
)
def test_float_tiff(values, expected):
    assert read_photo(encoded(np.array([values], np.float32), "TIFF"))[0, :, 0].tolist() == expected


def test_thirty_two_bit_tiff_is_stretched():
    values = np.array([[-1000, 0, 1000]], np.int32)
    assert read_photo(encoded(values, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_jpeg_is_not_inverted():
    # No ink is white; full black ink is black. Pillow writes Adobe's inverted CMYK, as Photoshop does.
    for ink, low, high in (((0, 0, 0, 0), 250, 255), ((0, 0, 0, 255), 0, 5)):
        data = encoded(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100)
        assert b"Adobe" in data
        result = read_photo(data)
        assert_photo(result, 8, 8)
        assert low <= result.min() and result.max() <= high
    red = read_photo(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert red[4, 4, 0] > 240 and red[4, 4, 1:].max() < 15


def test_lab_tiff():
    soft = PHOTO // 4 + 96  # 8-bit Lab cannot hold the corners of sRGB
    lab = ImageCms.profileToProfile(
        Image.fromarray(soft), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert np.abs(read_photo(encoded(lab, "TIFF")).astype(int) - soft).max() <= 4


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(format):
    frames = [Image.new("RGB", (6, 4), c) for c in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=40, **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    result = read_photo(data)
    assert_photo(result, 4, 6)
    assert (result == (255, 0, 0)).all()


def test_multi_page_tiff_gives_its_first_page():
    pages = [Image.new("L", (5, 3), 10), Image.new("L", (9, 9), 200)]
    result = read_photo(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert_photo(result, 3, 5)
    assert (result == 10).all()


def test_one_pixel():
    assert read_photo(encoded(np.array([[[1, 2, 3]]], np.uint8))).tolist() == [[[1, 2, 3]]]


def test_48_megapixels_pass_and_keep_their_size():
    result = read_photo(encoded(Image.new("L", (8000, 6000), 91), "JPEG", quality=30))
    assert_photo(result, 6000, 8000)
    assert result[5999, 7999].tolist() == [91, 91, 91]


def swapped_profile():
    """An sRGB-like profile, not called so, whose red and green are exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {}
    for i in range(struct.unpack(">I", data[128:132])[0]):
        place = 132 + 12 * i
        tags[bytes(data[place : place + 4])] = place
    red, green = tags[b"rXYZ"] + 4, tags[b"gXYZ"] + 4
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_colour_profiles_are_converted_to_srgb():
    profile = swapped_profile()
    result = read_photo(encoded(PHOTO, icc_profile=profile)).astype(int)
    assert np.abs(result - PHOTO[:, :, [1, 0, 2]]).max() <= 4  # red shows as green


def test_an_srgb_profile_costs_no_conversion(monkeypatch):
    monkeypatch.setattr(ImageCms, "buildTransform", None)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read_photo(encoded(PHOTO, icc_profile=srgb)), PHOTO)


def test_srgb_and_broken_profiles_change_nothing():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"not a profile", swapped_profile()[:200]):
        assert np.array_equal(read_photo(encoded(PHOTO, icc_profile=profile)), PHOTO)


def test_profile_of_another_colour_space_changes_nothing():
    assert np.array_equal(
        read_photo(encoded(PHOTO[:, :, 0], icc_profile=swapped_profile())), PHOTO[:, :, [0, 0, 0]]
    )


def large_profile(size):
    """``swapped_profile`` with a tag of noise, so that it has ``size`` bytes."""
    data = bytearray(swapped_profile())
    (count,) = struct.unpack(">I", data[128:132])
    moved = data[132 : 132 + 12 * count]
    for i in range(count):  # a further entry pushes everything else back
        (place,) = struct.unpack_from(">I", moved, 12 * i + 4)
        struct.pack_into(">I", moved, 12 * i + 4, place + 12)
    body = data[132 + 12 * count :]
    noise = np.random.default_rng(0).bytes(size - 132 - 12 * (count + 1) - len(body))
    entry = struct.pack(">4sII", b"zzzz", size - len(noise), len(noise))
    whole = data[:128] + struct.pack(">I", count + 1) + moved + entry + body + noise
    struct.pack_into(">I", whole, 0, len(whole))
    return bytes(whole)


@pytest.mark.parametrize("megabytes", [1.1, 3, 12])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_large_profiles_are_accepted_and_applied(format, megabytes):
    profile = large_profile(int(megabytes * 1e6))
    result = read_photo(encoded(PHOTO, format, icc_profile=profile, quality=100, subsampling=0)).astype(int)
    assert np.abs(result - PHOTO[:, :, [1, 0, 2]]).max() <= 8


def test_a_profile_beyond_reason_is_refused_as_what_it_is():
    packed = zlib.compress(bytes(MAX_PROFILE_BYTES + 1))
    profile = png_chunk(b"iCCP", b"any\0\0" + packed)
    data = raw_png(2, 1, 8, 2, [bytes(6)], profile)
    assert "has a colour profile of more than 17 MB: save it without" in refusal(data)


TEXTS = {
    "packed": lambda size: png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(size))),
    "international": lambda size: png_chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(b"a" * size)),
    "plain": lambda size: png_chunk(b"tEXt", b"note\0" + b"a" * min(size, 30_000_000)),
    "xmp": lambda size: png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * size)),
    "exif": lambda size: png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"a" * size)),
    "many": lambda size: b"".join(
        [png_chunk(b"zTXt", b"n\0\0" + zlib.compress(bytes(900_000)))] * (size // 900_000)
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("size", [2_000_000, 100_000_000])
@pytest.mark.parametrize("behind", [False, True])
def test_texts_of_any_size_do_not_cost_the_photo(kind, size, behind):
    data = encoded(PHOTO)
    place = len(data) - 12 if behind else 33  # before the end, or behind the header
    data = data[:place] + TEXTS[kind](size) + data[place:]
    assert np.array_equal(read_photo(data), PHOTO)


def test_a_text_that_turns_the_photo_still_does():
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>'
    data = encoded(PHOTO)
    turned = data[:33] + png_chunk(b"tEXt", b"note\0here") + png_chunk(b"iTXt", xmp) + data[33:]
    assert np.array_equal(read_photo(turned), UPRIGHT[6](PHOTO))


def test_draft_size_decodes_a_smaller_jpeg_that_is_large_enough():
    exif = Image.Exif()
    exif[0x0112] = 6
    # 320x480, upright 480x320
    data = encoded(np.kron(PHOTO, np.ones((20, 20, 1), np.uint8)), "JPEG", exif=exif)
    assert read_photo(data).shape == (480, 320, 3)
    assert read_photo(data, draft_size=(100, 60)).shape == (120, 80, 3)
    assert read_photo(encoded(PHOTO), draft_size=(2, 2)).shape == PHOTO.shape


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, True), ({"orientation": 6}, False), ({"mode": "CMYK"}, False), ({"mode": "L"}, True)],
)
def test_is_plain_jpeg(options, expected):
    exif = Image.Exif()
    exif[0x0112] = options.get("orientation", 1)
    image = Image.fromarray(PHOTO).convert(options.get("mode", "RGB"))
    assert is_plain_jpeg(encoded(image, "JPEG", exif=exif)) is expected
    assert not is_plain_jpeg(encoded(PHOTO))
    assert not is_plain_jpeg(b"\xff\xd8\xff nonsense")


# ------------------------------------------------------------------------------------------- bad photos


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello, I am text", "is not a photo"),
        (b"\x7f\x01\x9c\x33" + bytes(200), "is not a photo"),
        (b"%PDF-1.7 ...", "PDF document: export"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing: export"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript drawing: export"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video: send a single frame"),
        (b"\x1a\x45\xdf\xa3 webm", "video: send a single frame"),
        (b"RIFF\0\0\0\0AVI LIST", "video: send a single frame"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "HEIC photo, which cannot be read here: export it as JPEG or PNG",
        ),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1", "AVIF"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"PK\x03\x04....", "ZIP archive"),
        (b"\xff\xd8\xff\xe0 broken", "cut short or damaged"),
        (b"\x89PNG\r\n\x1a\n broken", "cut short or damaged"),
        (b"II*\0\xff\xff\xff\xff", "cut short or damaged"),
    ],
)
def test_what_is_not_a_photo_is_told_so(data, words):
    assert words in refusal(data)


FULL = [
    ("JPEG", {}),
    ("PNG", {}),
    ("GIF", {}),
    ("WEBP", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
    ("AVIF", {}),
]


@pytest.mark.parametrize(("format", "options"), FULL)
@pytest.mark.parametrize("kept", [0.97, 0.6, 0.2])
def test_truncated_photos_are_refused(format, options, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, format, **options)
    assert "damaged" in refusal(data[: int(len(data) * kept)])


@pytest.mark.parametrize(("format", "options"), FULL)
def test_flipped_bytes_never_raise_anything_else(format, options):
    rng = np.random.default_rng(1)
    data = encoded(rng.integers(0, 256, (24, 24, 3), np.uint8), format, **options)
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, len(broken), 6):
            broken[place] = rng.integers(0, 256)
        try:
            result = read_photo(bytes(broken), Limits(max_pixels=1_000_000))
        except IntakeError:
            continue
        assert result.ndim == 3 and result.dtype == np.uint8


def test_missing_files_folders_and_devices(tmp_path):
    assert "There is no file" in refusal(tmp_path / "nothing.jpg")
    assert "folder: choose a photo in it" in refusal(tmp_path)
    assert "cannot be opened" in refusal("bad\0name")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refusal(tmp_path / "pipe")  # and does not wait for a writer


def test_messages_name_the_file(tmp_path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"nonsense")
    assert refusal(path).startswith("holiday.jpg ") and str(tmp_path) not in refusal(path)


def test_what_is_no_source_is_told_so():
    assert "NoneType" in refusal(None)
    assert "binary" in refusal(io.StringIO("text"))


def test_bytes_over_the_limit_are_refused_without_reading_them(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: reading it would take all memory
    assert "huge.jpg has 1000000.0 MB where 40 MB are allowed" in refusal(path)
    data = encoded(PHOTO)
    path.write_bytes(data)
    assert_photo(read_photo(path, Limits(max_bytes=len(data))), 16, 24)
    assert "allowed" in refusal(path, Limits(max_bytes=len(data) - 1))
    assert "allowed" in refusal(data, Limits(max_bytes=len(data) - 1))
    assert "allowed" in refusal(io.BytesIO(data), Limits(max_bytes=len(data) - 1))
    assert_photo(read_photo(io.BytesIO(data), Limits(max_bytes=len(data))), 16, 24)


@pytest.mark.parametrize("pillow_limit", [None, 100, 89_478_485])
def test_a_bomb_is_refused_by_its_header_whatever_pillow_is_set_to(monkeypatch, pillow_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    decoded = []
    monkeypatch.setattr(Image.Image, "load", lambda self: decoded.append(self))
    bomb = raw_png(20_000, 20_000, 8, 0, [b""])
    message = refusal(bomb)
    assert "scale it down to at most 64 million pixels" in message
    assert not decoded


def test_size_limits_count_pixels_sides_and_aspect():
    data = encoded(Image.new("L", (30, 20)))
    assert_photo(read_photo(data, Limits(max_pixels=600)), 20, 30)
    assert "measures 30x20 pixels, which is too large" in refusal(data, Limits(max_pixels=599))
    assert_photo(read_photo(data, Limits(max_side=30)), 20, 30)
    assert "too large" in refusal(data, Limits(max_side=29))
    strip = encoded(Image.new("L", (1001, 1)))
    assert "measures 1001x1 pixels, which is too narrow" in refusal(strip)
    assert_photo(read_photo(encoded(Image.new("L", (1000, 1)))), 1, 1000)
    with pytest.raises(IntakeError, match="too large"):
        read_photo(data, Limits(max_pixels=599))


def test_limits_come_from_the_environment(monkeypatch):
    assert Limits() == Limits(40_000_000, 64_000_000) and Limits.from_env() == Limits()
    monkeypatch.setenv("SEGDEMO_MAX_PIXELS", "383")
    assert Limits.from_env().max_pixels == 383 and "too large" in refusal(encoded(PHOTO))
    monkeypatch.setenv("SEGDEMO_MAX_PIXELS", "384")
    assert_photo(read_photo(encoded(PHOTO)), 16, 24)
    monkeypatch.setenv("SEGDEMO_MAX_BYTES", "10")
    assert "allowed" in refusal(encoded(PHOTO))
    for wrong in ("ten", "0", "-5", "1e6"):
        monkeypatch.setenv("SEGDEMO_MAX_BYTES", wrong)
        with pytest.raises(UserError, match="SEGDEMO_MAX_BYTES is a positive whole number"):
            read_photo(encoded(PHOTO))


# --------------------------------------------------------------------------------------------- warnings


def odd_tiff():
    """A good TIFF with an extra tag whose data lies beyond the file, which makes Pillow warn."""
    data = bytearray(encoded(PHOTO[:, :, 0], "TIFF"))
    offset = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[offset : offset + 2])[0]
    entries = bytes(data[offset + 2 : offset + 2 + 12 * count])
    extra = struct.pack("<HHII", 65000, 2, 1000, 10**6)
    start = len(data)
    return (
        bytes(data[:4])
        + struct.pack("<I", start)
        + bytes(data[8:])
        + (struct.pack("<H", count + 1) + entries + extra + bytes(4))
    )


def test_warnings_of_pillow_do_not_leak():
    data = odd_tiff()
    with pytest.warns(UserWarning), Image.open(io.BytesIO(data)) as image:
        image.load()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        assert read_photo(data).shape == (16, 24, 3)
        assert warnings.filters == before
    assert not caught


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    data, failures = encoded(PHOTO), []

    def work():
        for _ in range(20):
            if not np.array_equal(read_photo(data), PHOTO):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and warnings.filters == before


# ------------------------------------------------------------------------- files that cost more than they should


def many_scans(side, scans):
    """A progressive JPEG in which an empty scan is repeated."""
    data = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * scans + b"\xff\xd9"


def claiming(data, width, height):
    """A JPEG with another size in its header."""
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


def within(seconds, function, *args):
    """What a function returns; it may take so much processor time of this process, all threads together."""
    start = time.process_time()
    result = function(*args)
    assert time.process_time() - start < seconds
    return result


def test_two_jpegs_of_thousands_of_empty_scans_are_refused_at_once():
    photos = [many_scans(1000, 24_000), many_scans(4000, 24_000)]
    assert all(photo.count(b"\xff\xda") > 24_000 for photo in photos)
    with ThreadPoolExecutor(2) as pool:
        for message in within(3, lambda: list(pool.map(refusal, photos))):
            assert "is a JPEG of more than 100 scans, which would take too long" in message
    assert_photo(read_photo(many_scans(300, 20)), 300, 300)


@pytest.mark.parametrize("size", [(8000, 8000), (1000, 32768), (32768, 1000)])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_small_jpeg_that_claims_a_large_size_is_refused_at_once(size, mode, progressive):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise.convert(mode), "JPEG", progressive=progressive)
    message = within(0.5, refusal, claiming(data, *size))
    assert f"is cut short: it claims {size[0]}x{size[1]} pixels" in message


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_small_png_that_claims_a_large_size_is_refused_at_once(mode):
    data = encoded(Image.new(mode, (50, 50)))
    header = struct.pack(">II", 8000, 8000) + data[24:29]
    message = within(0.5, refusal, data[:8] + png_chunk(b"IHDR", header) + data[33:])
    assert "is cut short: it claims 8000x8000 pixels" in message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"P6 3000 3000 7\n" + bytes(27_000_000), id="ppm in pure Python"),
        pytest.param(b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000_000, id="jpeg of segments without end"),
    ],
)
def test_what_takes_longer_than_its_time_is_stopped(data):
    message = within(4, refusal, data, Limits(max_photo_seconds=1))
    assert "takes more than 1 seconds" in message and "save it as JPEG" in message


def test_what_takes_more_memory_than_it_may_is_stopped_and_the_next_one_is_read():
    large = encoded(Image.new("RGBA", (4000, 4000)), "WEBP", lossless=True, method=0)
    assert len(large) < 1000
    message = within(2, refusal, large, Limits(max_photo_mb=150))
    assert "takes more than 5 seconds or too much memory to decode" in message
    assert_photo(read_photo(encoded(PHOTO, "WEBP")), 16, 24)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"quality": 1}, {"lossless": True, "exif": b"Exif\0\0"}]
)
def test_a_webp_that_claims_more_pixels_than_there_may_be_is_refused_as_that(options):
    data = bytearray(encoded(Image.new("RGB", (30, 20), "red"), "WEBP", **options))
    assert decoding.webp_size(data) == (30, 20)
    if data[12:16] == b"VP8X":
        data[24:30] = b"\xfe\x3f\0\xfe\x3f\0"
    elif data[12:16] == b"VP8 ":
        data[26:30] = b"\xff\x3f\xff\x3f"
    else:
        data[21:25] = b"\xfe\xbf\xff\x0f"
    assert decoding.webp_size(data) == (16383, 16383)
    assert "too many pixels" in within(0.5, refusal, bytes(data))


def test_a_decoder_that_crashes_costs_its_photo_only(monkeypatch):
    run = apart.run
    monkeypatch.setattr(apart, "run", lambda _, *args, **more: run("tests.decoders:crash", *args))
    assert "takes more than 5 seconds or too much memory to decode" in refusal(encoded(PHOTO, "TIFF"))
    monkeypatch.undo()
    assert np.array_equal(read_photo(encoded(PHOTO, "TIFF")), PHOTO)


def test_without_a_process_to_decode_in_it_is_decoded_here(monkeypatch):
    monkeypatch.setattr(apart, "run", raise_(OSError("no more processes")))
    assert np.array_equal(read_photo(encoded(PHOTO, "TIFF")), PHOTO)


def raise_(error):
    def function(*args, **options):
        raise error

    return function
