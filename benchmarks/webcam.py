"""The webcam, live, on the Video tab: frames a second shown, from capture to overlay, and frames dropped.

    python benchmarks/webcam.py [--model deeplabv3] [--seconds 20] [--json]

Starts the app with an empty home and drives it in headless Chromium (CHROMIUM names the executable), whose camera is
its fake one, on the same processors. A number is painted into each frame where the page takes it from the camera, as a
row of black and white squares, and read again from the overlay that is shown: so the time between is that of the very
frame. ``dropped`` is the share of frames that were taken and not shown, ``server_ms`` what the server says it took, and
``server_processor_ms`` and ``browser_processor_ms`` what each shown frame cost them, however busy the machine is.
Goals: 10 frames a second, and 250 ms. Run it with nothing else running.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]
GOALS = {"frames_a_second": "10 or more", "latency_p95_ms": "250 or less"}
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WARM_SECONDS = 3
SECONDS = 120_000  # how long anything may take, in milliseconds
_WATCH = """() => {
  const squares = 16, bits = squares - 2;  // the first is black, the second white
  const seen = (window.webcam = { taken: [], bytes: [], shown: [], said: [] });
  const encode = HTMLCanvasElement.prototype.toDataURL;
  HTMLCanvasElement.prototype.toDataURL = function (kind, ...more) {
    if (kind !== "image/jpeg") return encode.call(this, kind, ...more);
    const at = performance.now(), number = seen.taken.length, side = this.width / squares;
    const context = this.getContext("2d");
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (let k = 0; k < squares; k++) {
      const white = k === 1 || (k > 1 && (number >> (k - 2)) & 1);
      context.fillStyle = white ? "#fff" : "#000";
      context.fillRect(k * side, 0, side, side);
    }
    context.restore();
    const url = encode.call(this, kind, ...more);
    seen.taken.push(at);
    seen.bytes.push(url.length);
    return url;
  };
  const reading = document.createElement("canvas");
  const read = (image) => {
    const side = 8;
    [reading.width, reading.height] = [squares * side, (squares * side * image.naturalHeight) / image.naturalWidth];
    const context = reading.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0, reading.width, reading.height);
    const grey = (k) => {
      const { data } = context.getImageData(k * side + 2, 2, side - 4, side - 4);
      return data.reduce((sum, value, n) => sum + (n % 4 < 3 ? value : 0), 0) / (0.75 * data.length);
    };
    const middle = (grey(0) + grey(1)) / 2;
    let number = 0;
    for (let k = 0; k < bits; k++) if (grey(k + 2) > middle) number |= 1 << k;
    return number;
  };
  let last = null;
  const look = async () => {
    const image = document.querySelector("#video-live-mask img");
    if (!image || image.src === last) return;
    last = image.src;
    const said = document.querySelector("#video-live-mask p").textContent;
    await image.decode();
    await new Promise(requestAnimationFrame);
    seen.shown.push([read(image), performance.now()]);
    seen.said.push(Number(/([0-9]+) ms/.exec(said)?.[1]));
  };
  new MutationObserver(() => void look().catch(() => {})).observe(document, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["src"],
  });
}"""


def watched(page, seconds, server):
    """What the page notes in so many seconds, after some to get warm: see ``summary``."""
    page.wait_for_timeout(1000 * WARM_SECONDS)
    begin, before = page.evaluate("performance.now()"), processor(server)
    page.wait_for_timeout(1000 * seconds)
    found = page.evaluate("window.webcam")
    end, after = page.evaluate("performance.now()"), processor(server)
    return found, begin, end, [late - early for early, late in zip(before, after, strict=True)]


def processor(server):
    """Seconds of the processor that the server has taken, and the browser."""
    import psutil

    def spent(processes):
        total = 0.0
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    of_server = [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    others = set(psutil.Process().children(recursive=True)) - set(of_server)
    return spent(of_server), spent(others)


def summary(found, begin, end, spent):
    """The numbers, see the module; times of the page are milliseconds, ``spent`` those of ``processor``."""
    taken = found["taken"]
    shown = [
        (number, at, said)
        for (number, at), said in zip(found["shown"], found["said"], strict=False)
        if begin <= at <= end and number < len(taken)
    ]
    if len(shown) < 2:
        raise SystemExit("The webcam shows nothing: look at the Video tab in a browser.")
    latencies = sorted(at - taken[number] for number, at, _ in shown)
    numbers = {number for number, _, _ in shown}
    during = [n for n, at in enumerate(taken) if begin <= at <= end and n <= max(numbers)]
    seconds = (end - begin) / 1000
    return {
        "frames_a_second": len(numbers) / seconds,
        "taken_a_second": len(during) / seconds,
        "latency_p50_ms": statistics.median(latencies),
        "latency_p95_ms": latencies[int(0.95 * (len(latencies) - 1))],
        "server_ms": statistics.median(said for _, _, said in shown if said is not None),
        "dropped": len([n for n in during if n not in numbers]) / max(1, len(during)),
        "server_processor_ms": 1000 * spent[0] / len(numbers),
        "browser_processor_ms": 1000 * spent[1] / len(numbers),
        "kilobytes_sent": statistics.median(found["bytes"]) / 1000,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deeplabv3")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    import chromium
    from playwright.sync_api import sync_playwright
    from serving import served_app
    from telling import tell

    from segdemo import zoo

    title = zoo.served_model(options.model).title
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        served_app(Path(folder)) as (url, server),
    ):
        browser = chromium.launch(playwright, *CAMERA)
        page = browser.new_context(permissions=["camera"], reduced_motion="reduce").new_page()
        page.set_default_timeout(SECONDS)
        page.add_init_script(f"({_WATCH})()")
        page.goto(url)
        page.get_by_role("tab", name="Video").click()
        page.locator("#video-model input").click()
        page.get_by_role("option", name=title, exact=True).click()
        page.locator("#video-live button").first.click()
        page.get_by_role("button", name="Click to Access Webcam").click()
        page.locator("#video-webcam").get_by_role("button", name="capture photo").click()
        page.locator("#video-live-mask img").wait_for()
        results = summary(*watched(page, options.seconds, server.pid))
        browser.close()
    tell(results, GOALS, options.json)


if __name__ == "__main__":
    main()
