import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tflite_files
from drawn import draw_voc
from numpy_layers import randomise

from segdemo.core.labels import VOC
from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import architectures, losses, metrics
from segdemo.training.architectures.encoders import build_encoder
from segdemo.training.distillation import blockwise, tflite
from segdemo.training.distillation.distiller import Distiller, soft_cross_entropy
from segdemo.training.distillation.tflite import TeacherError
from segdemo.training.start import build_model
from segdemo.training.trainer import train

SIDE = 97
SMALL = {"aspp_filters": 4, "guided": False}
WIDTHS = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]


def student(seed):
    return randomise(architectures.build("deeplabv3", 5, **SMALL), seed)


@pytest.fixture(scope="module")
def same():
    """A model with the teacher's weights."""
    return student(0)


@pytest.fixture(scope="module")
def other():
    """A model with weights of its own."""
    return student(1)


@pytest.fixture(scope="module")
def teacher(same, tmp_path_factory):
    path = tmp_path_factory.mktemp("blocks") / "teacher.tflite"
    encoder = same.get_layer("mobilenet_v2")
    path.write_bytes(tflite_files.mobilenet_deeplab(encoder, SIDE, 5))
    return tflite.FloatNetwork(path)


def crops(count, side=128, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 9, 9, 3)).astype(np.float32)
    return tf.image.resize(coarse, (side, side))


def errors(model, network, images):
    """The relative error of each block, float (17,)."""
    encoder = model.get_layer("mobilenet_v2")
    entering, leaving = blockwise.lessons(encoder, network, model.get_layer("preprocess"))(images)
    answers = blockwise.build(encoder, network)(list(entering), training=False)
    pairs = zip(leaving, answers, strict=True)
    return np.array([float(tf.reduce_mean(blockwise.relative_error(*pair))) for pair in pairs])


def test_a_network_of_a_teacher_shows_its_bottlenecks(teacher):
    assert (teacher.stride, teacher.block_widths) == (16, WIDTHS)
    blocks = teacher(crops(2, 113))[1]
    assert [block.shape[1:] for block in blocks] == [
        (side, side, width) for side, width in zip([57, 29, 29, 15, 15, 15] + [8] * 11, WIDTHS, strict=True)
    ]


def test_blocks_with_the_teacher_s_weights_do_what_the_teacher_s_do(same, other, teacher):
    """So both see the same pixels in every cell. What is left is the rounding of the teacher's weights."""
    assert errors(same, teacher, crops(4)).max() < 0.02
    assert errors(other, teacher, crops(4)).min() > 0.5  # what this test would notice


def test_cells_that_are_one_pixel_off_would_be_noticed(same, teacher):
    encoder, preprocess = same.get_layer("mobilenet_v2"), same.get_layer("preprocess")
    for name in ("block_1_pad", "block_3_pad", "block_6_pad"):
        layer = encoder.get_layer(name)
        right = layer.padding
        entering, leaving = blockwise.lessons(encoder, teacher, preprocess)(crops(4))
        layer.padding = ((1, 0), (1, 0)) if right == ((0, 1), (0, 1)) else ((0, 1), (0, 1))
        block = int(name.split("_")[1])
        answers = blockwise.build(encoder, teacher)(list(entering), training=False)
        error = float(tf.reduce_mean(blockwise.relative_error(leaving[block], answers[block])))
        layer.padding = right
        assert error > 0.1


def test_a_model_that_imitates_answers_what_the_teacher_does_at_every_block_up_to_the_edges(same, teacher):
    """The teacher's rounded weights are all that is left, and with each block a little more of it."""
    images = crops(2, 113)
    learner = blockwise.imitating(same, same.get_layer("mobilenet_v2"), teacher)
    logits, *ends = learner(images, training=False)
    right = teacher(images)[1]
    assert [end.shape for end in ends] == [block.shape for block in right]
    assert logits.shape == (2, 8, 8, 5)
    error = [float(tf.reduce_mean(blockwise.relative_error(*pair))) for pair in zip(right, ends, strict=True)]
    assert max(error[:7]) < 0.02
    assert max(error) < 0.5


def test_logits_of_a_model_that_imitates_are_those_of_the_crop_without_its_margin(teacher):
    model = randomise(architectures.build("fcn8s", 5, fc_filters=4, output_stride=16))
    images = crops(1, 80)  # which it pads to 96
    learner = blockwise.imitating(model, model.get_layer("mobilenet_v2"), teacher)
    logits = learner(images, training=False)[0]
    assert logits.shape == (1, 80, 80, 5)
    assert [id(v) for v in learner.variables] == [id(v) for v in model.variables]


