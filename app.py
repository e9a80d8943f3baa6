"""SegDemo: the entry point, on a desk (``python app.py``) and on Hugging Face Spaces."""

from segdemo.core.frugal import be_frugal

be_frugal()

from segdemo.ui.page import build, launch_options  # noqa: E402

demo = build()

if __name__ == "__main__":
    demo.launch(**launch_options())
