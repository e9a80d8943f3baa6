"""The mask canvas on a 12-megapixel photo: loading, brush strokes and saving, in headless Chromium.

    python benchmarks/canvas.py [--megapixels 12] [--json]

Drives the real component of a real Gradio page by real mouse events, and prints each time next to its budget. Needs
Playwright and a Chromium (CHROMIUM names the executable). Run it with nothing else running.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
BUDGETS = {
    "load_ms": 1000,
    "stroke_frame_median_ms": 16,
    "stroke_frame_p95_ms": 16,
    "stroke_commit_ms": 50,
    "zoom_frame_median_ms": 33,
    "save_ms": 1000,
}

# Times the work of each animation frame while the mouse moves: the canvas's own frame and the event handlers
# between two frames. It reads the canvas's clock, so an idle wait for the next frame does not count.
_WATCH = """(node) => {
  const canvas = node.maskCanvas, frames = [];
  let handlers = 0;
  const stage = node.querySelector(".sc-stage");
  let began = 0;
  stage.addEventListener("pointermove", () => { began = performance.now(); }, true);
  stage.addEventListener("pointermove", () => { handlers += performance.now() - began; });
  stage.addEventListener("pointerup", () => { began = performance.now(); }, true);
  stage.addEventListener("pointerup", () => { window.commit_of_canvas = performance.now() - began; });
  const record = () => {
    if (handlers > 0) frames.push(handlers + canvas.frameMilliseconds);
    handlers = 0;
    requestAnimationFrame(record);
  };
  requestAnimationFrame(record);
  window.frames_of_canvas = frames;
}"""


def make_scene(megapixels, rng):
    """A photo-like uint8 RGB image of 4:3 and a label map of a few large and many small regions."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / 97 + k) + np.cos(y / 61 + 2 * k) for k in range(3)]
    photo = np.stack(waves, -1) * 50 + 128 + rng.normal(0, 6, (height, width, 1))
    labels = np.zeros((height, width), np.uint8)
    for _ in range(60):
        cx, cy, radius = rng.integers(0, width), rng.integers(0, height), rng.integers(40, height // 5)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        labels[inside] = rng.integers(1, 21)
    return np.clip(photo, 0, 255).astype(np.uint8), labels


def launch(value_of):
    """A page with one canvas and a button that loads the photo; returns (demo, url)."""
    import gradio as gr

    from segdemo.ui.components.canvas import mask_canvas

    with gr.Blocks() as demo:
        button = gr.Button("load", elem_id="load")
        canvas = mask_canvas(on_save=lambda key, png, revision: {"revision": len(png)}, elem_id="canvas")
        button.click(value_of, None, canvas, show_progress="hidden")
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True)
    return demo, url


def measure(page, root):
    """Milliseconds of each thing a person waits for, and per frame while the mouse moves."""
    began = time.perf_counter()
    page.locator("#load").click()
    page.locator('#canvas .sc[data-ready="bench"]').wait_for(timeout=60000)
    times = {"load_ms": (time.perf_counter() - began) * 1000}
    page.wait_for_timeout(1500)  # the smaller copies of the photo are made after it is first shown
    root.evaluate(_WATCH)
    box = page.locator("#canvas .sc-stage").bounding_box()
    at = [
        (box["x"] + box["width"] * u, box["y"] + box["height"] * v)
        for u, v in ((0.1, 0.2), (0.9, 0.5), (0.2, 0.8))
    ]
    root.evaluate("(node) => node.maskCanvas.editor.setSize(120)")
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=60)
    page.mouse.up()
    times["stroke_commit_ms"] = page.evaluate("commit_of_canvas")
    strokes = page.evaluate("frames_of_canvas.splice(0)")
    times["stroke_frame_median_ms"] = float(np.median(strokes))
    times["stroke_frame_p95_ms"] = float(np.percentile(strokes, 95))
    zooms = []
    for _ in range(12):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(60)
        zooms.append(root.evaluate("(node) => node.maskCanvas.frameMilliseconds"))
    times["zoom_frame_median_ms"] = float(np.median(zooms))
    began = time.perf_counter()
    page.keyboard.press("Control+s")
    page.locator("#canvas .sc[data-saved]").wait_for(timeout=60000)
    times["save_ms"] = (time.perf_counter() - began) * 1000
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    from chromium import launch as launch_chromium
    from playwright.sync_api import sync_playwright

    from segdemo.core.labels import VOC
    from segdemo.ui.components.canvas import payload

    photo, labels = make_scene(options.megapixels, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as playwright:
        os.environ["GRADIO_TEMP_DIR"] = cache
        # Made before the clock starts: what is measured is the canvas, not the segmentation.
        value = payload("bench", photo, VOC, prediction=labels, mode="edit")
        demo, url = launch(lambda: value)
        chromium = launch_chromium(playwright)
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.locator("#canvas .sc-stage").wait_for()
        times = measure(page, page.locator("#canvas .sc"))
        chromium.close()
        demo.close()
    if options.json:
        print(json.dumps({"megapixels": options.megapixels, **times}))
        return
    print(f"mask canvas, {photo.shape[1]} x {photo.shape[0]} photo")
    for name, budget in BUDGETS.items():
        print(f"{name:26}{times[name]:9.1f}   budget {budget:5}   {times[name] / budget:.2f} of it")


if __name__ == "__main__":
    main()
