"""Sound files of every kind that the program reads, small: the material that is then damaged.

Every function gives names of cases to their files, which are names to bytes.
"""

import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from archive_files import blobs, examples, make_zip, picture
from drawn import encoded
from formats.test_hostile import DOCUMENTS, PHOTOS, TREE
from PIL import Image, ImageCms
from tiff_files import tiff_file, tiff_page
from tiny import bright, write_model
from torch_writing import write_state_dict

from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import sha256
from segdemo.core.label_maps import encode_png
from segdemo.core.labels import VOC
from segdemo.data.formats import EXPORT_FORMATS, export_zip

CASE = "case"  # the name of a case's only file


@cache
def photos():
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8))
    flat = Image.new("RGB", (300, 200), (200, 30, 30))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    odd = profile.replace(b"s\0R\0G\0B", b"o\0R\0G\0B")
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for name, image in (("rough", rough), ("flat", flat)):
        jpegs = {
            "baseline": {},
            "progressive": {"progressive": True},
            "restarts": {"restart_marker_rows": 1},
            "turned": {"exif": exif, "icc_profile": odd},
            "444": {"subsampling": 0, "optimize": True, "comment": b"a" * 40},
        }
        for option, options in jpegs.items():
            found[f"{name} {option}.jpg"] = encoded(image, "JPEG", **options)
        for mode in ("L", "CMYK"):
            for progressive in (False, True):
                key = f"{name} {mode} {progressive}.jpg"
                found[key] = encoded(image.convert(mode), "JPEG", progressive=progressive)
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            shown = (
                Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257) if mode == "I;16" else image
            )
            shown = shown if mode == "I;16" else image.convert(mode)
            found[f"{name} {mode}.png"] = encoded(shown, "PNG")
        found[f"{name} keyed.png"] = encoded(image.convert("P"), "PNG", transparency=3, exif=exif)
        found[f"{name} profile.png"] = encoded(image, "PNG", icc_profile=odd)
        for options in (
            {"lossless": True},
            {"quality": 50},
            {"quality": 50, "exif": exif, "icc_profile": odd},
        ):
            found[f"{name} {sorted(options)}.webp"] = encoded(image.convert("RGBA"), "WEBP", **options)
        found[f"{name} animated.webp"] = encoded(
            image, "WEBP", save_all=True, append_images=[image.rotate(180)]
        )
        found[f"{name} animated.gif"] = encoded(
            image, "GIF", save_all=True, append_images=[image.rotate(180)]
        )
        found[f"{name}.gif"] = encoded(image, "GIF")
        for mode in ("1", "L", "P", "RGB"):
            found[f"{name} {mode}.bmp"] = encoded(image.convert(mode), "BMP")
            if mode != "P":
                found[f"{name} {mode}.ppm"] = encoded(image.convert(mode), "PPM")
        for how in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "lzma", "zstd"):
            found[f"{name} {how}.tif"] = encoded(image, "TIFF", compression=how)
        for how in ("group3", "group4", "tiff_ccitt"):
            found[f"{name} {how}.tif"] = encoded(image.convert("1"), "TIFF", compression=how)
        for mode in ("L", "CMYK", "LAB", "RGBA", "F", "I"):
            shown = image.convert("L").convert(mode) if mode in "FI" else image
            found[f"{name} {mode}.tif"] = encoded(shown if mode in "FI" else image.convert(mode), "TIFF")
        found[f"{name}.avif"] = encoded(image, "AVIF", speed=10)
        found[f"{name} animated.avif"] = encoded(
            image, "AVIF", speed=10, save_all=True, append_images=[image.rotate(180)]
        )
    deep = rng.integers(0, 65536, (20, 30, 4), np.uint16)
    for n, options in enumerate(
        [
            {"compression": 8, "predictor": 2, "rows": 7},
            {"planar": 2, "tile": (16, 16)},
            {"extra": (1,), "compression": 8},
        ]
    ):
        found[f"deep {n}.tif"] = tiff_file(tiff_page(deep, **options), big=n == 1, endian="<>"[n % 2])
    found["float.tif"] = tiff_file(tiff_page(deep[..., :3].astype(np.float32), compression=8, predictor=3))
    found["ascii.ppm"] = b"P3\n# a\n3 2\n255\n" + b"1 2 3 4 5 6 7 8 9 " * 2
    found["deep.ppm"] = b"P6 4 4 1000\n" + bytes(range(96))
    return {name: {CASE: data} for name, data in found.items()}


