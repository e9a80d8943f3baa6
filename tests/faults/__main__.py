"""The whole campaign of faults: ``python -m tests.faults --rounds 200`` prints what was done and what was lost.

It takes about five seconds a round, and five minutes for the rest; ``--only`` does one part.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from faults import homes, servers, trainers  # noqa: E402

PARTS = {
    "server killed": lambda folder, rounds: servers.run(folder, rounds),
    "two servers on one home": lambda folder, rounds: servers.two_servers(folder, max(5, rounds / 5)),
    "server on a full disk": lambda folder, rounds: servers.full_disk(folder),
    "trainer killed": lambda folder, rounds: trainers.kill_fakes(folder, rounds),
    "real trainer killed at every phase": lambda folder, rounds: trainers.kill_real(folder),
    "server killed while it installs": lambda folder, rounds: trainers.kill_installation(folder),
    "disk full at every write": lambda folder, rounds: homes.full_disk(folder),
    "home read-only, or deleted meanwhile": lambda folder, rounds: homes.unwritable(folder),
    "clock set back": lambda folder, rounds: homes.clock_set_back(folder),
    "files damaged": lambda folder, rounds: homes.damaged(folder),
}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="servers, and trainers, that are killed")
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # hundreds of lines, each of which is as it should be
    failed = False
    for name, part in PARTS.items():
        if options.only not in (None, name):
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                if name == "files damaged":
                    logging.disable(logging.NOTSET)  # it counts the lines
                    logging.getLogger("segdemo").propagate = False
                told = part(Path(folder) / "state", options.rounds)
            except AssertionError as error:
                told, failed = {"FAILED": str(error)}, True
        print(json.dumps({name: told, "seconds": round(time.monotonic() - start)}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
