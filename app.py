"""SegDemo: the entry point, on a desk (``python app.py``) and on Hugging Face Spaces."""

import sys

from segdemo.core.frugal import be_frugal

be_frugal()

from segdemo.core.settings import check_port  # noqa: E402
from segdemo.errors import UserError  # noqa: E402

try:
    check_port()
    from segdemo.ui.page import build, launch_options

    demo = build()
    options = launch_options() if __name__ == "__main__" else {}
except UserError as error:  # a setting that cannot be
    print(f"segdemo: {error}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # the address is to be seen at once, also in a file
    demo.launch(**options)
