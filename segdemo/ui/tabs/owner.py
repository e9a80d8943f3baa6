"""The Owner tab, for those of ``SEGDEMO_ADMINS``: storage, runs and workspaces in numbers, and how to clear one.

Others neither see it nor are answered by its events. It shows nothing that a visitor keeps, and no name of it.
"""

from collections import Counter
from collections.abc import Sequence

import gradio as gr
from markupsafe import Markup

from segdemo.core import settings
from segdemo.core.files import disk_usage
from segdemo.errors import UserError
from segdemo.runs.estimates import duration
from segdemo.ui.events import Event, Events, Updates
from segdemo.ui.inputs import button, notice, notice_board, unchecked
from segdemo.ui.markup import html, join, panel
from segdemo.ui.services import Services
from segdemo.ui.visitors import hub_name, user_name
from segdemo.workspaces.keeper import Facts

TAB = "owner"  # id of the tab
MOST_ROWS = 200


def build(services: Services, demo: gr.Blocks, tab: gr.Tab) -> None:
    """Add what is in the tab, which is hidden until one of ``SEGDEMO_ADMINS`` opens the page."""
    said = notice_board("owner-notice")
    numbers = panel(elem_id="owner-numbers")
    with gr.Row(elem_classes="segdemo-slim"):
        look_again = button("Look again", "owner-look")
    with gr.Row(visible=services.keeper is not None, elem_classes="segdemo-slim"):
        which = unchecked(
            gr.Dropdown([], label="Workspace", show_label=False, container=False, elem_id="owner-workspace")
        )
        clear = button("Clear this workspace", "owner-clear", variant="stop")
        really = button(
            "Really: nothing of it can be got back", "owner-really", variant="stop", visible=False
        )

    def look(event: Event) -> Updates:
        _require_owner(event)
        facts = services.keeper.facts() if services.keeper else []
        return {
            numbers: numbers_of(services, facts),
            which: gr.update(choices=[one.id for one in facts], value=None),
            really: gr.update(visible=False),
        }

    def ask(event: Event) -> Updates:
        _require_owner(event)
        if not event[which]:
            raise UserError("Choose a workspace first.")
        return {really: gr.update(visible=True)}

    def clear_it(event: Event) -> Updates:
        _require_owner(event)
        if services.keeper is None or not event[which]:
            raise UserError("Choose a workspace first.")
        services.keeper.clear(str(event[which]))
        return {**look(event), said: notice("The workspace is cleared.")}

    def appear(event: Event) -> Updates:
        return {tab: gr.update(visible=True)} if is_owner(event.request) else {}

    on = Events(said, {which}, [said, numbers, which, really, tab], TAB).on
    on(demo.load, appear, quiet=True)
    on([tab.select, look_again.click], look)
    on(clear.click, ask)
    on(really.click, clear_it)


def is_owner(request: gr.Request) -> bool:
    """Whether a request comes from somebody of ``SEGDEMO_ADMINS``."""
    named = user_name if settings.users() else hub_name
    return named(request.request) in settings.admins()


def _require_owner(event: Event) -> None:
    if not is_owner(event.request):
        raise UserError("Sign in as one of SEGDEMO_ADMINS first: this is for those who look after the page.")


def numbers_of(services: Services, facts: Sequence[Facts]) -> Markup:
    """HTML of what there is: totals, then a workspace a line, the largest first."""
    states: Counter[str] = Counter()
    for counts in services.all_runs.counts().values():
        states.update(counts)
    runs = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    kept = sum(one.bytes for one in facts) if services.keeper else disk_usage(services.store.root)
    signed_in = sum(one.signed_in for one in facts)
    jobs = services.jobs.every()
    batches = f"{len(jobs)}, {sum(not job.ended for job in jobs)} of them not ended" if jobs else "none"
    lines = [
        f"Collections: {_size(kept)}. Runs: {_size(disk_usage(services.all_runs.root))} ({runs}). "
        f"Batches: {_size(disk_usage(services.jobs.root))} ({batches}).",
        f"Workspaces: {len(facts)}, {signed_in} of them of people who are signed in."
        if services.keeper
        else "Everybody shares one workspace here.",
    ]
    columns = "workspace", "collections", "photos", "models", "kept", "runs", "of runs", "untouched for"
    head = join(html("<th>{}</th>", text) for text in columns)
    rows = join(_row(one) for one in facts[:MOST_ROWS])
    table = html("<table><tr>{}</tr>{}</table>", head, rows) if facts else ""
    return html("{}{}", join(html("<p>{}</p>", line) for line in lines), table)


def _row(one: Facts) -> Markup:
    cells = (
        one.id,
        one.collections,
        one.photos,
        one.models,
        _size(one.bytes),
        sum(one.runs.values()),
        _size(one.run_bytes),
        duration(one.idle),
    )
    return html("<tr>{}</tr>", join(html("<td>{}</td>", cell) for cell in cells))


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
