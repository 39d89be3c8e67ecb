"""A short drive in small images, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpamayo_ros.bags.synthetic.bag import SyntheticDrive, write_synthetic_bag
from alpamayo_ros.sensing.rig import load_rig


@pytest.fixture(scope="session")
def drive_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cameras of 192x108 at 10 Hz and odometry, 3 s."""
    path = tmp_path_factory.mktemp("drive") / "bag"
    write_synthetic_bag(path, load_rig("default"), drive=SyntheticDrive(seconds=3.0, width=192, height=108))
    return path
