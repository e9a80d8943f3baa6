"""How much of ONNX Runtime's own throughput reaches clients of the HTTP API, how long they wait, and what it costs.

    python benchmarks/load.py --all --json                            # every size and number of clients, 20 pages
    python benchmarks/load.py --sizes 2 --clients 1 50 --seconds 10   # some of it
    python benchmarks/load.py --soak 30                               # minutes of 10 clients and 20 open pages

Starts the page as it is, in a process of its own. Clients call ``/segment`` over plain HTTP, each as ``gradio_client``
does: upload a photo, call, read the stream of events to its end, fetch the label map. Each sends one photo after the
other, no two of them alike, so that nothing is answered from memory. They run in another process, beside the server
on the same cores, and what they take of these is told.

Before and after each block of seconds, ONNX Runtime alone runs the same network on the same cores at the size the
photo has in it, the best of two ways: one session with all threads, or as many workers as cores with one thread each.
``share`` is what is served a second over the mean of these two. Then ``share_of_program``: of what the same program
does a second without any server, from the bytes of the photo to those of the label map, as many photos at a time as
there are cores. Ratios are of one run; nothing else should run.

Who is refused because too many wait is told when to come again, and does so; ``refused`` counts that, ``errors`` all
that ended neither in a label map nor in that sentence.
"""

import argparse
import contextlib
import http.client
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MEGAPIXELS = (0.2, 2, 12)
CLIENTS = (1, 10, 50, 100)
PAGES = 20
BOUNDARY = "segdemo-load"
SOAK_MARK = 60  # seconds from one look at the server to the next


# --- clients: a process of their own ----------------------------------------------------------------------


class Connection:
    """One client: HTTP with connections kept open, as browsers and clients do."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self._http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)

    def request(self, method, path, body=None, kind="application/json"):
        """(status, bytes); a dictionary is sent as JSON."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self._http.request(method, path, body, {"Content-Type": kind} if body else {})
        answer = self._http.getresponse()
        return answer.status, answer.read()

    def post(self, path, body, kind="application/json"):
        return self.request("POST", path, body, kind)

    def get(self, path):
        return self.request("GET", path)

    def events(self, path):
        """The messages of a stream of events, as (event, data), until it ends."""
        self._http.request("GET", path)
        answer = self._http.getresponse()
        event = ""
        for line in answer:
            if line.startswith(b"event:"):
                event = line[6:].strip().decode()
            elif line.startswith(b"data:"):
                yield event, json.loads(line[5:])
        answer.read()

    def close(self):
        self._http.close()


def upload_form(photo, number):
    """A photo as a form, with a comment in it that makes it another file than the last."""
    unique = photo[:2] + b"\xff\xfe\x00\x12" + b"%016d" % number + photo[2:]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n'
    return b"%sContent-Type: image/jpeg\r\n\r\n%s\r\n--%s--\r\n" % (
        head.encode(),
        unique,
        BOUNDARY.encode(),
    )


def segment(client, photo, model, number):
    """One photo from upload to label map: what became of it, ``"done"``, ``"refused"`` or an error."""
    form = upload_form(photo, number)
    status, body = client.post("/gradio_api/upload", form, f"multipart/form-data; boundary={BOUNDARY}")
    if status != 200:
        return f"upload: {status} {body[:100]!r}"
    data = [{"path": json.loads(body)[0], "meta": {"_type": "gradio.FileData"}}, model]
    status, body = client.post("/gradio_api/call/segment", {"data": data})
    if status == 503:
        return "refused"
    if status != 200:
        return f"call: {status} {body[:100]!r}"
    event, answer = "", None
    for event, answer in client.events(  # noqa: B007 - the last one counts
        f"/gradio_api/call/segment/{json.loads(body)['event_id']}"
    ):
        pass
    if event != "complete":
        return f"answer: {event} {str(answer)[:100]}"
    status, body = client.get("/gradio_api/file=" + urllib.parse.quote(answer[0]["path"]))
    return "done" if status == 200 and body.startswith(b"\x89PNG") else f"label map: {status}"


