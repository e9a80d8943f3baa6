"""Signing in with an account of the Hub on a Space, by Gradio's own routes and a provider of our own."""

import pytest
from accounts import provider

from browser.patience import expect, wait_for

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
SECONDS = 60_000


@pytest.fixture(scope="module")
def accounts():
    with provider() as accounts:
        yield accounts


def annotate(page):
    page.get_by_role("tab", name="Annotate").click()
    expect(page.locator("#kept-for")).to_contain_text("export it or sign in")


def press(page, name):
    """Press the button at the top right, which leads elsewhere and back."""
    with page.expect_navigation(timeout=SECONDS):
        page.get_by_role("button", name=name, exact=True).click()


def is_signed_in(page, name):
    """Check that somebody is signed in on a page, and go on to its Annotate tab."""
    expect(page.get_by_role("button", name=f"Sign out ({name})", exact=True)).to_be_visible(timeout=SECONDS)
    annotate(page)


def test_who_signs_in_brings_along_what_they_made_and_finds_it_in_every_browser(
    serve, open_page, accounts, tmp_path
):
    own = {"SYSTEM": "spaces", "SPACE_ID": "someone/segdemo", **accounts.variables()}
    with serve(tmp_path / "app", fresh=True, **own) as (url, _):
        by_link = f"{url}login/huggingface"  # where the button leads
        ann = open_page(url)
        annotate(ann)
        ann.locator("#new-title").get_by_role("textbox").fill("Of Ann")
        ann.locator("#collection-create").click()
        wait_for(ann.locator("#new-title"), state="hidden")
        press(ann, "Sign in")
        is_signed_in(ann, "ann")
        expect(ann.locator("#collection input")).to_have_value("Of Ann", timeout=SECONDS)

        elsewhere = open_page(by_link, viewport={"width": 1440, "height": 900})
        is_signed_in(elsewhere, "ann")
        expect(elsewhere.locator("#collection input")).to_have_value("Of Ann", timeout=SECONDS)

        accounts.account = "bob"
        bob = open_page(by_link, viewport={"width": 1440, "height": 900})
        is_signed_in(bob, "bob")
        wait_for(bob.locator("#new-title"))  # he has none, and is asked to make one

        press(ann, "Sign out (ann)")
        expect(ann.get_by_role("button", name="Sign in", exact=True)).to_be_visible(timeout=SECONDS)
        annotate(ann)
        wait_for(ann.locator("#new-title"))
    [kept] = (tmp_path / "app" / "home" / "workspaces").glob("hub-*")
    assert (kept / "annotations" / "of-ann" / "collection.json").is_file()
    assert not list((tmp_path / "app" / "home" / "workspaces").glob("visit-*/annotations/*/collection.json"))
