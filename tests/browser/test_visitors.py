"""Two people with browsers of their own on a page on which each visitor has a workspace."""

import re
import urllib.request

import pytest
from gradio_client import Client

from browser.patience import expect, wait_for

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
SECONDS = 60_000


def annotate(page):
    page.get_by_role("tab", name="Annotate").click()
    expect(page.locator("#kept-for")).to_contain_text("is gone when you have not touched it for a day")
    return page


def test_each_has_collections_of_their_own_and_finds_them_again(serve, open_page, tmp_path):
    with serve(tmp_path / "app", SPACE_ID="someone/segdemo") as (url, _):
        ann = annotate(open_page(url))
        ann.locator("#new-title").get_by_role("textbox").fill("Of Ann")
        ann.locator("#collection-create").click()
        wait_for(ann.locator("#new-title"), state="hidden")
        ann.locator("#add-shown").click()
        canvas = ann.locator('#annotate-canvas .sc[data-ready*="/"]:not([aria-busy])')
        wait_for(canvas)
        ann.keyboard.press("Control+s")
        expect(canvas).to_have_attribute("data-saved", "1", timeout=SECONDS)
        thumbnail = ann.locator("#photo-list img").first
        expect(thumbnail).to_have_js_property("complete", True)
        assert thumbnail.evaluate("image => image.naturalWidth") > 0  # a file that she may see
        address = thumbnail.get_attribute("src")

        ann.locator("#token-box button").first.click()
        ann.locator("#token-show").click()
        token = ann.locator("#token").locator("textarea, input")
        expect(token).to_have_value(re.compile("^segdemo-visit-"), timeout=SECONDS)
        script = Client(url, verbose=False, headers={"Authorization": f"Bearer {token.input_value()}"})
        [hers] = script.predict(api_name="/collections")
        script.close()
        assert hers["title"] == "Of Ann"

        bob = annotate(open_page(url))
        wait_for(bob.locator("#new-title"))  # he has none, and is asked to make one
        assert bob.request.get(address).status == 403
        assert ann.request.get(address).status == 200

        again = open_page(url, context=ann.context)
        annotate(again)
        expect(again.locator("#collection input")).to_have_value("Of Ann", timeout=SECONDS)
        with urllib.request.urlopen(f"{url}metrics") as answer:
            assert re.search(r"^segdemo_workspaces 1$", answer.read().decode(), re.M)
