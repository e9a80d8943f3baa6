"""Headless Chromium for the browser tests. CHROMIUM names another executable than the system's own."""

import contextlib
import os
import shutil
import subprocess
import sys
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
    """One browser context for the first desktop page of test after test, which keeps nothing but fetched files.

    A page whose scripts have been fetched and compiled before opens in three quarters of the time.
    """

    def __init__(self, browser):
        self._browser, self._context, self._origins = browser, None, set()

    def context(self):
        """Like a new one."""
        if self._context not in self._browser.contexts:
            self._context = self._browser.new_context(**DESKTOP, accept_downloads=True, **CALM)
        return self._context

    def visited(self, url):
        self._origins.add("{0.scheme}://{0.netloc}".format(urlsplit(url)))

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


@pytest.fixture(scope="session")
def visitor(browser):
    return _Visitor(browser)


@pytest.fixture
def open_page(browser, visitor):
    """A function (url, **context options) -> page; an uncaught script error on any page fails the test.

    Each page is another visitor's, unless it gets the ``context`` of a page before.
    """
    contexts, errors, free = [], [], [visitor]

    def open_(url, context=None, **options):
        if context is None and not options and free:
            context = free.pop().context()
        elif context is None:
            context = browser.new_context(**{**DESKTOP, "accept_downloads": True, **CALM, **options})
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        visitor.visited(url)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    visitor.forget()
    assert errors == []


@pytest.fixture(scope="module")
def lasting_page(browser):
    """A function url -> (page, list of its uncaught script errors), both for all tests of a file."""
    contexts = []

    def open_(url):
        context, errors = browser.new_context(**DESKTOP, accept_downloads=True, **CALM), []
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page, errors

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def serve(browser):
    """``served_app``, whose pages are closed before it ends: they may still be fetching a script."""

    @contextlib.contextmanager
    def serve(*arguments, **environment):
        with served_app(*arguments, **environment) as app:
            try:
                yield app
            finally:
                for context in browser.contexts:
                    context.close()

    return serve


@pytest.fixture
def phone():
    return dict(PHONE)
