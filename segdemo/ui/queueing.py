"""The queue of the page's events with bounds, and without what Gradio's own does for every photo that is asked for.

Whoever gives an event up, or goes while it is worked on, makes no room for another: a thread cannot be ended, so its
place in line is held until it has.

Measured with ``benchmarks/load.py`` at 10 clients: half of the server's time went into a copy of the description of
every component, made for each caller and kept for 10,000 of them, a table of all past events summed up anew after each
event, and messages to everybody in line whenever somebody's turn came.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import BlocksConfig
from gradio.queueing import Event, Queue
from gradio.state_holder import StateHolder

from segdemo.core import settings
from segdemo.core.conventions import number_of, so_many_are

COUNTED = "segdemo.counted"  # where a request's scope holds what tells the bytes that came: its ``read``
PREDICT = "predict"  # `concurrency_id` of the events that run a model
TELL_SECONDS = 2  # between two messages to those in line on their place
ALIKE = 50  # pages of one address alone, before a proxy is suspected that does not say whose they are
LOOK_SECONDS = 0.004  # between two looks for events that may begin; Gradio looks a thousand times a second
MOST_IN_LINE = 200  # events of a group, but those that run a model, that wait
MOST_OF_ONE = 100  # of these of one network's address
MOST_AT_ALL = 500  # events of one address, of whatever group, that wait or are at work
MOST_TOLD = 2000  # pages and calls for which messages are kept
# Bytes of requests that wait or are at work: of all, and of one address, unless it is its only one
MOST_BYTES, MOST_BYTES_OF_ONE = 600 * 2**20, 300 * 2**20
# Bytes of one that brings no picture; of one that names uploaded files, of which a batch has thousands
MOST_OF_WORDS, MOST_OF_FILES = 2**20, 20 * 2**20
_PICTURES = (gr.Image, gr.HTML)  # components that may bring one; what is of HTML here may be a canvas
_NO_PAGE = "This call names no page that could be told of it: leave session_hash out, or give one."
_TOO_LONG = "This call brings more than it can be about: send less, and files as uploads."
_TOO_MANY = "Busy: %s from your network's address waiting already. Try again when some are answered."
_FULL = "Busy: %s waiting already. Try again in a minute."
_ONE_ADDRESS = (
    "All of %d pages came from %s. If that is a proxy, have it send X-Forwarded-For, and name it in "
    "FORWARDED_ALLOW_IPS: until then visitors share what one address may have (docs/hosting.md)."
)
_log = logging.getLogger(__name__)


class Worker(Protocol):
    """Who does the work of a group of events, and can end it. Its methods take no time."""

    def joined(self, page: str, event: str) -> None:
        """An event of a page is in line."""

    def left(self, event: str) -> None:
        """An event is over."""

    def abandoned(self, event: str) -> None:
        """Nobody waits for the answer of an event any more."""


class BoundedQueue(Queue):
    """Gradio's queue, in which no more than ``limit`` events wait for a model, nor too many for anything else.

    Whoever comes then gets the status 503 and a sentence with the place in line it would have had, instead of an
    answer long after giving up.

    Attributes:
        limit: events that may wait for a model.
        workers: of groups, by their ``concurrency_id``.
    """

    limit = math.inf
    workers: Mapping[str, Worker] = {}

    def set_server_app(self, app: Any) -> None:
        """As Gradio's."""
        super().set_server_app(app)
        app.state_holder.__class__ = FairStates

    async def push(self, body: Any, request: Any, username: str | None) -> tuple[bool, Any, Any]:
        """As Gradio's."""
        if body.session_hash == "":  # Gradio stumbles over it
            return False, _NO_PAGE, "error"
        fn = self.blocks.fns.get(body.fn_index)
        address, size = _address(request), _size(request)
        if fn is not None:
            if size > _most_bytes(fn):
                return False, _TOO_LONG, "error"
            if refusal := self._refusal(fn, address, size) or self._no_room_to_tell(body.session_hash):
                return False, refusal, "queue_full"
        if self.server_app is not None and body.session_hash:
            self.server_app.state_holder.note(body.session_hash, address)
        answer: tuple[bool, Any, Any] = await super().push(body, request, username)
        if event := self.event_ids_to_events.get(str(answer[1])):
            event.size = size  # type: ignore[attr-defined]
            self.pending_messages_per_session[event.session_hash].address = address  # type: ignore[attr-defined]
            if worker := self.workers.get(event.concurrency_id):
                worker.joined(event.session_hash, event._id)
        return answer

    def _refusal(self, fn: Any, address: str, size: int) -> str:
        """A sentence against an event for which there is no place, or ""."""
        line = self.event_queue_per_concurrency_id.get(fn.concurrency_id)
        waiting = [] if line is None else line.queue
        if fn.concurrency_id == PREDICT:
            # The first in line may only not have begun yet.
            free = 0 if line is None else max(0, (line.concurrency_limit or 0) - line.current_concurrency)
            if len(waiting) >= self.limit + free:
                return self._busy(fn, line, free)
        elif len(waiting) >= MOST_IN_LINE:
            return _FULL % so_many_are(len(waiting), "request")
        elif (own := sum(_address(event.request) == address for event in waiting)) >= MOST_OF_ONE:
            return _TOO_MANY % so_many_are(own, "request")
        every = list(self.event_ids_to_events.values())
        mine = [event for event in every if _address(event.request) == address]
        if len(mine) >= max(MOST_AT_ALL, 2 * self.limit if self.limit < math.inf else 0):
            return _TOO_MANY % so_many_are(len(mine), "request")
        all_bytes, my_bytes = (sum(getattr(event, "size", 0) for event in events) for events in (every, mine))
        if size and ((my_bytes and my_bytes + size > MOST_BYTES_OF_ONE) or all_bytes + size > MOST_BYTES):
            return _FULL % "large requests are"
        return ""

    def _no_room_to_tell(self, session: str | None) -> str:
        """A sentence where messages are kept for as many pages as may be, all of which wait for something; or "".

        Gradio forgets those of whoever came first, also while they wait, so that one who makes up names takes the
        answers of everybody else away.
        """
        boxes, pending = self.pending_messages_per_session, self.pending_event_ids_session
        if len(pending) > 2 * MOST_TOLD:
            # Gradio forgets what they were to be told, and not them
            for gone in pending.keys() - boxes.keys():
                del pending[gone]
        if session in boxes or len(boxes) < MOST_TOLD:
            return ""
        for gone in [name for name in boxes if not pending.get(name)]:  # they were told all
            del boxes[gone]
            pending.pop(gone, None)
        if len(boxes) >= MOST_TOLD:
            # Whoever did not fetch an answer makes room: the oldest of the address that has most of them.
            left = [name for name in boxes if not pending[name] & self.event_ids_to_events.keys()]
            counted = Counter(getattr(boxes[name], "address", "") for name in left)
            if not left:
                return _FULL % so_many_are(len(boxes), "page")
            most = max(counted.values())
            gone = next(name for name in left if counted[getattr(boxes[name], "address", "")] == most)
            del boxes[gone], pending[gone]
        return ""

    def _busy(self, fn: Any, waiting: Any, free: int = 0) -> str:
        place = len(waiting.queue) - free + 1
        taken = self.process_time_per_fn[fn].avg_time if fn in self.process_time_per_fn else 1
        seconds = max(1, math.ceil(place * taken / (waiting.concurrency_limit or 1)))
        return (
            f"Busy: {so_many_are(place - 1, 'photo')} waiting already, and yours would be number {place} in line. "
            f"Try again in about {number_of(seconds, 'second')}."
        )

    async def process_events(self, events: list[Event], *args: Any) -> None:
        """As Gradio's, but who cancels it only ends the waiting for it."""
        work = asyncio.ensure_future(self._process(events, *args))
        self._asyncio_tasks.add(work)  # which all end with the server
        work.add_done_callback(self._asyncio_tasks.discard)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            for event in events:
                self._abandon(event)
            raise

    async def _process(self, events: list[Event], *args: Any) -> None:
        """As Gradio's, and then forgets callers that cannot come again: plain HTTP calls, and pages closed long ago."""
        try:
            await super().process_events(events, *args)
        finally:
            for event in events:
                self.event_analytics.pop(event._id, None)
                if worker := self.workers.get(getattr(event, "concurrency_id", "")):
                    worker.left(event._id)
                if event.session_hash == event._id:  # plain HTTP calls are named by their event
                    self._forget(event._id)
            for session in self._closed():
                self._forget(session)

    async def clean_events(self, *, session_hash: str | None = None, event_id: str | None = None) -> None:
        """As Gradio's, for whoever hung up: what is at work for them is told to nobody, so it may end."""
        await super().clean_events(session_hash=session_hash, event_id=event_id)
        for event in [event for events in self.active_jobs for event in events or ()]:
            if not event.alive:
                self._abandon(event)

    def _abandon(self, event: Event) -> None:
        event.alive = False
        event.run_time, event.closed = math.inf, True  # a stream ends with what is at work
        event.signal.set()
        if worker := self.workers.get(event.concurrency_id):
            worker.abandoned(event._id)

    def _closed(self) -> list[str]:
        """Pages closed so long ago that Gradio forgets their states; it keeps two thirds of a megabyte of each."""
        if self.server_app is None:
            return []
        holder, now = self.server_app.state_holder, datetime.now()
        return [
            session
            for session, state in list(holder.session_data.items())
            if state.is_closed
            and session in holder.time_last_used
            and (now - holder.time_last_used[session]).total_seconds() > state.STATE_TTL_WHEN_CLOSED
        ]

    def _forget(self, session: str) -> None:
        if self.server_app is not None:
            self.server_app.state_holder.session_data.pop(session, None)
            self.server_app.state_holder.time_last_used.pop(session, None)

    def compute_analytics_summary(self, records: list[dict[str, Any]]) -> Any:
        """Nothing: it is for a dashboard that is not offered."""
        return self.cached_event_analytics_summary


