import itertools

import numpy as np
import pytest
from drawn import draw_pets, draw_voc, save_mask, save_photo
from PIL import Image

from segdemo.core.labels import VOC
from segdemo.data.datasets import read_label_map
from segdemo.data.sources import open_dataset
from segdemo.training.clicks import things
from segdemo.training.clicks.things import crops, things_of


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Five photos to learn from, each with a bright ellipse of 40x30 pixels."""
    root = tmp_path_factory.mktemp("voc")
    draw_voc(root, VOC, train=3, extra=2, val=4, size=(120, 90))
    return open_dataset("voc", root)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return open_dataset("pets", draw_pets(tmp_path_factory.mktemp("pets"), {"pug": 12}, size=(120, 90)))


def drawn(folder, mask):
    """A VOC tree whose one photo has this mask."""
    root = draw_voc(folder, VOC, train=1, extra=0, val=4, size=mask.shape[::-1])
    save_photo(root / "JPEGImages" / "2007_000000.jpg", Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)))
    save_mask(root / "SegmentationClass" / "2007_000000.png", mask, VOC)
    return open_dataset("voc", folder)


def test_each_component_is_a_thing_with_its_box(voc):
    found = things_of(voc, "train_aug")
    assert [len(photo) for photo in found] == [1] * 5
    for n, (thing,) in enumerate(found):
        label_map = read_label_map(thing.sample)
        assert thing.class_id == 1 + n
        assert label_map[thing.pixel] == thing.class_id
        x0, y0, x1, y1 = thing.box
        part = label_map[y0:y1, x0:x1] == thing.class_id
        assert part.sum() == (label_map == thing.class_id).sum()
        assert part[0].any() and part[-1].any() and part[:, 0].any() and part[:, -1].any()


def test_small_components_void_and_background_are_none(tmp_path):
    mask = np.zeros((90, 120), np.uint8)
    mask[2:20, 2:20] = 5  # 324 pixels
    mask[30:50, 30:60] = 5
    mask[60:77, 2:19] = 5  # 289
    mask[60:90, 60:120] = 255
    mask[2:22, 60:90] = 7
    [found] = things_of(drawn(tmp_path, mask), "train")
    assert sorted((thing.class_id, thing.box) for thing in found) == [
        (5, (2, 2, 20, 20)),
        (5, (30, 30, 60, 50)),
        (7, (60, 2, 90, 22)),
    ]


def test_of_pets_the_animal_alone(pets):
    for photo in things_of(pets, "train", classes=[0]):
        assert [thing.class_id for thing in photo] == [0]


def test_crops_show_the_thing_where_the_mask_says(voc):
    taken = list(itertools.islice(crops([things_of(voc, "train_aug")], [1], 64, 0), 60))
    for crop in taken:
        image, mask, others = crop.image, crop.mask, crop.others
        assert crop.predicted is None
        assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((64, 64), np.uint8)
        assert (others.shape, others.dtype) == ((64, 64), bool)
        assert all(array.flags.c_contiguous for array in (image, mask, others))
        assert set(np.unique(mask)) <= {0, 1, 255}
        assert (mask == 1).sum() >= things.SMALLEST / 4
        assert not (others & (mask == 1)).any()
        # It is drawn brighter than the ground, and what may be taken for it is as bright.
        ground = (mask == 0) & ~others
        if ground.any():
            assert image[mask == 1].mean() > image[ground].mean() + 20
        if others.any():
            assert image[others].mean() > image[ground].mean() + 20
    assert sum(crop.others.any() for crop in taken) > 5  # some were pasted
    assert any((crop.mask == 255).any() for crop in taken)


def test_the_same_seed_gives_the_same_crops(voc):
    def taken(seed):
        return [crop.image for crop in itertools.islice(crops([things_of(voc, "train")], [1], 48, seed), 4)]

    np.testing.assert_array_equal(taken(3), taken(3))
    assert not np.array_equal(taken(3), taken(4))


def test_shares_say_where_crops_come_from(voc, pets):
    lists = [things_of(voc, "train"), things_of(pets, "train", classes=[0])]
    asked = []

    class Noted(list):
        def __getitem__(self, n):
            asked.append(self)
            return super().__getitem__(n)

    lists = [Noted(photos) for photos in lists]
    next(crops(lists, [0, 2], 48, 0))
    assert asked and all(photos is lists[1] for photos in asked)


def test_the_band_along_a_pet_does_not_count(pets):
    for crop in itertools.islice(crops([things_of(pets, "train", classes=[0])], [1], 64, 2), 12):
        if not crop.others.any():  # nothing was pasted
            assert (crop.mask == 255).any()


def test_all_of_a_class_or_one_of_it(tmp_path, monkeypatch):
    mask = np.zeros((90, 120), np.uint8)
    mask[30:60, 10:50] = mask[30:60, 70:110] = 5
    found = [things_of(drawn(tmp_path, mask), "train")]
    monkeypatch.setattr(things, "PASTED", 0)
    monkeypatch.setattr(things, "WHOLE_PHOTO", 1)
    for share, pieces in ((1, "both"), (0, "one")):
        monkeypatch.setattr(things, "ALL_OF_A_CLASS", share)
        for crop in itertools.islice(crops(found, [1], 96, 0), 8):
            assert crop.others.any() is np.bool_(pieces == "one")
            sides = (crop.mask == 1).any(0)
            assert np.count_nonzero(np.diff(sides.astype(int)) == 1) + sides[0] == (
                2 if pieces == "both" else 1
            )


def test_a_share_begins_with_what_a_model_says_of_the_class(voc, pets, tmp_path, monkeypatch):
    lists = [things_of(voc, "train"), things_of(pets, "train", classes=[0])]
    monkeypatch.setattr(things, "PREDICTED", 1)
    for photo in lists[0][:2]:  # of two photos of three: all that is right, but for its upper half
        said = read_label_map(photo[0].sample)
        said[said == 255] = 0
        said[: said.shape[0] // 2] = 0
        Image.fromarray(said).save(tmp_path / f"{photo[0].sample.id}.png")
    for crop in itertools.islice(crops(lists[:1], [1], 64, 0, tmp_path), 30):
        if crop.predicted is None:
            continue
        assert (crop.predicted.shape, crop.predicted.dtype) == ((64, 64), bool)
        assert not (crop.predicted & (crop.mask == 0)).any()
    taken = list(itertools.islice(crops(lists, [1, 1], 64, 0, tmp_path), 60))
    assert 10 < sum(crop.predicted is not None for crop in taken) < 35
    assert any(crop.predicted is not None and crop.predicted.any() for crop in taken)
