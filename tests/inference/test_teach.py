import json

import numpy as np
import pytest
import taught as javascript
from scipy.optimize import minimize

from segdemo.core.documents import DamagedError
from segdemo.core.labels import VOID
from segdemo.inference import teach
from segdemo.inference.predict import softmax
from segdemo.inference.teach import Strokes, Taught, TeachError, learn, probabilities, votes

RNG = np.random.default_rng(0)
STEPS = np.full(3, 1 / 40)


def halves(height=16, width=24, left=(40, 60, 80), right=(200, 160, 90)):
    """Features whose left half differs from the right one, and strokes of class 3 and 7 on each, four pixels a cell."""
    features = np.empty((height, width, 3), np.uint8)
    features[:] = left
    features[:, width // 2 :] = right
    features += RNG.integers(0, 12, features.shape, np.uint8)
    painted = np.full((4 * height, 4 * width), VOID, np.uint8)
    painted[20:26, 8:24] = 3
    painted[30:36, 70:86] = 7
    return features, painted


def test_votes_are_shares_of_cells():
    painted = np.full((5, 7), VOID, np.uint8)
    painted[0, 0] = painted[4, 6] = 2
    painted[4, 5] = 9
    shares = votes(painted, 2, 2, (2, 9))
    # rows 0, 1, 2 and 3, 4; columns 0 to 3 and 4 to 6
    assert shares.shape == (2, 2, 2)
    np.testing.assert_allclose(shares[..., 0], [[1 / 12, 0], [0, 1 / 6]])
    np.testing.assert_allclose(shares[..., 1], [[0, 0], [0, 1 / 6]])


def test_votes_where_cells_are_smaller_than_pixels():
    shares = votes(np.array([[4, VOID]], np.uint8), 3, 8, (4,))
    assert shares.sum() == 1
    assert shares[0, 0, 0] == 1


def test_the_regression_is_the_minimum_that_another_solver_finds():
    inputs = np.concatenate([RNG.normal(size=(60, 4)) * 2, np.ones((60, 1))], 1)
    targets = RNG.random((60, 3)) * (RNG.random((60, 3)) > 0.4)
    penalty = np.array([teach.PENALTY] * 4 + [teach.BIAS_PENALTY])[:, None]

    def loss(flat):
        weights = flat.reshape(5, 3)
        scores = inputs @ weights
        likelihood = np.log(np.exp(scores).sum(1)) @ targets.sum(1) - (targets * scores).sum()
        gradient = inputs.T @ (targets.sum(1, keepdims=True) * softmax(scores) - targets) + penalty * weights
        return likelihood + (penalty * weights**2).sum() / 2, gradient.ravel()

    expected = minimize(loss, np.zeros(15), jac=True, tol=1e-12).x.reshape(5, 3)
    np.testing.assert_allclose(teach.regression(inputs, targets), expected, atol=1e-3)


def test_spreading_is_the_solution_of_its_equations():
    height, width, classes = 4, 5, 3
    x = RNG.normal(size=(height, width, 2)) / 4
    likely = softmax(RNG.normal(size=(height, width, classes)))
    shares = np.zeros((height, width, classes))
    shares[1, 2, 0], shares[3, 4, 2] = 0.5, 1
    cells = [(i, j) for i in range(height) for j in range(width)]
    matrix = np.zeros((20, 20))
    for a, (i, j) in enumerate(cells):
        for b, (k, m) in enumerate(cells):
            if a != b and max(abs(i - k), abs(j - m)) == 1:
                alike = np.exp(-teach.LIKENESS * ((x[i, j] - x[k, m]) ** 2).sum()) / np.hypot(i - k, j - m)
                matrix[a, b] -= alike
                matrix[a, a] += alike
        matrix[a, a] += teach.PRIOR + teach.HOLD * shares[i, j].sum()
    right = teach.PRIOR * likely + teach.HOLD * shares
    expected = np.linalg.solve(matrix, right.reshape(20, classes)).reshape(height, width, classes)
    np.testing.assert_allclose(teach.spread(likely, x, shares), expected, atol=1e-5)


def test_two_strokes_teach_two_halves():
    features, painted = halves()
    taught = learn([Strokes(features, painted)], STEPS, "abc")
    assert (taught.classes, taught.features) == ((3, 7), "abc")
    likely = probabilities(taught, features, STEPS, painted)
    assert (likely.dtype, likely.shape) == (np.float32, (16, 24, 2))
    np.testing.assert_allclose(likely.sum(-1), 1, atol=1e-5)
    assert (likely.argmax(-1) == np.arange(24) // 12).all()
    other, _ = halves()
    assert (probabilities(taught, other, STEPS).argmax(-1) == np.arange(24) // 12).all()


def test_a_label_map_has_the_ids_and_the_size_of_the_photo():
    features, painted = halves()
    taught = learn([Strokes(features, painted)], STEPS)
    photo = features.repeat(4, 0).repeat(4, 1)
    found = teach.label_map(taught, probabilities(taught, features, STEPS, painted), photo)
    assert (found.dtype, found.shape) == (np.uint8, (64, 96))
    assert np.mean(found == np.where(np.arange(96) < 48, 3, 7)) > 0.99


def test_strokes_on_the_photo_itself_count_more():
    features, painted = halves()
    # Says the contrary
    turned = np.where(painted == 3, 7, np.where(painted == 7, 3, painted)).astype(np.uint8)
    strokes = [Strokes(features, painted, "here"), Strokes(features, turned, "there")]
    for key, first in (("here", 0), ("there", 1)):
        taught = learn(strokes, STEPS, here=key)
        x = teach.values(features[:, :4], STEPS)
        assert ((x @ taught.weights[:-1] + taught.weights[-1]).argmax(-1) == first).all()


def test_many_painted_cells_are_thinned_out(monkeypatch):
    features, _ = halves()
    everything = np.where(np.arange(96) < 48, 3, 7).astype(np.uint8)[None].repeat(64, 0)
    sizes = []
    monkeypatch.setattr(teach, "MOST_CELLS", 50)
    solver = teach.regression
    monkeypatch.setattr(teach, "regression", lambda x, t: sizes.append(len(x)) or solver(x, t))
    taught = learn([Strokes(features, everything)], STEPS)
    assert sizes == [50]
    assert (probabilities(taught, features, STEPS).argmax(-1) == np.arange(24) // 12).all()


@pytest.mark.parametrize(("ids", "says"), [((), "Nothing is painted"), ((4,), "Only class 4 is painted")])
def test_fewer_than_two_classes_teach_nothing(ids, says):
    painted = np.full((64, 96), VOID, np.uint8)
    for id_ in ids:
        painted[:9, :9] = id_
    with pytest.raises(TeachError, match=says):
        learn([Strokes(halves()[0], painted)], STEPS)


def test_other_features_are_refused():
    features, painted = halves()
    taught = learn([Strokes(features, painted)], STEPS)
    with pytest.raises(TeachError, match="other features"):
        probabilities(taught, features[..., :2], STEPS[:2])


def test_a_classifier_is_read_as_it_was_saved(tmp_path):
    features, painted = halves()
    taught = learn([Strokes(features, painted)], STEPS, "abc")
    taught.save(tmp_path / "two.json")
    read = Taught.read(tmp_path / "two.json")
    assert (read.classes, read.features) == (taught.classes, taught.features)
    np.testing.assert_array_equal(read.weights, taught.weights)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"classes": [7, 3]},
        {"classes": [3]},
        {"classes": [3, 255]},
        {"classes": [3, 7, 8]},
        {"channels": 4},
        {"channels": 10**9},
        {"weights": "AAAA"},
        {"weights": "%" * 44},
        {"weights": "AADAfwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},  # begins with NaN
        {"weights": 3},
    ],
)
def test_a_damaged_classifier_is_a_sentence(tmp_path, change):
    path = tmp_path / "two.json"
    Taught((3, 7), np.zeros((4, 2), np.float32), "abc").save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedError, match=r"two\.json is damaged"):
        Taught.read(path)


def test_where_to_paint_next_is_where_classes_are_closest():
    likely = np.zeros((10, 20, 2), np.float32)
    likely[..., 0] = 1
    likely[2:7, 12:17] = 0.5
    assert javascript.least_sure(likely) == (14.5 / 20, 4.5 / 10)
    painted = np.full((40, 80), VOID, np.uint8)
    painted[0:32, 44:72] = 1
    x, _ = javascript.least_sure(np.where(likely == 0.5, 0.5, likely), painted)
    assert not 44 / 80 <= x <= 72 / 80


def test_what_the_javascript_learner_is_compared_with_is_what_this_one_gives():
    kept = json.loads(javascript.FILE.read_text("utf-8"))
    made = javascript.cases()
    for found, expected in zip(made.pop("cases"), kept.pop("cases"), strict=True):
        labels = javascript.unpacked(found.pop("labels")), javascript.unpacked(expected.pop("labels"))
        assert (labels[0] != labels[1]).mean() < 0.001  # a machine's last digits may differ
        np.testing.assert_allclose(found.pop("weights"), expected.pop("weights"), atol=3e-4)
        np.testing.assert_allclose(found.pop("next"), expected.pop("next"))
        assert found == expected
    for name in ("photo", "guide", "features"):  # compressors may differ
        np.testing.assert_array_equal(
            javascript.unpacked(made.pop(name)), javascript.unpacked(kept.pop(name))
        )
    for name in ("painted", "others"):
        made_, kept_ = made.pop(name), kept.pop(name)
        assert made_.keys() == kept_.keys()
        for one in made_:
            parts = [[d[one]] if name == "painted" else d[one].values() for d in (made_, kept_)]
            for a, b in zip(*parts, strict=True):
                np.testing.assert_array_equal(javascript.unpacked(a), javascript.unpacked(b))
    assert made == kept
