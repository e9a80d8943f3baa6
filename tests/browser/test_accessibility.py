"""WCAG 2.2 AA as far as axe-core can see it, on every tab, light and dark."""

import re
from pathlib import Path

import axe_playwright_python
import pytest

from browser.patience import expect, wait_for

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = (
    "rules => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })"  # the rest is only counted
)
SECONDS = 60_000
SETTLED = """() => {
    for (let node = document.querySelector(".zoo-tile"); node; node = node.parentElement)
        if (getComputedStyle(node).opacity !== "1") return false;
    return true;
}"""


# Colours go over into each other, and halfway there they may have too little contrast.
TOGGLED = """() => Promise.all(document.getAnimations()
    .filter((animation) => animation instanceof CSSTransition)
    .map((animation) => animation.finished.catch(() => null)))"""


def test_nothing_serious_on_any_tab_dark_and_light(plain_app, open_page):
    page = open_page(plain_app, color_scheme="dark")  # as the visitor's system is
    page.set_default_timeout(SECONDS)
    wait_for(page.locator("#stage .sc[data-ready]").first)
    page.wait_for_function("document.querySelector('#stage .sc').maskCanvas.state.sweep === null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "segdemo-skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('#stage .sc-stage')")
    page.evaluate(f"{AXE}; 0")
    dark, found = re.compile(r"\bdark\b"), []
    expect(page.locator("body")).to_have_class(dark)

    def look(where):
        for scheme in ("dark", "light"):
            result = page.evaluate(RUN, RULES)
            found.extend(
                f"{where}, {scheme}: {rule['id']}: {node['html'][:150]}"
                for rule in result["violations"]
                if rule["impact"] in ("serious", "critical")
                for node in rule["nodes"]
            )
            page.locator("#segdemo-theme").evaluate(
                "node => node.click()"
            )  # what lies over the page stays open
            if scheme == "dark":
                expect(page.locator("body")).not_to_have_class(dark)
            else:
                expect(page.locator("body")).to_have_class(dark)
            page.evaluate(TOGGLED)

    look("Segment")
    page.locator("#model .sm-open").click()
    wait_for(page.locator("#model [role=listbox]"))
    look("The menu of models")
    page.keyboard.press("Escape")
    for tab in ("Annotate", "Train", "Batch", "Zoo"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Zoo":
            wait_for(page.locator(".zoo-tile img").first)
            page.wait_for_function(SETTLED)  # until then it is faded
        look(tab)
    page.get_by_role("tab", name="Segment").click()
    page.locator("#correct").click()
    wait_for(page.locator("#annotate-canvas .sc[data-ready]").first)
    page.locator(".segdemo-counts summary").click()
    look("A photo in Annotate")
    assert found == []
