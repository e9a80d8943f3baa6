"""Segment a clip: frames at a chosen rate, masks that hold still, an overlay as MP4 and label maps as a ZIP.

A network that sees one frame at a time flickers where it is unsure. Here the probabilities of a frame are averaged with
those of the frames before, as far as the picture stayed the same there: a recursive average with a weight that falls
with the change of colour, so that what moves is not smeared. ``flicker`` says what it is worth.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segdemo.core import label_maps, settings
from segdemo.core.arrays import Bools, Floats, UInt8
from segdemo.core.files import replaced_atomic
from segdemo.data.outputs import refuse_one_file, refuse_overwriting
from segdemo.errors import UserError
from segdemo.inference.predictors import Segmenter

STILL = 12.0  # change of colour, 0..255, at which the frames before count 1/e as much
SMOOTHING = 0.7  # weight of the frames before where nothing changed
SMOOTHING_MOST = 0.95
SAME = 8.0  # change of colour below which a pixel should keep its class: what flicker counts
LONGEST_SIDE = 960  # pixels of the frames that are segmented and written
SMALLEST_SIDE, LARGEST_SIDE = 64, 4096
MOST_RATE = 30.0  # frames a second
EARLY = 0.002  # seconds before a frame is due at which it will do: many files round times to milliseconds
BASE = Fraction(1, 60_000)  # seconds, in which times are written; MPEG-4 allows 1/65,535 at the finest
MOST_PIXELS = 4096 * 4096  # of a frame as it comes
JPEG_QUALITY = 92  # of frames that are written one by one
CODECS = ("libx264", "mpeg4")  # the first that is at hand
# What FFmpeg may take a file for: pictures are photos, and playlists would have it open other files and addresses.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,ogg,mxf,dv,"
    "yuv4mpegpipe,gif"
)
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}


class VideoError(UserError):
    """A clip that cannot be segmented; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Frame:
    """One of a clip.

    Attributes:
        seconds: since the clip's first frame.
        image: uint8 (H, W, 3), RGB, upright.
    """

    seconds: float
    image: UInt8


@dataclass(frozen=True)
class SegmentedFrame(Frame):
    """A frame and what is in it.

    Attributes:
        label_map: uint8 (H, W), class ids.
        flicker: share of the pixels that stayed alike since the frame before whose class did not, 0..1; None for
            the first. flicker_alone: the same if each frame were segmented by itself.
    """

    label_map: UInt8
    flicker: float | None
    flicker_alone: float | None


@dataclass(frozen=True)
class VideoReport:
    """What came out.

    Attributes:
        frames: how many. width, height: of them, pixels. rate: frames a second.
        flicker, flicker_alone: means over the frames, see ``SegmentedFrame``; None for a clip of one frame.
        classes: class name to its share of all pixels, 0..1, those that are there.
        cut: whether the clip was longer than what was taken of it.
    """

    frames: int
    width: int
    height: int
    rate: float
    flicker: float | None
    flicker_alone: float | None
    classes: dict[str, float]
    cut: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


def frames(
    clip: Path | str, rate: float, side: int = LONGEST_SIDE, most_seconds: float | None = None
) -> Iterator[Frame]:
    """The frames of a clip, at most ``rate`` a second.

    Args:
        clip: a video that FFmpeg can read.
        rate: frames a second that are wanted; one that has fewer gives what it has.
        side: longer side of the frames; smaller ones stay as they are. Both sides become even.
        most_seconds: how far into the clip; by default ``SEGDEMO_MAX_VIDEO_SECONDS``, 0 for all.

    Raises:
        VideoError: no video, a damaged one, or frames that are too large.
        UserError: rate or side out of range.
    """
    _check(rate, side)
    with _opened(clip) as container:
        yield from _picked(container, rate, side, _limit(most_seconds))


def _check(rate: float, side: int, smoothing: float = SMOOTHING) -> None:
    """Raise VideoError if one of them is out of range, or no number."""
    if not 0 < rate <= MOST_RATE:
        raise VideoError(f"The rate is a number of frames a second up to {MOST_RATE:g}, not {rate:g}.")
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise VideoError(
            f"The longer side is a number of pixels from {SMALLEST_SIDE} to {LARGEST_SIDE}, not {side}."
        )
    if not 0 <= smoothing <= SMOOTHING_MOST:
        raise VideoError(f"The smoothing is a number from 0 to {SMOOTHING_MOST}, not {smoothing:g}.")


@contextmanager
def _opened(clip: Path | str) -> Iterator[Any]:
    """For a ``with`` statement: a container that holds video. Raises VideoError, also for what goes wrong in it."""
    import av

    path = Path(clip)
    if not path.is_file():
        raise VideoError(f"There is no file {path}: give the path of a clip.")
    try:
        with av.open(str(path), options=_OPTIONS) as container:
            if not container.streams.video:
                raise VideoError(f"{path.name} holds no video: give an MP4, WebM or MOV.")
            yield container
    except UserError:
        raise
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise VideoError(
            f"{path.name} cannot be read as a video: save it as MP4 (H.264) and try again."
        ) from error


