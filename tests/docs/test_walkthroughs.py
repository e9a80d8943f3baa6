"""The walkthroughs run from their first cell to their last, in small, and each notebook is what its page says."""

import ast
import csv
import json
import re
import sys
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest
from drawn import draw_pets, draw_voc
from matplotlib.figure import Figure
from PIL import Image
from running import BREEDS

import segdemo
from segdemo import zoo
from segdemo.core.labels import VOC
from segdemo.runs import recipes

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import notebooks  # noqa: E402 - the script that makes them

PAGES = sorted(path.stem for path in notebooks.PAGES.glob("*.md"))
# What is other than in the notebook's first cell: options are added to its own, so that these are known to the builder.
SMALL = {
    "SIZE": 32,
    "BATCH": 2,
    "EPOCHS": 1,
    "STEPS": 2,
    "LONG_SIDE": 64,
    "ENCODER_WEIGHTS": None,
    "PASSES": 2,
}
OPTIONS = {
    "deeplabv3_voc": {"encoder": "mobilenet_v2", "aspp_filters": 8},
    "deeplabv3_multigrid_voc": {"encoder": "mobilenet_v2", "aspp_filters": 8},
    "fcn_voc": {"fc_filters": 8},
    "segnet_pets": {"width": 0.05},
    "unet_pets": {"filters": (4, 6), "bottleneck": 8},
    "unet_mobilenet_pets": {"decoder_filters": (8, 8, 8, 8)},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Kind of dataset to the folder of a drawn one."""
    folder = tmp_path_factory.mktemp("data")
    draw_voc(folder / "voc", VOC, train=4, extra=0, val=6)
    draw_pets(folder / "pets", BREEDS)
    return {kind: str(folder / kind) for kind in ("voc", "pets")}


def run(code, names):
    """Run a cell as a notebook does: what its last line is worth, if it is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_there_is_one_for_each_source():
    assert sorted(OPTIONS) == PAGES


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_walkthrough_runs(name, data, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    # Tracing would take longer than two steps do.
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    book = json.loads((notebooks.PAGES / f"{name}.ipynb").read_text("utf-8"))
    settings, *cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    names = {"__name__": "__main__"}
    exec(settings, names)
    assert names["EPOCHS"] >= 5 and names["STEPS"] is None  # the source's, not those of a test
    kind = name.rpartition("_")[2]
    changes = {key: value for key, value in SMALL.items() if key in names}
    options = {**names["OPTIONS"], **OPTIONS[name]}
    names.update(changes, DATA=data[kind], OUT=tmp_path / "out", OPTIONS=options)
    fetched = []
    monkeypatch.setattr(segdemo, "download", lambda *what: fetched.append(what))

    shown = []
    for code in cells:
        shown.append(run(code, names))
        if " = net.fit(" in code:
            trained = [np.array(w) for w in names["net"].get_weights()]
        elif "net.summary()" in code:
            fresh = [np.array(w) for w in names["net"].get_weights()]
    assert sum(isinstance(picture, Image.Image | Figure) for picture in shown) >= 5
    assert any((a != b).any() for a, b in zip(fresh, trained, strict=True))
    assert names["scores"].images == len(names["dataset"].samples("test"))
    assert 0 <= names["scores"].mean_iou <= 1
    assert names["history"].history["val_mean_iou"][0] >= 0
    assert fetched == [(kind, data[kind])]  # though the folder is there: a download may have broken off
    for log in (tmp_path / "out").glob("log.csv"):
        with log.open() as file:
            (row,) = csv.DictReader(file)
        assert float(row["loss"]) > 0


@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_is_what_its_page_says(name):
    text = (notebooks.PAGES / f"{name}.ipynb").read_text("utf-8")
    page = (notebooks.PAGES / f"{name}.md").read_text("utf-8")
    assert text == notebooks.text_of(page), "run python docs/notebooks.py"
    # No word of the page is lost: put together again, the cells are it.
    told = [f"```python\n{text}\n```" if kind == "code" else text for kind, text in notebooks.cells(page)]
    assert "\n\n".join(told) + "\n" == page


@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_is_one_of_format_4_5_without_results(name):
    book = json.loads((notebooks.PAGES / f"{name}.ipynb").read_text("utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    for cell in book["cells"]:
        common = {"cell_type", "id", "metadata", "source"}
        code = cell["cell_type"] == "code"
        assert code or cell["cell_type"] == "markdown"
        assert cell.keys() == common | ({"outputs", "execution_count"} if code else set())
        assert re.fullmatch(r"[\w-]{1,64}", cell["id"])
        assert all(isinstance(line, str) for line in cell["source"])
        assert not code or (cell["outputs"], cell["execution_count"]) == ([], None)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])


@pytest.mark.parametrize("name", PAGES)
def test_the_recipes_and_models_a_page_names_exist(name):
    page = (notebooks.PAGES / f"{name}.md").read_text("utf-8")
    assert "**In the source:**" in page
    named = re.findall(r"--recipe ([\w-]+)", page) + re.findall(r"the recipe `([\w-]+)`", page)
    assert all(recipe in recipes.RECIPES for recipe in named)
    models = re.findall(r'segdemo\.build\("(\w+)"', page) + re.findall(r"train --model (\w+)", page)
    assert models and all(model in zoo.SPECS for model in models)
    for link in re.findall(r"\]\((\w+\.md)\)", page):
        assert (notebooks.PAGES / link).is_file()
