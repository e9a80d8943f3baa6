"""The Zoo tab of the real page in headless Chromium: every architecture, and the shipped models side by side."""

import re

import pytest

from browser.patience import expect, wait_for
from segdemo import zoo

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SECONDS = 60_000  # how long anything may take on a busy machine, in milliseconds
SHIPPED = zoo.read_manifest(zoo.WEIGHTS / "manifest.json")


@pytest.fixture(scope="module")
def lasting(plain_app, lasting_page):
    return lasting_page(plain_app)


@pytest.fixture
def zoo_tab(lasting):
    """The tab, on a page that these tests share."""
    page, errors = lasting
    yield enter(page)
    assert errors == []


def enter(page):
    page.set_default_timeout(SECONDS)
    page.get_by_role("tab", name="Zoo").click()
    wait_for(page.locator(".zoo-card").first)
    return page


def box_of(locator):
    locator.scroll_into_view_if_needed()
    return locator.bounding_box()


def is_drawn(image):
    """Whether an image has loaded and is not of one colour; one that the page replaces meanwhile is looked at anew."""
    for _ in range(20):
        drawn = image.evaluate(
            """async (image) => {
              if (!(await image.decode().then(() => true, () => false))) return null;
              const canvas = new OffscreenCanvas(64, 64), context = canvas.getContext("2d");
              context.drawImage(image, 0, 0, 64, 64);
              const data = new Uint32Array(context.getImageData(0, 0, 64, 64).data.buffer);
              return new Set(data).size > 50;
            }"""
        )
        if drawn is not None:
            return drawn
        image.page.wait_for_timeout(100)
    return False


def all_on_one_photo(page, photo=0):
    """Click a built-in photo and wait for the grid: its tiles."""
    page.locator("#zoo-photos button").nth(photo).click()
    tiles = page.locator("#zoo-grid .zoo-tile")
    wait_for(tiles.first)
    return tiles


def test_every_architecture_has_its_diagram_numbers_and_paper(zoo_tab):
    page = zoo_tab
    for name, spec in zoo.SPECS.items():
        card, facts = page.locator(f"#zoo-{name}"), zoo.architecture_facts()[name]
        expect(card.get_by_role("heading")).to_have_text(spec.title)
        diagram = box_of(card.locator(".zoo-diagram svg"))
        assert diagram["width"] > 200, name
        assert diagram["height"] > 100, name
        expect(card).to_contain_text(f"{facts['parameters'] / 1e6:.1f} M")
        expect(card).to_contain_text(f"{facts['flops'] / 1e9:.1f} G")
        papers = re.findall(r"arXiv:\d{4}\.\d{4,5}", spec.paper)
        assert papers, name
        for paper in papers:
            expect(card.get_by_role("link", name=paper, exact=True)).to_be_visible()
        trained = [entry for entry in SHIPPED.values() if entry.architecture == name]
        if trained:
            expect(card).to_contain_text(f"{100 * trained[0].metrics.mean_iou:.1f} mean IoU")
        else:
            expect(card).to_contain_text("not trained yet")


def test_an_untrained_architecture_says_how_to_train_it_without_this_machines_paths(zoo_tab, tmp_path):
    page = zoo_tab
    card = page.locator(".zoo-card:has(.zoo-start)").first
    command = card.locator("code")
    expect(command).to_be_hidden()
    card.locator("summary").click()
    expect(command).to_contain_text("python -m segdemo train")
    assert str(tmp_path.parent.parent) not in page.locator("#zoo-cards").text_content()


def test_the_button_of_an_untrained_architecture_opens_the_train_tab_with_it(zoo_tab):
    page = zoo_tab
    button = page.locator("#zoo-cards button[data-architecture]").first
    name = button.get_attribute("data-architecture")
    button.click()
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#train-start input")).to_have_value(re.compile(re.escape(zoo.spec(name).title)))


def test_all_shipped_models_on_one_photo_with_where_they_agree(zoo_tab):
    page = zoo_tab
    tiles = all_on_one_photo(page)
    compared = tiles.filter(has=page.get_by_role("heading", name=re.compile("^Agreement")))
    expect(compared.first).to_contain_text(
        re.compile(r"On [\d.]+ % of the pixels")
    )  # the grid is drawn anew no more
    for entry in SHIPPED.values():
        tile = tiles.filter(has=page.get_by_role("heading", name=entry.title, exact=True))
        expect(tile).to_have_count(1)
        expect(tile).to_contain_text(entry.label_set.title)
        expect(tile).to_contain_text(re.compile(r"\d+ ms"))
        assert is_drawn(tile.locator("img"))
    assert all(is_drawn(compared.nth(i).locator("img")) for i in range(compared.count()))
    first = tiles.first.locator("img").get_attribute("src")
    page.locator("#zoo-photos button").nth(1).click()
    expect(tiles.first.locator("img")).not_to_have_attribute("src", first, timeout=SECONDS)


def test_everything_fits_a_phone(plain_app, open_page, phone):
    page = enter(open_page(plain_app, **phone))
    tiles = all_on_one_photo(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for element in (tiles.first, tiles.last, page.locator(".zoo-card").first, page.locator(".zoo-card").last):
        box = box_of(element)
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["width"] > 300  # one below the other
    for summary in page.locator("#zoo-cards summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
