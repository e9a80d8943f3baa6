import json

import numpy as np
import pytest
from PIL import Image
from tiny import write_click_model

from segdemo.core.clicks import Click
from segdemo.errors import UserError
from segdemo.inference import click_protocol
from segdemo.inference.click_protocol import Case, cases, click_through, iou, measure
from segdemo.inference.clicks import Clicker, Selection


class Person:
    """A clicker whose answers are given: a mask for each number of clicks, the last one for all further ones."""

    def __init__(self, *masks):
        self.masks, self.seen = masks, []
        self.model = type("Model", (), {"name": "person"})

    def select(self, levels, clicks, mask):
        self.seen.append((list(clicks), mask.copy()))
        answer = self.masks[min(len(clicks), len(self.masks)) - 1]
        shape = answer.shape
        grey = np.where(answer, np.uint8(255), np.uint8(0))
        return Selection((0, 0, *shape[::-1]), grey, np.ones(shape, bool), None, shape, 1.0)


TRUTH = np.zeros((40, 60), bool)
TRUTH[10:30, 10:50] = True  # 800 pixels
COUNTS = np.ones_like(TRUTH)
PHOTO = np.zeros((40, 60, 3), np.uint8)


def part(share):
    """A part of the truth: IoU ``share``."""
    mask = TRUTH.copy()
    mask[:, 10 + round(40 * share) :] = False
    return mask


def case(name="a", **changes):
    return Case(**{"name": name, "photo": PHOTO, "truth": TRUTH, "counts": COUNTS, **changes})


def test_it_clicks_until_the_best_goal_and_at_least_five_times():
    person = Person(part(0.5), part(0.8), part(0.95))
    ious, seconds = click_through(person, case())
    assert ious == pytest.approx([0.5, 0.8, 0.95, 0.95, 0.95])
    assert len(seconds) == 5
    assert [len(clicks) for clicks, _ in person.seen] == [1, 2, 3, 4, 5]


def test_it_stops_where_nothing_is_wrong_and_after_the_most():
    assert click_through(Person(part(0.5), TRUTH), case())[0] == [0.5, 1]
    assert len(click_through(Person(part(0.5)), case())[0]) == 20
    assert len(click_through(Person(part(0.5)), case(), most=3)[0]) == 3
    assert click_through(Person(TRUTH), case(start=TRUTH)) == ([], [])


def test_each_click_is_on_the_largest_error_and_the_mask_goes_back_in():
    person = Person(part(0.5), part(0.8))
    click_through(person, case(), most=3)
    first, second, third = person.seen
    assert not first[1].any()
    np.testing.assert_array_equal(second[1], part(0.5))
    np.testing.assert_array_equal(third[1], part(0.8))
    assert all(click.positive for click in third[0])
    assert [TRUTH[c.y, c.x] for c in third[0]] == [True] * 3
    assert third[0][1].x >= 30
    assert third[0][2].x >= 42


def test_a_mask_to_correct_is_what_it_starts_with():
    person = Person(TRUTH)
    too_much = TRUTH | ~TRUTH
    click_through(person, case(start=too_much))
    clicks, mask = person.seen[0]
    assert clicks[0].positive is False
    np.testing.assert_array_equal(mask, too_much)


def test_what_does_not_count_is_neither_clicked_on_nor_counted():
    counts = COUNTS.copy()
    counts[:, 30:] = False
    ious, _ = click_through(Person(part(0.5)), case(counts=counts))
    assert ious == [1]


def test_the_report():
    things = [case("a"), case("b"), case("c")]
    answers = iter([(part(0.5), part(0.85), part(0.9)), (part(0.82), TRUTH), (part(0.3),)])

    class People(Person):
        def __init__(self):
            super().__init__()

        def select(self, levels, clicks, mask):
            if len(clicks) == 1:
                self.masks = next(answers)
            return super().select(levels, clicks, mask)

    report = measure(People(), things)
    assert (report.model, report.things, report.noise) == ("person", 3, False)
    assert report.noc == {
        "80": round((2 + 1 + 20) / 3, 3),
        "85": round((2 + 2 + 20) / 3, 3),
        "90": round((3 + 2 + 20) / 3, 3),
    }
    assert report.failures == {"80": 1, "85": 1, "90": 1}
    expected = {"1": (0.5, 0.82, 0.3), "2": (0.85, 1, 0.3), "3": (0.9, 1, 0.3), "5": (0.9, 1, 0.3)}
    for n, ious in expected.items():
        assert report.iou[n] == pytest.approx(np.mean(ious), abs=0.01)
    assert report.seconds >= 0
    assert [thing["name"] for thing in report.each] == ["a", "b", "c"]
    assert json.loads(json.dumps(report.to_json()))["noc"] == report.noc


def test_noise_is_that_of_its_seed_and_puts_clicks_elsewhere():
    def clicks(seed, noise=True):
        person = Person(part(0.5))
        measure(person, [case()], noise, seed)
        return person.seen[-1][0]

    assert clicks(0) == clicks(0)
    assert clicks(0) != clicks(1)
    assert clicks(0) != clicks(0, noise=False)
    for click in clicks(0):
        assert 0 <= click.x < 60 and 0 <= click.y < 40
        assert isinstance(click, Click)


def test_iou():
    assert iou(TRUTH, part(0.5), COUNTS) == 0.5
    assert iou(TRUTH, TRUTH, COUNTS) == iou(~COUNTS, ~COUNTS, COUNTS) == 1
    assert iou(TRUTH, ~TRUTH, COUNTS) == 0


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for n in range(3):
        photo = np.full((90, 120, 3), 80, np.uint8)
        photo[20:60, 30 + n : 90] = (220, 30, 30)
        mask = np.where((photo == (220, 30, 30)).all(-1), np.uint8(255), np.uint8(0))
        mask[19] = 128
        Image.fromarray(photo).save(images / f"{n}.{('jpg', 'png', 'bmp')[n]}", quality=100, subsampling=0)
        Image.fromarray(mask).save(masks / f"{n}.png")
    (images / "notes.txt").write_text("no photo")
    (images / "without.png").write_bytes(b"")  # it has no mask
    return images, masks


def test_cases_are_pairs_of_photo_and_mask(folders):
    found = list(cases(*folders))
    assert [c.name for c in found] == ["0", "1", "2"]
    assert found[1].photo.shape == (90, 120, 3)
    assert found[1].truth.sum() == 40 * 59
    assert not found[1].counts[19].any() and found[1].counts.sum() == 89 * 120
    assert found[1].start is None


def test_folders_that_do_not_fit_give_a_sentence(folders, tmp_path):
    images, masks = folders
    with pytest.raises(UserError, match=r"There is no folder .*nowhere: give one of photos"):
        cases(tmp_path / "nowhere", masks)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"No photo in .* has a mask of its name"):
        cases(images, tmp_path / "empty")
    Image.fromarray(np.zeros((90, 120), np.uint8)).save(masks / "0.png")
    with pytest.raises(UserError, match=r"0.png holds no pixel of a thing"):
        list(cases(images, masks))
    Image.fromarray(np.full((90, 121), 255, np.uint8)).save(masks / "0.png")
    with pytest.raises(UserError, match=r"0.png and its photo differ in size: make them equal"):
        list(cases(images, masks))
    (masks / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0.png cannot be read as a picture"):
        list(cases(images, masks))


def test_a_model_that_knows_colours_needs_one_click(folders, tmp_path):
    clicker = Clicker(write_click_model(tmp_path / "model"))
    report = measure(clicker, cases(*folders))
    assert report.noc["90"] == 1
    assert report.failures["90"] == 0
    assert click_protocol.MOST == 20
