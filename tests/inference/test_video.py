import zipfile
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest
from PIL import Image
from tiny import bright, write_model
from video_files import colours, draw_clip, read_clip

from segdemo.core.labels import PETS
from segdemo.data.outputs import OutputError
from segdemo.inference.predict import Predictor
from segdemo.inference.video import Frame, VideoError, frames, length, segment_clip, segmented, steady

DARK, BRIGHT = (40, 60, 60), (200, 180, 180)


@pytest.fixture
def predictor(tmp_path):
    """Calls pixels whose red is above 140 pet, the others background."""
    return Predictor(write_model(tmp_path / "pets", "colours", PETS, *bright(3, 0, 1)))


@pytest.fixture
def moving(tmp_path):
    """A clip of two seconds at ten frames: a bright square of 32 pixels moves over a dark ground."""
    drawn = []
    for n in range(20):
        frame = np.full((64, 96, 3), DARK, np.uint8)
        frame[16:48, 3 * n : 3 * n + 32] = BRIGHT
        drawn.append(frame)
    return draw_clip(tmp_path / "moving.mp4", drawn)


def test_frames_come_at_the_wanted_rate_upright_and_in_even_sizes(moving):
    every = list(frames(moving, 30))
    assert [round(f.seconds, 3) for f in every] == [n / 10 for n in range(20)]
    assert {f.image.shape for f in every} == {(64, 96, 3)}
    assert len(list(frames(moving, 5))) == 10
    assert len(list(frames(moving, 30, most_seconds=0.5))) == 5
    (small, *_) = frames(moving, 1, side=64)
    assert small.image.shape == (42, 64, 3)  # 42.7 rounded to even
    assert length(moving) == (20, pytest.approx(2.0))


def test_a_clip_is_segmented_and_written(moving, predictor, tmp_path):
    told = []
    report = segment_clip(
        predictor,
        moving,
        tmp_path / "over.mp4",
        tmp_path / "labels.zip",
        smoothing=0,
        progress=lambda *at: told.append(at),
    )
    assert (report.frames, report.width, report.height, report.rate) == (20, 96, 64, 10.0)
    assert told[-1] == (20, 20)
    assert not report.cut
    # The square has 1,024 of 6,144 pixels until it leaves: it never does.
    assert report.classes["pet"] == pytest.approx(1024 / 6144, abs=0.03)
    overlay = read_clip(tmp_path / "over.mp4")
    assert overlay.shape == (20, 64, 96, 3)
    assert overlay[0, 60, 90].tolist() == pytest.approx(list(DARK), abs=12)  # background stays as it is
    assert abs(overlay[0, 32, 16].astype(int) - BRIGHT).max() > 30  # a thing is painted over
    with zipfile.ZipFile(tmp_path / "labels.zip") as archive:
        assert archive.namelist() == [f"{n:06d}.png" for n in range(1, 21)]
        with Image.open(BytesIO(archive.read("000011.png"))) as picture:
            assert picture.mode == "P"
            found = np.asarray(picture) == 0  # the pet
    wanted = np.zeros((64, 96), bool)
    wanted[16:48, 30:62] = True
    assert (found & wanted).sum() / (found | wanted).sum() > 0.9


def test_where_nothing_moves_the_frames_before_keep_a_class_and_where_it_does_they_do_not(predictor):
    """Red swings by 6 around the model's threshold, as noise does, then jumps."""
    reds = [146, 137, 146, 137, 146, 30]
    clip = [Frame(n / 10, pixels) for n, pixels in enumerate(colours(*((r, 90, 90) for r in reds)))]
    alone = list(segmented(predictor, iter(clip), 0))
    assert [f.label_map.min() == 0 for f in alone] == [True, False, True, False, True, False]
    assert [f.flicker for f in alone[:3]] == [None, 1.0, 1.0]
    smooth = list(segmented(predictor, iter(clip), 0.8))
    assert [f.label_map.min() == 0 for f in smooth] == [True, True, True, True, True, False]
    assert [f.flicker for f in smooth[1:5]] == [0.0] * 4
    assert [f.flicker_alone for f in smooth[1:5]] == [1.0] * 4


def test_a_clip_that_is_longer_than_allowed_is_cut_and_says_so(moving, predictor, tmp_path):
    report = segment_clip(predictor, moving, labels=tmp_path / "labels.zip", most_seconds=1)
    assert (report.frames, report.cut) == (10, True)


