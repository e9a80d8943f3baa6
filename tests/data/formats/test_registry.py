"""The table of formats: what it says of each, and that documentation, page and examples agree with it."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from segdemo.data import formats
from segdemo.data.formats import EXPORT_FORMATS, FORMATS, IMPORT_FORMATS, exporting, importing
from segdemo.labels import VOC

README = Path(__file__).parents[3] / "README.md"


def test_names_and_folders_are_given_once():
    assert len({format.name for format in FORMATS}) == len(FORMATS)
    folders = [folder for format in FORMATS if format.writer for folder in format.writer.folders]
    assert folders and len({*folders, "meta", "JPEGImages", "labels.json"}) == len(folders) + 3


def test_the_order_of_exports_and_of_imports():
    assert EXPORT_FORMATS == ("voc", "coco", "panoptic", "yolo", "labelme", "overlay")
    expected = (
        *("voc", "coco", "yolo", "labelme", "cvat", "label_studio", "datumaro", "via", "supervisely"),
        *("panoptic", "masks"),  # these yield to the others
    )
    assert expected == IMPORT_FORMATS


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_every_format_is_written_about(format):
    assert (format.find or format.writer) and format.title in README.read_text("utf-8")
    if format.writer:
        assert all(f"{folder}" in formats.__doc__ for folder in format.writer.folders)


@pytest.mark.parametrize("module", [exporting, importing], ids=lambda module: module.__name__)
def test_examples_in_docstrings_run(tmp_path, module):
    photo = formats.Annotation("plane", np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.uint8), VOC)
    formats.export_zip([photo], tmp_path / "planes.zip", ["voc"])
    names = {"np": np, "VOC": VOC, "folder": tmp_path}
    failed, tried = doctest.testmod(module, extraglobs=names)
    assert tried and not failed
