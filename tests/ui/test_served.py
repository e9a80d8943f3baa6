import os
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from segdemo.core.files import DiskError
from segdemo.ui.photos import built_in_paths
from segdemo.ui.served import cached, linked, served


def test_a_file_from_anywhere_is_served_from_the_cache(tmp_path, monkeypatch):
    """Where packages are not below the working directory, as on Spaces, Gradio refuses to serve their photos."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for path in built_in_paths().values():
        copy = Path(served(path)["path"])
        assert copy.is_relative_to(get_upload_folder())
        assert copy.read_bytes() == path.read_bytes()
        assert served(path)["orig_name"] == path.name
        assert Path(served(path)["path"]) == copy  # and not copied again
    copy.unlink()
    assert Path(served(path)["path"]).is_file()


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        served(tmp_path / "gone.png")


def test_equal_files_are_written_once_so_that_nobody_reads_half_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    first = Path(cached(b"label map", "label_map.png"))
    assert first.is_relative_to(Path(get_upload_folder()).resolve())
    before = first.stat()
    assert cached(b"label map", "label_map.png") == str(first)
    assert first.stat().st_ino == before.st_ino
    assert first.stat().st_ctime_ns > before.st_ctime_ns  # it is in use
    assert cached(b"another", "label_map.png") != str(first)
    assert first.read_bytes() == b"label map"
    assert [path.name for path in first.parent.iterdir()] == ["label_map.png"]


def test_a_cache_that_cannot_be_written_is_told_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    with pytest.raises(DiskError, match=r"cannot be written|was not saved"):
        cached(b"x", "x.png")


def test_what_is_shown_again_counts_as_used_and_stays_the_same_file(tmp_path, monkeypatch):
    """Gradio deletes what was not changed for an hour, also while a page shows it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    file = tmp_path / "results.zip"
    file.write_bytes(b"x")
    os.utime(file, (0, 1000))
    for serve in (lambda: Path(served(file)["path"]), lambda: linked(file, "photos.zip")):
        copy = serve()
        before = copy.stat()
        assert serve() == copy
        assert copy.stat().st_ctime_ns > before.st_ctime_ns and copy.stat().st_atime > before.st_atime
    assert file.stat().st_mtime == 1000  # a link to it, and yet it is no other file now
