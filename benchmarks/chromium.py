"""The browser of the benchmarks."""

import os
from pathlib import Path


def launch(playwright, *arguments):
    """Headless Chromium: the one that CHROMIUM names, else the system's, else Playwright's own.

    Args:
        playwright: of Playwright.
        *arguments: further ones of Chromium's.
    """
    executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    return playwright.chromium.launch(
        executable_path=executable if Path(executable).exists() else None,
        args=["--no-sandbox", "--disable-gpu", *arguments],
    )
