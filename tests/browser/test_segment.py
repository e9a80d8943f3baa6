"""The real page in headless Chromium: pick or upload a photo, choose a model, see and download the result."""

import base64
import io
import re

import numpy as np
import pytest
from drawn import draw_voc
from gradio_client import Client, handle_file
from PIL import Image
from serving import served_app
from skimage import data
from tiny import bright, write_model

from browser import patience
from browser.models import pick_model
from browser.patience import expect
from segdemo import zoo
from segdemo.core.labels import LABEL_SETS, PETS, VOC
from segdemo.core.photos import read_photo
from segdemo.inference.predict import Predictor
from segdemo.ui.photos import built_in_paths, suiting

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SECONDS = 60_000  # how long anything may take on a busy machine, in milliseconds
SHIPPED = zoo.read_manifest(zoo.WEIGHTS / "manifest.json")
BUILT_IN = {photo.name: path for photo, path in built_in_paths().items()}
STAGE, SECOND = "#stage .sc", "#second-stage .sc"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The application with two more models, and a VOC tree to browse."""
    folder = tmp_path_factory.mktemp("page")
    models = folder / "home" / "models"
    write_model(models / "colours", "colours", PETS, *bright(3, 0, 1))
    write_model(models / "scenes", "scenes", VOC, *bright(21, 8, 0), stride=4, domain={"threshold": 0.9})
    draw_voc(folder / "data", VOC, size=(120, 80))
    with served_app(folder, SEGDEMO_DATA=str(folder / "data")) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(app, tmp_path_factory):
    client = Client(app, verbose=False, download_files=tmp_path_factory.mktemp("answers"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def asked():
    """Addresses of whatever the page that tests share has asked for."""
    return []


@pytest.fixture(scope="module")
def lasting(app, lasting_page, asked):
    page, errors = lasting_page(app, asked=asked)
    page.set_default_timeout(SECONDS)
    wait_for(page, "collage.jpg", FIRST)
    return page, errors


@pytest.fixture
def same_page(lasting):
    """One page for tests that only choose from what is there: it shows again what it opened with."""
    page, errors = lasting
    yield opened_anew(page)
    assert errors == []


@pytest.fixture(scope="module")
def lasting_of_uploads(app, lasting_page):
    page, errors = lasting_page(app)
    page.set_default_timeout(SECONDS)
    wait_for(page, "collage.jpg", FIRST)
    return page, errors


@pytest.fixture
def page(lasting_of_uploads):
    """As ``same_page``, for tests that upload photos: these stay in the strip, which shows ten at a time."""
    page, errors = lasting_of_uploads
    yield opened_anew(page)
    assert errors == []


def opened_anew(page):
    choose(page, FIRST)
    expect(built_in(page)).to_have_count(len(offered(VOC)), timeout=SECONDS)
    built_in(page).first.click()
    wait_for(page, "collage.jpg", FIRST)
    return page


OWN = "img[src*='/yours-']"


def built_in(page):
    """The photos of the strip that are not one's own."""
    return page.locator(f"#photos .gallery-item:not(:has({OWN}))")


FIRST = "deeplabv3"  # the model the page opens with


def title(model):
    return {name: entry.title for name, entry in SHIPPED.items()}.get(model, model.title())


def wait_for(page, file, model, stage=STAGE):
    """Wait until the result of a model on a file is drawn."""
    patience.wait_for(page.locator(f'{stage}[data-ready$="{file}:{model}"]').first)


def choose(page, model):
    pick_model(page, title(model))


def open_more(page):
    if not page.locator("#compare").is_visible():
        page.get_by_role("button", name="Compare models, look closer").click()


def upload(page, name, content):
    clear = page.locator("#photo-input").get_by_role("button", name="Remove Image")
    if clear.count():
        clear.click()
        expect(clear).to_have_count(0)
    page.locator("#photo-input input[type=file]").first.set_input_files(
        {"name": name, "mimeType": "image/jpeg", "buffer": content}
    )


