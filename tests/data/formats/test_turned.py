"""Photos that are stored turned, and labels of the stored or of the upright pixels."""

import json

import numpy as np
import pytest
from archive_files import HEIGHT, WIDTH, annotation, coco, exif, image, picture, png, read, same

from formats.test_labelme import labelme, shape
from segdemo.core.photos import photo_orientation, read_photo, turn_upright
from segdemo.core.shapes import rle_encode

TURNS = {5: lambda a: a.T, 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90}


def turned(orientation):
    return picture(1, "JPEG", exif=exif(orientation))


def stored():
    label_map = np.zeros((HEIGHT, WIDTH), np.uint8)
    label_map[0:2, 0:3] = 1
    return label_map


CORNER = [0, 0, 3, 0, 3, 2, 0, 2]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["coco", "voc", "labelme", "masks"])
def test_labels_of_the_stored_pixels_are_turned_with_them(tmp_path, orientation, kind):
    photo = "JPEGImages/a.jpg" if kind in ("voc", "masks") else "a.jpg"
    files = {
        "coco": {"c.json": coco([image(file_name="a.jpg")], [annotation(segmentation=(CORNER,))])},
        "voc": {"SegmentationClass/a.png": png(stored()), "labels.txt": "background\ncat\n"},
        "masks": {"masks/a.png": png(stored())},
        "labelme": {"a.json": labelme(shape(points=np.reshape(CORNER, (-1, 2)).tolist()), imagePath="a.jpg")},
    }[kind]
    photos, imported = read(tmp_path, {**files, photo: turned(orientation)})
    assert same(photos[photo], TURNS[orientation](stored()))
    assert not imported.account.left_out and imported.account.painted == 1
    assert imported.account.notes == [
        f"{photo} is stored turned: its labels were drawn on the stored pixels, and are turned with them."
    ]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_labels_of_the_upright_photo_stay_as_they_are(tmp_path, orientation):
    upright = np.ascontiguousarray(TURNS[orientation](stored()))
    files = {"JPEGImages/a.jpg": turned(orientation), "SegmentationClass/a.png": png(upright)}
    photos, imported = read(tmp_path, files)
    assert same(photos["JPEGImages/a.jpg"], upright) and not imported.account.notes


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_nothing_tells_it_is_said(tmp_path, orientation):
    files = {"JPEGImages/a.jpg": turned(orientation), "SegmentationClass/a.png": png(stored())}
    photos, imported = read(tmp_path, files)
    assert same(photos["JPEGImages/a.jpg"], stored())
    assert "taken to be drawn on the upright photo" in imported.account.notes[0]


def test_a_mask_of_neither_size_is_named_once(tmp_path):
    files = {"JPEGImages/a.jpg": turned(6), "SegmentationClass/a.png": png(np.zeros((4, 4), np.uint8))}
    _, imported = read(tmp_path, files)
    assert len(imported.account.left_out) == 1 and "measures 6x8" in imported.refused[0]
    assert json.dumps(imported.account.to_json())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_label_maps_are_turned_as_photos_are(orientation):
    data = picture(1, "PNG", exif=exif(orientation))
    plain = read_photo(picture(1, "PNG"))
    assert photo_orientation(data) == orientation
    found = turn_upright(np.ascontiguousarray(plain[..., 0]), orientation)
    assert np.array_equal(found, read_photo(data)[..., 0])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_where_no_size_is_stated_it_is_said(tmp_path, orientation):
    document = coco([{"id": 1, "file_name": "a.jpg"}], [annotation(segmentation=(CORNER,))])
    photos, imported = read(tmp_path, {"c.json": document, "a.jpg": turned(orientation)})
    assert photos["a.jpg"].label_map.shape == (WIDTH, HEIGHT) and photos["a.jpg"].label_map[:2, :3].all()
    assert "taken to be drawn on the upright photo" in imported.account.notes[0]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_run_lengths_tell_by_their_size(tmp_path, orientation):
    document = coco([{"id": 1, "file_name": "a.jpg"}], [annotation(segmentation=rle_encode(stored() > 0))])
    photos, imported = read(tmp_path, {"c.json": document, "a.jpg": turned(orientation)})
    assert same(photos["a.jpg"], TURNS[orientation](stored()))
    assert not imported.account.left_out and "turned with them" in imported.account.notes[0]
