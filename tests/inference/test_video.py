import zipfile
from io import BytesIO

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
    import av

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
