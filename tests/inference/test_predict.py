import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from resampling import assert_is_argmax, resized
from skimage import data
from tiny import bright, write_model

from segdemo.core.files import sha256
from segdemo.core.labels import PETS, VOC, LabelSet
from segdemo.inference import predict
from segdemo.inference.predict import DamagedModelError, Prediction, Predictor, softmax
from segdemo.inference.refine import refine
from segdemo.zoo.scores import Refinement

RNG = np.random.default_rng(0)
TWO = LabelSet("two", "Two", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pets(tmp_path):
    """A model that calls bright pixels pet and the others background."""
    return write_model(tmp_path / "pets", "colours", PETS, *bright(3, 0, 1))


def test_softmax_by_hand_and_without_overflow():
    np.testing.assert_allclose(softmax(np.float32([[0, np.log(3)]])), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(softmax(np.float32([[1000, 0], [-1000, -1000]])), [[1, 0], [0.5, 0.5]])


def test_confidence_and_uncertainty_by_hand():
    probabilities = np.float32([[[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]])
    prediction = Prediction(np.zeros((1, 3), np.uint8), probabilities, 1.0)
    np.testing.assert_array_equal(prediction.confidence, [[128, 255, 64]])
    np.testing.assert_array_equal(prediction.uncertainty, [[128, 0, 255]])  # log 2 / log 4 = 1/2
    assert prediction.confidence.dtype == prediction.uncertainty.dtype == np.uint8


def test_one_class_is_certain_of_itself():
    prediction = Prediction(np.zeros((2, 2), np.uint8), np.ones((2, 2, 1), np.float32), 1.0)
    assert prediction.confidence.min() == 255
    assert prediction.uncertainty.max() == 0


def mottled(folder):
    """A model of random colours, so that no class wins everywhere."""
    weights = np.random.default_rng(2).normal(size=(21, 3)) / 20
    return write_model(folder, "mottled", VOC, weights - weights.mean(1, keepdims=True), np.zeros(21), 8)


def test_ranges_on_a_photo(tmp_path):
    entry = write_model(tmp_path, "random", VOC, RNG.normal(size=(21, 3)) / 50, RNG.normal(size=21), 8)
    prediction = Predictor(entry)(data.astronaut())
    np.testing.assert_allclose(prediction.probabilities.sum(-1), 1, rtol=1e-5)
    assert prediction.confidence.shape == prediction.uncertainty.shape == (8, 8)
    assert prediction.confidence.min() >= 255 // 21  # the likeliest of K has at least 1 / K
    assert prediction.milliseconds > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (31, 33), (333, 500), (6000, 8000)])
def test_the_label_map_has_exactly_the_photos_size(pets, size):
    photo = np.zeros((*size, 3), np.uint8)
    photo[:, : size[1] // 2] = 255
    label_map = Predictor(pets)(photo).label_map
    assert label_map.dtype == np.uint8
    assert label_map.shape == size
    if size[1] > 1:
        assert (label_map[:, : size[1] // 3] == 0).all()
    assert (label_map[:, -1] == 1).all()


@pytest.mark.parametrize(
    ("photo", "network"),
    [((64, 64), (64, 64)), ((480, 640), (384, 512)), ((640, 480), (512, 384)), ((1, 1000), (32, 512))],
)
def test_network_input_keeps_the_aspect_ratio_in_multiples_of_32(pets, photo, network):
    entry = replace(pets, long_side=max(network))
    image = Predictor(entry).network_input(np.zeros((*photo, 3), np.uint8))
    assert image.dtype == np.uint8
    assert image.shape == (1, *network, 3)


def test_a_photo_keeps_its_colours_and_its_orientation(pets):
    photo = data.chelsea()
    image = Predictor(replace(pets, long_side=448)).network_input(photo)[0]
    np.testing.assert_allclose(image.mean((0, 1)), photo.mean((0, 1)), atol=1)
    left, right = np.array_split(photo.mean(-1), 2, axis=1)
    assert (image[:, :224].mean() > image[:, 224:].mean()) == (left.mean() > right.mean())


def test_temperature_divides_the_logits(tmp_path):
    entry = write_model(tmp_path, "two", TWO, np.zeros((2, 3)), [0, np.log(9)])
    photo = np.zeros((32, 32, 3), np.uint8)
    for temperature, probability in ((1.0, 0.9), (2.0, 0.75), (0.5, 81 / 82)):
        prediction = Predictor(replace(entry, temperature=temperature))(photo)
        np.testing.assert_allclose(prediction.probabilities[..., 1], probability, rtol=1e-5)
        assert (prediction.label_map == 1).all()


# --- several passes --------------------------------------------------------------------------------------


def test_several_scales_and_the_mirror_image_are_averaged(tmp_path):
    entry = mottled(tmp_path)
    photo = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    predictor = Predictor(entry, scales=(0.5, 1.5), flip=True)
    parts = [
        (scale, mirrored, predictor.logits(photo, scale, mirrored))
        for scale in (0.5, 1.5)
        for mirrored in (False, True)
    ]
    grid = parts[-1][2].shape[:2]
    expected = np.mean([resized(softmax(logits), *grid) for *_, logits in parts], axis=0)
    prediction = predictor(photo)
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
    assert_is_argmax(prediction.label_map, resized(expected, *photo.shape[:2]))
    assert prediction.variance is None
    assert (prediction.label_map != Predictor(entry)(photo).label_map).any()


def test_the_mirrored_answer_is_mirrored_back(pets):
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, :16] = 255
    predictor = Predictor(pets)
    np.testing.assert_allclose(predictor.logits(photo, mirrored=True), predictor.logits(photo), atol=1e-4)
    assert (Predictor(pets, flip=True)(photo).label_map == predictor(photo).label_map).all()


@pytest.mark.parametrize("scales", [(), (0.1,), (1.0, 5.0), (float("nan"),)])
def test_senseless_scales_are_refused(pets, scales):
    with pytest.raises(ValueError, match=r"between 0\.25 and 4"):
        Predictor(pets, scales=scales)


class Dice:
    """A session that answers differently each time: logits for class 0 of +1, then -1, and so on."""

    def __init__(self):
        self.calls = 0

    def run(self, _, feeds):
        self.calls += 1
        logits = np.zeros((1, *feeds["image"].shape[1:3], 2), np.float32)
        logits[..., 0] = 1 if self.calls % 2 else -1
        return [logits]


def test_a_stochastic_network_is_asked_as_often_as_its_entry_says(tmp_path):
    entry = write_model(tmp_path, "two", TWO, np.zeros((2, 3)), [0, 1], samples=4)
    predictor = Predictor(entry)
    predictor.session = Dice()
    prediction = predictor(np.zeros((32, 32, 3), np.uint8))
    assert predictor.session.calls == 4
    high = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(prediction.probabilities, 0.5, atol=1e-6)
    np.testing.assert_allclose(prediction.variance, (high - 0.5) ** 2, atol=1e-6)
    assert (prediction.uncertainty == round(2 * (high - 0.5) * 255)).all()


# --- refined outlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [{}, {"flip": True}])
def test_a_refined_models_label_map_is_that_of_the_filter(tmp_path, passes):
    settings = {"radius": 8, "epsilon": 1e-3}
    entry = mottled(tmp_path)
    entry = replace(entry, refinement=Refinement(**settings, chosen_on="val"))
    photo = data.astronaut()[::3, ::2]
    predictor, plain = Predictor(entry, **passes), Predictor(entry.unrefined(), **passes)
    prediction, coarse = predictor(photo), plain(photo)
    np.testing.assert_array_equal(prediction.probabilities, coarse.probabilities)
    assert predictor.input_size(photo) == predictor.network_input(photo).shape[1:3]
    expected = refine(prediction.probabilities, photo, predictor.input_size(photo), **settings)
    np.testing.assert_array_equal(prediction.label_map, expected)
    assert (prediction.label_map != coarse.label_map).any()


# --- photos of nothing it knows --------------------------------------------------------------------------


def test_evidence_is_the_mean_of_the_surest_hundredth():
    background = np.linspace(0, 1, 1000).reshape(25, 40)
    probabilities = np.stack([background, 1 - background], -1)
    expected = np.sort(1 - background.ravel())[-10:].mean()
    assert predict.evidence(probabilities, 0) == pytest.approx(expected)
    assert predict.evidence(np.ones((1, 1, 1)), 0) == 0


def test_a_photo_of_nothing_known_is_noticed(tmp_path):
    weights, bias = bright(3, 0, 1)
    entry = write_model(tmp_path, "colours", PETS, weights, bias, domain={"threshold": 0.5})
    photo = np.zeros((64, 64, 3), np.uint8)
    assert Predictor(entry)(photo).out_of_domain
    photo[20:40, 20:40] = 255
    assert not Predictor(entry)(photo).out_of_domain
    unmeasured = replace(entry, domain=None)
    assert Predictor(unmeasured)(photo).out_of_domain is None


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_or_missing_file_is_refused(pets, damage):
    if damage is None:
        pets.path.unlink()
    else:
        pets.path.write_bytes(pets.path.read_bytes()[:-1] + damage)
    with pytest.raises(DamagedModelError, match=r"colours\.onnx is (damaged|missing).*[Ff]etch it again"):
        Predictor(pets)


def with_weights_in(entry, location, content):
    """The model with its largest array kept at a place outside the graph's file."""
    graph = onnx.load(entry.path)
    array = max(graph.graph.initializer, key=lambda array: math.prod(array.dims))
    content.write_bytes(onnx.numpy_helper.to_array(array).tobytes())
    array.ClearField("raw_data")
    array.ClearField("float_data")
    array.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(content.stat().st_size))):
        array.external_data.add(key=key, value=value)
    entry.path.write_bytes(graph.SerializeToString())
    return replace(entry, onnx_sha256=sha256(entry.path))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_graph_reads_no_file_outside_its_folder(tmp_path, absolute):
    entry = write_model(tmp_path / "models", "colours", PETS, *bright(3, 0, 1))
    secret = tmp_path / "secret.bin"
    entry = with_weights_in(entry, str(secret) if absolute else "../secret.bin", secret)
    with pytest.raises(
        DamagedModelError, match=r"colours\.onnx is no graph that ONNX Runtime can open: export"
    ):
        Predictor(entry)


def test_what_is_no_graph_is_refused(pets):
    pets.path.write_bytes(b"no graph")
    with pytest.raises(DamagedModelError, match="is no graph that ONNX Runtime can open"):
        Predictor(replace(pets, onnx_sha256=sha256(pets.path)))


def test_the_thread_setting_is_used(pets, monkeypatch):
    monkeypatch.setenv("SEGDEMO_THREADS", "1")
    assert Predictor(pets).session.get_session_options().intra_op_num_threads == 1
