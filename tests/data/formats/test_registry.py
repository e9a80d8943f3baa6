"""The table of formats: what it says of each, and that documentation, page and examples agree with it."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from archive_files import exported, picture, read, same, square

from segdemo.core.labels import VOC
from segdemo.data import formats
from segdemo.data.formats import EXPORT_FORMATS, FORMATS, IMPORT_FORMATS, exporting, importing
from segdemo.data.formats.format import Format, Writer
from segdemo.data.formats.reader import Found

README = Path(__file__).parents[3] / "README.md"


def test_names_and_folders_are_given_once():
    assert len({format.name for format in FORMATS}) == len(FORMATS)
    folders = [folder for format in FORMATS if format.writer for folder in format.writer.folders]
    assert folders and len({*folders, "meta", "JPEGImages", "labels.json"}) == len(folders) + 3


def test_the_order_of_exports_and_of_imports():
    assert EXPORT_FORMATS == ("voc", "coco", "panoptic", "yolo", "labelme", "overlay")
    expected = (
        *("voc", "coco", "yolo", "labelme", "cvat", "label_studio", "datumaro", "via", "supervisely"),
        "outlines",
        *("panoptic", "masks"),  # these yield to the others
    )
    assert expected == IMPORT_FORMATS


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_every_format_is_written_about(format):
    assert (format.find or format.writer) and format.title in README.read_text("utf-8")
    if format.writer:
        assert all(f"{folder}" in formats.__doc__ for folder in format.writer.folders)


class CountWriter(Writer):
    """How many pixels each class has: a format that is there for the test alone."""

    folders = ("counts",)

    def add(self, item):
        yield f"counts/{item.stem}.json", json.dumps({"counts": np.bincount(item.label_map.ravel()).tolist()})


def find_counts(reader):
    documents = reader.documents_like(lambda data: "counts" in data)
    items = []
    for name, data in documents.items():
        photo, why = reader.photos.find_stem(Path(name).stem)
        row = [i for i, count in enumerate(data["counts"]) for _ in range(count)]

        def load(height, width, name=name, row=row):
            return np.array(row, np.uint8).reshape(height, width), [(name, "counts")]

        items.append(reader.item(name, photo, why, lambda name=name: [(name, "counts")], load))
    return Found(items, "Counted") if items else None


def test_a_format_is_one_file_and_one_row(tmp_path, monkeypatch):
    row = Format("counts", "Counts", find_counts, CountWriter, ("counts",))
    monkeypatch.setattr(exporting, "WRITTEN", (*exporting.WRITTEN, row))
    monkeypatch.setattr(exporting, "EXPORT_FORMATS", (*EXPORT_FORMATS, "counts"))
    monkeypatch.setattr(importing, "READ", (row, *importing.READ))
    monkeypatch.setattr(importing, "FORMATS", (*FORMATS, row))
    label_map = np.sort(square(), axis=None).reshape(square().shape)
    photo = formats.Annotation("a", picture(), label_map, VOC)
    files = exported(tmp_path, [photo], ["counts", "voc"])
    assert json.loads(files["counts/a.json"]) == {"counts": [32, 16]}
    photos, imported = read(tmp_path, files)
    assert imported.formats == ["counts", "voc"] and imported.account.ignored == []
    assert same(photos["JPEGImages/a.png"], label_map)


@pytest.mark.parametrize("module", [exporting, importing], ids=lambda module: module.__name__)
def test_examples_in_docstrings_run(tmp_path, module):
    photo = formats.Annotation("plane", np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.uint8), VOC)
    formats.export_zip([photo], tmp_path / "planes.zip", ["voc"])
    names = {"np": np, "VOC": VOC, "folder": tmp_path}
    failed, tried = doctest.testmod(module, extraglobs=names)
    assert tried and not failed
