import ast
import json
import urllib.request

import gradio as gr
import pytest
from markupsafe import Markup, escape
from PIL import Image
from serving import last_message

from segdemo.core.settings import PACKAGE
from segdemo.ui.inputs import photo_input, unchecked, upload
from segdemo.ui.markup import panel
from segdemo.ui.overriding import overriding

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
SCRIPT = "<script>alert(1)</script>"


def shout(component, value):
    return f"{value}!"


def made_anew(component):
    """As Gradio does it in a visitor's session after an update."""
    return component.__class__(**component.constructor_args)


def test_a_component_keeps_its_methods_when_it_is_made_anew():
    component = overriding(gr.Textbox(label="a"), preprocess=shout)
    assert component.preprocess("b") == "b!"
    assert made_anew(component).preprocess("b") == "b!"
    assert made_anew(component).label == "a"
    assert isinstance(component, gr.Textbox)
    assert component.get_block_name() == "textbox"
    assert gr.Textbox().preprocess("b") == "b"  # others are as they were
    assert type(overriding(gr.Textbox(), preprocess=shout)) is type(component)


def test_no_method_is_set_on_an_instance():
    for path in (PACKAGE / "ui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [t.attr for t in targets if isinstance(t, ast.Attribute)]
            assert not {"preprocess", "postprocess"} & set(names), f"{path}:{node.lineno}"


@pytest.fixture(scope="module")
def app(event_loops_collected):
    """A page whose event updates all that is checked; (url, its components' ids)."""
    with gr.Blocks() as demo:
        taken = {"file": upload("file", "file"), "photo": photo_input(elem_id="photo")}
        menu, shown = unchecked(gr.Dropdown(["a"], elem_id="menu")), panel("x")
        said, touch = gr.Textbox(), gr.Button()
        touch.click(
            lambda: [gr.skip(), gr.update(label="b"), gr.skip(), gr.skip()],
            None,
            [*taken.values(), menu, shown],
        )
        for component in (*taken.values(), menu):
            component.change(repr, component, said)
        menu.input(lambda _: gr.update(value=SCRIPT), menu, shown)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True)
    yield url, demo
    demo.close()


def call(app, number, *data):
    """What an event of a session answers."""
    url, _ = app
    body = json.dumps({"data": list(data), "fn_index": number, "session_hash": "s"}).encode()
    request = urllib.request.Request(
        f"{url}gradio_api/queue/join", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=20).close()
    return last_message(url, "s", 20)


def test_what_is_checked_before_an_update_is_checked_after_it(app, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (2, 2)).save(secret)
    for _ in range(2):
        for number in (1, 2):
            told = call(app, number, {"path": str(secret)})
            assert not told["success"]
            assert str(secret) not in json.dumps(told)
            # 1: refused by Gradio itself
            assert number == 1 or "was not uploaded here" in json.dumps(told["output"])
        assert call(app, 3, "not among the choices")["output"]["data"] == ["'not among the choices'"]
        answer = call(app, 4, "a")["output"]["data"][0]
        assert answer["value"] == str(escape(SCRIPT))
        assert call(app, 0)["success"]  # makes them anew in this session


def test_markup_stays_markup_in_an_update():
    assert made_anew(panel()).postprocess(Markup("<b>x</b>")) == "<b>x</b>"
