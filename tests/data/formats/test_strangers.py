"""Archives that hold no annotations that can be read: the sentence says what they hold, and what to do."""

import json

import pytest
from archive_files import coco, encoded, image, make_zip, picture, read, square

from segdemo.core.labels import VOC
from segdemo.data.formats import Annotation, ExchangeError, export_zip, import_zip

PHOTO, MASK = {"a.png": picture()}, encoded(square(255))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no files"),
        ({"__MACOSX/._a": "x", ".DS_Store": "x"}, "holds no files"),
        ({"a.png": picture(), "b/c.png": picture(1)}, "it holds photos alone"),
        ({"a.png": picture(), "a.xml": "<annotation><bndbox></bndbox></annotation>"}, "a.xml holds boxes"),
        ({"train.csv": "ImageId,EncodedPixels\na,1 3\n", **PHOTO}, "run lengths as Kaggle writes them"),
        ({"x.ndjson": '{"data_row": {}}', "a.png": picture()}, "x.ndjson: line 1 names no photo"),
        ({"x.json": '[{"Labeled Data": "https://x"}]', **PHOTO}, "export it there as NDJSON"),
        (
            {"r.json": '{"dataset": {"samples": [{"segmentation_bitmap": {}}]}}', **PHOTO},
            "release of Segments.ai",
        ),
        ({"sa_1.json": '{"annotations": [{"predicted_iou": 0.9}]}', **PHOTO}, "is of Segment Anything"),
        ({"x.geojson": '{"type": "FeatureCollection"}', **PHOTO}, "is GeoJSON, so convert it"),
        ({"x.csv": "MaskPath,ImageID\n", **PHOTO}, "is a table of Open Images"),
        (
            {"imagesTr/a_0000.nii.gz": "x", "labelsTr/a.nii.gz": "x"},
            "is no picture, so save photos and masks",
        ),
        ({"masks/a.npy": "x", "images/a.png": picture()}, "masks/a.npy is no picture"),
        ({"task-1-annotation-2-by-3-tag-a cat-0.png": MASK, **PHOTO}, "export the project as JSON"),
        ({"images/a.png": picture(), "masks/of_b_1.png": MASK}, "masks/of_b_1.png, are called like none"),
        ({"r.json": '[{"image_id": 1, "segmentation": {}}]'}, "results without the images"),
        ({"c.json": json.dumps([{"image": "a", "annotations": [{"coordinates": {}}]}])}, "holds boxes"),
        ({"a.tfrecord": "x"}, "is a TFRecord"),
        ({"inner.zip": "x"}, "other archives .inner.zip.: unpack"),
    ],
)
def test_what_an_archive_holds_instead(tmp_path, files, said):
    with pytest.raises(ExchangeError, match=said):
        import_zip(make_zip(tmp_path / "x.zip", files))


def test_an_archive_in_an_archive_of_annotations_is_named(tmp_path):
    document = coco(images=[image(), image(2, "b.png")], annotations=[])
    _, imported = read(tmp_path, {"c.json": document, "a.png": picture(), "images.zip": b"x"})
    assert [e.file for e in imported.account.left_out] == ["images.zip", "c.json"]
    assert imported.refused[0].startswith("images.zip: it is an archive in the archive")


def test_an_export_of_overlays_alone_is_called_that(tmp_path):
    annotation = Annotation("a", picture(), square(), VOC)
    path = export_zip([annotation], tmp_path / "out.zip", ["overlay"])
    with pytest.raises(ExchangeError, match="overlays are pictures to look at"):
        import_zip(path)