def jpeg(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def legend(page, stage=STAGE):
    """Class id to (name, share as shown)."""
    rows = page.locator(f"{stage} li.sc-class")
    return {
        int(row.get_attribute("data-id")): (
            row.locator(".sc-nametext").inner_text(),
            row.locator(".sc-share").inner_text(),
        )
        for row in rows.all()
    }


def downloaded(page, stage=STAGE):
    """The label map a visitor gets: (file name, opened PNG)."""
    with page.expect_download() as caught:
        page.locator(stage).get_by_role("button", name="Download the label map").click()
    picture = Image.open(caught.value.path())
    picture.load()
    return caught.value.suggested_filename, picture


def assert_is_the_answer(page, client, photo, model):
    """What the page shows, and lets one download, is what /segment says of the same file."""
    path, facts = client.predict(handle_file(photo), model, api_name="/segment")
    _, picture = downloaded(page)
    assert picture.format == "PNG"
    assert picture.mode == "P"
    assert picture.size == (facts["width"], facts["height"])
    assert picture.getpalette() == LABEL_SETS[facts["label_set"]].palette()
    with Image.open(path) as answer:
        if (
            model in SHIPPED and SHIPPED[model].samples > 1
        ):  # no two answers of a stochastic network are the same
            assert (np.asarray(picture) == np.asarray(answer)).mean() > 0.9
            return
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(answer))
    shown = legend(page)
    assert {id_: name for id_, (name, _) in shown.items()} == {
        row["id"]: row["name"] for row in facts["classes"]
    }
    for row in facts["classes"]:
        share = shown[row["id"]][1]
        assert share in (f"{100 * row['share']:.1f} %", "< 0.1 %")


def test_the_page_opens_with_a_photo_already_segmented(lasting, client):
    page, _ = lasting  # as it has opened
    assert {name for name, _ in legend(page).values()} == {"cat", "person", "motorbike", "background"}
    assert_is_the_answer(page, client, BUILT_IN["four"], FIRST)
    assert downloaded(page)[0] == f"four_{FIRST}.png"
    names = page.locator(f"{STAGE} .sc-tag")
    assert sorted(names.all_inner_texts()) == ["cat", "motorbike", "person"]
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator(SECOND)).to_be_hidden()


def test_choosing_a_model_updates_the_result_without_a_button(same_page, client):
    page = same_page
    for model in (*(SHIPPED.keys() - {FIRST}), "colours", "scenes", FIRST):
        choose(page, model)
        wait_for(page, "collage.jpg", model)
        assert_is_the_answer(page, client, BUILT_IN["four"], model)


def test_the_menu_of_models_tells_what_is_known_of_each_and_obeys_the_keyboard(same_page):
    page = same_page
    menu = page.locator("#model")
    button, cards = menu.locator(".sm-open"), menu.get_by_role("option")
    shipped = SHIPPED[FIRST]
    expect(button).to_contain_text(f"{shipped.title}{shipped.knows}")
    expect(button).to_contain_text(re.compile(rf"{100 * shipped.metrics.mean_iou:.1f}mean IoU\d+ msa photo"))
    expect(button).to_have_attribute("aria-expanded", "false")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(cards).to_have_count(len(SHIPPED) + 2)
    expect(menu.get_by_role("option", selected=True)).to_contain_text("all of VOC val")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "listbox"

    def active():
        return page.evaluate(
            "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).dataset.name"
        )

    assert active() == FIRST
    page.keyboard.press("Home")
    assert active() == "colours"  # those made here come first
    page.keyboard.press("ArrowRight")
    assert active() == "scenes"
    page.keyboard.press("ArrowDown")
    assert active() in SHIPPED
    page.keyboard.press("Escape")  # which chooses nothing
    expect(button).to_be_focused()
    expect(button).to_contain_text(shipped.title)
    page.keyboard.press("Enter")
    page.keyboard.type("scen")  # goes to the field for that
    expect(cards).to_have_count(1)
    page.keyboard.press("Enter")
    expect(button).to_be_focused()
    expect(button).to_contain_text("Scenes")
    wait_for(page, "collage.jpg", "scenes")


def offered(label_set):
    return list(suiting(label_set).values())


def test_every_photo_that_suits_a_model_can_be_picked(same_page, client):
    page = same_page
    pictures = built_in(page)
    assert 1 == len(offered(PETS)) < len(offered(VOC)) < len(BUILT_IN)
    for model, label_set in (("unet", PETS), (FIRST, VOC)):
        choose(page, model)
        expect(pictures).to_have_count(len(offered(label_set)))
        for index, path in enumerate(offered(label_set)):
            pictures.nth(index).click()
            wait_for(page, path.name, model)
    assert_is_the_answer(page, client, path, FIRST)


