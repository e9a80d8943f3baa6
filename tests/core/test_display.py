import numpy as np
import pytest

from segdemo.core.display import display_colors
from segdemo.core.labels import PETS, VOC, LabelSet, voc_color

# Machado, Oliveira, Fernandes 2009, table of severity 1.0, in linear light.
EYES = {
    "all colours": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TOGETHER = [  # classes that many photos show together
    *(("person", other) for other in VOC.classes[1:] if other != "person"),
    *(("cat", "dog"), ("cat", "sofa"), ("dog", "sofa"), ("chair", "dining table"), ("chair", "sofa")),
    *(("bottle", "dining table"), ("car", "bus"), ("car", "motorbike"), ("cow", "horse"), ("sheep", "cow")),
]


def oklab(rgb, eyes=None):
    """Oklab of colours 0..255 as eyes see them (Ottosson 2020)."""
    c = np.asarray(rgb, float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ (EYES[eyes or "all colours"]).T, 0, 1)
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear @ np.transpose(to_lms)) @ np.transpose(to_lab)


def test_all_are_bright_and_different():
    colors = display_colors(VOC)
    assert len(set(colors)) == len(VOC)
    lightness = oklab(colors[1:])[:, 0]
    assert lightness.min() > 0.65
    assert lightness.max() < 0.95


@pytest.mark.parametrize("eyes", EYES)
def test_what_is_seen_together_can_be_told_apart(eyes):
    lab = dict(zip(VOC.classes, oklab(display_colors(VOC), eyes), strict=True))
    apart = {pair: float(np.linalg.norm(lab[pair[0]] - lab[pair[1]])) for pair in TOGETHER}
    worst = min(apart, key=apart.get)
    assert apart[worst] > 0.12, (worst, apart[worst])  # 0.02 is just noticed


def test_pets_and_their_outline():
    pet, _, border = display_colors(PETS)
    assert np.linalg.norm(np.diff(oklab([pet, border]), axis=0)) > 0.2


def test_colours_that_somebody_chose_stay():
    chosen = LabelSet("mine", "Mine", ("none", "leaf", "stem"), ((0, 0, 0), (1, 2, 3), voc_color(2)))
    assert display_colors(chosen) == ((0, 0, 0), (1, 2, 3), display_colors(VOC)[2])


def test_more_classes_than_voc_has():
    many = LabelSet("many", "Many", tuple(f"c{i}" for i in range(200)), tuple(map(voc_color, range(200))))
    colors = display_colors(many)
    assert len(colors) == 200
    assert (0, 0, 0) not in colors[1:]


def test_a_chosen_background_stays():
    own = LabelSet("own", "Own", ("sky", "bird"), (voc_color(0), voc_color(1)), background=1)
    assert display_colors(own)[1] == voc_color(1)
