"""Whose request it is, where each visitor has a workspace: by name, by a signed cookie, or for the time of one page.

Gradio calls the functions of a page from threads and tasks of its own, in which nothing is left of the request but what
it hands on. So each call enters its visitor's workspace here, around all that Gradio does for it; whatever is called in
another way is in none, and gets nothing of anybody's.
"""

import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
import gradio as gr
from cachetools import LRUCache
from gradio.utils import get_upload_folder
from starlette.requests import HTTPConnection

from segdemo.core import settings
from segdemo.core.conventions import slug
from segdemo.core.signing import Signer
from segdemo.core.workspace import Workspace, WorkspaceError, current, entered
from segdemo.errors import UserError
from segdemo.ui.temporary import paths_in
from segdemo.workspaces.keeper import NOBODY, Keeper

COOKIE = "segdemo-visit"
PAGE = "page-"  # how ids of workspaces begin that last as long as one page, since there is no cookie
TOKEN = "segdemo-"  # how tokens for programs begin; what else stands in Authorization is for a proxy
TOKEN_SECONDS = 30 * 86_400  # that one holds
SHORTEST_SESSION = 8  # characters of what a page calls itself; another may hit on a shorter one
MOST_SESSIONS = 20_000  # remembered
MOST_FILES = 50_000  # remembered; then those that are gone are forgotten,
PRUNE_SECONDS = 60  # but no sooner than so long after the last time
MOST_FILES_OF_ONE = 10_000  # remembered of one visitor, the last
_PURPOSE, _OF_PROGRAMS = "visit", "token"  # of what is signed
_FILE = re.compile(r"/file[=/](?P<path>.+)$", re.DOTALL)
_SESSION = re.compile(r"/(?:heartbeat|stream)/(?P<session>[^/]+)")
_OF_ANOTHER = "This page was opened by somebody else: open it again."
_NO_FILE = "This file is somebody else's, or there is none."
_NO_TOKEN = "This token is none of this page, or has expired: ask /workspace_token for one, without it."


@dataclass(frozen=True)
class Visitor:
    """Who a request comes from.

    Attributes:
        id: of their workspace.
        before: id of the workspace that their browser had before they signed in, or "".
    """

    id: str
    before: str = ""

    @property
    def has_cookie(self) -> bool:
        """Whether they are known for longer than one page."""
        return not self.id.startswith(PAGE)


