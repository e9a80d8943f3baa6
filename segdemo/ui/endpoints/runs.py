"""Trainings started, followed, cancelled and promoted by scripts, as in the Train tab and under its policy."""

import json
from typing import Any

import gradio as gr

from segdemo.core.files import NotFoundError, StoreError
from segdemo.runs.policy import RunError
from segdemo.runs.snapshot import Snapshot
from segdemo.ui.arguments import json_text
from segdemo.ui.endpoints import add, text
from segdemo.ui.services import Services
from segdemo.ui.tabs.train import form
from segdemo.ui.tabs.train.tab import user_of

MOST_SETTINGS = 4096  # characters of the settings' JSON


def build(services: Services, call: gr.Button) -> None:
    """Add the endpoints to the Blocks being built."""
    run, start, source = text(), text(), text()
    title, settings, token = text(""), json_text(value="{}", visible=False), text("")
    since = gr.Number(value=0, precision=0, visible=False)
    force = gr.Checkbox(value=False, visible=False)
    told = gr.JSON(visible=False)

    def runs() -> list[dict[str, Any]]:
        """The trainings there are, newest first.

        Returns:
            A list of what /run_follow gives, without events.
        """
        return [_told(run) for run in services.runs.list()]

    def run_start(
        start: str,
        collection: str,
        title: str = "",
        settings: str = "{}",
        token: str = "",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Start a training in the background.

        Args:
            start: a served model to go on from, see /models, or untrained: and an architecture, such as untrained:unet.
            collection: what to learn from: name of a collection, or dataset: and the title of one of this server.
            title: what people call the result.
            settings: JSON of what is to differ from what the page suggests, such as {"epochs": 3}: epochs,
                learning_rate, size, loss, frozen, batch, augment, early_stopping, steps_per_epoch,
                validation_photos, seed.
            token: the training token, where this server asks for one.

        Returns:
            As /run_follow.
        """
        source = collection if ":" in collection else f"collection:{collection}"
        if source.startswith("collection:"):
            services.store.open(source.partition(":")[2])
        place, dataset = form.Start.of(start), form.open_source(services, source)
        suggested = form.suggest(place, dataset, int(services.runs.policy.max_epochs))
        wish = form.wish(services, start, source, title, {**suggested, **_changes(settings)})
        ticket = services.runs.start(*wish, user=user_of(request), token=token or "")
        return _told(services.runs.follow(ticket.run_id))

    def run_follow(run: str, since: int = 0) -> dict[str, Any]:
        """How a training is doing.

        Args:
            run: its id.
            since: the cursor of the last answer, for what happened after it; 0 for all.

        Returns:
            {run, title, state, message, position, epoch, epochs, best, eta_seconds, model, report, cursor, events}:
            state is queued, running, done, failed or cancelled, and model the version it became, once it is done.
        """
        snapshot = services.runs.follow(run, max(0, int(since or 0)))
        return {**_told(snapshot), "cursor": snapshot.cursor, "events": list(snapshot.events)}

    def run_cancel(run: str, token: str = "", request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """End a training; its checkpoints are kept.

        Args:
            run: its id.
            token: the training token, where this server asks for one.

        Returns:
            As /run_follow.
        """
        services.runs.cancel(run, user_of(request), token or "")
        return _told(services.runs.follow(run))

    def run_promote(
        run: str,
        force: bool = False,
        token: str = "",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Make the model of a training the one that goes by its name.

        Args:
            run: its id.
            force: even if it scores worse than the one it began with, or was not measured.
            token: the training token, where this server asks for one.

        Returns:
            {model, version}.
        """
        services.runs.policy.permit(token or "", user_of(request))
        name, _, number = services.runs.follow(run).model.partition("@")
        if not number.isdecimal():
            raise NotFoundError("This run has no model yet: wait until it is done.")
        try:
            version = services.versions.promote(name, int(number), bool(force))
        except StoreError as error:
            raise RunError(f"Not promoted: {error}") from None
        return {"model": version.name, "version": version.number}

    add(call, runs, [], told)
    add(call, run_start, [start, source, title, settings, token], told)
    add(call, run_follow, [run, since], told)
    add(call, run_cancel, [run, token], told)
    add(call, run_promote, [run, force, token], told)


def _changes(settings: str) -> dict[str, Any]:
    """Values for fields of the Train tab's form. Raises RunError."""
    try:
        changes = json.loads(settings or "{}") if len(settings or "") <= MOST_SETTINGS else None
    except (ValueError, RecursionError):
        changes = None
    if not isinstance(changes, dict):
        raise RunError('The settings are a small JSON object, such as {"epochs": 3}.')
    if unknown := [name for name in changes if name not in form.FIELDS]:
        raise RunError(f"There is no setting {unknown[0][:40]!r}: choose from {', '.join(form.FIELDS)}.")
    if wrong := [name for name, value in changes.items() if not isinstance(value, str | int | float)]:
        raise RunError(f"The setting {wrong[0]} is a number or a word.")
    if changes.get("frozen", "") not in {value for _, value in form.FROZEN}:
        raise RunError(f"Choose one of {', '.join(repr(value) for _, value in form.FROZEN)} as frozen.")
    return changes


def _told(run: Snapshot) -> dict[str, Any]:
    return {
        "run": run.id,
        "title": run.title,
        "state": run.state,
        "message": run.message,
        "position": run.position,
        "epoch": run.epoch,
        "epochs": run.epochs,
        "best": run.best,
        "eta_seconds": run.eta_seconds,
        "model": run.model,
        "report": run.report.to_json() if run.report else None,
    }
