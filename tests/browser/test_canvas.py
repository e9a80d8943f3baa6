"""The mask canvas in headless Chromium: what is drawn, what is painted, and that no pixel is lost on the way."""

import io
import struct
import zlib
from functools import cache
from itertools import product

import gradio as gr
import numpy as np
import pytest
import skimage.data
from PIL import Image
from serving import free_port

from browser.canvas_driver import CanvasDriver
from browser.patience import expect, wait_for
from browser.standing import add_button, standing_page
from segdemo.core.display import display_colors
from segdemo.core.labels import VOC, VOID, LabelSet
from segdemo.ui.components.canvas import mask_canvas, payload

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PHOTO = skimage.data.chelsea()  # (300, 451, 3)
CAT, DOG = 8, 12


def labels_of_photo():
    labels = np.zeros(PHOTO.shape[:2], np.uint8)
    labels[50:250, 100:300] = CAT
    labels[260:290, 20:60] = DOG
    return labels


PREDICTION = labels_of_photo()
TRUTH = np.roll(PREDICTION, 20, axis=1)
TRUTH[:, 0] = VOID
CONFIDENCE = np.full((30, 45), 0.9)
CONFIDENCE[4:8, 36:42] = 0.3
EVERY_ID = LabelSet(
    "many",
    "Many",
    tuple(f"c{i}" for i in range(255)),
    tuple((i, 255 - i, 7) for i in range(255)),
    background=None,
)


def square(labels):
    return np.zeros((*labels.shape, 3), np.uint8)


@cache
def round_trip_maps():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (60, 80), dtype=np.uint8)
    return {
        "values": np.arange(256, dtype=np.uint8).reshape(16, 16),
        "odd": rng.integers(0, 256, (13, 7), dtype=np.uint8),
        "one": np.full((1, 1), 254, np.uint8),
        "line": rng.integers(0, 256, (1, 301), dtype=np.uint8),
        "huge": np.kron(tiles, np.ones((100, 100), np.uint8)),  # 8000 x 6000
    }


@cache
def disc(case):
    """(photo, true mask, centre) of an orange disc on a noisy grey ground."""
    height, width = {"disc": (200, 260), "large disc": (1500, 2000)}[case]
    y, x = np.mgrid[:height, :width]
    centre = (0.55 * width, 0.45 * height)
    inside = np.hypot(x - centre[0], y - centre[1]) < 0.3 * height
    ground = np.where(inside[..., None], (210, 120, 40), (110, 120, 125))
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return np.clip(ground + noise, 0, 255).astype(np.uint8), inside, centre


def edit(key="photo", **more):
    return payload(
        key, PHOTO, VOC, **{"prediction": PREDICTION, "uncertainty": 1 - CONFIDENCE, "mode": "edit", **more}
    )


def show(name):
    """The value for a case; the page has a box to type its name in."""
    if name in round_trip_maps():
        labels = round_trip_maps()[name]
        return payload(name, square(labels), EVERY_ID, yours=labels, mode="edit")
    if "disc" in name:
        return payload(name, disc(name)[0], VOC, mode="edit")
    confidence = {"confidence": CONFIDENCE, "uncertainty": 1 - CONFIDENCE}
    return {
        "view": lambda: payload("view", PHOTO, VOC, prediction=PREDICTION, name="chelsea", **confidence),
        "truth": lambda: payload("truth", PHOTO, VOC, prediction=PREDICTION, truth=TRUTH),
        "model": lambda: payload("model", PHOTO, VOC, prediction=PREDICTION[::-1].copy(), name="chelsea"),
        "nothing": lambda: payload("nothing", PHOTO, VOC, prediction=np.zeros_like(PREDICTION)),
        "said": lambda: payload("said", PHOTO, VOC, prediction=PREDICTION * 0, message="No pet in here."),
        "edit": edit,
        "again": lambda: edit(prediction=PREDICTION[::-1].copy()),  # the same photo, from another model
        "small": lambda: payload("small", PHOTO[:40, :60], VOC, mode="edit"),
        "next": lambda: edit("next", next_photo=True),
        "auto": lambda: edit("auto", next_photo=True, autosave=True),
    }[name]()


class Store:
    """Stands for what keeps masks on the server."""

    def __init__(self):
        self.saved, self.revisions, self.imported, self.sittings = {}, {}, None, []

    def save(self, key, png, base_revision, sitting, auto):
        newest = self.revisions.get(key)
        if base_revision != newest:
            return {"conflict": "Somebody saved this photo after you opened it.", "revision": newest}
        self.saved[key] = png
        self.sittings.append((sitting, auto))
        self.revisions[key] = (newest or 0) + 1
        return {"revision": self.revisions[key]}

    def load(self, key, data, width, height, labels):
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (width, height):
                raise ValueError(f"The mask is {image.size[0]} x {image.size[1]}, not {width} x {height}.")
        self.imported = (key, labels["name"])
        return data

    def labels(self, key):
        with Image.open(io.BytesIO(self.saved[key])) as image:
            return image.mode, image.getpalette(), np.asarray(image)


