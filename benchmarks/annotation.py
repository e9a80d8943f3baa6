"""Actions and seconds to a good mask, by tool: a simulated annotator at the real canvas in headless Chromium.

    python benchmarks/annotation.py --images DIR --masks DIR [--things 20] [--goal 0.9] [--model click] [--json]

Photos and masks are those of ``segdemo clicks``. An action is a press of the mouse, with or without a drag, or a key,
that of the tool included. Each tool starts on an empty mask and ends at the goal, or after 100 actions:

- brush: a stroke of the largest brush that fits, along the middle of the largest error; the right button erases. A new
  size of the brush is an action too.
- polygon: the coarsest outline of the largest error that brings the goal, else within a pixel and a half; corners are
  actions, and closing is one. What it spills is left.
- superpixels: clicks in the middle of the largest error, Alt where there is too much, on a server that has no model.
- thing: the same with the model; Enter at the end is an action too.
- box: a box around the thing, drawn with the same tool and model, then as before.

Seconds are those of the machine, from the first press to the mask: a person's own time is not in them. Needs Playwright
and a Chromium (CHROMIUM names the executable). Run it with nothing else running.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import skimage.measure
import skimage.morphology
from scipy import ndimage

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
from segdemo.inference.click_protocol import iou  # noqa: E402

METHODS = ("brush", "polygon", "superpixels", "thing", "box")
MOST = 100  # actions
CLASS = 15  # of VOC: what is painted
TOLERANCES = (16, 12, 8, 6, 4, 3, 2, 1.5)  # pixels a polygon may be off, coarse to fine
ROUND = 1e-3  # a brush as large as the error's inner circle


class Annotator:
    """Works at one canvas towards one mask.

    Args:
        canvas: the driver of the canvas.
        case: what is meant.
        goal: IoU to reach.
    """

    def __init__(self, canvas, case, goal):
        self.canvas, self.case, self.goal = canvas, case, goal
        self.actions = 0

    def mask(self):
        """bool (H, W), what the canvas holds."""
        return self.canvas.labels() == CLASS

    def iou(self):
        return iou(self.case.truth, self.mask(), self.case.counts)

    def press(self, *keys):
        self.actions += len(keys)
        self.canvas.press(*keys)

    def largest_error(self):
        """(bool (H, W), whether it is missing): the error with the largest circle in it."""
        mask = self.mask()
        found = []
        for missing, wrong in ((True, self.case.truth & ~mask), (False, mask & ~self.case.truth)):
            wrong = wrong & self.case.counts
            depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
            middle = np.unravel_index(int(depth.argmax()), depth.shape)
            numbers, _ = ndimage.label(wrong)
            found.append((depth[middle], numbers == numbers[middle], missing))
        _, error, missing = max(found, key=lambda f: f[0])
        return error, missing

    def brush(self):
        self.press("b")
        size = None
        while self.actions < MOST and self.iou() < self.goal:
            error, missing = self.largest_error()
            depth = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
            wanted = max(1, int(2 * 0.8 * depth.max()))
            if size is None or not 0.7 < wanted / size <= 1.1:
                size = wanted
                self.actions += 1
                self.canvas.js("canvas.editor.setSize(argument)", size)
                size = self.canvas.js("canvas.editor.e.size")
            self.actions += 1
            self.stroke(path_within(error, depth, size / 2), "left" if missing else "right")

    def stroke(self, points, button):
        mouse, at = self.canvas.page.mouse, self.canvas.at
        mouse.move(*at(*points[0]))
        mouse.down(button=button)
        for point in points[1:]:
            mouse.move(*at(*point))
        mouse.up(button=button)

    def polygon(self):
        self.press("p")
        while self.actions < MOST and self.iou() < self.goal:
            missing = self.case.truth & ~self.mask() & self.case.counts
            numbers, count = ndimage.label(missing)
            if not count:
                return
            sizes = np.bincount(numbers.ravel())[1:]
            part = ndimage.binary_fill_holes(numbers == 1 + int(sizes.argmax()))
            corners = self.outline(part)
            if corners is None:
                return
            for x, y in corners:
                self.actions += 1
                self.canvas.page.mouse.click(*at_corner(self.canvas, x, y))
                self.canvas.page.wait_for_timeout(350)  # a double click closes
            self.press("Enter")

    def outline(self, part):
        """Corners (x, y) of the coarsest polygon that brings the goal, or the finest."""
        contours = skimage.measure.find_contours(np.pad(part, 1).astype(float), 0.5)
        contour = max(contours, key=len) - 0.5  # of pixels' corners
        before, corners = self.mask(), None
        for tolerance in TOLERANCES:
            polygon = skimage.measure.approximate_polygon(contour, tolerance)[:-1]
            if len(polygon) < 3:
                continue
            corners = np.clip(polygon[:, ::-1], 0, np.array(part.shape[::-1]) - 0.01)
            inside = skimage.measure.grid_points_in_poly(part.shape, polygon - 0.5)
            if iou(self.case.truth, before | inside, self.case.counts) >= self.goal:
                break
        return corners

    def superpixels(self):
        self.clicks(lambda: self.canvas.wait("true"))

    def thing(self, first=lambda: None):
        # The protocol clicks on whole pixels; the mask is there when no request is under way.
        self.clicks(lambda: self.canvas.wait("!canvas.editor.thing.selecting.isAsking()"), first)

    def box(self):
        rows, columns = np.nonzero(self.case.truth & self.case.counts)

        def around():
            self.actions += 1
            self.canvas.drag((columns.min(), rows.min()), (columns.max(), rows.max()))

        self.thing(around)

    def clicks(self, settle, first=lambda: None):
        from segdemo.core.clicks import next_click

        self.press("s")
        self.canvas.wait("canvas.editor.e.tool === 'thing'")
        first()
        settle()
        done = []
        while self.actions < MOST - 1 and self.iou() < self.goal:
            click = next_click(self.case.truth, self.mask(), self.case.counts, done)
            if click is None:
                break
            done.append(click)
            self.actions += 1
            keyboard = self.canvas.page.keyboard
            if not click.positive:
                keyboard.down("Alt")
            elif self.superpixel_session(done):
                keyboard.down("Shift")
            self.canvas.click(click.x, click.y)
            keyboard.up("Alt")
            keyboard.up("Shift")
            settle()
        self.press("Enter")

    def superpixel_session(self, done):
        """Whether a plain click would begin a new selection by colour."""
        return len(done) > 1 and not self.canvas.js("canvas.editor.thing.isLearned()")


def at_corner(canvas, x, y):
    """Page coordinates of a corner in pixels of the photo."""
    return canvas.at(x - 0.5, y - 0.5)


def path_within(error, depth, radius):
    """A stroke for a brush along the middle of an error: [(x, y), ...] where the brush fits, the longest way."""
    fits = depth >= radius * (1 - ROUND)
    numbers, _ = ndimage.label(fits, np.ones((3, 3)))
    deepest = np.unravel_index(int(depth.argmax()), depth.shape)
    room = numbers == numbers[deepest] if numbers[deepest] else depth == depth.max()
    line = skimage.morphology.skeletonize(room)
    rows, columns = np.nonzero(line if line.any() else room)
    if len(rows) < 3:
        return [(int(deepest[1]), int(deepest[0]))]
    ends = farthest(line, (rows[0], columns[0]))[-1]
    path = farthest(line, ends)
    step = max(1, len(path) // 60)
    return [(int(x), int(y)) for y, x in [*path[::step], path[-1]]]


def farthest(line, start):
    """The way from a cell of a skeleton to the one that is farthest along it: [(row, column), ...]."""
    came = {start: None}
    front = [start]
    last = start
    while front:
        last = front[0]
        following = []
        for row, column in front:
            for y in (row - 1, row, row + 1):
                for x in (column - 1, column, column + 1):
                    inside = 0 <= y < line.shape[0] and 0 <= x < line.shape[1]
                    if inside and line[y, x] and (y, x) not in came:
                        came[y, x] = (row, column)
                        following.append((y, x))
        front = following
    way = []
    while last is not None:
        way.append(last)
        last = came[last]
    return way[::-1]


def launch(cases, model):
    """A page with two canvases, with the model and without; returns (demo, url)."""
    import gradio as gr

    from segdemo.core.labels import VOC
    from segdemo.core.photos import Limits
    from segdemo.ui.clicks import Clicks
    from segdemo.ui.components.canvas import mask_canvas, payload
    from segdemo.ui.photos import PhotoCache
    from segdemo.zoo.clicks import click_model

    limits = Limits.from_env()
    clicks = Clicks(PhotoCache(limits), limits)
    if model != "click":
        from segdemo.inference.clicks import Clicker

        clicks._clicker = Clicker(click_model(model))
        clicks._model = lambda: clicks._clicker
    by_name = {case.name: (case, path) for case, path in cases}

    def show(text):
        name = text.rpartition(" ")[0]
        return payload(text, by_name[name][0].photo, VOC, mode="edit")

    with gr.Blocks() as demo:
        which = gr.Textbox(label="case", elem_id="case")
        learned = mask_canvas(
            on_save=lambda key, png, revision: {"revision": 1},
            on_select=lambda data: clicks._answer(lambda key: by_name[key.rpartition(" ")[0]][1], data),
            elem_id="learned",
        )
        which.submit(show, which, learned, show_progress="hidden")
        other = gr.Textbox(label="other", elem_id="other")
        plain = mask_canvas(on_save=lambda key, png, revision: {"revision": 1}, elem_id="plain")
        other.submit(show, other, plain, show_progress="hidden")
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True)
    return demo, url


def work(page, case, method, goal):
    """One thing by one tool: its actions, seconds and IoU."""
    from browser.canvas_driver import CanvasDriver

    which, box = ("plain", "other") if method == "superpixels" else ("learned", "case")
    canvas = CanvasDriver(page, page.locator(f"#{which} .sc"))
    key = f"{case.name} {method}"
    field = page.locator(f"#{box} textarea, #{box} input")
    field.fill(key)
    field.press("Enter")
    canvas.root.and_(page.locator(f'[data-ready="{key}"]')).wait_for(timeout=60000)
    canvas.press(*str(CLASS))
    annotator = Annotator(canvas, case, goal)
    if method in ("superpixels", "thing", "box"):
        canvas.press("s")
        page.wait_for_timeout(1500)  # superpixels, or the photo on the server, are made ready
    start = time.perf_counter()
    getattr(annotator, method)()
    seconds = time.perf_counter() - start
    reached = annotator.iou()
    return {"actions": annotator.actions, "seconds": round(seconds, 2), "iou": round(reached, 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--masks", required=True, type=Path)
    parser.add_argument("--things", type=int, default=20)
    parser.add_argument("--goal", type=float, default=0.9)
    parser.add_argument("--model", default="click")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    from chromium import launch as launch_chromium
    from playwright.sync_api import sync_playwright

    from segdemo.inference.click_protocol import cases

    everything = list(cases(options.images, options.masks))
    chosen = everything[:: max(1, len(everything) // options.things)][: options.things]
    found = [(case, next(options.images.glob(f"{case.name}.*"))) for case in chosen]
    results = []
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as playwright:
        os.environ["GRADIO_TEMP_DIR"] = cache
        demo, url = launch(found, options.model)
        chromium = launch_chromium(playwright)
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.locator("#learned .sc-stage").wait_for()
        for case, _ in found:
            for method in options.methods:
                results.append({"thing": case.name, "tool": method, **work(page, case, method, options.goal)})
                if not options.json:
                    print(
                        "{thing:28}{tool:14}{actions:5}{seconds:8.1f} s   IoU {iou:.3f}".format(**results[-1])
                    )
        chromium.close()
        with contextlib.redirect_stdout(sys.stderr):  # it says that it closes
            demo.close()
    summary = {}
    for method in options.methods:
        mine = [r for r in results if r["tool"] == method]
        summary[method] = {
            "actions": float(np.mean([r["actions"] for r in mine])),
            "median_actions": float(np.median([r["actions"] for r in mine])),
            "seconds": float(np.mean([r["seconds"] for r in mine])),
            "reached": sum(r["iou"] >= options.goal for r in mine),
        }
    if options.json:
        print(json.dumps({"goal": options.goal, "tools": summary, "things": results}))
        return
    print(
        f"\n{len(found)} things to IoU {options.goal}: actions (mean, median), seconds, how many reached it"
    )
    for method, row in summary.items():
        print(
            f"{method:14}{row['actions']:7.1f}{row['median_actions']:7.1f}{row['seconds']:8.1f}"
            f"{row['reached']:5} of {len(found)}"
        )


if __name__ == "__main__":
    main()
