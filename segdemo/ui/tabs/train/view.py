"""How runs look: the list, progress, curves, results and origin of one, as HTML; and its pictures."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Lock
from typing import Any, TypeGuard

from cachetools import LRUCache
from markupsafe import Markup

from segdemo.core import settings
from segdemo.runs.estimates import duration
from segdemo.runs.queue import Runs
from segdemo.runs.snapshot import Snapshot
from segdemo.ui.components.run_chart import chart
from segdemo.ui.markup import definitions, html, join
from segdemo.ui.served import served
from segdemo.zoo.scores import Scores
from segdemo.zoo.versions import Version

MOST_HISTORIES = 32
Point = tuple[float, float]  # epochs, value
ROWS = 12  # of a table of scores, before another begins beside it


class History:
    """The points of a run's curves: (epochs, value) by series name."""

    def __init__(self) -> None:
        self.cursor = 0  # what to give ``Runs.follow`` next time
        self.steps = 0  # of an epoch, for events that do not say it
        self._steps: dict[float, dict[str, Any]] = {}
        self._epochs: dict[float, dict[str, Any]] = {}

    def add(self, events: Iterable[dict[str, Any]]) -> None:
        """Take what ``Runs.follow`` tells; steps done again after a resumption count once."""
        for event in events:
            try:
                if event["kind"] == "progress":
                    at = event["epoch"] + event["step"] / max(1, event.get("steps") or self.steps or 1)
                    self._steps[at] = event
                elif event["kind"] == "epoch":
                    self._epochs[event["epoch"]] = event
            except (KeyError, TypeError):
                continue

    def points(self, key: str) -> list[Point]:
        """Training values while it learns, thinned out to what a chart can show."""
        points = _points(self._steps, key)
        return points[:: 1 + len(points) // 400]

    def epochs(self, key: str) -> list[Point]:
        """Values after each epoch."""
        return _points(self._epochs, key)


def _points(events: dict[float, dict[str, Any]], key: str) -> list[Point]:
    return sorted((at, event[key]) for at, event in events.items() if _number(event.get(key)))


class Histories:
    """The histories of the runs that somebody looks at, read on where they ended.

    Args:
        runs: or a function that gives those of whoever is being answered.
    """

    def __init__(self, runs: Runs | Callable[[], Runs]):
        self._runs, self._lock = runs, Lock()
        self._histories: LRUCache[str, History] = LRUCache(MOST_HISTORIES)  # by id of the run

    def follow(self, run_id: str) -> tuple[Snapshot, History]:
        """A run and its curves. Raises NotFoundError."""
        runs = self._runs if isinstance(self._runs, Runs) else self._runs()
        with self._lock:
            history = self._histories.pop(run_id, None) or History()
            snapshot = runs.follow(run_id, history.cursor)
            if snapshot.cursor < history.cursor:  # another file under the same name
                history = History()
                snapshot = runs.follow(run_id)
            history.steps = snapshot.steps
            history.add(snapshot.events)
            history.cursor = snapshot.cursor
            self._histories[run_id] = history
        return snapshot, history


# --- the list ----------------------------------------------------------------------------------------------


def listing(snapshots: Iterable[Snapshot], chosen: str | None) -> Markup:
    """HTML of the list of runs; its buttons carry the run's id as ``data-id``."""
    rows = join(_row(snapshot, snapshot.id == chosen) for snapshot in snapshots)
    return html('<div class="tr-list" role="list" aria-label="Runs">{}</div>', rows)


def _row(run: Snapshot, chosen: bool) -> Markup:
    facts = [when(run.created)]
    if run.state == "queued":
        facts = [f"{ordinal(run.position)} in the queue", *facts]
    elif run.state == "running":
        facts = [f"epoch {min(run.epoch + 1, run.epochs)} of {run.epochs}", *facts]
    if run.model:
        facts.insert(0, run.model)
    if run.best is not None and run.best >= 0:
        facts.insert(0, f"best {100 * run.best:.1f}")
    bar = "" if run.ended else html('<i style="width: {:.1f}%"></i>', 100 * fraction(run))
    template = (
        '<button type="button" role="listitem" data-id="{run.id}" aria-pressed="{pressed}" class="tr-row">'
        "{badge}<b>{run.title}</b><span>{facts}</span>{bar}</button>"
    )
    text = " · ".join(filter(None, facts))
    return html(template, run=run, pressed=str(chosen).lower(), badge=badge(run), facts=text, bar=bar)


def badge(run: Snapshot) -> Markup:
    """HTML of a run's state."""
    text = "stopping" if run.cancelling else "waiting" if run.state == "queued" else run.state
    return html('<em class="tr-badge {}">{}</em>', run.state, text)


def fraction(run: Snapshot) -> float:
    """How much of a run's steps are done, 0..1."""
    if run.state == "done":
        return 1.0
    done = run.epoch + (run.step / run.steps if run.steps and run.epoch < run.epochs else 0)
    return min(1.0, done / run.epochs) if run.epochs else 0.0


def ordinal(number: int) -> str:
    """``"1st"``, ``"2nd"``, ..."""
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def when(stamp: str) -> str:
    """An ISO time as this machine's people would say it."""
    try:
        time = datetime.fromisoformat(stamp).astimezone()
    except (TypeError, ValueError):
        return ""
    return f"{time:%d %b %H:%M}".lstrip("0")


# --- one run -----------------------------------------------------------------------------------------------


def head(run: Snapshot) -> Markup:
    """HTML of a run's title, state, progress and numbers."""
    text = run.message
    if run.state == "queued" and run.position:
        text = f"{run.message} It is {ordinal(run.position)} in the queue."
    elif run.cancelling:
        text = "It stops after the step in progress and keeps its checkpoints."
    elif _begins(run) and settings.read("SEGDEMO_EXECUTOR") == "local":
        text = f"{run.message} Other work on this machine goes first, so it takes longer while that is busy."
    epoch = min(run.epoch + (run.state == "running"), run.epochs) if run.state != "done" else run.epochs
    numbers = [("Epoch", f"{max(epoch, 0)} of {run.epochs}")]
    learning = run.state == "running" and run.epoch < run.epochs
    if learning and run.steps:
        numbers.append(("Step", f"{run.step:,} of {run.steps:,}"))
    if learning:
        speed, left = run.images_per_second, run.eta_seconds
        numbers += [
            ("Photos a second", f"{speed:.1f}" if _number(speed) else "\N{EN DASH}"),
            ("Time left", duration(left) if _number(left) else "\N{EN DASH}"),
            ("Memory", f"{run.rss_mb / 1000:.1f} GB" if _number(run.rss_mb) else "\N{EN DASH}"),
        ]
    if run.best is not None and run.best >= 0:
        numbers.append(("Best mean IoU", f"{100 * run.best:.1f}"))
    role = "alert" if run.state == "failed" else "paragraph"
    template = (
        '<section class="tr-head" data-run="{run.id}" data-state="{run.state}"><header><h2>{run.title}</h2>{badge}'
        '</header><p role="{role}">{text}</p><div class="tr-bar {run.state}" role="progressbar" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{percent:.0f}" aria-label="Progress"><i style="width: {percent:.2f}%"></i>'
        "</div><dl>{numbers}</dl></section>"
    )
    parts = {"badge": badge(run), "percent": 100 * fraction(run), "numbers": definitions(numbers)}
    return html(template, run=run, role=role, text=text, **parts)


def _begins(run: Snapshot) -> bool:
    return run.state == "running" and not run.step and not run.epoch


def curves(run: Snapshot, history: History) -> Markup:
    """HTML of the charts of loss and mean IoU; "" before the first point."""
    charts = ""
    for title, key, scale in (("Loss", "loss", 1), ("Mean IoU", "mean_iou", 100)):
        training, validation = history.epochs(key), history.epochs(f"val_{key}")
        charts += chart(title, history.points(key), training, validation, run.epochs, scale)
    return html('<div class="tr-charts">{}</div>', Markup(charts)) if charts else Markup()


def result(run: Snapshot, version: Version | None, others: list[Version]) -> Markup:
    """HTML of the scores before and after, and of the versions of the model.

    Args:
        run: that was measured.
        version: it became, or None.
        others: all versions of that model, newest first.
    """
    if not run.report or not run.report.after:
        return Markup()
    after, before = run.report.after, run.report.before or Scores()
    rows = {
        "Mean IoU": "mean_iou",
        "Mean accuracy": "mean_accuracy",
        "Pixel accuracy": "pixel_accuracy",
    }.items()
    lines = [
        _score(html("<b>{}</b>", title), getattr(before, key), getattr(after, key)) for title, key in rows
    ]
    earlier, classes = before.class_iou, after.class_iou.items()
    present = [(name, value) for name, value in classes if _number(value) or _number(earlier.get(name))]
    lines += [_score(name, earlier.get(name), value) for name, value in present]
    absent = len(classes) - len(present)
    what = f"On {after.images:,} held-out photos" if after.images else "On the held-out photos"
    note = "There is no score before: it started from no model with these classes."
    if before.model:
        note = f"Before is {before.model}, the model it started from."
    if absent:
        note += f" {absent} of the {len(classes)} classes are not in these photos."
    taught = run.report.taught
    if taught and _number(taught.mean_iou) and _number(after.mean_iou):
        verb = "beats" if after.mean_iou > taught.mean_iou else "does not beat"
        note += f" It {verb} what was taught by painting, which has {_percent(taught.mean_iou)} there."
    table = (
        "<table><thead><tr><th>{}</th><th>before</th><th>after</th><th>change</th></tr></thead>"
        "<tbody>{}</tbody></table>"
    )
    starts = range(0, len(lines), ROWS)
    tables = join(html(table, "" if i else what, join(lines[i : i + ROWS])) for i in starts)
    section = '<section class="tr-result"><h3>Result</h3><p>{}</p><div class="tr-tables">{}</div>{}</section>'
    return html(section, note, tables, _versions(version, others))


def _score(title: str, before: Any, after: Any) -> Markup:
    change = html("<td class=''></td>")
    if _number(before) and _number(after):
        points = round(100 * (after - before), 1)
        kind = "better" if points > 0 else "worse" if points < 0 else ""
        change = html('<td class="{}">{:+.1f}</td>', kind, points)
    bar = html('<i style="width: {:.1f}%"></i>', 100 * after) if _number(after) else ""
    row = "<tr><th>{}</th><td>{}</td><td class='tr-after'>{}{}</td>{}</tr>"
    return html(row, title, _percent(before), _percent(after), bar, change)


def _versions(version: Version | None, others: list[Version]) -> Markup:
    if version is None:
        return Markup()
    rows = Markup()
    for other in others:
        before, after = (_percent((scores or Scores()).mean_iou) for scores in (other.before, other.after))
        row = "<tr class='{}'><th>{}</th><td>{}</td><td>{} → {}</td><td>{}</td></tr>"
        this, used = "this" if other.number == version.number else "", "in use" if other.current else ""
        rows += html(row, this, other.served_as, when(other.installed), before, after, used)
    text = "No version of <b>{0.name}</b> is promoted yet: it can be chosen as {0.served_as} only."
    for current in (other for other in others if other.current):
        text = f"<b>{{0.name}}</b> stands for version {current.number}."
    objection = "" if version.current else version.objection()
    warning = html('<p class="tr-objection">{}</p>', objection) if objection else ""
    section = "<h3>Versions</h3><p>{}</p>{}<table class='tr-versions'><tbody>{}</tbody></table>"
    return html(section, html(text, version), warning, rows)


def origin(run: Snapshot) -> Markup:
    """HTML of where a run's model comes from: parent, data, code, settings."""
    lineage = run.lineage
    settings = lineage.settings or run.settings
    digest = lineage.dataset_hash
    data = f"{settings.get('dataset', '')} in {settings.get('data', '')}"
    if digest:
        data += f", hash {digest[:12]}"
    if lineage.dataset_changed:
        data += " (it changed while the run went on)"
    facts = [
        ("Run", run.id),
        ("Started", f"{when(run.created)}{f' by {run.user}' if run.user else ''}"),
        ("Parent", settings.get("start_from") or "none: untrained"),
        ("Dataset", data),
        ("Code", lineage.code or "known when it begins"),
        ("Folder", str(run.folder)),
    ]
    further = [
        (name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
        for name, value in sorted(settings.items())
        if name not in ("data", "dataset", "start_from") and value not in ("", None, {})
    ]
    template = (
        '<section class="tr-origin"><dl class="wide">{}</dl><h3>Settings</h3><dl>{}</dl><p>'
        "TensorBoard opens it with</p><pre>tensorboard --logdir {}</pre></section>"
    )
    return html(template, definitions(facts), definitions(further), str(run.folder / "tensorboard"))


def log(run: Snapshot) -> Markup:
    """HTML of the last lines the trainer printed."""
    return html('<pre class="tr-log" tabindex="0">{}</pre>', run.log.strip() or "Nothing was printed yet.")


def samples(run: Snapshot, history: History) -> dict[str, Any]:
    """Value of the component that shows the pictures after each epoch."""
    scores = dict(history.epochs("val_mean_iou"))
    pictures = []
    for path in run.samples:
        number = path.stem.removeprefix("epoch_")
        if number.isdigit() and path.stat().st_size:
            epoch = int(number)
            score = f"{100 * scores[epoch]:.1f}" if epoch in scores else ""
            pictures.append({"epoch": epoch, "score": score, "file": served(path)})
    return {"run": run.id, "epochs": run.epochs, "pictures": sorted(pictures, key=lambda p: p["epoch"])}


def _percent(value: Any) -> str:
    return f"{100 * value:.1f}" if _number(value) else "\N{EN DASH}"


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")
