import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from drawn import draw_pets, draw_voc
from sklearn.calibration import calibration_curve
from tiny import bright, write_model

from segdemo import zoo
from segdemo.core.labels import PETS, VOC, VOID
from segdemo.data import datasets
from segdemo.data.datasets import DatasetError
from segdemo.data.sources import open_dataset
from segdemo.inference import calibrate
from segdemo.inference.calibrate import background_window, expected_calibration_error, fit_temperature
from segdemo.inference.predict import Predictor, softmax
from segdemo.zoo.scores import Adjustment, Refinement, Scores

RNG = np.random.default_rng(0)


def sampled(temperature, count=60_000, classes=4):
    """Logits, and truths drawn from ``softmax(logits / temperature)``."""
    logits = RNG.normal(scale=3, size=(count, classes)).astype(np.float32)
    cumulated = softmax(logits / temperature).cumsum(-1)
    return logits, (RNG.random((count, 1)) > cumulated).sum(-1).astype(np.uint8)


def test_calibration_error_by_hand():
    # Two pixels at 0.9, one of them right; two at 0.6, both right: (2 * 0.4 + 2 * 0.4) / 4.
    probabilities = np.float32([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0.4, abs=1e-6)


def test_calibration_error_agrees_with_scikit_learn():
    logits, truth = sampled(2.0)
    probabilities = softmax(logits)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == truth
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    counts = np.histogram(confidence, 15, (0, 1))[0]
    expected = (np.abs(accuracy - mean) * counts[counts > 0]).sum() / len(truth)
    assert expected > 0.05
    assert expected_calibration_error(probabilities, truth) == pytest.approx(expected, rel=1e-4)


def test_full_confidence_falls_into_the_last_bin():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0
    with pytest.raises(ValueError, match="no pixel"):
        expected_calibration_error(np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_truth_is_found(temperature):
    logits, truth = sampled(temperature)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.05)
    error = expected_calibration_error(softmax(logits / np.float32(found)), truth)
    assert error < 0.01
    if temperature != 1:
        assert expected_calibration_error(softmax(logits), truth) > 5 * error


def test_a_background_window_shows_background_only():
    label_map = np.zeros((300, 400), np.uint8)
    label_map[:, :120] = 7
    label_map[0, 399] = VOID
    rows, columns = background_window(label_map, 0)
    assert (label_map[rows, columns] == 0).all()
    side = rows.stop - rows.start
    assert side == columns.stop - columns.start == int(0.9 * 300)
    label_map[::20, ::20] = 7
    assert background_window(label_map, 0) is None


def test_a_photo_too_small_has_no_window():
    assert background_window(np.zeros((130, 400), np.uint8), 0) is None
    assert background_window(np.zeros((143, 400), np.uint8), 0) is not None


@pytest.fixture
def pets(tmp_path):
    draw_pets(tmp_path / "data", {"pug": 30, "birman": 30})
    return open_dataset("pets", tmp_path / "data")


@pytest.fixture
def entry(tmp_path):
    """Over-confident: logits far apart for photos of a few greys."""
    return write_model(tmp_path / "model", "colours", PETS, *bright(3, 0, 1), knows="pets")


class Shy:
    """Stands for a Predictor that prefers background by a little; its photos are label maps."""

    def __init__(self, entry):
        assert entry.adjustment is None  # or it would be adjusted twice

    def logits(self, label_map):
        logits = np.eye(len(VOC), dtype=np.float32)[np.where(label_map == VOID, 0, label_map)]
        logits[..., 0] += 1.2
        return logits


def test_classes_seen_seldom_are_adjusted_for(tmp_path, monkeypatch):
    draw_voc(tmp_path / "voc", VOC)
    dataset = open_dataset("voc", tmp_path / "voc")
    model = write_model(tmp_path / "model", "colours", VOC, *bright(21, 0, 1))
    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", 1)
    monkeypatch.setattr(calibrate, "Predictor", Shy)
    truth = {s.id: datasets.read_label_map(s) for s in dataset.samples("val")}
    monkeypatch.setattr(calibrate, "read_pair", lambda sample, _: (truth[sample.id], truth[sample.id]))
    learned = dataset.splits[dataset.learning_subset]
    shown = {k: learned if k == 0 else learned[:1] for k in range(len(VOC))}
    monkeypatch.setattr(calibrate, "by_class", lambda *_: shown)
    found = calibrate.fit_adjustment(model, dataset)
    rarity = np.log(len(learned))
    # The lead background has
    assert found.strength == min(s for s in calibrate.STRENGTHS if s * rarity > 0.2)
    assert found.mean_iou == 1 > found.mean_iou_before
    assert found.offsets == [0, *20 * [pytest.approx(-found.strength * rarity, abs=1e-4)]]

    monkeypatch.setattr(calibrate, "LEAST_GAIN", 1.0)
    assert calibrate.fit_adjustment(model, dataset) is None
    monkeypatch.setattr(calibrate, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(calibrate, "by_class", lambda *_: dict.fromkeys(range(len(VOC)), learned))
    assert calibrate.fit_adjustment(model, dataset) is None  # no class is rarer than another
    monkeypatch.undo()
    assert calibrate.fit_adjustment(model, dataset) is None  # too few photos


def draw_a_coarse_model(tmp_path, monkeypatch):
    """Pets as discs, a model of their colour that answers on a coarse grid, and the truth to each photo."""
    draw_pets(tmp_path / "discs", {"pug": 30})
    dataset = open_dataset("pets", tmp_path / "discs")
    y, x = np.mgrid[:96, :128]
    truths = {}
    for number, sample in enumerate(dataset.samples("val")):
        disc = (y - 40 - number) ** 2 + (x - 64) ** 2 < 30**2
        truths[sample.id] = np.where(disc, 0, 1).astype(np.uint8)
    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", len(truths))
    shades = np.uint8([[220, 150, 90], [40, 60, 80]])
    monkeypatch.setattr(
        calibrate, "read_pair", lambda sample, _: (shades[truths[sample.id]], truths[sample.id])
    )
    entry = write_model(tmp_path / "coarse", "coarse", PETS, *bright(3, 0, 1, 130), stride=16, long_side=128)
    return entry, dataset


def test_outlines_are_refined_if_that_scores_better(tmp_path, monkeypatch):
    entry, dataset = draw_a_coarse_model(tmp_path, monkeypatch)
    found = calibrate.fit_refinement(entry, dataset)
    assert (found.radius, found.epsilon) in product(calibrate.RADII, calibrate.EPSILONS)
    assert found.chosen_on == "val"
    assert found.mean_iou > found.mean_iou_before + 0.02
    refined = replace(entry, refinement=found)
    confusion = np.zeros((3, 3), np.int64)
    for sample in dataset.samples("val"):
        photo, truth = calibrate.read_pair(sample, PETS)
        confusion += calibrate.label_maps.confusion(truth, calibrate.Predictor(refined)(photo).label_map, 3)
    assert calibrate.scores(confusion, PETS).mean_iou == pytest.approx(found.mean_iou)
    assert calibrate.fit_refinement(refined, dataset) == found  # it is not measured on top of itself
    assert calibrate.fit_refinement(replace(entry, samples=2), dataset) is None

    gain = found.mean_iou - found.mean_iou_before
    monkeypatch.setattr(calibrate, "NEARLY", gain / 2)  # many are as good, and this one is the smoothest
    assert calibrate.fit_refinement(entry, dataset).epsilon == max(calibrate.EPSILONS)
    monkeypatch.setattr(calibrate, "NEARLY", 1.0)
    assert calibrate.fit_refinement(refined, dataset) is None
    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", 1000)
    assert calibrate.fit_refinement(refined, dataset) == found  # too few photos to say otherwise


def test_an_adjusted_model_takes_its_offsets_off_the_logits(entry):
    image = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    plain = calibrate.Predictor(entry).logits(image)
    entry = replace(entry, temperature=2.0, adjustment=Adjustment(offsets=[0, 1, -2]))
    adjusted = calibrate.Predictor(entry).logits(image)
    np.testing.assert_allclose(adjusted, (plain - [0, 1, -2]) / 2, rtol=1e-6)


def test_calibrate_fits_on_one_subset_and_reports_on_another(pets, entry, monkeypatch):
    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", 2)
    monkeypatch.setattr(calibrate, "SMALLEST_WINDOW", 4)
    seen = []
    result = calibrate.calibrate(
        entry, pets, wrap=lambda samples: seen.append([s.id for s in samples]) or samples
    )
    assert {id_ for ids in seen for id_ in ids} == {*pets.splits["val"], *pets.splits["test"]}
    measured = result.calibration
    assert (measured.fitted_on, measured.subset) == ("val", "test")
    assert 0 <= measured.ece <= measured.ece_before + 0.02
    assert result.temperature != 1
    domain = result.domain
    assert domain.photos == len(pets.splits["test"])
    assert 0 <= domain.false_alarms <= 1
    calibrate.write(entry, result)
    again = zoo.read_manifest(entry.folder / "manifest.json")["colours"]
    assert again.temperature == result.temperature
    assert again.domain == domain
    assert again.knows == "pets"
    assert json.loads((entry.folder / "manifest.json").read_text())["models"].keys() == {"colours"}


def test_the_size_that_scores_best_is_chosen(pets, entry, monkeypatch):
    asked = []

    def measured(entry, dataset, subset, wrap):
        asked.append((entry.long_side, entry.adjustment, entry.refinement, subset))
        return Scores(mean_iou={96: 0.5, 128: 0.7, 160: 0.7}[entry.long_side])

    monkeypatch.setattr(calibrate, "evaluate_model", measured)
    adjusted = replace(
        entry, adjustment=Adjustment(offsets=[0, 1, 2]), refinement=Refinement(radius=8, epsilon=1e-4)
    )
    found = calibrate.choose_size(adjusted, pets, [160, 96, 128, 96])
    assert found.to_json() == {
        "long_side": 128,
        "chosen_on": "val",
        "mean_iou": {"96": 0.5, "128": 0.7, "160": 0.7},
    }
    assert asked == [(side, None, None, "val") for side in (96, 128, 160)]
    with pytest.raises(ValueError, match="32 to 2048 pixels, not 16"):
        calibrate.choose_size(entry, pets, [64, 16])


def test_the_chosen_size_is_what_all_else_is_measured_at_and_kept(pets, entry):
    result = calibrate.calibrate(entry, pets, sizes=[32, 96])
    assert result.long_side == result.size.long_side in (32, 96)
    assert result.size.mean_iou.keys() == {"32", "96"}
    calibrate.write(entry, result)
    again = zoo.read_manifest(entry.folder / "manifest.json")["colours"]
    assert again.long_side == result.long_side
    later = calibrate.calibrate(again, pets)
    assert (later.long_side, later.size) == (again.long_side, again.size)


def test_the_threshold_tells_two_samples_apart():
    known, unknown = np.linspace(0.8, 1, 50), np.array([0.1, 0.2, 0.4])
    assert calibrate.choose_threshold(known, unknown) == pytest.approx(0.6)  # the middle of the gap
    assert calibrate.choose_threshold(known, np.array([])) == known[2]  # below which there are 2 of 50, not 3
    mixed = calibrate.choose_threshold(known, np.linspace(0.7, 1, 50))
    assert 0.7 < mixed <= np.quantile(known, 0.05)


@pytest.mark.parametrize("levels", [10**9, 30])
def test_a_threshold_gives_no_more_false_alarms_than_may_be(levels):
    for count in (1, 2, 19, 20, 21, *range(40, 200, 7), 1449):
        known = RNG.integers(levels, size=count) / levels
        least = np.sort(known)
        for unknown in (np.zeros(0), np.full(200, least[count // 20] + 1e-12), RNG.random(50)):
            threshold = calibrate.choose_threshold(known, unknown)
            assert (known < threshold).mean() <= calibrate.FALSE_ALARMS
        # One more would be too many.
        limit = calibrate.choose_threshold(known, np.zeros(0))
        assert (known <= limit).mean() > calibrate.FALSE_ALARMS


@pytest.mark.parametrize(("fewest", "samples"), [(2, 1), (2, 3), (1000, 1)])
def test_what_calibrating_takes_is_known_before(pets, entry, monkeypatch, fewest, samples):
    seen = {"passes": 0, "refined": 0}

    def counted(function, key):
        def count(*args, **options):
            seen[key] += 1
            return function(*args, **options)

        return count

    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", fewest)
    monkeypatch.setattr(calibrate, "refine", counted(calibrate.refine, "refined"))
    # Some class is rarer, so that there is something to adjust.
    monkeypatch.setattr(calibrate, "by_class", lambda *_: {0: ["a"], 1: ["a", "b"], 2: ["a"]})
    monkeypatch.setattr(Predictor, "logits", counted(Predictor.logits, "passes"))
    calibrate.calibrate(replace(entry, samples=samples), pets)
    counts = len(pets.splits["val"]), len(pets.splits["test"])
    assert (seen["passes"], seen["refined"]) == calibrate.effort(*counts, samples)


def test_few_photos_choose_no_threshold(pets, entry):
    assert len(pets.splits["val"]) < calibrate.FEWEST_PHOTOS
    assert calibrate.calibrate(entry, pets).domain is None


def test_photos_of_background_choose_no_threshold(pets, entry, monkeypatch):
    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", 2)
    background = np.ones((36, 48), np.uint8)
    monkeypatch.setattr(calibrate, "read_pair", lambda *args: (datasets.read_pair(*args)[0], background))
    assert calibrate.calibrate(entry, pets).domain is None


def test_a_stochastic_network_keeps_its_temperature(pets, entry):
    result = calibrate.calibrate(replace(entry, samples=2), pets)
    assert result.temperature == 1
    assert result.calibration.ece == result.calibration.ece_before


def test_void_does_not_count(tmp_path, entry):
    draw_voc(tmp_path / "voc", VOC)
    dataset = open_dataset("voc", tmp_path / "voc")
    model = write_model(tmp_path / "voc_model", "flat", VOC, *bright(21, 15, 0))
    _, truth = calibrate._pixels(calibrate.Predictor(model), dataset.samples("val"))
    assert len(truth)
    assert (truth != VOID).all()


def test_an_unknown_subset_is_refused(pets, entry):
    with pytest.raises(DatasetError, match="nowhere"):
        calibrate.calibrate(entry, pets, fit="nowhere")