def hear_saved(event: gr.EventData):
    return f"saved {event.key} {event.revision}"


def hear_reload(event: gr.EventData):
    return f"reload {event.key}"


def hear_next(event: gr.EventData):
    return f"next {event.key}"


def hear_previous(event: gr.EventData):
    return f"previous {event.key}"


@pytest.fixture(scope="module")
def app(tmp_path_factory, event_loops_collected):
    """(url, store) of a page with one canvas, two synced ones, a box that takes the name of a case, and a button for
    a new canvas."""
    store = Store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("cache")))
        with gr.Blocks() as demo:
            which = gr.Textbox(label="case", elem_id="case")
            said = gr.Textbox(label="said", elem_id="said")
            with gr.Column() as place:
                canvas = mask_canvas(on_save=store.save, on_import=store.load, elem_id="canvas")
            with gr.Row():
                for name in ("left", "right"):
                    value = payload(name, PHOTO, VOC, prediction=PREDICTION, sync="pair")
                    mask_canvas(value, elem_id=name)
            which.submit(show, which, canvas, show_progress="hidden")
            canvas.saved(hear_saved, None, said)
            canvas.reload(hear_reload, None, said)
            canvas.next(hear_next, None, said)
            canvas.previous(hear_previous, None, said)
            add_button(place, canvas, which, said)
        _, url, _ = demo.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True)
        yield url, store
        demo.close()


class Canvas(CanvasDriver):
    """The canvas of a page that shows one case."""

    def __init__(self, page, store):
        super().__init__(page, page.locator("#canvas .sc"))
        self.store = store

    def show(self, case, timeout=30000):
        # Saved revisions of another test must not count.
        self.store.revisions.pop(show_key(case), None)
        self.page.locator("#case textarea, #case input").fill(case)
        self.page.locator("#case textarea, #case input").press("Enter")
        wait_for(self.root.and_(self.page.locator(f'[data-ready="{show_key(case)}"]')), timeout=timeout)
        self.stage.scroll_into_view_if_needed()
        return self

    def pixel(self, x, y):
        """RGBA of the overlay where image pixel (x, y) is drawn."""
        return self.js(
            """(() => {
              const [x, y] = argument.map((v, i) => (v + 0.5) * canvas.view.scale + canvas.view[i ? "ty" : "tx"]);
              const overlay = node.querySelectorAll("canvas.sc-layer")[1].getContext("2d");
              return [...overlay.getImageData(x, y, 1, 1).data];
            })()""",
            [x, y],
        )

    def frame(self):
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def row(self, class_id):
        return self.root.locator(f'li.sc-class[data-id="{class_id}"]')

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)


def show_key(case):
    return "photo" if case in ("edit", "again") else case


@pytest.fixture(scope="module")
def standing(app, browser):
    with standing_page(browser, app[0]) as standing:
        yield standing


@pytest.fixture
def canvas(app, standing):
    with standing.renewed() as page:
        yield Canvas(page, app[1])


