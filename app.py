"""SegDemo: the entry point, on a desk (``python app.py``) and on Hugging Face Spaces."""

import os

# The library behind NumPy's matrix products lets its threads spin: beside other photos they take twice the time of
# one thread. It reads this when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from segdemo.ui.page import build, launch_options  # noqa: E402

demo = build()

if __name__ == "__main__":
    demo.launch(**launch_options())
