"""COCO panoptic: where the PNGs are, what colours mean, and exports by the rules of panopticapi's evaluation."""

import io
import json
from pathlib import PurePosixPath

import numpy as np
import pytest
from archive_files import (
    BARE,
    HEIGHT,
    SUBSETS,
    WIDTH,
    annotations_of,
    coco,
    encoded,
    exported,
    image,
    make_zip,
    picture,
    png,
    read,
    same,
    square,
)
from label_maps import LABEL_MAPS, drawn
from PIL import Image
from pycocotools import mask as coco_mask

from segdemo.core.labels import PETS, VOC, VOID, LabelSet
from segdemo.data.formats import Annotation, import_zip
from segdemo.data.formats.panoptic import segment_colors

CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}]


def colours(ids):
    """The PNG of segment ids (H, W)."""
    ids = np.asarray(ids, np.uint32)
    return encoded(np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], -1).astype(np.uint8))


def panoptic(*segments, file_name="a.png", image_id=1, **changes):
    segments = segments or ({"id": 300, "category_id": 1}, {"id": 70000, "category_id": 7})
    entry = {"image_id": image_id, "file_name": file_name, "segments_info": list(segments)}
    data = {"images": [image(file_name="a.jpg")], "annotations": [entry], "categories": CATEGORIES}
    return json.dumps({**data, **changes})


IDS = np.where(square() > 0, 300, 70000)
PHOTO = picture(format="JPEG", quality=95)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017/a.png"),
        ("annotations/panoptic_val2017.json", "panoptic_val2017/a.png"),
        ("p.json", "a.png"),
        ("p.json", "masks/a.png"),
    ],
)
def test_segments_are_read_wherever_their_png_lies(tmp_path, document, place):
    photos, imported = read(tmp_path, {document: panoptic(), place: colours(IDS), "val2017/a.jpg": PHOTO})
    assert imported.formats == ["panoptic"]
    assert list(imported.label_set.classes) == ["background", "cat", "sky"]
    assert same(photos["val2017/a.jpg"], square(1, ground=2)) and imported.account.painted == 2
    assert not imported.account.left_out and not imported.account.ignored


def test_what_belongs_to_no_segment_is_void_and_segments_of_a_class_are_one(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), int)
    ids[0, :3], ids[1, :3] = 5, 6
    document = panoptic({"id": 5, "category_id": 1}, {"id": "6", "category_id": "1"})
    photos, _ = read(tmp_path, {"p.json": document, "p/a.png": colours(ids), "a.jpg": PHOTO})
    assert same(photos["a.jpg"], np.where(ids > 0, 1, 255))


def test_one_bad_segment_costs_one(tmp_path):
    ids = IDS.copy()
    ids[0, 0], ids[0, 1], ids[0, 2] = 9, 10, 11
    wanted = ((300, 1), (300, 1), (12, 1), (9, 99), (None, 1), (10**12, 1), (0, 1), (70000, 7))
    segments = [{"id": id_, "category_id": category} for id_, category in wanted]
    document = panoptic(*segments[:-1], "x", segments[-1])
    photos, imported = read(tmp_path, {"p.json": document, "p/a.png": colours(ids), "a.jpg": PHOTO})
    expected = square(1, ground=2)
    expected[0, :3] = 255
    assert same(photos["a.jpg"], expected)
    left_out = {(e.what, e.why) for e in imported.account.left_out}
    assert ("segment 12", "covers no pixel of its PNG") in left_out
    assert ("segment 9", "has the category 99, which the document does not have") in left_out
    named = {"segment 10", "segment 11", "segment number 5", "segment number 8"}
    assert {what for what, _ in left_out} >= named
    assert imported.account.painted == 2 and len(imported.account.left_out) == 9


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.jpg": PHOTO}, "its PNG a.png is missing"),
        ({"a.jpg": PHOTO, "x/a.png": colours(IDS), "y/a.png": colours(IDS)}, "its PNG a.png is missing"),
        ({"a.jpg": PHOTO, "p/a.png": colours(IDS[:4])}, "its photo measures 8x6"),
        ({"a.jpg": PHOTO, "p/a.png": b"x"}, "save the mask as PNG"),
        ({"p/a.png": colours(IDS)}, "the photo is missing"),
    ],
)
def test_a_photo_that_cannot_be_read_is_named(tmp_path, files, said):
    more = {"i.json": coco(images=[image(2, "b.png")], annotations=[]), "b.png": picture(1)}
    _, imported = read(tmp_path, {"p.json": panoptic(), **files, **more})
    assert any(said in sentence for sentence in imported.refused)


