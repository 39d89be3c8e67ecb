"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Deadlines measure the machine; and a change is to fail for what it does, not for the draw of the day.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).resolve().parents[1]


def _shared(variable: str, default: Path) -> Path:
    """Return a folder of reference data: absent it skips, except in CI, where absent is an error."""
    folder = Path(os.environ.get(variable, default))
    if folder.is_dir():
        return folder
    message = f"{folder} is not there; set {variable} to run the tests that need it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Reference outputs of the upstream model, ALPAMAYO_GOLDEN or ../shared/golden."""
    return _shared("ALPAMAYO_GOLDEN", ROOT.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def bags_dir() -> Path:
    """Real driving bags, ALPAMAYO_BAGS or ../shared/bags."""
    return _shared("ALPAMAYO_BAGS", ROOT.parent / "shared" / "bags")
