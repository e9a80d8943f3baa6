"""A seeded fuzzer: damaged and hostile files of every kind the program reads, and what it makes of them.

A case is known by its kind and a number: the same pair gives the same files. Its files are made and read in a process
of their own (``worker``), which ``campaign`` watches. What a reader may do: give a result, or raise a ``UserError``
with one sentence. Anything else is a find: another exception, a crash, more than ten seconds, more than a gigabyte,
files left behind. Finds are kept in ``seeds/`` as ZIPs of their files, which the short run in the suite reads again.

    python -m tests.fuzz --minutes 30
"""

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(_TESTS), str(_TESTS / "data")]  # for what the tests draw and write
