"""The Train tab: start a run, watch it, stop it, go on, and decide what becomes of the model it ends in.

All that counts is on disk, so every browser that opens the tab sees the same. While it is open, a timer asks how
things are and sends what has changed.
"""

import contextlib
import secrets
import threading
import time
from dataclasses import dataclass

import gradio as gr

from segdemo import zoo
from segdemo.core.files import NotFoundError, StoreError
from segdemo.data.datasets import DatasetError
from segdemo.runs.policy import PolicyError, RunError
from segdemo.ui.components.scroll import scroll_to
from segdemo.ui.inputs import notice
from segdemo.ui.markup import html
from segdemo.ui.tabs.train import form as train_form
from segdemo.ui.tabs.train import view as train_view
from segdemo.ui.tabs.train.layout import Layout

TAB = "train"  # id of the tab
FAST, SLOW = 1.5, 10  # seconds between two looks, while something goes on and while nothing does
EXPECTED = (RunError, StoreError, DatasetError, zoo.UnknownModelError)
_SEE_RUN = scroll_to("#train-run", "start", delay=150, widest=800)
_SEE_FORM = scroll_to("#train-form", "start", behavior="smooth")


@dataclass
class _Asked:
    """One event: the values of all inputs by component, what happened, and who asks."""

    form: dict
    event: gr.EventData
    request: gr.Request

    def __getitem__(self, component):
        return self.form[component]


class Twins:
    """Tells the second of two events that Gradio fires for one choice in a menu from a choice of its own.

    It comes a few hundredths of a second after the first, from the same browser and with the same form. A second
    answer would undo what was typed since the first. Safe to call from several threads.
    """

    SECONDS = 2  # within which the second one comes, on a busy machine too

    def __init__(self):
        self._last, self._time, self._lock = None, 0.0, threading.Lock()

    def second(self, browser, form):
        """Whether the last event was this very one, a moment ago."""
        with self._lock:
            event, now = (browser, form), time.monotonic()
            repeated = event == self._last and now - self._time < self.SECONDS
            self._last, self._time = event, now
            return repeated


def build(services, tab, tabs, shown):
    """Add the tab to the Blocks being built.

    Args:
        services: the page's ``Services``.
        tab: the ``gr.Tab`` it is in, whose id is ``TAB``.
        tabs: the ``gr.Tabs`` around it.
        shown: the ``segment.Shown`` of the Segment tab.

    Returns:
        The ``TrainTab``, which other tabs can lead to by its ``start_from``.
    """
    made = TrainTab(services, tabs, shown)
    made.connect(tab)
    return made


