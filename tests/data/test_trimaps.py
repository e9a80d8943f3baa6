import numpy as np
import pytest
from drawn import draw_pets, save_mask, save_photo
from PIL import Image

from segdemo.core.labels import PETS, VOC, VOID
from segdemo.data.check import check
from segdemo.data.datasets import read_label_map
from segdemo.data.sources import open_dataset
from segdemo.data.trimaps import add_pets, trimap, write_pets_folder

CAT, DOG, PERSON = (VOC.classes.index(name) for name in ("cat", "dog", "person"))


def test_a_trimap_by_hand():
    line = np.array([[0, 0, 0, 0, DOG, DOG, DOG, DOG, DOG, 0]], np.uint8)
    np.testing.assert_array_equal(trimap(line, radius=1), [[2, 2, 2, 3, 3, 1, 1, 1, 3, 3]])
    np.testing.assert_array_equal(trimap(line, radius=2), [[2, 2, 3, 3, 3, 3, 1, 3, 3, 3]])


def test_the_band_is_as_wide_as_asked_on_both_sides():
    label_map = np.zeros((60, 80), np.uint8)
    label_map[:, 40:] = CAT
    row = trimap(label_map, radius=5)[30]
    np.testing.assert_array_equal(np.flatnonzero(row == 3), range(35, 45))
    assert (row[:35] == 2).all()
    assert (row[45:] == 1).all()


def test_void_beside_an_animal_is_border_and_void_far_away_background():
    line = np.array([[DOG] * 6 + [VOID] * 3 + [0] * 12 + [VOID] * 2], np.uint8)
    got = trimap(line, radius=2)[0]
    assert (got[6:9] == 3).all()
    assert (got[-2:] == 2).all()


def test_other_classes_are_background_and_a_photo_without_outline_has_no_band():
    label_map = np.full((20, 30), PERSON, np.uint8)
    got = trimap(label_map)
    assert got.dtype == np.uint8
    assert (got == 2).all()
    assert (trimap(np.full((20, 30), DOG, np.uint8)) == 1).all()  # no outline in sight


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "VOC2012"
    photos = {"2007_000001": CAT, "2007_000002": DOG, "2007_000003": PERSON, "2007_000004": 0}
    for name, id_ in photos.items():
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 15:45] = id_
        if name == "2007_000004":
            mask[0, 0] = CAT  # too little of it
        save_photo(folder / "JPEGImages" / f"{name}.jpg", Image.new("RGB", (60, 40), (90, 120, 40)))
        save_mask(folder / "SegmentationClass" / f"{name}.png", mask, VOC)
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(photos))
    return open_dataset("voc", tmp_path)


def test_the_written_folder_is_a_pets_dataset(voc, tmp_path):
    seen = []
    count = write_pets_folder(
        voc.samples("train"), tmp_path / "out", progress=lambda items: seen.append(len(items)) or items
    )
    assert count == 2
    assert seen == [4]
    dataset = open_dataset("pets", tmp_path / "out")
    assert sorted(dataset.splits["all"]) == ["cat_2007000001", "dog_2007000002"]
    assert dataset.label_set == PETS
    assert not [p for p in check(dataset).problems if "empty" not in p.message]
    for id_ in dataset.splits["all"]:
        label_map = read_label_map(dataset.sample(id_))
        assert label_map.shape == (40, 60)
        assert label_map[20, 30] == PETS.classes.index("pet")
        assert label_map[0, 0] == PETS.classes.index("background")
        assert label_map[10, 30] == PETS.classes.index("border")


def test_training_photos_of_pets_are_added_and_no_others(voc, tmp_path):
    draw_pets(tmp_path / "pets", {"pug": 6, "birman": 6})
    pets = open_dataset("pets", tmp_path / "pets")
    write_pets_folder(voc.samples("train"), tmp_path / "out")
    assert add_pets(pets.samples("train"), tmp_path / "out") == len(pets.splits["train"])
    both = open_dataset("pets", tmp_path / "out")
    assert set(both.splits["all"]) == {"cat_2007000001", "dog_2007000002", *pets.splits["train"]}
    id_ = pets.splits["train"][0]
    np.testing.assert_array_equal(read_label_map(both.sample(id_)), read_label_map(pets.sample(id_)))
