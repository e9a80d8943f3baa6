"""CVAT for images 1.1: every shape, the order in which they lie, and documents that are refused."""

import numpy as np
import pytest
from archive_files import HEIGHT, WIDTH, make_zip, picture, read, same, square

from segdemo.data.formats import ExchangeError, import_zip

POLYGON = '<polygon label="cat" points="2,1;6,1;6,5;2,5" z_order="{z}"/>'
LABELS = (
    "<meta><task><labels><label><name>dog</name><color>#fa3253</color></label>"
    "<label><name>cat</name><color>#010203</color></label></labels></task></meta>"
)


def cvat(*shapes, name="a.png", width=WIDTH, height=HEIGHT, labels=LABELS, more="", subset=""):
    subset = f' subset="{subset}"' if subset else ""
    image = f'<image id="0" name="{name}" width="{width}" height="{height}"{subset}>{"".join(shapes)}</image>'
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return f"{head}<annotations><version>1.1</version>{labels}{image}{more}</annotations>"


@pytest.mark.parametrize(
    "form",
    [
        POLYGON.format(z=0),
        '<box label="cat" xtl="2.0" ytl="1.0" xbr="6.0" ybr="5.0" occluded="0"><attribute name="x">1</attribute></box>',
        '<box label="cat" xtl="2" ytl="1" xbr="6" ybr="5" rotation="90"/>',
        '<mask label="cat" rle="0, 16" left="2" top="1" width="4" height="4" z_order="0"/>',
        '<mask label="cat" rle="10,4,4,4,4,4,4,4,10" left="0" top="0" width="8" height="6"/>',
    ],
)
def test_every_form_covers_its_pixels(tmp_path, form):
    photos, imported = read(tmp_path, {"annotations.xml": cvat(form), "images/a.png": picture()})
    assert imported.label_set.classes == ("background", "dog", "cat")
    assert imported.label_set.colors[1:] == ((0xFA, 0x32, 0x53), (1, 2, 3))
    assert same(photos["images/a.png"], square(2)) and imported.account.left_out == []


def test_a_mask_is_read_row_by_row(tmp_path):
    """The example of CVAT's documentation, a disc of 13 x 15."""
    rle = "3,5,7,7,5,9,3,11,2,11,2,12,1,12,1,26,1,12,1,12,2,11,3,9,5,7,7,5,3"
    form = f'<mask label="cat" rle="{rle}" left="4" top="2" width="13" height="15"/>'
    photos, _ = read(tmp_path, {"a.xml": cvat(form, width=20, height=20), "a.png": picture(size=(20, 20))})
    disc = photos["a.png"].label_map[2:17, 4:17] == 2
    assert disc.sum() == photos["a.png"].label_map.astype(bool).sum() == sum(map(int, rle.split(",")[1::2]))
    assert disc[0].tolist() == [False] * 3 + [True] * 5 + [False] * 5
    assert disc[7:9].all() and disc[6].tolist() == [True] * 12 + [False]


def test_an_ellipse_covers_its_area_and_turns(tmp_path):
    upright, turned = (
        f'<ellipse label="cat" cx="30" cy="20" rx="12" ry="6" rotation="{degrees}"/>' for degrees in (0, 90)
    )
    y, x = np.mgrid[:40, :60] + 0.5
    for form, (a, b) in ((upright, (12, 6)), (turned, (6, 12))):
        files = {"a.xml": cvat(form, width=60, height=40), "a.png": picture(size=(40, 60))}
        photos, _ = read(tmp_path, files)
        inside = ((x - 30) / a) ** 2 + ((y - 20) / b) ** 2
        found = photos["a.png"].label_map == 2
        assert found[inside < 0.96].all() and not found[inside > 1.04].any()


def test_a_turned_box_turns_clockwise(tmp_path):
    form = '<box label="cat" xtl="10" ytl="18" xbr="30" ybr="22" rotation="45"/>'
    photos, _ = read(tmp_path, {"a.xml": cvat(form, width=40, height=40), "a.png": picture(size=(40, 40))})
    label_map = photos["a.png"].label_map
    assert label_map[25, 25] == 2 and label_map[14, 14] == 2  # along the falling diagonal
    assert label_map[14, 25] == 0 and label_map[25, 14] == 0


