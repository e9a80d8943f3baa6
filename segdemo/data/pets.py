"""Oxford-IIIT Pet: Parkhi et al., "Cats and Dogs" (CVPR 2012).

``images`` and ``annotations/trimaps`` (1 = foreground, 2 = background, 3 = border).
"""

from pathlib import Path

from segdemo.core import names
from segdemo.core.labels import PETS
from segdemo.data import folders
from segdemo.data.datasets import Dataset, DatasetError
from segdemo.data.splits import stratified

KIND = "pets"
OWNED = ("images", "annotations")  # folders in its root


def recognises(folder: Path) -> bool:
    """Whether a folder is the root of a Pets folder."""
    trimaps = names.child(names.child(folder, "annotations"), "trimaps")
    return trimaps.is_dir() and names.child(folder, "images").is_dir()


def find(root: Path) -> Path | None:
    """The Pets folder in or near a folder, or None."""
    candidates = [root, root / "oxford-iiit-pet", root / "oxford_iiit_pet"]
    if root.is_dir():
        candidates += folders.below(root)
    return next((folder for folder in candidates if recognises(folder)), None)


def open_in(root: Path) -> Dataset:
    """The Pets folder in or near a folder; see ``sources.open_dataset`` for its subsets. Raises DatasetError."""
    folder = find(root)
    if folder is None:
        raise DatasetError(
            f"There is no Oxford-IIIT Pet in {root}: give the folder with images and annotations/trimaps."
        )
    photos = folders.photos(names.child(folder, "images"))
    trimaps = names.child(names.child(folder, "annotations"), "trimaps")
    masks = folders.masks(trimaps)
    everything = tuple(sorted(photos.keys() & masks.keys()))
    official = [names.child(trimaps.parent, name) for name in ("trainval.txt", "test.txt")]
    if all(path.is_file() for path in official):
        trainval, test = (folders.read_list(path, folders.known(photos, masks)) for path in official)
        everything = (*trainval, *test)
    else:
        trainval, test = stratified(everything, 1 / 5, breed)
    train, val = stratified(trainval, 1 / 10, breed)
    splits = {"train": train, "val": val, "test": test, "trainval": trainval, "all": everything}
    paths: dict[str, tuple[Path, Path | None]] = {
        id_: (photos.get(id_, folder / "images" / f"{id_}.jpg"), masks.get(id_, trimaps / f"{id_}.png"))
        for id_ in everything
    }
    return Dataset("pets", folder, PETS, splits, paths)


def breed(pet_id: str) -> str:
    """The breed in a Pets file name: ``"great_pyrenees_175"`` is a ``"great_pyrenees"``."""
    return pet_id.rpartition("_")[0] or pet_id
