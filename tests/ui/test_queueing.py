"""Who may wait for a model, what is said to others, and what a caller leaves behind."""

import asyncio
import copy
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from drawn import encoded
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState
from serving import served_app
from tiny import bright, write_model
from waiting import once

from segdemo.core.labels import PETS
from segdemo.ui import queueing

pytestmark = [
    pytest.mark.usefixtures("event_loops_collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def upload(url, name, data):
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    form = head.encode() + data + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{url}gradio_api/upload", form, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)[0]


def call(url, path, **more):
    """What ``/segment`` says: ("complete" or "error", data), or (status, sentence) where it is not let in."""
    data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "colours"], **more}
    request = urllib.request.Request(
        f"{url}gradio_api/call/segment", json.dumps(data).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            event = json.load(answer)["event_id"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["detail"]
    with urllib.request.urlopen(f"{url}gradio_api/call/segment/{event}") as stream:
        lines = [line for line in stream.read().decode().split("\n\n") if line.startswith("event: ")]
    last = next(line for line in lines[::-1] if "heartbeat" not in line)
    kind, _, told = last.removeprefix("event: ").partition("\ndata: ")
    return kind, json.loads(told)


def test_beyond_the_bound_callers_are_told_when_to_come_and_all_others_are_served(tmp_path):
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    with served_app(tmp_path, SEGDEMO_PREDICTIONS="1", SEGDEMO_MAX_WAITING="2") as (url, _):
        path = upload(url, "noise.png", encoded(pixels, compress_level=1))
        assert call(url, path)[0] == "complete"
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: call(url, path), range(12)))
        served = [told for kind, told in answers if kind == "complete"]
        refused = [told for kind, told in answers if kind == 503]
        assert len(served) + len(refused) == 12
        assert len(served) >= 3  # one in work and two in line
        assert refused
        for sentence in refused:
            assert sentence.startswith(
                "Busy: 2 photos are waiting already, and yours would be number 3 in line. Try again in about "
            )
        assert len({told[0]["path"] for told in served}) == 1
        assert call(url, path)[0] == "complete"  # and it goes on


def page():
    with gr.Blocks(analytics_enabled=False) as demo:
        box, button = gr.Textbox("as built"), gr.Button()
        state = gr.State({"a": 1})
        button.click(lambda: "new", None, box, concurrency_id=queueing.PREDICT, api_name="go")
    return demo, box, state


@pytest.mark.usefixtures("loops_closed")
def test_sessions_share_the_description_of_the_page_and_not_its_values():
    demo, box, _ = page()
    plain = SessionState(demo).config_values
    queueing.bound(demo, 3)
    first, second = SessionState(demo), SessionState(demo)
    assert first.config_values == second.config_values == plain
    first._update_value_in_config(box._id, "typed by one")
    assert first.config_values[box._id]["props"]["value"] == "typed by one"
    assert second.config_values[box._id]["props"]["value"] == "as built"
    assert SessionState(demo).config_values == plain
    changed = copy.copy(box)
    changed.label = "Another"
    first[box._id] = changed
    first._update_config(box._id)
    assert first.config_values[box._id]["props"]["label"] == "Another"
    assert second.config_values[box._id]["props"].get("label") != "Another"
    assert isinstance(copy.copy(first.blocks_config), BlocksConfig)


@pytest.mark.usefixtures("loops_closed")
def test_no_component_is_described_twice(monkeypatch):
    demo, _, _ = page()
    queueing.bound(demo, 3)
    SessionState(demo)
    described = []
    original = BlocksConfig.config_for_block
    monkeypatch.setattr(
        BlocksConfig, "config_for_block", staticmethod(lambda *a: described.append(a) or original(*a))
    )
    SessionState(demo)
    assert not described


