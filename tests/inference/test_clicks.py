"""The click model around a network that is written by hand: inside is what has the colour of the clicks."""

import numpy as np
import pytest
import skimage.data
from tiny import write_click_model

from segdemo import zoo
from segdemo.core.clicks import Click, ClickError
from segdemo.core.labels import VOC
from segdemo.inference.clicks import MOST_CLICKS, Clicker, Levels, _looked_up
from segdemo.inference.predict import DamagedModelError, Predictor
from segdemo.zoo.clicks import click_model

GROUND, RED, BLUE = (90, 90, 90), (220, 30, 30), (30, 30, 220)


class Watched:
    """A session that keeps what it was asked."""

    def __init__(self, session):
        self.session, self.asked = session, []

    def run(self, outputs, inputs):
        self.asked.append(inputs["image"])
        return self.session.run(outputs, inputs)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_click_model(tmp_path_factory.mktemp("click"))


@pytest.fixture
def clicker(model):
    clicker = Clicker(model)
    clicker.session = Watched(clicker.session)
    return clicker


def clicker_that_says(folder, bias):
    return Clicker(write_click_model(folder, gain=0, bias=bias))


def box(shape, x0, y0, x1, y1):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def painted(shape, *things):
    """A photo of (colour, mask) on the ground."""
    photo = np.full((*shape, 3), GROUND, np.uint8)
    for colour, mask in things:
        photo[mask] = colour
    return photo


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


SHAPE = (300, 400)
LEFT, RIGHT = box(SHAPE, 20, 40, 120, 200), box(SHAPE, 250, 60, 380, 220)
PHOTO = painted(SHAPE, (RED, LEFT), (BLUE, RIGHT))
LOOK = 3  # how often the network is asked: plainly, then again with its answer, and about the mirror image


def test_a_click_selects_the_thing_at_the_photo_s_size(clicker):
    selection = clicker.select(PHOTO, [Click(60, 100)])
    assert selection.mask.shape == SHAPE
    assert selection.mask.dtype == bool
    assert iou(selection.mask, LEFT) > 0.95
    assert selection.milliseconds > 0
    assert selection.probabilities.dtype == np.uint8
    assert selection.probabilities.shape == selection.changed.shape
    x0, y0, x1, y1 = selection.box
    assert 0 <= x0 < x1 <= 400 and 0 <= y0 < y1 <= 300


def test_the_network_sees_what_it_was_trained_on(clicker):
    clicker.select(PHOTO, [Click(60, 100), Click(140, 150, False)])
    for image in clicker.session.asked:
        assert image.dtype == np.uint8
        _, height, width, channels = image.shape
        assert channels == 6
        assert max(height, width) == 128
        assert height % 32 == width % 32 == 0
        assert set(np.unique(image[..., 3:])) <= {0, 255}
    first, again, mirrored, closer, *_ = clicker.session.asked
    assert not first[..., 5].any()  # no mask yet
    assert first[0, 32, 19, 3] == 255  # the click, in cells of 400 / 128
    assert first[..., 4].any()
    np.testing.assert_array_equal(again[..., :5], first[..., :5])
    assert again[..., 5].mean() > 20  # its own answer
    np.testing.assert_array_equal(mirrored, again[:, :, ::-1])
    assert closer[..., 5].mean() > 20  # and then what was found


def test_both_mirror_images_count_the_same(clicker):
    found = clicker.select(PHOTO, [Click(60, 100)], LEFT)
    other = clicker.select(PHOTO[:, ::-1].copy(), [Click(339, 100)], LEFT[:, ::-1].copy())
    difference = found.probabilities.astype(int) - other.probabilities[:, ::-1].astype(int)
    assert abs(difference).max() <= 1


def test_a_small_thing_is_looked_at_twice_and_a_large_one_once(clicker):
    clicker.select(PHOTO, [Click(60, 100)])
    assert len(clicker.session.asked) == 2 * LOOK
    clicker.session.asked.clear()
    clicker.select(painted(SHAPE, (RED, box(SHAPE, 10, 10, 380, 290))), [Click(200, 150)])
    assert len(clicker.session.asked) == LOOK


