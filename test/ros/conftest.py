"""Fixtures of the tests of ros/."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from plan_factory import build_plan

from alpamayo_ros.types import Plan


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    return build_plan
