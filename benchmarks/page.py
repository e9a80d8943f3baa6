"""What the page costs those who open it: weight, first overlay, photos and tabs changed, layout that shifts.

    python benchmarks/page.py [--rounds 7] [--json] [--screenshots DIR]

Starts the app with an empty home and drives it in headless Chromium (CHROMIUM names the executable), on the same
processors. Goals: from a click on a photo to its overlay 250 ms beside the model's own time; a tab in 200 ms; the next
photo to label, loaded ahead, in 300 ms; 1.2 MB beyond what Gradio itself sends; a cumulative layout shift of 0.05.
``--screenshots`` also takes pictures of each tab at four widths, light and dark. Run it with nothing else running.

Times of tabs and of photos to label are taken in the page, since to ask a browser from outside whether something has
happened takes a good part of them: they begin at the time stamp of the click or key. A tab is there at the second frame
in which something of its own is in sight and all of the tab is where it was in the frame before; it is settled when
nothing in it moves any more, which for some is when the server has answered. Its work is the processor time that the
page's main thread takes until it is there, which says more than the time where other things run beside. A photo to
label is there when the canvas has drawn it, and saved when the server has said so.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
GOALS = {"photo_ms": 250, "tab_ms": 200, "next_ms": 300, "megabytes": 1.2, "layout_shift": 0.05}
QUALITY, MOST_PIXELS = 35, 1440  # of pictures, which the repository keeps for good
WIDTHS = {1920: 1080, 1440: 900, 1024: 768, 390: 844}
TABS = {  # and something that is in sight as soon as they are, in an installation where nothing was done yet
    "Segment": "#stage .sc-stage",
    "Annotate": "#annotate-hint",
    "Train": "#train-hint",
    "Batch": "#batch-hint",
    "Video": "#video-hint",
    "Zoo": "#zoo-cards .zoo-card",
}
READY = "#stage .sc[data-ready]"
_SHIFTS = """() => {
  window.shifts = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""

# From the next click until a tab is there and settled, in milliseconds; `own` is something of that tab.
_OPENED = """([own, longest]) => {
  const look = () => {
    const node = document.querySelector(own);
    if (!node?.checkVisibility()) return "";
    const panel = node.closest("[role=tabpanel]"), box = node.getBoundingClientRect();
    return [box.x, box.y, box.width, box.height, panel.scrollHeight, panel.querySelectorAll("*").length].join();
  };
  let arrived;
  window.arrived = new Promise((done) => (arrived = done));
  window.measured = new Promise((done) => addEventListener("click", ({ timeStamp }) => {
    let before = "", there = null, settled = 0;
    const frame = () => {
      const now = performance.now() - timeStamp, seen = look();
      if (seen !== before) settled = now;
      else if (seen) there ??= now;
      before = seen;
      if (there !== null || now >= longest) arrived();
      now < longest ? requestAnimationFrame(frame) : done({ there, settled });
    };
    requestAnimationFrame(frame);
  }, { once: true, capture: true }));
}"""
# From the next click or key until the canvas of the Annotate tab says something, in milliseconds.
_TOLD = """([type, attribute]) => {
  const root = document.querySelector("#annotate-canvas .sc");
  window.measured = new Promise((done) => addEventListener(type, ({ timeStamp }) => {
    const observer = new MutationObserver(() => {
      observer.disconnect();
      done(performance.now() - timeStamp);
    });
    observer.observe(root, { attributeFilter: [attribute] });
  }, { once: true, capture: true }));
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
    names = list(TABS)
    first, again = [], []
    thread = context.new_cdp_session(page)
    thread.send("Performance.enable", {"timeDomain": "threadTicks"})
    for turn in range(1 + max(1, rounds // 3)):
        for name in [*names[1:], names[0]]:
            (again if turn or name == names[0] else first).append(opened(page, thread, name))
    context.close()
    tabs = [took["there"] for took in (*first, *again)]
    return {
        "photo_ms": statistics.median(spent) - model_ms(),
        "photo_whole_ms": statistics.median(spent),
        "tab_ms": statistics.median(tabs),
        "tab_first_ms": statistics.median(took["there"] for took in first),
        "tab_again_ms": statistics.median(took["there"] for took in again),
        "tab_slowest_ms": max(tabs),
        "tab_settled_ms": statistics.median(took["settled"] for took in (*first, *again)),
        "tab_work_ms": statistics.median(took["work"] for took in (*first, *again)),
    }


def opened(page, thread, name, longest=1500):
    """Milliseconds from a click on a tab until it is there and settled, looked at for so long, and of work until there.

    ``thread`` is a session of the DevTools that tells the processor time of the page's main thread.
    """

    def worked():
        metrics = thread.send("Performance.getMetrics")["metrics"]
        return next(1000 * metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    page.evaluate(_OPENED, [TABS[name], longest])
    box = page.get_by_role("tab", name=name, exact=True).bounding_box()
    before = worked()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.evaluate("window.arrived")
    work = worked() - before
    took = {**page.evaluate("window.measured"), "work": work}
    if took["there"] is None:
        raise SystemExit(f"The {name} tab was not there after {longest} ms.")
    return took


def labelling(browser, url, home, rounds):
    """Milliseconds of photos to label: opened by a click on one, by Enter as the next one, and saved."""
    name, ids = labelled_by_nobody(home, 2 * rounds + 1)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    page.locator(READY).wait_for(timeout=120_000)
    page.get_by_role("tab", name="Annotate", exact=True).click()
    page.locator(f"#photo-list [data-id='{ids[0]}']").click()
    canvas = page.locator("#annotate-canvas .sc")
    page.locator(f"#annotate-canvas .sc[data-ready='{name}/{ids[0]}']").wait_for()

    def timed(type_, attribute, act):
        page.evaluate(_TOLD, [type_, attribute])
        act()
        took = page.evaluate("window.measured")
        page.wait_for_function(  # somebody looks at the photo meanwhile, and the next one is got ready
            "document.querySelector('#annotate-canvas .sc').maskCanvas.ahead"
        )
        page.wait_for_timeout(500)
        return took

    def paint():
        box = canvas.locator(".sc-stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.keyboard.press("b")
        page.keyboard.press("5")
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y + 10, steps=4)
        page.mouse.up()

    picked, following, saved = [], [], []
    for id_ in ids[1 : rounds + 1]:
        picked.append(timed("click", "data-ready", page.locator(f"#photo-list [data-id='{id_}']").click))
    for _ in range(rounds):
        paint()
        saved.append(timed("keydown", "data-saved", lambda: page.keyboard.press("Control+s")))
        following.append(timed("keydown", "data-ready", lambda: page.keyboard.press("Enter")))
    context.close()
    return {
        "open_ms": statistics.median(picked),
        "open_slowest_ms": max(picked),
        "next_ms": statistics.median(following),
        "next_slowest_ms": max(following),
        "save_ms": statistics.median(saved),
        "save_slowest_ms": max(saved),
    }


def labelled_by_nobody(home, count):
    """Name of a new collection of ``count`` photos with VOC's classes, and their ids as the list has them."""
    import numpy as np

    from segdemo.core.photos import read_photo
    from segdemo.ui.photos import built_in_paths

    photos = [read_photo(path) for path in built_in_paths().values()]
    different = (np.roll(photos[n % len(photos)], 16 * n, axis=1) for n in range(count))
    return collection_of(home, "Photos to label", {f"photo-{n:02}.png": x for n, x in enumerate(different)})


def collection_of(home, title, photos):
    """Name of a new collection of photos (name -> pixels or path) with VOC's classes, and their ids in the list."""
    from segdemo.annotations.store import AnnotationStore
    from segdemo.core.labels import VOC

    collection = AnnotationStore(home / "annotations").create(title, VOC)
    for name, photo in photos.items():
        collection.add_photo(photo, name)
    return collection.name, [photo.id for photo in collection.photos(per_page=len(photos)).photos]


def model_ms():
    """Median milliseconds of the first model on the built-in photos, in this process."""
    from segdemo import zoo
    from segdemo.core.photos import read_photo
    from segdemo.inference.predict import Predictor
    from segdemo.ui.photos import built_in_paths

    predictor = Predictor(zoo.served_model("deeplabv3"))
    images = [read_photo(path) for path in built_in_paths().values()]
    return statistics.median(predictor(image).milliseconds for image in images * 3)


def screenshots(browser, url, home, folder):
    """Every tab at four widths, light and dark, as WebP; in Annotate a collection of the built-in photos is open."""
    from PIL import Image

    from segdemo.ui.photos import built_in_paths

    folder.mkdir(parents=True, exist_ok=True)
    _, ids = collection_of(home, "Built-in photos", {p.name: path for p, path in built_in_paths().items()})
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
                if name == "Annotate":
                    page.locator(f"#photo-list [data-id='{ids[-1]}']").click()
                    page.locator(f"#annotate-canvas .sc[data-ready$='{ids[-1]}']").wait_for()
                elif name == "Zoo":
                    page.locator("#zoo-grid .zoo-tile img").first.wait_for()
                page.wait_for_timeout(2000)
                path = folder / f"{name.lower()}-{width}-{scheme}.png"
                page.screenshot(path=path)
                with Image.open(path) as taken:
                    picture = taken.convert("RGB")
                    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
                    picture.save(path.with_suffix(".webp"), quality=QUALITY, method=6)
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
    from telling import tell

    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        served_app(Path(folder)) as (url, _),
    ):
        browser = chromium.launch(playwright)
        first_visit(browser, url)  # the server's own first time
        results = {**first_visit(browser, url), **changes(browser, url, options.rounds)}
        results |= labelling(browser, url, Path(folder) / "home", options.rounds)
        if options.screenshots:  # with collections of their own
            with tempfile.TemporaryDirectory() as another, served_app(Path(another)) as (url, _):
                screenshots(browser, url, Path(another) / "home", options.screenshots)
        browser.close()
    tell(results, GOALS, options.json)


if __name__ == "__main__":
    main()
