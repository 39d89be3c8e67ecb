"""Where the wall time of a rollout goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("publish", "render", "plan", "drive", "pace", "other")
"""State and images onto topics; images from the renderer; plan from the planner (images received, decoded,
assembled, planned); controller, vehicle and world; waiting for real time; all the rest."""


class StageClock:
    """Adds up wall time by stage.

    Attributes:
        steps: how many steps were timed.
        total_s: their wall time.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.total_s = 0.0
        self._spent_s = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one step."""
        started_s, known_s = time.perf_counter(), self._known_s
        try:
            yield
        finally:
            took_s = time.perf_counter() - started_s
            self.steps += 1
            self.total_s += took_s
            self._spent_s["other"] += took_s - (self._known_s - known_s)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage within a step."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self._spent_s[name] += time.perf_counter() - started_s

    @property
    def mean_ms(self) -> dict[str, float]:
        """Mean wall time a step by stage."""
        return {name: 1e3 * spent_s / max(self.steps, 1) for name, spent_s in self._spent_s.items()}

    def factor(self, step_s: float) -> float:
        """Return simulated time over wall time, with steps of `step_s`."""
        return self.steps * step_s / self.total_s if self.total_s else 0.0

    @property
    def _known_s(self) -> float:
        return sum(spent_s for name, spent_s in self._spent_s.items() if name != "other")
