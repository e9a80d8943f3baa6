"""Every endpoint of the running page, also the private ones, called by somebody who means no good.

What a visitor may see is a sentence, a refusal, or what the page shows anyway; never a file of the server's, a
traceback or a change of what others have.
"""

import base64
import hashlib
import itertools
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import last_message, served_app
from tiny import bright, write_click_model, write_model
from visiting import SERVER_FUNCTIONS, server_functions

from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import PETS, VOC

SESSIONS = itertools.count()
# Gradio's own words on a choice that is none repeat what was sent, and the choices that everybody sees.
SENTENCE = re.compile(r"[A-Z0-9'\"].*[.:!?]$|Value: .* is not in the list of choices: .*\]$", re.S)


def deep(levels):
    """Lists in lists."""
    return json.loads("[" * levels + "]" * levels)


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The state of an installation with a collection of somebody else's."""
    folder = tmp_path_factory.mktemp("walk") / "app"
    write_model(folder / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    write_click_model(folder / "home" / "models" / "click")
    collection = AnnotationStore(folder / "home" / "annotations").create("Somebody else's", VOC)
    photo = np.zeros((16, 24, 3), np.uint8)
    collection.save(collection.add_photo(photo, "photo.png"), np.ones((16, 24), np.uint8), 0)
    return folder


def state_of(folder):
    """Digest of every file of the home but caches and locks."""
    files = (p for p in (folder / "home").rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if "cache" not in p.parts}


def config(url):
    with urllib.request.urlopen(f"{url}config") as response:
        return json.load(response)


def ask(url, event, values):
    """The last message of an event, as the page's queue gives it to anybody."""
    session = f"walk{next(SESSIONS)}"
    data = json.dumps({"data": values, "fn_index": event, "session_hash": session}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        urllib.request.urlopen(
            urllib.request.Request(f"{url}gradio_api/queue/join", data, headers), timeout=60
        ).close()
        # Gradio cannot write half a surrogate pair, and hangs up.
        return last_message(url, session) or {"success": False}
    except urllib.error.HTTPError as error:
        return {"success": False, "output": {"error": None}, "refused": error.code}


def test_no_event_gives_a_file_or_a_traceback_or_changes_what_others_have(home, secret):
    # A session for each call; what each keeps is bounded by the setting, and is not what is looked for here.
    with served_app(home, SEGDEMO_MAX_SESSIONS="100") as (url, process):
        page = config(url)
        kinds = {part["id"]: (part["type"], part["props"].get("value")) for part in page["components"]}
        # The webcam's waits for further frames: see tests/ui/test_video_tab.py.
        events = [e for e in page["dependencies"] if e["backend_fn"] and e["connection"] != "stream"]
        assert len(events) > 50
        assert {"segment", "click", "batch", "video"} <= {event["api_name"] for event in events}
        before = state_of(home)
        described = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
        hostile = [
            described,
            [{"path": str(secret)}],
            {"collection": described, "photo": str(secret), "run": "../..", "image": described},
            {"collection": "somebody-else-s", "photo": "../../x", "run": "../..", "model": "colours"},
            1e308,
            deep(300),
            "\0\ud800<script>" + "x" * 100_000,
        ]

        def walk(job):
            event, value = job
            taken = [kinds[id_] for id_ in event["inputs"]]
            # A photo or archive that is none is refused first, and nothing else is looked at: so without one, too.
            ways = [[value if kind not in ("file", "image") else None for kind, _ in taken]]
            if any(kind in ("file", "image") for kind, _ in taken):
                ways.append([value for _ in taken])
            return [(event["id"], value, ask(url, event["id"], values)) for values in ways]

        with ThreadPoolExecutor(8) as pool:
            answers = [one for some in pool.map(walk, itertools.product(events, hostile)) for one in some]
        for event, value, message in answers:
            told = (message.get("output") or {}).get("error")
            shown = json.dumps(message)
            assert told is None or SENTENCE.match(told), (event, value, told)
            unsaid = "refused" in message or value == hostile[-1]  # half a surrogate pair, see ``ask``
            assert told or message["success"] or unsaid, (event, value)
            assert "Traceback" not in shown, (event, value)
            assert 'File "/' not in shown, (event, value)
        taken_over = {p for p in (home / "gradio").rglob("*") if p.is_file()}
        assert secret.read_bytes() not in {path.read_bytes() for path in taken_over}
        after = state_of(home)
        assert before.items() <= after.items()
        # /collection_create takes some of it for a title and for names of classes, as anybody may choose them.
        made = {Path(path).relative_to(home / "home").parts[0] for path in after.keys() - before.keys()}
        assert made <= {"annotations"}
        assert process.poll() is None
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert (
            int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 1_000_000
        )  # kB, with eight models open: 913 to 965 MB


def test_no_function_of_a_component_gives_a_photo_or_a_traceback_or_changes_what_others_have(home, secret):
    """What the canvas calls, called by somebody who guesses keys."""
    [id_] = [path.stem for path in (home / "home" / "annotations").rglob("JPEGImages/*")]
    png = base64.b64encode(secret.read_bytes()).decode()
    fields = {
        "clicks": [[1, 1, 1]],
        "png": png,
        "data": png,
        "width": 24,
        "height": 16,
        "labels": {},
        "base": "",
    }
    keys = [
        *(
            str(secret),
            f"{secret}:colours",
            f"../../{secret}",
            f"somebody-else-s/../../../..{secret}",
            "",
            "/",
        ),
        *("somebody-else-s", "somebody-else-s/nobody", f"nobody-s/{id_}", f"somebody-else-s/{id_}/1"),
        *("\0/\0", "x" * 100_000, 7, None, ["somebody-else-s"], {"path": str(secret)}),
    ]
    ways = [{}, {"preview": True}, {"prepare": True}]
    hostile = [{**fields, **way, "key": key} for key in keys for way in ways]
    hostile += [1e308, deep(300), None, "\0<script>", [str(secret)], {"path": str(secret)}]
    mine = {**fields, "key": f"somebody-else-s/{id_}"}
    wrong = {
        "save_mask": {"png": ["A" * 10_000, 7, png[:80]]},
        "import_mask": {"data": ["A" * 10_000, 7, png], "width": [-1, "x"], "height": [None], "labels": [[]]},
        "select_thing": {
            "clicks": [[[99, 1, 1]], "x", deep(300)],
            "mask": [png, 7],
            "box": [7, [0, 0, 0, 0]],
        },
        "teach_features": {},
        "teach_strokes": {"png": ["A" * 10_000, 7, png], "base": [7, None, deep(300)]},
    }
    with served_app(home) as (url, process):
        functions = server_functions(config(url))
        assert {name for _, name in functions} == SERVER_FUNCTIONS
        before = state_of(home)

        def call(id_, name, data):
            body = {"session_hash": "walk", "component_id": id_, "fn_name": name, "data": data}
            request = urllib.request.Request(
                f"{url}gradio_api/component_server",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        for id_of_part, name in functions:
            own = [{**mine, field: value} for field, values in wrong[name].items() for value in values]
            for data in hostile + own:
                answer = call(id_of_part, name, data)
                assert isinstance(answer, dict), (name, data, answer)
                assert answer.keys() == {"error"}, (name, data, answer)
                assert SENTENCE.match(answer["error"]), answer
                assert "Traceback" not in answer["error"]
        part = next(id_of_part for id_of_part, name in functions if name == "select_thing")
        assert call(part, "select_thing", mine).keys() >= {"box", "probabilities"}  # its photo is everybody's
        assert call(part, "teach_features", mine).keys() >= {"data", "guide"}
        for name in ("on_select", "get_config", "__class__", "preprocess"):
            assert call(part, name, mine)[0] == 404
        assert state_of(home) == before
        assert process.poll() is None


def test_nobody_who_is_not_signed_in_gets_anything_where_users_are_named(home, secret):
    with served_app(home, SEGDEMO_USERS="ann:secret") as (url, _):
        upload = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n--x--\r\n'
        )
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        body = {"Content-Type": "application/json"}
        join = json.dumps({"data": [], "fn_index": 0, "session_hash": "a"}).encode()
        server = b'{"session_hash": "a", "component_id": 1, "fn_name": "x", "data": 1}'
        asked = [
            ("config", None, {}),
            ("gradio_api/info", None, {}),
            ("gradio_api/queue/join", join, body),
            ("gradio_api/queue/data?session_hash=a", None, {}),
            ("gradio_api/call/models", b'{"data": []}', body),
            ("gradio_api/run/models", b'{"data": []}', body),
            ("gradio_api/upload", upload, form),
            ("gradio_api/component_server", server, body),
            (f"gradio_api/file={urllib.parse.quote(str(secret))}", None, {}),
            (f"gradio_api/stream/a/0/{secret.name}", None, {}),
        ]
        for path, data, headers in asked:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=30)
            assert refused.value.code in (401, 403, 404, 405), path
            refused.value.close()


def test_no_route_serves_a_file_from_elsewhere(home, secret):
    places = (str(secret), f"{home}/home/models/colours/manifest.json", "/etc/passwd", "app.py", "../app.py")
    prefixes = ("file=", "file/", "proxy=http://127.0.0.1:1/", "upload?path=")
    with served_app(home) as (url, _):
        for prefix, path in itertools.product(prefixes, places):
            try:
                with urllib.request.urlopen(
                    f"{url}gradio_api/{prefix}{urllib.parse.quote(path)}", timeout=30
                ) as got:
                    content = got.read()
            except urllib.error.HTTPError as error:
                content = error.read()
                error.close()
            assert secret.read_bytes() not in content
            assert b"root:" not in content
            assert b"onnx_sha256" not in content
            assert b"build()" not in content, path
