"""Fixtures of the sensing tests."""

from __future__ import annotations

import pytest
from sensing_events import make_rig

from alpamayo_ros.sensing.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """The usual four cameras."""
    return make_rig()
