import ast
import doctest
from dataclasses import replace

from markupsafe import Markup

from segdemo import zoo
from segdemo.core.labels import LabelSet
from segdemo.core.settings import PACKAGE
from segdemo.ui import markup
from segdemo.ui.markup import html, join, panel
from segdemo.ui.services import Services
from segdemo.ui.tabs import zoo as zoo_tab

SCRIPT = '<img src=x onerror="alert(1)">'


def test_the_example_holds():
    assert doctest.testmod(markup).failed == 0


def test_values_are_escaped_and_markup_is_not():
    assert html("<b>{}</b>", SCRIPT) == "<b>&lt;img src=x onerror=&#34;alert(1)&#34;&gt;</b>"
    assert html("<p>{}</p>", html("<b>{:.1f}</b>", 1.25)) == "<p><b>1.2</b></p>"
    assert join([SCRIPT, html("<i>x</i>")], "<br>") == f"{Markup.escape(SCRIPT)}<br><i>x</i>"


def test_a_panel_shows_text_as_text():
    component = panel(SCRIPT)
    assert component.value == component.postprocess(SCRIPT) == str(Markup.escape(SCRIPT))
    assert component.postprocess(html("<b>x</b>")) == "<b>x</b>"
    assert component.postprocess(None) is None


def test_every_place_for_html_in_the_page_is_a_panel_or_has_a_template_of_its_own():
    """Its script reads the value of a template as data; only a plain ``gr.HTML`` takes it for HTML."""
    for path in (PACKAGE / "ui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "gr.HTML"
                and path.name != "markup.py"
            ):
                assert "html_template" in {word.arg for word in node.keywords}, f"{path}:{node.lineno}"


def test_a_class_that_is_called_like_a_script_is_shown_by_its_name(monkeypatch):
    """In the card of Segment and the cards of Zoo, on a model that somebody's collection was the teacher of."""
    shipped = zoo.served_model("unet")
    labels = LabelSet("own", SCRIPT, ("background", SCRIPT), ((0, 0, 0), (9, 9, 9)))
    metrics = replace(shipped.metrics, title=SCRIPT)
    entry = replace(shipped, name="own", title=SCRIPT, label_set=labels, knows="", metrics=metrics)
    for module in (zoo, zoo.served):
        monkeypatch.setattr(module, "served_models", lambda: {"own": entry})
    services = Services.start()
    for shown in (services.card("own"), zoo_tab.cards(services)):
        assert "&lt;img src=x" in shown
        assert "<img" not in shown
