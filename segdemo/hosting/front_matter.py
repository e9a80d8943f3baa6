"""The front matter of README: what a Hugging Face Space is configured by.

See https://huggingface.co/docs/hub/spaces-config-reference.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import SpecifierSet

from segdemo.errors import UserError

COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST_DESCRIPTION = 60  # characters of short_description
_TEXTS = (
    *("title", "emoji", "license", "short_description"),
    *("app_file", "sdk", "sdk_version", "python_version"),
)


class HostingError(UserError):
    """A Space cannot be made as asked. The message is one sentence meant for the person who asked."""


def read(readme: Path) -> dict[str, Any]:
    """The front matter of a Markdown file, key to value. Raises HostingError."""
    found = re.match(r"---\n(.*?)\n---\n", readme.read_text("utf-8"), re.DOTALL)
    try:
        told = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        told = None
    if not isinstance(told, dict):
        raise HostingError(f"Begin {readme.name} with front matter between two lines of ---: there is none.")
    return told


def check(front: dict[str, Any], root: Path, gradio: str) -> None:
    """Raise HostingError unless the Hub would take this front matter, and it says what is so here.

    Args:
        front: as ``read`` gives it.
        root: the repository, whose ``pyproject.toml`` says which Pythons will do.
        gradio: the version of Gradio that is pinned.
    """
    for key in _TEXTS:
        # A version without quotes is a number to YAML, and 3.10 is 3.1 then.
        if not isinstance(front.get(key), str) or not front[key].strip():
            raise HostingError(f"Give README's front matter a text as {key}, in quotes if it is a number.")
    for key in ("colorFrom", "colorTo"):
        if front.get(key) not in COLORS:
            raise HostingError(f"Make {key} in README's front matter one of {', '.join(COLORS)}.")
    if front["sdk"] != "gradio":
        raise HostingError(f"Make sdk in README's front matter gradio, not {front['sdk']!r}.")
    if front["sdk_version"] != gradio:
        raise HostingError(
            f"Make sdk_version in README's front matter {gradio}, as the requirements pin Gradio, "
            f"not {front['sdk_version']}."
        )
    pythons = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    if not re.fullmatch(r"3\.\d+", front["python_version"]) or front["python_version"] not in SpecifierSet(
        pythons
    ):
        raise HostingError(
            f"Make python_version in README's front matter one of {pythons}, such as 3.12, "
            f"not {front['python_version']}."
        )
    if not (root / front["app_file"]).is_file():
        raise HostingError(f"Make app_file in README's front matter a file: there is no {front['app_file']}.")
    if front["emoji"].isascii():
        raise HostingError("Give README's front matter an emoji that is one.")
    if len(front["short_description"]) > LONGEST_DESCRIPTION:
        raise HostingError(
            f"Shorten short_description in README's front matter to {LONGEST_DESCRIPTION} characters."
        )


def written(front: dict[str, Any]) -> str:
    """Front matter as it stands at the beginning of a README."""
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n"
