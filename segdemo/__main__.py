"""``python -m segdemo``."""

import sys

from segdemo.cli import main

if __name__ == "__main__":
    sys.exit(main())
