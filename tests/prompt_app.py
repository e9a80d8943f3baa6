"""The application, whose trainers do not step back behind everything else: a test waits for them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from segdemo.runs import processes
from segdemo.ui import page

processes.step_back = lambda pid: None

if __name__ == "__main__":
    page.build().launch(**page.launch_options())