# ------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("name", ["values", "odd", "one", "line", "huge"])
def test_an_unedited_map_returns_identical(canvas, name):
    canvas.show(name, timeout=60000)
    canvas.press("Control+s")
    wait_for(canvas.root.and_(canvas.page.locator("[data-saved]")), timeout=60000)
    mode, palette, labels = canvas.store.labels(name)
    assert mode == "P"
    assert palette == EVERY_ID.palette()
    np.testing.assert_array_equal(labels, round_trip_maps()[name])


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(kind, row, above):
    """One scan line under PNG filter `kind` (PNG specification, section 9), for one byte per pixel."""
    left, corner = np.roll(row, 1), np.roll(above, 1)
    left[0] = corner[0] = 0
    a, b, c = (v.astype(int) for v in (left, above, corner))
    estimate = a + b - c
    distances = np.stack([abs(estimate - a), abs(estimate - b), abs(estimate - c)])
    paeth = np.choose(distances.argmin(0), [a, b, c])
    return ((row.astype(int) - [0 * a, a, b, (a + b) // 2, paeth][kind]) % 256).astype(np.uint8)


def hand_made_png(labels, depth, kinds, colour=0):
    height, width = labels.shape
    bits = ((labels[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(height, -1).astype(np.uint8)
    rows = np.packbits(bits, axis=1)
    above, raw = np.zeros_like(rows[0]), b""
    for y, row in enumerate(rows):
        kind = kinds[y % len(kinds)]
        raw += bytes([kind]) + filtered(kind, row, above).tobytes()
        above = row
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_every_filter_and_depth_is_read(canvas):
    canvas.show("view")
    for depth, kinds in product([1, 2, 4, 8], ([0], [1], [2], [3], [4], [4, 3, 2, 1, 0])):
        labels = np.random.default_rng(depth).integers(0, 2**depth, (11, 29), dtype=np.uint8)
        png = hand_made_png(labels, depth, kinds, colour=3 if depth == 4 else 0)
        with Image.open(io.BytesIO(png)) as image:
            image.load()  # a second opinion that the file made here is a valid PNG
        found = canvas.js("canvas.decode(Uint8Array.from(argument)).then((map) => [...map.data])", list(png))
        np.testing.assert_array_equal(np.array(found).reshape(labels.shape), labels)


DAMAGE = [
    (lambda png: png[:40], "cut short"),
    (lambda png: b"GIF89a" + png, "not a PNG"),
    (lambda png: png[:50] + bytes([png[50] ^ 1]) + png[51:], "checksum"),
    (
        lambda png: hand_made_png(np.zeros((4, 4), np.uint8), 8, [7 - 3]).replace(
            b"\x08\x00", b"\x10\x00", 1
        ),
        "checksum",
    ),
]


def test_damaged_pngs_give_a_sentence(canvas):
    png = hand_made_png(np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8), 8, [0])
    canvas.show("view")
    for damage, sentence in DAMAGE:
        message = canvas.js(
            "canvas.decode(Uint8Array.from(argument)).catch((error) => error.message)", list(damage(png))
        )
        assert sentence in message


# ------------------------------------------------------------------------------------------------- looking


def test_legend_shows_the_classes_present_and_their_shares(canvas):
    canvas.show("view")
    rows = canvas.root.locator("li.sc-class")
    expect(rows).to_have_count(3)
    assert [rows.nth(i).get_attribute("data-id") for i in range(3)] == ["8", "12", "0"]
    share = (PREDICTION == CAT).mean() * 100
    expect(canvas.row(CAT).locator(".sc-share")).to_have_text(f"{share:.1f} %")
    expect(canvas.row(CAT).locator(".sc-nametext")).to_have_text("cat")


def test_hide_isolate_and_show_all(canvas):
    canvas.show("view")
    assert canvas.pixel(200, 150)[3] > 90
    assert canvas.pixel(10, 10)[3] == 0  # the background is not drawn
    canvas.row(CAT).get_by_role("button", name="Show cat", exact=True).click()
    canvas.frame()
    assert canvas.pixel(200, 150)[3] == 0
    assert canvas.pixel(40, 275)[3] > 90
    canvas.row(CAT).get_by_role("button", name="Show only cat").click()
    canvas.frame()
    assert canvas.pixel(200, 150)[3] > 90
    assert canvas.pixel(40, 275)[3] == 0
    canvas.button("Show all").click()
    canvas.frame()
    assert canvas.pixel(40, 275)[3] > 90
    assert canvas.pixel(10, 10)[3] == 0  # what belongs to no class is shown by nothing
    expect(canvas.button("Show all")).to_be_hidden()


def test_opacity_outline_and_patterns(canvas):
    canvas.show("view")
    slider = canvas.root.get_by_label("Opacity")
    slider.fill("20")
    canvas.frame()
    assert canvas.pixel(200, 150)[3] == pytest.approx(51, abs=1)
    colors = """(() => {
      const overlay = node.querySelectorAll("canvas.sc-layer")[1].getContext("2d");
      const { data } = overlay.getImageData(0, 0, canvas.view.width, canvas.view.height);
      return new Set(new Uint32Array(data.buffer)).size;
    })()"""
    with_outline = canvas.js(colors)
    canvas.button("Outline").click()
    canvas.frame()
    assert canvas.js(colors) == with_outline - 2  # one line colour per class shown
    without = canvas.js(colors)
    canvas.button("Patterns").click()
    canvas.frame()
    assert canvas.js(colors) == without + 1  # light ink on both dark classes


def test_hover_names_the_class_and_confidence(canvas):
    canvas.show("view")
    canvas.page.mouse.move(*canvas.at(200, 150))
    chip = canvas.root.locator(".sc-chip")
    expect(chip).to_contain_text("cat · 90 % sure")
    expect(chip).to_contain_text("200, 150")
    canvas.page.mouse.move(*canvas.at(400, 60))
    expect(chip).to_contain_text("background · 30 % sure")


def test_truth_error_map_and_iou(canvas):
    canvas.show("truth")
    valid = TRUTH != VOID
    both = ((PREDICTION == CAT) & (TRUTH == CAT)).sum()
    either = (((PREDICTION == CAT) | (TRUTH == CAT)) & valid).sum()
    expect(canvas.row(CAT).locator(".sc-iou")).to_have_text(f"IoU {100 * both / either:.0f}")
    canvas.root.get_by_text("Errors", exact=True).click()
    wrong = ((PREDICTION != TRUTH) & valid).sum() / TRUTH.size * 100
    expect(canvas.row(2).locator(".sc-share")).to_have_text(f"{wrong:.1f} %")
    canvas.frame()
    assert canvas.pixel(200, 150)[2] > canvas.pixel(200, 150)[0]  # correct is blue
    canvas.root.locator(".sc-segment", has_text="Truth").click()
    canvas.root.get_by_text("Classes", exact=True).first.click()
    canvas.frame()
    assert canvas.pixel(310, 150)[3] > 90  # only the true cat reaches here


def test_confidence_and_uncertainty_views(canvas):
    canvas.show("view")
    canvas.root.get_by_text("Confidence", exact=True).click()
    canvas.frame()
    sure = canvas.pixel(200, 150)
    expect(canvas.root.locator(".sc-heatbar")).to_be_visible()
    canvas.root.get_by_text("Uncertainty", exact=True).click()
    canvas.frame()
    assert sure[0] + sure[1] > sum(canvas.pixel(200, 150)[:2])  # viridis: high is yellow, low is purple


def test_split_compares_with_the_photo(canvas):
    canvas.show("view")
    canvas.button("Split").click()
    canvas.frame()
    assert canvas.pixel(150, 150)[3] > 90
    assert canvas.pixel(280, 150)[3] == 0
    canvas.root.get_by_role("slider", name="Position of the split").focus()
    for _ in range(10):
        canvas.page.keyboard.press("ArrowRight")
    canvas.frame()
    assert canvas.pixel(280, 150)[3] > 90


@pytest.mark.parametrize(
    ("case", "sentence"),
    [("nothing", "Nothing in this photo belongs to a class"), ("said", "No pet in here.")],
)
def test_a_photo_without_any_class_says_so(canvas, case, sentence):
    canvas.show(case)
    expect(canvas.root.locator(".sc-note")).to_contain_text(sentence)
    canvas.show("view")
    expect(canvas.root.locator(".sc-note")).to_be_hidden()


def test_zoom_to_cursor_pan_fit_and_actual_size(canvas):
    canvas.show("view")
    fitted = canvas.js("canvas.view.scale")
    before = canvas.at(330, 80)
    canvas.page.mouse.move(*before)
    canvas.page.mouse.wheel(0, -400)
    canvas.wait("canvas.view.scale > argument * 1.5", fitted)
    assert canvas.at(330, 80) == pytest.approx(before, abs=0.51)
    x, y = canvas.at(200, 150)
    canvas.drag((200, 150), (220, 160))
    scale = canvas.js("canvas.view.scale")
    assert canvas.at(200, 150) == pytest.approx((x + 20 * scale, y + 10 * scale), abs=1.5)
    canvas.button("Fit the photo").click()
    assert canvas.js("canvas.view.scale") == pytest.approx(fitted)
    canvas.button("Actual size").click()
    assert canvas.js("canvas.view.scale") == 1


def test_jump_to_the_most_uncertain_region(canvas):
    canvas.show("view")
    canvas.press("u")
    x, y = canvas.js("canvas.view.toImage(canvas.view.width / 2, canvas.view.height / 2)")
    assert (x, y) == pytest.approx((390, 60), abs=20)


def test_a_new_model_keeps_photo_and_view(canvas):
    canvas.show("view")
    canvas.press("+", "+")
    scale = canvas.js("canvas.view.scale")
    canvas.show("model")
    assert canvas.js("canvas.view.scale") == scale
    assert (canvas.labels("prediction") == PREDICTION[::-1]).all()
    canvas.show("nothing")
    assert canvas.js("canvas.view.isFitted()")


def test_synced_canvases_move_together(canvas):
    page = canvas.page
    wait_for(page.locator("#right .sc[data-ready]"))
    page.locator("#left").get_by_role("button", name="Zoom in").click()
    left, right = (
        page.evaluate(f"document.querySelector('#{n} .sc').maskCanvas.view.scale") for n in ("left", "right")
    )
    assert left == pytest.approx(right)
    canvas.show("view")
    assert canvas.js("canvas.view.isFitted()")


def test_downloads(canvas):
    canvas.show("view")
    with canvas.page.expect_download() as download:
        canvas.root.get_by_role("button", name="Download the label map").click()
    assert download.value.suggested_filename == "chelsea.png"
    with Image.open(download.value.path()) as image:
        assert image.mode == "P"
        assert image.getpalette() == VOC.palette()
        np.testing.assert_array_equal(np.asarray(image), PREDICTION)
    with canvas.page.expect_download() as download:
        canvas.root.get_by_role("button", name="Download the photo with its overlay").click()
    assert download.value.suggested_filename == "chelsea_overlay.png"
    with Image.open(download.value.path()) as image:
        overlay = np.asarray(image.convert("RGB")).astype(int)
    assert overlay.shape == PHOTO.shape
    difference = np.abs(overlay - PHOTO).sum(2)
    assert difference[PREDICTION == 0].mean() < 12  # the photo's own JPEG loss
    mixed = 0.62 * PHOTO[150, 200] + 0.38 * np.array(display_colors(VOC)[CAT])
    np.testing.assert_allclose(overlay[150, 200], mixed, atol=8)


# ------------------------------------------------------------------------------------------------- editing


def brush(canvas, size):
    canvas.press("b")
    canvas.js("canvas.editor.setSize(argument)", size)


def test_paint_undo_redo(canvas):
    canvas.show("edit")
    before = canvas.labels()
    np.testing.assert_array_equal(before, PREDICTION)
    brush(canvas, 5)
    canvas.press("1", "5")  # person
    list_, row = (canvas.root.locator(part).bounding_box() for part in (".sc-legend", ".sc-chosen"))
    assert list_["y"] - 1 <= row["y"] and row["y"] + row["height"] <= list_["y"] + list_["height"] + 1
    canvas.drag((350, 100), (420, 100))
    after = canvas.labels()
    changed = after != before
    assert set(np.unique(after[changed])) == {15}
    assert changed[98:103, 352:418].all()
    assert not changed[:97].any()
    assert not changed[104:].any()
    canvas.press("Control+z")
    np.testing.assert_array_equal(canvas.labels(), before)
    canvas.press("Control+Shift+Z")
    np.testing.assert_array_equal(canvas.labels(), after)
    counts = canvas.js("[...canvas.state.counts.yours]")
    np.testing.assert_array_equal(counts, np.bincount(after.ravel(), minlength=256))


def test_small_brushes_are_exact(canvas):
    canvas.show("small")
    for size, pixels in {1: 1, 2: 4, 3: 9, 4: 12}.items():
        brush(canvas, size)
        canvas.press("9")
        canvas.click(30, 20)
        painted = canvas.labels() == 9
        assert painted.sum() == pixels
        assert painted[19:22, 29:32].any()
        canvas.press("Control+z")
        assert not canvas.labels().any()


def test_a_hundred_and_twenty_steps_can_be_undone(canvas):
    canvas.show("edit")
    brush(canvas, 9)
    canvas.press("3")
    canvas.js(
        """(async () => {
          for (let x = 5; x < 5 + 2 * 120; x += 2)
            await (canvas.editor.down([x, x + 1], {}) || canvas.editor.up([x, 1], {}));
        })()"""
    )
    assert (canvas.labels() == 3).sum() > 1000
    canvas.js("(async () => { for (let i = 0; i < 120; i++) await canvas.editor.undo(); })()")
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)
    expect(canvas.button("Undo")).to_be_disabled()


def test_eraser_and_void(canvas):
    canvas.show("edit")
    canvas.press("e")
    canvas.click(200, 150)
    assert canvas.labels()[150, 200] == 0
    brush(canvas, 10)
    canvas.press("x")
    canvas.click(200, 150)
    assert canvas.labels()[150, 200] == VOID


def test_fill_gives_the_whole_region_the_class(canvas):
    canvas.show("edit")
    canvas.press("f", "4")
    canvas.click(200, 150)
    np.testing.assert_array_equal(canvas.labels(), np.where(PREDICTION == CAT, 4, PREDICTION))


def test_rectangle(canvas):
    canvas.show("edit")
    canvas.press("r", "2")
    canvas.drag((320, 20), (400, 60))
    found = np.argwhere(canvas.labels() == 2)
    assert found.min(0).tolist() == [20, 320]
    assert found.max(0).tolist() == [60, 400]
    assert len(found) == 41 * 81


def test_polygon_by_clicks_and_escape(canvas):
    canvas.show("edit")
    canvas.press("p", "6")
    for point in [(320, 20), (420, 20), (420, 120)]:
        canvas.click(*point)
    canvas.press("Escape", "Enter")
    assert not (canvas.labels() == 6).any()
    for point in [(320, 20), (420, 20), (420, 120)]:
        canvas.click(*point)
    canvas.press("Enter")
    inside = canvas.labels() == 6
    assert inside.sum() == pytest.approx(100 * 100 / 2, rel=0.03)
    assert inside[40, 400]
    assert not inside[110, 330]


def test_quick_clicks_near_each_other_are_corners_and_a_double_click_closes(canvas):
    canvas.show("edit")
    canvas.press("p", "6")
    zoom = canvas.js("canvas.view.scale / canvas.view.dpr")
    x, y = canvas.at(320, 20)
    corners = [
        (x, y),
        (x + 100 * zoom, y),
        (x + 100 * zoom, y + 100 * zoom),
        (x + 100 * zoom - 6, y + 100 * zoom),
    ]
    for corner in corners:  # the last two 6 pixels apart, and as fast as can be
        canvas.page.mouse.click(*corner)
    assert canvas.js("canvas.editor.e.points.length") == 4
    canvas.page.mouse.dblclick(x + 30 * zoom, y + 100 * zoom)
    assert canvas.js("canvas.editor.e.points.length") == 0
    assert (canvas.labels() == 6).any()
    for corner in corners[:3]:
        canvas.page.mouse.click(*corner)
    canvas.page.wait_for_timeout(400)
    canvas.page.mouse.click(*corners[2])  # the same spot, but slowly
    assert canvas.js("canvas.editor.e.points.length") == 4
    canvas.page.mouse.click(x + 6, y)  # near the first corner
    assert canvas.js("canvas.editor.e.points.length") == 0


def test_the_photo_stays_where_it_is_whatever_the_tool_and_whatever_is_said(canvas):
    canvas.show("next")
    top = canvas.stage.bounding_box()
    for key in "hbeprfsi":
        canvas.press(key)
        assert canvas.stage.bounding_box() == top, key
    canvas.press("b", "Control+s")
    expect(canvas.root.locator(".sc-state")).to_have_text("Saved")
    assert canvas.stage.bounding_box() == top
    canvas.press("Control+z")
    canvas.root.locator("summary", has_text="Start from").click()
    canvas.root.get_by_role("button", name="An empty mask").click()
    canvas.root.locator("summary", has_text="Start from").click()
    canvas.root.get_by_role("button", name="An empty mask").click()
    expect(canvas.root.locator(".sc-banner")).to_contain_text("nothing to change")
    assert canvas.stage.bounding_box() == top


def test_full_screen_is_as_high_as_the_screen(canvas):
    canvas.show("view")
    canvas.button("Full screen").click()
    canvas.page.wait_for_function("() => document.fullscreenElement")
    canvas.wait("node.clientHeight - node.querySelector('.sc-main').offsetHeight < 40")
    assert canvas.js("node.scrollHeight <= node.clientHeight")
    canvas.page.evaluate("document.exitFullscreen()")


def test_only_over_background_keeps_other_classes(canvas):
    canvas.show("edit")
    canvas.press("r", "2")
    canvas.button("Only over background").click()
    canvas.drag((50, 100), (350, 200))
    labels = canvas.labels()
    np.testing.assert_array_equal(labels == CAT, PREDICTION == CAT)
    assert (labels == 2).sum() == 301 * 101 - (PREDICTION[100:201, 50:351] == CAT).sum()


def intersection_over_union(found, wanted):
    return (found & wanted).sum() / (found | wanted).sum()


@pytest.mark.parametrize("case", ["disc", "large disc"])
def test_smart_select_takes_a_thing_by_one_click(canvas, case):
    canvas.show(case, timeout=60000)
    canvas.press("s", "2")
    canvas.click(*(round(v) for v in disc(case)[2]))
    canvas.wait("canvas.editor.e.history.steps() === 1")
    found, wanted = canvas.labels() == 2, disc(case)[1]
    assert intersection_over_union(found, wanted) > 0.97
    canvas.press("Control+z")
    assert not canvas.labels().any()


def test_smart_select_reach_and_leaving_out(canvas):
    canvas.show("edit")
    canvas.press("s", "2")
    canvas.click(200, 150)
    canvas.wait("canvas.editor.e.history.steps() === 1")
    first = (canvas.labels() == 2).sum()
    canvas.press(*["]"] * 6)
    canvas.wait("canvas.state.counts.yours[2] > argument", int(first))
    assert canvas.js("canvas.editor.e.history.steps()") == 1  # one step however often it is adjusted
    more = (canvas.labels() == 2).sum()
    canvas.page.keyboard.down("Alt")
    canvas.drag((200, 60), (220, 60))
    canvas.page.keyboard.up("Alt")
    canvas.wait("canvas.state.counts.yours[2] < argument", int(more))
    assert canvas.labels()[60, 210] != 2


def test_clean_up(canvas):
    canvas.show("edit")
    canvas.press("e")
    canvas.js("canvas.editor.setSize(argument)", 12)
    canvas.click(200, 150)  # a hole in the cat
    brush(canvas, 3)
    canvas.press("8")
    canvas.click(400, 200)  # a speck of cat
    assert canvas.labels()[150, 200] == 0
    canvas.root.locator("summary", has_text="Clean up").click()
    canvas.button("Fill its holes").click()
    assert canvas.labels()[150, 200] == CAT
    canvas.button("chosen class").click()
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)
    canvas.root.get_by_label("Pixels to grow or shrink by").fill("4")
    canvas.button("Grow").click()
    grown = canvas.labels() == CAT
    assert grown[46:254, 150:250].all()
    assert not grown[45, 100:300].any()
    canvas.button("Shrink").click()
    np.testing.assert_array_equal(canvas.labels() == CAT, PREDICTION == CAT)
    canvas.root.get_by_label("Class to change").select_option("dog")
    canvas.root.get_by_label("Class it becomes").select_option("horse")
    canvas.button("Change").click()
    np.testing.assert_array_equal(canvas.labels(), np.where(PREDICTION == DOG, 13, PREDICTION))


def test_start_again_from_prediction_or_empty(canvas):
    canvas.show("edit")
    canvas.root.locator("summary", has_text="Start from").click()
    canvas.button("An empty mask").click()
    assert not canvas.labels().any()
    canvas.root.locator("summary", has_text="Start from").click()
    canvas.button("The prediction").click()
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)


def png_of(labels):
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, "PNG")
    return buffer.getvalue()


def test_load_a_mask_file(canvas):
    canvas.show("edit")
    chooser = canvas.root.locator("input[type=file]")
    chooser.set_input_files({"name": "small.png", "mimeType": "image/png", "buffer": png_of(PREDICTION[:9])})
    expect(canvas.root.locator(".sc-banner")).to_contain_text("The mask is 451 x 9, not 451 x 300.")
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)
    mine = PREDICTION[::-1].copy()
    chooser.set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": png_of(mine)})
    canvas.wait("canvas.state.maps.yours[0] !== undefined && canvas.editor.e.history.steps() === 1")
    np.testing.assert_array_equal(canvas.labels(), mine)
    assert canvas.store.imported == ("photo", "voc")


