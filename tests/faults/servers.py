"""Kills the page's server, the real one, while clients save, import and export over HTTP; then looks what is left.

What was acknowledged has to be there afterwards, whole, whoever asks; what was not acknowledged is there whole or not
at all.
"""

import base64
import http.client
import io
import json
import random
import resource
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
from drawn import encoded
from PIL import Image
from serving import last_message, served_app

from segdemo.annotations.store import AnnotationStore
from segdemo.core import label_maps
from segdemo.core.labels import PETS
from segdemo.data.sources import open_dataset

PHOTOS = 4  # of the collection that is saved to, each by a client of its own
ARCHIVE = 6  # photos of the archive that is imported
SIZE = (48, 64)  # height, width
# What a client of a dead server meets
LOST = OSError, http.client.HTTPException, urllib.error.URLError, ValueError


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def mask(number):
    """A label map that tells which save it comes from: uint8 (H, W), 0..2."""
    digits = np.array([number // 3**k % 3 for k in range(SIZE[1])], np.uint8)
    return np.tile(digits, (SIZE[0], 1))


def number_of(label_map):
    """Which save a ``mask`` comes from. Raises AssertionError if it is none."""
    assert label_map.shape == SIZE
    assert (label_map == label_map[0]).all()
    return sum(int(digit) * 3**k for k, digit in enumerate(label_map[0, :30]))


class Page:
    """The page as a client of its HTTP interface sees it."""

    def __init__(self, url):
        self.url = f"{url}gradio_api/"
        with urllib.request.urlopen(f"{url}config", timeout=30) as answer:
            config = json.load(answer)
        self.values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self.ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        self.events = config["dependencies"]

    def post(self, path, body, kind="application/json", timeout=60):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def save(self, session, key, label_map, revision):
        """What the canvas is told of a save."""
        png = base64.b64encode(label_maps.encode_png(label_map, PETS)).decode()
        body = {"session_hash": session, "component_id": self.ids["annotate-canvas"], "fn_name": "save_mask"}
        return self.post("component_server", {**body, "data": {"key": key, "png": png, "revision": revision}})

    def upload(self, name, data):
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        form = head.encode() + data + b"\r\n--x--\r\n"
        (path,) = self.post("upload", form, "multipart/form-data; boundary=x")
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def trigger(self, session, elem_id, kind, **values):
        """Cause an event of a component, other components having these values: its last message."""
        target = [self.ids[elem_id], kind]
        event = next(e for e in self.events if target in [list(t) for t in e["targets"]])
        while not event["backend_fn"]:  # which only the browser does; the server has what comes after it
            event = next(e for e in self.events if e["trigger_after"] == event["id"])
        given = {self.ids[name.replace("_", "-")]: value for name, value in values.items()}
        data = [given.get(id_, self.values.get(id_)) for id_ in event["inputs"]]
        self.post("queue/join", {"data": data, "fn_index": event["id"], "session_hash": session})
        message = last_message(self.url.removesuffix("gradio_api/"), session, 60)
        if message is None:
            raise ValueError("The stream ended without an answer.")
        return message


class _Clients:
    """Clients that save, import and export until their server is dead, and what it has acknowledged."""

    def __init__(self, page, keys, archive, numbers):
        self.page, self.keys, self.archive, self.numbers = page, keys, archive, numbers
        self.saved = {key: [] for key in keys}  # (revision, number of the mask)
        self.sent = {key: [] for key in keys}  # numbers of the masks that were sent, acknowledged or not
        self.imported, self.exports, self.refusals = 0, [], []
        jobs = [(self._save, (key,)) for key in keys] + [(self._import, ()), (self._export, ())]
        self.threads = [
            threading.Thread(target=self._until_dead, args=(n, *job)) for n, job in enumerate(jobs)
        ]
        for thread in self.threads:
            thread.start()

    def _until_dead(self, n, work, args):
        try:
            while True:
                work(f"fault{n}-{time.monotonic_ns()}", *args)
        except LOST:
            pass

    def _save(self, session, key):
        number = next(self.numbers)
        revision = self.saved[key][-1][0] if self.saved[key] else self.keys[key]
        self.sent[key].append(number)
        told = self.page.save(session, key, mask(number), revision)
        if "conflict" in told:
            # What was in work when the last server died was kept after all; it is not lost, and neither is this.
            self.refusals.append(told)
            self.keys[key] = told["revision"]
            self.saved[key].append((told["revision"], None))
        elif "error" in told:
            self.refusals.append(told)
        else:
            self.saved[key].append((told["revision"], number))

    def _import(self, session):
        file = self.page.upload("archive.zip", self.archive)
        message = self.page.trigger(session, "import-archive", "upload", being_imported=file)
        self.imported += bool(message["success"])

    def _export(self, session):
        message = self.page.trigger(session, "export", "click", collection="kept")
        if message["success"]:
            self.exports.append(message)

    def join(self):
        for thread in self.threads:
            thread.join(120)


def _archive():
    """A VOC export of ``ARCHIVE`` photos, bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("labels.txt", "\n".join(PETS.classes))
        for number in range(ARCHIVE):
            archive.writestr(f"JPEGImages/p{number}.png", encoded(photo(1000 + number)))
            archive.writestr(
                f"SegmentationClass/p{number}.png", label_maps.encode_png(mask(number + 1), PETS)
            )
    return out.getvalue()


def check_whole(store, kills=1):
    """Every collection of a store can be read to the last mask, by the store and by training. Raises otherwise.

    Each kill may leave a few unfinished files behind, which are swept away after an hour.
    """
    for collection in store.collections():
        collection = store.open(collection.name)
        photos = collection.photos(per_page=10_000).photos
        for record in photos:
            label_maps.check_label_map(np.asarray(Image.open(collection.image_path(record.id)).convert("L")))
            for revision in record.revisions:
                assert collection.load(record.id, revision.number).shape == (record.height, record.width)
            if record.revision:
                written = Image.open(collection.folder / "SegmentationClass" / f"{record.id}.png")
                np.testing.assert_array_equal(np.asarray(written), collection.load(record.id))
        if any(record.revision for record in photos):
            splits = open_dataset("annotations", collection.folder).splits
            listed = {id_ for name in ("train", "val", "test") for id_ in splits[name]}
            wanted = {record.id for record in photos if record.revision}
            assert listed == wanted, (collection.name, listed ^ wanted)
        left = [p.name for p in collection.folder.rglob("*") if p.suffix == ".part"]
        assert len(left) <= 4 * kills, left


def run(folder, rounds, seed=0, longest=3.0):
    """Kill a server ``rounds`` times at random moments of saving, importing and exporting.

    Args:
        folder: for the state.
        rounds: servers that are killed.
        seed: of the moments.
        longest: seconds between the first request and the kill.

    Returns:
        Figures: kills, acknowledged saves, imports and exports, and what was lost.

    Raises:
        AssertionError: something was.
    """
    rng, numbers, archive = random.Random(seed), iter(range(1, 10**9)), _archive()
    home = Path(folder) / "home"
    store = AnnotationStore(home / "annotations", keep_revisions=10**6)
    collection = store.create("Kept", PETS)
    ids = [collection.add_photo(photo(n), f"{n}.png") for n in range(PHOTOS)]
    acknowledged = {id_: {} for id_ in ids}  # revision -> number of its mask
    sent = {id_: set() for id_ in ids}
    figures = {
        "kills": 0,
        "saves": 0,
        "imports": 0,
        "exports": 0,
        "refused_saves": 0,
        "kept_unacknowledged": 0,
    }
    for _ in range(rounds):
        keys = {f"{collection.name}/{id_}": collection.photo(id_).revision for id_ in ids}
        with served_app(Path(folder)) as (url, process):
            clients = _Clients(Page(url), keys, archive, numbers)
            time.sleep(rng.uniform(0.05, longest))
            process.kill()
            process.wait(30)
            clients.join()
            log = (Path(folder) / "app.log").read_text()
        assert "Traceback" not in log, log
        figures["kills"] += 1
        figures["imports"] += clients.imported
        figures["exports"] += len(clients.exports)
        figures["refused_saves"] += len(clients.refusals)
        store = AnnotationStore(home / "annotations", keep_revisions=10**6)
        store.tidy()
        check_whole(store, figures["kills"])
        whole = [
            c for c in store.collections() if c.name != "kept" and c.photos(annotated=True).total == ARCHIVE
        ]
        assert len(whole) >= clients.imported
        for imported in store.collections():
            if imported.name != "kept":
                store.delete(imported.name)
        store.tidy(days=-1)
        collection = store.open("kept")
        for key, saves in clients.saved.items():
            id_ = key.partition("/")[2]
            fresh = {revision: number for revision, number in saves if number is not None}
            figures["saves"] += len(fresh)
            acknowledged[id_].update(fresh)
            sent[id_].update(clients.sent[key])
            kept = {r.number: number_of(collection.load(id_, r.number)) for r in collection.revisions(id_)}
            # The server keeps the newest fifty and the first; those that were never acknowledged count too.
            last = max(kept, default=0)
            newest = [n for n in acknowledged[id_] if n > last - 50]
            lost = [n for n in newest if kept.get(n) != acknowledged[id_][n]]
            assert not lost, f"{id_}: revisions {lost} were acknowledged and are gone"
            assert set(kept.values()) <= sent[id_]
            figures["kept_unacknowledged"] += sum(n > max([keys[key], *fresh]) for n in kept)
    figures["lost"] = 0
    return figures


def two_servers(folder, seconds=5):
    """Two servers on one home, whose clients save the same photos, until both are killed.

    Returns:
        Figures. Raises AssertionError: an acknowledged save is gone.
    """
    home = Path(folder) / "home"
    store = AnnotationStore(home / "annotations")
    collection = store.create("Kept", PETS)
    ids = [collection.add_photo(photo(n), f"{n}.png") for n in range(2)]
    numbers, archive = iter(range(1, 10**9)), _archive()

    def keys():
        return {f"{collection.name}/{id_}": 0 for id_ in ids}

    with served_app(Path(folder)) as (first, one), served_app(Path(folder)) as (second, other):
        clients = [_Clients(Page(url), keys(), archive, numbers) for url in (first, second)]
        time.sleep(seconds)
        for process in (one, other):
            process.kill()
            process.wait(30)
        for some in clients:
            some.join()
    assert "Traceback" not in (Path(folder) / "app.log").read_text()
    store = AnnotationStore(home / "annotations")
    store.tidy()
    check_whole(store, kills=2)
    figures = {"saves": 0, "conflicts": 0, "imports": 0, "lost": 0}
    for id_ in ids:
        kept = {
            r.number: number_of(store.open("kept").load(id_, r.number)) for r in collection.revisions(id_)
        }
        key = f"{collection.name}/{id_}"
        told = {revision: n for some in clients for revision, n in some.saved[key] if n is not None}
        newest = sorted(told)[-40:]
        assert not [n for n in newest if kept.get(n) != told[n]]
        figures["saves"] += len(told)
    for some in clients:
        figures["conflicts"] += len(some.refusals)
        figures["imports"] += some.imported
    return figures


def full_disk(folder):
    """A server that may write no file of more than a few bytes, as on a full disk, and then again.

    Returns:
        What the canvas is told. Raises AssertionError: something is lost, or the sentence is none.
    """
    store = AnnotationStore(Path(folder) / "home" / "annotations")
    collection = store.create("Kept", PETS)
    id_ = collection.add_photo(photo(0), "a.png")
    key = f"kept/{id_}"
    with served_app(Path(folder)) as (url, process):
        page = Page(url)
        assert page.save("a", key, mask(1), 0)["revision"] == 1
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (60, resource.RLIM_INFINITY))
        told = page.save("a", key, mask(2), 1)["error"]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert page.save("a", key, mask(3), 1)["revision"] == 2
    check_whole(store)
    assert [number_of(collection.load(id_, n)) for n in (1, 2)] == [1, 3]
    return told
