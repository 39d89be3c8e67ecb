"""Fixtures of the simulation's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sensorsim_fakes import ScriptedRenderer, start


@pytest.fixture
def scripted() -> Iterator[tuple[ScriptedRenderer, str]]:
    """A renderer that does as it is told, and its address."""
    servicer = ScriptedRenderer()
    with start(servicer) as server:
        yield servicer, server.address
        servicer.release()
