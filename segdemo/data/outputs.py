"""Where the command line writes: nothing that is read is written over, and no two results share a name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from segdemo.core import names
from segdemo.data.sources import dataset_of
from segdemo.errors import UserError


class OutputError(UserError):
    """Results cannot go where they are to go; the message is one sentence that says what to do."""


def photos_in(paths: Iterable[Path]) -> list[Path]:
    """The photos that a person means by files and folders, each once, in their order.

    Args:
        paths: files, taken whatever their ending, and folders, of which photos are taken and hidden files left.

    Raises:
        OutputError: a folder, or all of it, holds no photo.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = [p for p in names.photos_in(path) if not p.is_dir()]
        else:
            inside = [] if names.is_system(path.name) else [path]
        if not inside and path.is_dir():
            raise OutputError(f"There is no photo in {path}: give a folder with JPEG, PNG or WebP files.")
        for photo in inside:
            found.setdefault(photo.absolute(), photo)
    if not found:
        raise OutputError(
            "There is no photo among these files: give JPEG, PNG or WebP files, or their folder."
        )
    return list(found.values())


def results(
    photos: Sequence[Path],
    out: Path,
    suffixes: Mapping[str, str],
    ours: bool = False,
    wanted: Iterable[Path] | None = None,
) -> list[tuple[Path, dict[str, Path]]]:
    """Where several kinds of results of each photo go: ``<stem><suffix>`` in ``out``.

    Args:
        photos: paths of the inputs.
        out: folder of the results; it need not exist.
        suffixes: of each kind; that of label maps is called ``"label_map"``.
        ours: whether ``out`` is known to hold results of an earlier run, which may be replaced.
        wanted: those of the photos whose results are to be written now, by whoever shares them with others; None for
            all.

    Returns:
        (photo, {kind: path}) of each photo that is wanted.

    Raises:
        OutputError: a result would replace a photo, a mask of a dataset, or another result.
    """
    found = [
        (photo, {kind: out / f"{photo.stem}{suffix}" for kind, suffix in suffixes.items()})
        for photo in photos
    ]
    refuse_same_names([(photo, path) for photo, files in found for path in files.values()])
    refuse_overwriting([path for _, files in found for path in files.values()], photos)
    if wanted is not None:
        now = {*wanted}
        found = [(photo, files) for photo, files in found if photo in now]
    dataset = dataset_of(out)
    for _, files in found:
        label_map = files.get("label_map")
        for kind, path in files.items():
            if ours or not path.exists():
                continue
            if dataset:
                raise OutputError(f"{path} is there already, in the dataset {dataset}: choose another --out.")
            if kind == "label_map":
                if _is_picture_of_its_own(path):
                    raise OutputError(
                        f"{path} is there already and is no label map: choose another --out, or move it."
                    )
            elif label_map is None or not label_map.exists():  # runs write both
                raise OutputError(
                    f"{path} is there already and is of no earlier run: choose another --out, or move it."
                )
    return found


def refuse_same_names(results: Iterable[tuple[Path, Path]]) -> None:
    """Raise OutputError if two results have one name, also to file systems that ignore case or compose letters.

    Args:
        results: (path of the input, path of the result) pairs, those of a folder together.
    """
    taken: dict[str, tuple[Path, Path]] = {}
    for source, path in results:
        key = names.key(str(path))
        if key in taken:
            other, first = taken[key]
            if first == path:
                what = f"would both be written as {path.name}"
            else:
                what = f"would be written as {first.name} and {path.name}, which many disks take for one name"
            raise OutputError(f"{other} and {source} {what}: rename one.")
        taken[key] = source, path


def refuse_overwriting(targets: Iterable[Path], sources: Iterable[Path]) -> None:
    """Raise OutputError if a file to be written is one that is read, by whatever path, link or spelling.

    Args:
        targets: paths to be written, which need not exist. sources: paths that are read.
    """
    read = {identity: source for source in sources for identity in _identities(source)}
    for target in targets:
        for identity in _identities(target):
            if identity in read:
                raise OutputError(f"{read[identity]} would be replaced by {target}: choose another --out.")


def refuse_one_file(targets: Iterable[Path]) -> None:
    """Raise OutputError if two of the files to be written are one, by whatever path, link or spelling, or if one is
    there already and is no file.

    Args:
        targets: paths to be written, which need not exist.
    """
    taken: dict[str | tuple[int, int], Path] = {}
    for target in targets:
        if target.exists() and not target.is_file():
            raise OutputError(f"{target} is no file that can be written over: give the path of one.")
        known = {*_identities(target), names.key(str(target.resolve()))}
        if other := next((taken[one] for one in known if one in taken), None):
            raise OutputError(f"{other} and {target} would be one file: give each a name of its own.")
        taken |= dict.fromkeys(known, target)


def refuse_dataset(out: Path | str, *roots: Path | str) -> None:
    """Raise OutputError if ``out`` is, or lies in, a dataset's own folders or one of the datasets that are read.

    Args:
        out: the folder to be written. roots: of datasets that are read.
    """
    for root in roots:
        if _is_same(Path(out), Path(root)):
            raise OutputError(f"{out} is the dataset that is read: choose another --out.")
    if (dataset := dataset_of(out)) is not None:
        raise OutputError(f"{out} is a folder of the dataset in {dataset}: choose another --out.")


def refuse_run_over(out: Path | str, sources: Iterable[Path | None]) -> None:
    """Raise OutputError if a run in ``out`` would write over a model that it starts from.

    Args:
        out: the run directory. sources: paths of files or folders that the run reads; None among them is passed over.
    """
    for source in filter(None, sources):
        folder = source.parent if source.is_file() else source
        if _is_same(folder, Path(out)):
            raise OutputError(f"{out} holds {source.name}, which the run starts from: choose another --out.")


def _identities(path: Path) -> Iterator[str | tuple[int, int]]:
    """What tells whether two paths are one: where it leads to, and the file or folder itself where there is one."""
    yield str(path.resolve())
    try:
        status = path.stat()
    except OSError:
        return
    yield status.st_dev, status.st_ino


def _is_same(one: Path, other: Path) -> bool:
    return not {*_identities(one)}.isdisjoint(_identities(other))


def _is_picture_of_its_own(path: Path) -> bool:
    """Whether a file is there and is a picture, but none that an earlier run wrote: those are palettized PNGs."""
    try:
        with Image.open(path) as image:
            return image.mode != "P"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