def _limit(most_seconds: float | None) -> float:
    """How many seconds of a clip are taken; infinity for all."""
    seconds: float = settings.read("SEGDEMO_MAX_VIDEO_SECONDS") if most_seconds is None else most_seconds
    return seconds or math.inf


def _picked(container: Any, rate: float, side: int, limit: float) -> Iterator[Frame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    between = 1 / float(stream.average_rate or 25)  # seconds; bare H.264 tells no times
    first = due = None
    for number, frame in enumerate(container.decode(stream)):
        if frame.width * frame.height > MOST_PIXELS:
            raise VideoError(
                f"The frames have {frame.width} x {frame.height} pixels: scale the clip to 4096 x 4096 or less."
            )
        time = number * between if frame.time is None else float(frame.time)
        first = time if first is None else first
        due = first if due is None else due
        if time - first >= limit:
            return
        if time + EARLY < due:
            continue
        due += 1 / rate  # since it was due, not since it came, which would lose a little each time
        if due < time:  # it came after a gap
            due = time + 1 / rate
        yield Frame(time - first, _scaled(frame, side))


def _scaled(frame: Any, side: int) -> UInt8:
    image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    height, width = image.shape[:2]
    factor = min(1, side / max(height, width))
    size = max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)
    picture = Image.fromarray(np.ascontiguousarray(image))
    if size != (width, height):
        picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(picture)


@dataclass(frozen=True)
class Seen:
    """What is remembered of a frame: its colours in the network's cells, float32 (h, w, 3), and its probabilities
    float32 (h, w, K), by itself and averaged; ``change`` is that of colour since the frame before, float32 (h, w), None
    where there is none to compare with."""

    grid: Floats
    alone: Floats
    average: Floats
    change: Floats | None


def steady(
    predictor: Segmenter, image: UInt8, before: Seen | None, smoothing: float = SMOOTHING, scale: float = 1.0
) -> tuple[UInt8, Seen]:
    """Segment one frame after another: the label map uint8 (H, W), and what to give with the next frame.

    Args:
        predictor: the model.
        image: uint8 (H, W, 3).
        before: of the frame before; None for the first.
        smoothing: weight of the frames before where nothing changed, 0 up to 0.95.
        scale: of the model's own size.
    """
    picture = Image.fromarray(image)
    alone = average = predictor.glance(image, picture, scale)
    grid, change = _grid(picture, alone.shape), None
    if before is not None and before.alone.shape == alone.shape:
        change = np.abs(grid - before.grid).mean(-1)
        weight = (smoothing * np.exp(-change / STILL))[..., None].astype(np.float32)
        average = weight * before.average + (1 - weight) * alone
    return predictor.label_map(average, image, picture), Seen(grid, alone, average, change)


def segmented(
    predictor: Segmenter, clip: Iterator[Frame], smoothing: float = SMOOTHING
) -> Iterator[SegmentedFrame]:
    """Segment frames in their order.

    Args:
        predictor: the model; it sees each frame once.
        clip: of ``frames``; all of one size.
        smoothing: weight of the frames before where nothing changed, 0 (each by itself) up to 0.95.
    """
    _check(MOST_RATE, LONGEST_SIDE, smoothing)
    before: Seen | None = None
    for frame in clip:
        label_map, seen = steady(predictor, frame.image, before, smoothing)
        flicker = flicker_alone = None
        if before is not None and seen.change is not None:
            still = seen.change < SAME
            flicker = _changed(seen.average, before.average, still)
            flicker_alone = _changed(seen.alone, before.alone, still)
        before = seen
        yield SegmentedFrame(frame.seconds, frame.image, label_map, flicker, flicker_alone)


def _grid(picture: Image.Image, shape: tuple[int, ...]) -> Floats:
    """A frame in the network's cells: float32 (h, w, 3)."""
    small = picture.resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def _changed(now: Floats, before: Floats, still: Bools) -> float:
    """Share of the cells that stayed alike whose likeliest class did not."""
    return float((now.argmax(-1) != before.argmax(-1))[still].mean()) if still.any() else 0.0


