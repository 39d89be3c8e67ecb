"""A short recording, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from view_factory import write_bag


@pytest.fixture(scope="session")
def view_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with overlays."""
    return write_bag(tmp_path_factory.mktemp("view") / "bag")


@pytest.fixture(scope="session")
def camera_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with cameras, and nobody who paints into their pictures."""
    return write_bag(tmp_path_factory.mktemp("view") / "cameras", overlays=False)
