"""The data set's files, drawn once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files; do not change them."""
    from clip_factory import write_repository

    root = tmp_path_factory.mktemp("repository")
    write_repository(root)
    return root


@pytest.fixture(scope="session")
def hub(repository: Path) -> Iterator[object]:
    """The same on a loopback hub."""
    from loopback_hub import loopback_hub

    with loopback_hub(repository) as served:
        yield served
