"""How classes look on a screen: colours of their own, bright and even in lightness, on light and dark photos.

VOC's palette is a file format: its cat is (64, 0, 0), a brown veil over a photo. Files keep it; what is only looked at
is drawn in these. A class whose colour somebody has chosen is shown in that.
"""

from functools import cache

from segdemo.core.labels import PETS, VOC, LabelSet, voc_color

Color = tuple[int, int, int]

# Classes that are seen together lie far apart in hue or lightness, also for eyes that miss red or green:
# chosen by a search over Oklab distances, see ``tests/core/test_display.py``.
_VOC = (
    *("000000", "7BE4FA", "FFE14D", "FFB3E1", "39D2F6", "B6F23C", "FF6E4A", "6FBAF7", "FF5C9A", "DA749C"),
    *("D0A64C", "3AFFFC", "FFAB7C", "D1B6FF", "FFB020", "6C8AFF", "3DDC7A", "6AFFC4", "A4B6FF", "19E0C0"),
    "FFD27A",
)
_PETS = ("FF5C9A", "000000", "FFE14D")


def _rgb(code: str) -> Color:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


@cache
def display_colors(label_set: LabelSet) -> tuple[Color, ...]:
    """The colours that the classes of a label set are shown in, K RGB triples in 0..255.

    A class of the colour that VOC's map has for its id, or of Pets, has a brighter one; the background has its own.
    """
    if label_set.colors == PETS.colors:
        return tuple(map(_rgb, _PETS))
    shown = []
    for id_, color in enumerate(label_set.colors):
        given = id_ == label_set.background or color != voc_color(id_)
        shown.append(
            color if given else _rgb(_VOC[id_ if id_ < len(VOC) else 1 + (id_ - 1) % (len(VOC) - 1)])
        )
    return tuple(shown)
