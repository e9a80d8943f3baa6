"""Masks beside their photos: folders, tails of names, subsets, classes, and what is not clear."""

import io
import json
import time

import numpy as np
import pytest
from archive_files import HEIGHT, WIDTH, coco, encoded, few_bits, image, make_zip, picture, read, same, square
from PIL import Image

from segdemo.core.labels import VOC, VOID
from segdemo.data.formats import ExchangeError, import_zip

PHOTO, OTHER = picture(1, "JPEG"), picture(2, "JPEG")
MASK = encoded(square(1))
TWO = Image.fromarray(square(2))


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("Images/A.JPG", "Masks/a.png"),
        ("set/imgs/a.jpg", "set/masks/a_mask.png"),
        ("data/a.jpg", "data/a_mask.png"),
        ("a.jpg", "a_label.png"),
        ("a.jpg", "a-gt.png"),
        ("image/a.jpg", "label/a.png"),
        ("img_dir/a.jpg", "ann_dir/a.png"),
        ("leftImg8bit/bonn/a_1_leftImg8bit.jpg", "gtFine/bonn/a_1_gtFine_labelIds.png"),
        ("photos/a_sat.jpg", "photos/a_mask.png"),
        ("Task1_Input/a.jpg", "Task1_GroundTruth/a_segmentation.png"),
        ("701_StillsRaw_full/a.jpg", "LabeledApproved_gt/a_L.png"),
        ("a/img.jpg", "a/label.png"),
        ("images/cam.1/a b.jpg", "labels/cam.1/a b.png"),
        ("PennFudanPed/PNGImages/F1.png", "PennFudanPed/PedMasks/F1_mask.png"),
        ("imagesTr/case_1_0000.png", "labelsTr/case_1.png"),
        ("images/train2017/a.jpg", "stuffthingmaps/train2017/a.png"),
        ("701_StillsRaw_full/a.png", "LabeledApproved_full/a_L.png"),
        ("leftImg8bit/val/x/x_leftImg8bit.png", "gtFine/val/x/x_gtFine_labelTrainIds.png"),
    ],
)
def test_a_mask_belongs_to_the_photo_of_its_name(tmp_path, photo, mask):
    photos, imported = read(tmp_path, {photo: PHOTO, mask: MASK})
    assert imported.formats == ["masks"] and same(photos[photo], square(1))
    assert imported.account.painted == 1 and not imported.account.left_out and not imported.account.ignored
    assert list(imported.label_set.classes) == ["background", "class 1"]
    assert "called after their ids" in imported.account.classes_source


@pytest.mark.parametrize(
    "places",
    [
        "{0}/images/1.jpg {0}/masks/1.png",
        "images/{0}/1.jpg masks/{0}/1.png",
        "images/{0}/1.jpg annotations/{0}/1.png",
        "{0}/1.jpg {0}_labels/1_L.png",
        "{0}/1.jpg {0}annot/1.png",
        "{0}/1.jpg {0}_masks/1_mask.png",
    ],
)
def test_equal_names_in_subsets_stay_apart(tmp_path, places):
    files, expected = {}, {}
    for i, subset in enumerate(("train", "val", "test")):
        photo, mask = places.format(subset).split()
        files |= {photo: picture(i, "JPEG"), mask: encoded(square(i + 1))}
        expected[photo] = (square(i + 1), subset)
    photos, imported = read(tmp_path, files)
    for photo, (label_map, subset) in expected.items():
        assert same(photos[photo], label_map) and photos[photo].meta == {"subset": subset}
    assert not imported.account.left_out


def test_a_mask_does_not_go_to_a_photo_of_another_subset(tmp_path):
    files = {"train/images/a.jpg": PHOTO, "train/masks/a.png": MASK, "val/images/b.jpg": OTHER}
    _, imported = read(tmp_path, {**files, "train/masks/b.png": MASK})
    assert imported.refused == [
        "train/masks/b.png: it has no photo, add it (val/images/b.jpg is of another subset)."
    ]
    assert imported.account.ignored == ["val/images/b.jpg"]


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("images/cam2/a.jpg", "masks/cam1/a.png"),
        ("pics/2/a.jpg", "labels/1/a.png"),
        ("d2/images/a.jpg", "d1/masks/a.png"),
    ],
)
def test_a_mask_does_not_go_to_a_photo_of_another_folder(tmp_path, photo, mask):
    near = photo.replace("2", "1").replace("a.jpg", "c.jpg")
    files = {photo: PHOTO, mask: MASK, near: OTHER, mask.replace("a.png", "c.png"): MASK}
    photos, imported = read(tmp_path, files)
    assert [*photos] == [near] and same(photos[near], square(1))
    assert imported.refused == [f"{mask}: it has no photo, add it ({photo} lies in another folder)."]
    assert imported.account.ignored == [photo]


