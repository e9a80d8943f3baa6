"""The loss, the model that learns from a teacher, and a whole training with one."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tflite_files
from drawn import draw_voc

from segdemo.core.labels import VOC, VOID
from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import architectures, losses, metrics
from segdemo.training.distillation import distiller
from segdemo.training.layers import ResizeLike
from segdemo.training.trainer import train

CLASSES = 21


class CropTeacher:
    """Looks at crops of 4 x 4 with a stride of 2 and finds each colour in its own channel."""

    def pictures(self, crops):
        return crops

    def __call__(self, images):
        return 6.0 * tf.cast(images, tf.float32)[:, 1::2, 1::2], []


def network(classes=3, **settings):
    images = keras.Input((4, 4, 3))
    logits = keras.layers.Conv2D(classes, 1, kernel_initializer="zeros", name="logits")(images)
    return distiller.Distiller(images, logits, network=CropTeacher(), **settings)


def compiled(model):
    model.compile(keras.optimizers.SGD(0.1), losses.CrossEntropy(), metrics=[metrics.PixelAccuracy(3)])
    return model


# --- the loss ---------------------------------------------------------------------------------------------


def test_soft_cross_entropy_equals_the_hand_computed_value():
    logits = np.log([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]]) + 3.0  # (1, 1, 2, 3)
    teacher = np.log([[[[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]]]]) - 1.0
    by_pixel = [
        -(0.25 * np.log(0.5) + 0.5 * np.log(0.25) + 0.25 * np.log(0.25)),
        -(0.1 * np.log(0.1) + 0.2 * np.log(0.1) + 0.7 * np.log(0.8)),
    ]
    assert float(distiller.soft_cross_entropy(logits, teacher)) == pytest.approx(np.mean(by_pixel), rel=1e-5)


def test_temperature_softens_both_and_keeps_the_gradient_s_size():
    logits, teacher = np.array([[[[2.0, 0.0, -2.0]]]]), np.array([[[[0.0, 3.0, 1.0]]]])

    def share(values):
        return np.exp(values / 4) / np.exp(values / 4).sum()

    expected = -16 * (share(teacher) * np.log(share(logits))).sum()
    value = distiller.soft_cross_entropy(logits, teacher, temperature=4.0)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_soft_cross_entropy_is_least_for_the_teacher_s_own_logits():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32))
    with tf.GradientTape() as tape:
        value = distiller.soft_cross_entropy(logits, logits.numpy())
    np.testing.assert_allclose(tape.gradient(value, logits), 0, atol=1e-7)


# --- the model that learns --------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_and_validation_is_on_the_truth_alone():
    model = compiled(network(truth_weight=0.5, teacher_weight=2.0, temperature=3.0))
    rng = np.random.default_rng(4)
    images, logits = rng.normal(size=(2, 2, 4, 4, 3)).astype(np.float32)
    mask = rng.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    mask[0, 0] = VOID

    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    known = mask != VOID
    picked = np.take_along_axis(log_p, np.where(known, mask, 0)[..., None].astype(int), -1)[..., 0]
    truth = -picked[known].mean()
    assert float(model.compute_loss(images, mask, logits, training=False)) == pytest.approx(truth, rel=1e-5)
    enlarged = tf.image.resize(6 * images[:, 1::2, 1::2], (4, 4))
    soft = float(distiller.soft_cross_entropy(logits, enlarged, 3.0))
    both = float(model.compute_loss(images, mask, logits, training=True))
    assert both == pytest.approx(0.5 * truth + 2.0 * soft, rel=1e-5)


def test_a_model_learns_from_its_teacher_where_nothing_else_is_known():
    keras.utils.set_random_seed(1)
    images = np.random.default_rng(6).normal(size=(4, 4, 4, 3)).astype(np.float32)
    images = images.repeat(2, axis=1)[:, :4].repeat(2, axis=2)[:, :, :4]  # alike within a cell
    mask = np.full((4, 4, 4), VOID, np.uint8)
    model = compiled(network())
    history = model.fit(
        tf.data.Dataset.from_tensors((images, mask)).repeat(),
        steps_per_epoch=30,
        epochs=2,
        verbose=0,
        shuffle=False,
        validation_data=(images, np.zeros_like(mask)),
    ).history
    assert history["loss"][0] > history["loss"][-1]
    kernel = model.get_layer("logits").kernel.numpy()[0, 0]
    assert (kernel.argmax(axis=0) == [0, 1, 2]).all()  # the teacher's rule
    assert set(history) == {"loss", "pixel_accuracy", "val_loss", "val_pixel_accuracy"}


def test_mixup_blends_photos_and_forgets_what_they_show():
    masks = np.arange(16, dtype=np.uint8).repeat(6 * 8).reshape(16, 6, 8)  # photos that say which they are
    images = 10.0 * masks[..., None].repeat(3, axis=-1)
    out, ids_ = (a.numpy() for a in distiller.mixup(images, masks, chance=0.5, seed=(5, 11)))
    blended = (ids_ == VOID).all((1, 2))
    assert 3 < blended.sum() < 13
    np.testing.assert_array_equal(out[~blended], images[~blended])
    np.testing.assert_array_equal(ids_[~blended], masks[~blended])
    for n in np.flatnonzero(blended):
        other = 10 * ((n - 2) % 16)
        share = (out[n, 0, 0, 0] - 10 * n) / (other - 10 * n)
        assert 0.15 <= share <= 0.5
        np.testing.assert_allclose(out[n], out[n, 0, 0, 0])


def test_mixup_of_two_photos_blends_each_with_the_other_and_leaves_a_single_one():
    masks = np.arange(2, dtype=np.uint8).repeat(6 * 8).reshape(2, 6, 8)
    images = 100.0 * masks[..., None].repeat(3, axis=-1)
    out, ids_ = distiller.mixup(images, masks, chance=1.0, seed=(1, 2))
    assert (ids_.numpy() == VOID).all()
    assert 15 <= out[0, 0, 0, 0] <= 50 <= out[1, 0, 0, 0] <= 85
    out, ids_ = distiller.mixup(images[:1], masks[:1], chance=1.0, seed=(1, 2))
    np.testing.assert_array_equal(out, images[:1])
    np.testing.assert_array_equal(ids_, masks[:1])


def test_weights_of_a_distiller_are_those_of_the_model(tmp_path):
    model = network()
    model.set_weights([np.full_like(w, 0.5) for w in model.get_weights()])
    model.save_weights(tmp_path / "a.weights.h5")
    plain = keras.Model(*(lambda m: (m.input, m.output))(network()))
    plain.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(plain.get_layer("logits").kernel, np.full((1, 1, 3, 3), 0.5))


def test_teachers_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    (tmp_path / "t.tflite").write_bytes(b"x")
    monkeypatch.delenv("SEGDEMO_PRETRAINED", raising=False)
    assert distiller.find_teacher(str(tmp_path / "t.tflite")) == tmp_path / "t.tflite"
    with pytest.raises(
        distiller.TeacherError, match=r"There is no teacher t\.tflite: put that TFLite file into"
    ):
        distiller.find_teacher("t.tflite")
    monkeypatch.setenv("SEGDEMO_PRETRAINED", str(tmp_path))
    assert distiller.find_teacher("t.tflite") == tmp_path / "t.tflite"


# --- a whole training -------------------------------------------------------------------------------------


def tiny(name, num_classes, encoder_weights=None, **options):
    """Stands in for ``architectures.build``: a model as DeepLab is one, with logits at stride 4."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -1)(images)
    logits = keras.layers.Conv2D(num_classes, 4, strides=4, name="logits")(x)
    return keras.Model(images, ResizeLike(name="upsample")(logits, images))


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A training with a teacher of stride 8, which mixes photos in every way."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(architectures, "build", tiny)
    (tmp_path / "t.tflite").write_bytes(tflite_files.network(65, CLASSES))
    draw_voc(tmp_path / "data", VOC)
    return {
        "model": "unet_plain",  # the name of one without an encoder
        "dataset": "voc",
        "data": str(tmp_path / "data"),
        "teacher": str(tmp_path / "t.tflite"),
        "teacher_temperature": 2.0,
        "cutmix": 0.5,
        "mixup": 0.3,
        "copy_paste": 0.2,
        "augment": "strong",
        "loss_stride": 4,
        "repeat_threshold": 0.3,
        "held_out": "val",
        "size": 32,
        "batch": 2,
        "epochs": 1,
    }


