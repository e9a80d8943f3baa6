"""What stands between the network and Gradio: who may sign in, what other sites may do, and what browsers are told.

Gradio lets every site call an app that is not on localhost with its visitors' cookies. Here a request that another site
makes is that of a stranger: its cookies are left out, so it may do what anybody may, and nothing else.
"""

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from urllib.parse import urlsplit

import anyio.to_thread
from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segdemo.core.attempts import Attempts
from segdemo.core.workspace import current
from segdemo.ui import visitors
from segdemo.ui.metrics import CONTENT_TYPE, Metrics, may_read
from segdemo.ui.metrics import PATH as METRICS
from segdemo.ui.queueing import COUNTED
from segdemo.ui.temporary import NO_ROOM, room

# Frames: the Hub shows a Space within its own page.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio makes functions of its components' scripts
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co https://*.hf.space",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
}
PACKED = ("", "/", "/config")  # paths of what is sent packed; nothing in it is secret
HEALTH = "/healthz"  # says that the server answers, to whoever looks after it; before any sign-in
VISIT = visitors.COOKIE  # the cookie that tells browsers apart
MOST_ANSWER = 2**20  # bytes of what Gradio says of an upload
# Bytes of a request that is no upload: a mask of the largest photo, in text, is 171 MB
MOST_BODY = 300 * 2**20
UPLOAD = "/gradio_api/upload"
# What Gradio does for whoever calls it, and this page has no use for: FFmpeg on a stranger's file, past all limits of
# `clips`; a file on disk for each call; programs written by a model; questions to the Hub.
_UNUSED = re.compile(r"/gradio_api/(?:process_recording|deep_link|(?:undo-)?vibe-|run-history)")
_TOO_LARGE = "This request is too large."
_caller: ContextVar[str] = ContextVar("caller", default="")


class Guard:
    """ASGI middleware, see the module."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length, uploads = headers.get("content-length", "0"), scope["path"].endswith(UPLOAD)
        if not length.isdecimal() or (not uploads and int(length) > MOST_BODY):
            await PlainTextResponse(_TOO_LARGE, 413)(scope, receive, send)
            return
        if uploads and int(length) > room():
            await PlainTextResponse(NO_ROOM, 507)(scope, receive, send)
            return
        receive = scope[COUNTED] = Counted(receive, uploads)
        _caller.set((scope.get("client") or ("", 0))[0])
        secure = scope.get("scheme") == "https" or headers.get("x-forwarded-proto", "").startswith("https")
        blocks = getattr(scope.get("app"), "blocks", None)
        metrics: Metrics | None = getattr(blocks, "metrics", None)
        whose: visitors.Visitors | None = getattr(blocks, "visitors", None)
        opened = scope["method"] == "GET" and scope["path"] in ("", "/")
        if whose:
            new_visit = opened and not whose.knows(HTTPConnection(scope))
        else:
            new_visit = opened and f"{VISIT}=" not in headers.get("cookie", "")
        if _from_another_site(headers):
            # Nobody is to label in an account that another site has signed them in with.
            if scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/login"):
                await PlainTextResponse("Sign in on the page itself.", 403)(scope, receive, send)
                return
            # Who signed in with an account of the Hub is told from a cookie, too, which Gradio has read already.
            scope = {
                **scope,
                "headers": [(n, v) for n, v in scope["headers"] if n != b"cookie"],
                "session": {},
            }
        uploading = bool(whose) and uploads
        began, uploaded = time.perf_counter(), bytearray()

        async def answer(message: Message) -> None:
            if uploading and message["type"] == "http.response.body" and len(uploaded) < MOST_ANSWER:
                uploaded.extend(message.get("body", b""))
                if whose and not message.get("more_body"):
                    whose.note_upload(scope, bytes(uploaded))
            if message["type"] == "http.response.start":
                if metrics:
                    metrics.request(message["status"], time.perf_counter() - began)
                told = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    told.setdefault(name, value)
                if secure:
                    told.setdefault("Strict-Transport-Security", "max-age=31536000")
                if new_visit and message["status"] == 200:
                    value = whose.new_cookie() if whose else secrets.token_urlsafe(24)
                    # In the frame of another site browsers keep cookies for that site alone, if at all.
                    parted = "; Partitioned" if whose and secure else ""
                    told.append("Set-Cookie", f"{VISIT}={value}; Path=/; Max-Age=31536000{parted}")
                message["headers"] = [
                    (name, _kept_at_home(value, secure) if name == b"set-cookie" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        if scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD"):
            await PlainTextResponse("ok", headers={"Cache-Control": "no-store"})(scope, receive, answer)
        elif scope["path"] == METRICS and scope["method"] in ("GET", "HEAD"):
            await (await _metrics(metrics, scope))(scope, receive, answer)
        elif whose and (refusal := whose.refusal(scope)):
            await PlainTextResponse(refusal, 403)(scope, receive, answer)
        elif _UNUSED.search(scope["path"]):
            await PlainTextResponse("This page does not offer that.", 404)(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)


class Compressed:
    """ASGI middleware that packs the page and its configuration: 1.2 MB of text, which Gradio sends as it is."""

    def __init__(self, app: ASGIApp):
        self._app, self._packed = app, GZipMiddleware(app, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        packs = scope["type"] == "http" and scope["path"] in PACKED
        await (self._packed if packs else self._app)(scope, receive, send)


async def _metrics(metrics: Metrics | None, scope: Scope) -> PlainTextResponse:
    if metrics is None or not may_read(scope):
        sentence = "Ask from this machine, or with SEGDEMO_METRICS_TOKEN as bearer token."
        return PlainTextResponse(sentence, 403)
    text = await anyio.to_thread.run_sync(metrics.text)
    return PlainTextResponse(text, media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def middleware() -> list[Middleware]:
    """What ``app_kwargs["middleware"]`` of ``launch`` takes."""
    return [Middleware(Guard), Middleware(Compressed)]


class Counted:
    """What is sent, as long as it is no more than may be; a request need not say beforehand how long it is.

    Attributes:
        read: bytes that have come.
    """

    def __init__(self, receive: Receive, uploads: bool) -> None:
        self._receive, self._uploads, self.read = receive, uploads, 0

    async def __call__(self) -> Message:
        """As ASGI's receive. Raises HTTPException: too much, or the disk is nearly full."""
        message = await self._receive()
        self.read += len(message.get("body", b""))
        if not self._uploads and self.read > MOST_BODY:
            raise HTTPException(413, _TOO_LARGE)
        if self._uploads and message.get("body") and room() < 0:
            raise HTTPException(507, NO_ROOM)
        return message