def test_the_closer_look_draws_what_the_first_cannot_see(clicker):
    """A comb with teeth of 8 pixels in a photo of 1600, which is shown to the network at 128."""
    shape = (1200, 1600)
    comb, teeth = box(shape, 400, 300, 640, 540), box(shape, 640, 300, 680, 540)
    teeth[(np.arange(1200) // 8 % 3 > 0), :] = False
    selection = clicker.select(painted(shape, (RED, comb | teeth)), [Click(520, 420)])
    assert selection.mask[teeth].mean() > 0.7
    assert selection.mask[box(shape, 640, 300, 680, 540) & ~teeth].mean() < 0.2
    assert selection.box[2] - selection.box[0] < 600


def test_a_negative_click_takes_away_what_is_like_it(clicker):
    pink = (190, 60, 60)
    photo = painted(SHAPE, (RED, LEFT), (pink, box(SHAPE, 120, 40, 200, 200)))
    both = clicker.select(photo, [Click(60, 100)]).mask
    assert both[100, 150]
    corrected = clicker.select(photo, [Click(60, 100), Click(150, 100, False)], both).mask
    assert iou(corrected, LEFT) > 0.9


def test_a_box_stands_for_clicks(clicker):
    selection = clicker.select(PHOTO, [], box=(15, 35, 125, 205))
    assert clicker.session.asked[0][..., 5].any()
    assert not clicker.session.asked[0][..., 3:5].any()
    assert iou(selection.mask, LEFT) > 0.9
    assert not selection.mask[RIGHT].any()


def test_a_box_that_sticks_out_is_cut(clicker):
    assert iou(clicker.select(PHOTO, [], box=(-500.5, 30, 130, 210)).mask, LEFT) > 0.5


def test_nothing_outside_of_a_box_is_selected_but_where_clicks_are(tmp_path):
    everything = clicker_that_says(tmp_path, 5)
    mask = everything.select(PHOTO, [], box=(100, 50, 200, 150)).mask
    assert iou(mask, box(SHAPE, 100, 50, 200, 150)) > 0.9
    assert not (mask & ~box(SHAPE, 94, 44, 206, 156)).any()
    mask = everything.select(PHOTO, [Click(215, 100)], box=(100, 50, 200, 150)).mask
    assert mask[100, 210]


# --- a mask that is corrected --------------------------------------------------------------------------------


def test_only_what_hangs_together_with_the_click_changes(clicker):
    wrong = LEFT.copy()
    wrong[:, :70] = False  # the left half lacks
    wrong |= box(SHAPE, 30, 220, 60, 250)  # too much, elsewhere
    wrong |= box(SHAPE, 300, 10, 330, 40)  # the same, far away
    corrected = clicker.select(PHOTO, [Click(40, 100)], wrong).mask
    assert iou(corrected & LEFT, LEFT) > 0.95
    for x0, y0, x1, y1 in ((30, 220, 60, 250), (300, 10, 330, 40)):
        np.testing.assert_array_equal(corrected[y0:y1, x0:x1], wrong[y0:y1, x0:x1])
    assert not corrected[box(SHAPE, 130, 0, 300, 300)].any()


def test_a_click_that_is_obeyed_already_changes_nothing(clicker):
    selection = clicker.select(PHOTO, [Click(60, 100), Click(200, 150, False)], LEFT)
    np.testing.assert_array_equal(selection.mask, LEFT)


def test_a_mask_far_from_the_click_is_left_alone(clicker):
    corrected = clicker.select(PHOTO, [Click(300, 100)], LEFT).mask
    np.testing.assert_array_equal(corrected[:, :200], LEFT[:, :200])
    assert iou(corrected & RIGHT, RIGHT) > 0.9


def test_the_mask_before_is_not_written_to(clicker):
    before = LEFT.copy()
    before[:, :70] = False
    kept = before.copy()
    clicker.select(PHOTO, [Click(40, 100)], before)
    np.testing.assert_array_equal(before, kept)


def test_an_empty_mask_is_none(clicker):
    first = clicker.select(PHOTO, [Click(60, 100)], np.zeros(SHAPE, bool))
    np.testing.assert_array_equal(first.mask, clicker.select(PHOTO, [Click(60, 100)]).mask)


def test_a_mask_in_less_detail_spans_the_photo(clicker):
    wrong = LEFT.copy()
    wrong[:, :70] = False
    whole = clicker.select(PHOTO, [Click(40, 100)], wrong)
    coarse = clicker.select(PHOTO, [Click(40, 100)], wrong[::2, ::2])
    assert np.abs(np.subtract(coarse.box, whole.box)).max() <= 4
    # What the canvas makes of it: its own mask, but what has changed.
    for selection in (whole, coarse):
        x0, y0, x1, y1 = selection.box
        rows = np.arange(y0, y1)[:, None] - y0
        columns = np.arange(x0, x1) - x0
        cells = (
            rows * selection.changed.shape[0] // (y1 - y0),
            columns * selection.changed.shape[1] // (x1 - x0),
        )
        result = wrong.copy()
        part = result[y0:y1, x0:x1]
        changed = selection.changed[cells]
        part[changed] = (selection.probabilities[cells] > 127)[changed]
        assert iou(result, LEFT) > 0.93


# --- a network that does not obey ---------------------------------------------------------------------------


def test_a_click_counts_even_if_the_network_says_nothing(tmp_path):
    nothing = clicker_that_says(tmp_path, -8)
    corrected = nothing.select(PHOTO, [Click(200, 150)], RIGHT).mask
    assert corrected[150, 200]
    assert not corrected[150, 160]  # but no more than what is next to it
    assert corrected[RIGHT].all()


def test_a_click_takes_away_even_if_the_network_says_everything(tmp_path):
    everything = clicker_that_says(tmp_path, 8)
    corrected = everything.select(PHOTO, [Click(300, 150, False)], RIGHT).mask
    assert not corrected[150, 300]
    assert corrected[150, 340]
    assert not corrected[~RIGHT].any()


def test_negative_clicks_alone_on_no_mask_select_nothing_or_something_but_do_not_fail(clicker):
    assert clicker.select(PHOTO, [Click(60, 100, False)]).mask.shape == SHAPE


# --- all sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (5, 700), (700, 5), (3, 2), (33, 31)])
@pytest.mark.parametrize("positive", [True, False])
def test_photos_of_any_size_and_clicks_at_their_borders(clicker, shape, positive):
    height, width = shape
    photo = painted(shape, (RED, box(shape, 0, 0, max(1, width // 2), height)))
    corners = [Click(x, y, positive) for x in (0, width - 1) for y in (0, height - 1)]
    corners.append(Click(width - 0.01, height - 0.01, positive))
    for click in corners:
        for mask in (None, np.ones(shape, bool), box(shape, 0, 0, 1, 1)):
            selection = clicker.select(photo, [click], mask)
            assert selection.mask.shape == shape
            x0, y0, x1, y1 = selection.box
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert clicker.select(photo, corners[:1], box=(0, 0, width, height)).mask.shape == shape


def test_the_result_does_not_depend_on_whether_levels_are_made_before(clicker):
    levels = Levels(PHOTO)
    np.testing.assert_array_equal(
        clicker.select(levels, [Click(60, 100)]).mask, clicker.select(PHOTO, [Click(60, 100)]).mask
    )


# --- levels -------------------------------------------------------------------------------------------------


def smooth(height, width):
    rows = np.linspace(0, 255, height, dtype=np.float32)[:, None]
    columns = np.linspace(0, 255, width, dtype=np.float32)[None]
    bands = np.broadcast_arrays(rows, columns, np.float32(7))
    return np.stack([band.astype(np.uint8) for band in bands], -1)


@pytest.mark.parametrize("window", [(0, 0, 2100, 1400), (100, 50, 1700, 1250), (2000, 1300, 2100, 1400)])
def test_a_crop_shows_its_part_of_the_photo(window):
    crop = Levels(smooth(1400, 2100)).crop(window, 96, 64)
    assert crop.shape == (64, 96, 3)
    x0, y0, x1, y1 = window
    rows = (y0 + (np.arange(64) + 0.5) * (y1 - y0) / 64) * 255 / 1400
    columns = (x0 + (np.arange(96) + 0.5) * (x1 - x0) / 96) * 255 / 2100
    assert np.abs(crop[..., 0] - rows[:, None]).max() < 3
    assert np.abs(crop[..., 1] - columns).max() < 3


def test_the_largest_halves_are_left_out_where_there_is_no_room():
    photo = smooth(1400, 2100)
    whole = Levels(photo)
    assert whole.bytes == 4 * (2100 * 1400 + 1050 * 700 + 525 * 350)
    small = Levels(photo, most=4e6)
    assert small.bytes == 4 * (1050 * 700 + 525 * 350)
    assert (small.height, small.width) == (1400, 2100)
    for window in ((0, 0, 2100, 1400), (100, 50, 400, 250)):
        difference = small.crop(window, 96, 64).astype(int) - whole.crop(window, 96, 64)
        assert np.abs(difference).max() <= 2
    assert Levels(photo, most=1).bytes == 4 * 525 * 350  # something there must be


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clicks": []}, "Click on the thing, or draw a box around it"),
        ({"clicks": [Click(1, 1)] * (MOST_CLICKS + 1)}, "There are 101 clicks: 100 are the most"),
        ({"clicks": [Click(400, 1)]}, r"The click at \(400, 1\) is outside the photo of 400 x 300 pixels"),
        ({"clicks": [Click(-0.5, 1)]}, "outside the photo"),
        ({"clicks": [Click(float("nan"), 1)]}, "outside the photo"),
        (
            {"clicks": [Click(1, 1)], "mask": np.ones((300, 440), bool)},
            "The mask is 440 x 300 pixels and the",
        ),
        ({"clicks": [Click(1, 1)], "mask": np.ones((400, 300), bool)}, "make them equal"),
        ({"clicks": [], "box": (10, 10, 10, 30)}, r"The box is \[x0, y0, x1, y1\]"),
        ({"clicks": [], "box": (500, 10, 600, 30)}, "draw it in the photo"),
        ({"clicks": [], "box": (float("nan"), 0, 9, 9)}, "The box is"),
    ],
)
def test_bad_input_gives_a_sentence(clicker, options, sentence):
    with pytest.raises(ClickError, match=sentence):
        clicker.select(PHOTO, **options)


def test_a_damaged_or_missing_file_is_refused(tmp_path):
    model = write_click_model(tmp_path)
    model.path.write_bytes(model.path.read_bytes() + b"\0")
    with pytest.raises(DamagedModelError, match=r"click.onnx is missing or damaged: fetch it again"):
        Clicker(model)
    model.path.unlink()
    with pytest.raises(DamagedModelError, match="missing"):
        Clicker(model)


# --- the model that ships -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [(230, 120), (120, 200), (300, 200)])
def test_one_click_anywhere_on_the_cat_takes_the_cat(at):
    photo = skimage.data.chelsea()
    cat = Predictor(zoo.served_model("deeplabv3"))(photo).label_map == VOC.classes.index("cat")
    assert iou(Clicker(click_model()).select(photo, [Click(*at)]).mask, cat) > 0.8


def test_a_part_of_a_window_is_looked_up_cell_by_cell():
    rng = np.random.default_rng(0)
    mask = rng.random((6, 8)) > 0.5
    same = _looked_up(mask, (10, 20, 26, 32), (10, 20, 26, 32), mask.shape)
    np.testing.assert_array_equal(same, mask)
    # Two pixels a cell; what lies beyond the window is outside.
    part = _looked_up(mask, (10, 20, 26, 32), (6, 28, 14, 40), (12, 8))
    expected = np.zeros((12, 8), bool)
    expected[:4, 4:] = mask[4:6, :2].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(part, expected)