def learned(run):
    model = tiny("", CLASSES)
    model.load_weights(run / "checkpoints" / "best.weights.h5")
    return model.get_layer("logits").bias.numpy()


def test_a_training_with_a_teacher_runs_and_goes_on(config, tmp_path):
    run = tmp_path / "run"
    assert train(TrainConfig.from_json(config), run, verbose=False)["state"] == "done"
    assert np.abs(learned(run)).max() > 0  # it began with zeros
    # As a run of before would, whose teacher was asked once a photo.
    settings = json.loads((run / "config.json").read_text()) | {"teacher_sees": "photo", "epochs": 2}
    assert train(TrainConfig.from_json(settings), run, True, False)["state"] == "done"
    lines = (run / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"]
    assert "val_mean_iou" in lines[0]


def test_a_teacher_that_does_not_fit_is_refused(config, tmp_path):
    with pytest.raises(TrainingError, match="a multiple of 8 pixels, not 36: choose another"):
        train(TrainConfig.from_json({**config, "size": 36}), tmp_path / "run", verbose=False)
    (tmp_path / "t.tflite").write_bytes(tflite_files.network(65, 5))
    with pytest.raises(TrainingError, match=r"knows 5 classes and .* has 21: use one"):
        train(TrainConfig.from_json(config), tmp_path / "other", verbose=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"augment": "flip"},
        {"mixup": 0.2, "teacher": ""},
        {"cutmix": 1.5},
        {"copy_paste": -0.5},
        {"teacher_temperature": 0.5},
        {"teacher_weight": -1.0},
        {"teacher_weight": 0.0, "truth_weight": 0.0},
        {"repeat_threshold": 2.0},
    ],
)
def test_settings_that_do_not_go_with_a_teacher_are_refused(wrong):
    config = {"model": "deeplabv3", "dataset": "voc", "data": "d", "teacher": "t", "augment": "strong"}
    TrainConfig.from_json(config)
    with pytest.raises(TrainingError, match=next(iter(wrong)) if "augment" not in wrong else "'strong'"):
        TrainConfig.from_json({**config, **wrong})
