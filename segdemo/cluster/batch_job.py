"""What the head of a cluster executes for a batch of the page: hands its photos out and notes what comes back.

    python -m segdemo.cluster.batch_job ROOT ID JOB

ROOT is the folder of all batches and ID that of this one in it; JOB is what the cluster calls this.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from segdemo.cluster.connection import EndedError
from segdemo.cluster.photos import Look, Model, outcomes
from segdemo.cluster.reach import Place, UnreachableError
from segdemo.core import settings
from segdemo.inference.batch import BatchError, Item, Outcome
from segdemo.inference.jobs import Jobs
from segdemo.zoo import ModelEntry

SHARE = 0.5  # of the cluster's CPUs, unless a setting says how many: so the next batch can begin


def work(root: Path, id_: str, job: str) -> int:
    """Do a batch; the exit code: 0 once its files say how it ended, else 2."""
    place = Place(root / id_, job)
    try:
        place.require()
    except UnreachableError as error:
        print(f"segdemo: {error}", file=sys.stderr)
        return 2
    if Jobs(root).do(id_, partial(_segmented, place)):
        return 0
    print("segdemo: Somebody works on this batch already: resume it when that has ended.", file=sys.stderr)
    return 2


def _segmented(
    place: Place, entry: ModelEntry, formats: Sequence[str], look: Look, items: Sequence[Item]
) -> Iterator[Outcome]:
    model, cpus = Model.of(entry, (1.0,), False), int(settings.read("SEGDEMO_BATCH_CPUS"))
    try:
        yield from outcomes(model, formats, cpus, items, SHARE, look, place)
    except EndedError as error:
        raise BatchError("The cluster ended this batch: resume it to go on with the photos left.") from error


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
