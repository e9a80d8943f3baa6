import os
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from running import run_apart

from segdemo.ui import temporary


def write(folder, name, size, age):
    path = folder / name / f"{name}.bin"
    path.parent.mkdir()
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age, time.time() - age))
    return str(path)


def aged(monkeypatch, seconds):
    """Time as if it were later: the time of change of a file cannot be set."""
    now = time.time
    monkeypatch.setattr(temporary.time, "time", lambda: now() + seconds)


def test_what_was_used_longest_ago_goes_first(tmp_path, monkeypatch):
    first, second, third = (write(tmp_path, name, 100, 0) for name in ("a", "b", "c"))
    os.utime(first)  # used again
    os.utime(first, (time.time() + 5, time.time()))
    kept = write(tmp_path, "kept", 1000, 0)
    stranger = write(tmp_path, "stranger", 1000, 0)  # of another program
    demo = SimpleNamespace(
        blocks={1: SimpleNamespace(keep_in_cache={kept})},
        temp_file_sets=[{first, second, kept}, {third, str(tmp_path / "gone")}],
    )
    assert temporary.trim(demo, 100) == 0  # all of it may just be read
    aged(monkeypatch, 3600)
    assert temporary.trim(demo, 250) == 100
    assert demo.temp_file_sets == [{first, kept}, {third}]
    assert not (tmp_path / "b").exists()
    assert temporary.trim(demo, 100) == 100
    assert demo.temp_file_sets == [{first, kept}, set()]
    assert os.path.exists(stranger)  # noqa: PTH110
    assert temporary.trim(demo, 100) == 0


def test_no_limit_starts_no_thread():
    assert not temporary.look_after(SimpleNamespace(), 0).is_alive()


def test_parts_of_uploads_go_once_nothing_comes_any_more(tmp_path):
    old, new, whole = tmp_path / "tmpold", tmp_path / "tmpnew", tmp_path / "tmpfolder" / "tmpwhole"
    whole.parent.mkdir()
    for path in (old, new, whole):
        path.write_bytes(b"x")
    for path in (old, whole):
        os.utime(path, (0, 0))
    temporary.sweep_parts(tmp_path)
    assert [path.exists() for path in (old, new, whole)] == [False, True, True]


@pytest.mark.usefixtures("loops_closed")
def test_files_of_components_that_gradio_made_anew_are_known_too(tmp_path, monkeypatch):
    """An update makes it a component anew for the page, and whose files those are it forgets."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    given = tmp_path / "given.txt"
    with gr.Blocks(analytics_enabled=False) as demo:
        button, shown = gr.Button(), gr.File()
        button.click(lambda: str(given), None, shown)
        button.click(lambda: gr.skip(), None, shown)
    temporary.note_answers(demo)
    state = gr.state_holder.SessionState(demo)

    def answer(number):
        return run_apart(demo.process_api(number, [], state=state))["data"][0]

    found = []
    for text in ("first", "second"):
        given.write_text(text)
        found.append(answer(0)["path"])
        answer(1)
    assert len(set(found)) == 2
    assert set(found) <= set().union(*demo.temp_file_sets)


def test_folders_of_clips_that_nobody_was_given_go_after_an_hour(tmp_path, monkeypatch):
    def clip(name, *files):
        for file in files:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_bytes(b"x")
        return tmp_path / name

    kept, lost = clip("video-1", "segmented.mp4", "label_maps.zip"), clip("video-2", "segmented.mp4")
    empty, other = clip("video-3", "gone.mp4"), clip("another", "segmented.mp4")
    (empty / "gone.mp4").unlink()
    demo = SimpleNamespace(temp_file_sets=[{str(kept / "segmented.mp4"), str(empty / "gone.mp4")}])
    temporary.sweep_clips(demo, tmp_path)
    assert all(path.is_dir() for path in (kept, lost, empty, other))  # one may just be written
    aged(monkeypatch, temporary.PART_SECONDS + 60)
    temporary.sweep_clips(demo, tmp_path)
    assert [path.is_dir() for path in (kept, lost, empty, other)] == [True, False, False, True]
    assert len(list(Path(kept).iterdir())) == 2
