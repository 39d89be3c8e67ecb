from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small networks on a shared machine: more threads wait for each other longer than they compute."""
    import torch

    torch.set_num_threads(1)
