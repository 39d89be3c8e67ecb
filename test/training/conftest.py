from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from alpamayo_ros.training.trainer_model import TrainableModel


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small networks on a shared machine: more threads wait for each other longer than they compute."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def model(golden_dir: Path) -> TrainableModel:
    """The reference checkpoint of Alpamayo 1.5, to be trained: each test has one of its own."""
    import torch

    from alpamayo_ros.training.trainer_model import TrainableModel

    folder = golden_dir / "alpamayo1_5"
    return TrainableModel.load(
        folder / "checkpoint", folder / "backbone", device=torch.device("cpu"), dtype=torch.float32
    )