@pytest.mark.usefixtures("loops_closed")
def test_a_plain_call_leaves_nothing_behind_and_a_page_keeps_its_state_until_long_after_it_is_closed(
    monkeypatch,
):
    demo, _, state = page()
    queueing.bound(demo, 3)
    holder = demo.app.state_holder
    holder.set_blocks(demo)
    queue = demo._queue
    queue.set_server_app(demo.app)

    async def nothing(*_):
        pass

    monkeypatch.setattr(queueing.Queue, "process_events", nothing)
    for session, stays in (("call", False), ("page", True)):
        holder[session][state._id] = {"a": 2}
        event = SimpleNamespace(_id="call", session_hash=session)
        queue.event_analytics["call"] = {}
        with ThreadPoolExecutor(
            1
        ) as pool:  # a thread of its own has no loop that runs already, as a browser's may
            pool.submit(asyncio.run, queue.process_events([event], False, 0.0, None)).result()
        assert (session in holder) is stays
        assert (session in holder.time_last_used) is stays
        assert not queue.event_analytics
    assert queue._closed() == []
    holder.session_data["page"].is_closed = True
    assert queue._closed() == []  # somebody may come back to it
    holder.time_last_used["page"] -= timedelta(hours=2)
    assert queue._closed() == ["page"]


@pytest.mark.usefixtures("loops_closed")
def test_one_who_opens_many_pages_has_none_of_others_forgotten():
    demo, _, _ = page()
    queueing.bound(demo, 3)
    demo._queue.set_server_app(demo.app)
    holder = demo.app.state_holder
    holder.set_blocks(demo)
    holder.capacity = 4

    def opened(session, address):
        holder.note(session, address)
        holder[session]

    opened("ann's", "1.1.1.1")
    opened("bob's", "2.2.2.2")
    for n in range(40):
        opened(f"many-{n}", "3.3.3.3")
        holder[f"unnoted-{n}"]  # as where a page's first call is of a component's function
    assert {"ann's", "bob's"} <= holder.session_data.keys()
    assert len(holder.session_data) == len(holder.time_last_used) == 4
    assert len(holder.addresses) <= 2 * holder.capacity + 100
    for n in range(200):
        holder.note(f"never-opened-{n}", "3.3.3.3")
    assert {"ann's", "bob's"} <= holder.addresses.keys()
    assert len(holder.addresses) <= 2 * holder.capacity + 101
    for n in range(4):
        opened(f"one-{n}", f"4.4.4.{n}")
    assert list(holder.session_data) == [
        f"one-{n}" for n in range(4)
    ]  # nobody has more than others: the oldest


@pytest.mark.usefixtures("loops_closed")
def test_a_proxy_that_does_not_say_whose_pages_they_are_is_told_of_once(monkeypatch, caplog):
    demo, _, _ = page()
    queueing.bound(demo, 3)

    def told(addresses):
        holder = queueing.FairStates()
        holder.set_blocks(demo)
        caplog.clear()
        for n in range(2 * queueing.ALIKE):
            holder.note(f"page-{n}", addresses[n % len(addresses)])
        return caplog.messages

    assert not told(["172.17.0.1"])  # at one's own desk nobody else comes
    monkeypatch.setenv("SEGDEMO_WORKSPACES", "visitors")
    [said] = told(["172.17.0.1"])
    assert said.startswith("All of 50 pages came from 172.17.0.1.")
    assert not told(["172.17.0.1", "172.17.0.2"])
    assert not told(["8.8.8.8"])
    assert not told([""])


@pytest.mark.usefixtures("loops_closed")
def test_the_sentence_tells_the_place_and_the_time():
    demo, _, _ = page()
    queueing.bound(demo, 3)
    (fn,) = demo.fns.values()
    waiting = SimpleNamespace(queue=[None] * 7, concurrency_limit=2)
    assert demo._queue._busy(fn, waiting) == (
        "Busy: 7 photos are waiting already, and yours would be number 8 in line. Try again in about 4 seconds."
    )
    demo._queue.process_time_per_fn[fn].add(0.05)
    assert demo._queue._busy(fn, waiting).endswith("Try again in about 1 second.")


