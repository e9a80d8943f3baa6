"""The Video tab: a clip with its masks, and the webcam, live.

A clip is worked on by ``segdemo video`` in a process of its own: what FFmpeg makes of a stranger's file cannot take the
page along, and cancelling is ending it. One clip at a time; others wait in Gradio's queue.
"""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import psutil
from gradio.utils import get_upload_folder
from markupsafe import Markup
from PIL import Image

from segdemo.core import label_maps, settings
from segdemo.core.photos import encode_jpeg, read_photo
from segdemo.errors import UserError
from segdemo.inference.video import JPEG_QUALITY, MOST_RATE, SMOOTHING, SMOOTHING_MOST, steady
from segdemo.runs.record import last_words
from segdemo.ui.events import Event, Events, Updates, components, sentence
from segdemo.ui.inputs import button, notice, photo_input, unchecked, upload
from segdemo.ui.markup import definitions, html, numbered_steps, panel
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.ui.tabs.segment import FIRST_MODEL

TAB = "video"  # id of the tab
CSS = Path(__file__).with_name("video.css").read_text("utf-8")
CLIP_BYTES = 500_000_000
MOST_CPU_SECONDS, MOST_MEMORY = 1800, 6 * 2**30  # of the process that works on a clip
MOST_SENTENCES = 5  # about frames that were not taken
EVERY = (0.1, 30.0)  # seconds from one frame of a collection to the next
LIVE_SIDE, LIVE_SECONDS = 320, 0.08  # of the webcam: longer side in pixels, from one frame to the next
NEW = ("A new one, with the classes of the model", "")
_STEPS = (  # picture, what to do, how
    (
        "M4 6h11v12H4zM15 10l5-3v10l-5-3",
        "Choose a clip",
        "MP4, MOV or WebM, from a phone or a camera. Sound is left out.",
    ),
    (
        "M12 4a8 8 0 1 0 8 8M12 8v4l3 2M17 3l3 3-3 3",
        "Say how often to look",
        "Ten frames a second are smooth; two are enough to find what is there.",
    ),
    (
        "M7 5l11 7-11 7z",
        "Watch it",
        "Masks hold still where nothing moves. Take the clip, or the label map of each frame.",
    ),
)


def build(services: Services, tab: gr.Tab, desk: Desk) -> "VideoTab":
    """Add what is in the tab, whose id is ``TAB``, to the Blocks being built. ``desk`` is that of the Annotate tab."""
    video = VideoTab(services, desk)
    video.connect(tab)
    return video