def test_a_model_that_imitates_is_the_model_itself_in_all_else(same, teacher, tmp_path):
    learner = blockwise.imitating(same, same.get_layer("mobilenet_v2"), teacher)
    assert [id(v) for v in learner.trainable_variables] == [id(v) for v in same.trainable_variables]
    learner.save_weights(tmp_path / "l.weights.h5")
    fresh = student(2)
    fresh.load_weights(tmp_path / "l.weights.h5")
    for a, b in zip(same.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def distiller(model, network, **settings):
    learner = blockwise.imitating(model, model.get_layer("mobilenet_v2"), network)
    made = Distiller(learner.input, learner.outputs, network=network, **settings)
    made.compile(keras.optimizers.SGD(0.1), losses.CrossEntropy(), metrics=[metrics.PixelAccuracy(5)])
    return made


def test_the_blocks_error_is_part_of_the_loss_and_fades(other, teacher):
    images = crops(2, 64)
    learner = distiller(other, teacher, block_weight=3.0, steps=4)
    answers = learner(images, training=False)
    mask = np.zeros(answers[0].shape[:3], np.uint8)
    soft, blocks = teacher(teacher.pictures(images))
    plain = 0.5 * losses.CrossEntropy()(mask, answers[0]) + soft_cross_entropy(answers[0], soft)
    error = np.mean(
        [tf.reduce_mean(blockwise.relative_error(b, e)) for b, e in zip(blocks, answers[1:], strict=True)]
    )
    for done, left in ((0, 1.0), (3, 0.25), (4, 0.0), (9, 0.0)):
        learner.optimizer.iterations.assign(done)
        loss = float(learner.compute_loss(images, mask, answers, training=True))
        assert loss == pytest.approx(float(plain) + 3.0 * left * float(error), rel=1e-4)
    learner.optimizer.iterations.assign(0)
    step = tf.function(lambda x: learner.compute_loss(x, mask, learner(x, training=False), training=True))
    assert float(step(images)) == pytest.approx(float(plain) + 3.0 * float(error), rel=1e-3)
    truth = float(learner.compute_loss(images, mask, answers, training=False))
    assert truth == pytest.approx(float(losses.CrossEntropy()(mask, answers[0])), rel=1e-5)


def test_relative_error_is_one_for_a_channel_s_mean_and_zero_for_itself():
    target = np.random.default_rng(0).normal([3.0, -1.0], [10.0, 0.1], (4, 8, 8, 2)).astype(np.float32)
    mean = np.broadcast_to(target.mean((0, 1, 2)), target.shape)
    assert float(tf.reduce_mean(blockwise.relative_error(target, mean))) == pytest.approx(1.0, abs=1e-3)
    assert float(tf.reduce_mean(blockwise.relative_error(target, target))) == 0.0
    assert blockwise.relative_error(target, mean).shape == (4, 8, 8)


def test_blocks_learn_from_the_teacher_s(teacher):
    model = student(1)
    encoder = model.get_layer("mobilenet_v2")
    encoder.get_layer("Conv1").trainable = False
    momentum = encoder.get_layer("bn_Conv1").momentum
    head = model.get_layer("logits").kernel.numpy()
    seen = crops(2, side=64)
    before = errors(model, teacher, seen)
    batches = tf.data.Dataset.from_tensors((seen, 0)).repeat()
    blockwise.teach(model, encoder, teacher, batches, 120, 6e-3)
    after = errors(model, teacher, seen)
    assert before.min() > 1.0
    assert after.max() < 0.5
    assert not encoder.get_layer("Conv1").trainable
    assert encoder.get_layer("block_1_expand").trainable
    assert encoder.get_layer("bn_Conv1").momentum == momentum
    np.testing.assert_array_equal(model.get_layer("logits").kernel, head)


def test_other_encoders_and_other_teachers_are_refused(same, teacher, tmp_path):
    with pytest.raises(TeacherError, match="to a MobileNetV2 only"):
        blockwise.block_ends(build_encoder("vgg16"))
    (tmp_path / "t.tflite").write_bytes(tflite_files.network(65, 5))
    other = tflite.FloatNetwork(tmp_path / "t.tflite")
    assert other.block_widths != WIDTHS
    with pytest.raises(TeacherError, match="blocks are not those of this encoder"):
        blockwise.build(same.get_layer("mobilenet_v2"), other)
    with pytest.raises(TeacherError, match="blocks are not those of this encoder"):
        blockwise.check(build_encoder("mobilenet_v2"), teacher)  # of output stride 32


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with a drawn VOC and a teacher of its classes."""
    root = tmp_path_factory.mktemp("training")
    encoder = randomise(build_encoder("mobilenet_v2", output_stride=16), 2)
    (root / "t.tflite").write_bytes(tflite_files.mobilenet_deeplab(encoder, 65, 21))
    draw_voc(root / "data", VOC)
    return root


@pytest.fixture
def config(places, eager, shared_encoders):
    """A training that begins with two steps block by block."""
    return {
        "model": "deeplabv3",
        "dataset": "voc",
        "data": str(places / "data"),
        "options": SMALL,
        "encoder_weights": "none",
        "frozen": "c5",
        "freeze_batch_norm": True,
        "teacher": str(places / "t.tflite"),
        "block_steps": 2,
        "block_weight": 1.0,
        "augment": "strong",
        "loss_stride": 4,
        "held_out": "val",
        "size": 64,
        "batch": 2,
        "steps_per_epoch": 1,
        "epochs": 1,
    }


def weights_of(model, run, name):
    model.load_weights(next((run / "checkpoints").glob(name)))
    return model.get_layer("mobilenet_v2").get_layer("block_9_expand").kernel.numpy()


def test_a_training_begins_block_by_block_and_goes_on_without(config, tmp_path, monkeypatch):
    run, taught = tmp_path / "run", []
    teach = blockwise.teach
    monkeypatch.setattr(
        blockwise, "teach", lambda *args, **kwargs: (taught.append(1), teach(*args, **kwargs))
    )
    assert train(TrainConfig.from_json(config), run, verbose=False)["state"] == "done"
    model = build_model(TrainConfig.from_json(config), 21)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    blocks = [event for event in events if event["kind"] == "blocks"]
    assert blocks[-1]["step"] == 2
    ends = blockwise.block_ends(model.get_layer("mobilenet_v2"))
    assert {f"{end}_loss" for end in ends} <= blocks[-1].keys()
    learnt = weights_of(model, run, "best.weights.h5")  # the training proper leaves a frozen encoder as it is
    assert train(TrainConfig.from_json({**config, "epochs": 2}), run, True, False)["state"] == "done"
    assert len(taught) == 1
    np.testing.assert_array_equal(weights_of(model, run, "last-*.weights.h5"), learnt)


def one_step(loss):
    """Stands in for ``blockwise.teach``: its first step has that error."""

    def teach(*args, callbacks, **kwargs):
        callbacks[0].on_train_batch_end(0, {"loss": loss})

    return teach


def test_a_training_can_be_stopped_block_by_block(config, tmp_path, monkeypatch):
    monkeypatch.setattr(blockwise, "teach", one_step(1.0))
    run = tmp_path / "run"
    run.mkdir()
    (run / "cancel").touch()
    assert train(TrainConfig.from_json(config), run, verbose=False)["state"] == "cancelled"
    assert not (run / "checkpoints" / "state.json").exists()


def test_blocks_whose_error_is_no_number_end_the_training(config, tmp_path, monkeypatch):
    monkeypatch.setattr(blockwise, "teach", one_step(np.nan))
    with pytest.raises(TrainingError, match="blocks' error became nan in step 1: start again with a lower"):
        train(TrainConfig.from_json(config), tmp_path / "run", verbose=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_steps": -1}, "block_steps is 0 or more, not -1"),
        ({"block_learning_rate": 0.0}, r"The block learning rate lies between 0 and 1, not at 0\.0"),
        ({"teacher": ""}, "block_steps needs a teacher"),
        ({"block_weight": -1.0}, r"block_weight is 0 or more, not -1\.0"),
        ({"block_steps": 0, "block_weight": 1.0, "teacher": ""}, "block_weight needs a teacher"),
    ],
)
def test_settings_of_blocks_that_make_no_sense_are_refused(settings, message):
    good = {"model": "deeplabv3", "dataset": "voc", "data": "d", "augment": "strong", "teacher": "t"}
    good |= {"block_steps": 5}
    TrainConfig.from_json(good)
    with pytest.raises(TrainingError, match=message):
        TrainConfig.from_json({**good, **settings})


def test_an_architecture_without_that_encoder_is_refused(config, tmp_path):
    config |= {"model": "unet_plain", "options": {}, "frozen": "", "freeze_batch_norm": False}
    with pytest.raises(TeacherError, match="to a MobileNetV2 only"):
        train(TrainConfig.from_json(config), tmp_path / "run", verbose=False)