class TrainTab(Layout):
    """What happens on the components' events: each handler returns the updates of some of them."""

    def __init__(self, services, tabs, shown):
        super().__init__(services, tabs, shown)
        self._histories = train_view.Histories(services.runs)
        self._twins = Twins()

    def connect(self, tab):
        """Listen to every component, and to the tab itself."""
        on = self._on
        on(tab.select, self._enter)
        self.tabs.select(self._leave, None, [self.timer, self.seen], api_visibility="private", queue=False)
        gr.on([self.timer.tick], **self._event(self._look, quiet=True))
        gr.on(
            # Not select: it does not come from the keyboard.
            [self.start.input, self.source.input],
            **self._event(self._choose),
            trigger_mode="always_last",
        )
        gr.on(
            [field.input for field in (*self.fields.values(), self.token)],
            **self._event(self._retouched, quiet=True),
            trigger_mode="always_last",
        )
        on(self.begin.click, self._begin).then(**_SEE_RUN)
        on(self.runs.pick, self._pick).then(**_SEE_RUN)
        on(self.stop.click, lambda asked: self._change(asked, self.services.runs.cancel))
        on(self.resume.click, lambda asked: self._change(asked, self.services.runs.resume))
        on(self.clone.click, self._clone).then(**_SEE_FORM)
        on(self.rename.click, self._ask_title)
        gr.on([self.save_title.click, self.new_title.submit], **self._event(self._rename))
        on(self.keep_title.click, lambda asked: {self.renaming: gr.update(visible=False)})
        on(self.delete.click, lambda asked: {self.deleting: gr.update(visible=True)})
        on(self.keep.click, lambda asked: {self.deleting: gr.update(visible=False)})
        on(self.really.click, self._delete)
        on(self.promote.click, lambda asked: self._promote(asked, force=False))
        on(self.force.click, lambda asked: self._promote(asked, force=True))
        on(self.rollback.click, self._roll_back)
        on(self.use.click, self._use)

    def start_from(self, trigger):
        """Open this tab with an untrained architecture chosen, whenever an event of another tab fires.

        Args:
            trigger: an event of a component, such as ``cards.start``, whose data has the ``architecture``'s name.
        """
        self._on(trigger, self._choose_architecture).then(**_SEE_FORM)

    def _on(self, event, handler):
        return event(**self._event(handler))

    def _event(self, handler, quiet=False):
        """Arguments of an event listener that answers with a handler's updates, or with a sentence.

        ``quiet`` ones leave alone what was said before.
        """

        def answer(form, event: gr.EventData, request: gr.Request):
            asked = _Asked(form, event, request)
            try:
                done = handler(asked)
            except EXPECTED as error:
                done = {self.notice: notice(str(error), alert=True)}
            said = {self.notice: gr.skip() if quiet else gr.update(visible=False)}
            return {**said, **done}

        return {
            "fn": answer,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "api_visibility": "private",
            "concurrency_limit": 4,
            "concurrency_id": "train",
            "show_progress": "hidden",
        }

    def _who(self, asked):
        """Who asks, as the runs want to know it."""
        return {"user": user_of(asked.request), "token": asked[self.token] or ""}

    # --- coming and going ---

    def _enter(self, asked):
        """The tab is opened: everything is sent anew."""
        asked.form[self.seen] = {}
        starts = [value for _, value in train_form.starts(self.services)]
        sources = [value for _, value in train_form.sources(self.services)]
        if asked[self.start] in starts and asked[self.source] in sources:
            done = {**self._about_form(asked), **self._look(asked)}
        else:
            if asked[self.start] not in starts:
                asked.form[self.start] = starts[0]
            asked.form[self.source] = train_form.first_source(self.services, asked[self.start])
            done = self._suggested(asked)
        return {
            **done,
            **self._menus(asked),
            self.policy_note: self._policy(asked),
            self.request: asked[self.request] or secrets.token_hex(8),
        }

    def _menus(self, asked):
        """The two menus of the form with what is there now and what ``asked`` holds."""
        return {
            self.start: gr.update(choices=train_form.starts(self.services), value=asked[self.start]),
            self.source: gr.update(choices=train_form.sources(self.services), value=asked[self.source]),
        }

    def _leave(self, event: gr.SelectData):
        """Another tab is opened: nobody looks, so nothing is asked."""
        if event.value == "Train":
            return gr.skip(), gr.skip()
        return gr.update(active=False), {}

    def _policy(self, asked):
        try:
            self.policy.permit(asked[self.token] or self.policy.token, user_of(asked.request))
        except PolicyError as error:
            return notice(error)
        return gr.update(visible=False)

    def _choose_architecture(self, asked):
        """The Zoo tab's wish to train an architecture."""
        name = asked.event.architecture
        zoo.spec(name)
        asked.form[self.start] = train_form.UNTRAINED + name
        asked.form[self.source] = train_form.first_source(self.services, asked[self.start])
        done = {**self._enter(asked), **self._suggested(asked), **self._menus(asked)}
        return {**done, self.tabs: gr.Tabs(selected=TAB)}

    # --- the form ---

    def _choose(self, asked):
        """Another start or dataset was chosen in its menu."""
        form = [asked[component] for component in self.form]
        if self._twins.second(asked.request.session_hash, form):
            return {}
        return self._suggested(asked)

    def _suggested(self, asked):
        """Another start or dataset was chosen: settings that suit them."""
        asked.form[self.base] = None
        done = {self.base: None}
        with contextlib.suppress(*EXPECTED):  # _about_form says what is wrong
            start, dataset = self._start_and_dataset(asked)
            values = train_form.suggest(start, dataset, int(self.policy.max_epochs))
            chosen = {self.fields[name]: value for name, value in values.items()}
            chosen[self.title] = train_form.name_of(start, dataset)[0]
            asked.form.update(chosen)
            done |= chosen
            done[self.frozen] = gr.update(value=values["frozen"], visible=bool(start.encoder))
        return {**done, **self._about_form(asked), **self._look(asked)}

    def _start_and_dataset(self, asked):
        """The ``train_form.Start`` and the dataset that the menus stand at. Raises one of ``EXPECTED``."""
        start = train_form.Start.of(asked[self.start])
        return start, train_form.open_source(self.services, asked[self.source])

    def _about_form(self, asked):
        """What the form would do, in words."""
        try:
            start, dataset = self._start_and_dataset(asked)
        except EXPECTED as error:
            return {
                self.summary: html("<p>{}</p>", error),
                self.details: gr.update(visible=False),
            }
        usable = not train_form.too_few(dataset)
        return {
            self.summary: train_form.summary(start, dataset),
            self.details: gr.update(visible=True),
            self.begin: gr.update(interactive=usable),
        }

    def _wish(self, asked):
        """(settings, title, name) of the run that the form describes. Raises one of ``EXPECTED``."""
        values = {name: asked[field] for name, field in self.fields.items()}
        return train_form.wish(
            self.services, asked[self.start], asked[self.source], asked[self.title], values, asked[self.base]
        )

    def _retouched(self, asked):
        """A field has another value: the estimate may be another, but nobody measures while somebody types."""
        _, pieces = self._estimated(asked)
        pieces[self.timer] = gr.update(value=FAST, active=True)
        return {self.policy_note: self._policy(asked), **self._changed(asked, pieces)}

    def _estimated(self, asked):
        """(Estimate of how long the form's run would take or None if it cannot start, updates that show it).

        A measurement begins when the form has been the same for two looks at it.
        """
        form = [asked[component] for component in (self.start, self.source, *self.fields.values())]
        steady = form == asked[self.asked_for]
        try:
            settings, _, _ = self._wish(asked)
            found = self.services.runs.estimate(settings, **self._who(asked), begin=steady)
        except EXPECTED as error:
            silent = isinstance(error, PolicyError) or not asked[self.source]
            text = "" if silent else html("<p>{}</p>", error)
            return None, {self.asked_for: form, self.estimate: text}
        sentence = found.sentence(settings["epochs"], settings["steps_per_epoch"])
        limit = self.policy.max_hours * 3600
        if found.state == "done" and 0 < limit < found.seconds(
            settings["epochs"], settings["steps_per_epoch"]
        ):
            sentence += f" A run is stopped after {self.policy.max_hours:g} hours here: choose fewer epochs."
        # Alone in its paragraph, so that a test and a person can see what state it is in.
        return found, {
            self.asked_for: form,
            self.estimate: html('<p class="{}">{}</p>', found.state, sentence) if sentence else "",
        }

    def _begin(self, asked):
        settings, title, name = self._wish(asked)
        ticket = self.services.runs.start(
            settings, title, name, asked[self.request] or "", **self._who(asked)
        )
        asked.form[self.chosen] = ticket.run_id
        done = {self.request: secrets.token_hex(8), **self._look(asked), **self._close_questions()}
        if not ticket.new:
            return {**done, self.notice: notice("This very run is in progress already: here it is.")}
        return done

    def _clone(self, asked):
        """The settings of a run, in the form."""
        run = self._run(asked)
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
        base = {"settings": settings, "title": run.title, "name": run.name}
        asked.form.update({self.start: start, self.source: source, self.title: run.title, self.base: base})
        asked.form.update({self.fields[name]: value for name, value in values.items()})
        return {
            **self._about_form(asked),
            **self._look(asked),
            **self._menus(asked),
            **{self.fields[name]: value for name, value in values.items()},
            **{self.title: run.title, self.base: base},
            self.notice: notice(f"The form holds the settings of {run.title}."),
        }

    # --- looking ---

    def _pick(self, asked):
        asked.form[self.chosen] = asked.event.id
        return {**self._look(asked), **self._close_questions()}

    def _run(self, asked):
        """The Snapshot of the run that is looked at. Raises NotFoundError."""
        if not asked[self.chosen]:
            raise NotFoundError("Choose a run first.")
        return self.services.runs.follow(asked[self.chosen])

    def _look(self, asked):
        """What has changed since this browser was told last."""
        runs = self.services.runs.list()
        ids = [run.id for run in runs]
        chosen = asked[self.chosen] or (asked[self.remembered] or {}).get("run")
        if chosen not in ids:
            active = [run.id for run in runs if not run.ended]
            chosen = (active[-1:] or ids[:1] or [None])[0]
        estimate, estimated = self._estimated(asked)
        pieces = {
            self.chosen: chosen,
            self.remembered: {"run": chosen},
            self.hint: gr.update(visible=not runs),
            self.runs: train_view.listing(runs, chosen),
            self.body: gr.update(visible=chosen is not None),
            self.start: train_form.start_menu(self.services, asked[self.start]),
            **estimated,
            **self.shown.menus(self.services, asked[self.shown.model], asked[self.shown.other]),
        }
        if chosen is not None:
            with contextlib.suppress(NotFoundError):  # it was deleted this moment
                pieces |= self._about_run(*self._histories.follow(chosen))
        estimating = estimate is not None and estimate.state in ("measuring", "waiting")
        busy = any(not run.ended for run in runs) or estimating
        unsteady = pieces[self.asked_for] != asked[self.asked_for]
        pieces[self.timer] = gr.update(value=FAST if busy or unsteady else SLOW, active=True)
        return self._changed(asked, pieces)

    def _changed(self, asked, pieces):
        """Those of the updates that this browser has not got yet."""
        seen, done = dict(asked[self.seen] or {}), {}
        for component, update in pieces.items():
            stamp = hash(repr(update))
            if seen.get(component._id) != stamp:
                done[component], seen[component._id] = update, stamp
        return {**done, self.seen: seen} if done else {self.seen: gr.skip()}

    def _about_run(self, run, history):
        """Everything about the run that is looked at."""
        version, versions = self._versions(run)
        current = any(v.current for v in versions)
        result = train_view.result(run, version, versions)
        objection = version.objection() if version else None
        waiting = run.state in ("queued", "running")
        chart = train_view.curves(run, history)
        return {
            self.head: train_view.head(run),
            self.stop: gr.update(visible=waiting and not run.cancelling),
            self.resume: gr.update(visible=run.can_resume),
            self.delete: gr.update(visible=run.state != "running"),
            self.result: gr.update(value=result, visible=bool(result)),
            self.promoting: gr.update(visible=version is not None),
            self.promote: gr.update(visible=version is not None and not version.current),
            self.force: gr.update(visible=bool(objection) and not version.current),
            self.rollback: gr.update(visible=current),
            self.curves: gr.update(value=chart, visible=bool(chart)),
            self.samples: train_view.samples(run, history),
            self.log: train_view.log(run),
            self.origin: train_view.origin(run),
        }

    def _versions(self, run):
        """(the Version a run became or None, all Versions of that model)."""
        name, _, number = run.model.partition("@")
        if not number:
            return None, []
        try:
            return self.services.versions.version(name, int(number)), self.services.versions.versions(name)
        except (StoreError, ValueError):
            return None, []

    # --- changing a run ---

    def _close_questions(self):
        return {self.renaming: gr.update(visible=False), self.deleting: gr.update(visible=False)}

    def _change(self, asked, change):
        change(self._run(asked).id, **self._who(asked))
        return {**self._close_questions(), **self._look(asked)}

    def _ask_title(self, asked):
        return {self.renaming: gr.update(visible=True), self.new_title: self._run(asked).title}

    def _rename(self, asked):
        def rename(run_id, **who):
            self.services.runs.rename(run_id, asked[self.new_title] or "", **who)

        return self._change(asked, rename)

    def _delete(self, asked):
        title = self._run(asked).title
        self.services.runs.delete(asked[self.chosen], **self._who(asked))
        asked.form[self.chosen] = None
        asked.form[self.remembered] = {"run": None}
        return {**self._close_questions(), **self._look(asked), self.notice: notice(f"{title} is deleted.")}

    # --- what it ended in ---

    def _version(self, asked):
        version, _ = self._versions(self._run(asked))
        if version is None:
            raise NotFoundError("The model this run ended in is not there any more.")
        return version

    def _promote(self, asked, force):
        version = self._version(asked)
        self.policy.permit(**self._who(asked))
        try:
            self.services.versions.promote(version.name, version.number, force)
        except StoreError as error:
            raise RunError(f"Not promoted: {error}") from None
        said = f"{version.name} stands for version {version.number} now, in every menu."
        return {**self._look(asked), self.notice: notice(said)}

    def _roll_back(self, asked):
        version = self._version(asked)
        self.policy.permit(**self._who(asked))
        now = self.services.versions.rollback(version.name)
        stands = f"version {now.number}" if now else "no version trained here"
        return {**self._look(asked), self.notice: notice(f"{version.name} stands for {stands} again.")}

    def _use(self, asked):
        """The model, in the Segment tab."""
        version = self._version(asked)
        name = version.name if version.current else version.served_as
        menus = self.shown.menus(self.services, name, asked[self.shown.other])
        menus[self.shown.model] = gr.update(choices=self.services.choices(), value=name)
        return {**menus, self.tabs: gr.Tabs(selected="segment")}


def user_of(request):
    """Who is signed in: by Gradio's own login or with a Hugging Face account; "" for nobody."""
    if getattr(request, "username", None):
        return request.username
    session = getattr(getattr(request, "request", None), "scope", {}).get("session") or {}
    info = (session.get("oauth_info") or {}).get("userinfo") or {}
    return info.get("preferred_username") or ""