class VideoTab:
    """The components, and what happens on their events."""

    def __init__(self, services: Services, desk: Desk) -> None:
        self.services, self.desk = services, desk
        self._working: dict[str, subprocess.Popen[bytes]] = {}  # by the page that asked
        self._live: dict[str, tuple[float, str, Any]] = {}  # page -> (time, model, the last frame's state)
        self._lock = threading.Lock()
        self._frame_limits = replace(services.limits, max_bytes=5_000_000, max_pixels=5_000_000)
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id="video-form"):
                self._form()
            with gr.Column(scale=11, min_width=320, elem_id="video-stage"):
                self._stage()
        self.inputs = {self.clip, self.model, self.rate, self.smoothing, self.collection, self.every}
        self.outputs = [c for c in components(self) if c not in (self.webcam, self.live)]

    def _form(self) -> None:
        panel(html('<h2 class="tr-title">New clip</h2>'), padding=False)
        self.clip = upload(
            "A clip", "video-clip", file_types=[".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"], height=140
        )
        models = self.services.choices()
        first = FIRST_MODEL if FIRST_MODEL in self.services.models() else models[0][1]
        self.model = unchecked(gr.Dropdown(models, value=first, label="Model", elem_id="video-model"))
        self.rate = gr.Slider(1, MOST_RATE, value=10, step=1, label="Frames a second", elem_id="video-rate")
        self.smoothing = gr.Slider(
            0,
            SMOOTHING_MOST,
            value=SMOOTHING,
            step=0.05,
            label="Hold still",
            info="0: every frame by itself",
            elem_id="video-smoothing",
        )
        self.begin = gr.Button("Segment the clip", variant="primary", elem_id="video-begin")
        self.cancel = button("Cancel", "video-cancel", variant="stop", visible=False)
        seconds = settings.read("SEGDEMO_MAX_VIDEO_SECONDS")
        length = f"The first {seconds:g} seconds of it are taken" if seconds else "All of it is taken"
        text = f"{length}; the file may have {CLIP_BYTES / 1e6:.0f} MB."
        panel(html("<p>{}</p>", text), padding=False, elem_classes="tr-summary")
        with gr.Accordion("Frames into a collection", open=False, elem_id="video-frames"):
            # Choices come when the tab is entered; what the page sends is looked up, not trusted.
            self.collection = unchecked(
                gr.Dropdown([NEW], value="", label="Collection", elem_id="video-collection")
            )
            self.every = gr.Slider(
                *EVERY, value=1, step=0.1, label="One frame every so many seconds", elem_id="video-every"
            )
            self.take = gr.Button("Add the frames", elem_id="video-take")

    def _stage(self) -> None:
        self.notice = panel(visible=False, elem_classes="segdemo-said", elem_id="video-notice")
        self.hint = panel(numbered_steps(_STEPS, 0), elem_id="video-hint")
        with gr.Column(visible=False, elem_id="video-result") as self.result:
            self.shown = gr.Video(
                label="The clip with its masks", autoplay=True, loop=True, elem_id="video-shown"
            )
            self.facts = panel(padding=False, elem_classes="tr-head", elem_id="video-facts")
            self.labels = gr.DownloadButton(
                "Label maps, ZIP", size="sm", scale=0, min_width=160, elem_id="video-labels"
            )
        with gr.Accordion("Webcam, live", open=False, elem_id="video-live"), gr.Row():
            self.webcam = photo_input(
                label="Webcam", sources=["webcam"], streaming=True, height=260, elem_id="video-webcam"
            )
            self.live = panel(padding=False, elem_classes="vi-live", elem_id="video-live-mask")

    def connect(self, tab: gr.Tab) -> None:
        """Listen to every component, and to the tab."""
        on = Events(self.notice, self.inputs, self.outputs, "video", limit=1).on
        on(tab.select, self._enter, concurrency_id="video-looks", concurrency_limit=4)
        buttons = (self.begin, self.take)
        over = {self.cancel: gr.update(visible=False), **{b: gr.update(interactive=True) for b in buttons}}
        for pressed, work in ((self.begin, self._segment), (self.take, self._take)):
            started = on(pressed.click, self._offer_cancel, queue=False)
            on(started.then, work, progress_on=pressed, always=over)
        on(self.cancel.click, self._cancel, queue=False, quiet=True)
        self.webcam.stream(
            self._frame,
            [self.webcam, self.model],
            self.live,
            stream_every=LIVE_SECONDS,
            time_limit=300,
            concurrency_limit=settings.read("SEGDEMO_PREDICTIONS"),
            show_progress="hidden",
            api_visibility="private",
        )

    def _enter(self, event: Event) -> Updates:
        names = {entry.alias_of or name: name for name, entry in self.services.models().items()}
        now, chosen = event[self.model], names.get(event[self.model], event[self.model])
        # What was chosen meanwhile stays.
        value = {} if now == chosen else {"value": chosen}
        return {
            self.model: gr.update(choices=self.services.choices(), **value),
            self.collection: gr.update(choices=[NEW, *self.desk.collections()]),
        }

    def _offer_cancel(self, event: Event) -> Updates:
        return {
            self.cancel: gr.update(visible=True),
            self.begin: gr.update(interactive=False),
            self.take: gr.update(interactive=False),
        }

    def _cancel(self, event: Event) -> Updates:
        with self._lock:
            process = self._working.get(str(event.request.session_hash))
        if process is not None:
            process.kill()
        return {}

    def _clip(self, event: Event) -> Path:
        clip = event[self.clip]
        if not clip:
            raise UserError("Choose a clip first: drop it on the field, or click there.")
        clip = Path(str(clip))
        if clip.stat().st_size > CLIP_BYTES:
            raise UserError(
                f"The clip has {clip.stat().st_size / 1e6:.0f} MB and may have {CLIP_BYTES / 1e6:.0f}: "
                "cut it, or save it smaller."
            )
        return clip

    def _take(self, event: Event) -> Updates:
        """Frames of the clip into a collection."""
        clip, every, name = self._clip(event), event[self.every], event[self.collection] or ""
        if not isinstance(every, int | float) or not EVERY[0] <= every <= EVERY[1]:
            raise UserError(
                f"There may be {EVERY[0]:g} to {EVERY[1]:g} seconds between frames: move the slider."
            )
        if name:
            self.desk.store.open(name)  # raises what there is to say, before anything is done
        else:
            label_set = self.services.predictors.get(event[self.model] or FIRST_MODEL).entry.label_set
        with tempfile.TemporaryDirectory(prefix="segdemo-frames-") as folder:
            self._run([str(clip), "--frames", folder, "--rate", str(1 / every)], event)
            found = sorted(Path(folder).iterdir())
            if not name:
                name = self.desk.store.create(clip.stem, label_set).name
            ids, sentences = self.desk.add_photos(name, found)
        title = self.desk.store.open(name).title
        sentences.insert(0, f"{len(ids)} frames are in {title}: open it in Annotate.")
        return {
            self.notice: notice(*sentences[:MOST_SENTENCES], alert=not ids),
            self.collection: gr.update(choices=[NEW, *self.desk.collections()], value=name),
        }

    def _segment(self, event: Event) -> Updates:
        clip = self._clip(event)
        model, rate, smoothing = event[self.model] or "", event[self.rate], event[self.smoothing]
        if not all(isinstance(value, int | float) for value in (rate, smoothing)):
            raise UserError("Frames a second and Hold still are numbers: move their sliders.")
        self.services.predictors.get(model)  # raises what there is to say
        folder = Path(get_upload_folder()).resolve() / f"video-{secrets.token_hex(16)}"
        folder.mkdir(parents=True)
        overlay, labels = folder / "segmented.mp4", folder / "label_maps.zip"
        options = {
            "--model": model,
            "--overlay": overlay,
            "--labels": labels,
            "--rate": rate,
            "--smoothing": smoothing,
        }
        report = self._run([str(clip), *(str(x) for pair in options.items() for x in pair)], event)
        return {
            self.hint: gr.update(visible=False),
            self.result: gr.update(visible=True),
            self.shown: str(overlay),
            self.facts: facts(report),
            self.labels: gr.update(value=str(labels)),
        }

    def _run(self, arguments: list[str], event: Event) -> dict[str, Any]:
        """The report of ``segdemo video``. Raises UserError with the sentence that it ended with."""
        command = [sys.executable, "-m", "segdemo", "video", *arguments, "--json", "--progress"]
        models = settings.own_models_dir()  # where visitors have workspaces
        own = {settings.OWN_MODELS: str(models)} if models else {}
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        _limit(process.pid)
        page = str(event.request.session_hash)
        with self._lock:
            self._working[page] = process
        said = ""
        try:
            assert process.stderr is not None and process.stdout is not None
            for line in process.stderr:
                try:
                    at = json.loads(line)
                    event.progress((at["done"], at["total"]), unit="frames")
                except (ValueError, KeyError, TypeError):
                    said = line.decode("utf-8", "replace").strip() or said
            out = process.stdout.read()
            code = process.wait()
        finally:
            process.kill()
            with self._lock:
                self._working.pop(page, None)
        if code == 0:
            report: dict[str, Any] = json.loads(out)
            return report
        if code < 0:
            raise UserError(
                "The clip was given up: it was cancelled, or needs more time or memory than it may have."
            )
        raise UserError(
            last_words(said) or "The clip could not be segmented: save it as MP4 (H.264) and try again."
        )

    def _frame(self, path: str | None, model: str | None, request: gr.Request) -> Markup:
        """One frame of the webcam and its mask, as HTML."""
        if not path:
            return Markup()
        start = time.perf_counter()
        try:
            picture = Image.fromarray(read_photo(path, self._frame_limits))
            picture.thumbnail((LIVE_SIDE, LIVE_SIDE))
            image = np.asarray(picture)
            predictor = self.services.predictors.get(model or FIRST_MODEL)
            page = str(request.session_hash)
            with self._lock:
                _, of, before = self._live.get(page, (0.0, "", None))
            label_map, after = steady(predictor, image, before if of == model else None)
            with self._lock:
                self._live[page] = (time.monotonic(), model or "", after)
                for other in [k for k, v in self._live.items() if time.monotonic() - v[0] > 60]:
                    del self._live[other]
        except Exception as error:
            return html('<p role="status">{}</p>', sentence(error))
        shown = label_maps.overlay(image, label_map, predictor.entry.label_set)
        names = [row["name"] for row in label_maps.class_table(label_map, predictor.entry.label_set)]
        milliseconds = 1000 * (time.perf_counter() - start)
        return html(
            '<img src="data:image/jpeg;base64,{}" alt="The webcam with its mask"><p>{} · {:.0f} ms</p>',
            base64.b64encode(encode_jpeg(shown, JPEG_QUALITY)).decode(),
            ", ".join(map(str, names)),
            milliseconds,
        )


def facts(report: dict[str, Any]) -> Markup:
    """HTML of what was found in a clip."""
    rows = {
        "Frames": f"{report['frames']:,} of {report['width']} x {report['height']}",
        "Frames a second": f"{report['rate']:g}",
    }
    if report["flicker"] is not None:
        rows["Flicker"] = (
            f"{100 * report['flicker']:.2f} %, {100 * report['flicker_alone']:.2f} frame by frame"
        )
    shares = sorted(report["classes"].items(), key=lambda item: -item[1])
    found = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares[:6])
    cut = "It is longer: only its beginning was taken." if report["cut"] else ""
    return html("<p>{}</p><p>{}</p><dl>{}</dl>", found, cut, definitions(rows.items()))


def _limit(pid: int) -> None:
    """Keep a process behind others and within what it may have."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        process.nice(5)
        if hasattr(process, "rlimit"):  # Linux
            process.rlimit(psutil.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))
            process.rlimit(psutil.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