# ------------------------------------------------------------------------------------------------- keeping


def test_save_and_the_page_hears_of_it(canvas):
    canvas.show("edit")
    canvas.press("f", "4")
    canvas.click(200, 150)
    canvas.button("Save this mask").click()
    expect(canvas.page.locator("#said textarea, #said input")).to_have_value("saved photo 1")
    _, _, labels = canvas.store.labels("photo")
    np.testing.assert_array_equal(labels, np.where(PREDICTION == CAT, 4, PREDICTION))
    expect(canvas.button("Save this mask")).to_have_text("Saved")


def test_a_state_from_before_the_last_save_is_not_shown_but_asked_for_anew(canvas):
    canvas.show("edit")
    canvas.press("f", "4")
    canvas.click(200, 150)
    canvas.button("Save this mask").click()
    said = canvas.page.locator("#said textarea, #said input")
    expect(said).to_have_value("saved photo 1")
    saved = canvas.labels()
    canvas.show("again")  # as it was before
    expect(said).to_have_value("reload photo")
    np.testing.assert_array_equal(canvas.labels(), saved)
    canvas.show("edit")  # the answer, whatever it is
    canvas.wait("canvas.loads === 2")
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)


def test_unsaved_work_survives_a_reload_and_can_be_discarded(app, open_page):
    url, store = app
    canvas = Canvas(open_page(url), store).show("edit")
    canvas.press("f", "4")
    canvas.click(200, 150)
    wait_for(canvas.root.and_(canvas.page.locator('[data-draft="photo"]')))
    canvas.page.reload()
    canvas.show("edit")
    expect(canvas.root.locator(".sc-banner")).to_contain_text("Your unsaved work")
    np.testing.assert_array_equal(canvas.labels(), np.where(PREDICTION == CAT, 4, PREDICTION))
    canvas.button("Discard it").click()
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)
    canvas.page.reload()
    canvas.show("edit")
    expect(canvas.root.locator(".sc-banner")).to_be_hidden()
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)


