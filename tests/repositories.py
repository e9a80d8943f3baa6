"""A repository in small, for tests of what a Space gets of one."""

import json

from segdemo.hosting import front_matter

FRONT = {
    "title": "Squares",
    "emoji": "🟦",
    "colorFrom": "blue",
    "colorTo": "gray",
    "sdk": "gradio",
    "sdk_version": "6.1.0",
    "python_version": "3.12",
    "app_file": "app.py",
    "license": "mit",
    "short_description": "Squares in photos",
}
SERVING = {
    *("README.md", "LICENSE", "app.py", "requirements.txt", "segdemo/__init__.py", "segdemo/ui/page.css"),
    *("weights/manifest.json", "weights/squares.md", "weights/squares.onnx", "weights/click.onnx"),
    "weights/features.onnx",
}
TRAINING = SERVING | {"segdemo/training/trainer.py", "weights/squares.weights.h5"}


def write_repository(root, **front):
    """Files that a Space gets and files that it does not; ``front`` changes the front matter."""
    models = {"squares": {"onnx": "squares.onnx", "weights": "squares.weights.h5"}}
    clicks = {"click": {"onnx": "click.onnx", "weights": ""}}
    manifest = {"models": models, "clicks": clicks, "features": {"onnx": "features.onnx"}}
    texts = {
        "README.md": front_matter.written({**FRONT, **front}) + "\n# Squares, at length\n",
        "pyproject.toml": '[project]\nrequires-python = ">=3.11,<3.14"\n',
        "requirements.txt": "gradio==6.1.0\nkeras==3.15.1\n",
        "requirements-serve.txt": "gradio==6.1.0\n",
        "app.py": "print('squares')\n",
        "LICENSE": "MIT",
        "segdemo/__init__.py": "",
        "segdemo/__pycache__/__init__.cpython-312.pyc": "bytes",
        "segdemo/ui/page.css": "b {}",
        "segdemo/ui/.env": "SECRET=1",
        "segdemo/ui/.env.json": "{}",
        "segdemo/.ipynb_checkpoints/page-checkpoint.py": "SECRET = 1",
        "segdemo/ui/page.css.orig": "b {}",
        "segdemo/training/trainer.py": "",
        "weights/manifest.json": json.dumps(manifest),
        "weights/squares.md": "# Squares",
        "weights/squares.onnx": "graph",
        "weights/click.onnx": "graph",
        "weights/features.onnx": "graph",
        "weights/forgotten.onnx": "graph",
        "weights/.private.md": "mine",
        "weights/squares.weights.h5": "float16",
        "weights/unshipped/more.weights.h5": "float16",
        "docs/picture.webp": "picture",
        "tests/test_app.py": "",
        ".git/config": "",
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    return root
