"""Names of exported files: what stays as it is, what is changed, and that none comes twice."""

import unicodedata

import pytest

from segdemo.data.formats.naming import FALLBACK, Names, split_name, usable_stem

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


USABLE = (
    *("IMG_0001", "2007_000032", "v1.2", "photo.jpg", "100%", "a%20b", "it's-(2),a&b;c=d@e#f~g", "Straße"),
    *(COMPOSED, "日本語", "عکس", "👩\u200d🌾", "-dash", "_", "console", "com10", "x" * 150),
    "می\u200cشود",  # a non-joiner is part of Persian spelling
)


@pytest.mark.parametrize("stem", USABLE)
def test_a_usable_name_stays(stem):
    assert usable_stem(stem) == stem
    assert Names().take(stem) == stem


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("my photo 1", "my_photo_1"),
        ("two  \t spaces", "two_spaces"),
        ("no\u00a0break\u2003wide\u3000ideographic\u2028line", "no_break_wide_ideographic_line"),
        (" around ", "around"),
        (".hidden", "hidden"),
        ("...", FALLBACK),
        (". .name. .", "name"),
        ("trailing.", "trailing"),
        ("", FALLBACK),
        ("   ", FALLBACK),
        ('a<b>c:d"e/f\\g|h?i*j', "a_b_c_d_e_f_g_h_i_j"),
        ("bell\x07delete\x7fnext\x85", "bell_delete_next"),
        ("\udcff\ud800", "__"),
        ("gpj\u202efdp", "gpj_fdp"),
        ("CON", "_CON"),
        ("nul", "_nul"),
        ("Lpt1.backup", "_Lpt1.backup"),
        ("com¹", "_com¹"),
        ("AUX.", "_AUX"),
        (" prn ", "_prn"),
        (DECOMPOSED, COMPOSED),
        ("x" * 300, "x" * 150),
        ("é" * 300, "é" * 100),
        ("日" * 300, "日" * 66),
        ("👍" * 100, "👍" * 50),
        ("x" * 149 + ".y", "x" * 149),
    ],
)
def test_what_some_file_system_or_list_does_not_take_is_changed(stem, expected):
    assert usable_stem(stem) == expected
    assert usable_stem(expected) == expected


@pytest.mark.parametrize(
    ("source", "stem", "ending"),
    [
        ("IMG_0001.JPG", "IMG_0001", ".JPG"),
        ("a.jpeg", "a", ".jpeg"),
        ("scan.tar.png", "scan.tar", ".png"),
        ("photo.HEIC", "photo", ".HEIC"),
        ("day one/IMG_0001.jpg", "IMG_0001", ".jpg"),
        ("C:\\Users\\me\\IMG_0001.jpg", "IMG_0001", ".jpg"),
        ("noending", "noending", ""),
        ("v1.2", "v1.2", ""),
        ("Moritz in St. Moritz", "Moritz in St. Moritz", ""),
        (".jpg", "", ".jpg"),
        ("", "", ""),
        ("folder/", "", ""),
    ],
)
def test_only_the_ending_of_a_photo_is_one(source, stem, ending):
    assert split_name(source) == (stem, ending)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["IMG", "IMG", "IMG"], ["IMG", "IMG-2", "IMG-3"]),
        (["IMG", "img", "Img"], ["IMG", "img-2", "Img-3"]),
        ([COMPOSED, DECOMPOSED, COMPOSED.upper()], [COMPOSED, f"{COMPOSED}-2", f"{COMPOSED.upper()}-3"]),
        (["Straße", "STRASSE"], ["Straße", "STRASSE-2"]),
        (["a b", "a  b", "a_b", "a?b"], ["a_b", "a_b-2", "a_b-3", "a_b-4"]),
        (["", "...", "photo", "PHOTO"], ["photo", "photo-2", "photo-3", "PHOTO-4"]),
        (["a", "a", "a-2", "a"], ["a", "a-2", "a-2-2", "a-3"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["x" * 300, "x" * 200, "x" * 150], ["x" * 150, "x" * 148 + "-2", "x" * 148 + "-3"]),
        (["日" * 300, "日" * 200], ["日" * 66, "日" * 66 + "-2"]),
        (["CON", "con", "_con"], ["_CON", "_con-2", "_con-3"]),
    ],
)
def test_names_differ_on_every_file_system(wanted, expected):
    names = Names()
    given = [names.take(name) for name in wanted]
    assert given == expected
    keys = {unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold()) for name in given}
    assert len(keys) == len(given)
    assert [usable_stem(name) for name in given] == given


def test_many_equal_names_are_numbered_one_after_the_other():
    names = Names()
    assert [names.take("frame") for _ in range(2000)] == ["frame", *(f"frame-{i}" for i in range(2, 2001))]