def clients_main(options):
    """``options.number`` clients for ``options.seconds``: prints what became of every photo, as JSON."""
    photo = Path(options.photo).read_bytes()
    numbers, found, lock = itertools.count(int(time.time() * 1000) * 1000), [], threading.Lock()
    end = time.monotonic() + options.seconds

    def work():
        client = Connection(options.url)
        begun = time.monotonic()
        while time.monotonic() < end:
            start = time.monotonic()
            try:
                what = segment(client, photo, options.model, next(numbers))
            except (OSError, http.client.HTTPException, ValueError) as error:
                what = f"{type(error).__name__}: {error}"
                client.close()
            with lock:
                found.append(
                    (what, time.monotonic() - (begun if what == "done" else start), time.monotonic())
                )
            if what == "refused":
                time.sleep(1)
            else:
                begun = time.monotonic()
        client.close()

    threads = [threading.Thread(target=work) for _ in range(options.number)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = os.times()
    found = [(what, seconds, at - start) for what, seconds, at in found]
    print(json.dumps({"photos": found, "cpu": used.user + used.system}))


# --- open pages --------------------------------------------------------------------------------------------


class Pages:
    """What browsers with the page open ask for: the page, what it loads, its events, its timers and its heartbeat."""

    def __init__(self, url, number):
        self._url, self._stop = url, threading.Event()
        self.load_seconds, self.errors, self.events = [], [], 0
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(number)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        session = f"page{number}-{os.getpid()}"
        client, heart = Connection(self._url), Connection(self._url)
        try:
            start = time.monotonic()
            _, page = client.get("/")
            for asset in re.findall(rb'(?:src|href)="(?:\./)?(/?assets/[^"]+)"', page)[:20]:
                client.get("/" + asset.decode().lstrip("/"))
            config = json.loads(client.get("/config")[1])
            threading.Thread(target=self._listen, args=(heart, session), daemon=True).start()
            values = {part["id"]: part["props"].get("value") for part in config["components"]}
            timers = {part["id"]: part["props"] for part in config["components"] if part["type"] == "timer"}
            loads, ticks = [], []
            for event in config["dependencies"]:
                if event["backend_fn"] and any(kind == "load" for _, kind in event["targets"]):
                    loads.append(event)
                for target, kind in event["targets"]:
                    if kind == "tick" and event["backend_fn"] and timers[target].get("active", True):
                        ticks.append((float(timers[target]["value"]), event))
            self._ask(client, session, loads, values)
            self.load_seconds.append(time.monotonic() - start)
            due = [(time.monotonic() + every, every, event) for every, event in ticks]
            while not self._stop.wait(0.1):
                for n, (when, every, event) in enumerate(due):
                    if time.monotonic() >= when:
                        self._ask(client, session, [event], values)
                        due[n] = (time.monotonic() + every, every, event)
        except Exception as error:  # whatever a page meets is told
            if not self._stop.is_set():
                self.errors.append(f"{type(error).__name__}: {error}")
        finally:
            heart.close()
            client.close()

    def _listen(self, heart, session):
        with contextlib.suppress(Exception):  # it is closed in the middle
            for _ in heart.events(f"/gradio_api/heartbeat/{session}"):
                pass

    def _ask(self, client, session, events, values):
        """Join the queue with events, and read the stream until all of them are answered."""
        waiting = set()
        for event in events:
            data = {"fn_index": event["id"], "session_hash": session}
            data["data"] = [values.get(id_) for id_ in event["inputs"]]
            status, body = client.post("/gradio_api/queue/join", data)
            if status == 200:
                waiting.add(json.loads(body)["event_id"])
            else:
                self.errors.append(f"join: {status} {body[:100]!r}")
        if not waiting:
            return
        stream = Connection(self._url)
        for _, message in stream.events(f"/gradio_api/queue/data?session_hash={session}"):
            if message["msg"] == "process_completed":
                waiting.discard(message["event_id"])
                self.events += 1
                if not message["success"]:
                    self.errors.append(str(message["output"])[:200])
            if not waiting or message["msg"] == "close_stream":
                break
        stream.close()

    def close(self):
        """Shut the pages; returns what they met."""
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        slowest = max(self.load_seconds, default=None)
        loaded = {"loaded": len(self.load_seconds), "slowest_load_s": slowest and round(slowest, 2)}
        return {**loaded, "events": self.events, "errors": len(self.errors), "first_errors": self.errors[:3]}


# --- the server, looked at from outside --------------------------------------------------------------------


def look(pid, temp):
    """Memory, open files and temporary files of the server now."""
    status = Path(f"/proc/{pid}/status").read_text()
    megabytes = {key: int(re.search(rf"{key}:\s+(\d+)", status)[1]) // 1000 for key in ("VmRSS", "VmHWM")}
    sizes = []
    for folder, _, names in os.walk(temp):  # passes over folders that have just gone
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(Path(folder, name).stat().st_size)
    return {
        "memory_mb": megabytes["VmRSS"],
        "peak_memory_mb": megabytes["VmHWM"],
        "open_files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
        "temp_files": len(sizes),
        "temp_mb": round(sum(sizes) / 1e6, 1),
    }


def forget_peak(pid):
    """Let the peak of memory begin anew."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- ONNX Runtime alone: a process of its own ---------------------------------------------------------------


def raw_main(options):
    """Reads seconds from stdin, a line each; prints photos a second: of the network alone, of the program alone."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as app.py
    from segdemo import zoo
    from segdemo.core.label_maps import encode_png
    from segdemo.core.photos import read_photo
    from segdemo.core.settings import cores
    from segdemo.inference.predict import Predictor
    from segdemo.inference.sessions import open_session

    entry = zoo.served_model(options.model)
    data, predictor = Path(options.photo).read_bytes(), Predictor(entry)
    pixels = predictor.network_input(read_photo(data))

    def alone(session):
        return lambda: session.run(None, {"image": pixels})

    together, single = (
        open_session(entry.path, cores()),
        [open_session(entry.path, 1) for _ in range(cores())],
    )
    ways = [[alone(together)], [alone(session) for session in single]]
    program = [lambda: encode_png(predictor(read_photo(data)).label_map, entry.label_set)] * cores()
    for call in itertools.chain(*ways, program):
        call()
    for line in sys.stdin:
        seconds = float(line) / 3
        network = max(rate(way, seconds) for way in ways)
        print(json.dumps([network, rate(program, seconds)]), flush=True)


def rate(calls, seconds):
    """How often a second functions return, each called again and again in a thread of its own."""
    counts, start = [0] * len(calls), time.monotonic()

    def work(n, call):
        while time.monotonic() < start + seconds:
            call()
            counts[n] += 1

    threads = [threading.Thread(target=work, args=job) for job in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


@contextlib.contextmanager
def raw(photo, model):
    """A function: seconds to photos a second of the network alone, and of the program alone."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--raw", "--photo", str(photo), "--model", model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def measure(seconds):
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield measure
    finally:
        process.communicate()


# --- the measurement ----------------------------------------------------------------------------------------


def draw_photo(path, megapixels):
    """The cat that scikit-image carries, at another size and with some noise, as a JPEG."""
    import numpy as np
    from PIL import Image
    from skimage import data

    cat = Image.fromarray(data.chelsea())
    scale = (megapixels * 1e6 / (cat.width * cat.height)) ** 0.5
    cat = cat.resize((round(cat.width * scale), round(cat.height * scale)), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-6, 7, (cat.height, cat.width, 3), np.int16)
    out = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(cat) + noise, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    path.write_bytes(out.getvalue())


def run_clients(url, photo, model, number, seconds):
    """What ``clients_main`` prints, from a process of its own."""
    command = [sys.executable, __file__, "--client", "--url", url, "--photo", str(photo), "--model", model]
    command += ["--number", str(number), "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def summary(told, seconds):
    """Throughput and times of one block; what came after its end counts for the times only."""
    done = [(took, at) for what, took, at in told["photos"] if what == "done"]
    errors = [what for what, *_ in told["photos"] if what not in ("done", "refused")]
    times = sorted(took for took, _ in done)

    def percentile(share):
        return round(times[min(len(times) - 1, int(share * len(times)))], 3) if times else None

    span = max(seconds, *(at for _, at in done)) if done else seconds
    return {
        "photos": len(done),
        "a_second": round(len(done) / span, 2),
        "p50_s": percentile(0.5),
        "p95_s": percentile(0.95),
        "p99_s": percentile(0.99),
        "refused": sum(what == "refused" for what, *_ in told["photos"]),
        "errors": len(errors),
        "first_errors": errors[:3],
        "client_cpu_ms": round(1000 * told["cpu"] / max(1, len(done)), 1),
    }


def measure(server, photo, model, number, seconds):
    """One block: ``number`` clients for ``seconds`` between two blocks of ONNX Runtime alone."""
    url, pid, temp = server
    with raw(photo, model) as alone:
        run_clients(url, photo, model, 1, 0.1)  # to warm up
        first = alone(seconds / 2)
        before, cpu = look(pid, temp), cpu_seconds(pid)
        forget_peak(pid)
        served = summary(run_clients(url, photo, model, number, seconds), seconds)
        cpu, after = cpu_seconds(pid) - cpu, look(pid, temp)
        second = alone(seconds / 2)
    network, program = (statistics.mean(pair) for pair in zip(first, second, strict=True))
    return {
        "clients": number,
        **served,
        "network_a_second": [round(first[0], 2), round(second[0], 2)],
        "program_a_second": [round(first[1], 2), round(second[1], 2)],
        "share": round(served["a_second"] / network, 3),
        "share_of_program": round(served["a_second"] / program, 3),
        "server_cpu_ms": round(1000 * cpu / max(1, served["photos"]), 1),
        "before": before,
        "after": after,
    }


def soak(server, photo, model, minutes, number):
    """Clients for many minutes: what the server takes at its beginning and then once a minute."""
    url, pid, temp = server
    command = [sys.executable, __file__, "--client", "--url", url, "--photo", str(photo), "--model", model]
    command += ["--number", str(number), "--seconds", str(minutes * 60)]
    looks = [{"minute": 0, **look(pid, temp)}]
    clients = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = []
    reader = threading.Thread(target=lambda: out.append(clients.stdout.read()))
    reader.start()
    start = time.monotonic()
    while clients.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            clients.wait(SOAK_MARK)
        looks.append({"minute": round((time.monotonic() - start) / 60, 1), **look(pid, temp)})
        print(json.dumps(looks[-1]), file=sys.stderr)
    reader.join()
    return {"clients": number, **summary(json.loads(out[0]), minutes * 60), "looks": looks}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deeplabv3")
    parser.add_argument("--sizes", type=float, nargs="+", default=[2], help="megapixels")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 50], dest="numbers")
    parser.add_argument("--seconds", type=float, default=20, help="of one block")
    parser.add_argument("--pages", type=int, default=0, help="open pages beside the clients")
    parser.add_argument("--all", action="store_true", help=f"{MEGAPIXELS}, {CLIENTS}, and {PAGES} open pages")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="10 clients and 20 pages for so long")
    parser.add_argument("--json", action="store_true")
    for internal in ("--client", "--raw"):
        parser.add_argument(internal, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    for internal in ("--url", "--photo"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        return clients_main(options)
    if options.raw:
        return raw_main(options)
    if options.all:
        options.sizes, options.numbers, options.pages = MEGAPIXELS, CLIENTS, PAGES

    from serving import served_app

    result = {"model": options.model, "seconds": options.seconds, "blocks": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        photos = {size: folder / f"photo-{size:g}.jpg" for size in options.sizes}
        for size, path in photos.items():
            draw_photo(path, size)
        temp = folder / "app" / "gradio"
        with served_app(folder / "app", fresh=True) as (url, process):
            server = url, process.pid, temp
            result["at_start"] = look(process.pid, temp)
            if options.soak:
                pages = Pages(url, PAGES)
                path = photos[options.sizes[0]]
                result["soak"] = soak(server, path, options.model, options.soak, 10)
                result["soak"]["pages"] = pages.close()
            else:
                for size in options.sizes:
                    for number in options.numbers:
                        block = measure(server, photos[size], options.model, number, options.seconds)
                        result["blocks"].append({"megapixels": size, "pages": 0, **block})
                        tell(result["blocks"][-1])
                if options.pages:
                    pages = Pages(url, options.pages)
                    block = measure(server, photos[options.sizes[0]], options.model, 10, options.seconds)
                    told = {"megapixels": options.sizes[0], "pages": pages.close(), **block}
                    result["blocks"].append(told)
                    tell(told)
            time.sleep(5)
            result["at_end"] = look(process.pid, temp)
    if options.json:
        print(json.dumps(result, indent=1))
    return None


def tell(block):
    """One line on a block, for whoever waits."""
    print(
        f"{block['megapixels']:5g} MP {block['clients']:4} clients  {block['a_second']:6.1f}/s, "
        f"{block['share']:5.2f} of {statistics.mean(block['network_a_second']):.1f}, "
        f"{block['share_of_program']:.2f} of {statistics.mean(block['program_a_second']):.1f}  "
        f"p50 {block['p50_s']} p95 {block['p95_s']} p99 {block['p99_s']} s  "
        f"refused {block['refused']} errors {block['errors']} "
        f"{' '.join(block['first_errors'])}  cpu {block['server_cpu_ms']} + {block['client_cpu_ms']} ms  "
        f"memory {block['before']['memory_mb']} -> {block['after']['memory_mb']} "
        f"(peak {block['after']['peak_memory_mb']}) MB  files {block['after']['open_files']}  "
        f"temp {block['after']['temp_mb']} MB",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
