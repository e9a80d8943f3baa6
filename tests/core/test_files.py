import errno
import multiprocessing.pool
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segdemo.core.files import (
    DiskError,
    FileCache,
    StoreError,
    hidden_build,
    locked,
    read_json,
    replaced_atomic,
    sweep,
    trim,
    write_atomic,
    write_json,
)

TESTS = Path(__file__).parent.parent


def test_write_atomic_replaces_the_whole_file_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomic(path, b"long old text")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_file_that_others_write_is_replaced_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with replaced_atomic(path) as part:
        part.write_bytes(b"old")
        assert not path.exists() and part.name.startswith(".")
    with pytest.raises(KeyboardInterrupt), replaced_atomic(path) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    with pytest.raises(DiskError, match="cannot be written"), replaced_atomic(path):
        pass  # nobody wrote it
    with pytest.raises(DiskError, match="cannot be written"), replaced_atomic(path / "below") as part:
        part.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_folder_given_as_a_dot_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DiskError, match="cannot be written"):
        write_atomic(".", b"new")
    with pytest.raises(StoreError, match="is the current folder"), hidden_build(Path()):
        pass
    assert not list(tmp_path.iterdir()) and not list(tmp_path.parent.glob(".*.part"))
    with hidden_build(Path("new")) as build:
        (build / "file").write_bytes(b"")
    assert (tmp_path / "new" / "file").is_file()


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_file_and_says_so_in_one_sentence(tmp_path, monkeypatch, call):
    path = tmp_path / "b.txt"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        DiskError, match=r"^The disk is full, so b\.txt was not saved: free some space.*\.$"
    ) as e:
        write_atomic(path, b"new")
    assert e.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="cannot be written"):
        write_atomic(tmp_path / "file" / "below.txt", b"new")


def _count_up(path, times):
    for _ in range(times):
        with locked(path.with_suffix(".lock")):
            path.write_text(str(int(path.read_text()) + 1))


def test_a_lock_holds_between_processes(tmp_path):
    path = tmp_path / "count"
    path.write_text("0")
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from pathlib import Path; import core.test_files as t; "
    code += f"t._count_up(Path({str(path)!r}), 20)"
    workers = [subprocess.Popen([sys.executable, "-c", code], cwd=TESTS.parent) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert path.read_text() == "40"


def test_a_lock_that_stays_taken_is_an_error_after_a_while(tmp_path):
    with (
        locked(tmp_path / "x.lock"),
        pytest.raises(StoreError, match=r"^x has been busy"),
        multiprocessing.pool.ThreadPool(1) as pool,
    ):
        pool.apply(lambda: locked(tmp_path / "x.lock", timeout=0.1).__enter__())


def test_json_comes_back_as_it_went_even_if_a_file_name_in_it_is_no_text(tmp_path):
    data = {"name": "Zürich", "path": "photo-\udcff.jpg"}
    write_json(tmp_path / "a.json", data)
    assert read_json(tmp_path / "a.json") == data
    assert "Zürich" in (tmp_path / "a.json").read_text("utf-8")


def test_trim_removes_the_oldest_first(tmp_path):
    for age, name in enumerate("abcd"):
        file = tmp_path / name
        file.write_bytes(bytes(10))
        os.utime(file, (1000 - age, 1000 - age))  # d is the oldest
    trim(tmp_path, 20, keep=[tmp_path / "d"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d"]
    trim(tmp_path, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_is_built_out_of_sight_and_appears_whole(tmp_path):
    target = tmp_path / "shelf" / "built"
    with hidden_build(target) as build:
        (build / "file").write_text("x")
        assert not target.exists()
        assert build.name.startswith(".")
    assert (target / "file").read_text() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["built"]
    (tmp_path / "empty").mkdir()
    with hidden_build(tmp_path / "empty") as build:
        (build / "file").touch()
    assert (tmp_path / "empty" / "file").is_file()


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyError("x"), KeyError), (OSError(errno.ENOSPC, "full"), DiskError), (DiskError("full"), DiskError)],
)
def test_a_folder_that_cannot_be_built_leaves_nothing(tmp_path, error, raised):
    with pytest.raises(raised), hidden_build(tmp_path / "built") as build:
        (build / "file").touch()
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "old").touch()
    with pytest.raises(DiskError), hidden_build(tmp_path / "built") as build:
        (build / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["built", "old"]


def test_a_file_is_read_again_only_when_it_changed(tmp_path):
    seen = []
    cache = FileCache(lambda path: seen.append(path) or path.read_text())
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        cache(path)
    for text in ("a", "b"):  # of one size, in one tick of the clock: a replaced file is another one
        write_atomic(path, text.encode())
        assert [cache(path), cache(path)] == [text, text]
    assert len(seen) == 2


def test_what_vanishes_while_a_folder_is_swept_is_passed_over(tmp_path, monkeypatch):
    old = [tmp_path / ".trash" / name for name in ("a", "b", "c")]
    for path in old:
        path.mkdir(parents=True)
        os.utime(path, (0, 0))
    lstat = Path.lstat

    def going(path):
        if path == old[1] and path.is_dir():
            path.rmdir()  # another server empties the same trash
        return lstat(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", going)
        sweep(tmp_path / ".trash", days=1)
    assert not list((tmp_path / ".trash").iterdir())
    sweep(tmp_path / "nowhere", days=1)


@pytest.mark.parametrize("damage", [b"", b"[" * 100_000, b"\xff\xfe", b'{"a": '])
def test_a_file_that_holds_no_json_is_damaged(tmp_path, damage):
    (tmp_path / "a.json").write_bytes(damage)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
