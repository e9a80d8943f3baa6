import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from tflite_files import network, strided

from segdemo.training.distillation import tflite
from segdemo.training.distillation.distiller import TeacherError

SIDE = 65


def packed(model):
    """The bytes of the file that holds a ``ModelT``."""
    builder = flatbuffers.Builder(2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run_quantised(model, images):
    """What TFLite's own interpreter makes of a ``ModelT``, as real values."""
    interpreter = tf.lite.Interpreter(model_content=packed(model))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    out = []
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        out.append(interpreter.get_tensor(target["index"])[0])
    scale, zero_point = target["quantization"]
    return scale * (np.array(out, np.float32) - zero_point)


@pytest.fixture(scope="module")
def deeplab(tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "deeplab.tflite"
    path.write_bytes(network(SIDE))
    return path


def photos(count, side=SIDE, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 9, 9, 3)).astype(np.float32)
    return tf.image.resize(coarse, (side, side)).numpy().astype(np.uint8)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_the_float_network_answers_as_the_quantised_one(deeplab):
    images = photos(4)
    expected = run_quantised(tflite.cut_at_logits(deeplab), images)
    found = tflite.FloatNetwork(deeplab)(images)[0].numpy()
    assert found.shape == expected.shape == (4, 9, 9, 5)
    assert found.dtype == np.float32
    assert expected.std() > 0.3
    assert np.abs(found - expected).mean() < 0.05 * expected.std()
    shuffled = run_quantised(tflite.cut_at_logits(deeplab), images[::-1])
    assert np.abs(found - shuffled).mean() > 0.3 * expected.std()  # what this test would notice


def test_it_takes_pictures_of_other_sizes_and_computes_in_bfloat16(deeplab):
    images = photos(2, 97)
    found, _ = tflite.FloatNetwork(deeplab)(images)
    assert found.shape == (2, 13, 13, 5)
    rough = tflite.FloatNetwork(deeplab, "bfloat16")(images)[0]
    assert rough.dtype == tf.float32
    assert 0 < np.abs(found - rough).mean() < 0.1 * found.numpy().std()


def test_logits_of_crops_belong_to_the_middle_of_their_cells(tmp_path):
    (tmp_path / "a.tflite").write_bytes(strided(17, stride=4))
    teacher = tflite.FloatNetwork(tmp_path / "a.tflite")
    assert (teacher.stride, teacher.classes) == (4, 3)
    crops = photos(2, 32)
    # Three times the colour at one pixel, below zero nothing.
    logits = teacher(teacher.pictures(tf.constant(crops)))[0].numpy()
    assert logits.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(logits, 3 * (crops[:, 2::4, 2::4] / 255.0), atol=0.03)


def pools_parts(x):
    return tf.nn.avg_pool2d(x, 3, 1, "SAME")


def pools_a_part(x):
    return x + tf.nn.avg_pool2d(x, (x.shape[1] - 1, x.shape[2]), 9, "VALID")


def means_of_rows(x):
    return x + tf.reduce_mean(x, 2, keepdims=True)


def scales(x):
    return tf.compat.v1.image.resize_bilinear(x, (33, 33), align_corners=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",
        lambda: b"not a model at all",
        lambda: network(SIDE, quantised=False),
        lambda: network(SIDE, inner=pools_parts),
        lambda: network(SIDE, inner=pools_a_part),
        lambda: network(SIDE, inner=means_of_rows),
        lambda: network(SIDE, inner=scales),
    ],
    ids=["empty", "text", "floats", "pools parts", "pools a part", "means of rows", "scales"],
)
def test_what_is_no_quantised_deeplab_is_refused(tmp_path, make):
    (tmp_path / "a.tflite").write_bytes(make())
    with pytest.raises(TeacherError, match=r"a\.tflite is not a TFLite DeepLabv3 .*: give the path of one"):
        tflite.FloatNetwork(tmp_path / "a.tflite")
