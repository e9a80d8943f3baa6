import keras
import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2gray, rgb2lab

from segdemo.errors import UserError
from segdemo.training.architectures.deeplab import deeplabv3
from segdemo.training.export.features import (
    CELLS,
    COLOURS,
    CellColours,
    Moments,
    ToBytes,
    features_model,
    stacked,
    stages,
)

RNG = np.random.default_rng(0)


def cells(photo, class_id, varying):
    """Features of a class: it shifts channel 0, photos shift channel 1 twice as far, channel 2 is noise."""
    values = RNG.normal(0, (0.2, 0.2, varying), (16, 16, 3))
    values[..., 0] += class_id
    values[..., 1] += 2 * photo
    return values


@pytest.fixture
def moments():
    found = Moments()
    for shift in RNG.normal(size=40):
        values, ids = np.zeros((16, 32, 3)), np.zeros((16, 32), np.uint8)
        for class_id, part in ((1, slice(0, 16)), (2, slice(16, 32))):
            values[:, part], ids[:, part] = cells(shift, class_id, 5.0), class_id
        ids[0] = 255
        values[0] = 1e6  # which nobody may look at
        found.add(values, ids, RNG)
    return found


def test_the_projection_prefers_what_tells_classes_apart(moments):
    weights, mean = moments.projection(2)
    assert moments.count == 40 * 2 * CELLS
    projected = [cells(0, class_id, 5.0).reshape(-1, 3) @ weights - mean for class_id in (1, 2)]
    apart = abs(projected[0].mean(0) - projected[1].mean(0)) / projected[0].std(0)
    assert apart[0] > 3
    assert abs(weights[2, 0]) < 0.05 * abs(weights[0, 0])
    deviations = moments.deviations(weights)
    assert deviations[0] == pytest.approx(2)  # the widest
    assert deviations[1] < deviations[0]


def test_colours_are_those_of_cells():
    photo = data.coffee()[:64, :96]
    found = np.array(CellColours()(photo[None]))[0]
    middle, unit = np.array(COLOURS).T
    means = photo.reshape(16, 4, 24, 4, 3).mean((1, 3))
    np.testing.assert_allclose(found[..., :3] * unit[:3] + middle[:3], rgb2lab(means / 255), atol=0.1)
    deviation = rgb2gray(photo).reshape(16, 4, 24, 4).std((1, 3))
    assert np.corrcoef(found[..., 3].ravel(), deviation.ravel())[0, 1] > 0.95


def test_numbers_become_bytes_and_are_cut_off():
    x = np.array([[[[0.0, 0.26, 100.0], [-0.74, -100.0, 0.5]]]], np.float32)
    np.testing.assert_array_equal(ToBytes((0.5, 0.5, 1))(x)[0, 0], [[128, 129, 228], [127, 0, 128]])


def test_projecting_each_stage_first_is_projecting_all_of_them():
    model = deeplabv3(3, guided=True, aspp_filters=8)
    photo = data.chelsea()[None, :64, :96]
    whole = stacked(model)(photo, training=False)[0].numpy()
    weights = RNG.normal(size=(whole.shape[-1], 5)) / 10
    mean = RNG.normal(size=5)
    made = features_model(model, weights, mean, [0.05] * 9)(photo, training=False)[0].numpy()
    assert (made.dtype, made.shape) == (np.uint8, (16, 24, 9))
    expected = np.clip(np.round((whole @ weights - mean) / 0.05) + 128, 0, 255)
    assert np.mean(abs(made[..., :5] - expected) <= 1) > 0.99


def test_a_model_without_guided_upsampling_is_refused():
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(3, 1, name="logits")(images))
    with pytest.raises(UserError, match="no guided upsampling"):
        stages(model)