def test_beside_instances_of_the_same_photo_it_is_said_which_are_read(tmp_path):
    files = {"instances.json": coco(images=[image(file_name="a.jpg")]), "panoptic.json": panoptic()}
    photos, imported = read(tmp_path, {**files, "panoptic/a.png": colours(IDS), "a.jpg": PHOTO})
    assert same(photos["a.jpg"], square()) and imported.formats == ["coco", "panoptic"]
    assert [(d.file, d.of) for d in imported.account.duplicates] == [("panoptic.json", "a.jpg")]


@pytest.mark.parametrize(
    "label_set", [VOC, PETS, LabelSet("x", "X", ("a", "b"), ((0, 0, 0), (1, 0, 0)), background=None)]
)
@pytest.mark.parametrize("own", [True, False])
def test_what_segdemo_exports_comes_back(tmp_path, label_set, own):
    rng = np.random.default_rng(0)
    maps = {f"p{i}": rng.choice([0, 1, 255], (HEIGHT, WIDTH)).astype(np.uint8) for i in range(3)}
    files = written(tmp_path, maps, label_set, SUBSETS)
    if not own:  # as another tool's, which has neither label set nor side-cars
        files = {name: files[name] for name in files if not name.startswith(("labels.json", "meta/"))}
    imported = import_zip(make_zip(tmp_path / "made.zip", files))
    found = {a.name.split(".")[0]: a for a in imported.annotations}
    assert {id_: a.meta["subset"] for id_, a in found.items()} == dict(zip(maps, SUBSETS, strict=True))
    for id_, label_map in maps.items():
        classes = [
            imported.label_set.classes[i] if i != 255 else "void" for i in found[id_].label_map.ravel()
        ]
        assert classes == [label_set.classes[i] if i != 255 else "void" for i in label_map.ravel()]
    assert not imported.account.left_out and (not own or imported.label_set == label_set)
    assert png(maps["p0"], label_set)


# ---------------------------------------------------------------------------------------------- exports

BLACK_SEA = LabelSet("black", "Black", ("sky", "sea", "land"), ((1, 0, 0), (0, 0, 0), (2, 0, 0)), 2)
MANY = LabelSet("many", "Many", tuple(f"c{i}" for i in range(255)), tuple((i, 0, 0) for i in range(255)), 0)
REDS = LabelSet("reds", "Reds", MANY.classes, tuple((i + 1, 0, 0) for i in range(255)), None)


def written(tmp_path, label_maps, label_set, subsets=("train",)):
    """The files of an export of these label maps."""
    return exported(tmp_path, annotations_of(label_maps, label_set, subsets), ["panoptic"])


def png_ids(data):
    """Segment ids of a PNG, as ``panopticapi.utils.rgb2id`` has them: R + 256 G + 256 * 256 B."""
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG" and image.mode == "RGB"
    red, green, blue = np.moveaxis(np.array(image).astype(np.int64), 2, 0)
    return red + 256 * green + 256 * 256 * blue


def check_document(files, name):
    """Hold a document to panopticapi's rules; returns photo's file name to (ids, {id: category id})."""
    document = json.loads(files[name])
    categories = {category["id"]: category for category in document["categories"]}
    assert len(categories) == len(document["categories"]) and min(categories) > 0
    for category in categories.values():
        assert category.keys() == {"id", "name", "supercategory", "isthing", "color"}
        assert category["isthing"] in (0, 1)
        assert len(category["color"]) == 3 and all(0 <= value <= 255 for value in category["color"])
    images = {image["id"]: image for image in document["images"]}
    entries = {entry["image_id"]: entry for entry in document["annotations"]}
    assert images.keys() == entries.keys() and len(images) == len(document["images"])
    assert len(entries) == len(document["annotations"])
    found = {}
    for image_id, entry in entries.items():
        ids = png_ids(files[f"{name.removesuffix('.json')}/{entry['file_name']}"])
        assert ids.shape == (images[image_id]["height"], images[image_id]["width"])
        segments = {segment["id"]: segment for segment in entry["segments_info"]}
        assert len(segments) == len(entry["segments_info"])  # every id once
        # None is in only one of PNG and JSON; 0 is void.
        assert set(np.unique(ids).tolist()) - {0} == segments.keys()
        for id_, segment in segments.items():
            assert segment["category_id"] in categories and segment["iscrowd"] == 0
            assert segment["area"] == np.count_nonzero(ids == id_)
            code = coco_mask.encode(np.asfortranarray(ids == id_, np.uint8))
            assert segment["bbox"] == coco_mask.toBbox(code).tolist()
            # panopticapi's IdGenerator gives "stuff" its category's colour as id.
            red, green, blue = categories[segment["category_id"]]["color"]
            assert id_ == red + 256 * green + 256 * 256 * blue
        names = {id_: categories[segment["category_id"]]["name"] for id_, segment in segments.items()}
        found[images[image_id]["file_name"]] = ids, names
    return found