class FairStates(StateHolder):
    """What is remembered of open pages; where there are too many, of those who have most of them the oldest goes.

    Gradio forgets the oldest of all, so that one who opens hundreds has the pages of everybody else forgotten.
    """

    def note(self, session: str, address: str) -> None:
        """Say from which network's address a page comes."""
        addresses: dict[str, str] = self.__dict__.setdefault("addresses", {})
        with self.lock:
            addresses[session] = address
            if len(addresses) == ALIKE and {*addresses.values()} == {address} and _of_a_proxy(address):
                _log.warning(_ONE_ADDRESS, ALIKE, address)
            if len(addresses) > 2 * self.capacity + 100:
                for gone in addresses.keys() - self.session_data.keys() - {session}:
                    del addresses[gone]

    def update(self, session_id: str) -> None:
        """As Gradio's: the page is in use."""
        addresses: dict[str, str] = self.__dict__.setdefault("addresses", {})
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:
                whose = {session: addresses.get(session, "") for session in self.session_data}
                pages = Counter(whose.values())
                most = max(pages.values())
                oldest = next(session for session, address in whose.items() if pages[address] == most)
                del self.session_data[oldest]
                self.time_last_used.pop(oldest, None)


def _of_a_proxy(address: str) -> bool:
    """Whether an address may be that of a proxy: a private one, where others come than the owner of this machine."""
    try:
        return settings.hosted() and ip_address(address).is_private
    except ValueError:  # it is none, as of a socket in a file
        return False


