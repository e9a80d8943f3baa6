"""One page for many tests, each of which gets a canvas of its own: to open a page takes longer than most of them."""

import contextlib
import time

import gradio as gr

from browser.conftest import CALM, DESKTOP
from browser.patience import expect, wait_for

# Unsaved work is written at once, not into the next test, and then taken away with all else that is stored.
FORGET = """async () => {
  const root = document.querySelector("#canvas .sc");
  const { editor } = root.maskCanvas ?? {};
  if (root.dataset.ready) await Promise.all([editor.writeDraft(), editor.teach.keep()]);
  root.dataset.old = "";
  document.activeElement?.blur();
  for (const { name } of await indexedDB.databases())
    await new Promise((done, fail) => {
      const opening = indexedDB.open(name);
      opening.onerror = fail;
      opening.onsuccess = () => {
        const database = opening.result, stores = [...database.objectStoreNames];
        if (!stores.length) return done();
        const clearing = database.transaction(stores, "readwrite");
        for (const store of stores) clearing.objectStore(store).clear();
        clearing.oncomplete = () => (database.close(), done());
        clearing.onabort = fail;
      };
    });
  localStorage.clear();
  sessionStorage.clear();
}"""


def add_button(place, canvas, *boxes):
    """In a ``gr.Blocks``: the button that renews it.

    Args:
        place: a ``gr.Column`` with nothing but the canvas in it. canvas: its ``elem_id`` is "canvas".
        boxes: ``gr.Textbox`` that are to be empty again.
    """
    button = gr.Button("Renew", elem_id="renew")
    # What is not visible is not there: afterwards it is made anew.
    gone = button.click(
        lambda: (gr.Column(visible=False), None, *("" for _ in boxes)), None, [place, canvas, *boxes]
    )
    gone.then(lambda: gr.Column(visible=True), None, place)


class Standing:
    """The page, and the script errors on it."""

    def __init__(self, page):
        self._page, self._errors, self._asking = page, [], set()
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.on("request", self._asked)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, lambda request: self._asking.discard(request))

    def _asked(self, request):
        # A heartbeat lasts as long as the page.
        if request.url.startswith("http") and "/heartbeat/" not in request.url:
            self._asking.add(request)

    def _quiet(self):
        """Wait until the server has answered everything."""
        end = time.monotonic() + 20
        while self._asking and time.monotonic() < end:
            self._page.wait_for_timeout(10)

    @contextlib.contextmanager
    def renewed(self):
        """The page as if it had been opened just now; an uncaught script error fails the test."""
        page = self._page
        page.mouse.move(0, 0)
        page.evaluate(FORGET)
        self._quiet()
        boxes = page.locator("#case, #said").locator("textarea, input")
        for _ in range(3):  # an answer to the test before may come after the first
            page.locator("#renew").click()
            wait_for(page.locator("#canvas .sc:not([data-old])"))
            self._quiet()
            if not any(box.input_value() for box in boxes.all()):
                break
        for box in boxes.all():
            expect(box).to_have_value("")
        page.evaluate("scrollTo(0, 0)")
        yield page
        errors, self._errors = self._errors, []
        assert errors == []


@contextlib.contextmanager
def standing_page(browser, url):
    """A ``Standing`` in a browser context of its own."""
    context = browser.new_context(**DESKTOP, accept_downloads=True, **CALM)
    with contextlib.closing(context):
        page = context.new_page()
        standing = Standing(page)
        page.goto(url)
        wait_for(page.locator("#canvas .sc"))
        yield standing