def test_z_order_decides_then_the_order_in_the_file(tmp_path):
    small = '<polygon label="dog" points="3,2;5,2;5,4;3,4" z_order="{z}"/>'
    covered = square(2)
    covered[2:4, 3:5] = 1
    for shapes, expected in (
        ((small.format(z=1), POLYGON.format(z=0)), covered),
        ((POLYGON.format(z=0), small.format(z=0)), covered),
        ((small.format(z=0), POLYGON.format(z=0)), square(2)),
        ((POLYGON.format(z=2), small.format(z=-1)), square(2)),
    ):
        photos, _ = read(tmp_path, {"a.xml": cvat(*shapes), "a.png": picture()})
        assert same(photos["a.png"], expected)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ('<points label="cat" points="1,1"/>', "is a points"),
        ('<polyline label="cat" points="1,1;2,2"/>', "is a polyline"),
        ('<cuboid label="cat" xtl1="1"/>', "is a cuboid"),
        ('<tag label="cat"/>', "marks the photo as a whole"),
        ('<polygon label="cat" points="1,1;2,2"/>', "at least three pairs"),
        ('<polygon label="cat" points="1,1;x,2;3,3"/>', "at least three pairs"),
        ('<polygon label="cat"/>', "at least three pairs"),
        ('<box label="cat" xtl="1" ytl="1" xbr="2"/>', "has no ybr"),
        ('<box label="cat" xtl="a" ytl="1" xbr="2" ybr="2"/>', "no number"),
        ('<mask label="cat" rle="1,2" left="0" top="0" width="4" height="4"/>', "do not fill"),
        ('<mask label="cat" rle="" left="0" top="0" width="4" height="4"/>', "no number"),
        ('<mask label="cat" rle="1" left="0" top="0" width="99999" height="99999"/>', "impossible size"),
        ('<ellipse label="cat" cx="1"/>', "has no cy"),
    ],
)
def test_what_covers_nothing_is_left_out_and_named(tmp_path, bad, words):
    files = {"annotations.xml": cvat(bad, POLYGON.format(z=0)), "images/a.png": picture()}
    photos, imported = read(tmp_path, files)
    assert same(photos["images/a.png"], square(2))
    [entry] = imported.account.left_out
    assert entry.file == "annotations.xml" and entry.photo == "a.png" and words in entry.why


def test_photos_subsets_and_labels(tmp_path):
    first = cvat(POLYGON.format(z=0), name="cam1/a.png", subset="Train", labels="")
    second = cvat(POLYGON.format(z=0), name="a.png", subset="Validation", labels="")
    subsets = {"images/cam1/a.png": "train", "images/Validation/a.png": "val"}
    files = {name: picture(i) for i, name in enumerate(subsets)}
    photos, imported = read(tmp_path, {"one.xml": first, "two.xml": second, **files})
    assert imported.label_set.classes == ("background", "cat")
    assert {name: photo.meta["subset"] for name, photo in photos.items()} == subsets


def test_tracks_of_videos_are_named(tmp_path):
    track = '<track id="3" label="cat"><box frame="0" xtl="1" ytl="1" xbr="2" ybr="2"/></track>'
    photos, imported = read(tmp_path, {"a.xml": cvat(POLYGON.format(z=0), more=track), "a.png": picture()})
    assert same(photos["a.png"], square(2))
    assert [(e.what, e.file) for e in imported.account.left_out] == [("track 3 (cat)", "a.xml")]


BOMB = '<!DOCTYPE a [<!ENTITY x "yyyyyyyyyy"><!ENTITY z "&x;&x;&x;">]>'


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (cvat(POLYGON.format(z=0)).replace("<annot", BOMB + "<annot", 1), "document type declaration"),
        (cvat(POLYGON.format(z=0))[:-30], "is not XML, or cut short"),
    ],
)
def test_documents_that_are_not_read_are_named_with_the_reason(tmp_path, document, words):
    path = make_zip(tmp_path / "x.zip", {"annotations.xml": document, "a.png": picture()})
    with pytest.raises(ExchangeError, match=f"annotations.xml: .*{words}"):
        import_zip(path)


def test_other_xml_is_nobodys(tmp_path):
    voc = "<annotation><filename>a.png</filename></annotation>"
    files = {"a.xml": cvat(POLYGON.format(z=0)), "a.png": picture()}
    photos, imported = read(tmp_path, {**files, "x/a.xml": voc, "y.xml": "<html/>", "z.xml": ""})
    assert same(photos["a.png"], square(2)) and imported.account.left_out == []
    assert imported.account.ignored == ["x/a.xml", "y.xml", "z.xml"]


def test_another_size_and_a_missing_photo(tmp_path):
    photos, imported = read(tmp_path, {"a.xml": cvat(POLYGON.format(z=0), width=9), "a.png": picture()})
    assert same(photos["a.png"], None) and "says 9x6 pixels" in imported.refused[0]
    document = cvat(POLYGON.format(z=0), POLYGON.format(z=1), name="b.png")
    photos, imported = read(tmp_path, {"a.xml": document, "a.png": picture()})
    assert photos == {} and len(imported.account.left_out) == 2 and "missing" in imported.refused[0]


def test_points_of_skeletons_are_no_classes(tmp_path):
    labels = (
        "<meta><task><labels><label><name>person</name><type>skeleton</type></label>"
        "<label><name>nose</name><type>points</type><parent>person</parent></label>"
        "<label><name>cat</name></label></labels></task></meta>"
    )
    skeleton = '<skeleton label="person"><points label="nose" points="1,2"/></skeleton>'
    document = cvat(POLYGON.format(z=0), skeleton, labels=labels)
    photos, imported = read(tmp_path, {"a.xml": document, "a.png": picture()})
    assert imported.label_set.classes == ("background", "person", "cat")
    assert same(photos["a.png"], square(2))
    assert [entry.what for entry in imported.account.left_out] == ["skeleton 2 (person)"]


def test_photos_without_shapes_are_said_to_be_background(tmp_path):
    more = f'<image id="1" name="b.png" width="{WIDTH}" height="{HEIGHT}"></image>'
    document = cvat(POLYGON.format(z=0), more=more)
    photos, imported = read(tmp_path, {"a.xml": document, "a.png": picture(), "b.png": picture(1)})
    assert same(photos["b.png"], square(0))
    assert imported.account.notes == [
        "b.png is listed without annotations: it is background all over; delete such masks where nobody has looked "
        "for anything."
    ]
