"""What the server's memory does while the page is used for everything: segmenting, labelling, clicks, exports, batches.

    python benchmarks/mixed.py [--minutes 10] [--json]     # all of it in turns, with a look at the server once a minute
    python benchmarks/mixed.py --each 200 [--only clicks]  # one kind of use after the other, so often: what each adds

Starts the page as it is, in a process of its own, and calls it over HTTP as a browser with an open page does: events
with what the components hold, functions of the canvas, uploads, files. A page is closed and another opened after some
actions. With ``--each`` the server is looked at after every tenth of the actions; the first ones load models and fill
caches, so ``grown_mb`` is what the second half of them added.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

PHOTOS = 12  # of the collection that is labelled
PAGE = 25  # actions after which another page is opened
MARK = 60  # seconds between two looks
MODEL = "deeplabv3"
_numbers = itertools.count(int(time.time()))


class Page:
    """An open page without a browser: what its components hold, and the events that a person makes it fire."""

    def __init__(self, url):
        from load import Connection
        from visiting import Browser, events

        self.browser, self.session = Browser(url), f"mixed-{next(_numbers)}"
        self.browser.get("/")
        config = json.loads(self.browser.get("/config")[1])
        self._heart = Connection(url)
        threading.Thread(target=self._beat, daemon=True).start()
        self._values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self._ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        self._ids |= {
            f"tab {p['props'].get('id')}": p["id"] for p in config["components"] if p["type"] == "tabitem"
        }
        self._events = events(config)
        for event in self._events:
            if any(kind == "load" for _, kind in event["targets"]):
                self._ask(event)

    def _beat(self):
        with contextlib.suppress(Exception):  # it is closed in the middle
            for _ in self._heart.events(f"/gradio_api/heartbeat/{self.session}"):
                pass

    def close(self):
        self._heart.close()

    def fire(self, elem_id, trigger, data=None, **values):
        """All events of a component's trigger; ``values`` are those of components, with _ for - in their names."""
        for name, value in values.items():
            self._values[self._ids[name.replace("_", "-")]] = value
        for event in self._events:
            if [self._ids[elem_id], trigger] in map(list, event["targets"]):
                self._ask(event, data)

    def _ask(self, event, data=None):
        values = [self._values.get(id_) for id_ in event["inputs"]]
        told = self.browser.event(event["id"], values, data, self.session)
        messages = [json.loads(line[5:]) for line in told.splitlines() if line.startswith("data:")]
        if not messages or not messages[-1].get("success"):
            raise RuntimeError(f"Event {event['id']} failed: {told[-300:]}")
        for id_, value in zip(event["outputs"], messages[-1]["output"]["data"], strict=True):
            if not isinstance(value, dict) or value.get("__type__") != "update":
                self._values[id_] = value
            elif "value" in value:
                self._values[id_] = value["value"]

    def value(self, elem_id):
        return self._values[self._ids[elem_id]]

    def function(self, elem_id, name, data):
        answer = self.browser.function(self._ids[elem_id], name, data)
        if set(answer) & {"error", "status"}:
            raise RuntimeError(f"{name} failed: {answer}")
        return answer


