"""One function over many things, on all nodes of a cluster: Ray Data with one loaded function an actor.

What goes there and comes back is plain data. Blocks are small, so that little is done again where an actor or its
node is lost, and no more of them wait than the actors can take.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from segdemo.cluster.connection import connected, imported
from segdemo.cluster.driver import driven
from segdemo.errors import UserError

BLOCK = 16  # things that come back together, and that are done again if their actor is lost
MOST_BLOCKS = 20_000  # each costs the one who hands them out a few milliseconds

Work = Callable[[Any], Any]  # plain data in, plain data out
Load = Callable[[], Work]


class Worker:
    """What an actor is: the function, loaded when the first things come.

    Args:
        load: makes the function, such as by opening a model.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._work: Work | None = None

    def __call__(self, block: dict[str, Any]) -> dict[str, list[str]]:
        """``{"thing": JSON texts}`` to ``{"found": JSON texts}``, each ``{"is": ...}``, or ``{"fatal": why}``."""
        try:
            if self._work is None:
                self._work = self._load()
            return {"found": [json.dumps({"is": self._work(json.loads(thing))}) for thing in block["thing"]]}
        except UserError as error:  # errors of ours do not all survive the way between processes
            return {"found": [json.dumps({"fatal": str(error)})]}


class _Kept:
    """A ``load`` in the cluster's object store: it travels once to each node that needs it.

    Args:
        reference: to it.
    """

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def __call__(self) -> Work:
        work: Work = imported().get(self._reference)()
        return work


def spread(
    load: Load,
    things: Sequence[Any],
    workers: int = 0,
    share: float = 1.0,
    then: str = "give the same command again with --resume",
) -> Iterator[Any]:
    """What a function makes of each of many things, in any order.

    Args:
        load: called once in each actor: a function that makes the function. Both have to be picklable.
        things: plain data, as JSON has it.
        workers: actors, of one CPU each; 0 for as many as the cluster has CPUs.
        share: of the cluster's CPUs, 0..1, where ``workers`` is 0.
        then: what to do where the cluster is lost, a clause.

    Returns:
        What the function returned, which has to be plain data, as it comes back.

    Raises:
        ClusterError: there is no cluster, or it was lost. UserError: the function raised one, told by its sentence.
    """
    return driven(partial(_spread, load, things, workers, share, then), "work", then)


def _spread(load: Load, things: Sequence[Any], workers: int, share: float, then: str) -> Iterator[Any]:
    """As ``spread``, in the process that uses Ray."""
    with connected("work", then) as ray:
        blocks = max(1, min(MOST_BLOCKS, -(-len(things) // BLOCK)))
        workers = workers or max(1, math.ceil(share * ray.cluster_resources().get("CPU", 1)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        rows = ray.data.from_items(
            [{"thing": json.dumps(thing)} for thing in things], override_num_blocks=blocks
        )
        kept = ray.put(load)
        found = rows.map_batches(
            Worker,
            fn_constructor_args=(_Kept(kept),),
            batch_size=None,  # a block at a time
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, blocks)),
        )
        for row in found.iter_rows():
            said = json.loads(row["found"])
            if "fatal" in said:
                raise UserError(said["fatal"])
            yield said["is"]
