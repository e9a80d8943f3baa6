"""The application, whose trainers do not step back behind everything else, as a test waits for them.

How long a run would take is not measured beside it, but said by the trainer of tests.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from segdemo.runs import processes, queue
from segdemo.runs.estimates import Estimates
from segdemo.ui import page

processes.step_back = lambda pid: None
FAKE = [sys.executable, str(Path(__file__).resolve().with_name("fake_trainer.py"))]
queue.Estimates = lambda folder, command, bench: Estimates(folder, FAKE, bench)

if __name__ == "__main__":
    page.build().launch(**page.launch_options())
