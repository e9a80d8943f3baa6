"""Headless Chromium for the browser tests. CHROMIUM names another executable than the system's own."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, sync_playwright
from serving import served_app
from tiny import bright, write_model

from segdemo.core.labels import PETS

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
_TIMEOUT = 30_000  # milliseconds, Playwright's own
CALM = {"reduced_motion": "reduce"}  # the first mask is there at once
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
_ARGUMENTS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a webcam


_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _executable(playwright):
    """The Chromium that CHROMIUM names, else the system's, else Playwright's own, fetched if it is not there yet."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found:
        return found
    if not Path(playwright.chromium.executable_path).exists():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    return playwright.chromium.executable_path


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_executable(playwright), args=_ARGUMENTS)
        yield chromium
        chromium.close()


def _leave(page):
    """Go to a blank page, as if this one had been closed."""
    with contextlib.suppress(Error):  # one that never opened has stored nothing
        page.evaluate("sessionStorage.clear()")
    page.goto("about:blank")


class _Visitor:
    """One browser context and one page in it for test after test, which keep nothing but fetched files.

    A page whose scripts have been fetched and compiled before opens in three quarters of the time, and in three
    quarters of that where the process that shows it is there already.
    """

    def __init__(self, browser, options):
        self._browser, self._options = browser, options
        self._context, self._page, self._origins = None, None, set()

    def page_for(self, url):
        """A blank page that is to go to an address, as if in a new context."""
        self._origins.add("{0.scheme}://{0.netloc}".format(urlsplit(url)))
        return self._blank()

    def _blank(self):
        if self._context not in self._browser.contexts:
            self._context = self._browser.new_context(**self._options)
        if self._page not in self._context.pages:
            self._page = self._context.new_page()
        return self._page

    def forget(self):
        """Leave its page, close others, and take away what they have stored."""
        page = self._blank()
        page.unroute_all(behavior="ignoreErrors")
        _leave(page)
        page.set_default_timeout(_TIMEOUT)
        page.set_viewport_size(self._options["viewport"])
        for other in self._context.pages:
            if other is not page:
                other.close()
        session = self._context.new_cdp_session(page)
        for origin in self._origins:
            session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        session.detach()
        self._origins.clear()
        self._context.clear_cookies()


class _Visitors:
    """Visitors that are free, by the options of their contexts."""

    def __init__(self, browser):
        self._browser, self._free = browser, defaultdict(list)

    @contextlib.contextmanager
    def opening(self):
        """A function (url, **context options) -> page, each another visitor's; and a list of uncaught script errors.

        Afterwards the pages are closed and the visitors free.
        """
        taken, listening, errors = [], [], []

        def open_(url, context=None, asked=None, **options):
            if context is None:
                free = self._free[json.dumps(options, sort_keys=True)]
                options = {**DESKTOP, "accept_downloads": True, **CALM, **options}
                visitor = free.pop() if free else _Visitor(self._browser, options)
                taken.append((visitor, free))
                page = visitor.page_for(url)
            else:
                page = context.new_page()
            listeners = {"pageerror": lambda error: errors.append(str(error))}
            if asked is not None:
                listeners["request"] = lambda request: asked.append(request.url)
            for event, listener in listeners.items():
                page.on(event, listener)
                listening.append((page, event, listener))
            page.goto(url)
            return page

        try:
            yield open_, errors
        finally:
            for page, event, listener in listening:
                with contextlib.suppress(Error):  # it may have been closed
                    page.evaluate("0")  # whatever went wrong until now has been told before the answer
                page.remove_listener(event, listener)
            for visitor, free in reversed(taken):
                visitor.forget()
                free.append(visitor)


@pytest.fixture(scope="session")
def visitors(browser):
    return _Visitors(browser)


@pytest.fixture
def open_page(visitors):
    """A function (url, **context options) -> page; an uncaught script error on any page fails the test.

    Each page is another visitor's, unless it gets the ``context`` of a page before.
    """
    with visitors.opening() as (open_, errors):
        yield open_
    assert errors == []


@pytest.fixture(scope="module")
def lasting_page(visitors):
    """A function (url, **context options) -> (page, list of its uncaught script errors), for all tests of a file.

    Addresses of whatever the page asks for go into a list ``asked``, if one is given.
    """
    with visitors.opening() as (open_, errors):
        yield lambda url, **options: (open_(url, **options), errors)


@pytest.fixture(scope="session")
def plain_app(tmp_path_factory):
    """The address of the application as it is, with one more model, "colours", for all files that need no more."""
    folder = tmp_path_factory.mktemp("plain")
    write_model(folder / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    with served_app(folder) as (url, _):
        yield url


@pytest.fixture
def serve(browser):
    """``served_app``, whose pages are left before it ends: they may still be fetching a script."""

    @contextlib.contextmanager
    def serve(*arguments, **environment):
        with served_app(*arguments, **environment) as app:
            try:
                yield app
            finally:
                for page in [page for context in browser.contexts for page in context.pages]:
                    if page.url.startswith(app[0]):
                        _leave(page)

    return serve


@pytest.fixture
def phone():
    return dict(PHONE)
