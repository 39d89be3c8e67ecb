"""One calm checkpoint for all faults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "nodes"))  # for its harnesses

from calm_checkpoint import write_calm_checkpoint


@pytest.fixture(scope="session")
def calm_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The model of a calm checkpoint, on the CPU in float32."""
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.threads import use_cpu_threads

    folder = write_calm_checkpoint(tmp_path_factory.mktemp("calm") / "checkpoint")
    model = Alpamayo.from_pretrained(str(folder), device="cpu", dtype="float32")
    use_cpu_threads(1)
    yield model
    model.close()
