"""Label maps in all their forms, against cases worked out by hand."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
from drawn import encoded
from PIL import Image
from skimage import segmentation

from segdemo.core import label_maps
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import PETS, VOC, VOID, VOID_COLOR, LabelSet, voc_color
from segdemo.core.photos import Limits

FULL = LabelSet(
    "full", "Full", tuple(f"c{i}" for i in range(255)), tuple(voc_color(i) for i in range(255)), None
)
SMALL = np.array([[0, 1, 20], [255, 8, 8]], np.uint8)


def palettized(indices, palette):
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette([v for color in palette for v in color])
    return encoded(image)


def grey_png(depth, width, row):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, depth, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refusal(source, *args, **options):
    with pytest.raises(MaskError) as caught:
        label_maps.decode_png(source, *args, **options)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


def random_map(seed, height, width, ids):
    return np.random.default_rng(seed).choice(np.array(ids, np.uint8), (height, width))


# --------------------------------------------------------------------------------------------------- PNG


def test_encoded_png_is_palettized_with_the_label_sets_colours():
    image = Image.open(io.BytesIO(label_maps.encode_png(SMALL, VOC)))
    assert image.mode == "P" and image.size == (3, 2)
    assert np.array_equal(np.array(image), SMALL)
    rgb = np.array(image.convert("RGB"))
    assert rgb[0].tolist() == [[0, 0, 0], [128, 0, 0], [0, 64, 128]]
    assert rgb[1].tolist() == [list(VOID_COLOR), [64, 0, 0], [64, 0, 0]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (13, 17), (64, 64), (257, 3)])
def test_png_round_trip_of_all_256_values(shape):
    label_map = np.resize(np.arange(256, dtype=np.uint8)[::-1], shape)
    data = label_maps.encode_png(label_map, FULL)
    for label_set in (FULL, None):
        result = label_maps.decode_png(data, label_set, shape)
        assert result.dtype == np.uint8 and result.flags.c_contiguous and np.array_equal(result, label_map)


def test_png_round_trip_at_48_megapixels():
    label_map = np.kron(random_map(0, 60, 80, [*range(21), 255]), np.ones((100, 100), np.uint8))
    assert np.array_equal(
        label_maps.decode_png(label_maps.encode_png(label_map, VOC), VOC, (6000, 8000)), label_map
    )


def test_encoding_takes_views():
    label_map = random_map(0, 9, 11, range(21))
    assert np.array_equal(
        label_maps.decode_png(label_maps.encode_png(label_map.T[::-1], VOC)), label_map.T[::-1]
    )


def test_encoding_refuses_what_is_no_label_map_of_the_set():
    with pytest.raises(
        MaskError, match=r"x=2, y=1 has class id 21, but PASCAL VOC 2012 has only the ids 0 to 20"
    ):
        label_maps.encode_png(np.array([[0, 255, 20], [20, 0, 21]], np.uint8), VOC)
    for wrong in (SMALL.astype(int), SMALL[None], SMALL.tolist(), np.zeros((0, 3), np.uint8)):
        with pytest.raises(MaskError):
            label_maps.encode_png(wrong, VOC)


def test_a_grey_png_holds_ids():
    assert np.array_equal(label_maps.decode_png(encoded(SMALL), VOC), SMALL)
    assert np.array_equal(label_maps.decode_png(encoded(SMALL)), SMALL)


@pytest.mark.parametrize(
    ("depth", "row", "ids"),
    [(1, b"\xa0", [1, 0, 1]), (2, b"\x1b", [0, 1, 2, 3]), (4, b"\x01\x2f", [0, 1, 2, 15])],
)
def test_grey_of_few_bits_is_not_stretched(depth, row, ids):
    assert label_maps.decode_png(grey_png(depth, len(ids), row), VOC)[0].tolist() == ids


def test_an_rgb_png_in_the_palettes_colours():
    rgb = label_maps.colourise(SMALL, VOC)
    assert np.array_equal(label_maps.decode_png(encoded(rgb), VOC), SMALL)
    opaque = np.dstack([rgb, np.full(SMALL.shape, 255, np.uint8)])
    assert np.array_equal(label_maps.decode_png(encoded(opaque), VOC), SMALL)
    assert "need a label set" in refusal(encoded(rgb))


def test_a_stray_colour_is_named_and_found():
    rgb = label_maps.colourise(SMALL, VOC)
    rgb[1, 2] = (1, 2, 3)
    message = refusal(encoded(rgb), VOC)
    assert "x=2, y=1" in message and "(1, 2, 3)" in message and "PASCAL VOC 2012" in message


def test_indices_count_whatever_the_palette_looks_like():
    ids = np.array([[0, 1, 2]], np.uint8)
    ramp = [(i, i, i) for i in range(256)]
    voc_palette = [voc_color(i) for i in range(256)]
    strange = [(9, 8, 7), (6, 5, 4), (3, 2, 1)]
    for palette in (ramp, voc_palette, strange, list(PETS.colors), voc_palette[:3]):
        assert np.array_equal(label_maps.decode_png(palettized(ids, palette), PETS), ids)
    # Only "pet" is there, painted black by a tool that knows VOC's palette; black is background in Pets.
    assert label_maps.decode_png(palettized([[0, 0]], voc_palette), PETS).tolist() == [[0, 0]]


def test_a_rearranged_palette_is_read_by_colour():
    palette = [VOC.colors[8], VOID_COLOR, VOC.colors[0]]  # as an editor sorts or crops it
    assert label_maps.decode_png(palettized([[0, 1, 2]], palette), VOC).tolist() == [[8, 255, 0]]
    assert label_maps.decode_png(palettized([[0, 1, 2]], palette)).tolist() == [[0, 1, 2]]


def test_palette_transparency_does_not_change_ids():
    image = Image.fromarray(SMALL)
    image.putpalette(VOC.palette())
    assert np.array_equal(label_maps.decode_png(encoded(image, transparency=0), VOC), SMALL)


def test_ids_outside_the_label_set_are_named_and_found():
    ids = np.zeros((4, 5), np.uint8)
    ids[2, 3], ids[3, 0] = 3, 200
    message = refusal(encoded(ids), PETS)
    assert "x=3, y=2" in message and "class id 3" in message and "0 to 2 and 255 for void" in message
    assert "class id 200" in refusal(encoded(np.where(ids == 3, 0, ids).astype(np.uint8)), PETS)
    palette = [(7, 7, i) for i in range(256)]
    assert "class id 3" in refusal(palettized(ids, palette), PETS)


def test_wrong_size_says_both_sizes_and_nothing_is_resized():
    message = refusal(encoded(SMALL), VOC, (3, 2))
    assert "3x2 pixels" in message and "photo measures 2x3" in message
    assert label_maps.decode_png(encoded(SMALL), VOC, (2, 3)).shape == (2, 3)


def test_size_is_checked_before_decoding(monkeypatch):
    data = encoded(SMALL)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert "million" in refusal(data, limits=Limits(max_pixels=5))
    assert "photo measures" in refusal(data, size=(9, 9))


def test_sixteen_bits_are_refused():
    assert "16 bits" in refusal(encoded(SMALL.astype(np.uint16)), VOC)
    assert "16 bits" in refusal(encoded(SMALL.astype(np.uint16)))


def test_transparent_pixels_are_refused_and_found():
    rgba = np.dstack([label_maps.colourise(SMALL, VOC), np.full(SMALL.shape, 255, np.uint8)])
    rgba[0, 2, 3] = 254
    assert "x=2, y=0 is transparent" in refusal(encoded(rgba), VOC)
    la = Image.merge("LA", [Image.fromarray(SMALL), Image.new("L", (3, 2), 255)])
    assert np.array_equal(label_maps.decode_png(encoded(la), VOC), SMALL)
    la.putpixel((1, 1), (8, 0))
    assert "x=1, y=1 is transparent" in refusal(encoded(la), VOC)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(format):
    message = refusal(encoded(SMALL, format), VOC)
    assert "not a PNG" in message and ("lossy" in message) == (format in ("JPEG", "WEBP"))


def test_damaged_missing_and_empty_masks_are_refused(tmp_path):
    noise = encoded(random_map(0, 64, 64, range(21)))
    assert "cut short or damaged" in refusal(noise[: len(noise) // 2])
    assert "damaged" in refusal(noise[:20])
    assert "empty" in refusal(b"")
    assert "There is no file" in refusal(tmp_path / "none.png")
    (tmp_path / "mask.png").write_bytes(noise)
    assert label_maps.decode_png(tmp_path / "mask.png").shape == (64, 64)
    assert refusal(tmp_path / "mask.png", size=(1, 1)).startswith("mask.png ")


# ----------------------------------------------------------------------------------------------- colours


def test_colourise_by_hand():
    assert label_maps.colourise(np.array([[0, 1, 2, 255]], np.uint8), PETS).tolist() == [
        [[230, 97, 0], [0, 0, 0], [26, 133, 255], [224, 224, 192]]
    ]
    with pytest.raises(MaskError, match="class id 3"):
        label_maps.colourise(np.array([[3]], np.uint8), PETS)


@pytest.mark.parametrize("label_set", [VOC, PETS, FULL])
def test_rgb_is_exactly_undone(label_set):
    label_map = random_map(1, 40, 50, [*range(len(label_set)), VOID])
    assert np.array_equal(
        label_maps.rgb_to_label_map(label_maps.colourise(label_map, label_set), label_set), label_map
    )


@pytest.mark.parametrize("color", [(128, 0, 1), (0, 0, 1), (255, 255, 255), voc_color(21), (1, 0, 0)])
def test_a_colour_outside_the_palette_is_an_error(color):
    rgb = np.zeros((3, 4, 3), np.uint8)
    rgb[2, 1] = color
    with pytest.raises(MaskError, match=r"x=1, y=2 has the colour \(" + ", ".join(map(str, color))):
        label_maps.rgb_to_label_map(rgb, VOC)


def test_rgb_masks_have_a_type_and_a_shape():
    for wrong in (
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 3)),
        np.zeros((2, 2, 4), np.uint8),
        [[[0, 0, 0]]],
    ):
        with pytest.raises(MaskError, match="uint8 array"):
            label_maps.rgb_to_label_map(wrong, VOC)


def test_boundaries_by_hand():
    label_map = np.array([[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert label_maps.boundaries(label_map).astype(int).tolist() == [
        [0, 1, 0, 0],
        [1, 1, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    split = np.array([[0, 0, 0, 0, 5, 5, 5, 5]])
    assert label_maps.boundaries(split)[0].astype(int).tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert label_maps.boundaries(split, 2)[0].astype(int).tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert label_maps.boundaries(split.T, 3)[:, 0].astype(int).tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    assert label_maps.boundaries(np.array([[7]]), 4).tolist() == [[False]]
    assert not label_maps.boundaries(np.zeros((5, 5), np.uint8)).any()


def test_boundaries_match_scikit_image():
    label_map = np.kron(random_map(2, 9, 9, range(4)), np.ones((3, 4), np.uint8))
    # find_boundaries(thick) with the 4-neighbourhood is the same definition.
    assert np.array_equal(
        label_maps.boundaries(label_map), segmentation.find_boundaries(label_map, mode="thick")
    )


def test_overlay_by_hand():
    image = np.full((1, 3, 3), 100, np.uint8)
    label_map = np.array([[0, 1, 255]], np.uint8)
    plain = label_maps.overlay(image, label_map, VOC, opacity=0.2, outline=False)
    # 20 % of (123, 228, 250), which aeroplanes are shown in, and of (224, 224, 192); the background stays as it is.
    assert plain[0].tolist() == [[100, 100, 100], [105, 126, 130], [125, 125, 118]]
    assert plain.dtype == np.uint8 and plain.shape == image.shape
    white = np.full_like(image, 255)
    assert label_maps.overlay(white, label_map, VOC)[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(label_maps.overlay(image, label_map, VOC, 0, outline=False), image)
    assert label_maps.overlay(image, label_map, VOC, 1, outline=False)[0].tolist() == [
        [100, 100, 100],
        [123, 228, 250],
        [224, 224, 192],
    ]


def test_overlay_outlines_the_class_and_not_the_background():
    image = np.full((7, 7, 3), 100, np.uint8)
    label_map = np.zeros((7, 7), np.uint8)
    label_map[1:6, 1:6] = 1
    result = label_maps.overlay(image, label_map, VOC, opacity=0.2)
    solid = (result == (123, 228, 250)).all(-1)
    expected = np.zeros((7, 7), bool)
    expected[1:6, 1:6] = True
    expected[2:5, 2:5] = False
    assert np.array_equal(solid, expected)
    assert (result[label_map == 0] == 100).all() and result[3, 3].tolist() == [105, 126, 130]


def test_overlay_refuses_what_does_not_fit():
    image = np.zeros((2, 3, 3), np.uint8)
    for wrong in (image[:1], image.astype(float), image[..., 0]):
        with pytest.raises(MaskError, match="label map asks for"):
            label_maps.overlay(wrong, SMALL, VOC)
    for opacity in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            label_maps.overlay(image, SMALL, VOC, opacity)


# ----------------------------------------------------------------------------------------------- numbers


def test_class_table_by_hand():
    label_map = np.array([[8, 8, 0, 255], [8, 0, 0, 255]], np.uint8)
    assert label_maps.class_table(label_map, VOC) == [
        {"id": 0, "name": "background", "color": [0, 0, 0], "pixels": 3, "share": 3 / 8},
        {"id": 8, "name": "cat", "color": [64, 0, 0], "pixels": 3, "share": 3 / 8},
    ]
    assert label_maps.class_table(np.full((2, 2), 255, np.uint8), VOC) == []
    assert all(type(v) in (int, str, list, float) for v in label_maps.class_table(label_map, VOC)[0].values())


def test_confusion_and_iou_by_hand():
    truth = np.array([[0, 0, 1, 1, 255, 2]], np.uint8)
    prediction = np.array([[0, 1, 1, 1, 0, 0]], np.uint8)
    matrix = label_maps.confusion(truth, prediction, 4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    scores = label_maps.iou(matrix)
    # Class 0: 1 of {0, 0, 2->0}; class 1: 2 of 3; class 2 missed entirely; class 3 absent.
    assert scores[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 0]) and math.isnan(scores[3])


def test_a_class_only_predicted_scores_zero_and_perfection_one():
    truth = np.array([[0, 0]], np.uint8)
    assert label_maps.iou(label_maps.confusion(truth, np.array([[0, 1]], np.uint8), 2)).tolist() == [0.5, 0]
    assert label_maps.iou(label_maps.confusion(truth, truth, 1)).tolist() == [1]


def test_confusion_leaves_void_out_on_either_side():
    label_map = random_map(3, 30, 30, [0, 1, 2, 255])
    other = random_map(4, 30, 30, [0, 1, 2, 255])
    expected = [[int(((label_map == i) & (other == j)).sum()) for j in range(3)] for i in range(3)]
    assert label_maps.confusion(label_map, other, 3).tolist() == expected


def test_confusion_handles_255_classes():
    label_map = np.arange(255, dtype=np.uint8)[None]
    assert np.array_equal(label_maps.confusion(label_map, label_map, 255), np.eye(255))


def test_confusion_refuses_what_is_no_class():
    good = np.zeros((1, 2), np.uint8)
    with pytest.raises(MaskError, match="prediction holds class id 3, but there are 3"):
        label_maps.confusion(good, np.array([[0, 3]], np.uint8), 3)
    with pytest.raises(MaskError, match="truth holds class id 254"):
        label_maps.confusion(np.array([[0, 254]], np.uint8), good, 3)
    with pytest.raises(MaskError, match=r"\(1, 2\).*\(2, 1\)"):
        label_maps.confusion(good, good.T, 3)


# --- masks of one thing ---------------------------------------------------------------------------------------


INSIDE = np.random.default_rng(6).random((20, 30)) < 0.4
GREY = Image.fromarray(np.where(INSIDE, np.uint8(128), np.uint8(127)))


@pytest.mark.parametrize(
    "picture",
    [
        GREY,
        Image.fromarray(INSIDE),
        Image.fromarray(np.where(INSIDE, np.uint8(255), np.uint8(0))).convert("P"),
        GREY.convert("RGB"),
    ],
    ids=["grey", "one bit", "palette", "three equal channels"],
)
def test_a_mask_is_what_is_over_127(picture):
    mask = label_maps.decode_mask(encoded(picture), (20, 30))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, INSIDE)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_mask_of_few_bits_goes_by_its_grey(depth):
    values = range(2**depth)
    bits = "".join(f"{value:0{depth}b}" for value in values).ljust(8, "0")
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    mask = label_maps.decode_mask(grey_png(depth, len(values), row))
    np.testing.assert_array_equal(mask[0], [v * 255 / (2**depth - 1) > 127 for v in values])


def test_what_is_no_mask_of_one_thing_is_refused(tmp_path):
    colours = Image.fromarray(random_map(1, 20, 90, list(range(200))).reshape(20, 30, 3))
    still = {"colours.png": colours, "palette.png": colours.quantize(9), "clear.png": GREY.convert("LA")}
    for name, picture in still.items():
        picture.save(tmp_path / name)
    GREY.save(tmp_path / "moving.png", save_all=True, append_images=[Image.new("L", GREY.size)])
    for name in (*still, "moving.png"):
        with pytest.raises(MaskError, match=f"{name} is no mask of one thing: save it as a grey PNG without"):
            label_maps.decode_mask(tmp_path / name)
    with pytest.raises(MaskError, match="30x20 pixels, but its photo measures 31x20"):
        label_maps.decode_mask(encoded(GREY), (20, 31))
    with pytest.raises(MaskError, match="more than"):
        label_maps.decode_mask(encoded(GREY), limits=Limits(max_pixels=599))