def test_equal_names_in_thousands_of_folders_take_no_time(tmp_path):
    files = {}
    for i in range(3000):
        files |= {f"d{i}/a.jpg": PHOTO, f"d{i}/a_mask.png": MASK}
        files |= {f"images/d{i}/b.jpg": PHOTO, f"masks/d{i}/b.png": MASK, f"masks/e{i}/b.png": MASK}
    start = time.perf_counter()
    imported = import_zip(make_zip(tmp_path / "x.zip", files))
    imported.close()
    assert time.perf_counter() - start < 20  # seconds; minutes if all were compared with all


@pytest.mark.parametrize(
    "masks",
    [
        ("masks/cat/a.png", "masks/dog/a.png"),
        ("masks/a.png", "masks/a_label.png"),
        ("gt/a.png", "annotations/a.png"),
    ],
)
def test_several_masks_of_a_photo_are_left_out_and_named(tmp_path, masks):
    files = {"images/a.jpg": PHOTO, "images/b.jpg": OTHER, "masks/b.png": MASK, **dict.fromkeys(masks, MASK)}
    photos, imported = read(tmp_path, files)
    assert [*photos] == ["images/b.jpg"] and {e.file for e in imported.account.left_out} == set(masks)
    assert all("several masks fit the photo images/a.jpg" in sentence for sentence in imported.refused)


def test_of_the_masks_of_cityscapes_the_ids_are_read_and_the_others_named(tmp_path):
    files = {"leftImg8bit/train/x/x_0_leftImg8bit.png": picture()}
    for kind, mask in (
        ("labelIds", encoded(square(26, ground=7))),
        ("instanceIds", encoded(square(1).astype(np.uint16) * 26000)),
        ("color", picture(3)),
        ("labelTrainIds", MASK),
    ):
        files[f"gtFine/train/x/x_0_gtFine_{kind}.png"] = mask
    photos, imported = read(tmp_path, files)
    assert same(photos["leftImg8bit/train/x/x_0_leftImg8bit.png"], square(26, ground=7))
    assert len(imported.account.left_out) == 3
    assert all("is another mask of a photo of which" in sentence for sentence in imported.refused)


def test_black_and_white_masks_are_an_object(tmp_path):
    photos, imported = read(
        tmp_path, {"images/a.jpg": PHOTO, "masks/a.gif": encoded(square(255), "GIF", "1")}
    )
    assert same(photos["images/a.jpg"], square(1))
    assert list(imported.label_set.classes) == ["background", "object"]


@pytest.mark.parametrize(
    "table",
    [
        "name,r,g,b\nground,0,0,0\ncat,10,20,30\nunused,1,1,1\n",
        "\ufeffName, R, G, B\r\nground,0,0,0\r\ncat, 10, 20, 30\r\nunused,1,1,1\r\n",
        "class_name;r;g;b\nground;0;0;0\ncat;10;20;30\nunused;1;1;1\n",
        "id,label,red,green,blue\n1,cat,10,20,30\n0,ground,0,0,0\n2,unused,1,1,1\n",
    ],
)
def test_colours_of_a_table_are_read(tmp_path, table):
    colored = encoded(np.where(square()[..., None] > 0, np.array([10, 20, 30], np.uint8), np.uint8(0)))
    files = {"class_dict.csv": table, "train/a.jpg": PHOTO, "train_labels/a.png": colored}
    photos, imported = read(tmp_path, files)
    assert same(photos["train/a.jpg"], square(1)) and imported.label_set.colors[1] == (10, 20, 30)
    assert list(imported.label_set.classes) == ["ground", "cat", "unused"]


