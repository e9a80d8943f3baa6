"""The Video tab: a clip with its masks, and the webcam, live.

``ui.clips`` works on clips, one at a time; others wait in Gradio's queue.
"""

import base64
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup
from PIL import Image

from segdemo.core import label_maps, settings
from segdemo.core.conventions import so_many_are
from segdemo.core.photos import Source, encode_jpeg, read_photo
from segdemo.errors import UserError
from segdemo.inference.video import JPEG_QUALITY, MOST_RATE, SMOOTHING, SMOOTHING_MOST, steady
from segdemo.ui import clips, sample_clip
from segdemo.ui.components.scroll import scroll_to
from segdemo.ui.events import Event, Events, Updates, components, sentence
from segdemo.ui.inputs import button, frame_input, notice, notice_board, unchecked, upload
from segdemo.ui.markup import definitions, html, numbered_steps, panel
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.ui.tabs.segment import FIRST_MODEL

TAB = "video"  # id of the tab
CSS = Path(__file__).with_name("video.css").read_text("utf-8")
MOST_SENTENCES = 5  # about frames that were not taken
EVERY = (0.1, 30.0)  # seconds from one frame of a collection to the next
LEAST_SHARE = 0.0005  # of a clip's pixels, from which on a class is named
MOST_LIVE = 50  # pages whose last frame is remembered: up to megabytes each
LIVE_SIDE, LIVE_SECONDS = 320, 0.08  # of the webcam: longer side in pixels, from one frame to the next
# What a camera is asked for. Left to itself Gradio asks for 1920 x 1440, which browsers take longer to send than
# anything else here takes.
_CAMERA = {"video": {"width": {"ideal": LIVE_SIDE}, "height": {"ideal": LIVE_SIDE * 3 // 4}}}
NEW = ("A new one, with the classes of the model", "")
_SEE_CLIP = scroll_to("#video-stage", "start", delay=150, widest=800)  # on a phone it is far below
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
        self._live: dict[str, tuple[float, str, Any]] = {}  # page -> (time, model, the last frame's state)
        self._lock = threading.Lock()
        self._frame_limits = replace(services.limits, max_bytes=5_000_000, max_pixels=5_000_000)
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id="video-form"):
                self._form()
            with gr.Column(scale=11, min_width=320, elem_id="video-stage"):
                self._stage()
        self._buttons = (self.begin, self.sample, self.take)  # of which one works at a time
        self.inputs = {self.clip, self.model, self.rate, self.smoothing, self.collection, self.every}
        self.outputs = [c for c in components(self) if c not in (self.webcam, self.live)]

    def _form(self) -> None:
        panel(html('<h2 class="tr-title">New clip</h2>'), padding=False)
        self.clip = upload("A clip", "video-clip", file_types=[*clips.ENDINGS], show_label=False)
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
        self.sample = button("Try it with our clip", "video-sample", visible=sample_clip.available())
        self.cancel = button("Cancel", "video-cancel", variant="stop", visible=False)
        seconds = settings.read("SEGDEMO_MAX_VIDEO_SECONDS")
        length = f"The first {seconds:g} seconds of it are taken" if seconds else "All of it is taken"
        text = f"{length}; the file may have {clips.CLIP_BYTES / 1e6:.0f} MB."
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
        self.notice = notice_board("video-notice")
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
            self.webcam = frame_input(
                label="Webcam",
                height=260,
                webcam_options=gr.WebcamOptions(constraints=_CAMERA),
                elem_id="video-webcam",
            )
            self.live = panel(padding=False, elem_classes="vi-live", elem_id="video-live-mask")

    def connect(self, tab: gr.Tab) -> None:
        """Listen to every component, and to the tab."""
        on = Events(self.notice, self.inputs, self.outputs, clips.GROUP, limit=1).on
        on(tab.select, self._enter, quiet=True, concurrency_id="video-looks", concurrency_limit=4)
        over = {
            self.cancel: gr.update(visible=False),
            **{b: gr.update(interactive=True) for b in self._buttons},
        }
        works = []
        for pressed, work in zip(self._buttons, (self._segment, self._try, self._take), strict=True):
            started = on(pressed.click, self._offer_cancel, queue=False)
            ended = on(started.then, self._freeing(work), progress_on=pressed, always=over)
            if pressed is not self.take:
                ended.then(**_SEE_CLIP)
            works.append(ended)
        # What waits in line leaves it, by Gradio; what is at work is ended by us.
        on(self.cancel.click, self._cancel, queue=False, quiet=True, always=over, cancels=works)
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

    def _freeing(self, work: Callable[[Event], Updates]) -> Callable[[Event], Updates]:
        """The same; where the clip is at fault, its field is free for another."""

        def working(event: Event) -> Updates:
            try:
                return work(event)
            except clips.ClipError as error:
                return {self.clip: None, self.notice: notice(error, alert=True)}

        return working

    def _offer_cancel(self, event: Event) -> Updates:
        self.services.clips.expect(_page(event))
        return {
            self.cancel: gr.update(visible=True),
            **{pressed: gr.update(interactive=False) for pressed in self._buttons},
        }

    def _cancel(self, event: Event) -> Updates:
        cancelled = self.services.clips.cancel(_page(event))
        return {self.notice: notice(clips.CANCELLED)} if cancelled else {}

    def _take(self, event: Event) -> Updates:
        """Frames of the clip into a collection."""
        clip, every, name = clips.checked(event[self.clip]), event[self.every], event[self.collection] or ""
        if not isinstance(every, int | float) or not EVERY[0] <= every <= EVERY[1]:
            raise UserError(
                f"There may be {EVERY[0]:g} to {EVERY[1]:g} seconds between frames: move the slider."
            )
        if name:
            self.desk.store.open(name)  # raises what there is to say, before anything is done
        else:
            label_set = self.services.predictors.get(event[self.model] or FIRST_MODEL).entry.label_set
        with tempfile.TemporaryDirectory(prefix="segdemo-frames-") as folder:
            arguments = [str(clip), "--frames", folder, "--rate", str(1 / every)]
            with self.services.clips.working(_page(event)) as work:
                self.services.clips.run(work, arguments, _telling(event))
                found = sorted(Path(folder).iterdir())
                work.check()
                if not name:
                    name = self.desk.store.create(clip.stem, label_set).name
                ids, sentences = self.desk.add_photos(name, found, lambda: work.cancelled)
                if work.cancelled:
                    sentences.insert(0, clips.CANCELLED)
        title = self.desk.store.open(name).title
        sentences.insert(0, f"{so_many_are(len(ids), 'frame')} in {title}: open it in Annotate.")
        return {
            self.notice: notice(*sentences[:MOST_SENTENCES], alert=not ids),
            self.collection: gr.update(choices=[NEW, *self.desk.collections()], value=name),
        }

    def _segment(self, event: Event) -> Updates:
        return self._segmented(event, clips.checked(event[self.clip]))

    def _try(self, event: Event) -> Updates:
        """The clip of ours, for whoever has none at hand."""
        return self._segmented(event, sample_clip.sample_clip())

    def _segmented(self, event: Event, clip: Path) -> Updates:
        wish = event[self.model] or "", event[self.rate], event[self.smoothing]
        paths, report = self.services.clips.segment(_page(event), clip, *wish, progress=_telling(event))
        return {
            self.hint: gr.update(visible=False),
            self.result: gr.update(visible=True),
            self.shown: str(paths["overlay"]),
            self.facts: facts(report),
            self.labels: gr.update(value=str(paths["label_maps"])),
        }

    def _frame(self, frame: Source | None, model: str | None, request: gr.Request) -> Markup:
        """One frame of the webcam and its mask, as HTML."""
        if not frame:
            return Markup()
        start = time.perf_counter()
        try:
            picture = Image.fromarray(read_photo(frame, self._frame_limits))
            picture.thumbnail((LIVE_SIDE, LIVE_SIDE))
            image = np.asarray(picture)
            predictor = self.services.predictors.get(model or FIRST_MODEL)
            page = str(request.session_hash)
            with self._lock:
                _, of, before = self._live.get(page, (0.0, "", None))
            scale = min(1, LIVE_SIDE / predictor.entry.long_side)
            label_map, after = steady(predictor, image, before if of == model else None, scale=scale)
            with self._lock:
                self._live.pop(page, None)  # the last one that was shown goes to the end
                self._live[page] = (time.monotonic(), model or "", after)
                times = [(key, seen) for key, (seen, *_) in self._live.items()]
                for other, seen in times:
                    if time.monotonic() - seen > 60 or len(self._live) > MOST_LIVE:
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
    found = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares[:6] if share >= LEAST_SHARE)
    cut = "It is longer: only its beginning was taken." if report["cut"] else ""
    return html("<p>{}</p><p>{}</p><dl>{}</dl>", found, cut, definitions(rows.items()))


def _page(event: Event) -> str:
    return str(event.request.session_hash)


def _telling(event: Event) -> Callable[[int, int], object]:
    return lambda done, total: event.progress((done, total), unit="frames")
