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
from playwright.sync_api import sync_playwright
from serving import served_app

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
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


class _Visitor:
    """One browser context for the pages of test after test, which keeps nothing but fetched files.

    A page whose scripts have been fetched and compiled before opens in three quarters of the time.
    """

    def __init__(self, browser, options):
        self._browser, self._options, self._context, self._origins = browser, options, None, set()

    def page_for(self, url):
        """A blank page that is to go to an address, as if in a new context."""
        if self._context not in self._browser.contexts:
            self._context = self._browser.new_context(**self._options)
        self._origins.add("{0.scheme}://{0.netloc}".format(urlsplit(url)))
        return self._context.new_page()

    def forget(self):
        """Close its pages, and take away what they have stored."""
        if self._context not in self._browser.contexts:
            return
        blank, *others = self._context.new_page(), *self._context.pages
        session = self._context.new_cdp_session(blank)
        for page in others:
            if page is not blank:
                page.close()
        for origin in self._origins:
            session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        self._origins.clear()
        self._context.clear_cookies()
        blank.close()


class _Visitors:
    """Visitors that are free, by the options of their contexts."""

    def __init__(self, browser):
        self._browser, self._free = browser, defaultdict(list)

    @contextlib.contextmanager
    def opening(self):
        """A function (url, **context options) -> page, each another visitor's; and a list of uncaught script errors.

        Afterwards the pages are closed and the visitors free.
        """
        taken, errors = [], []

        def open_(url, context=None, **options):
            if context is None:
                free = self._free[json.dumps(options, sort_keys=True)]
                options = {**DESKTOP, "accept_downloads": True, **CALM, **options}
                visitor = free.pop() if free else _Visitor(self._browser, options)
                taken.append((visitor, free))
                page = visitor.page_for(url)
            else:
                page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            return page

        try:
            yield open_, errors
        finally:
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
    """A function (url, **context options) -> (page, list of its uncaught script errors), for all tests of a file."""
    with visitors.opening() as (open_, errors):
        yield lambda url, **options: (open_(url, **options), errors)


@pytest.fixture
def serve(browser):
    """``served_app``, whose pages are closed before it ends: they may still be fetching a script."""

    @contextlib.contextmanager
    def serve(*arguments, **environment):
        with served_app(*arguments, **environment) as app:
            try:
                yield app
            finally:
                for page in [page for context in browser.contexts for page in context.pages]:
                    if page.url.startswith(app[0]):
                        page.close()

    return serve


@pytest.fixture
def phone():
    return dict(PHONE)
