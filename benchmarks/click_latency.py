"""From a click with Select thing to its mask on the screen, for one person and for several at once.

    python benchmarks/click_latency.py [--people 10] [--clicks 40] [--every 2] [--json]

One page and then ``--people`` pages of one headless Chromium, on the server's own processors, each with a photo of
12 megapixels (skimage's, enlarged). Everybody clicks some place, and then another place of the same thing, at irregular
moments, one click in ``--every`` seconds on the mean. Milliseconds run from the release of the button to the frame that
shows the mask. Goals: 100 ms at the 95th percentile for one, 300 ms for ten. Run it with nothing else running.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
MEGAPIXELS = 12
PHOTOS = ("coffee", "chelsea", "astronaut")
GOALS = {1: 100, 10: 300}
_CLICK = """async ([node, places, every]) => {
  const { editor } = node.maskCanvas, { thing } = editor, found = [];
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  for (const [n, place] of places.entries()) {
    await sleep(every * (0.5 + Math.random()));
    thing.selecting.milliseconds = 0;
    thing.down(place, {});
    thing.up();
    const late = performance.now() + 10000;
    while (!thing.selecting.milliseconds && performance.now() < late) await sleep(4);
    found.push(thing.selecting.milliseconds);
    if (n % 2 || !thing.selecting.session()) thing.drop();
  }
  return found;
}"""


def photos(folder):
    """Paths of the photos, enlarged."""
    import skimage.data
    from PIL import Image

    paths = []
    for name in PHOTOS:
        picture = Image.fromarray(getattr(skimage.data, name)())
        factor = (MEGAPIXELS * 1e6 / (picture.width * picture.height)) ** 0.5
        size = (round(picture.width * factor), round(picture.height * factor))
        paths.append(folder / f"{name}.jpg")
        picture.resize(size).save(paths[-1], quality=92)
    return paths


def measured(browser, url, people, clicks, every):
    """Milliseconds of all clicks, 0 for one that got no answer."""
    rng = np.random.default_rng(people)
    pages, waits = [], []
    for n in range(people):
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(url)
        node = page.locator("#learned .sc")
        field = page.locator("#case textarea, #case input")
        key = f"{PHOTOS[n % len(PHOTOS)]} {n}"
        field.fill(key)
        field.press("Enter")
        node.and_(page.locator(f'[data-ready="{key}"]')).wait_for(timeout=120_000)
        page.locator("#learned .sc-stage").focus()
        page.keyboard.press("s")
        page.wait_for_timeout(1500)  # the photo is made ready on the server
        width, height = node.evaluate("(node) => [node.maskCanvas.state.width, node.maskCanvas.state.height]")
        places = rng.uniform(0.1, 0.9, (clicks, 2)) * (width, height)
        places[1::2] = np.clip(
            places[::2] + rng.normal(0, 0.03 * width, places[::2].shape), 0, (width - 1, height - 1)
        )
        pages.append(page)
        waits.append([node.element_handle(), places.tolist(), 1000 * every])
    # Each page clicks by itself; its promise is left where it can be fetched.
    for page, arguments in zip(pages, waits, strict=True):
        page.evaluate(f"(args) => {{ window.clicking = ({_CLICK})(args); }}", arguments)
    found = [ms for page in pages for ms in page.evaluate("window.clicking")]
    for page in pages:
        page.context.close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--clicks", type=int, default=40, help="of each person")
    parser.add_argument(
        "--every", type=float, default=2, help="seconds from one click of a person to the next"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    from annotation import launch as launch_app
    from chromium import launch as launch_chromium
    from playwright.sync_api import sync_playwright

    from segdemo.core.photos import read_photo
    from segdemo.inference.click_protocol import Case

    results = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        os.environ["GRADIO_TEMP_DIR"] = folder
        paths = photos(Path(folder))
        nothing = np.zeros((1, 1), bool)
        cases = [(Case(path.stem, read_photo(path), nothing, nothing), path) for path in paths]
        demo, url = launch_app(cases, "click")
        chromium = launch_chromium(playwright)
        for people in dict.fromkeys((1, options.people)):
            ms = np.array(measured(chromium, url, people, options.clicks, options.every))
            p50, p95, p99 = (round(float(p), 1) for p in np.percentile(ms[ms > 0], (50, 95, 99)))
            row = {"people": people, "clicks": len(ms), "without_answer": int((ms == 0).sum())}
            results.append({**row, "p50": p50, "p95": p95, "p99": p99})
        chromium.close()
        demo.close()
    if options.json:
        print(json.dumps(results))
        return
    for row in results:
        goal = GOALS.get(row["people"])
        print(
            f"{row['people']:3} at once: {row['p50']} ms, 95th percentile {row['p95']}, 99th {row['p99']}"
            f" of {row['clicks']} clicks, {row['without_answer']} without an answer"
            + (f" (goal {goal})" if goal else "")
        )


if __name__ == "__main__":
    main()