def test_work_survives_a_change_of_photo(canvas):
    canvas.show("edit")
    canvas.press("f", "4")
    canvas.click(200, 150)
    canvas.show("view")
    canvas.show("edit")
    np.testing.assert_array_equal(canvas.labels(), np.where(PREDICTION == CAT, 4, PREDICTION))


def test_a_canvas_that_saves_by_itself(canvas):
    canvas.show("auto")
    canvas.store.sittings.clear()
    state, said = canvas.root.locator(".sc-state"), canvas.page.locator("#said textarea, #said input")
    canvas.press("f", "4")
    canvas.click(200, 150)
    expect(state).to_have_text("Edited")
    expect(said).to_have_value("saved auto 1", timeout=10_000)
    expect(state).to_have_text("Saved")
    np.testing.assert_array_equal(canvas.store.labels("auto")[2], canvas.labels())
    canvas.press("3")
    canvas.click(200, 150)
    expected = canvas.labels()
    canvas.press("n")  # at once: it is saved on the way
    expect(said).to_have_value("saved auto 2", timeout=10_000)
    np.testing.assert_array_equal(canvas.store.labels("auto")[2], expected)
    canvas.press("n")  # nothing is different
    expect(said).to_have_value("next auto")
    canvas.press("Enter")  # takes the mask as it is
    expect(said).to_have_value("saved auto 3", timeout=10_000)
    canvas.press("f", "5")
    canvas.click(200, 150)
    expected = canvas.labels()
    canvas.show("view")  # the photo is left
    expect(said).to_have_value("saved auto 4", timeout=10_000)
    np.testing.assert_array_equal(canvas.store.labels("auto")[2], expected)
    sittings, kinds = zip(*canvas.store.sittings, strict=True)
    assert kinds == (True, False, False, False)
    assert sittings[0] and len(set(sittings)) == 1


