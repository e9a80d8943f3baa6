"""Label sets: VOC's and Pets' own numbers, palettes, and what makes a label set invalid."""

import json

import pytest

from segdemo.core.labels import LABEL_SETS, MAX_CLASSES, PETS, VOC, VOID, VOID_COLOR, LabelSet, voc_color

# From the development kit's documentation, written out.
VOC_NAMES = {
    0: "background", 1: "aeroplane", 2: "bicycle", 3: "bird", 4: "boat", 5: "bottle", 6: "bus", 7: "car", 8: "cat",
    9: "chair", 10: "cow", 11: "dining table", 12: "dog", 13: "horse", 14: "motorbike", 15: "person",
    16: "potted plant", 17: "sheep", 18: "sofa", 19: "train", 20: "tv/monitor",
}  # fmt: skip
VOC_COLORS = [
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128),
    (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128),
    (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
]  # fmt: skip


def test_voc_classes_and_colours():
    assert dict(enumerate(VOC.classes)) == VOC_NAMES
    assert list(VOC.colors) == VOC_COLORS
    assert len(VOC) == 21 and VOC.background == 0
    assert (VOID, VOID_COLOR) == (255, (224, 224, 192))


def test_voc_colour_map_is_all_different_and_ends_in_the_void_colour():
    assert len({voc_color(i) for i in range(256)}) == 256
    assert voc_color(255) == VOID_COLOR


def test_pets_follow_the_trimaps():
    assert PETS.classes == ("pet", "background", "border")  # trimap values 1, 2, 3
    assert PETS.background == 1 and len(PETS) == 3


def test_built_in_sets_are_found_by_name():
    assert LABEL_SETS == {"voc": VOC, "pets": PETS}


@pytest.mark.parametrize("label_set", [VOC, PETS])
def test_palette_holds_the_classes_first_and_void_last(label_set):
    palette = label_set.palette()
    assert len(palette) == 768 and all(type(v) is int and 0 <= v <= 255 for v in palette)
    triples = [tuple(palette[i : i + 3]) for i in range(0, 768, 3)]
    assert triples[: len(label_set)] == list(label_set.colors)
    assert triples[255] == (224, 224, 192)
    assert triples[100] == voc_color(100)


@pytest.mark.parametrize(
    "label_set", [VOC, PETS, LabelSet("x", "X", ("a", "b"), ((1, 2, 3), (4, 5, 6)), None)]
)
def test_json_round_trip(label_set):
    assert LabelSet.from_json(json.loads(json.dumps(label_set.to_json()))) == label_set


def test_json_classes_may_come_in_any_order():
    data = PETS.to_json()
    data["classes"].reverse()
    assert LabelSet.from_json(data) == PETS


def test_the_largest_label_set_has_255_classes():
    colors = tuple(voc_color(i) for i in range(256))
    names = tuple(f"class {i}" for i in range(256))
    assert len(LabelSet("big", "Big", names[:255], colors[:255])) == MAX_CLASSES == 255
    with pytest.raises(ValueError, match="1 to 255 classes, not 256"):
        LabelSet("big", "Big", names, colors)


@pytest.mark.parametrize(
    ("names", "colors", "background", "words"),
    [
        ((), (), None, "1 to 255 classes, not 0"),
        (("a", "b"), ((0, 0, 0),), 0, "as many colours, not 1"),
        (("a", " "), ((0, 0, 0), (1, 1, 1)), 0, "needs a name"),
        (("cat", "Cat "), ((0, 0, 0), (1, 1, 1)), 0, "called 'cat'"),
        (("a", "b"), ((0, 0, 0), (0, 0, 0)), 0, r"share the colour \(0, 0, 0\)"),
        (("a", "b"), ((0, 0, 0), VOID_COLOR), 0, "class and void"),
        (("a", "b"), ((0, 0, 0), (0, 0, 256)), 0, "from 0 to 255"),
        (("a", "b"), ((0, 0, 0), (0, -1, 0)), 0, "from 0 to 255"),
        (("a", "b"), ((0, 0, 0), (0, 0)), 0, "three numbers"),
        (("a", "b"), ((0, 0, 0), (1, 1, 1)), 2, r"0\.\.1"),
        (("a", "b"), ((0, 0, 0), (1, 1, 1)), -1, r"0\.\.1"),
    ],
)
def test_what_makes_a_label_set_invalid(names, colors, background, words):
    with pytest.raises(ValueError, match=words):
        LabelSet("x", "X", names, colors, background)
