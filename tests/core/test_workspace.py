import threading
from contextvars import copy_context

import pytest

from segdemo.core.workspace import Workspace, WorkspaceError, current, entered, required


def test_outside_a_workspace_nothing_is_anybodys(tmp_path):
    assert current() is None
    with pytest.raises(WorkspaceError, match="open the page again"):
        required()
    one, two = Workspace("one", tmp_path / "1"), Workspace("two", tmp_path / "2")
    with entered(one):
        assert required() == one
        with entered(two):
            assert required() == two
        with entered(None), pytest.raises(WorkspaceError):
            required()
        assert required() == one
    assert current() is None


def test_a_thread_has_none_unless_it_is_given_one(tmp_path):
    found, one = [], Workspace("one", tmp_path)

    def look():
        found.append(current())

    with entered(one):
        for thread in (
            threading.Thread(target=look),
            threading.Thread(target=copy_context().run, args=(look,)),
        ):
            thread.start()
            thread.join()
    assert found == [None, one]
