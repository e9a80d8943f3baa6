"""What the JavaScript tests of the learner of classes compare with: tests/js/teach.json, made by the Python code.

``PYTHONPATH=.:tests python tests/taught.py`` makes the file anew.
"""

import base64
import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core.labels import VOID
from segdemo.inference.features import CELL
from segdemo.inference.teach import Strokes, label_map, learn, probabilities, votes

FILE = Path(__file__).parent / "js" / "teach.json"
ROWS, COLUMNS, CHANNELS = 16, 24, 6
HEIGHT, WIDTH = 70, 101  # no multiples of the cells
STEPS = np.array([0.02, 0.02, 0.015, 0.03, 0.01, 0.025])
CASES = {"own": ("own", ()), "own and others": ("own", ("first", "second")), "others": ("none", ("first",))}


def photo(seed):
    """A photo of three regions, uint8 (HEIGHT, WIDTH, 3), and features of it that hardly tell two of them apart."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    region = np.where(np.hypot(x - 30 - 5 * seed, y - 33) < 21, 1, 0) + 2 * (x + y // 3 > 80)
    colours = np.array([(60, 120, 70), (150, 110, 60), (90, 90, 170), (90, 90, 170)])
    image = (colours[region] + rng.integers(-6, 7, (HEIGHT, WIDTH, 1))).clip(0, 255).astype(np.uint8)
    inside = region[(np.arange(ROWS) * HEIGHT + HEIGHT // 2) // ROWS][
        :, (np.arange(COLUMNS) * WIDTH + WIDTH // 2) // COLUMNS
    ]
    means = rng.integers(70, 180, (4, CHANNELS))
    features = (means[inside] + rng.integers(-25, 26, (ROWS, COLUMNS, CHANNELS))).astype(np.uint8)
    return image, features, region


def strokes(region, seed):
    """Lines through a photo of regions: uint8 (HEIGHT, WIDTH), classes 0, 5 and 9."""
    rng = np.random.default_rng(100 + seed)
    painted = np.full(region.shape, VOID, np.uint8)
    for y, x in zip(rng.integers(0, HEIGHT - 4, 9), rng.integers(0, WIDTH - 9, 9), strict=True):
        part = slice(y, y + 3), slice(x, x + 8)
        painted[part] = np.array([0, 5, 9, 9], np.uint8)[region[part]]
    return painted


def cases():
    """The content of the file, as JSON values: arrays as base64 of compressed bytes."""
    image, features, region = photo(1)
    painted = {"own": strokes(region, 1), "none": np.full_like(region, VOID, np.uint8)}
    others = {}
    for number, name in enumerate(("first", "second"), 2):
        _, of_other, regions = photo(number)
        # The same means for the same regions, so that the photos have something in common.
        others[name] = Strokes(
            (of_other // 2 + features // 2).astype(np.uint8), strokes(regions, number), name
        )
    size = COLUMNS, ROWS
    guide = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    found = []
    for name, (own, names) in CASES.items():
        all_strokes = [Strokes(features, painted[own], "here"), *(others[n] for n in names)]
        taught = learn(all_strokes, STEPS, here="here")
        likely = probabilities(taught, features, STEPS, painted[own])
        found.append(
            {
                "name": name,
                "own": own,
                "others": list(names),
                "classes": list(taught.classes),
                "weights": [[round(float(w), 4) for w in row] for row in taught.weights],
                "labels": packed(label_map(taught, likely, image)),
                "next": [round(p, 6) for p in least_sure(likely, painted[own])],
            }
        )
    return {
        "rows": ROWS,
        "columns": COLUMNS,
        "channels": CHANNELS,
        "height": HEIGHT,
        "width": WIDTH,
        "cell": CELL,
        "steps": STEPS.tolist(),
        "photo": packed(image),
        "guide": packed(np.asarray(guide)),
        "features": packed(features),
        "painted": {name: packed(one) for name, one in painted.items()},
        "others": {
            name: {"features": packed(one.features), "painted": packed(one.painted)}
            for name, one in others.items()
        },
        "cases": found,
    }


def least_sure(likely, painted=None):
    """Where to paint next: the middle of the cell around which the two likeliest classes are closest.

    Args:
        likely: float32 (h, w, K) of ``probabilities``. painted: strokes uint8 (H, W), or None.

    Returns:
        (x, y), 0..1 of the photo's width and height.
    """
    height, width = likely.shape[:2]
    best = np.partition(likely, -2, -1)[..., -2:]
    doubt = 1 - (best[..., 1] - best[..., 0]).astype(np.float64)
    if painted is not None:
        where = votes(np.where(painted == VOID, painted, np.uint8(0)), height, width, (0,))[..., 0]
        doubt *= where == 0
    padded = np.pad(doubt, 2)
    around = sum(padded[i : i + height, j : j + width] for i in range(5) for j in range(5))
    y, x = divmod(int(np.argmax(around)), width)
    return (x + 0.5) / width, (y + 0.5) / height


def packed(array):
    """uint8 as base64 of zlib's format."""
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()


def unpacked(text):
    """The inverse of ``packed``, flat."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


if __name__ == "__main__":
    FILE.write_text(json.dumps(cases(), indent=1) + "\n", "utf-8")
