"""Headless Chromium for the browser tests. CHROMIUM names another executable than the system's own."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def open_page(browser):
    """A function (url, **context options) -> page; an uncaught script error on any page fails the test."""
    contexts, errors = [], []

    def open_(url, context=None, **options):
        if context is None:
            context = browser.new_context(**{**DESKTOP, "accept_downloads": True, **CALM, **options})
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert errors == []


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
