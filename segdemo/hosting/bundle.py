"""What a Space gets: the files that serving needs, and with training also what that needs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segdemo.core.settings import PACKAGE
from segdemo.hosting import front_matter
from segdemo.hosting.front_matter import HostingError
from segdemo.zoo.served import Manifest

ROOT = PACKAGE.parent
MOST_BYTES = 10**9  # what the repository of a Space may hold
SERVING, TRAINING = "requirements-serve.txt", "requirements.txt"
CODE = ("*.py", "*.js", "*.css", "*.html", "*.json", "*.jpg", "*.onnx", "py.typed")
_README = """
# {title}

{short_description}: models trained with Keras 3, served by ONNX Runtime. Each visitor has
collections, runs and models of their own, unless the settings of this Space say otherwise{training}.
"""


@dataclass(frozen=True)
class Bundle:
    """The files of a Space.

    Attributes:
        files: path in the Space, with slashes, to the file here or to what it holds.
    """

    files: Mapping[str, Path | bytes]

    def sizes(self) -> dict[str, int]:
        """Path to bytes, in the order of paths."""
        return {
            path: len(file) if isinstance(file, bytes) else file.stat().st_size
            for path, file in sorted(self.files.items())
        }

    def write_to(self, folder: Path) -> None:
        """Put all files below a folder, which is made if need be."""
        for path, file in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file if isinstance(file, bytes) else file.read_bytes())


def bundle(train: bool = False, root: Path | None = None) -> Bundle:
    """What a Space gets of a repository.

    Args:
        train: also what training needs: its code, packages, and the weights to go on from.
        root: the repository; None is that of the program.

    Raises:
        HostingError: it is not all there, its front matter is not right, or it is too large.
    """
    root = root or ROOT
    requirements = TRAINING if train else SERVING
    for name in ("app.py", "README.md", "LICENSE", "pyproject.toml", requirements):
        if not (root / name).is_file():
            raise HostingError(
                f"Run deploy from the repository, not from an installed package: there is no {name} in {root}."
            )
    front = front_matter.read(root / "README.md")
    front_matter.check(front, root, _pinned_gradio(root / requirements))
    front["hf_oauth"] = True  # by it a visitor's workspace lasts, and SEGDEMO_TRAINING=users needs it
    front["hf_oauth_expiration_minutes"] = (
        14 * 24 * 60
    )  # as long as Gradio's cookie; the Hub's default is eight hours
    readme = front_matter.written(front) + _README.format(
        **front, training="; who may train in it, its settings say" if train else ", and training is off"
    )
    files: dict[str, Path | bytes] = {
        "README.md": readme.encode(),
        "requirements.txt": root / requirements,
        "app.py": root / "app.py",
        "LICENSE": root / "LICENSE",
    }
    for path in (*_code(root / "segdemo", train), *_weights(root / "weights", train)):
        files[path.relative_to(root).as_posix()] = path
    made = Bundle(files)
    if (total := sum(made.sizes().values())) > MOST_BYTES:
        raise HostingError(f"A Space holds up to {MOST_BYTES / 1e9:g} GB, and this is {total / 1e9:.1f} GB.")
    return made


def _pinned_gradio(requirements: Path) -> str:
    found = re.search(r"^gradio==(\S+)", requirements.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise HostingError(f"Pin Gradio in {requirements.name}: a line gradio==VERSION is missing.")
    return found[1]


def _code(package: Path, train: bool) -> Iterator[Path]:
    for pattern in CODE:
        for path in package.rglob(pattern):
            inside = path.relative_to(package).parts
            if _is_sent(path, package) and (train or inside[0] != "training"):
                yield path


def _weights(folder: Path, train: bool) -> Iterator[Path]:
    """What the manifest names, and the cards."""
    manifest = Manifest.read(folder / "manifest.json")
    yield folder / "manifest.json"
    yield from (card for card in folder.glob("*.md") if _is_sent(card, folder))
    features = [manifest.features] if manifest.features else []
    for entry in (*manifest.models.values(), *manifest.clicks.values(), *features):
        for name in (entry["onnx"], entry.get("weights") if train else None):
            if not name:
                continue
            if Path(name).name != name or not _is_sent(folder / name, folder):
                raise HostingError(
                    f"Put {name} into {folder}: its manifest names it, and there is no such file, or it is hidden or "
                    "a link."
                )
            yield folder / name


def _is_sent(path: Path, root: Path) -> bool:
    """Whether a path is a file that neither is hidden or a link nor lies in a folder below ``root`` that is."""
    below = [path, *(parent for parent in path.parents if parent.is_relative_to(root) and parent != root)]
    return path.is_file() and not any(part.name.startswith(".") or part.is_symlink() for part in below)