def test_ids_of_roboflows_table_are_read(tmp_path):
    table = "Pixel Value, Class\n0, background\n1, cat\n4, dog\n"
    files = {"train/_classes.csv": table, "train/a_jpg.rf.1b.jpg": PHOTO}
    photos, imported = read(tmp_path, {**files, "train/a_jpg.rf.1b_mask.png": encoded(square(4))})
    assert same(photos["train/a_jpg.rf.1b.jpg"], square(4))
    assert list(imported.label_set.classes) == ["background", "cat", "unnamed 2", "unnamed 3", "dog"]


@pytest.mark.parametrize(
    "table", ["name,r,g,b\ncat,x,1,2\n", "name,r,g,b\n", "id,name\n1,a\n1,b\n", "id,name\n900,a\n"]
)
def test_a_table_that_names_no_classes_is_named(tmp_path, table):
    _, imported = read(tmp_path, {"class_dict.csv": table, "images/a.jpg": PHOTO, "masks/a.png": MASK})
    assert [e.file for e in imported.account.left_out] in (["class_dict.csv"], [])


def test_colours_that_nothing_names_are_named_with_what_to_do(tmp_path):
    _, imported = read(tmp_path, {"images/a.jpg": PHOTO, "masks/a.png": picture(5)})
    assert "add a class_dict.csv with the columns name, r, g and b" in imported.refused[0]


@pytest.mark.parametrize(
    "content",
    [
        *(encoded(square(1), kind) for kind in ("TIFF", "BMP", "GIF")),
        encoded(square(1), "TIFF", compression="tiff_lzw"),
        encoded(square(1).astype(np.uint16)),
        *(encoded(square(1).astype(kind), "TIFF") for kind in (np.uint16, np.int32, np.float32)),
    ],
)
@pytest.mark.parametrize("place", ["masks", "SegmentationClass"])
def test_ids_in_other_lossless_files_and_in_more_bits_are_read(tmp_path, content, place):
    kind = {b"\x89P": "png", b"BM": "bmp", b"GI": "gif"}.get(content[:2], "tif")
    files = {"JPEGImages/a.jpg": PHOTO, f"{place}/a.{kind}": content, "classes.txt": "background\ncat\n"}
    photos, _ = read(tmp_path, files)
    assert same(photos["JPEGImages/a.jpg"], square(1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encoded(square(255), "JPEG"), "it is a JPEG, which changes class ids"),
        (encoded(square(1), "WEBP", "RGB"), "it is a WebP"),
        (encoded(square(1), "TIFF", compression="jpeg"), "lossy compression"),
        (encoded(square(1).astype(np.uint16) * 1000, "PNG"), "it holds values from 0 to 1000"),
        (encoded(square(1).astype(np.float32) / 2, "TIFF"), "it holds values from 0 to 0.5"),
        (encoded(-square(1).astype(np.int32), "TIFF"), "it holds values from -1 to 0"),
        (encoded(np.full((HEIGHT, WIDTH), np.nan, np.float32), "TIFF"), "whole numbers"),
        (encoded(square(), "TIFF", save_all=True, append_images=[TWO]), "it holds 2 pictures"),
        (encoded(square(1), "TIFF")[:60], "that can be read"),
        (b"junk", "that can be read"),
        (b"", "that can be read"),
        (encoded(np.zeros((5, 5), np.uint8), "BMP"), "measures 5x5 pixels, but its photo measures 8x6"),
    ],
)
@pytest.mark.parametrize("place", ["masks", "SegmentationClass"])
def test_what_holds_no_ids_is_named_with_its_reason(tmp_path, content, said, place):
    more = {"JPEGImages/b.jpg": OTHER, f"{place}/b.png": MASK, "classes.txt": "background\ncat\n"}
    photos, imported = read(tmp_path, {"JPEGImages/a.jpg": PHOTO, f"{place}/a.tif": content, **more})
    assert photos["JPEGImages/a.jpg"].label_map is None and same(photos["JPEGImages/b.jpg"], square(1))
    assert len(imported.refused) == 1 and said in imported.refused[0]


def test_what_another_format_has_read_is_not_read_again(tmp_path):
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(square(2))}
    photos, imported = read(tmp_path, {**files, "c.json": coco(images=[image(file_name="a.jpg")])})
    assert same(photos["images/a.jpg"], square(1))
    assert [(d.file, d.of) for d in imported.account.duplicates] == [("masks/a.png", "images/a.jpg")]


