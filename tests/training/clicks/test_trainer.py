"""A run of seconds: a small network on drawn photos, stopped, gone on with, exported and measured."""

import json

import keras
import numpy as np
import pytest
from drawn import draw_pets, draw_voc, scene
from PIL import Image

from segdemo.cli import main
from segdemo.core.clicks import Click
from segdemo.core.files import sha256
from segdemo.core.labels import VOC
from segdemo.inference.clicks import Clicker
from segdemo.training.architectures.click import CHANNELS
from segdemo.training.checkpoints import Checkpoints
from segdemo.training.clicks import export, trainer
from segdemo.training.clicks.simulation import Start
from segdemo.training.clicks.trainer import ClickConfig, continued, watch
from segdemo.training.export.exporter import ExportError
from segdemo.training.layers import conv_bn_relu
from segdemo.zoo.clicks import click_model


def small_network(encoder="none", weights=None):
    """What ``click_network`` promises, in two convolutions."""
    inputs = keras.Input((None, None, CHANNELS), name="image")
    x = keras.layers.Rescaling(1 / 255, name="scaled")(inputs)
    x = conv_bn_relu(x, 8, 3, stride=2, name="half")
    x = conv_bn_relu(x, 8, 3, name="near")
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, dtype="float32", name="logits")(x), name="click")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    for module in (trainer, export):
        monkeypatch.setattr(module, "click_network", small_network)
    monkeypatch.setattr(trainer, "WATCHED", 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    draw_voc(root, VOC, train=3, extra=2, val=6, size=(120, 90))
    draw_pets(root / "pets", {"pug": 12}, size=(120, 90))
    return root


def settings(data, **changes):
    values = {"size": 64, "batch": 4, "steps": 4, "watch_every": 2, "warmup_steps": 1} | changes
    return ClickConfig(str(data), **values)


def events(run, kind):
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.usefixtures("eager")
def test_a_run_learns_stops_goes_on_and_becomes_a_model(data, tmp_path, capsys):
    run = tmp_path / "run"
    trainer.train(settings(data), run)
    assert [event["step"] for event in events(run, "watched")] == [2, 4]
    for event in events(run, "watched"):
        assert len(event["iou"]) == 3
        assert all(0 <= iou <= 1 for iou in event["iou"])
        assert np.isfinite(event["loss"])
    state = Checkpoints(run / "checkpoints").state()
    assert state["step"] == 4
    assert state["best"] == max(event["iou"][1] for event in events(run, "watched"))
    # As if it had been stopped there: it goes on with the settings it was begun with, but for those given.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sys.argv",
            [
                "trainer",
                "--data",
                "elsewhere",
                "--out",
                str(run),
                "--resume",
                "--set",
                "steps=6",
                "--set",
                "watch_every=1",
            ],
        )
        trainer.main()
    assert [event["step"] for event in events(run, "watched")] == [2, 4, 5, 6]
    assert json.loads((run / "config.json").read_text()) | {"steps": 4, "watch_every": 2} == vars(
        settings(data)
    )
    assert Checkpoints(run / "checkpoints").state()["step"] == 6

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "CALIBRATION_CROPS", 4)
        export.export(run)
    model = click_model(str(run))
    assert (model.name, model.long_side, model.weights) == ("click", 320, "model.weights.h5")
    assert model.onnx_sha256 == sha256(model.path)
    assert model.weights_sha256 == sha256(run / model.weights)
    assert b"QuantizeLinear" in model.path.read_bytes()
    photo, mask = scene(1, (120, 90))
    assert Clicker(model).select(np.asarray(photo), [Click(60, 45)]).mask.shape == (90, 120)
    for folder, picture in (("photos", photo), ("masks", Image.fromarray(mask * np.uint8(255)))):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / "a.png")
    folders = ["--images", str(tmp_path / "photos"), "--masks", str(tmp_path / "masks")]
    capsys.readouterr()
    assert main(["clicks", *folders, "--model", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["things"] == 1


def test_a_run_without_a_best_checkpoint_is_not_exported(tmp_path):
    with pytest.raises(ExportError, match="has no best checkpoint yet"):
        export.export(tmp_path)


def test_batches_come_from_every_dataset_and_what_they_begin_with_is_in_them(data):
    config = settings(data, pets=0.5, official=0.25)
    (images, masks), starts = next(iter(trainer.Crops(config)))
    assert (images.shape, images.dtype) == ((4, 64, 64, 6), np.uint8)
    assert (masks.shape, masks.dtype) == ((4, 64, 64), np.uint8)
    for image, begun in zip(images, starts, strict=True):
        np.testing.assert_array_equal(image[..., 5] > 0, begun.mask)
        assert image[..., 3:5].any() == bool(begun.clicks)


def test_what_goes_wrong_while_crops_are_made_is_told_to_who_asks(data, monkeypatch):
    def fails(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(trainer, "assembled", fails)
    with pytest.raises(ZeroDivisionError):
        next(iter(trainer.Crops(settings(data, pets=0))))


class Says:
    """A network that gives these masks, bool (B, h, w)."""

    def __init__(self, masks):
        self.masks = masks

    def predict_on_batch(self, images):
        return np.where(self.masks, 1.0, -1.0)[..., None]


def one_thing():
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 10:40, 20:50] = 1
    mask[0, 50:] = 255
    images = np.zeros((1, 64, 64, 6), np.uint8)
    return (images, mask), [Start(np.zeros((64, 64), bool), [Click(30, 20)])]


def test_a_person_goes_on_where_the_network_is_wrong():
    batch, starts = one_thing()
    found = np.zeros((1, 32, 32), bool)
    found[0, 5:20, 10:18] = True  # the right part lacks
    found[0, 26:] = True  # where it does not count
    images, masks = continued(np.random.default_rng(0), Says(found), batch, starts)
    first, second = starts[0].clicks
    assert first == Click(30, 20)
    assert second.positive and 36 <= second.x < 50 and 10 <= second.y < 40
    np.testing.assert_array_equal(starts[0].mask[::2, ::2], found[0])
    np.testing.assert_array_equal(images[0, ..., 5] > 0, starts[0].mask)
    assert images[0, second.y, second.x, 3] == 255
    assert masks is batch[1]


def test_watching_scores_what_the_network_says():
    (images, masks), starts = one_thing()
    right = masks[:, 1::2, 1::2] == 1
    assert watch(Says(right), [((images, masks), starts)]) == {"iou": [1, 1, 1]}
    assert watch(Says(~right), [((images, masks), starts)])["iou"] == [0, 0, 0]
    half = right.copy()
    half[:, :, 18:] = False
    assert watch(Says(half), [((images, masks), starts)])["iou"][0] == pytest.approx(8 / 15, abs=0.01)
    assert not images.any() and len(starts[0].clicks) == 1  # the next look begins like this one


@pytest.mark.usefixtures("eager")
def test_a_loss_that_is_no_number_ends_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *_: float("nan"))
    with pytest.raises(FloatingPointError, match="The loss became nan in step 1"):
        trainer.train(settings(data), tmp_path / "run")