class SharedConfig(BlocksConfig):
    """The components of the page, each described once for all sessions; Gradio does it anew for every session."""

    def __copy__(self) -> BlocksConfig:
        new: BlocksConfig = super().__copy__()  # type: ignore[no-untyped-call]
        new.__class__ = SharedConfig
        new.__dict__["described"] = self.__dict__.setdefault("described", {})
        return new

    def config_for_block(  # type: ignore[override]
        self, _id: int, rendered_ids: list[int], block: Any, renderable: Any = None
    ) -> dict[Any, Any]:
        """As Gradio's, where it is a static method, but nobody calls it through the class."""
        if block is None or renderable is not None or block is not self.root_block.blocks.get(_id):
            return BlocksConfig.config_for_block(_id, rendered_ids, block, renderable)
        described = self.__dict__.setdefault("described", {})
        if _id not in described:
            described[_id] = BlocksConfig.config_for_block(_id, rendered_ids, block)  # type: ignore[arg-type]
        config = described[_id]
        # a session puts other values in, and changes nothing else
        return {**config, "props": {**config["props"]}}


def _address(request: Any) -> str:
    return getattr(getattr(request, "client", None), "host", "")


def _size(request: Any) -> int:
    """Bytes of a request's body, as far as the guard has counted them."""
    return getattr(getattr(request, "scope", {}).get(COUNTED), "read", 0)


def _most_bytes(fn: Any) -> float:
    """Bytes that a request for a function may have."""
    if any(isinstance(component, _PICTURES) for component in fn.inputs):
        return math.inf  # the guard's limit is enough
    return MOST_OF_FILES if any(isinstance(component, gr.File) for component in fn.inputs) else MOST_OF_WORDS


def bound(demo: gr.Blocks, limit: int, workers: Mapping[str, Worker] | None = None) -> None:
    """Give a Blocks that is built a ``BoundedQueue``.

    Args:
        demo: it; before it is launched.
        limit: events that may wait for a model.
        workers: who is told of the events of a group, by its ``concurrency_id``.
    """
    # Past the queue anybody could have any number of photos and clips worked on at once.
    demo.queue(status_update_rate=TELL_SECONDS, api_open=False)
    demo._queue.__class__ = BoundedQueue
    demo._queue.limit, demo._queue.workers = limit, workers or {}  # type: ignore[attr-defined]
    demo._queue.pending_messages_per_session = {}  # type: ignore[assignment]  # which forgets nobody by itself
    demo._queue.sleep_when_free = LOOK_SECONDS
    demo.default_config.__class__ = SharedConfig
