import gc
import json
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data
from tiny import bright, write_model

from segdemo.core import label_maps
from segdemo.core.labels import PETS
from segdemo.core.photos import Limits
from segdemo.core.shapes import rle_decode
from segdemo.inference import batch as batches
from segdemo.inference.batch import Batch, BatchError, Item, notes_path, segmented
from segdemo.inference.batch_formats import FORMATS
from segdemo.inference.predict import DamagedModelError, Predictor

RNG = np.random.default_rng(0)


@pytest.fixture
def predictor(tmp_path):
    return Predictor(write_model(tmp_path / "model", "colours", PETS, *bright(3, 0, 1)), threads=1)


@pytest.fixture
def items(tmp_path):
    """Twelve photos, of which the fourth is none."""
    found = []
    (tmp_path / "photos").mkdir()
    for number in range(12):
        path = tmp_path / "photos" / f"{number:02}.png"
        Image.fromarray(RNG.integers(0, 256, (20 + number, 30, 3), np.uint8)).save(path)
        each = (format.name for format in FORMATS.values() if format.encode)
        files = {name: tmp_path / "out" / name / path.name for name in each}
        found.append(Item(str(path), path.name, path, files))
    found[3].source.write_bytes(b"words")
    return found


def batch(predictor, items, formats=tuple(FORMATS), **options):
    return Batch(predictor, items, items[0].files["label_map"].parents[1], formats, **options)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def painted(document, image):
    """The label map that a COCO document says of a photo."""
    named = {category["id"]: category["name"] for category in document["categories"]}
    label_map = np.full((image["height"], image["width"]), PETS.background, np.uint8)
    for entry in document["annotations"]:
        if entry["image_id"] == image["id"]:
            name = named[entry["category_id"]]
            label_map[rle_decode(entry["segmentation"])] = 255 if name == "void" else PETS.classes.index(name)
    return label_map


def stopping_after(number):
    """(stop, progress): stops once so many photos are done."""
    seen = []
    return lambda: len(seen) >= number, lambda tally: seen.append(tally.done)


def test_everything_is_written_for_every_photo_but_the_bad_one(predictor, items, tmp_path):
    done = []
    tally = batch(predictor, items).run(workers=3, progress=lambda tally: done.append(tally.done))
    assert (tally.total, tally.done, tally.left) == (12, 11, 0)
    assert tally.failed.keys() == {items[3].key}
    assert tally.failed[items[3].key].startswith("03.png is not a photo")
    assert sorted(set(done)) == list(range(1, 12)) or done[0] == 0
    out = tmp_path / "out"
    for item in items[:3] + items[4:]:
        photo = np.asarray(Image.open(item.source))
        expected = predictor(photo).label_map
        np.testing.assert_array_equal(label_maps.decode_png(item.files["label_map"], PETS), expected)
        np.testing.assert_array_equal(
            np.asarray(Image.open(item.files["overlay"])), label_maps.overlay(photo, expected, PETS)
        )
        cut = np.asarray(Image.open(item.files["cutout"]))
        thing = expected != PETS.background
        np.testing.assert_array_equal(cut[..., 3], np.where(thing, 255, 0))
        np.testing.assert_array_equal(cut[thing][:, :3], photo[thing])
        doubt = Image.fromarray(predictor(photo).uncertainty).resize(
            expected.shape[::-1], Image.Resampling.BILINEAR
        )
        np.testing.assert_array_equal(np.asarray(Image.open(item.files["uncertainty"])), np.asarray(doubt))
    document = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [
        i.name for i in items if i is not items[3]
    ]
    for image in document["images"]:
        label_map = label_maps.decode_png(out / "label_map" / image["file_name"], PETS)
        np.testing.assert_array_equal(painted(document, image), label_map)
    header, *lines = (out / "classes.csv").read_text().splitlines()
    assert header == "photo,width,height," + ",".join(PETS.classes) + ",void"
    assert len(lines) == 11
    label_map = label_maps.decode_png(out / "label_map" / "00.png", PETS)
    shares = [f"{(label_map == i).mean():.6f}" for i in (0, 1, 2, 255)]
    assert lines[0].split(",") == ["00.png", "30", "20", *shares]


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_resumed_ends_as_what_was_never_stopped(predictor, items, tmp_path, workers):
    batch(predictor, items).run()
    out = tmp_path / "out"
    whole = contents(out)
    whole.pop(notes_path(out).relative_to(out))
    for path in out.rglob("*.*"):
        path.unlink()
    stop, progress = stopping_after(4)
    tally = batch(predictor, items).run(workers, stop=stop, progress=progress)
    assert tally.left > 0
    assert not (out / "coco.json").exists()
    notes = notes_path(out)
    with notes.open("ab") as file:
        file.write(b'{"key": "half a li')  # as a kill -9 leaves it
    kept = {path: path.stat().st_mtime_ns for path in (out / "label_map").iterdir()}
    items[0].files["overlay"].unlink()  # somebody removed a result: it is made again
    tally = batch(predictor, items).run(workers, resume=True)
    assert tally.before == len(kept) - 1
    assert tally.done == 11
    again = {path: path.stat().st_mtime_ns for path in kept}
    assert sum(kept[path] == again[path] for path in kept) == len(kept) - 1
    found = contents(out)
    found.pop(notes.relative_to(out))
    assert found == whole