class Use:
    """What a person does again and again. Each method is one kind, called with the page and how often it was before."""

    def __init__(self, url, home, folder):
        from load import Connection, draw_photo
        from page import labelled_by_nobody

        self.url, self._client = url, Connection(url)
        self._name, self._ids = labelled_by_nobody(home, PHOTOS)
        self._revisions = {}
        draw_photo(folder / "photo.jpg", 2)
        self._photo = (folder / "photo.jpg").read_bytes()

    def segment(self, page, n):
        """Another built-in photo, once, mirrored and at three sizes."""
        page.fire("photos", "click", photos=n % 4)
        page.fire("passes", "change", passes=("once", "mirrored", "scales")[n % 3])

    def upload(self, page, n):
        """A photo of two megapixels over the HTTP API, another one each time."""
        from load import segment

        what = segment(self._client, self._photo, MODEL, next(_numbers))
        if what != "done":
            raise RuntimeError(what)

    def label(self, page, n):
        """A photo opened, the next one got ready, and a mask saved."""
        from segdemo.core.label_maps import encode_png
        from segdemo.core.labels import VOC

        key = self._open(page, n)
        page.fire("annotate-canvas", "ready", {"key": key})
        canvas = page.value("annotate-canvas")
        mask = self._mask(canvas["width"], canvas["height"], n)
        revision = self._revisions.get(key)
        sent = {"key": key, "png": _text(encode_png(mask, VOC)), "revision": revision}
        answer = page.function("annotate-canvas", "save_mask", {**sent, "sitting": "one", "auto": True})
        self._revisions[key] = answer["revision"]
        page.fire("annotate-canvas", "saved", {"key": key, "revision": answer["revision"], "open": key})

    def _open(self, page, n):
        if not page.value("collection"):
            page.fire("tab annotate", "select")
        id_ = self._ids[n % PHOTOS]
        page.fire("photo-list", "pick", {"id": id_})
        return f"{self._name}/{id_}"

    @staticmethod
    def _mask(width, height, n):
        import numpy as np

        mask = np.zeros((height, width), np.uint8)
        mask[10 + n % 50 : height // 2, 10 : width // 2] = 1 + n % 20
        return mask

    def clicks(self, page, n):
        """A thing selected with three clicks."""
        key = f"{self._name}/{self._ids[n % PHOTOS]}"
        for made in range(1, 4):
            clicks = [[60 + (37 * n + 20 * i) % 120, 60 + (23 * n + 11 * i) % 120, 1] for i in range(made)]
            asked = {"key": key, "clicks": clicks, "box": None, "mask": None, "preview": False}
            page.function("annotate-canvas", "select_thing", asked)

    def teach(self, page, n):
        """Features of a photo, to paint on."""
        page.function("annotate-canvas", "teach_features", {"key": f"{self._name}/{self._ids[n % PHOTOS]}"})

    def export(self, page, n):
        """The collection as a ZIP."""
        if not page.value("collection"):
            page.fire("tab annotate", "select")
        page.fire("export", "click")

    def zoo(self, page, n):
        """Every model on a photo."""
        page.fire("zoo-photos", "click", zoo_photos=n % 5)

    def batch(self, page, n):
        """Two photos, and their results."""
        paths = [page.browser.upload(self._photo[:2] + _comment() + self._photo[2:]) for _ in range(2)]
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        told = _answer(page.browser.call("batch", files, MODEL, "label_map,overlay"))
        while told["state"] in ("queued", "running"):
            time.sleep(0.05)
            told = _answer(page.browser.call("batch_status", told["job"]))
        if told["state"] != "done" or told["failed"]:
            raise RuntimeError(f"The batch has failed: {told}")
        page.browser.call("batch_result", told["job"])

    def open(self, page, n):
        """A page opened and closed, and every tab of it looked at."""
        other = Page(self.url)
        for tab in ("annotate", "train", "batch", "video", "zoo", "segment"):
            other.fire(f"tab {tab}", "select")
        other.close()


KINDS = ("segment", "upload", "label", "clicks", "teach", "export", "zoo", "batch", "open")


def _text(data):
    import base64

    return base64.b64encode(data).decode()


def _comment():
    return b"\xff\xfe\x00\x12" + b"%016d" % next(_numbers)


def _answer(told):
    last = [line for line in told.splitlines() if line.startswith("data:")][-1]
    return json.loads(last[5:])[0]


class Visit:
    """Actions, each on a page that is another one from time to time."""

    def __init__(self, use):
        self._use, self._page, self._done = use, Page(use.url), 0

    def do(self, kind, n):
        if self._done and self._done % PAGE == 0:
            self._page.close()
            self._page = Page(self._use.url)
        self._done += 1
        getattr(self._use, kind)(self._page, n)


def each(use, kinds, count, server):
    """Memory after every tenth of ``count`` actions of each kind."""
    from load import look

    visit, rows = Visit(use), []
    for kind in kinds:
        marks = [look(*server)["memory_mb"]]
        for tenth in range(10):
            for n in range(count * tenth // 10, count * (tenth + 1) // 10):
                visit.do(kind, n)
            marks.append(look(*server)["memory_mb"])
        rows.append({"kind": kind, "actions": count, "memory_mb": marks, "grown_mb": marks[-1] - marks[5]})
        print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def mixed(use, kinds, minutes, server):
    """All kinds in turns for so long: what the server takes once a minute."""
    from load import look

    visit, start = Visit(use), time.monotonic()
    looks, done = [{"minute": 0, "actions": 0, **look(*server)}], 0
    while (passed := time.monotonic() - start) < 60 * minutes:
        visit.do(kinds[done % len(kinds)], done // len(kinds))
        done += 1
        if passed > MARK * len(looks):
            looks.append({"minute": round(passed / 60, 1), "actions": done, **look(*server)})
            print(json.dumps(looks[-1]), file=sys.stderr)
    return [*looks, {"minute": minutes, "actions": done, **look(*server)}]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--each", type=int, metavar="ACTIONS", help="one kind after the other instead")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="kinds of use")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    from load import look
    from serving import served_app

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served_app(folder / "app", fresh=True) as (url, process):
            server = process.pid, folder / "app" / "gradio"
            result = {"at_start": look(*server)}
            use = Use(url, folder / "app" / "home", folder)
            if options.each:
                result["each"] = each(use, options.only, options.each, server)
            else:
                result["looks"] = mixed(use, options.only, options.minutes, server)
            time.sleep(5)
            result["at_end"] = look(*server)
    if options.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