def test_what_is_no_clip_gets_a_sentence_and_leaves_nothing(predictor, tmp_path, moving):
    text = tmp_path / "clip.mp4"
    text.write_text("not a clip")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(moving.read_bytes()[:-400])
    still = tmp_path / "empty.mp4"
    still.write_bytes(b"")
    for path in (text, cut, still):
        with pytest.raises(VideoError, match=r"cannot be read as a video: save it as MP4|holds no frame"):
            segment_clip(predictor, path, tmp_path / "over.mp4", tmp_path / "labels.zip")
    with pytest.raises(VideoError, match="There is no file"):
        segment_clip(predictor, tmp_path / "gone.mp4", tmp_path / "over.mp4")
    for options, says in (
        ({"rate": 0}, "number of frames a second up to 30"),
        ({"side": 10}, "from 64 to 4096"),
        ({"smoothing": 1}, "from 0 to 0.95"),
    ):
        with pytest.raises(VideoError, match=says):
            segment_clip(predictor, moving, tmp_path / "over.mp4", **options)
    assert not (tmp_path / "over.mp4").exists()
    assert not (tmp_path / "labels.zip").exists()


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="holds no video"):
        list(frames(path, 5))
    with pytest.raises(VideoError, match="holds no video"):
        length(path)


def test_a_clip_is_not_written_over(predictor, moving):
    before = moving.read_bytes()
    for files in ({"overlay": moving}, {"labels": moving}):
        with pytest.raises(OutputError, match="would be replaced"):
            segment_clip(predictor, moving, **files)
    assert moving.read_bytes() == before


def test_two_results_are_not_one_file(predictor, moving, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").symlink_to(tmp_path)
    for overlay, labels in (("same", "same"), ("same", "./Same"), ("same", "here/same")):
        with pytest.raises(OutputError, match="would be one file"):
            segment_clip(predictor, moving, tmp_path / overlay, tmp_path / labels)
    with pytest.raises(OutputError, match="is no file"):
        segment_clip(predictor, moving, tmp_path)
    assert not list(tmp_path.glob("*ame"))


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": np.nan}, {"side": 10}, {"smoothing": 3}, {"smoothing": np.nan}]
)
def test_what_was_there_stays_where_options_are_wrong(predictor, moving, tmp_path, options):
    before = sorted(tmp_path.iterdir())
    paths = [tmp_path / "over.mp4", tmp_path / "labels.zip"]
    for path in paths:
        path.write_bytes(b"of yesterday")
    with pytest.raises(VideoError, match="is a number"):
        segment_clip(predictor, moving, *paths, **options)
    assert [path.read_bytes() for path in paths] == [b"of yesterday"] * 2
    assert sorted(tmp_path.iterdir()) == sorted([*before, *paths])


def test_results_are_written_whole_or_not_at_all(predictor, moving, tmp_path):
    before = sorted(tmp_path.iterdir())
    paths = [tmp_path / "over.mp4", tmp_path / "labels.zip"]
    for path in paths:
        path.write_bytes(b"of yesterday")
    seen = []

    def progress(done, total):
        seen.append([path.read_bytes() for path in paths])
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_clip(predictor, moving, *paths, progress=progress)
    assert seen == [[b"of yesterday"] * 2] * 7
    assert sorted(tmp_path.iterdir()) == sorted([*before, *paths])
    segment_clip(predictor, moving, *paths)
    assert len(read_clip(paths[0])) == 20 and len(listed(paths[1])) == 20
    assert sorted(tmp_path.iterdir()) == sorted([*before, *paths])
    with pytest.raises(OSError, match="cannot be written"):
        segment_clip(predictor, moving, labels=paths[0] / "labels.zip")


class Blank:
    """A model that takes no time, to segment long clips."""

    class entry:
        label_set = PETS

    def glance(self, image, picture=None, scale=1.0):
        return np.full((4, 4, 3), 1 / 3, np.float32)

    def label_map(self, probabilities, image, picture=None):
        return np.zeros(image.shape[:2], np.uint8)


