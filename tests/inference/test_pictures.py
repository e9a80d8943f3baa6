import csv

import numpy as np
import pytest
from drawn import scene
from matplotlib.figure import Figure

from segdemo.core.label_maps import MaskError
from segdemo.core.labels import PETS, VOC, VOID
from segdemo.errors import UserError
from segdemo.inference import pictures


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn."""
    figures = []
    save = Figure.savefig

    def keep(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def lines(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_a_mask_is_the_class_with_the_highest_score():
    scores = np.zeros((2, 3, 4, 5), np.float32)
    scores[0, 1, 2, 4] = scores[1, 0, 0, 3] = 1
    found = pictures.create_mask(scores)
    expected = np.zeros((2, 3, 4), np.uint8)
    expected[0, 1, 2], expected[1, 0, 0] = 4, 3
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pictures.create_mask(scores[0].tolist()), expected[0])


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 256), (2, 3, 0)])
def test_what_is_no_map_of_scores_is_refused(shape):
    with pytest.raises(UserError, match="give the logits"):
        pictures.create_mask(np.zeros(shape))


def test_pictures_stand_in_rows_under_their_titles(drawn):
    red, grey = np.full((20, 30, 3), (255, 0, 0), np.uint8), np.full((20, 30), 128.4)
    picture = pictures.display([[red, grey], [grey, red]], ["A", "B"])
    assert [axes.get_title() for axes in drawn[0].axes] == ["A", "B", "", ""]
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    quarter = {
        (y, x): pixels[height * (1 + 2 * y) // 4, width * (1 + 2 * x) // 4] for y in (0, 1) for x in (0, 1)
    }
    for place in ((0, 0), (1, 1)):
        assert quarter[place].tolist() == [255, 0, 0]
    for place in ((0, 1), (1, 0)):
        assert quarter[place].tolist() == [128, 128, 128]


@pytest.mark.parametrize(
    ("rows", "titles", "told"),
    [
        ([], (), "one picture or more"),
        ([[]], (), "one picture or more"),
        ([[np.zeros((2, 2))], []], (), "rows of one length"),
        ([[np.zeros((2, 2))]], ("A", "B"), "1 columns need as many titles, not 2"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, titles, told):
    with pytest.raises(UserError, match=told):
        pictures.display(rows, titles)


def test_a_triptych_shows_photo_truth_and_prediction(drawn):
    photo, truth = scene(1, border=VOID)
    found = np.where(truth == 1, 2, 0).astype(np.uint8)
    pictures.triptychs([np.asarray(photo)] * 6, [truth] * 6, [found] * 6, VOC, most=2)
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["Input", "Truth", "Prediction", "", "", ""]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3]]
    np.testing.assert_array_equal(shown[0], photo)
    assert set(map(tuple, shown[1].reshape(-1, 3).tolist())) == {
        VOC.colors[0],
        VOC.colors[1],
        (224, 224, 192),
    }
    assert set(map(tuple, shown[2].reshape(-1, 3).tolist())) == {VOC.colors[0], VOC.colors[2]}
    np.testing.assert_array_equal((shown[1] == VOC.colors[1]).all(-1), truth == 1)


def test_a_triptych_may_lack_its_prediction_and_have_other_titles(drawn):
    photo, truth = scene(1)
    pictures.triptychs([np.asarray(photo)], [truth], None, VOC, ("Photo", "Mask", "Found"))
    assert [axes.get_title() for axes in drawn[0].axes] == ["Photo", "Mask"]


def test_a_triptych_of_what_does_not_go_together_is_refused():
    photo, truth = scene(1)
    with pytest.raises(UserError, match=r"equal numbers, not \[1, 2\]"):
        pictures.triptychs([np.asarray(photo)], [truth, truth], None, VOC)
    with pytest.raises(MaskError):
        pictures.triptychs([np.asarray(photo)], [truth + 7], None, PETS)


def test_curves_of_a_history(drawn):
    history = {"loss": [3.0, 2.0], "val_loss": [4.0, 5.0], "mean_iou": [0.1, 0.2]}
    assert pictures.curves(history).size[0] > 500
    left, right = drawn[0].axes
    assert (left.get_title(), right.get_title()) == ("Loss", "Mean IoU")
    assert lines(left) == {"training": ([1, 2], [3.0, 2.0]), "validation": ([1, 2], [4.0, 5.0])}
    assert lines(right) == {"training": ([1, 2], [0.1, 0.2])}


def test_curves_of_a_run_and_of_its_log_are_the_same(drawn, tmp_path):
    with (tmp_path / "log.csv").open("w", newline="") as file:  # as Keras's CSVLogger writes it
        writer = csv.writer(file)
        writer.writerows([["epoch", "loss", "val_loss"], [0, 3.0, "NA"], [1, 2.0, 5.0]])
    for log in (tmp_path, tmp_path / "log.csv", str(tmp_path)):
        pictures.curves(log, ["loss"])
    for figure in drawn:
        assert lines(figure.axes[0]) == {"training": ([1, 2], [3.0, 2.0]), "validation": ([2], [5.0])}


def test_a_metric_that_is_not_in_a_log_has_an_empty_diagram(drawn):
    pictures.curves([{"epoch": 1, "loss": 2.0}], ["loss", "dice"])
    assert drawn[0].axes[1].get_title() == "dice"
    assert not drawn[0].axes[1].lines


@pytest.mark.parametrize("text", [None, "epoch,loss\nfirst,1\n", "loss\n1\n"])
def test_a_log_that_is_none_is_refused(text, tmp_path):
    if text is not None:
        (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UserError, match="There is no log of a training in"):
        pictures.curves(tmp_path)
