"""Headless Chromium for the browser tests. CHROMIUM names another executable than the system's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from serving import answers

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


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
    """A function (url, **context options) -> page; an uncaught script error on any page fails the test.

    Unless the page was still fetching a script when the test ended its server.
    """
    contexts, errors = [], []

    def open_(url, context=None, **options):
        if context is None:
            context = browser.new_context(**{**DESKTOP, "accept_downloads": True, **options})
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append((url, str(error))))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [e for url, e in errors if not e.startswith("Failed to fetch") or answers(url)] == []


@pytest.fixture
def phone():
    return dict(PHONE)