def test_enter_and_shift_enter_go_on_and_back(canvas):
    canvas.show("next")
    canvas.store.saved.pop("next", None)
    said = canvas.page.locator("#said textarea, #said input")
    canvas.press("Shift+Enter")
    expect(said).to_have_value("previous next")
    assert "next" not in canvas.store.saved
    canvas.press("ArrowRight", "Enter")  # paints at the cursor
    expect(said).to_have_value("previous next")
    canvas.press("Escape", "Enter")
    expect(canvas.root).to_have_attribute("data-saved", "1")
    np.testing.assert_array_equal(canvas.store.labels("next")[2], canvas.labels())


def test_two_tabs_do_not_overwrite_each_other(canvas):
    canvas.show("edit")
    canvas.store.revisions["photo"] = 7
    canvas.store.saved["photo"] = b"theirs"
    canvas.press("Control+s")
    banner = canvas.root.locator(".sc-banner")
    expect(banner).to_contain_text("Somebody saved this photo after you opened it.")
    assert canvas.store.saved["photo"] == b"theirs"
    canvas.button("Save mine as the newest").click()
    expect(canvas.root.locator(".sc-state")).to_have_text("Saved")
    expect(banner).to_be_hidden()
    assert canvas.store.revisions["photo"] == 8
    np.testing.assert_array_equal(canvas.store.labels("photo")[2], PREDICTION)


