"""WCAG 2.2 AA as far as axe-core can see it, on every tab, light and dark."""

from pathlib import Path

import axe_playwright_python
import pytest
from serving import served_app

from browser.patience import wait_for

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


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with served_app(tmp_path_factory.mktemp("axe")) as (url, _):
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_on_any_tab(app, open_page, scheme):
    page = open_page(app, color_scheme=scheme)
    page.set_default_timeout(SECONDS)
    wait_for(page.locator("#stage .sc[data-ready]").first)
    page.wait_for_function("document.querySelector('#stage .sc').maskCanvas.state.sweep === null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "segdemo-skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('#stage .sc-stage')")
    page.evaluate(f"{AXE}; 0")
    found = []

    def look(where):
        result = page.evaluate(RUN, RULES)
        found.extend(
            f"{where}: {rule['id']}: {node['html'][:150]}"
            for rule in result["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        )

    look("Segment")
    for tab in ("Annotate", "Train", "Batch", "Zoo"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Zoo":
            wait_for(page.locator(".zoo-tile img").first)
            page.wait_for_function(SETTLED)  # until then it is faded
        look(tab)
    page.get_by_role("tab", name="Segment").click()
    page.locator("#correct").click()
    wait_for(page.locator("#annotate-canvas .sc[data-ready]").first)
    look("A photo in Annotate")
    assert found == []
