"""The application as a Space has it, and what a first visitor does there, for tests/browser and for benchmarks."""

import hashlib

from playwright.sync_api import expect

from segdemo.hosting.bundle import bundle
from segdemo.hosting.hub import Space

SECONDS = 60_000  # how long anything may take on a busy machine, in milliseconds

# The Hub's header, which Gradio puts over a Space that is opened outside the Hub's frame. The content security policy
# keeps it from being fetched, and the browser says so.
OF_THE_HUB = ("https://fonts.googleapis.com/", "https://huggingface.co/api/spaces/", "Space not found")


def code_of_a_space(folder):
    """The files that a Space gets, in a folder that nobody is meant to write to: what is in it, path to SHA-256."""
    bundle().write_to(folder)
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return contents(folder)


def contents(folder):
    """Path to SHA-256 of all files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def variables_of_a_space(home):
    """Its environment: what the Hub sets, what ``segdemo deploy`` sets, and one collection as the most there may be.

    Args:
        home: an empty folder, which is lost when the Space sleeps.
    """
    return {
        **Space("ann/segdemo").variables(),
        "SEGDEMO_MAX_COLLECTIONS": "1",
        "SYSTEM": "spaces",
        "SPACE_ID": "ann/segdemo",
        "SPACE_HOST": "ann-segdemo.hf.space",
        "SPACE_AUTHOR_NAME": "ann",
        "HOME": str(home),
        "SEGDEMO_HOME": "",  # the platform's folder, below HOME
        "XDG_DATA_HOME": "",
        "PYTHONPATH": "",
        "PYTHONDONTWRITEBYTECODE": "1",  # the person who tests may be root, whom no mode keeps from writing
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "CUDA_VISIBLE_DEVICES": "",
    }


class Visit:
    """A visitor's page, and what the browser complains of: ``complaints``."""

    def __init__(self, page, url):
        self.page, self.complaints = page, []
        page.set_default_timeout(SECONDS)
        page.on("console", lambda said: self._note(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.goto(url)

    def _note(self, text):
        if not any(part in text for part in OF_THE_HUB):
            self.complaints.append(text)

    def segment(self):
        """Choose a photo and see its classes: their names."""
        self.page.wait_for_selector('#stage .sc[data-ready$="collage.jpg:deeplabv3"]')
        return self.page.locator("#stage li.sc-class .sc-nametext").all_inner_texts()

    def annotate(self):
        """Make a collection of the photo that is shown, then another one: what the page says to that."""
        page = self.page
        page.get_by_role("tab", name="Annotate").click()
        self._create("Cats")
        page.locator("#add-shown").click()
        page.wait_for_selector('#annotate-canvas .sc[data-ready*="/"]:not([aria-busy])')
        page.locator("#collection-new").click()
        self._create("More", refused=True)
        return page.locator("#annotate-notice").inner_text()

    def _create(self, title, refused=False):
        page = self.page
        page.locator("#new-title").get_by_role("textbox").fill(title)
        page.locator("#collection-create").click()
        if refused:
            page.locator("#annotate-notice").wait_for()
        else:
            page.locator("#new-title").wait_for(state="hidden")

    def train(self):
        """What the Train tab says of training here."""
        self.page.get_by_role("tab", name="Train").click()
        note = self.page.locator("#train-policy")
        expect(note).to_be_visible()
        return note.inner_text()