# ------------------------------------------------------------------------------------------------- keyboard, touch


def test_tools_and_classes_by_key(canvas):
    canvas.show("next")
    for key, tool in {
        "b": "brush",
        "e": "eraser",
        "p": "polygon",
        "r": "rectangle",
        "f": "fill",
        "h": "hand",
    }.items():
        canvas.press(key)
        assert canvas.stage.get_attribute("data-tool") == tool
    canvas.press("b")
    size = canvas.js("canvas.editor.e.size")
    canvas.press("]")
    assert canvas.js("canvas.editor.e.size") > size
    canvas.press("[", "[")
    assert canvas.js("canvas.editor.e.size") < size
    canvas.press("?")
    dialog = canvas.page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_contain_text("Select thing")
    canvas.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    canvas.press("n")
    expect(canvas.page.locator("#said textarea, #said input")).to_have_value("next next")


def test_space_pans_instead_of_painting(canvas):
    canvas.show("edit")
    canvas.press("b", "+", "+")
    x = canvas.at(200, 150)[0]
    canvas.page.keyboard.down(" ")
    canvas.drag((200, 150), (230, 150))
    canvas.page.keyboard.up(" ")
    assert canvas.at(200, 150)[0] > x + 20
    np.testing.assert_array_equal(canvas.labels(), PREDICTION)


