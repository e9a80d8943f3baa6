"""The application with the trainer of tests: everything else is real. FAKE_STEPS and FAKE_DELAY set its pace."""

import functools
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS.parent))

from segdemo.runs import queue  # noqa: E402
from segdemo.ui import page, services  # noqa: E402
from segdemo.ui.tabs.train import tab  # noqa: E402

services.Runs = functools.partial(queue.Runs, command=[sys.executable, str(TESTS / "fake_trainer.py")])
tab.FAST = 0.5  # seconds between two looks at a run, for which tests wait

if __name__ == "__main__":
    page.build().launch(**page.launch_options())
