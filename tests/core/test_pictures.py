"""Pictures of predictions and curves, without any run."""

import io

import numpy as np
import pytest
from PIL import Image

from segdemo.core import label_maps, pictures
from segdemo.core.labels import PETS, VOID
from segdemo.errors import UserError

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (30, 40, 3), np.uint8)
TRUTH = RNG.integers(0, 3, (30, 40)).astype(np.uint8)
TRUTH[0] = VOID


def test_a_mask_is_the_likeliest_class_of_each_pixel():
    scores = RNG.normal(size=(2, 5, 6, 3))
    masks = pictures.create_mask(scores)
    assert (masks.shape, masks.dtype) == ((2, 5, 6), np.uint8)
    for image, row, column in np.ndindex(2, 5, 6):
        assert masks[image, row, column] == np.argsort(scores[image, row, column])[-1]


def test_a_triptych_is_input_truth_and_prediction():
    predicted = np.zeros_like(TRUTH)
    plain = np.asarray(pictures.triptych(PHOTO, TRUTH, predicted, PETS, titles=None))
    assert plain.shape == (30, 3 * 40 + 2 * pictures.GAP, 4)
    expected = [PHOTO, *(label_maps.overlay(PHOTO, m, PETS) for m in (TRUTH, predicted))]
    for n, picture in enumerate(expected):
        left = n * (40 + pictures.GAP)
        np.testing.assert_array_equal(plain[:, left : left + 40, :3], picture)
        assert not plain[:, left + 40 : left + 40 + pictures.GAP, 3].any()  # transparent
    titled = np.asarray(pictures.triptych(PHOTO.astype(np.float32), TRUTH, predicted, PETS))
    np.testing.assert_array_equal(titled[pictures.TITLE :], plain)
    for n in range(3):  # a title over each
        left = n * (40 + pictures.GAP)
        assert titled[: pictures.TITLE, left : left + 40, 3].any()


def test_any_pictures_in_a_row():
    row = pictures.display([PHOTO, PHOTO[:, :10]], ["one", "two"])
    assert row.size == (40 + pictures.GAP + 10, 30 + pictures.TITLE)
    with pytest.raises(UserError, match="2 pictures and 1 titles: give one for each"):
        pictures.display([PHOTO, PHOTO], ["one"])
    for some in ([PHOTO, PHOTO[:5]], []):
        with pytest.raises(UserError, match="Pictures in a row have one height"):
            pictures.display(some)


def drawn(figure):
    """Title of each panel to {label: (epochs, values)}."""
    return {
        axes.get_title(): {line.get_label(): tuple(map(list, line.get_data())) for line in axes.lines}
        for axes in figure.axes
    }


def test_curves_of_a_history_of_rows_and_of_a_log(tmp_path):
    history = {"loss": [0.9, 0.5], "val_loss": [1.0, 0.75], "mean_iou": [0.25, 0.5]}
    expected = {
        "Loss": {"training": ([1, 2], [0.9, 0.5]), "validation": ([1, 2], [1.0, 0.75])},
        "Mean IoU": {"training": ([1, 2], [0.25, 0.5])},
    }
    assert drawn(pictures.curves(history)) == expected
    rows = [
        {"epoch": n + 1, **{name: values[n] for name, values in history.items()}, "kind": "epoch"}
        for n in (0, 1)
    ]
    assert drawn(pictures.curves(rows)) == expected
    log = tmp_path / "log.csv"
    log.write_text("epoch,loss,mean_iou,val_loss,val_mean_iou\n0,0.9,0.25,1.0,\n1,0.5,0.5,0.75,\n")
    assert drawn(pictures.curves(log)) == expected
    panels = {"mean_accuracy": "Mean accuracy"}
    assert drawn(pictures.curves(history, panels)) == {"Mean accuracy": {}}
    with pytest.raises(UserError, match="There is no log"):
        pictures.curves(tmp_path / "none.csv")


def test_a_notebook_is_given_curves_as_a_png():
    shown = pictures.curves({"loss": [0.9, 0.5]})._repr_png_()
    with Image.open(io.BytesIO(shown)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500


def test_a_run_s_folder_will_do_and_an_epoch_may_lack_a_score(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n0,0.9,NA\n1,0.5,0.75\n")
    expected = {"Loss": {"training": ([1, 2], [0.9, 0.5]), "validation": ([2], [0.75])}}
    assert drawn(pictures.curves(tmp_path, {"loss": "Loss"})) == expected


def test_the_photos_of_a_batch_stand_one_below_the_other():
    images, truths = np.stack([PHOTO, PHOTO[::-1], PHOTO]), np.stack([TRUTH, TRUTH[::-1], TRUTH])
    page = np.asarray(pictures.triptychs(images.astype(np.float32), truths, truths, PETS, most=2))
    rows = [np.asarray(pictures.triptych(images[n], truths[n], truths[n], PETS)) for n in (0, 1)]
    high = 30 + pictures.TITLE
    assert page.shape[0] == 2 * high + pictures.GAP
    np.testing.assert_array_equal(page[:high], rows[0])
    np.testing.assert_array_equal(page[high + pictures.GAP :], rows[1])
    assert not page[high : high + pictures.GAP, :, 3].any()  # transparent
    without = np.asarray(pictures.triptychs(images[:1], truths[:1], None, PETS))
    np.testing.assert_array_equal(without, rows[0][:, : 2 * 40 + pictures.GAP])


def test_what_does_not_go_together_is_not_drawn():
    with pytest.raises(UserError, match=r"equal numbers, not \[1, 2\]"):
        pictures.triptychs([PHOTO], [TRUTH, TRUTH], None, PETS)
    with pytest.raises(UserError, match="no pictures to show"):
        pictures.triptychs([], [], None, PETS)
    with pytest.raises(label_maps.MaskError):
        pictures.triptychs([PHOTO], [TRUTH[:5]], None, PETS)
