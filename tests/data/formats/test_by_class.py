"""A black and white mask for each class of a photo, in folders called like the classes, or named after them."""

import numpy as np
import pytest
from archive_files import HEIGHT, WIDTH, encoded, picture, read, same, square

from segdemo.core.labels import PETS
from segdemo.data.formats import ExchangeError

CAT = encoded(square(255))
DOG = np.zeros((HEIGHT, WIDTH), np.uint8)
DOG[2:4, 4:8] = 255
NOTHING = encoded(np.zeros((HEIGHT, WIDTH), np.uint8))
BOTH = np.where(DOG > 0, 2, square(1)).astype(np.uint8)
FILES = {"images/a.png": picture(), "masks/cat/a.png": CAT, "masks/dog/a.png": encoded(DOG)}


@pytest.mark.parametrize(
    ("photo", "place"), [("images/a.png", "masks/"), ("set/images/a.png", "set/masks/x/")]
)
def test_they_become_one_mask(tmp_path, photo, place):
    files = {photo: picture(), f"{place}cat/a.png": CAT, f"{place}dog/a.png": encoded(DOG)}
    photos, imported = read(tmp_path, files)
    assert imported.formats == ["masks"] and imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos[photo], BOTH) and imported.account.painted == 2
    assert imported.account.left_out == [] and imported.account.ignored == []
    assert imported.account.classes_source == f"the folders in {place}"


def test_a_photo_with_one_of_them_is_read_alike(tmp_path):
    more = {"images/b.png": picture(1), "masks/dog/b.png": encoded(DOG)}
    more |= {"images/c.png": picture(2), "masks/cat/c.png": NOTHING}
    photos, imported = read(tmp_path, {**FILES, **more})
    assert same(photos["images/b.png"], np.where(DOG > 0, 2, 0)) and same(photos["images/c.png"], square(0))
    assert imported.account.painted == 4


def test_one_that_cannot_be_read_costs_itself(tmp_path):
    photos, imported = read(tmp_path, {**FILES, "masks/dog/a.png": encoded(np.zeros((3, 3), np.uint8))})
    assert same(photos["images/a.png"], square(1))
    [entry] = imported.account.left_out
    assert entry.file == "masks/dog/a.png" and "measures 3x3" in entry.why


def test_a_class_that_has_no_place_is_named(tmp_path):
    files = {**FILES, "masks/pet/a.png": CAT}
    photos, imported = read(tmp_path, files, label_set=PETS)
    assert same(photos["images/a.png"], np.where(square() > 0, PETS.classes.index("pet"), PETS.background))
    assert {entry.file for entry in imported.account.left_out} == {"masks/cat/a.png", "masks/dog/a.png"}


def test_masks_of_ids_are_not_put_together(tmp_path):
    files = {**FILES, "masks/cat/a.png": encoded(square(3))}
    photos, imported = read(tmp_path, {**files, "images/b.png": picture(1), "masks/b.png": CAT})
    assert "images/a.png" not in photos
    assert all("several masks fit the photo images/a.png" in sentence for sentence in imported.refused)


@pytest.mark.parametrize(
    ("photo", "masks"),
    [
        ("images/a.png", ("masks/a_cat.png", "masks/a_dog.png")),
        ("images/a_1.png", ("masks/a_1-cat.png", "masks/a_1-dog_0.png")),
        ("set/images/Ä b.jpg.png", ("set/labels/Ä b.jpg_cat_mask.png", "set/labels/Ä b.jpg_dog_mask.png")),
    ],
)
def test_names_of_masks_tell_classes(tmp_path, photo, masks):
    files = {photo: picture(), masks[0]: CAT, masks[1]: encoded(DOG)}
    photos, imported = read(tmp_path, files)
    assert imported.formats == ["masks"] and imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos[photo], BOTH) and imported.account.painted == 2
    assert imported.account.left_out == [] and imported.account.ignored == []
    assert imported.account.classes_source == "the names of the masks"


def test_things_of_a_class_are_put_together(tmp_path):
    other = np.roll(DOG, 4, axis=1)
    files = {
        "images/a.png": picture(),
        "masks/a_dog_1.png": encoded(DOG),
        "masks/a_dog_2.png": encoded(other),
    }
    files |= {"images/b.png": picture(1), "masks/b_cat.png": CAT, "images/c.png": picture(2)}
    photos, imported = read(tmp_path, {**files, "masks/c.png": CAT})
    classes = imported.label_set.classes
    assert same(photos["images/a.png"], np.where(DOG | other, classes.index("dog"), 0).astype(np.uint8))
    assert same(photos["images/b.png"], square(classes.index("cat")))
    assert imported.account.painted == 4


@pytest.mark.parametrize(
    "masks",
    [
        {"masks/a_1.png": CAT, "masks/a_2.png": encoded(DOG)},  # whatever the numbers mean
        {"masks/a_left.png": encoded(square(3)), "masks/a_right.png": CAT},  # not black and white
        {"masks/a_cat.png": CAT},  # alone
    ],
)
def test_what_names_do_not_tell_is_not_guessed(tmp_path, masks):
    with pytest.raises(ExchangeError, match=f"its masks, such as {next(iter(masks))}, are called like none"):
        read(tmp_path, {"images/a.png": picture(), "images/b.png": picture(1), **masks})


def test_open_images_masks_are_called_by_their_labels(tmp_path):
    photo, other = "0123456789abcdef", "fedcba9876543210"
    files = {f"images/{name}.jpg": picture(n, "JPEG") for n, name in enumerate((photo, other))}
    files |= {
        f"masks/{photo}_m01yrx_98ed1b5f.png": encoded(square(255)),
        "masks.csv": "MaskPath,ImageID,LabelName\n",
    }
    files[f"masks/{other}_m0bt9lr_00ed1b50.png"] = encoded(square(255))
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "/m/01yrx", "/m/0bt9lr")
    files["class-descriptions-boxable.csv"] = '/m/01yrx,Cat\n/m/0bt9lr,"Dog, house"\n'
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "Cat", "Dog, house")
    assert same(photos[f"images/{photo}.jpg"], square(1)) and same(photos[f"images/{other}.jpg"], square(2))