def _from_another_site(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        try:
            return urlsplit(origin).netloc != headers.get("x-forwarded-host", headers.get("host", ""))
        except ValueError:  # it is no address
            return True
    # Pictures and the like have no origin, and whoever follows a link or opens a frame comes on purpose.
    return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"


def _kept_at_home(cookie: bytes, secure: bool) -> bytes:
    """A Set-Cookie that scripts do not read and other sites do not send, over TLS alone where there is TLS."""
    parts = [part.strip() for part in cookie.decode("latin-1").split(";")]
    lower = [part.lower() for part in parts]
    if "httponly" not in lower:
        parts.append("HttpOnly")
    if secure and "secure" not in lower:
        parts.append("Secure")
    # A Space is a frame in the Hub's page: without "none" its cookies do not come along there.
    if not any(part.startswith("samesite=") for part in lower):
        parts.append("SameSite=None" if secure else "SameSite=Lax")
    return "; ".join(parts).encode("latin-1")


def person(request: Request | None) -> str:
    """Who a request comes from: the name somebody signed in with, else a mark of the browser that tells nothing of it.

    Args:
        request: as the canvas's server functions get it; None gives "".
    """
    if request is None:
        return ""
    if name := visitors.user_name(request):
        return name
    # Where cookies are blocked, as in a frame of another site, the address has to do.
    mark = request.cookies.get(VISIT) or f"{_address(request)} {request.headers.get('user-agent', '')}"
    return f"visit-{hashlib.sha256(mark.encode('utf-8', 'replace')).hexdigest()[:16]}"


def certain_person(request: Request | None) -> str:
    """As ``person``, but "" for somebody who is neither signed in nor brings the cookie back.

    Such people may share an address and a browser with others, and must not be taken for them. Where visitors have
    workspaces it is the id of the one that is entered; that of a page without a cookie is gone when it is loaded anew.
    """
    if (workspace := current()) is not None:
        return "" if workspace.id.startswith(visitors.PAGE) else workspace.id
    found = person(request)
    return "" if request is None or (found.startswith("visit-") and VISIT not in request.cookies) else found


def asker(request: Request | None) -> str:
    """With whom the places in a line are shared: the name of somebody who is signed in, else the network's address.

    A cookie is anybody's to leave out, and a new one to be had for the asking.
    """
    if request is None:
        return ""
    return visitors.user_name(request) or visitors.hub_account(request) or _address(request)


def _address(request: Request) -> str:
    """Where a request comes from, as it says itself: events are handled in tasks that have another one's context."""
    return getattr(request.client, "host", "")


def password_check(accounts: list[tuple[str, str]]) -> Callable[[str, str], bool]:
    """The function by which Gradio signs people in: (name, password) to whether they are right.

    After five wrong passwords from one address for one name, further ones are not looked at for ten seconds, then
    twenty, up to a quarter of an hour; after fifty for one name, from wherever, the same.
    """
    known = dict(accounts)
    by_caller, by_name = Attempts(), Attempts(free=50)

    def check(name: str, password: str) -> bool:
        keys = ((by_caller, (_caller.get(), name)), (by_name, name))
        left = max(attempts.seconds_left(key) for attempts, key in keys)
        if left:
            seconds = str(math.ceil(left))
            sentence = f"Too many wrong passwords: try again in {seconds} seconds."
            raise HTTPException(429, sentence, {"Retry-After": seconds})
        wanted = known.get(name)
        right = hmac.compare_digest((wanted or "").encode(), password.encode()) and wanted is not None
        for attempts, key in keys:
            (attempts.right if right else attempts.wrong)(key)
        return right

    return check