class Writer:
    """An MP4 of frames, H.264 where FFmpeg has it; a context manager.

    Args:
        path: of the file.
        rate: frames a second, of those that are written without a time.
    """

    def __init__(self, path: Path, rate: float) -> None:
        import av

        self._av = av
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._rate = max(Fraction(rate).limit_denominator(1000), Fraction(1, 1000))
        self._stream: Any = None
        self._last: int | None = None  # time of the frame before, in BASE

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._stream is not None and kind is None:
            self._container.mux(self._stream.encode())  # what the encoder still holds
        failed = kind is not None or self._stream is None  # then there may be nothing to close
        with suppress(self._av.FFmpegError, ValueError) if failed else nullcontext():
            self._container.close()

    def write(self, image: UInt8, seconds: float | None = None) -> None:
        """Add a frame.

        Args:
            image: uint8 (H, W, 3), both sides even; all of one size.
            seconds: from the beginning until it is shown, later than that of the frame before; None for as long after
                that as the rate says.
        """
        if self._stream is None:
            codec = next(c for c in CODECS if c in self._av.codecs_available)
            self._stream = self._container.add_stream(codec, rate=self._rate)
            self._stream.codec_context.time_base = BASE
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            if codec == "libx264":
                # A file that ends in frames out of their order is as long as those that come last in it.
                self._stream.options = {"crf": "23", "preset": "veryfast", "bf": "0"}
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._time(seconds), BASE
        self._container.mux(self._stream.encode(frame))

    def _time(self, seconds: float | None) -> int:
        last, step = self._last, round(1 / (self._rate * BASE))
        if seconds is None:
            at = 0 if last is None else last + step
        else:
            at = max(round(seconds / BASE), 0 if last is None else last + 1)
        self._last = at
        return at


def segment_clip(
    predictor: Segmenter,
    clip: Path | str,
    overlay: Path | None = None,
    labels: Path | None = None,
    rate: float = 10,
    side: int = LONGEST_SIDE,
    smoothing: float = SMOOTHING,
    most_seconds: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> VideoReport:
    """Segment a clip and write what is wanted: whole, or not at all.

    Args:
        predictor: the model.
        clip: the video.
        overlay: the MP4 to write, with the masks over the frames, each as long as in the clip.
        labels: the ZIP to write, a palettized PNG for each frame, ``000001.png`` on.
        rate, side, most_seconds: as for ``frames``. smoothing: as for ``segmented``.
        progress: called with the frames that are done and about how many there will be.

    Raises:
        VideoError, UserError: as ``frames`` and ``segmented``. OutputError: the clip would be written over, or both
            would be one file. DiskError. What was there before is still there then.
    """
    written = [path for path in (overlay, labels) if path]
    _check(rate, side, smoothing)
    refuse_overwriting(written, [Path(clip)])
    refuse_one_file(written)
    (total, seconds), limit = length(clip), _limit(most_seconds)
    mean_rate = min(rate, total / seconds) if seconds and total else rate
    end = min(seconds, limit)
    expected = max(1, round(end * mean_rate))
    label_set = predictor.entry.label_set
    counts = np.zeros(256, np.int64)
    flickers: list[tuple[float, float]] = []
    done, shape, at = 0, (0, 0), 0.0
    with ExitStack() as parts, ExitStack() as writers:
        places = {path: parts.enter_context(replaced_atomic(path)) for path in written}
        video = writers.enter_context(Writer(places[overlay], mean_rate)) if overlay else None
        archive = writers.enter_context(zipfile.ZipFile(places[labels], "w")) if labels else None
        picture = None
        for frame in segmented(predictor, frames(clip, rate, side, most_seconds), smoothing):
            if done and frame.image.shape[:2] != shape:
                end = at  # a stream that changes its size in the middle
                break
            done, shape, at = done + 1, frame.image.shape[:2], frame.seconds
            counts += np.bincount(frame.label_map.ravel(), minlength=256)
            if frame.flicker is not None and frame.flicker_alone is not None:
                flickers.append((frame.flicker, frame.flicker_alone))
            if video:
                picture = label_maps.overlay(frame.image, frame.label_map, label_set)
                video.write(picture, at)
            if archive:
                archive.writestr(f"{done:06d}.png", label_maps.encode_png(frame.label_map, label_set))
            progress(done, max(done, expected))
        if not done:
            raise VideoError(f"{Path(clip).name} holds no frame: save it as MP4 (H.264) and try again.")
        if (
            video and picture is not None and end - at > 2 / mean_rate
        ):  # it ends in a frame that stays for long
            video.write(picture, end - 1 / mean_rate)
    means = np.mean(flickers, 0) if flickers else (None, None)
    shares = counts[: len(label_set)] / counts.sum()
    return VideoReport(
        frames=done,
        width=shape[1],
        height=shape[0],
        rate=round(float(mean_rate), 3),
        flicker=None if means[0] is None else round(float(means[0]), 5),
        flicker_alone=None if means[1] is None else round(float(means[1]), 5),
        classes={name: round(float(s), 5) for name, s in zip(label_set.classes, shares, strict=True) if s},
        cut=seconds > limit,
    )


def length(clip: Path | str) -> tuple[int, float]:
    """How many frames a clip says that it has, and how many seconds; 0 for what it does not say. Raises VideoError."""
    with _opened(clip) as container:
        stream = container.streams.video[0]
        base = stream.duration and stream.time_base and float(stream.duration * stream.time_base)
        seconds = base or (container.duration or 0) / 1e6
        rate = float(stream.average_rate or 0)
        return stream.frames or round(seconds * rate), max(0.0, float(seconds))