def test_photos_with_names_like_masks_are_photos(tmp_path):
    files = {"a.jpg": PHOTO, "a_l.jpg": OTHER, "labels/x.jpg": PHOTO}
    with pytest.raises(ExchangeError, match="holds no annotations"):
        import_zip(make_zip(tmp_path / "x.zip", files))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_black_and_white_that_was_a_jpeg_once_is_no_list_of_ids(tmp_path, quality):
    disc = np.uint8(255 * (np.hypot(*(np.mgrid[:64, :64] - 32)) < 20))
    with Image.open(io.BytesIO(encoded(disc, "JPEG", quality=quality))) as lossy:
        smeared = np.array(lossy)
    photo = picture(1, size=(64, 64))
    _, imported = read(tmp_path, {"images/a.png": photo, "masks/a.png": encoded(smeared)})
    assert len(imported.label_set.classes) == 2 and "with greys between" in imported.refused[0]


def test_many_ids_beside_void_are_ids(tmp_path):
    ids = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    ids[0] = 255
    photos, _ = read(tmp_path, {"images/a.jpg": PHOTO, "masks/a.png": encoded(ids)})
    assert same(photos["images/a.jpg"], ids)


def test_a_subset_of_black_masks_adds_no_class(tmp_path):
    files = {"train/images/a.jpg": PHOTO, "train/masks/a.png": encoded(square(255))}
    files |= {"val/images/b.jpg": OTHER, "val/masks/b.png": encoded(square(0))}
    photos, imported = read(tmp_path, files)
    assert list(imported.label_set.classes) == ["background", "object"]
    assert same(photos["train/images/a.jpg"], square(1)) and same(photos["val/images/b.jpg"], square(0))


def test_ids_are_taken_as_they_are_into_classes_that_are_there(tmp_path):
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(square(3))}
    photos, imported = read(tmp_path, files, label_set=VOC)
    assert same(photos["images/a.jpg"], square(3)) and imported.label_set == VOC
    _, imported = read(tmp_path, {"images/a.jpg": PHOTO, "masks/a.png": encoded(square(30))}, label_set=VOC)
    assert "30" in imported.refused[0] and not imported.account.painted


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("dataset.json", '{"labels": {"background": 0, "cat": 1, "dog": 2}, "file_ending": ".png"}'),
        ("dataset.json", '{"labels": {"0": "background", "1": "cat", "2": "dog"}}'),
        ("objectInfo150.txt", "Idx\tRatio\tTrain\tName\n1\t0.1\t5\tcat\n2\t0.1\t6\tdog\n"),
    ],
)
def test_lists_of_known_sets_name_the_classes(tmp_path, file, text):
    files = {f"set/{file}": text, "set/images/a.jpg": PHOTO, "set/annotations/a.png": encoded(square(2))}
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "cat", "dog") and same(
        photos["set/images/a.jpg"], square(2)
    )
    assert imported.account.ignored == []


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"labels": ["a"]}', '{"labels": {"a": ["x"]}}', '{"labels": {"a": 300}}']
)
def test_a_document_of_that_name_that_names_no_classes_is_nobodys(tmp_path, text):
    files = {"dataset.json": text, "images/a.jpg": PHOTO, "masks/a.png": MASK}
    _, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "class 1") and imported.account.left_out == []
    assert imported.account.ignored == ["dataset.json"]


def test_colours_before_their_names(tmp_path):
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[1:5, 2:6] = 64, 128, 64
    files = {"train/a.jpg": PHOTO, "train_labels/a_L.png": encoded(colors)}
    text = "0 0 0\t\tVoid\n192 0 128\t\tAnimal 1\n64 128 64\t\tArchway\n"
    photos, imported = read(tmp_path, {**files, "label_colors.txt": text})
    wanted = imported.label_set.classes.index("Archway")
    ground = imported.label_set.classes.index("Void")
    assert same(photos["train/a.jpg"], square(wanted, ground=ground))


GREYS = np.repeat(square(2)[..., None], 3, 2)


@pytest.mark.parametrize(
    "mask",
    [
        GREYS,
        np.dstack([GREYS, np.full_like(square(), 255)]),
        np.dstack([square(2), np.full_like(square(), 255)]),
    ],
    ids=["RGB", "RGBA", "LA"],
)
def test_ids_that_are_written_in_several_channels_are_ids(tmp_path, mask):
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(mask)}
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "class 1", "class 2") and same(
        photos["images/a.jpg"], square(2)
    )
    photos, _ = read(tmp_path, {**files, "classes.txt": "background\ncat\ndog\n"})
    assert same(photos["images/a.jpg"], square(2))


