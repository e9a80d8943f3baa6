"""COCO panoptic by the rules of panopticapi's evaluation, and against pycocotools."""

import io
import json
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from label_maps import LABEL_MAPS, drawn
from PIL import Image
from pycocotools import mask as coco_mask

from segdemo.core.labels import PETS, VOC, VOID, LabelSet, voc_color
from segdemo.data.formats import Annotation, export_zip, panoptic

BARE = LabelSet("bare", "Bare", ("sky", "sea", "land"), tuple(voc_color(i + 1) for i in range(3)), None)
BLACK_SEA = LabelSet("black", "Black", ("sky", "sea", "land"), ((1, 0, 0), (0, 0, 0), (2, 0, 0)), 2)
MANY = LabelSet("many", "Many", tuple(f"c{i}" for i in range(255)), tuple((i, 0, 0) for i in range(255)), 0)
REDS = LabelSet("reds", "Reds", MANY.classes, tuple((i + 1, 0, 0) for i in range(255)), None)


def exported(tmp_path, label_maps, label_set, subsets=("train",)):
    """The panoptic files of an export of these label maps, by name, and the label maps by stem."""
    given = [
        Annotation(
            f"m{i}",
            np.zeros((*label_map.shape, 3), np.uint8),
            label_map,
            label_set,
            {"subset": subsets[i % len(subsets)], "source": f"{name}.png"},
        )
        for i, (name, label_map) in enumerate(label_maps.items())
    ]
    path = export_zip(given, tmp_path / "out.zip", ["panoptic"])
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


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
        assert (
            set(np.unique(ids).tolist()) - {0} == segments.keys()
        )  # none in only one of PNG and JSON; 0 is void
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
    files = exported(tmp_path, LABEL_MAPS, label_set, ("train", "val", "test"))
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
    files = exported(
        tmp_path, {"a": label_map}, PETS
    )  # pet (230, 97, 0), background (0, 0, 0), border (26, 133, 255)
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
    with zipfile.ZipFile(export_zip([given], tmp_path / "out.zip", ["coco", "panoptic"])) as archive:
        documents = [
            json.loads(archive.read(name))
            for name in ("coco/instances_rle.json", "panoptic/panoptic_train.json")
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
    colors = panoptic.segment_colors(label_set)
    assert colors == expected
    assert len({*colors, (0, 0, 0)}) == len(label_set) + 1


def test_a_subset_without_photos_has_no_document(tmp_path):
    files = exported(tmp_path, {"a": LABEL_MAPS["a hole"], "b": LABEL_MAPS["noise"]}, VOC, ("val", "test"))
    assert sorted(
        PurePosixPath(n).name for n in files if n.startswith("panoptic/") and n.endswith(".json")
    ) == [
        "panoptic_test.json",
        "panoptic_val.json",
    ]
