"""Walls between the parts: what the web process loads, and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Every module belongs to one layer, and imports its own or a lower one. The Keras side is a world apart.
DATA = {"labels", "masks", "intake", "tiff", "faithful", "quiet", "settings", "files", "conventions", "names"}
UI = {"ui"}
KERAS = {
    "augment",
    "batches",
    "blockwise",
    "distil",
    "tflite",
    "facts",
    "pipeline",
    "models",
    "losses",
    "metrics",
    "train",
    "callbacks",
    "checkpoints",
    "export",
}
ENTRANCE = {"__main__"}  # the command line: loads what a command needs when it runs
FRAMEWORKS = {"tensorflow", "keras", "jax", "torch", "tensorflow_datasets", "tf2onnx"}


def modules():
    """Path of every module to the part of the package it belongs to."""
    package = ROOT / "segdemo"
    found = {path: path.relative_to(package).with_suffix("").parts[0] for path in package.rglob("*.py")}
    return {path: part for path, part in found.items() if part != "__init__"}


MODULES = modules()
WEB = set(MODULES.values()) - DATA - UI - KERAS - ENTRANCE


def tree(path):
    return ast.parse(path.read_text("utf-8"))


def imports(path):
    """Every module name in an import statement of a file, wherever it stands: ``a.b`` for ``from a import b``."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(path):
    """The parts of the package that a file imports."""
    names = (name.split(".") for name in imports(path))
    return {parts[1] for parts in names if parts[0] == "segdemo"} & set(MODULES.values())


def loaded_by(statement, cwd=ROOT):
    """Names of the modules that are loaded after a statement, in a fresh interpreter."""
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_web_process_loads_no_framework():
    loaded = loaded_by("import app")
    assert "gradio" in loaded
    assert "onnxruntime" in loaded
    assert not loaded & FRAMEWORKS


def test_predicting_on_the_command_line_loads_no_framework():
    loaded = loaded_by("import segdemo.__main__, segdemo.predict, segdemo.evaluate, segdemo.masks")
    assert not loaded & (FRAMEWORKS | {"gradio"})


def test_the_command_line_answers_without_loading_anything_heavy():
    loaded = loaded_by("from segdemo.__main__ import _parser; _parser()")
    assert not loaded & (FRAMEWORKS | {"gradio", "numpy", "onnxruntime", "matplotlib"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    part = MODULES[path]
    allowed = {
        **dict.fromkeys(DATA, DATA),
        **dict.fromkeys(WEB, DATA | WEB),
        **dict.fromkeys(UI, DATA | WEB | UI),
        **dict.fromkeys(KERAS, DATA | WEB | KERAS),
        **dict.fromkeys(ENTRANCE, DATA | WEB | KERAS),
    }[part]
    assert own_imports(path) <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_keras_side_names_a_framework(path):
    outside = {name.split(".")[0] for name in imports(path)}
    if MODULES[path] not in KERAS:
        assert not outside & FRAMEWORKS
    if MODULES[path] not in UI:
        assert not outside & {"gradio", "gradio_client"}


def test_no_circle_among_the_modules():
    graph = {}
    for path, part in MODULES.items():
        if part not in ("ui", "models"):
            graph.setdefault(part, set()).update(own_imports_at_the_top(path) - {part})
    seen = set()

    def visit(part, trail):
        assert part not in trail, f"circular import: {' -> '.join([*trail, part])}"
        if part not in seen:
            for below in graph.get(part, ()):
                visit(below, (*trail, part))
            seen.add(part)

    for part in graph:
        visit(part, ())


def own_imports_at_the_top(path):
    """Like ``own_imports``, without what functions import when they run."""
    names = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("segdemo.")} & set(MODULES.values())


@pytest.mark.parametrize("path", [*MODULES, ROOT / "app.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_no_lambda_layer_no_eval(path):
    names = {name.split(".")[0] for name in imports(path)}
    if path.name == "torch_files.py":  # reads PyTorch's files with an unpickler that calls nothing in them
        names.discard("pickle")
    assert not names & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr != "Lambda", f"{path}:{node.lineno} uses a Lambda layer"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert node.value.value is False
        if isinstance(node, ast.keyword) and node.arg == "safe_mode":
            assert node.value.value is True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"


def test_app_holds_no_tensor_code():
    assert {name.split(".")[0] for name in imports(ROOT / "app.py")} <= {"segdemo", "gradio", "os"}
