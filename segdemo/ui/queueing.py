"""The queue of the page's events with a bound, and without what Gradio's own does for every photo that is asked for.

Measured with ``benchmarks/load.py`` at 10 clients: half of the server's time went into a copy of the description of
every component, made for each caller and kept for 10,000 of them, a table of all past events summed up anew after each
event, and messages to everybody in line whenever somebody's turn came.
"""

import logging
import math
from collections import Counter
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import gradio as gr
from gradio.blocks import BlocksConfig
from gradio.queueing import Event, Queue
from gradio.state_holder import StateHolder

from segdemo.core import settings
from segdemo.core.conventions import number_of, so_many_are

PREDICT = "predict"  # `concurrency_id` of the events that run a model
TELL_SECONDS = 2  # between two messages to those in line on their place
ALIKE = 50  # pages of one address alone, before a proxy is suspected that does not say whose they are
LOOK_SECONDS = 0.004  # between two looks for events that may begin; Gradio looks a thousand times a second
_ONE_ADDRESS = (
    "All of %d pages came from %s. If that is a proxy, have it send X-Forwarded-For, and name it in "
    "FORWARDED_ALLOW_IPS: until then visitors share what one address may have (docs/hosting.md)."
)
_log = logging.getLogger(__name__)


class BoundedQueue(Queue):
    """Gradio's queue, in which no more than ``limit`` events wait for a model.

    Whoever comes then gets the status 503 and a sentence with the place in line it would have had, instead of an
    answer long after giving up.
    """

    limit = math.inf

    def set_server_app(self, app: Any) -> None:
        """As Gradio's."""
        super().set_server_app(app)
        app.state_holder.__class__ = FairStates

    async def push(self, body: Any, request: Any, username: str | None) -> tuple[bool, Any, Any]:
        """As Gradio's."""
        fn = self.blocks.fns.get(body.fn_index)
        if fn is not None and fn.concurrency_id == PREDICT:
            waiting = self.event_queue_per_concurrency_id.get(PREDICT)
            if waiting is not None and len(waiting.queue) >= self.limit:
                return False, self._busy(fn, waiting), "queue_full"
        if len(self.pending_event_ids_session) > 2 * self.pending_messages_per_session.max_size:
            for session in self.pending_event_ids_session.keys() - self.pending_messages_per_session.keys():
                del self.pending_event_ids_session[
                    session
                ]  # Gradio forgets what they were to be told, and not them
        if self.server_app is not None and body.session_hash:
            self.server_app.state_holder.note(body.session_hash, getattr(request.client, "host", ""))
        return await super().push(body, request, username)

    def _busy(self, fn: Any, waiting: Any) -> str:
        place = len(waiting.queue) + 1
        taken = self.process_time_per_fn[fn].avg_time if fn in self.process_time_per_fn else 1
        seconds = max(1, math.ceil(place * taken / (waiting.concurrency_limit or 1)))
        return (
            f"Busy: {so_many_are(place - 1, 'photo')} waiting already, and yours would be number {place} in line. "
            f"Try again in about {number_of(seconds, 'second')}."
        )

    async def process_events(self, events: list[Event], *args: Any) -> None:
        """As Gradio's, and then forgets callers that cannot come again: plain HTTP calls, and pages closed long ago."""
        try:
            await super().process_events(events, *args)
        finally:
            for event in events:
                self.event_analytics.pop(event._id, None)
                if event.session_hash == event._id:  # plain HTTP calls are named by their event
                    self._forget(event._id)
            for session in self._closed():
                self._forget(session)

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


def bound(demo: gr.Blocks, limit: int) -> None:
    """Give a Blocks that is built a ``BoundedQueue``.

    Args:
        demo: it; before it is launched.
        limit: events that may wait for a model.
    """
    # Past the queue anybody could have any number of photos and clips worked on at once.
    demo.queue(status_update_rate=TELL_SECONDS, api_open=False)
    demo._queue.__class__ = BoundedQueue
    demo._queue.limit = limit  # type: ignore[attr-defined]
    demo._queue.sleep_when_free = LOOK_SECONDS
    demo.default_config.__class__ = SharedConfig
