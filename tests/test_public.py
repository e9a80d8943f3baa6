"""What is public is there under its name, and costs nothing until it is used."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import segdemo

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"tensorflow", "keras", "tensorflow_datasets"}


def loaded_by(code):
    """Top packages that are loaded after some code, in a fresh interpreter."""
    code = f"import sys, json; before = set(sys.modules); {code}; print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_to_import_it_loads_nothing_else():
    assert loaded_by("import segdemo") - sys.stdlib_module_names == {"segdemo"}


def test_what_is_not_of_training_loads_no_framework():
    names = [name for name, where in segdemo.PUBLIC.items() if not where.startswith("training")]
    assert {"predict", "evaluate", "curves", "TrainConfig"} <= set(names)
    used = "; ".join(f"segdemo.{name}" for name in names)
    assert not loaded_by(f"import segdemo; {used}") & FRAMEWORKS


def test_every_name_is_what_type_checkers_take_it_for():
    body = ast.parse((ROOT / "segdemo" / "__init__.py").read_text("utf-8")).body
    (block,) = [node for node in body if isinstance(node, ast.If)]
    where = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("segdemo"):
            for alias in node.names:
                where[alias.asname] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Assign):
            (targets,) = node.targets
            for target, value in zip(targets.elts, node.value.elts, strict=True):
                where[target.id] = f"{where[value.value.id]}.{value.attr}"
    where = {name: path for name, path in where.items() if not name.startswith("_")}
    assert where == {name: f"segdemo.{path.replace(':', '.')}" for name, path in segdemo.PUBLIC.items()}


def test_every_name_is_there():
    assert set(segdemo.__all__) == {"load", "open_dataset", *segdemo.PUBLIC}
    for name in segdemo.__all__:
        assert getattr(segdemo, name) is not None
        assert name in dir(segdemo)
    assert segdemo.batches is sys.modules["segdemo.training.pipeline"].build


def test_another_name_is_none():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = segdemo.lode