@cache
def masks():
    label_map = blobs(VOC, 40, 30)
    palettized = encode_png(label_map, VOC)
    grey = Image.fromarray(label_map)
    found = {
        "palettized": palettized,
        "grey": encoded(grey, "PNG"),
        "few colours": encoded(Image.open(io.BytesIO(palettized)), "PNG", bits=4),
        "one bit": encoded(Image.fromarray(label_map > 0), "PNG"),
        "colours": encoded(Image.open(io.BytesIO(palettized)).convert("RGB"), "PNG"),
        "opacity": encoded(Image.open(io.BytesIO(palettized)).convert("RGBA"), "PNG"),
        "deep": encoded(Image.fromarray(label_map.astype(np.uint16)), "PNG"),
        **{format: encoded(grey, format) for format in ("TIFF", "BMP", "GIF")},
        "packed TIFF": encoded(grey, "TIFF", compression="tiff_lzw"),
    }
    return {name: {CASE: data} for name, data in found.items()}


@cache
def documents():
    """Folders with the documents of other tools, and of SegDemo's exports."""
    found = {}
    for name, text in DOCUMENTS.items():
        text = text.encode() if isinstance(text, str) else text
        files = {**PHOTOS, **TREE, name: text}
        found[name] = {n: d.encode() if isinstance(d, str) else d for n, d in files.items()}
    with tempfile.TemporaryDirectory() as folder:
        for format in EXPORT_FORMATS:
            path = export_zip(examples(VOC), Path(folder, "out.zip"), [format])
            with zipfile.ZipFile(path) as archive:
                found[format] = {n: archive.read(n) for n in archive.namelist()}
            path.unlink()
    return found


@cache
def archives():
    """ZIPs of ``documents``."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, files in documents().items():
            found[name] = {CASE: make_zip(Path(folder, "made.zip"), files).read_bytes()}
    return found


@cache
def collections():
    """The folder of an annotation store with one collection."""
    with tempfile.TemporaryDirectory() as folder:
        store = AnnotationStore(Path(folder, "store"))
        collection = store.create("Some", VOC)
        for n, annotation in enumerate(examples(VOC)):
            id_ = collection.add_photo(annotation.image, f"{n}.png")
            collection.save(id_, annotation.label_map, 0)
        collection.delete(id_)
        root = store.root / collection.name
        return {"collection": _files(root)}


@cache
def runs():
    """The folder of a run."""
    settings = {"model": "unet", "dataset": "pets", "data": "data", "epochs": 3, "batch": 2, "size": 64}
    events = [{"time": n, "event": "step", "epoch": 1, "step": n, "loss": 0.5} for n in range(9)]
    record = {"title": "A", "name": "a", "created": "2026-01-01T00:00:00+00:00", "user": "", "request": "r"}
    launch = {"pid": 999999, "started": 5, "time": 7.0}
    record |= {"key": "k", "queued": 1.5, "launches": [launch], "lineage": {"parent": "unet"}}
    scores = {"mean_iou": 0.5, "classes": {"pet": 0.5}}
    found = {}
    for state in ("queued", "running", "done", "failed", "cancelled"):
        status = {
            "state": state,
            "message": "So.",
            "epoch": 1,
            "epochs": 3,
            "step": 4,
            "steps": 9,
            "pid": 999999,
        }
        status |= {
            "heartbeat": 1.0,
            "images_per_second": 2.5,
            "eta_seconds": 7.0,
            "rss_mb": 99.0,
            "best": 0.4,
        }
        plain = {
            "config": settings,
            "status": status,
            "run": record,
            "report": {"before": scores, "after": scores},
        }
        found[state] = {f"{name}.json": json.dumps(data).encode() for name, data in plain.items()}
        found[state]["events.jsonl"] = "".join(json.dumps(event) + "\n" for event in events).encode()
        found[state]["train.log"] = b"=== trainer started\nEpoch 1\rEpoch 2\nsegdemo: It failed.\n"
    return found


@cache
def models():
    """A folder with what an exported run has: a graph, its manifest and a report."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), "tiny", VOC, *bright(21, 3, 0), metrics={"mean_iou": 0.4})
        report = {"before": {"mean_iou": 0.3}, "after": {"mean_iou": 0.4}}
        Path(folder, "report.json").write_text(json.dumps(report))
        shipped = _files(Path(folder))
    own = json.loads(shipped["manifest.json"])
    (entry,) = own["models"].values()
    entry["label_set"] = VOC.to_json()
    return {"named": shipped, "whole": {**shipped, "manifest.json": json.dumps(own).encode()}}


@cache
def weights():
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        rng = np.random.default_rng(0)
        state = {f"layer.{n}": rng.normal(size=(3, n + 1)).astype(np.float32) for n in range(4)}
        write_state_dict(path, state, ["layer.2"])
        found["torch"] = {"case.pth": path.read_bytes()}
    found["graph"] = {"case.onnx": models()["named"]["tiny.onnx"]}
    return found


def _files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def photo():
    """A small photo."""
    return picture()


def checksum(path):
    """SHA-256, for a manifest that tells the truth of a damaged graph."""
    return sha256(path)