@pytest.mark.parametrize("label_set", [VOC, PETS, BARE, BLACK_SEA], ids=lambda s: s.name)
def test_label_maps_are_in_the_png_and_void_is_0(tmp_path, label_set):
    files = written(tmp_path, LABEL_MAPS, label_set, ("train", "val", "test"))
    found = {}
    for subset in ("train", "val", "test"):
        found |= check_document(files, f"panoptic/panoptic_{subset}.json")
    assert len(found) == len(LABEL_MAPS)
    for name, label_map in LABEL_MAPS.items():
        ids, names = found[f"{name.replace(' ', '_')}.jpg"]
        back = np.full(label_map.shape, VOID, np.uint8)
        for id_, class_name in names.items():
            back[ids == id_] = label_set.classes.index(class_name)
        assert np.array_equal(back, label_map)


def test_by_hand(tmp_path):
    label_map = drawn(".1", "x2")
    # pet (230, 97, 0), background (0, 0, 0), border (26, 133, 255)
    files = written(tmp_path, {"a": label_map}, PETS)
    ids = png_ids(files["panoptic/panoptic_train/a.png"])
    pet, background, border = 230 + 256 * 97, 1, 26 + 256 * 133 + 65536 * 255
    assert ids.tolist() == [[pet, background], [0, border]]
    document = json.loads(files["panoptic/panoptic_train.json"])
    assert document["annotations"] == [
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [
                {"id": pet, "category_id": 1, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0},
                {"id": background, "category_id": 2, "area": 1, "bbox": [1, 0, 1, 1], "iscrowd": 0},
                {"id": border, "category_id": 3, "area": 1, "bbox": [1, 1, 1, 1], "iscrowd": 0},
            ],
        }
    ]
    assert document["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 2, "height": 2, "original_file_name": "a.png"}
    ]
    assert [(c["id"], c["name"], c["isthing"], c["supercategory"]) for c in document["categories"]] == [
        (1, "pet", 0, "class"),
        (2, "background", 0, "background"),
        (3, "border", 0, "class"),
    ]


@pytest.mark.parametrize("label_set", [VOC, PETS, BARE, BLACK_SEA, MANY], ids=lambda s: s.name)
def test_categories_are_those_of_the_other_documents(tmp_path, label_set):
    given = Annotation("a", np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), label_set)
    files = exported(tmp_path, [given], ["coco", "panoptic"])
    documents = [
        json.loads(files[f"{name}.json"]) for name in ("coco/instances_rle", "panoptic/panoptic_train")
    ]
    instances, whole = ({c["name"]: c["id"] for c in document["categories"]} for document in documents)
    background = None if label_set.background is None else label_set.classes[label_set.background]
    assert {name: id_ for name, id_ in whole.items() if name != background} == {
        name: id_ for name, id_ in instances.items() if name != "void"
    }
    assert whole.keys() == set(label_set.classes)  # void is no category here, the background is
    assert documents[0]["images"] == documents[1]["images"]


@pytest.mark.parametrize(
    ("label_set", "expected"),
    [
        (BLACK_SEA, [(1, 0, 0), (3, 0, 0), (2, 0, 0)]),
        (BARE, list(BARE.colors)),
        (VOC, [(1, 0, 0), *VOC.colors[1:]]),
        (MANY, [(255, 0, 0), *MANY.colors[1:]]),
        (REDS, list(REDS.colors)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_no_class_is_black_as_void_is_and_no_two_are_alike(label_set, expected):
    colors = segment_colors(label_set)
    assert colors == expected
    assert len({*colors, (0, 0, 0)}) == len(label_set) + 1


def test_a_subset_without_photos_has_no_document(tmp_path):
    files = written(tmp_path, {"a": LABEL_MAPS["a hole"], "b": LABEL_MAPS["noise"]}, VOC, ("val", "test"))
    assert sorted(
        PurePosixPath(n).name for n in files if n.startswith("panoptic/") and n.endswith(".json")
    ) == ["panoptic_test.json", "panoptic_val.json"]
