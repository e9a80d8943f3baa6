"""The recipes of CONTRIBUTING.md, followed: their files and rows go into a copy of the package, which is then used."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from drawn import save_mask, save_photo, scene
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
RECIPES = dict(
    re.findall(
        r"^## Add an? ([\w ]+)\n(.*?)(?=^## )", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S
    )
)
BLOCK = re.compile(r"^```python (file|row)=(\S+)(?: in=(\w+))?\n(.*?)^```$", re.M | re.S)


def with_row(source, table, block):
    """A module's source with a block in it: its imports among the others, the rest as the last row of a table."""
    imports = "".join(f"{line}\n" for line in block.splitlines() if line.startswith("from "))
    row = "\n".join(line for line in block.splitlines() if not line.startswith("from ")).strip().rstrip(",")
    for node in ast.parse(source).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(getattr(target, "id", None) == table for target in targets):
            rows = next(
                part for part in ast.walk(node.value) if isinstance(part, ast.Tuple) and len(part.elts) > 2
            )
            break
    lines = source.splitlines(keepends=True)
    last = rows.elts[-1]
    line = lines[last.end_lineno - 1].encode()
    lines[last.end_lineno - 1] = (
        line[: last.end_col_offset] + f",\n{row}".encode() + line[last.end_col_offset :]
    ).decode()
    first = next(
        node.lineno for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom))
    )
    return "".join([*lines[: first - 1], imports, *lines[first - 1 :]])


@pytest.fixture
def follow(tmp_path):
    """Function from a recipe's name to one that runs Python with the package that it leads to; one file, one row."""

    def followed(recipe):
        shutil.copytree(ROOT / "segdemo", tmp_path / "segdemo", ignore=shutil.ignore_patterns("weights"))
        (tmp_path / "weights").symlink_to(ROOT / "weights")
        blocks = BLOCK.findall(RECIPES[recipe])
        assert [kind for kind, *_ in blocks] == ["file", "row"]
        for kind, name, table, text in blocks:
            path = tmp_path / name
            if kind == "file":
                assert not path.exists()
                path.write_text(text, "utf-8")
                form = ["--config", ROOT / "pyproject.toml", path]
                for command in ("check", "format --check"):
                    subprocess.run([sys.executable, "-m", "ruff", *command.split(), "-q", *form], check=True)
            else:
                path.write_text(with_row(path.read_text("utf-8"), table, text), "utf-8")

        def python(*arguments):
            environment = {
                **os.environ,
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                "SEGDEMO_HOME": str(tmp_path / "home"),
            }
            command = [sys.executable, *map(str, arguments)]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return python

    return followed


def code(text):
    return textwrap.dedent(text)


def draw(folder, count):
    """Photos and masks of two classes in ``images`` and ``masks``, with ``classes.txt``."""
    for number in range(count):
        photo, mask = scene(number)
        save_photo(folder / "images" / f"{number}.png", photo)
        save_mask(folder / "masks" / f"{number}.png", mask)
    (folder / "classes.txt").write_text("background\ndisc\n")
    return folder


def test_an_architecture(follow):
    python = follow("architecture")
    # The command counts all there are, which takes a minute; here only the new one.
    python(
        "-c",
        code("""
            import json
            from segdemo import zoo
            before = zoo.architecture_facts()
            zoo.SPECS = {"linknet": zoo.SPECS["linknet"]}
            from segdemo.training import architectures, facts
            facts.write()
            written = json.loads(zoo.ARCHITECTURES.read_text())
            zoo.ARCHITECTURES.write_text(json.dumps({**before, **written}))
            logits = architectures.build("linknet", 5).predict(__import__("numpy").zeros((1, 50, 70, 3)), verbose=0)
            assert logits.shape == (1, 50, 70, 5)
        """),
    )
    listed = json.loads(python("-m", "segdemo", "models", "--json"))["architectures"]
    (row,) = (row for row in listed if row["name"] == "linknet")
    assert row["title"] == "LinkNet" and row["parameters"] > 100_000 and not row["trained"]


def test_a_layout(follow, tmp_path):
    python = follow("layout of datasets")
    folder = draw(tmp_path / "data" / "shapes", 30)
    (report,) = json.loads(python("-m", "segdemo", "data", "check", tmp_path / "data", "--json"))
    assert report["kind"] == "pairs" and not report["problems"]
    read = code(f"""
        from segdemo.data.sources import find_datasets, open_dataset
        dataset = open_dataset("pairs", {str(folder)!r})
        assert dataset == find_datasets({str(folder.parent)!r})[0]
        assert dataset.label_set.classes == ("background", "disc") and all(dataset.splits.values())
        print([(id_, int(label_map.sum())) for id_, _, label_map in dataset.pairs("all")])
    """)
    sums = dict(ast.literal_eval(python("-c", read)))
    assert sums == {str(number): int(scene(number)[1].sum()) for number in range(30)}
    learn = ["--model", "unet_plain", "--dataset", "pairs", "--data", folder, "--epochs", 1, "--size", 32]
    options = ["--set", 'options={"filters": [4], "bottleneck": 6}', "--batch", 8, "--no-export"]
    python("-m", "segdemo", "train", *learn, *options, "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"


def test_a_format(follow, tmp_path):
    python = follow("format of annotations")
    draw(tmp_path / "data", 3)
    python("-m", "segdemo", "annotations", "import", tmp_path / "data", "--into", "first")
    python("-m", "segdemo", "annotations", "export", "first", "--format", "rle", "--out", tmp_path / "out")
    table = next(path for path in (tmp_path / "out").rglob("rle.tsv"))
    assert table.read_text().count("\tdisc\t") == 3
    plain = tmp_path / "plain"  # as another tool would have written it
    shutil.copytree(tmp_path / "data" / "images", plain / "images")
    shutil.copy(table, plain)
    told = json.loads(python("-m", "segdemo", "annotations", "import", plain, "--into", "second", "--json"))
    assert told["annotations"] == {"read": 3, "painted": 3, "left_out": 0} and not told["ignored"]
    hostile = ["", "5", "-1 3", "a b", "1 99999999", "9 9 3 3", "1 -4", "9" * 30 + " 1"]
    table.write_text(
        "".join(f"{number % 3}.png\tdisc\t{pixels}\n" for number, pixels in enumerate(hostile)) + "x\n"
    )
    shutil.copy(table, plain)
    told = json.loads(python("-m", "segdemo", "annotations", "import", plain, "--into", "third", "--json"))
    assert told["annotations"]["painted"] == 0 and told["annotations"]["left_out"] >= len(hostile)
    masks = list((tmp_path / "home" / "annotations" / "second" / "SegmentationClass").glob("*.png"))
    seen = sorted(int((np.asarray(Image.open(path)) == 1).sum()) for path in masks)
    assert seen == sorted(int(scene(number)[1].sum()) for number in range(3))


def test_a_tab(follow):
    python = follow("tab")
    show = code("""
        import gradio as gr
        from segdemo.ui.page import build
        blocks = build().blocks.values()
        tabs = [block for block in blocks if isinstance(block, gr.Tab)]
        assert [tab.label for tab in tabs] == ["Segment", "Annotate", "Train", "Batch", "Video", "Zoo", "Classes"]
        (listing,) = (block for block in blocks if block.elem_id == "classes")
        assert listing in tabs[-1].children
        print(listing.value)
    """)
    assert "<b>DeepLabv3</b>: background, aeroplane" in python("-c", show)