def test_a_batch_of_another_model_or_other_settings_is_not_gone_on_with(predictor, items, tmp_path):
    batch(predictor, items, ["label_map"]).run()
    other = Predictor(write_model(tmp_path / "other", "other", PETS, *bright(3, 1, 0)))
    for way in (batch(predictor, items), batch(other, items, ["label_map"])):
        with pytest.raises(BatchError, match="without resuming"):
            way.run(resume=True)
    tally = batch(predictor.seeing(flip=True), items, ["label_map"]).run()  # anew
    assert (tally.before, tally.done) == (0, 11)


@pytest.mark.parametrize("damage", [None, b"", b"\0\xff\n", b"[]\n", b"{}\n", b'{"key": []}\n' * 3])
def test_damaged_notes_are_no_notes_or_of_another_batch(predictor, items, tmp_path, damage):
    (tmp_path / "out").mkdir()
    if damage is not None:
        notes_path(tmp_path / "out").write_bytes(damage)
    try:
        tally = batch(predictor, items, ["csv"]).run(resume=True)
    except BatchError:
        return
    assert (tally.before, tally.done) == (0, 11)


def test_a_network_that_cannot_be_run_ends_it_all(predictor, items, monkeypatch):
    def fail(photo):
        raise DamagedModelError("colours.onnx cannot be run: export it again.")

    broken = batch(predictor, items)
    broken.predictor = type(
        "Broken", (), {"__call__": staticmethod(fail), "entry": predictor.entry, "passes": []}
    )()
    with pytest.raises(DamagedModelError):
        broken.run(workers=2)


@pytest.mark.parametrize("step", ["encode", "look", "row"])
def test_a_photo_that_takes_too_much_memory_is_passed_over_at_any_step(predictor, items, monkeypatch, step):
    overlay, options = FORMATS["overlay"].encode, {}

    def fail(photo, *more):
        if photo.shape[0] == 27:  # the eighth
            raise MemoryError
        return overlay(photo, *more) if step == "encode" else None

    if step == "encode":
        monkeypatch.setitem(FORMATS, "overlay", replace(FORMATS["overlay"], encode=fail))
    elif step == "look":
        options["look"] = fail
    else:
        made = batches.row_of
        monkeypatch.setattr(
            batches, "row_of", lambda label_map, *args: fail(label_map) or made(label_map, *args)
        )
    one = batch(predictor, items, ("label_map", "overlay", "csv"), **options)
    tally = one.run(workers=2)
    assert (tally.done, len(tally.failed)) == (10, 2)
    assert "needs more memory than there is" in tally.failed[items[7].key]
    for name in ("label_map", "overlay"):
        assert not items[7].files[name].exists()
        assert items[8].files[name].is_file()
    assert "07.png" not in (one.out / "classes.csv").read_text()


def test_results_have_a_limit_in_bytes(predictor, items):
    with pytest.raises(BatchError, match="fewer photos"):
        batch(predictor, items).run(most_bytes=1000)


def test_those_who_segment_elsewhere_are_stopped_and_limited_too(predictor, items):
    begun, ended = [], []

    def elsewhere(left):
        try:
            for item in left:
                begun.append(item)
                yield segmented(item, predictor, [*FORMATS.values()], Limits())
        finally:
            ended.append(True)

    one = batch(predictor, items)
    tally = one.run_by(elsewhere, stop=lambda: len(begun) == 3)
    assert (len(begun), tally.left, ended) == (3, len(items) - 3, [True])
    with pytest.raises(BatchError, match="fewer photos"):
        one.run_by(elsewhere, resume=True, most_bytes=1000)
    assert one.run_by(elsewhere, resume=True).left == 0


def test_shards_share_a_folder(predictor, items, tmp_path):
    for number in (1, 2):
        batch(predictor, items[number - 1 :: 2], part=f"-{number}-of-2").run()
    out = tmp_path / "out"
    assert len(list((out / "label_map").iterdir())) == 11
    counts = [len((out / f"classes-{n}-of-2.csv").read_text().splitlines()) - 1 for n in (1, 2)]
    assert sum(counts) == 11
    assert {p.name for p in out.glob("coco*")} == {"coco-1-of-2.json", "coco-2-of-2.json"}


def test_a_name_that_a_spreadsheet_would_run_is_quoted(predictor, items, tmp_path):
    named = [Item("x", "=1+1.png", items[0].source, items[0].files)]
    Batch(predictor, named, tmp_path / "out", ["csv"]).run()
    assert (tmp_path / "out" / "classes.csv").read_text().splitlines()[1].startswith("'=1+1.png,")


def test_a_thousand_photos_take_no_more_memory_than_a_few(predictor, tmp_path):
    """Beyond what a list of their names takes."""
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()[:64, :64]).save(path)
    bytes_ = path.read_bytes()

    def run(number):
        names = [f"{i:04}.png" for i in range(number)]
        files = tmp_path / f"out{number}"
        many = [Item(name, name, lambda: bytes_, {"label_map": files / name}) for name in names]
        tracemalloc.start()
        tally = Batch(predictor, many, files, ["label_map", "coco", "csv"]).run(workers=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tally.done == number
        return peak

    # What other tests left is no garbage of this one, and does not put off looking for that.
    gc.collect()
    gc.freeze()
    try:
        run(20)
        few, many = run(20), run(1000)
    finally:
        gc.unfreeze()
    assert many - few < 1000 * 600  # bytes: the places of their notes, and not what is in them


def test_workers_are_as_many_as_asked_for(predictor, items):
    seen = set()
    batch(predictor, items).run(workers=2, prepare=lambda: seen.add(threading.get_ident()))
    assert len(seen) == 2
