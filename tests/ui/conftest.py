import asyncio

import pytest


@pytest.fixture
def loops_closed(monkeypatch):
    """For tests with a gr.Blocks that is not launched, which leaves event loops behind."""
    made, new = [], asyncio.new_event_loop
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: made.append(new()) or made[-1])
    yield
    for loop in made:
        loop.close()
