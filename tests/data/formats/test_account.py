"""The account of an import: numbers, sentences, and the table for spreadsheets."""

import csv
import io

from segdemo.data.formats import Account


def account():
    made = Account(archive="x.zip", photos=3, labelled=2, painted=4, classes_source="labels.txt")
    made.leave_out("i.json", "annotation 1", "has no segmentation.", "a.png")
    made.leave_out("i.json", "annotation 2", "the photo is missing, add it", "b.png", whole=True)
    made.leave_out("i.json", "annotation 3", "the photo is missing, add it", "b.png", whole=True)
    made.leave_out("=cmd()", "file", "has an unsafe name")
    made.add_duplicate("c.png", "d.png", "is the same photo")
    made.ignored = ["-x", "read.me"]
    return made


def test_reasons_of_a_whole_photo_are_said_once():
    assert account().sentences() == [
        "i.json, a.png: annotation 1 has no segmentation.",
        "i.json, b.png: the photo is missing, add it.",
        "=cmd(): file has an unsafe name.",
    ]
    assert (account().read, len(account().left_out)) == (8, 4)


def test_the_table_lists_everything_and_holds_no_formulas():
    head, *rows = csv.reader(io.StringIO(account().to_csv()))
    assert head == ["list", "file", "what", "why"]
    assert rows[0] == ["left out", "i.json", "annotation 1 of a.png", "has no segmentation"]
    assert rows[3][1] == "'=cmd()" and rows[5][1] == "'-x"
    assert [row[0] for row in rows] == ["left out"] * 4 + ["there already"] + ["nobody's"] * 2


def test_totals_are_sentences():
    said = " ".join(account().totals())
    assert said.startswith("2 labelled photos were imported. 1 photo without a label came with them.")
    assert "8 annotations read, 4 painted, 4 left out." in said and "There already: 1." in said
    assert Account(labelled=1, photos=1).totals()[0] == "1 labelled photo was imported."
