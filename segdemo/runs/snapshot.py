"""A run at one moment, as pages show it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.runs.record import Run, Status
from segdemo.zoo.scores import Lineage, Report

ENDED = ("done", "failed", "cancelled")
WAITING = "Waiting for its turn."
NOT_INSTALLED = "Finished, but not installed"  # how the message of a run begins whose model could not be


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        id, title: of the run. name: of the model it will become a version of.
        state: ``"queued"``, ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``.
        message: one sentence on how it is doing.
        position: 1 for the next to start; 0 if it does not wait.
        epoch, epochs: finished and wanted. step, steps: of this epoch.
        images_per_second, eta_seconds, rss_mb: while it runs, if known.
        best: best mean IoU on the validation photos so far, 0..1, or None.
        created, user: when and by whom it was started.
        settings: its configuration.
        cancelling: it has been asked to stop.
        can_resume: whether ``resume`` would be accepted.
        model: the version it was installed as, such as ``"cats@2"``; "" before.
        lineage: parent, data set hash, settings and code version, once it has begun; else an empty one.
        report: scores before and after, once measured; else None.
        samples: paths of the pictures after each epoch, oldest first.
        events: what happened since the cursor given to ``follow``.
        cursor: what to give next time.
        log: the last lines the trainer printed.
        folder: the run directory.
    """

    id: str
    title: str
    name: str
    state: str
    message: str
    position: int
    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float | None
    eta_seconds: float | None
    rss_mb: float | None
    best: float | None
    created: str
    user: str
    settings: dict[str, Any]
    cancelling: bool
    can_resume: bool
    model: str
    lineage: Lineage
    report: Report | None
    samples: tuple[Path, ...]
    events: tuple[dict[str, Any], ...]
    cursor: int
    log: str
    folder: Path

    @property
    def ended(self) -> bool:
        """Whether it will not change by itself any more."""
        return self.state in ENDED

    @property
    def installing(self) -> bool:
        """Whether it is done and its model is not there yet, which takes a moment."""
        return self.state == "done" and not self.model and not self.message.startswith(NOT_INSTALLED)

    @property
    def needs_other_settings(self) -> bool:
        """Whether it failed by its settings, so that it would fail again if it were resumed: its sentence says so."""
        asks = re.search(r"choose|start from", self.message, re.IGNORECASE)
        return self.state == "failed" and bool(asks) and "resume" not in self.message


def snapshot_of(
    run: Run,
    status: Status,
    queue: Sequence[str],
    events: Sequence[dict[str, Any]] = (),
    cursor: int = 0,
    log: str = "",
) -> Snapshot:
    """The Snapshot of a run.

    Args:
        run: as its files say.
        status: as ``Supervisor.state`` says.
        queue: ids of the runs that wait, the next one first.
        events, cursor, log: what is new.
    """
    settings, record = run.settings(), run.record
    return Snapshot(
        id=run.id,
        title=run.title,
        name=run.name,
        state=status.state,
        message=status.message,
        position=queue.index(run.id) + 1 if run.id in queue else 0,
        epoch=status.epoch or 0,
        epochs=status.epochs or settings.get("epochs") or 0,
        step=status.step or 0,
        steps=status.steps or 0,
        images_per_second=status.images_per_second,
        eta_seconds=status.eta_seconds,
        rss_mb=status.rss_mb,
        best=status.best,
        created=record.created,
        user=record.user,
        settings=settings,
        cancelling=status.state == "running" and (run.folder / "cancel").exists(),
        can_resume=status.state in ("failed", "cancelled"),
        model=record.model,
        lineage=record.lineage or Lineage(),
        report=run.report(),
        samples=tuple(sorted((run.folder / "samples").glob("epoch_*.png"))),
        events=tuple(events),
        cursor=cursor,
        log=log,
        folder=run.folder,
    )
