"""Walls between the parts: what the web process loads, and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = {"tensorflow", "keras", "jax", "torch", "tensorflow_datasets", "tf2onnx", "ray"}
MODULES = sorted((ROOT / "segdemo").rglob("*.py"))


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
    loaded = loaded_by(
        "import segdemo.cli, segdemo.inference.predict, segdemo.inference.evaluate, segdemo.core.label_maps"
    )
    assert not loaded & (FRAMEWORKS | {"gradio"})


def test_the_command_line_answers_without_loading_anything_heavy():
    loaded = loaded_by("from segdemo.cli import parser; parser()")
    assert not loaded & (FRAMEWORKS | {"gradio", "numpy", "onnxruntime", "matplotlib"})


def test_folders_import_as_the_contracts_of_pyproject_say():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


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
    assert {name.split(".")[0] for name in imports(ROOT / "app.py")} <= {"segdemo", "sys"}
