"""Makes a notebook of each page in ``walkthroughs``: ``python docs/notebooks.py``.

A page is the source. Its blocks of Python become cells of code, without results; what stands between them becomes cells
of text. ``tests/docs/test_walkthroughs.py`` checks that both agree, and runs the cells.
"""

import json
import re
from pathlib import Path
from typing import Any

PAGES = Path(__file__).resolve().parent / "walkthroughs"


def cells(page: str) -> list[tuple[str, str]]:
    """``("markdown" or "code", text)`` of each part of a page, in order, without the fences around code."""
    parts = re.split(r"^```python\n(.*?)^```\n", page, flags=re.M | re.S)
    kinds = ("code" if n % 2 else "markdown" for n in range(len(parts)))
    return [(kind, part.strip()) for kind, part in zip(kinds, parts, strict=True) if part.strip()]


def notebook(page: str) -> dict[str, Any]:
    """The notebook of a page, nbformat 4.5, as ``json`` writes it."""
    made = []
    for number, (kind, text) in enumerate(cells(page), 1):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(True)}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def text_of(page: str) -> str:
    """What is written as the notebook of a page."""
    return json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the notebook beside each page."""
    for page in sorted(PAGES.glob("*.md")):
        page.with_suffix(".ipynb").write_text(text_of(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