def test_the_last_choice_wins_however_quickly_it_was_made(same_page, client):
    page = same_page
    pictures, paths = built_in(page), offered(VOC)
    for index in (1, 2, 3, 0, 1, 2):
        pictures.nth(index).click()
    wait_for(page, paths[2].name, FIRST)
    for model in ("scenes", "colours", FIRST, "colours", "scenes"):
        choose(page, model)
    wait_for(page, paths[2].name, "scenes")
    choose(page, FIRST)
    pictures.nth(3).click()
    choose(page, "colours")
    wait_for(page, paths[3].name, "colours")
    page.wait_for_timeout(1500)  # nothing late takes its place
    assert_is_the_answer(page, client, paths[3], "colours")


def test_next_and_back_lead_back_however_quickly(same_page):
    page, paths = same_page, offered(VOC)
    held = []
    page.locator(f"{STAGE} .sc-stage").focus()
    page.route("**/queue/join*", lambda route: held.append(route))  # the server does not answer
    for n, key in enumerate("np", 1):
        page.keyboard.press(key)
        while len(held) < n:
            page.wait_for_timeout(50)
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    page.wait_for_timeout(1500)  # nothing late takes its place
    wait_for(page, paths[0].name, FIRST)
    page.keyboard.press("n")
    wait_for(page, paths[1].name, FIRST)
    page.keyboard.press("p")
    wait_for(page, paths[0].name, FIRST)


