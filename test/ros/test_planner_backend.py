"""An Alpamayo checkpoint as the planner's backend: what it does with the process that it lives in."""

from __future__ import annotations

import gc
import weakref

import torch

from alpamayo_ros.ros.planner_backend import AlpamayoBackend
from alpamayo_ros.types import PlanOptions


class Knot:
    """Refers to itself, so that only the garbage collector can free it."""

    def __init__(self) -> None:
        self.itself = self


class Checkpoint:
    """As much of a model as its beginning and end need."""

    model_id, device = "knots", torch.device("cpu")

    def __init__(self) -> None:
        self.knot: Knot | None = Knot()

    def close(self) -> None:
        self.knot = None


def test_the_collector_leaves_alone_what_lives_as_long_as_the_planner() -> None:
    before = Knot()
    checkpoint = Checkpoint()
    backend = AlpamayoBackend(checkpoint, PlanOptions())  # type: ignore[arg-type]
    try:
        assert gc.get_freeze_count() > 1000
        walked = {id(tracked) for tracked in gc.get_objects()}
        assert id(before) not in walked and id(checkpoint.knot) not in walked
        later = weakref.ref(Knot())
        gc.collect()
        assert later() is None, "what comes later is collected as ever"
    finally:
        backend.close()
    assert gc.get_freeze_count() == 0


def test_what_the_model_held_is_collected_after_its_end() -> None:
    checkpoint = Checkpoint()
    backend = AlpamayoBackend(checkpoint, PlanOptions())  # type: ignore[arg-type]
    held = weakref.ref(checkpoint.knot)
    backend.close()
    gc.collect()
    assert held() is None