def test_painting_with_the_keyboard_alone(canvas):
    canvas.show("small")
    canvas.js("canvas.editor.setSize(argument)", 1)
    canvas.press("b", "5", "ArrowRight", "ArrowDown", "Enter")
    assert np.argwhere(canvas.labels() == 5).tolist() == [[21, 31]]
    expect(canvas.root.locator("[aria-live]")).to_contain_text("background")
    canvas.press("r", "7", "Enter", "Shift+ArrowRight", "ArrowDown", "Enter")
    assert (canvas.labels() == 7).sum() == 11 * 2


def test_controls_have_names_and_reach_the_keyboard(canvas):
    canvas.show("next")
    nameless = canvas.js(
        """[...node.querySelectorAll("button, input, select, summary, [role=slider]")]
           .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim() || n.labels?.length)).length"""
    )
    assert nameless == 0
    assert canvas.js('[...node.querySelectorAll("button")].filter((n) => n.tabIndex < 0).length') == 0


@pytest.mark.parametrize("case", ["view", "next"])
def test_a_phone_shows_everything_without_sideways_scrolling(app, open_page, phone, case):
    url, store = app
    canvas = Canvas(open_page(url, **phone), store).show(case)
    for menu in canvas.root.locator("summary").all():
        menu.click()
        canvas.frame()
        edges = canvas.js(  # tools are a row that scrolls
            """[...node.querySelectorAll(
                 ":is(button, select, input):not(.sc-tools > *), .sc-primary, .sc-next, .sc-pop")]
                 .filter((n) => n.checkVisibility())
                 .map((n) => n.getBoundingClientRect()).map(({ left, right }) => [left, right])"""
        )
        assert min(left for left, _ in edges) >= 0
        assert max(right for _, right in edges) <= 390
        menu.click()
    assert canvas.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    stage, tools = canvas.stage.bounding_box(), canvas.root.locator(".sc-toolbar").bounding_box()
    assert stage["width"] > 300
    if case == "next":
        assert stage["y"] < tools["y"]  # the photo first
        assert tools["height"] < 160  # two rows


def test_a_tap_is_read_and_the_reading_stays(app, open_page, phone):
    url, store = app
    canvas = Canvas(open_page(url, **phone), store).show("view")
    canvas.page.touchscreen.tap(*canvas.at(200, 150))
    chip = canvas.root.locator(".sc-chip")
    expect(chip).to_contain_text("cat")
    canvas.page.wait_for_timeout(300)
    expect(chip).to_be_visible()


def test_touch_paints_and_two_fingers_zoom(app, open_page, phone):
    url, store = app
    canvas = Canvas(open_page(url, **phone), store).show("edit")
    canvas.page.locator("#canvas").get_by_role("button", name="Brush").tap()
    canvas.js("canvas.editor.choose(argument)", 3)
    canvas.stage.scroll_into_view_if_needed()
    canvas.page.touchscreen.tap(*canvas.at(380, 60))
    canvas.wait("canvas.state.maps.yours[60 * 451 + 380] === 3")
    before, scale = canvas.labels(), canvas.js("canvas.view.scale")
    session = canvas.page.context.new_cdp_session(canvas.page)
    (x, y), steps = canvas.at(225, 150), [10, 20, 40, 60]
    for kind, gap in [("touchStart", 10), *(("touchMove", s) for s in steps)]:
        points = [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    canvas.wait("canvas.view.scale > argument * 2", scale)
    np.testing.assert_array_equal(canvas.labels(), before)