def test_an_uploaded_photo_is_turned_upright_and_segmented(page, client, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "lying.jpg"
    photo.write_bytes(jpeg(np.rot90(data.astronaut()[:300]), exif=exif))
    choose(page, "colours")
    upload(page, photo.name, photo.read_bytes())
    wait_for(page, "lying.jpg", "colours")
    name, picture = downloaded(page)
    assert name == "lying_colours.png"
    assert picture.size == (512, 300)
    assert_is_the_answer(page, client, photo, "colours")


def test_two_models_side_by_side(same_page):
    page = same_page
    open_more(page)
    page.locator("#compare input").click()
    page.get_by_role("option", name=title("colours"), exact=True).click()
    wait_for(page, "collage.jpg", "colours", SECOND)
    assert {name for name, _ in legend(page, SECOND).values()} <= set(PETS.classes)
    assert {name for name, _ in legend(page).values()} <= set(VOC.classes)
    built_in(page).nth(1).click()  # both follow the photo
    wait_for(page, "chelsea.png", FIRST)
    wait_for(page, "chelsea.png", "colours", SECOND)
    open_more(page)
    page.locator("#compare input").click()
    page.get_by_role("option", name="nothing", exact=True).click()
    expect(page.locator(SECOND)).to_be_hidden(timeout=SECONDS)


def test_the_background_of_each_models_own_classes_starts_hidden(same_page):
    page = same_page

    def hidden():
        return page.locator(STAGE).evaluate("node => [...node.maskCanvas.state.hidden]")

    assert hidden() == [VOC.background]
    for model, label_set in (("unet", PETS), (FIRST, VOC)):
        choose(page, model)
        wait_for(page, "collage.jpg", model)
        assert hidden() == [label_set.background]


def test_a_broken_file_gives_a_sentence_and_the_page_goes_on(page):
    notice = page.locator("#notice [role=alert]")
    for name, content, sentence, photo in (
        ("words.jpg", b"these are words and no photo", "words.jpg", "chelsea.png"),
        ("half.jpg", jpeg(data.coffee())[:20_000], "half.jpg is cut short or damaged", "collage.jpg"),
        ("<b>odd.jpg", b"GIF89a", "odd.jpg", "chelsea.png"),
    ):
        upload(page, name, content)
        expect(notice).to_contain_text(sentence, timeout=SECONDS)
        assert notice.locator("b").count() == 0  # a file name is no HTML
        assert legend(page)[8][0] == "cat"  # what was there before stays
        expect(page.locator("#photo-input img")).to_have_count(0)  # and the field is free again
        built_in(page).nth(int(photo == "chelsea.png")).click()
        wait_for(page, photo, FIRST)
        expect(page.locator("#notice")).to_be_hidden()
    for _ in range(2):  # what was closed is told once more when it happens once more
        upload(page, "words.jpg", b"these are words and no photo")
        expect(notice).to_be_visible()
        page.locator("#notice .segdemo-close").click()
        expect(notice).to_be_hidden()
    upload(page, "good.jpg", jpeg(data.coffee()))
    wait_for(page, "good.jpg", FIRST)


HAND_OVER = """([kind, base64, name]) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, { type: "image/jpeg" }));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "drop"
        ? new DragEvent("drop", { ...options, dataTransfer: files })
        : new ClipboardEvent("paste", { ...options, clipboardData: files });
    return document.body.dispatchEvent(event);
}"""


def test_photos_are_dropped_or_pasted_anywhere_and_stay_in_the_strip(page):
    own = page.locator(f"#photos .gallery-item:has({OWN})")
    before = own.count()
    for n, kind in enumerate(("drop", "paste"), 1):
        content = base64.b64encode(jpeg(data.coffee()[: 100 * n])).decode()
        # The browser is told that somebody took it, or it would open the file instead of the page.
        assert page.evaluate(HAND_OVER, [kind, content, f"{kind}.jpg"]) is False
        wait_for(page, f"{kind}.jpg", FIRST)
        expect(own).to_have_count(before + n)
        expect(built_in(page)).to_have_count(len(offered(VOC)))
    own.nth(1).click()  # the newest comes first
    wait_for(page, "drop.jpg", FIRST)
    choose(page, "unet")
    expect(built_in(page)).to_have_count(len(offered(PETS)))
    expect(own).to_have_count(before + 2)
    built_in(page).first.click()
    wait_for(page, "chelsea.png", "unet")
    own.first.click()
    wait_for(page, "paste.jpg", "unet")
    page.locator(f"{STAGE} .sc-stage").focus()
    for key, photo in (("n", "drop.jpg"), ("p", "paste.jpg")):
        page.keyboard.press(key)
        wait_for(page, photo, "unet")


def test_a_photo_without_anything_known_is_answered_in_a_sentence(page):
    choose(page, "scenes")
    upload(page, "dark.jpg", jpeg(np.zeros((90, 120, 3), np.uint8)))
    wait_for(page, "dark.jpg", "scenes")
    note = page.locator(f"{STAGE} .sc-note")
    expect(note).to_be_visible()
    expect(note).to_contain_text("Scenes finds nothing it knows in this photo. It knows aeroplane, bicycle")


def test_a_photo_of_unfamiliar_things_comes_with_a_warning(page):
    choose(page, "scenes")
    upload(page, "grey.jpg", jpeg(np.full((90, 120, 3), 142, np.uint8)))  # a cat with a probability of 0.62
    wait_for(page, "grey.jpg", "scenes")
    expect(page.locator(f"{STAGE} .sc-note")).to_be_visible()
    expect(page.locator(f"{STAGE} .sc-note")).to_contain_text("Scenes is unsure about everything here")
    assert legend(page)[8][1] == "100.0 %"
    upload(page, "white.jpg", jpeg(np.full((90, 120, 3), 255, np.uint8)))
    wait_for(page, "white.jpg", "scenes")
    expect(page.locator(f"{STAGE} .sc-note")).to_be_hidden()


def test_a_photo_can_be_looked_at_more_than_once(same_page):
    page = same_page
    open_more(page)
    page.locator("#passes").get_by_text("And mirrored", exact=True).click()
    patience.wait_for(page.locator(f'{STAGE}[data-ready$="collage.jpg:{FIRST}:mirrored"]').first)
    _, picture = downloaded(page)
    photo = read_photo(BUILT_IN["four"])
    expected = Predictor(SHIPPED[FIRST], flip=True)(photo).label_map
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert (expected != Predictor(SHIPPED[FIRST])(photo).label_map).any()
    open_more(page)  # a press beside it has closed it
    page.locator("#passes").get_by_text("Once", exact=True).click()
    wait_for(page, "collage.jpg", FIRST)


def test_the_uncertainty_of_a_stochastic_network_is_explained(same_page):
    page = same_page
    hint = page.locator(f"{STAGE} .sc-heat .sc-hint")
    for model, sentence in ((FIRST, "Entropy over the classes"), ("bayesian_segnet", "with random dropout")):
        choose(page, model)
        wait_for(page, "collage.jpg", model)
        page.locator(f"{STAGE} .sc-segment").get_by_text("Uncertainty", exact=True).click()
        expect(hint).to_contain_text(sentence)
    page.locator(f"{STAGE} .sc-segment").get_by_text("Classes", exact=True).click()


def test_hovering_tells_class_and_confidence(same_page):
    page = same_page
    box = page.locator(f"{STAGE} .sc-stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chip = page.locator(f"{STAGE} .sc-chip")
    expect(chip).to_be_visible()
    expect(chip).to_have_text(re.compile(r"(cat|person|motorbike|background).*\d+ ?%", re.S))


def test_a_dataset_photo_comes_with_its_true_mask(same_page):
    page = same_page
    choose(page, "scenes")
    wait_for(page, "collage.jpg", "scenes")
    page.get_by_text("Dataset photos, with their true masks").click()
    page.locator("#dataset-random").click()
    patience.wait_for(page.locator(f'{STAGE}[data-ready*="2007_"][data-ready$=":scenes"]').first)
    truth = page.evaluate(f"Array.from(document.querySelector('{STAGE}').maskCanvas.state.maps.truth)")
    assert len(truth) == 120 * 80
    assert 255 in truth  # void is shown as such
    expect(page.locator(f"{STAGE} .sc-iou").first).to_have_text(re.compile(r"IoU \d+"))
    page.locator(f"{STAGE} .sc-segment").get_by_text("Errors", exact=True).click()
    expect(page.locator(f"{STAGE} .sc-legend")).to_contain_text("Correct")
    page.locator(f"{STAGE} .sc-segment").get_by_text("Truth", exact=True).click()
    name, picture = downloaded(page)
    assert name.startswith("2007_")
    assert picture.size == (120, 80)


def test_a_phone_shows_it_all_without_scrolling_sideways(app, open_page, phone):
    page = open_page(app, **phone)
    page.set_default_timeout(SECONDS)
    wait_for(page, "collage.jpg", FIRST)
    fits_a_phone(page)
    open_more(page)
    page.locator("#compare input").click()
    page.get_by_role("option", name=title("colours"), exact=True).click()
    wait_for(page, "collage.jpg", "colours", SECOND)
    fits_a_phone(page)


def fits_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    stage = page.locator(f"{STAGE} .sc-stage").bounding_box()
    assert stage["x"] >= 0
    assert stage["x"] + stage["width"] <= 390
    assert stage["width"] >= 335
    expect(page.locator("footer .settings")).to_be_visible()
    # Nothing to divide: the other link is hidden.
    expect(page.locator("footer .divider:visible")).to_have_count(0)
    assert stage["height"] > 150
    tops = [
        page.locator(part).bounding_box()["y"] for part in ("#model", "#photo-input", "#stage", "#closer")
    ]
    assert tops == sorted(
        tops
    )  # the model, one's own photo and the others, the result, and what is asked for seldom
    assert tops[2] - tops[0] < 232  # three rows where there are titles, as in a comparison
    # Nothing reaches beyond the right edge unless it can be scrolled in its own box.
    wide = page.evaluate(
        """() => [...document.querySelectorAll("button, input, label, select, p, h1, li")]
            .filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > 391
                && !node.closest("[style*=overflow], .overflow-x-auto, .sc-stage, #model, .segdemo-photos"))
            .map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert wide == []


def test_nothing_is_fetched_from_elsewhere(app, same_page, asked):
    assert app in asked  # from its opening on
    assert any(a.startswith(f"{app}gradio_api/queue/join") for a in asked)
    assert [a for a in asked if not a.startswith((app, "data:", "blob:"))] == []


def test_the_three_steps_can_be_closed_for_good_and_the_theme_stays(app, open_page):
    page = open_page(app)
    steps, asks = page.locator("#segdemo-welcome"), page.locator("#segdemo-help")
    expect(steps).to_be_visible(timeout=SECONDS)
    steps.get_by_role("button", name="Close for good").click()
    expect(steps).to_be_hidden()
    page.locator("#segdemo-theme").click()
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    page.reload()
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"), timeout=SECONDS)
    expect(steps).to_be_hidden()
    asks.click()
    expect(steps).to_be_visible()
    expect(asks).to_have_attribute("aria-expanded", "true")
    page.locator("#photos button").first.click()  # whoever goes to work has read them
    expect(steps).to_be_hidden()
    expect(asks).to_have_attribute("aria-expanded", "false")


def test_the_first_mask_comes_from_the_left_unless_motion_is_unwanted(app, open_page):
    page = open_page(app, reduced_motion="no-preference")
    far = "document.querySelector('#stage .sc')?.maskCanvas?.state.sweep"
    page.wait_for_function(f"{far} > 0", timeout=SECONDS)
    page.wait_for_function(f"{far} === null")
    assert page.locator(f"{STAGE} .sc-split").is_hidden()
