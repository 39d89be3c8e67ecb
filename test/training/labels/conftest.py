from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_TEST = Path(__file__).parents[2]
sys.path[:0] = [str(_TEST / "sim" / "planners"), str(_TEST / "training")]  # for causes and for data sets


@pytest.fixture(autouse=True, scope="session")
def _no_proxy() -> Iterator[None]:
    """The stub endpoint is on this machine, whatever the environment says of the way to others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield
