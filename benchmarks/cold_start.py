"""What a Space has to install and how soon it answers, with what serving needs and with all that training needs too.

    python benchmarks/cold_start.py [--sets serve train] [--starts 3] [--environments DIR] [--json]

For each set: a fresh environment gets the packages of its list, the files are those of ``segdemo deploy``, and the
page is started with an empty state as a Space starts it. Told are

* seconds to install, from wherever pip fetches here, and megabytes on disk of packages and of files;
* seconds from the start of the process to the first byte of ``/healthz``, and to the first label map: the
  first start, the median and the least of all;
* what ``/click`` answers, if a click model is among the files.

``--environments`` keeps the environments in a folder, and takes those that are there already, whose time to install is
not told then. The disk's cache is as it happens to be. What else ran at the time is told by the load of the machine.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
SECONDS = 300  # until a page that does not answer has failed


def megabytes(folder):
    """What the files below a folder take, links not counted."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def environment(folder, requirements):
    """A fresh environment with the packages of a list: (its Python, seconds to install or None if it was there)."""
    python = folder / "bin" / "python"
    if python.exists():
        return python, None
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-r", requirements], check=True, stderr=subprocess.DEVNULL
    )
    return python, time.perf_counter() - start


class Page:
    """A page that has been started, and a client of it over plain HTTP."""

    def __init__(self, port):
        self._port = port

    def request(self, method, path, body=None, kind="application/json"):
        """(status, bytes) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def upload(self, path):
        """A photo, as events take it."""
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
        body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        _, told = self.request("POST", "/gradio_api/upload", body, f"multipart/form-data; boundary={mark}")
        return {"path": json.loads(told)[0], "meta": {"_type": "gradio.FileData"}}

    def call(self, name, *data):
        """What an endpoint answers: ("complete", its data) or ("error", what it says)."""
        _, told = self.request("POST", f"/gradio_api/call/{name}", json.dumps({"data": data}))
        _, stream = self.request("GET", f"/gradio_api/call/{name}/{json.loads(told)['event_id']}")
        *_, last = stream.decode().strip().split("\n\n")
        event, _, text = last.partition("\n")
        return event.removeprefix("event: "), json.loads(text.removeprefix("data: "))


@contextlib.contextmanager
def started(python, code, folder):
    """The page from the files in ``code``, as a Space starts it: yields (Page, seconds so far, process)."""
    from serving import free_port

    port = free_port()
    own = ("PYTHON", "SEGDEMO_", "GRADIO_", "VIRTUAL_ENV")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(own)},
        "HOME": str(folder),
        "SEGDEMO_HOME": str(folder / "state"),
        "SPACE_ID": "ann/segdemo",
        "SEGDEMO_THREADS": "2",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
    }
    with (folder / "log").open("wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen([python, "app.py"], cwd=code, env=variables, stdout=log, stderr=log)
        try:
            yield Page(port), lambda: time.perf_counter() - start, process
        finally:
            process.terminate()
            process.wait(30)


def first_answer(python, code, photo):
    """One start: seconds to /healthz, seconds to the first label map, and what /click says."""
    with (
        tempfile.TemporaryDirectory() as folder,
        started(python, code, Path(folder)) as (page, seconds, process),
    ):
        healthy = None
        while True:
            with contextlib.suppress(OSError):
                if page.request("GET", "/healthz") == (200, b"ok"):
                    healthy = healthy or seconds()
                if healthy and page.request("GET", "/")[0] == 200:  # as a visitor, who gets the page first
                    break
            if process.poll() is not None or seconds() > SECONDS:
                raise RuntimeError((Path(folder) / "log").read_text())
            time.sleep(0.02)
        try:
            uploaded = page.upload(photo)
            event, answer = page.call("segment", uploaded, "deeplabv3")
        except OSError as error:
            raise RuntimeError(f"{process.poll()} {(Path(folder) / 'log').read_text()}") from error
        answered = seconds()
        if event != "complete" or "cat" not in json.dumps(answer):
            raise RuntimeError(f"/segment: {answer}")
        click = page.call("click", uploaded, "[[200, 150, 1]]", None, None)
    return healthy, answered, click


def spread(seconds):
    """The first, the median and the least of some starts."""
    return {
        "first": round(seconds[0], 2),
        "median": round(statistics.median(seconds), 2),
        "least": round(min(seconds), 2),
    }


def measure(kinds, starts, environments):
    """What the module says, for each set: kind to a dictionary. Starts of the sets take turns."""
    from segdemo.hosting.bundle import bundle

    report, pages, times = {}, {}, {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            code = Path(folder) / f"files-{kind}"
            bundle(train=kind == "train").write_to(code)
            python, installing = environment((environments or Path(folder)) / kind, code / "requirements.txt")
            (packages,) = python.parent.parent.glob("lib/python*/site-packages")
            pages[kind] = python, code, packages / "skimage/data/chelsea.png"
            report[kind] = {
                "packages": len(list(packages.glob("*.dist-info"))),
                "packages_mb": round(megabytes(packages)),
                "files_mb": round(megabytes(code)),
                "seconds_to_install": installing and round(installing, 1),
            }
        for _ in range(starts):
            for kind in kinds:
                times[kind].append((*first_answer(*pages[kind]), os.getloadavg()[0]))
    for kind, row in report.items():
        healthy, answered, clicks, loads = zip(*times[kind], strict=True)
        event, click = clicks[0]
        row |= {
            "seconds_to_health": spread(healthy),
            "seconds_to_answer": spread(answered),
            "click": click[1] if event == "complete" else click["error"],
            "load": [round(load, 1) for load in (min(loads), max(loads))],
            "cores": len(os.sched_getaffinity(0)),
        }
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sets", nargs="+", choices=("serve", "train"), default=["serve", "train"])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--environments", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(options.sets, options.starts, options.environments)
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for kind, row in report.items():
        print(kind, *(f"  {name}: {value}" for name, value in row.items()), sep="\n")


if __name__ == "__main__":
    main()