def test_nobody_gets_past_the_line(tmp_path):
    """Gradio answers some direct calls at once, however many are at work."""
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    with served_app(tmp_path) as (url, _):
        for place in ("run/segment", "api/segment", "run/video", "api/collection_export"):
            body = json.dumps({"data": [None, "colours"]}).encode()
            request = urllib.request.Request(
                f"{url}gradio_api/{place}", body, {"Content-Type": "application/json"}
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code == 404 and "join the queue" in refused.value.read().decode()


class Told:
    """A worker that remembers what it is told."""

    def __init__(self):
        self.all = []

    def joined(self, page, event):
        self.all.append(("joined", page))

    def left(self, event):
        self.all.append(("left",))

    def abandoned(self, event):
        self.all.append(("abandoned",))


@pytest.fixture
def slow_page():
    """(address, its queue, calls that have begun, what lets them end, what a worker is told) of a page of one event."""
    begun, end, told = [], threading.Event(), Told()

    def slowly(name):
        begun.append(name)
        assert end.wait(60)
        return name

    with gr.Blocks(analytics_enabled=False) as demo:
        gr.Button().click(slowly, gr.Textbox(), gr.Textbox(), concurrency_id="slow", concurrency_limit=1)
    queueing.bound(demo, 3, {"slow": told})
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield url, demo._queue, begun, end, told
    end.set()
    demo.close(verbose=False)


def post(url, path, **body):
    """(status, what is answered) of a POST."""
    request = urllib.request.Request(
        f"{url}gradio_api/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def join(url, session, value=""):
    return post(url, "queue/join", data=[value], fn_index=0, session_hash=session)


def test_who_cancels_what_is_at_work_makes_no_room_until_it_has_ended(slow_page):
    url, queue, begun, end, told = slow_page
    status, answer = join(url, "one", "first")
    assert status == 200
    once(lambda: begun == ["first"])
    assert join(url, "two", "second")[0] == 200
    asked = {"session_hash": "one", "fn_index": 0, "event_id": answer["event_id"]}
    assert post(url, "cancel", **asked) == (200, {"success": True})
    assert told.all == [("joined", "one"), ("joined", "two"), ("abandoned",)]
    with urllib.request.urlopen(f"{url}gradio_api/queue/data?session_hash=one", timeout=60) as stream:
        assert b"process_completed" in stream.read()  # who cancels need not wait
    line = queue.event_queue_per_concurrency_id["slow"]
    assert (begun, line.current_concurrency) == (["first"], 1)
    end.set()
    once(lambda: begun == ["first", "second"])
    once(lambda: line.current_concurrency == 0)
    once(lambda: told.all[3:] == [("left",), ("left",)])


def test_the_work_of_who_hangs_up_is_given_up(slow_page):
    url, queue, begun, _, told = slow_page
    join(url, "one", "first")
    once(lambda: begun)
    with urllib.request.urlopen(f"{url}gradio_api/queue/data?session_hash=one", timeout=60) as stream:
        stream.readline()
    once(lambda: ("abandoned",) in told.all)
    assert queue.event_queue_per_concurrency_id["slow"].current_concurrency == 1


def test_a_session_without_a_name_is_refused_and_nothing_breaks(slow_page, caplog):
    url, queue, begun, end, _ = slow_page
    status, answer = join(url, "")
    assert (status, answer["detail"]) == (400, queueing._NO_PAGE)
    assert not queue.event_ids_to_events
    end.set()
    assert join(url, "one", "first")[0] == 200
    once(lambda: begun == ["first"])


def asked(address="1.1.1.1", size=0):
    """A request."""
    counted = {queueing.COUNTED: SimpleNamespace(read=size)}
    return SimpleNamespace(client=SimpleNamespace(host=address), scope=counted)


def pushed(queue, session, request, number=0):
    """What the queue says to an event of a session: "" or a sentence."""
    body = SimpleNamespace(fn_index=number, session_hash=session, api_name=None, data=[""])
    let_in, told, _ = asyncio.run(queue.push(body, request, None))
    return "" if let_in else told


@pytest.fixture
def queue(monkeypatch, loops_closed):
    """That of a page with an event that takes words, one that takes files, and one that takes a picture."""
    with gr.Blocks(analytics_enabled=False) as demo:
        for component in (gr.Textbox(), gr.File(), gr.Image()):
            gr.Button().click(lambda _: None, component, concurrency_id="things")
    queueing.bound(demo, 3)
    demo._queue.live_updates = False
    return demo._queue


def apart(function, *arguments):
    """In a thread of its own, which has no loop that runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def test_one_address_does_not_fill_a_line_nor_all_of_them_without_bound(queue, monkeypatch):
    monkeypatch.setattr(queueing, "MOST_IN_LINE", 4)
    monkeypatch.setattr(queueing, "MOST_OF_ONE", 2)

    def told(session, address):
        return apart(pushed, queue, session, asked(address))

    assert not told("a", "1.1.1.1") and not told("b", "1.1.1.1")
    assert told("a", "1.1.1.1").startswith(
        "Busy: 2 requests are from your network's address waiting already."
    )
    assert not told("c", "2.2.2.2") and not told("d", "2.2.2.2")
    assert told("e", "3.3.3.3") == "Busy: 4 requests are waiting already. Try again in a minute."
    line = queue.event_queue_per_concurrency_id["things"]
    line.queue.clear()
    monkeypatch.setattr(queueing, "MOST_AT_ALL", 2)
    monkeypatch.setattr(queue, "limit", 1)
    assert "from your network's address" in told("f", "1.1.1.1")  # two are at work
    assert not told("f", "3.3.3.3")


def test_what_waits_has_bounds_in_bytes(queue, monkeypatch):
    def told(size, number=2, address="1.1.1.1"):
        return apart(pushed, queue, "page", asked(address, size), number)

    words, files, picture = range(3)
    assert told(queueing.MOST_OF_WORDS + 1, words) == queueing._TOO_LONG
    assert told(queueing.MOST_OF_FILES + 1, files) == queueing._TOO_LONG
    assert not told(queueing.MOST_OF_WORDS, words) and not told(queueing.MOST_OF_WORDS + 1, files)
    assert not queue.event_ids_to_events.clear()
    assert not told(queueing.MOST_BYTES_OF_ONE + 1)  # one is let in however large it is
    assert told(1) == "Busy: large requests are waiting already. Try again in a minute."
    assert not told(queueing.MOST_BYTES - queueing.MOST_BYTES_OF_ONE - 1, picture, "2.2.2.2")
    assert "large requests" in told(1, picture, "3.3.3.3")
    queue.event_ids_to_events.clear()
    assert not told(1, picture, "3.3.3.3")


def test_names_made_up_take_nobody_elses_answers_away(queue, monkeypatch):
    monkeypatch.setattr(queueing, "MOST_TOLD", 4)
    boxes, pending = queue.pending_messages_per_session, queue.pending_event_ids_session

    def told(session, address):
        return apart(pushed, queue, session, asked(address))

    def answered(*sessions):
        for session in sessions:
            for event in pending[session]:
                queue.event_ids_to_events.pop(event, None)

    assert not told("waits", "1.1.1.1") and not told("ann's", "2.2.2.2")
    answered("ann's")  # and she has not fetched it yet
    for n in range(20):
        assert not told(f"made up {n}", "3.3.3.3")
        answered(f"made up {n}")
    assert list(boxes) == ["waits", "ann's", "made up 18", "made up 19"]
    assert boxes.keys() == pending.keys()
    assert not told("made up 19", "3.3.3.3")  # that is there, and waits now
    assert not told("bob's", "4.4.4.4") and not told("cid's", "5.5.5.5")
    assert list(boxes) == ["waits", "made up 19", "bob's", "cid's"]
    assert told("dan's", "6.6.6.6") == "Busy: 4 pages are waiting already. Try again in a minute."
    pending["waits"].clear()  # its answer was fetched
    assert not told("dan's", "6.6.6.6")
    assert "waits" not in boxes