class Visitors:
    """One for each process, at ``demo.visitors`` of the Blocks it looks after. Safe to use from several threads.

    Args:
        keeper: of the workspaces.
        signer: of the cookies.
    """

    def __init__(self, keeper: Keeper, signer: Signer) -> None:
        self.keeper, self._signer = keeper, signer
        self._pages: LRUCache[str, str] = LRUCache(MOST_SESSIONS)  # what a page calls itself -> whose it is
        self._owners: dict[str, set[str]] = {}  # file that Gradio serves -> ids of those who were given it
        self._given: dict[str, dict[str, None]] = {}  # id -> files that they were given, the last at the end
        self._pruned = -math.inf  # when those that are gone were forgotten
        self._lock = Lock()
        self._blocks: gr.Blocks | None = None
        self._public: frozenset[str] | None = None

    def attach(self, demo: gr.Blocks) -> None:
        """Enter the visitor's workspace whenever Gradio calls a function of these Blocks."""
        process: Callable[..., Any] = demo.process_api

        async def process_entered(
            block_fn: Any, inputs: Any, *args: Any, request: Any = None, session_hash: Any = None, **more: Any
        ) -> Any:
            async with self._entered_by(request, session_hash) as visitor:
                if self._is_shared(session_hash):
                    self._adopt(inputs, visitor.id)
                answer = await process(
                    block_fn, inputs, *args, request=request, session_hash=session_hash, **more
                )
                self.note_files(answer, visitor.id)
                return answer

        demo.process_api = process_entered  # type: ignore[method-assign]
        demo.visitors = self  # type: ignore[attr-defined]
        self._blocks = demo

    def nobody(self) -> Any:
        """For a ``with`` statement: in it a page can be built that shows nothing of anybody's."""
        return entered(self.keeper.workspace(NOBODY))

    # --- who it is ---

    def new_cookie(self) -> str:
        """The cookie's value for a visitor who has none."""
        return self._signer.sign(_PURPOSE, secrets.token_urlsafe(24))

    def knows(self, request: HTTPConnection) -> bool:
        """Whether a request brings a cookie that was made here."""
        return self._signer.verified(_PURPOSE, request.cookies.get(COOKIE)) is not None

    def new_token(self, visitor: Visitor, expires: int) -> str:
        """What a program sends in Authorization to be a visitor; a visitor of one page gets a workspace that lasts.

        Args:
            visitor: whose workspace it is for.
            expires: seconds since 1970.
        """
        id_ = visitor.id if visitor.has_cookie else f"visit-{secrets.token_hex(12)}"
        return TOKEN + self._signer.sign(_OF_PROGRAMS, f"{id_}~{expires}")

    def of_token(self, request: HTTPConnection) -> str | None:
        """Id of the workspace whose token a request brings; "" for a token that does not hold, None without one."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not given.startswith(TOKEN):
            return None
        signed = self._signer.verified(_OF_PROGRAMS, given.removeprefix(TOKEN)) or ""
        id_, _, expires = signed.partition("~")
        return id_ if id_ and time.time() < int(expires) else ""

    def visitor(self, request: HTTPConnection, session: str | None = None) -> Visitor:
        """Whose request it is.

        Args:
            request: with its cookies.
            session: what the page that it comes from calls itself, if that is known.
        """
        mark = self._signer.verified(_PURPOSE, request.cookies.get(COOKIE))
        visit = f"visit-{_short(mark)}" if mark else ""
        if name := user_name(request):
            return Visitor(f"user-{slug(name, 'name')[:24]}-{_short(name)}", visit)
        if account := hub_account(request):
            return Visitor(f"hub-{_short(account)}", visit)
        if id_ := self.of_token(request):
            return Visitor(id_)
        if visit:
            return Visitor(visit)
        if not session or len(session) < SHORTEST_SESSION or self._is_shared(session):
            session = secrets.token_hex(16)  # this call is all there is of that visitor
        return Visitor(f"{PAGE}{self._signer.digest('page', session)[:24]}")

    def _is_shared(self, session: str) -> bool:
        """Whether it is the session in which Gradio asks itself for all who call it as tools (MCP)."""
        client = getattr(getattr(self._blocks, "mcp_server_obj", None), "_client_instance", None)
        return client is not None and session == client.session_hash

    def of_page(self, visitor: Visitor, session: str | None) -> bool:
        """Whether a page is the visitor's; one that nobody has is now. What it remembers is its visitor's alone."""
        if not session or self._is_shared(session):
            return True
        with self._lock:
            if visitor.has_cookie or len(session) >= SHORTEST_SESSION:
                self._pages.setdefault(session, visitor.id)
            return self._pages.get(session, visitor.id) == visitor.id

    @asynccontextmanager
    async def _entered_by(self, request: Any, session: str | None) -> AsyncIterator[Visitor]:
        if isinstance(request, list):  # several calls at once, which may be of several visitors
            request = request[0] if len(request) == 1 else None
        session = session or getattr(request, "session_hash", None)
        bare = getattr(request, "request", request)
        visitor = self.visitor(bare, session) if isinstance(bare, HTTPConnection) else Visitor(NOBODY)
        if not self.of_page(visitor, session):
            raise gr.Error(_OF_ANOTHER, print_exception=False)
        try:
            workspace = await anyio.to_thread.run_sync(self._arrive, visitor)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        with entered(workspace):
            yield visitor

    @contextmanager
    def entered_by(self, request: HTTPConnection) -> Iterator[Visitor]:
        """For functions of components: for a ``with`` statement, in the thread in which they are called.

        Raises:
            WorkspaceError: the page is somebody else's.
        """
        body = getattr(request, "_json", None)  # Gradio has read it already, and hands on no session
        session = body.get("session_hash") if isinstance(body, dict) else None
        visitor = self.visitor(request, session if isinstance(session, str) else None)
        if not self.of_page(visitor, session):
            raise WorkspaceError(_OF_ANOTHER)
        with entered(self._arrive(visitor)):
            yield visitor

    def _arrive(self, visitor: Visitor) -> Workspace:
        """The visitor's workspace, with what their browser had before they signed in."""
        workspace = self.keeper.workspace(visitor.id)
        if visitor.before:
            self.keeper.hand_over(self.keeper.workspace(visitor.before), workspace)
        self.keeper.touch(workspace)
        return workspace

    # --- files that Gradio serves ---

    def note_files(self, answer: Any, owner: str) -> None:
        """A visitor is given all files that an answer names."""
        paths = list(_paths(answer))
        if not paths:
            return
        with self._lock:
            for path in paths:
                self._give(path, owner)
            prunes = len(self._owners) > MOST_FILES and time.monotonic() - self._pruned > PRUNE_SECONDS
            if prunes:
                self._pruned = time.monotonic()
        if prunes:  # others are answered meanwhile
            Thread(target=self._prune, name="files", daemon=True).start()

    def _give(self, path: str, owner: str) -> None:
        given = self._given.setdefault(owner, {})
        given.pop(path, None)
        given[path] = None
        self._owners.setdefault(path, set()).add(owner)
        if len(given) > MOST_FILES_OF_ONE:
            self._take(next(iter(given)), owner)

    def _take(self, path: str, owner: str) -> None:
        """Forget that a visitor was given a file."""
        self._owners.get(path, set()).discard(owner)
        self._given.get(owner, {}).pop(path, None)
        if not self._owners.get(path, True):
            del self._owners[path]
        if not self._given.get(owner, True):
            del self._given[owner]

    def _prune(self) -> None:
        """Forget the files that are gone."""
        with self._lock:
            paths = list(self._owners)
        for path in paths:
            if not Path(path).is_file():
                with self._lock:
                    if not Path(path).is_file():  # it may just have been written again
                        for owner in list(self._owners.get(path, ())):
                            self._take(path, owner)

    def _adopt(self, inputs: Any, owner: str) -> None:
        """Files that Gradio has uploaded for somebody who called a tool are theirs: it did so in its own name."""
        with self._lock:
            for path in _paths(inputs):
                if any(one.startswith(PAGE) for one in self._owners.get(path, ())):
                    self._give(path, owner)

    def has_file(self, path: str | os.PathLike[str], visitor: Visitor) -> bool:
        """Whether a visitor was given a file, or uploaded it. Pages without cookies cannot be told apart here."""
        real = os.path.realpath(path)
        with self._lock:
            owners = self._owners.get(real, set())
            if visitor.id in owners:
                return True
            if not visitor.has_cookie and any(owner.startswith(PAGE) for owner in owners):
                return True
        return real in self._of_everybody()

    def _of_everybody(self) -> frozenset[str]:
        """The files that the page shows before anybody has done anything."""
        if self._public is None:
            self._public = frozenset(_paths(self._blocks.config if self._blocks else {}))
        return self._public

    # --- what the guard asks ---

    def refusal(self, scope: MutableMapping[str, Any]) -> str:
        """A sentence against a request for a file or a page of somebody else, or ""."""
        request = HTTPConnection(scope)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        in_path = _SESSION.search(scope["path"])
        session = in_path["session"] if in_path else next(iter(query.get("session_hash", ())), None)
        if self.of_token(request) == "":
            return _NO_TOKEN
        visitor = self.visitor(request, session)
        with self._lock:
            owner = self._pages.get(session or "")
        if owner is not None and owner != visitor.id:
            return _OF_ANOTHER
        if file := _FILE.search(scope["path"]):
            try:
                real = os.path.realpath(file["path"])
            except ValueError:  # a zero character
                return _NO_FILE
            if Path(real).is_relative_to(_served_from()) and not self.has_file(real, visitor):
                return _NO_FILE
        return ""

    def note_upload(self, scope: MutableMapping[str, Any], body: bytes) -> None:
        """A visitor has uploaded files; ``body`` is what Gradio answered."""
        try:
            paths = json.loads(body)
        except ValueError:
            return
        if isinstance(paths, list):
            described = [{"path": path} for path in paths]
            self.note_files(described, self.visitor(HTTPConnection(scope)).id)