def drawn_at(path, times, rate=10, base=60_000):
    """A clip with a frame at each of these times, seconds, of which the last one is shown for 1 / rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, base)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number % 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * base), Fraction(1, base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def listed(path):
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def times_of(path):
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.mark.parametrize("rate", [5, 10, 20, 21, 24, 29, 30])
@pytest.mark.parametrize("fps", [12.5, 24, 25, 29.97, 50])
def test_an_overlay_is_as_long_as_its_clip(tmp_path, fps, rate):
    count, shown = round(4 * fps), min(fps, rate)
    clip = drawn_at(tmp_path / "clip.mp4", np.arange(count) / fps, fps)
    report = segment_clip(Blank(), clip, tmp_path / "over.mp4", rate=rate)
    assert report.frames == pytest.approx(count * shown / fps, abs=1)
    assert report.rate == pytest.approx(shown, abs=0.01)
    assert length(tmp_path / "over.mp4")[1] == pytest.approx(count / fps, abs=1.1 / shown)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])  # which rounds to milliseconds
@pytest.mark.parametrize("rate", [10, 30])
def test_frames_of_any_rate_stay_as_long_as_they_were(tmp_path, rate, ending):
    """As a screen is recorded: two seconds that move, five that do not, two that do, and an end that stays."""
    moving, shown = np.arange(60) / 30, min(rate, 30)
    times = [*moving, *(7 + moving), 12, 12.1]
    clip = drawn_at(tmp_path / f"clip.{ending}", times)
    every = list(frames(clip, rate))
    assert {round(frame.seconds, 2) for frame in every} <= {round(t, 2) for t in times}
    assert len(every) == pytest.approx(4 * shown + 1, abs=2)
    report = segment_clip(Blank(), clip, tmp_path / "over.mp4", tmp_path / "labels.zip", rate=rate)
    assert report.frames == len(every) == len(listed(tmp_path / "labels.zip"))
    np.testing.assert_allclose(
        times_of(tmp_path / "over.mp4")[: len(every)], [f.seconds for f in every], atol=1e-3
    )
    assert length(tmp_path / "over.mp4")[1] == pytest.approx(length(clip)[1], abs=0.2)


def test_what_stays_to_the_end_is_shown_to_the_end(tmp_path):
    clip = drawn_at(tmp_path / "clip.mp4", [0, 0.1, 0.2, 8])
    report = segment_clip(Blank(), clip, tmp_path / "over.mp4", rate=10, most_seconds=5)
    assert (report.frames, report.cut) == (3, True)
    assert length(tmp_path / "over.mp4")[1] == pytest.approx(5, abs=2)


def test_a_rate_may_be_ever_so_small(tmp_path, moving):
    assert segment_clip(Blank(), moving, tmp_path / "over.mp4", rate=1e-5).frames == 1
    assert len(read_clip(tmp_path / "over.mp4")) == 1


def test_bare_h264_has_frames_though_it_tells_no_times(tmp_path):
    path = tmp_path / "clip.h264"
    with av.open(str(path), "w", format="h264") as container:
        if "libx264" not in av.codecs_available:
            pytest.skip("this FFmpeg writes no H.264")
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for pixels in colours(*[(9, 9, 9)] * 50, height=64, width=64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert len(list(frames(path, 30))) == 50
    assert len(list(frames(path, 5))) == 10


@pytest.mark.parametrize(
    "content",
    [
        b"ffconcat version 1.0\nfile clip.mp4\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n",
        b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_what_is_no_clip_is_not_opened(moving, tmp_path, content):
    path = tmp_path / "list.mp4"
    (tmp_path / "clip.mp4").write_bytes(moving.read_bytes())
    path.write_bytes(content)
    with pytest.raises(VideoError, match="cannot be read as a video"):
        list(frames(path, 10))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_no_clip(tmp_path, kind):
    path = tmp_path / "picture.mp4"
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(path, kind)
    with pytest.raises(VideoError, match="cannot be read as a video"):
        list(frames(path, 10))


def test_frames_are_looked_at_at_the_scale_that_is_asked_for(predictor):
    image = np.full((64, 64, 3), BRIGHT, np.uint8)
    for scale, side in ((1, 64), (0.5, 32)):
        label_map, seen = steady(predictor, image, None, scale=scale)
        assert seen.alone.shape[:2] == (side, side)
        assert (label_map == 0).all() and label_map.shape == (64, 64)
