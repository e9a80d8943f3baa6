"""Who may wait for a model, what is said to others, and what a caller leaves behind."""

import asyncio
import copy
import json
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

from segdemo.core.labels import PETS
from segdemo.ui import queueing


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