def of(request: Any) -> Visitors | None:
    """The visitors of the page that a request is sent to; None where all is shared, or without a request."""
    app = getattr(request, "scope", {}).get("app") if request is not None else None
    return getattr(getattr(app, "blocks", None), "visitors", None)


@contextmanager
def entering(request: Any) -> Iterator[None]:
    """For functions of components: their visitor's workspace, where each has one, in a ``with`` statement."""
    visitors = of(request)
    if visitors is None:
        yield
        return
    with visitors.entered_by(request):
        yield


def is_mine(path: str | os.PathLike[str]) -> bool:
    """Whether a file that a page names as uploaded is the visitor's who is being answered."""
    workspace = current()
    blocks = gr.context.LocalContext.blocks.get()
    visitors: Visitors | None = getattr(blocks, "visitors", None)
    if visitors is None:
        return not settings.for_visitors()
    return workspace is not None and visitors.has_file(path, Visitor(workspace.id))


def user_name(request: Any) -> str:
    """The name of ``SEGDEMO_USERS`` that somebody signed in with, or ""."""
    names = (f"access-token-{request.app.cookie_id}", f"access-token-unsecure-{request.app.cookie_id}")
    signed_in = (request.app.tokens.get(request.cookies.get(name)) for name in names)
    return str(next(filter(None, signed_in), ""))


def hub_info(request: Any) -> dict[str, Any]:
    """What the Hub told of the account that somebody signed in with; {} for nobody, and when that has expired.

    Gradio takes it for nobody's then, too, and shows the button to sign in.
    """
    found = (request.scope.get("session") or {}).get("oauth_info") or {}
    if found.get("expires_at", math.inf) < time.time():
        return {}
    return found.get("userinfo") or {}


def hub_name(request: Any) -> str:
    """The name of the Hub's account that somebody signed in with, or ""; its owner may change it."""
    return str(hub_info(request).get("preferred_username") or "")


def hub_account(request: Any) -> str:
    """What the Hub calls the account that somebody signed in with, whatever its name is by now; or ""."""
    info = hub_info(request)
    return str(info.get("sub") or info.get("preferred_username") or "")


def _served_from() -> Path:
    return Path(os.path.realpath(get_upload_folder()))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]


def _paths(value: Any) -> Iterator[str]:
    """The real path of every file that an answer of Gradio's names."""
    return map(os.path.realpath, paths_in(value))
