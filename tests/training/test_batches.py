"""The batches of a run, as its settings ask for them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from drawn import draw_pets, draw_voc

from segdemo.core.labels import VOC, VOID
from segdemo.data.sources import open_dataset
from segdemo.runs import recipes
from segdemo.runs.config import TrainConfig
from segdemo.training import augment, batches, pipeline
from segdemo.training.distillation import distiller


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    draw_voc(root, VOC, train=5, extra=2, val=4)
    return open_dataset("voc", root)


def config(**settings):
    settings = {"model": "deeplabv3", "dataset": "voc", "data": "-", "subset": "train_aug", **settings}
    return TrainConfig(**{"batch": 7, "loss_stride": 1, **settings})


def taken(data, count=1):
    return [[part.numpy() for part in batch] for batch in data.take(count)]


def classes(masks):
    """The object class of each photo, which in drawn VOC tells which photo it is."""
    return [int(mask[mask != VOID].max()) for mask in masks]


@pytest.mark.parametrize(
    "settings",
    [{"augment": "none"}, {"augment": "flip"}, {"augment": "voc"}, {"augment": "voc", "crop_share": 0.5}],
)
def test_batches_to_learn_from(voc, home, settings):
    passes = taken(batches.to_learn_from(config(**settings), voc, 48), 3)
    for images, masks in passes:
        assert (images.dtype, images.shape) == (np.float32, (7, 48, 48, 3))
        assert (masks.dtype, masks.shape) == (np.uint8, (7, 48, 48))
        assert images.min() >= 0
        assert 50 < images.max() <= 255  # RGB 0..255: preprocessing belongs to the model
        assert sorted(classes(masks)) == list(range(1, 8))
        for image, mask in zip(images, masks, strict=True):
            objects = (mask > 0) & (mask != VOID)
            assert image[objects][:, :2].mean() > image[mask == 0][:, :2].mean() + 60  # still on its object
    assert len({tuple(classes(masks)) for _, masks in passes}) > 1
    kept = {file.stat().st_size for file in home.glob("cache/photos/*")}
    expected = {"none": set(), "flip": {8 + 4 * 48**2}, "voc": {8 + 4 * 56**2}}[settings["augment"]]
    assert kept == (set() if "crop_share" in settings else expected)


def test_the_book_s_photos_are_enlarged_to_444_for_crops_of_384(voc, monkeypatch):
    asked = {}
    monkeypatch.setattr(pipeline, "build", lambda *_, **options: asked.update(options))
    book = {**recipes.settings("book-deeplabv3-resnet50"), "data": "-"}
    batches.to_learn_from(TrainConfig.from_json(book), voc, 384)
    assert (asked["resize"], asked["size"], asked["batch"]) == (None, 384, 5)  # there are five photos
    # Rows and columns of a photo of 888 pixels tell whether it was cropped or resized.
    ramp = np.broadcast_to(np.arange(888)[:, None, None] % 256, (888, 888, 3)).astype(np.uint8)
    steps = []
    for n in range(24):
        _, mask = augment.random_crop_or_resize(
            ramp, ramp[..., 0] // 32, (384, 384), (444, 444), 0.5, seed=(n, 1)
        )
        steps.append(len(np.flatnonzero(np.diff(mask.numpy()[:, 0].astype(int)))))
    assert {*steps} <= {23, 24, 27}  # edges every 16 rows of 444, or all 27 of them
    assert 6 < steps.count(27) < 18
    batches.to_learn_from(TrainConfig.from_json({**book, "crop_share": 1.0}), voc, 384)
    assert (asked["resize"], asked["size"]) == (444, 384)
    tutorial = {**recipes.settings("tutorial-unet"), "data": "-", "subset": "train"}
    batches.to_learn_from(TrainConfig.from_json(tutorial), voc, 128)
    assert (asked["resize"], asked["size"]) == (128, 128)


def test_scale_jitter(voc, home):
    ((images, masks),) = taken(
        batches.to_learn_from(config(augment="strong", scale=(0.05, 0.1), loss_stride=4), voc, 64)
    )
    assert images.shape == (7, 64, 64, 3)
    assert masks.shape == (7, 16, 16)
    assert (masks == VOID).mean() > 0.3  # of a long side of 513: the rest is padding
    assert not list(home.glob("cache/photos/*"))  # decoded anew every time


def test_photos_are_mixed_and_drawn_as_the_settings_say(voc, monkeypatch):
    asked = {}
    monkeypatch.setattr(pipeline, "build", lambda *_, **options: asked.update(options))
    mixed = config(augment="strong", copy_paste=1.0, cutmix=1.0, repeat_threshold=0.5)
    batches.to_learn_from(mixed, voc, 32, mixing=[partial(distiller.mixup, chance=1.0)])
    np.testing.assert_allclose(asked["probabilities"], np.sqrt(0.5 * 7))  # each shows a class of its own
    images = np.stack([np.full((32, 32, 3), 20.0 * n, np.float32) for n in range(4)])
    masks = np.zeros((4, 32, 32), np.uint8)
    blended, void = asked["augment_batch"](images, masks, seed=(1, 2))
    assert (void.numpy() == VOID).all()
    assert not np.isin(np.unique(blended), images).all()
    batches.to_learn_from(replace(mixed, copy_paste=0.0, cutmix=0.0), voc, 32)
    assert asked["augment_batch"] is None


def test_a_run_that_goes_on_sees_another_order(voc):
    make = lambda done: taken(batches.to_learn_from(config(augment="none"), voc, 16, done))  # noqa: E731
    (first,), (again,), (later,) = make(0), make(0), make(3)
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], later[1])


def test_what_is_watched_comes_in_order_and_as_it_is(voc):
    samples = voc.samples("all")[1:]
    data = batches.to_watch(config(augment="strong", batch=2, loss_stride=2), voc, samples, 40)
    found = [[part.numpy() for part in batch] for batch in data]
    assert [images.shape for images, _ in found] == [(2, 40, 40, 3), (1, 40, 40, 3)]
    assert [masks.shape for _, masks in found] == [(2, 20, 20), (1, 20, 20)]
    assert [c for _, masks in found for c in classes(masks)] == [9, 10, 11]


def test_pets(tmp_path):
    draw_pets(tmp_path / "pets", {"pug": 20})
    dataset = open_dataset("pets", tmp_path / "pets")
    settings = config(model="unet_plain", dataset="pets", subset="train", augment="flip", batch=8)
    for images, masks in taken(batches.to_learn_from(settings, dataset, 64), 3):
        assert images.shape == (8, 64, 64, 3)
        assert set(np.unique(masks)) <= {0, 1, 2}
        assert images[masks == 0].mean() > images[masks == 1].mean() + 60  # 0 is the pet
