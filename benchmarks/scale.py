"""How many nodes are worth having: a simulation of predict --on ray from measured seconds, checked at its small end.

    python benchmarks/scale.py                                   # the tables, from the figures below
    RAY_ADDRESS=HOST:6379 python benchmarks/scale.py --measure   # figures of this cluster, and the check

One process hands out blocks of photos and notes what comes back, each actor works on a block at a time, and all read
photos from one shared disk and write label maps to it. The simulation follows every block: when it is handed out, when
its bytes have come through the disk, when its actor is done and when its results are noted. There are at most 20,000 of
them (``cluster.spread.MOST_BLOCKS``), so a hundred million photos take no longer to simulate than a million.

``--measure`` runs 16 and then ``--photos`` photos here with one worker and through two nodes on the same two cores, and
compares the last with what the simulation makes of the others; there the actors' cores do the handing out too. 16 go
through the cluster before and after, so that what changes slowly on the machine is the same for both.
"""

import argparse
import heapq
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from segdemo.cluster.spread import BLOCK, MOST_BLOCKS  # noqa: E402


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes that a machine takes; defaults are those of docs/cluster.md.

    Attributes:
        photo: seconds of one CPU from a photo's file to its results.
        note: seconds of the handing-out process for each photo that comes back. block: for each block.
        start: seconds until actors have loaded the model.
        moved: bytes read and written for a photo. disk: bytes a second of the shared disk.
        memory: bytes that the handing-out process keeps of each photo.
        step: seconds of a training step. launch: seconds from handing over a run until its first step.
    """

    photo: float = 0.0361
    note: float = 0.00228
    block: float = 0.0  # measured with the notes
    start: float = 4.9
    moved: float = 65_000
    disk: float = 1e9
    memory: float = 2_000
    step: float = 1.0
    launch: float = 30.0


def simulated(photos: int, actors: int, costs: Costs) -> tuple[float, float]:
    """(seconds that photos take on so many actors, share of them that the handing-out process works)."""
    blocks = max(1, min(MOST_BLOCKS, -(-photos // BLOCK)))
    sizes = [photos // blocks + (n < photos % blocks) for n in range(blocks)]
    free = [costs.start] * min(actors, blocks)  # when each actor takes the next block
    back, disk = [], 0.0
    for size in sizes:
        ready = heapq.heappop(free)
        disk = max(disk, ready) + size * costs.moved / costs.disk
        done = max(ready + size * costs.photo, disk)
        heapq.heappush(free, done)
        back.append((done, size))
    hand = busy = 0.0
    for done, size in sorted(back):
        took = costs.block + size * costs.note
        hand, busy = max(hand, done) + took, busy + took
    return hand, busy / hand


def limit(costs: Costs) -> tuple[int, str]:
    """(actors beyond which nothing gets faster, what is in the way)."""
    per_photo = {
        "the process that hands out": costs.note + costs.block / BLOCK,
        "the shared disk": costs.moved / costs.disk,
    }
    slowest = max(per_photo, key=per_photo.__getitem__)
    return int(costs.photo / per_photo[slowest]), slowest


def trials_seconds(trials: int, slots: int, steps: int, costs: Costs) -> float:
    """Seconds that so many runs of so many steps take where ``slots`` fit at a time."""
    return -(-trials // slots) * (costs.launch + steps * costs.step)


def tables(costs: Costs, cpus: int) -> str:
    """What nodes of so many CPUs give, as Markdown: with one command, and with as many shards as are of use."""
    lines = [
        f"| photos | nodes of {cpus} CPUs | one command | photos a second | its memory | shards | time with them |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for photos in (10**5, 10**6, 10**7, 10**8):
        for nodes in (1, 10, 100):
            actors = nodes * cpus
            seconds, _ = simulated(photos, actors, costs)
            shards = max(1, -(-actors // max(1, limit(costs)[0])))
            shared, _ = simulated(-(-photos // shards), actors // shards, costs)
            shared = max(shared, photos * costs.moved / costs.disk)  # the disk is everybody's
            lines.append(
                f"| {photos:,} | {nodes} | {seconds / 3600:.2f} h | {photos / seconds:,.0f} | "
                f"{photos * costs.memory / 1e9:.1f} GB | {shards} | {shared / 3600:.2f} h |"
            )
    actors, why = limit(costs)
    lines += ["", f"Beyond {actors} CPUs {why} is in the way of one command."]
    lines += ["", "| runs of 1,000 steps | 1 at a time | 10 | 100 |", "|---|---|---|---|"]
    for trials in (10, 100):
        hours = (trials_seconds(trials, slots, 1000, costs) / 3600 for slots in (1, 10, 100))
        lines.append(f"| {trials} | " + " | ".join(f"{one:.2f} h" for one in hours) + " |")
    return "\n".join(lines)


def measure(photos: int, model: str) -> None:
    """Print the costs of this cluster and how well they foretell a run of it."""
    from batch import prepared

    work = Path(tempfile.mkdtemp())
    (work / "few").mkdir()
    (work / "many").mkdir()
    prepared(work / "few", BLOCK)
    paths = prepared(work / "many", photos)

    def run(name: str, folder: Path, *options: str) -> tuple[float, float]:
        command = [sys.executable, "-m", "segdemo", "predict", "--model", model, "--out", str(work / name)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        wall, before = time.perf_counter(), os.times()
        subprocess.run([*command, *options, str(folder)], env=environment, check=True)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return time.perf_counter() - wall, used

    before = run("before", work / "few", "--on", "ray")
    _, one = run("one", work / "few", "--workers", "1")
    _, here = run("here", work / "many", "--workers", "1")
    there_wall, there = run("there", work / "many", "--on", "ray", "--workers", "2")
    after = run("after", work / "few", "--on", "ray")
    few_wall, few = ((first + last) / 2 for first, last in zip(before, after, strict=True))
    left = photos - BLOCK
    moved = (
        sum(p.stat().st_size for folder in (work / "many", work / "there") for p in folder.iterdir()) / photos
    )
    photo, note = (here - one) / left, max(0.0, there - few) / left
    start = few_wall - BLOCK * photo
    costs = replace(Costs(), photo=photo + note, note=note, block=0.0, start=start, moved=moved)
    foretold, _ = simulated(photos, 2, costs)
    same = all(
        (work / "here" / f"{p.stem}.png").read_bytes() == (work / "there" / f"{p.stem}.png").read_bytes()
        for p in paths
    )
    print(f"here, {photos} photos: {here:.1f} s of the processor, {1000 * photo:.1f} ms a photo")
    print(f"through Ray: {there:.1f} s of the processor in the command, {1000 * note:.2f} ms a photo of it")
    print(
        f"until actors have loaded the model: {start:.1f} s; bytes a photo: {moved:,.0f}; same files: {same}"
    )
    print(f"two nodes: {there_wall:.1f} s, foretold {foretold:.1f} s, {there_wall / foretold:.2f} times that")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpus", type=int, default=16, help="of a node")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--model", default="deeplabv3")
    options = parser.parse_args()
    if options.measure:
        measure(options.photos, options.model)
    else:
        print(tables(Costs(), options.cpus))


if __name__ == "__main__":
    main()
