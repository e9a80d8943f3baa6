"""What the page costs those who open it: weight, first overlay, photos and tabs changed, layout that shifts.

    python benchmarks/page.py [--rounds 7] [--json] [--screenshots DIR]

Starts the app with an empty home and drives it in headless Chromium (CHROMIUM names the executable), on the same
processors. Goals: from a click on a photo to its overlay 250 ms beside the model's own time; a tab in 200 ms; 1.2 MB
beyond what Gradio itself sends; a cumulative layout shift of 0.05. ``--screenshots`` also takes pictures of each tab at
four widths, light and dark. Run it with nothing else running.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
GOALS = {"photo_ms": 250, "tab_ms": 200, "megabytes": 1.2, "layout_shift": 0.05}
WIDTHS = {1920: 1080, 1440: 900, 1024: 768, 390: 844}
TABS = ("Segment", "Annotate", "Train", "Batch", "Video", "Zoo")
READY = "#stage .sc[data-ready]"
_SHIFTS = """() => {
  window.shifts = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""


def first_visit(browser, url):
    """What a new visitor waits for and is sent, in a context of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.add_init_script(f"({_SHIFTS})()")
    sent = {"own": 0, "all": 0, "requests": 0}

    def count(response):
        sent["requests"] += 1
        try:
            size = int(response.headers.get("content-length") or len(response.body()))
        except Exception:  # a stream, which has no end
            return
        sent["all"] += size
        if "/assets/" not in response.url and "/static/" not in response.url:
            sent["own"] += size

    page.on("response", count)
    began = time.perf_counter()
    page.goto(url)
    page.locator(READY).wait_for(timeout=120_000)
    first = 1000 * (time.perf_counter() - began)
    page.wait_for_timeout(3000)
    shift = page.evaluate("window.shifts")
    context.close()
    return {
        "first_overlay_ms": first,
        "megabytes": sent["own"] / 1e6,
        "megabytes_with_gradio": sent["all"] / 1e6,
        "requests": sent["requests"],
        "layout_shift": shift,
    }


def changes(browser, url, rounds):
    """Milliseconds of a photo picked in the strip, less the model's, and of a tab picked."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    page.locator(READY).wait_for(timeout=120_000)
    page.wait_for_timeout(2000)
    photos = page.locator("#photos button")
    spent = []
    for n in range(rounds):
        before = page.locator("#stage .sc").get_attribute("data-ready")
        began = time.perf_counter()
        photos.nth(1 + n % (photos.count() - 1)).click()
        page.wait_for_function(
            "(before) => document.querySelector('#stage .sc').dataset.ready !== before", arg=before
        )
        spent.append(1000 * (time.perf_counter() - began))
        page.wait_for_timeout(300)
    tabs = []
    for name in [*TABS[1:], TABS[0]] * max(1, rounds // 3):
        began = time.perf_counter()
        page.get_by_role("tab", name=name, exact=True).click()
        page.get_by_role("tabpanel").filter(visible=True).first.wait_for()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        tabs.append(1000 * (time.perf_counter() - began))
        page.wait_for_timeout(1500)
    context.close()
    return {
        "photo_ms": statistics.median(spent) - model_ms(),
        "photo_whole_ms": statistics.median(spent),
        "tab_ms": statistics.median(tabs),
        "tab_slowest_ms": max(tabs),
    }


def model_ms():
    """Median milliseconds of the first model on the built-in photos, in this process."""
    from segdemo import zoo
    from segdemo.core.photos import read_photo
    from segdemo.inference.predict import Predictor
    from segdemo.ui.photos import built_in_paths

    predictor = Predictor(zoo.served_model("deeplabv3"))
    images = [read_photo(path) for path in built_in_paths().values()]
    return statistics.median(predictor(image).milliseconds for image in images * 3)


def screenshots(browser, url, folder):
    """Every tab at four widths, light and dark, as WebP."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for width, height in WIDTHS.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                reduced_motion="reduce",
                has_touch=width < 500,
                is_mobile=width < 500,
            )
            page = context.new_page()
            page.goto(url)
            page.locator(READY).wait_for(timeout=120_000)
            page.wait_for_timeout(2500)
            for name in TABS:
                if name != "Segment":
                    page.get_by_role("tab", name=name, exact=True).click()
                    page.wait_for_timeout(4000 if name == "Zoo" else 2000)
                path = folder / f"{name.lower()}-{width}-{scheme}.png"
                page.screenshot(path=path)
                with Image.open(path) as picture:
                    picture.convert("RGB").save(path.with_suffix(".webp"), quality=70, method=6)
                path.unlink()
            context.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--screenshots", type=Path, metavar="DIR")
    options = parser.parse_args()
    import chromium
    from playwright.sync_api import sync_playwright
    from serving import served_app

    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        served_app(Path(folder)) as (url, _),
    ):
        browser = chromium.launch(playwright)
        first_visit(browser, url)  # the server's own first time
        results = {**first_visit(browser, url), **changes(browser, url, options.rounds)}
        if options.screenshots:
            screenshots(browser, url, options.screenshots)
        browser.close()
    if options.json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        goal = f"   goal {GOALS[name]}" if name in GOALS else ""
        print(f"{name:24}{value:10.3f}{goal}" if value < 10 else f"{name:24}{value:10.0f}{goal}")


if __name__ == "__main__":
    main()