def test_greys_are_no_ids_where_the_colours_of_classes_are_told(tmp_path):
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(GREYS)}
    _, imported = read(
        tmp_path, {**files, "class_dict.csv": "name,r,g,b\nbackground,0,0,0\ncat,9,9,9\ndog,1,2,3\n"}
    )
    assert "has the colour (2, 2, 2), which no class of" in imported.refused[0]


def test_black_in_one_mask_of_three_channels_is_the_background_of_all(tmp_path):
    colors = np.full((HEIGHT, WIDTH, 3), (9, 0, 0), np.uint8)
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(colors), "images/b.jpg": OTHER}
    files |= {
        "masks/b.png": encoded(np.zeros_like(colors)),
        "class_dict.csv": "name,r,g,b\ncat,9,0,0\ndog,1,2,3\n",
    }
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos["images/a.jpg"], np.ones_like(square())) and same(photos["images/b.jpg"], square(0))


def test_a_few_high_ids_are_asked_about(tmp_path):
    mask = square(255)
    mask[0, 0] = 127
    _, imported = read(tmp_path, {"images/a.jpg": PHOTO, "masks/a.png": encoded(mask)})
    [note] = imported.account.notes
    assert note.startswith("The masks in masks/ hold 0, 127, 255 alone") and "number them 0, 1, 2" in note


@pytest.mark.parametrize("depth", [2, 4])
def test_greys_of_few_bits_are_the_numbers_that_are_stored(tmp_path, depth):
    mask = few_bits(square(3), depth)
    photos, imported = read(
        tmp_path, {"images/a.jpg": PHOTO, "masks/a.png": mask, "classes.txt": "cat\ndog\nsky\n"}
    )
    assert imported.label_set.classes == ("background", "cat", "dog", "sky")
    assert same(photos["images/a.jpg"], square(3))


@pytest.mark.parametrize("white", [square(255), np.dstack([square(255)] * 3)], ids=["grey", "RGB"])
def test_white_in_a_table_of_colours_is_its_class(tmp_path, white):
    table = "name,r,g,b\nbuilding,255,255,255\nroad,0,0,0\n"
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(white), "class_dict.csv": table}
    photos, imported = read(tmp_path, files)
    building, road = map(imported.label_set.classes.index, ("building", "road"))
    assert same(photos["images/a.jpg"], square(building, road)) and "object" not in imported.label_set.classes
    photos, imported = read(
        tmp_path, {**files, "class_dict.csv": "name,r,g,b\nbuilding,255,255,255\nroad,9,0,0\n"}
    )
    assert imported.label_set.classes == ("background", "building", "road")
    assert same(photos["images/a.jpg"], square(1))


def test_void_is_no_white_of_a_table_where_masks_hold_ids(tmp_path):
    table = "name,r,g,b\nroad,0,0,0\nbuilding,255,255,255\ncar,9,0,0\n"
    ids = square(2)
    ids[0, 0] = VOID
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(ids), "class_dict.csv": table}
    files |= {"images/b.jpg": OTHER, "masks/b.png": encoded(square(VOID))}
    photos, _ = read(tmp_path, files)
    assert same(photos["images/a.jpg"], ids) and same(photos["images/b.jpg"], square(VOID))


def test_regions_of_nnunet_name_the_ids_that_are_theirs_alone(tmp_path):
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing": [3]}
    files = {"images/a.jpg": PHOTO, "masks/a.png": encoded(square(3))}
    photos, imported = read(tmp_path, {**files, "dataset.json": json.dumps({"labels": labels})})
    assert imported.label_set.classes == ("background", "whole tumor", "tumor core", "enhancing")
    assert same(photos["images/a.jpg"], square(3))


def test_kittis_masks_are_read_and_not_those_to_look_at(tmp_path):
    name = "000000_10.png"
    files = {f"training/image_2/{name}": picture(1), f"training/semantic/{name}": encoded(square(2))}
    files[f"training/semantic_rgb/{name}"] = encoded(np.dstack([square(9)] * 3))
    photos, imported = read(tmp_path, files)
    assert same(photos[f"training/image_2/{name}"], square(2))
    [entry] = imported.account.left_out
    assert entry.file.startswith("training/semantic_rgb") and "another mask of a photo" in entry.why
