from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from segdemo.ui.photos import built_in_paths
from segdemo.ui.served import served


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
