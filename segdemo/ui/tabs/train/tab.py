"""The Train tab: start a run, watch it, stop it, go on, and decide what becomes of the model it ends in.

All that counts is on disk, so every browser that opens the tab sees the same. While it is open, a timer asks how
things are and sends what has changed.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency
from markupsafe import Markup

from segdemo import zoo
from segdemo.core.files import NotFoundError, StoreError
from segdemo.data.datasets import Dataset
from segdemo.errors import UserError
from segdemo.runs.config import setting
from segdemo.runs.estimates import Estimate, duration
from segdemo.runs.policy import PolicyError, RunError
from segdemo.runs.snapshot import Snapshot
from segdemo.ui.components.scroll import scroll_to
from segdemo.ui.events import Event, Events, Updates
from segdemo.ui.inputs import notice
from segdemo.ui.latest import Latest
from segdemo.ui.markup import html
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.tab import AnnotateTab
from segdemo.ui.tabs.segment import SegmentTab
from segdemo.ui.tabs.train import form as train_form
from segdemo.ui.tabs.train import view as train_view
from segdemo.ui.tabs.train.layout import Layout, steps
from segdemo.ui.visitors import hub_name
from segdemo.zoo.versions import Version

TAB, TITLE = "train", "Train"  # id of the tab, and its name on the page
FAST, SLOW = 1.5, 10  # seconds between two looks, while something goes on and while nothing does
_SEE_RUN = scroll_to("#train-run", "start", delay=150, widest=800)
_SEE_FORM = scroll_to("#train-form", "start", behavior="smooth")


class Twins:
    """Tells the second of two events that Gradio fires for one choice in a menu from a choice of its own.

    It comes a few hundredths of a second after the first, from the same browser and with the same form. A second
    answer would undo what was typed since the first. Safe to call from several threads.
    """

    SECONDS = 2  # within which the second one comes, on a busy machine too

    def __init__(self) -> None:
        self._last: tuple[str | None, list[Any]] | None = None
        self._time, self._lock = 0.0, threading.Lock()

    def second(self, browser: str | None, form: list[Any]) -> bool:
        """Whether the last event was this very one, a moment ago."""
        with self._lock:
            event, now = (browser, form), time.monotonic()
            repeated = event == self._last and now - self._time < self.SECONDS
            self._last, self._time = event, now
            return repeated


def build(
    services: Services, tab: gr.Tab, tabs: gr.Tabs, segment: SegmentTab, annotate: AnnotateTab | None = None
) -> "TrainTab":
    """Add what is in the tab, whose id is ``TAB``, to the Blocks being built. ``tabs`` are all of them.

    The tab of collections leads to it, and other tabs can by its ``start_from``.
    """
    train = TrainTab(services, tabs, segment)
    train.connect(tab)
    if annotate is not None:
        train.learn_from(annotate.rest.fine_tune.click, annotate.collection, annotate.rest.with_drafts)
    return train


class TrainTab(Layout):
    """What happens on the components' events: each handler returns the updates of some of them."""

    def __init__(self, services: Services, tabs: gr.Tabs, segment: SegmentTab):
        super().__init__(services, tabs, segment)
        self._histories = train_view.Histories(lambda: services.runs)
        self._twins = Twins()
        self._chosen: Latest[str] = Latest()  # runs that pages want to see
        self._at: Latest[str] = Latest()  # tabs that they are at
        self._on = Events(self.notice, self.inputs, self.outputs, "train").on

    def connect(self, tab: gr.Tab) -> None:
        """Listen to every component, and to the tab itself."""
        on = self._on
        on(tab.select, self._enter, quiet=True)
        left = [self.notice, self.timer, self.seen]
        # Each of them: the tab that was opened comes with the event.
        on(
            self.tabs.select,
            self._see_tab,
            quiet=True,
            inputs=set(),
            outputs=left,
            queue=False,
            trigger_mode="multiple",
        )
        on(self.timer.tick, self._tick, quiet=True)
        # Not select: it does not come from the keyboard.
        on([self.start.input, self.source.input], self._choose, trigger_mode="always_last")
        touched = [field.input for field in (*self.fields.values(), self.token)]
        on(self.preset.input, self._choose_preset, trigger_mode="always_last")
        on(touched, self._retouched, quiet=True, trigger_mode="always_last")
        on(self.begin.click, self._begin).then(**_SEE_RUN)
        on(self.runs.pick, self._pick, trigger_mode="multiple").then(**_SEE_RUN)
        on(self.stop.click, lambda event: self._change(event, self.services.runs.cancel))
        on(self.resume.click, lambda event: self._change(event, self.services.runs.resume))
        on(self.clone.click, self._clone).then(**_SEE_FORM)
        on(self.rename.click, self._ask_title)
        on([self.save_title.click, self.new_title.submit], self._rename)
        on(self.keep_title.click, lambda event: {self.renaming: gr.update(visible=False)})
        on(self.delete.click, lambda event: {self.deleting: gr.update(visible=True)})
        on(self.keep.click, lambda event: {self.deleting: gr.update(visible=False)})
        on(self.really.click, self._delete)
        on(self.promote.click, lambda event: self._promote(event, force=False))
        on(self.force.click, lambda event: self._promote(event, force=True))
        on(self.rollback.click, self._roll_back)
        on(self.use.click, self._use)

    def start_from(self, trigger: Callable[..., Dependency]) -> None:
        """Open this tab with an untrained architecture chosen, whenever an event of another tab fires.

        Args:
            trigger: an event of a component, such as ``cards.start``, whose data has the ``architecture``'s name.
        """
        self._on(trigger, self._choose_architecture).then(**_SEE_FORM)

    def learn_from(self, trigger: Callable[..., Dependency], collection: Block, with_drafts: Block) -> None:
        """Open this tab with a collection chosen, whenever an event of another tab fires.

        Args:
            trigger: an event of a component, such as ``button.click``.
            collection: the menu whose value is the collection's name.
            with_drafts: the checkbox that says whether drafts are learned from too.
        """

        def choose(event: Event) -> Updates:
            kind = "drafts" if event[with_drafts] is True else "collection"
            event.form[self.source] = source = f"{kind}:{event[collection]}"
            event.form[self.start] = train_form.first_start(self.services, source)
            self._at.note(event.request.session_hash, TITLE)
            updates = {**self._enter(event), **self._suggested(event), **self._menus(event)}
            return {**updates, self.tabs: gr.Tabs(selected=TAB)}

        inputs = {*self.inputs, collection, with_drafts}
        self._on(trigger, choose, inputs=inputs).then(**_SEE_FORM)

    def _who(self, event: Event) -> dict[str, str]:
        """Who asks, as the runs want to know it."""
        return {"user": user_of(event.request), "token": event[self.token] or ""}

    # --- coming and going ---

    def _enter(self, event: Event) -> Updates:
        """The tab is opened: everything is sent anew."""
        event.form[self.seen] = {}
        starts = [value for _, value in train_form.starts(self.services)]
        sources = [value for _, value in train_form.sources(self.services)]
        if event[self.start] in starts and event[self.source] in sources:
            updates = {**self._about_form(event), **self._look(event)}
        else:
            if event[self.start] not in starts:
                event.form[self.start] = starts[0]
            event.form[self.source] = train_form.first_source(self.services, event[self.start])
            updates = self._suggested(event)
        return {
            **updates,
            **self._menus(event),
            self.policy_note: self._policy(event),
            self.request: event[self.request] or secrets.token_hex(8),
        }

    def _menus(self, event: Event) -> Updates:
        """The two menus of the form with what is there now and what ``event`` holds."""
        return {
            self.start: gr.update(choices=train_form.starts(self.services), value=event[self.start]),
            self.source: gr.update(choices=train_form.sources(self.services), value=event[self.source]),
        }

    def _see_tab(self, event: Event) -> Updates:
        """A tab is opened: while that is another one nobody looks, so the timer rests."""
        self._at.note(event.request.session_hash, str(event.data.value))
        return {} if self._is_open(event) else self._rest()

    def _is_open(self, event: Event) -> bool:
        """Whether the page is at this tab, as far as is known."""
        return not self._at.overtaken(event.request.session_hash, TITLE)

    def _rest(self) -> Updates:
        return {self.timer: gr.update(active=False), self.seen: {}}

    def _tick(self, event: Event) -> Updates:
        """An answer that was on its way when the tab was left may have set the timer going again."""
        return self._look(event) if self._is_open(event) else self._rest()

    def _policy(self, event: Event) -> dict[str, Any]:
        try:
            self.services.runs.permit(event[self.token] or self.policy.token, user_of(event.request))
        except PolicyError as error:
            return notice(error)
        return gr.update(visible=False)

    def _choose_architecture(self, event: Event) -> Updates:
        """The Zoo tab's wish to train an architecture."""
        name = event.data.architecture
        zoo.spec(name)
        self._at.note(event.request.session_hash, TITLE)
        event.form[self.start] = train_form.UNTRAINED + name
        event.form[self.source] = train_form.first_source(self.services, event[self.start])
        updates = {**self._enter(event), **self._suggested(event), **self._menus(event)}
        return {**updates, self.tabs: gr.Tabs(selected=TAB)}

    # --- the form ---

    def _choose(self, event: Event) -> Updates:
        """Another start or dataset was chosen in its menu."""
        form = [event[component] for component in self.form]
        if self._twins.second(event.request.session_hash, form):
            return {}
        return self._suggested(event)

    def _choose_preset(self, event: Event) -> Updates:
        """A longer or a shorter run; the name of the result stays as it was typed."""
        title = event[self.title]
        updates = self._suggested(event, event[self.preset] or "good")
        return {**updates, self.title: title}

    def _suggested(self, event: Event, preset: str = "good") -> Updates:
        """Another start, dataset or preset was chosen: settings that suit them."""
        event.form[self.base] = None
        updates: Updates = {self.base: None, self.preset: preset}
        with contextlib.suppress(UserError):  # _about_form says what is wrong
            start, dataset = self._start_and_dataset(event)
            values = train_form.suggest(start, dataset, int(self.policy.max_epochs), preset)
            chosen = {self.fields[name]: value for name, value in values.items()}
            chosen[self.title] = train_form.name_of(start, dataset)[0]
            event.form.update(chosen)
            updates |= chosen
            updates[self.frozen] = gr.update(value=values["frozen"], visible=bool(start.encoder))
        return {**updates, **self._about_form(event), **self._look(event)}

    def _start_and_dataset(self, event: Event) -> tuple[train_form.Start, Dataset]:
        """The ``train_form.Start`` and the dataset that the menus stand at. Raises UserError."""
        start = train_form.Start.of(event[self.start])
        return start, train_form.open_source(self.services, event[self.source])

    def _enough(self, event: Event) -> bool:
        """Whether there is something to learn from."""
        with contextlib.suppress(UserError):
            return not train_form.too_few(self._start_and_dataset(event)[1])
        return False

    def _about_form(self, event: Event) -> Updates:
        """What the form would do, in words."""
        try:
            start, dataset = self._start_and_dataset(event)
        except UserError as error:
            return {self.summary: html("<p>{}</p>", error), self.details: gr.update(visible=False)}
        return {
            self.summary: self._summary(event, start, dataset),
            self.details: gr.update(visible=True),
            self.begin: gr.update(interactive=not train_form.too_few(dataset)),
        }

    def _summary(self, event: Event, start: train_form.Start, dataset: Dataset) -> Markup:
        base = event[self.base]
        schedule: Any = base.settings.get("schedule", setting("schedule").default) if base else "cosine"
        return train_form.summary(start, dataset, event[self.validation_photos], schedule)

    def _wish(self, event: Event) -> tuple[dict[str, Any], str, str]:
        """(settings, title, name) of the run that the form describes. Raises UserError."""
        values = {name: event[field] for name, field in self.fields.items()}
        return train_form.wish(
            self.services, event[self.start], event[self.source], event[self.title], values, event[self.base]
        )

    def _retouched(self, event: Event) -> Updates:
        """A field has another value: the estimate may be another, but nobody measures while somebody types."""
        _, pieces = self._estimated(event)
        pieces[self.timer] = gr.update(value=FAST, active=self._is_open(event))
        preset = None
        with contextlib.suppress(UserError):
            place = self._start_and_dataset(event)
            pieces[self.summary] = self._summary(event, *place)
            preset = self._preset(event, *place)
        return {
            self.policy_note: self._policy(event),
            self.preset: preset,
            **self._changed(event, pieces),
        }

    def _preset(self, event: Event, start: train_form.Start, dataset: Dataset) -> str | None:
        """The preset that the fields stand at, or None."""
        if event[self.base] is not None:
            return None
        values = {name: event[field] for name, field in self.fields.items()}
        return train_form.preset_of(start, dataset, values, int(self.policy.max_epochs))

    def _estimated(self, event: Event) -> tuple[Estimate | None, Updates]:
        """(Estimate of how long the form's run would take or None if it cannot start, updates that show it).

        A measurement begins when the form has been the same for two looks at it.
        """
        form = [event[component] for component in (self.start, self.source, *self.fields.values())]
        steady = form == event[self.estimated_form]
        try:
            settings, _, _ = self._wish(event)
            estimate = self.services.runs.estimate(settings, **self._who(event), begin=steady)
        except UserError as error:
            silent = isinstance(error, PolicyError) or not self._enough(event)  # the summary says that
            text = "" if silent else html("<p>{}</p>", error)
            return None, {self.estimated_form: form, self.estimate: text}
        length = settings["epochs"], settings["steps_per_epoch"]
        sentence = estimate.sentence(*length)
        if estimate.state == "done" and 0 < self.policy.max_hours * 3600 < estimate.seconds(*length):
            sentence += f" A run is stopped after {self.policy.max_hours:g} hours here: choose fewer epochs."
        if estimate.state == "done":
            sentence += self._other_times(event, estimate)
        # Alone in its paragraph, so that a test and a person can see what state it is in.
        text = html('<p class="{}">{}</p>', estimate.state, sentence) if sentence else ""
        return estimate, {self.estimated_form: form, self.estimate: text}

    def _other_times(self, event: Event, estimate: Estimate) -> str:
        """How long the other presets would take, if their steps take as long as the form's."""
        values = {name: event[field] for name, field in self.fields.items()}
        start, dataset = self._start_and_dataset(event)
        times = []
        for preset in train_form.PRESETS:
            other = train_form.suggest(start, dataset, int(self.policy.max_epochs), preset)
            if other != values and {**other, "epochs": 0} == {**values, "epochs": 0}:
                length = other["epochs"], other["steps_per_epoch"]
                times.append(f"{preset.capitalize()}: {duration(estimate.seconds(*length))}.")
        return "".join(f" {time}" for time in times)

    def _begin(self, event: Event) -> Updates:
        settings, title, name = self._wish(event)
        request = event[self.request] or ""
        ticket = self.services.runs.start(settings, title, name, request, **self._who(event))
        event.form[self.chosen] = ticket.run_id
        updates = {self.request: secrets.token_hex(8), **self._look(event), **self._close_questions()}
        if not ticket.new:
            updates[self.notice] = notice("This very run is in progress already: here it is.")
        return updates

    def _clone(self, event: Event) -> Updates:
        """The settings of a run, in the form."""
        run = self._run(event)
        settings = self.services.runs.settings_of(run.id)
        start = train_form.start_of(self.services, settings)
        if start is None:
            raise RunError(
                f"The model it started from, {settings['start_from']}, is not there any more: choose another."
            )
        source = train_form.source_of(self.services, settings)
        if source is None:
            raise RunError(f"There is no dataset in {settings['data']} any more: choose another.")
        values = train_form.of_run(settings, zoo.spec(settings["model"]))
        chosen = {self.fields[name]: value for name, value in values.items()}
        chosen |= {self.title: run.title, self.base: train_form.Original(settings, run.title, run.name)}
        event.form.update({self.start: start, self.source: source, **chosen})
        return {
            **self._about_form(event),
            **self._look(event),
            **self._menus(event),
            **chosen,
            self.preset: None,
            self.notice: notice(f"The form holds the settings of {run.title}."),
        }

    # --- looking ---

    def _pick(self, event: Event) -> Updates:
        event.form[self.chosen] = id_ = event.data.id
        page = event.request.session_hash
        with self._chosen.asking(page, id_):
            updates = {**self._look(event), **self._close_questions()}
        return {self.notice: gr.skip()} if self._chosen.overtaken(page, id_) else updates

    def _run(self, event: Event) -> Snapshot:
        """The Snapshot of the run that is looked at. Raises NotFoundError."""
        if not event[self.chosen]:
            raise NotFoundError("Choose a run first.")
        return self.services.runs.follow(event[self.chosen])

    def _look(self, event: Event) -> Updates:
        """What has changed since this browser was told last."""
        runs = self.services.runs.list()
        ids = [run.id for run in runs]
        chosen = event[self.chosen] or (event[self.remembered] or {}).get("run")
        if chosen not in ids:
            active = [run.id for run in runs if not run.ended]
            chosen = next(iter([*active[-1:], *ids]), None)
        estimate, estimated = self._estimated(event)
        pieces = {
            self.chosen: chosen,
            self.remembered: {"run": chosen},
            self.hint: gr.update(visible=not runs, value=steps(self._enough(event))),
            self.runs: train_view.listing(runs, chosen),
            self.body: gr.update(visible=chosen is not None),
            self.start: train_form.start_menu(self.services, event[self.start]),
            **estimated,
            **self.segment.menus(self.services, event[self.segment.model], event[self.segment.other]),
        }
        if chosen is not None:
            with contextlib.suppress(NotFoundError):  # it was deleted this moment
                pieces |= self._about_run(*self._histories.follow(chosen))
        estimating = estimate is not None and estimate.state in ("measuring", "waiting")
        busy = any(not run.ended or run.installing for run in runs) or estimating
        unsteady = pieces[self.estimated_form] != event[self.estimated_form]
        seconds = FAST if busy or unsteady else SLOW
        pieces[self.timer] = gr.update(value=seconds, active=self._is_open(event))
        return self._changed(event, pieces)

    def _changed(self, event: Event, pieces: Updates) -> Updates:
        """Those of the updates that this browser has not got yet."""
        seen: dict[int, int] = dict(event[self.seen] or {})
        updates: Updates = {}
        for component, update in pieces.items():
            stamp = hash(repr(update))
            if seen.get(component._id) != stamp:
                updates[component], seen[component._id] = update, stamp
        return {**updates, self.seen: seen} if updates else {}

    def _about_run(self, run: Snapshot, history: train_view.History) -> Updates:
        """Everything about the run that is looked at."""
        version, versions = self._versions(run)
        result = train_view.result(run, version, versions)
        candidate = version if version and not version.current else None
        waiting = run.state in ("queued", "running")
        chart = train_view.curves(run, history)
        return {
            self.head: train_view.head(run),
            self.stop: gr.update(visible=waiting and not run.cancelling),
            self.resume: gr.update(visible=run.can_resume and not run.needs_other_settings),
            self.clone: gr.update(variant="primary" if run.needs_other_settings else "secondary"),
            self.delete: gr.update(visible=run.state != "running"),
            self.result: gr.update(value=result, visible=bool(result)),
            self.promoting: gr.update(visible=version is not None),
            self.promote: gr.update(visible=candidate is not None),
            self.force: gr.update(visible=candidate is not None and bool(candidate.objection())),
            self.rollback: gr.update(visible=any(v.current for v in versions)),
            self.curves: gr.update(value=chart, visible=bool(chart)),
            self.samples: train_view.samples(run, history),
            self.log: train_view.log(run),
            self.origin: train_view.origin(run),
        }

    def _versions(self, run: Snapshot) -> tuple[Version | None, list[Version]]:
        """(the Version a run became or None, all Versions of that model)."""
        name, _, number = run.model.partition("@")
        if not number:
            return None, []
        try:
            return self.services.versions.version(name, int(number)), self.services.versions.versions(name)
        except (StoreError, ValueError):
            return None, []

    # --- changing a run ---

    def _close_questions(self) -> Updates:
        return {self.renaming: gr.update(visible=False), self.deleting: gr.update(visible=False)}

    def _change(self, event: Event, change: Callable[..., object]) -> Updates:
        change(self._run(event).id, **self._who(event))
        return {**self._close_questions(), **self._look(event)}

    def _ask_title(self, event: Event) -> Updates:
        return {self.renaming: gr.update(visible=True), self.new_title: self._run(event).title}

    def _rename(self, event: Event) -> Updates:
        def rename(run_id: str, **who: str) -> None:
            self.services.runs.rename(run_id, event[self.new_title] or "", **who)

        return self._change(event, rename)

    def _delete(self, event: Event) -> Updates:
        title = self._run(event).title
        self.services.runs.delete(event[self.chosen], **self._who(event))
        event.form[self.chosen] = None
        event.form[self.remembered] = {"run": None}
        return {**self._close_questions(), **self._look(event), self.notice: notice(f"{title} is deleted.")}

    # --- what it ended in ---

    def _version(self, event: Event) -> Version:
        version, _ = self._versions(self._run(event))
        if version is None:
            raise NotFoundError("The model this run ended in is not there any more.")
        return version

    def _promote(self, event: Event, force: bool) -> Updates:
        version = self._version(event)
        self.policy.permit(**self._who(event))
        try:
            self.services.versions.promote(version.name, version.number, force)
        except StoreError as error:
            raise RunError(f"Not promoted: {error}") from None
        sentence = f"{version.name} stands for version {version.number} now, in every menu."
        return {**self._look(event), self.notice: notice(sentence)}

    def _roll_back(self, event: Event) -> Updates:
        version = self._version(event)
        self.policy.permit(**self._who(event))
        now = self.services.versions.rollback(version.name)
        stands = f"version {now.number}" if now else "no version trained here"
        return {**self._look(event), self.notice: notice(f"{version.name} stands for {stands} again.")}

    def _use(self, event: Event) -> Updates:
        """The model, in the Segment tab."""
        version = self._version(event)
        name = version.name if version.current else version.served_as
        menus = self.segment.menus(self.services, name, event[self.segment.other])
        menus[self.segment.model]["value"] = name
        self._at.note(event.request.session_hash, "")  # a tab that is opened here is not told of
        return {**menus, **self._rest(), self.tabs: gr.Tabs(selected="segment")}


def user_of(request: gr.Request | None) -> str:
    """Who is signed in: by Gradio's own login or with a Hugging Face account; "" for nobody."""
    if name := getattr(request, "username", None):
        return str(name)
    bare = getattr(request, "request", None)
    return hub_name(bare) if bare is not None else ""
