"""How much sooner and faster SegDemo answers than Keras does with the same weights.

    python benchmarks/latency.py [--model deeplabv3] [--repeats 15]

Each side runs in a process of its own, one after the other; nothing else should run. Three things are measured:

* one photo, uint8 array to label map of its own size, warm (median): ONNX Runtime as SegDemo serves it, against
  ``model.predict`` of the Keras model with plain dilated convolutions, same weights, same input size, neither with
  its outlines refined; then how long SegDemo takes with that;
* from process start to the first label map, without the page;
* from process start to the first label map through the page's own HTTP API, against the same page with Keras
  predicting in its process, and against Keras without any page.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = {"451x300": (300, 451), "4000x3000": (3000, 4000)}


def photo(height, width):
    """The cat that scikit-image carries, at another size: uint8 (height, width, 3)."""
    import importlib.util

    import numpy as np
    from PIL import Image

    path = Path(importlib.util.find_spec("skimage").origin).parent / "data" / "chelsea.png"
    return np.asarray(Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def timed(predict, repeats):
    """Median milliseconds of ``predict(photo)`` for each size of ``PHOTOS``, warm."""
    medians = {}
    for name, size in PHOTOS.items():
        image = photo(*size)
        predict(image)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            predict(image)
            times.append((time.perf_counter() - start) * 1000)
        medians[name] = statistics.median(times)
    return medians


def peak_rss_mb():
    """Largest memory this process ever had, in megabytes."""
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def serving(model, repeats):
    """Our side, without the page."""
    from segdemo.inference.predict import Predictor
    from segdemo.zoo import served_model

    predictor = Predictor(served_model(model))
    predictor(photo(*PHOTOS["451x300"]))
    first = time.time()
    plain = Predictor(served_model(model).unrefined())
    return {
        "first": first,
        "milliseconds": timed(lambda image: plain(image).label_map, repeats),
        "refined": timed(lambda image: predictor(image).label_map, repeats),
        "rss": peak_rss_mb(),
    }


def launch_page():
    """Start the page in this process: its address."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import app
    from segdemo.ui.page import launch_options

    return app.demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)[1]


def page(model, repeats):
    """Our side, through the page."""
    url = launch_page()
    import importlib.util

    import httpx

    path = Path(importlib.util.find_spec("skimage").origin).parent / "data" / "chelsea.png"
    with path.open("rb") as file:
        uploaded = httpx.post(f"{url}gradio_api/upload", files={"files": file}).json()[0]
    data = {"data": [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, model]}
    event = httpx.post(f"{url}gradio_api/call/segment", json=data).json()["event_id"]
    answer = httpx.get(f"{url}gradio_api/call/segment/{event}", timeout=60).text
    first = time.time()
    if "label_map" not in answer:
        raise RuntimeError(f"The page answered: {answer[:300]}")
    return {"first": first, "rss": peak_rss_mb()}


def keras_network(model):
    """The Keras model behind a served one, and its entry, after its first prediction."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from segdemo.training.architectures import build
    from segdemo.zoo import served_model

    entry = served_model(model)
    network = build(entry.architecture, len(entry.label_set), **entry.options)
    network.load_weights(entry.folder / entry.weights)
    network.predict(photo(*PHOTOS["451x300"])[None], verbose=0)
    return network, entry


def keras_page(model, repeats):
    """The other side as a web app: the page, and Keras in the same process."""
    launch_page()
    keras_network(model)
    return {"first": time.time(), "rss": peak_rss_mb()}


def keras_predict(model, repeats):
    """The other side: Keras on TensorFlow with its own dilated convolutions."""
    source, entry = keras_network(model)
    first = time.time()  # whoever wants the plain network only would not build it twice
    import keras
    import numpy as np
    from PIL import Image

    from segdemo.training.layers import AtrousConv2D, AtrousDepthwiseConv2D

    plain = {AtrousConv2D: keras.layers.Conv2D, AtrousDepthwiseConv2D: keras.layers.DepthwiseConv2D}
    network = keras.models.clone_model(
        source,
        clone_function=lambda layer: plain.get(type(layer), type(layer)).from_config(layer.get_config()),
        recursive=True,
    )
    network.set_weights(source.get_weights())

    def predict(image):
        height, width = image.shape[:2]
        scale = entry.long_side / max(height, width)
        size = [max(32, round(side * scale / 32) * 32) for side in (width, height)]
        resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        logits = network.predict(resized[None], verbose=0)
        full = keras.ops.image.resize(logits, (height, width), interpolation="bilinear")
        return keras.ops.convert_to_numpy(keras.ops.argmax(full[0], axis=-1)).astype(np.uint8)

    return {"first": first, "milliseconds": timed(predict, repeats), "rss": peak_rss_mb()}


SIDES = {"serving": serving, "page": page, "keras": keras_predict, "keras_page": keras_page}


def run(side, model, repeats):
    """One side in a fresh process: its results, with ``start`` the seconds from process start to first answer."""
    command = [sys.executable, __file__, "--side", side, "--model", model, "--repeats", str(repeats)]
    begun = time.time()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"The side {side!r} failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return {**result, "start": result["first"] - begun}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deeplabv3")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.model, options.repeats)))
        return
    run("serving", options.model, 1)  # warms the disk cache for all
    results = {side: run(side, options.model, options.repeats) for side in SIDES}
    ours, web, theirs, their_web = (results[side] for side in SIDES)
    ratios = {
        f"one photo of {name}": theirs["milliseconds"][name] / ours["milliseconds"][name] for name in PHOTOS
    }
    ratios["start to first label map"] = theirs["start"] / ours["start"]
    ratios["start to first label map, both with the page"] = their_web["start"] / web["start"]
    ratios["start to first label map, ours with the page, theirs without"] = theirs["start"] / web["start"]
    if options.json:
        print(json.dumps({"results": results, "ratios": ratios}, indent=1))
        return
    for name in PHOTOS:
        ms = theirs["milliseconds"][name], ours["milliseconds"][name]
        print(
            f"one photo of {name:10} Keras {ms[0]:8.1f} ms   SegDemo {ms[1]:8.1f} ms   {ms[0] / ms[1]:5.1f}x"
        )
        print(f"{'the same, refined':52} {ours['refined'][name]:8.1f} ms")
    starts = (("no page", theirs, ours), ("both with page", their_web, web), ("ours with page", theirs, web))
    for title, slow, fast in starts:
        ratio = slow["start"] / fast["start"]
        print(
            f"start, {title:17} Keras {slow['start']:8.2f} s    SegDemo {fast['start']:8.2f} s    {ratio:5.1f}x"
        )
    print(
        f"peak memory              Keras {their_web['rss']:8} MB   SegDemo {web['rss']:8} MB, with the page"
    )


if __name__ == "__main__":
    main()
