"""The long campaign: ``python -m tests.fuzz --minutes 30 [--kind photos] [--seed 0] [--count 10000] [--keep DIR]``."""

import argparse
import itertools
import os
import random
import sys
import time
import zipfile
from pathlib import Path

from tests.fuzz import campaign

SHARES = {"photos": 8, "masks": 1, "archives": 6, "json": 3, "runs": 1, "manifests": 1, "weights": 1}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=30, help="of all kinds together")
    parser.add_argument("--count", type=int, help="cases of each kind, instead of minutes")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--kind", action="append", choices=SHARES, help="only this one; may be repeated")
    parser.add_argument("--keep", type=Path, help="folder for the files of the finds")
    options = parser.parse_args()
    os.nice(10)
    kinds = options.kind or [*SHARES]
    shares = sum(SHARES[kind] for kind in kinds)
    found = 0
    with campaign.Worker() as worker:
        for kind in kinds:
            end = time.monotonic() + 60 * options.minutes * SHARES[kind] / shares
            last = options.seed + options.count if options.count else None
            numbers = until(options.seed, last, float("inf") if options.count else end)
            done = campaign.run(kind, itertools.chain(campaign.seeds(kind), numbers), worker)
            print(*done.lines(), sep="\n", flush=True)
            found += len(done.faults)
            kept = set()
            for what, case in done.faults:
                if options.keep and isinstance(case, int) and what not in kept:
                    kept.add(what)
                    keep(options.keep / kind / f"{case}.zip", kind, case)
    return 1 if found else 0


def until(first, last, end):
    """Numbers from the first one on, until the last or the time ``end``."""
    for number in itertools.count(first):
        if number == last or time.monotonic() > end:
            return
        yield number


def keep(path, kind, number):
    """Write the files of a case as a seed."""
    from tests.fuzz import readers

    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in readers.made(kind, random.Random(f"{kind} {number}")).items():
            archive.writestr(name, data)


if __name__ == "__main__":
    sys.exit(main())
