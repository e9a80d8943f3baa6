"""Kinds of cases: how one is made from sound files, and who reads it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segdemo.annotations.store import AnnotationStore
from segdemo.annotations.transfer import read_classes
from segdemo.core import faithful, settings
from segdemo.core.label_maps import decode_png
from segdemo.core.labels import VOC
from segdemo.core.photos import is_plain_jpeg, photo_orientation, read_photo
from segdemo.data.check import check
from segdemo.data.datasets import mask_values
from segdemo.data.formats import import_folder, import_zip
from segdemo.data.sources import find_datasets
from segdemo.errors import UserError
from segdemo.inference.predict import Predictor
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs
from segdemo.zoo.served import read_manifest, served_models
from segdemo.zoo.versions import ModelStore
from tests.fuzz import making, mutating

KINDS = ("photos", "masks", "archives", "json", "runs", "manifests", "weights")


def made(kind: str, random: Any) -> dict[str, bytes]:
    """The files of a case, by name."""
    sources = {
        "photos": (making.photos, mutating.damaged_picture),
        "masks": (making.masks, mutating.damaged_picture),
        "archives": (making.archives, mutating.damaged_zip),
        "runs": (making.runs, None),
        "manifests": (making.models, None),
        "weights": (making.weights, mutating.damaged),
    }
    if kind == "json":
        folder = random.choice((making.documents, making.documents, making.collections))
        sources["json"] = folder, None
    make, damage = sources[kind]
    found = make()
    name = random.choice(sorted(found))
    if damage is None:
        others = [data for files in found.values() for data in files.values()]
        return mutating.damaged_folder(random, found[name], others)
    others = [data for files in found.values() for data in files.values()]
    return {file: damage(random, data, others) for file, data in found[name].items()}


@dataclass
class Readers:
    """What reads the files of a case, which lie in ``folder``; each returns whether anything could be read.

    Everything a reader refuses it refuses with a ``UserError``, which ``attempt`` counts.
    """

    folder: Path
    refusals: list[str]

    def attempt(self, function, *args, **options):
        """What a function returns, or None if it refuses."""
        try:
            return function(*args, **options)
        except UserError as error:
            self.refusals.append(str(error))
            return None

    def photos(self):
        path = self.folder / making.CASE
        photo = self.attempt(read_photo, path)
        if photo is None:
            return
        assert photo.dtype == np.uint8 and photo.ndim == 3 and photo.flags.writeable
        self.attempt(photo_orientation, path)
        data = path.read_bytes()
        is_plain_jpeg(data)
        faithful.shown_alike(data)
        self.attempt(read_photo, path, draft_size=(20, 20))

    def masks(self):
        path = self.folder / making.CASE
        self.attempt(decode_png, path, VOC)
        self.attempt(decode_png, path)
        self.attempt(mask_values, path)

    def archives(self):
        self._imported(import_zip, self.folder / making.CASE)

    def json(self):
        if (self.folder / "collection.json").exists() or (self.folder / "Annotations").exists():
            self._store()
        else:
            self._imported(import_folder, self.folder)
        for path in sorted(self.folder.glob("*.json")):
            self.attempt(read_classes, path)
        for dataset in find_datasets(self.folder):
            self.attempt(check, dataset)

    def _imported(self, function, path):
        for label_set in (None, VOC):
            imported = self.attempt(function, path, label_set)
            if imported is None:
                continue
            for annotation in imported.photos:
                label_map = annotation.label_map
                assert label_map is None or (label_map.dtype == np.uint8 and label_map.ndim == 2)
            self.refusals += imported.refused
            json.dumps(imported.account.to_json()).encode()

    def _store(self):
        root = settings.home() / "annotations"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.folder, root / "some")
        store = AnnotationStore(root)
        for collection in self.attempt(store.collections) or []:
            str(self.attempt(lambda c=collection: c.title))
        collection = self.attempt(store.open, "some")
        if collection is None:
            return
        self.attempt(lambda: collection.label_set)
        for sort in ("updated", "source"):
            self.attempt(collection.photos, sort=sort)
        for photo in (self.attempt(collection.photos) or _NONE).photos:
            self.attempt(collection.load, photo.id)
            self.attempt(collection.thumbnail, photo.id)
            self.attempt(collection.image, photo.id)
        for _ in self.attempt(lambda: list(collection.annotations())) or ():
            pass
        self.attempt(collection.fingerprint)
        self.attempt(collection.dataset)
        self.attempt(store.tidy)

    def runs(self):
        root = settings.home() / "runs"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.folder, root / "20260101-000000-abcdef")
        runs = Runs(root, Policy(), ["false"])
        for run in self.attempt(runs.list) or ():
            repr(run)
            self.attempt(runs.follow, run.id)
            self.attempt(runs.settings_of, run.id)
            self.attempt(runs.cancel, run.id)
        self.attempt(runs.tidy)

    def manifests(self):
        root = settings.models_dir()
        shutil.rmtree(root, ignore_errors=True)
        for entry in (self.attempt(read_manifest, self.folder / "manifest.json") or {}).values():
            self.attempt(Predictor, entry)
        (root / "hand").mkdir(parents=True)
        for path in self.folder.iterdir():
            if path.is_file():
                shutil.copyfile(path, root / "hand" / path.name)
        for entry in served_models().values():
            json.dumps(self.attempt(entry.to_json))
        store = ModelStore(root)
        if self.attempt(store.install, self.folder, "mine") is not None:
            self.attempt(store.promote, "mine", 1)
        # A manifest of versions that is damaged.
        own = root / "mine" / "manifest.json"
        if own.is_file():
            random = np.random.default_rng(own.stat().st_size)
            data = json.loads(own.read_text())
            keys = list(data)
            data[keys[random.integers(len(keys))]] = mutating.VALUES[random.integers(len(mutating.VALUES))]
            own.write_text(json.dumps(data))
        for name in self.attempt(store.names) or ():
            self.attempt(store.versions, name)
            self.attempt(store.current, name)
        served_models()
        self.attempt(store.tidy)

    def weights(self):
        from segdemo.training.architectures.torch_files import read_state_dict

        for path in self.folder.iterdir():
            if path.suffix == ".pth":
                self.attempt(read_state_dict, path)
                continue
            manifest = json.loads(making.models()["named"]["manifest.json"])
            (entry,) = manifest["models"].values()
            entry |= {"onnx": path.name, "onnx_sha256": making.checksum(path)}
            (self.folder / "manifest.json").write_text(json.dumps(manifest))
            (entry,) = read_manifest(self.folder / "manifest.json").values()
            predictor = self.attempt(Predictor, entry)
            if predictor is not None:
                self.attempt(predictor, np.zeros((40, 50, 3), np.uint8))
            break


class _NONE:
    photos = ()
