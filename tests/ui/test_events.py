"""How tabs listen: updates, sentences, and what is logged."""

import gradio as gr
import pytest

from segdemo.core.files import StoreError
from segdemo.core.photos import IntakeError
from segdemo.ui.events import UNEXPECTED, Events, components, endpoint


class Tab:
    def __init__(self):
        self.name, self.count = gr.Textbox(), gr.State(0)
        self.notice = gr.HTML()
        self.title = "no component"
        self.events = Events(self.notice, {self.name}, components(self), "tests", limit=3)


@pytest.fixture
def tab():
    return Tab()


def listener(tab, handler, **options):
    """What the trigger of an event is called with."""
    return tab.events.on(lambda **arguments: arguments, handler, **options)


def answer(tab, handler, form=None, **options):
    return listener(tab, handler, **options)["fn"](form or {}, None, None)


def test_the_components_of_a_tab_are_those_it_holds(tab):
    assert components(tab) == [tab.name, tab.count, tab.notice]


def test_a_listener_is_private_and_shares_the_limit_of_its_group(tab):
    arguments = listener(tab, dict, trigger_mode="always_last")
    assert (arguments["api_visibility"], arguments["trigger_mode"]) == ("private", "always_last")
    assert (arguments["concurrency_id"], arguments["concurrency_limit"]) == ("tests", 3)
    assert (arguments["inputs"], arguments["outputs"]) == ({tab.name}, [tab.name, tab.count, tab.notice])
    # Of all outputs a browser would copy what they hold, at each event of the page.
    assert (arguments["show_progress"], arguments["show_progress_on"]) == ("hidden", tab.notice)
    arguments = listener(tab, dict, progress_on=tab.name, inputs={tab.count})
    assert (arguments["show_progress"], arguments["show_progress_on"]) == ("minimal", tab.name)
    assert arguments["inputs"] == {tab.count}


def test_a_handler_reads_the_form_and_what_was_told_goes_unless_it_is_quiet(tab):
    def handler(event):
        return {tab.count: len(event[tab.name])}

    assert answer(tab, handler, {tab.name: "four"}) == {tab.count: 4, tab.notice: gr.update(visible=False)}
    assert answer(tab, handler, {tab.name: ""}, quiet=True) == {tab.count: 0, tab.notice: gr.skip()}
    said = answer(tab, lambda event: {tab.notice: "said"})
    assert said == {tab.notice: "said"}


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("error", [StoreError("Give it a <name> first."), IntakeError("Send a photo.")])
def test_what_a_visitor_can_mend_is_told_and_not_logged(tab, caplog, error, quiet):
    def handler(event):
        raise error

    updates = answer(tab, handler, quiet=quiet)
    text = str(error).replace("<", "&lt;").replace(">", "&gt;")
    assert updates.keys() == {tab.notice}
    assert f'<p role="alert">{text}</p>' in updates[tab.notice]["value"]
    assert updates[tab.notice]["visible"] is True
    assert caplog.records == []


@pytest.mark.parametrize("error", [KeyError("/secret/path"), ValueError("secret"), OSError(28, "secret")])
def test_anything_else_is_logged_and_the_visitor_is_told_that_much(tab, caplog, error):
    def handler(event):
        raise error

    updates = answer(tab, handler, quiet=True)
    assert UNEXPECTED in updates[tab.notice]["value"].unescape()
    assert "secret" not in updates[tab.notice]["value"]
    (record,) = caplog.records
    assert record.exc_info[1] is error


def test_several_triggers_are_one_event(tab, monkeypatch):
    monkeypatch.setattr(gr, "on", lambda triggers, **arguments: (triggers, arguments))
    triggers = [tab.name.submit, tab.name.change]
    got, arguments = tab.events.on(triggers, lambda event: {tab.count: 1})
    assert got is triggers
    assert arguments["fn"]({}, None, None)[tab.count] == 1


def test_an_endpoint_sends_sentences_and_keeps_its_signature(caplog):
    def double(number: int) -> int:
        """Twice a number."""
        if number < 0:
            raise StoreError("Send a positive number.")
        return 2 * number

    asked = endpoint(double)
    assert (asked(4), asked.__name__, asked.__doc__) == (8, "double", "Twice a number.")
    with pytest.raises(gr.Error, match=r"Send a positive number\."):
        asked(-1)
    assert caplog.records == []
    with pytest.raises(gr.Error, match="it is in the server's log"):
        asked("secret")
    assert "TypeError" in caplog.text
