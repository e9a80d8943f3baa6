import os
import time
from types import SimpleNamespace

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
