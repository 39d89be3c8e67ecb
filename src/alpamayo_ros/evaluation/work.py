"""What an evaluation is to do: bags, settings, and who plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from alpamayo_ros.evaluation.displacement import HORIZONS_S, MISS_M
from alpamayo_ros.types import InvalidInput, Observation, Plan, PrepareFrame

Mode: TypeAlias = Literal["checkpoint", "recorded", "baselines"]
POLICY = "policy"
CONSTANT_VELOCITY, CONSTANT_TURN = "constant velocity", "constant turn rate"
BASELINES = (CONSTANT_VELOCITY, CONSTANT_TURN)
_MAX_HZ = 100.0

Progress: TypeAlias = Callable[[str, float, float, int], None]
"""Told a bag's name, seconds done, seconds in all, and how many plans there are."""


class Policy(Protocol):
    """Who makes the plans that are evaluated; goes to worker processes by pickle."""

    def start(self, *, jobs: int) -> Callable[[Observation], Plan]:
        """Return what plans; a plan must not depend on the plans before it.

        Args:
            jobs: how many processes share the machine.
        """
        ...

    def prepare_frame(self) -> PrepareFrame | None:
        """Return what is done with each frame once, on arrival."""
        ...


@dataclass(frozen=True)
class EvaluationSettings:
    """What the figures depend on, beside bags and policy.

    Attributes:
        mode: whose plans: a checkpoint's, those that the bags hold, or the baselines' alone.
        hz: instants a second that are looked at: the first complete observation of each period. None takes
            every one.
        start_s, duration_s: of each bag; a duration of None is to its end.
        miss_m: how far off the way is missed.
        block_s: bags are cut into pieces of this length that are drawn together (see evaluation.blocks).
        plan_topic: where recorded plans are.
        odometry: topic of odometry, "" for the rig's, or the bag's only one.
        policy: of a checkpoint: its identity, options, seed: whatever changes its plans.
        rig: the rig's name, and a digest of what it says.

    Raises:
        InvalidInput: for a number out of its range.
    """

    mode: Mode
    hz: float | None = 2.0
    start_s: float = 0.0
    duration_s: float | None = None
    miss_m: float = MISS_M
    block_s: float = 10.0
    plan_topic: str = ""
    odometry: str = ""
    policy: str = ""
    rig: str = ""

    def __post_init__(self) -> None:
        def check(name: str, ok: bool, expected: str) -> None:
            if not ok:
                raise InvalidInput(f"{name}: expected {expected}, got {getattr(self, name)}")

        check("hz", self.hz is None or 0 < self.hz <= _MAX_HZ, f"over 0 and at most {_MAX_HZ:g} a second")
        check("start_s", math.isfinite(self.start_s) and self.start_s >= 0, "zero or more seconds")
        duration = self.duration_s
        check("duration_s", duration is None or (math.isfinite(duration) and duration > 0), "over 0 seconds")
        check("miss_m", math.isfinite(self.miss_m) and self.miss_m > 0, "a number above zero")
        # Of shorter blocks two would share a drive that both are held against.
        enough = math.isfinite(self.block_s) and self.block_s >= HORIZONS_S[-1]
        check("block_s", enough, f"at least {HORIZONS_S[-1]:g} s, which two plans may share")

    @property
    def period_ns(self) -> int:
        """One period in ns, 1 where every observation is taken."""
        return 1 if self.hz is None else round(1e9 / self.hz)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class BagWork:
    """One bag of a run: where it is and what it is called there."""

    name: str
    path: Path


def name_bags(paths: Sequence[Path]) -> tuple[BagWork, ...]:
    """Return the bags by the names of their folders or files.

    Raises:
        InvalidInput: for none, or two of one name: their results would be told apart by nothing.
    """
    if not paths:
        raise InvalidInput("bags: expected at least one, got none")
    named: dict[str, Path] = {}
    for path in paths:
        resolved = path.expanduser().resolve()
        name = resolved.stem if resolved.is_file() and resolved.name != "metadata.yaml" else ""
        name = name or (resolved.parent.name if resolved.name == "metadata.yaml" else resolved.name)
        if name in named:
            both = f"{named[name]} and {path}"
            raise InvalidInput(f"bags: expected different names, got two of the name {name}: {both}")
        named[name] = path
    return tuple(BagWork(name, path) for name, path in named.items())


class Instants:
    """Chooses instants by the bag's own clock, so that who goes on later chooses the same.

    Args:
        begin_ns: when the first period begins.
        period_ns: of each period the first instant is chosen.
    """

    _SLACK = 0.05

    def __init__(self, begin_ns: int, period_ns: int) -> None:
        self._begin_ns, self._period_ns = begin_ns, period_ns
        self._last: int | None = None

    def passed(self, t0_ns: int) -> None:
        """Take note of an instant that was chosen before."""
        self._last = self._slot(t0_ns)

    def chooses(self, t0_ns: int) -> bool:
        """Return whether an instant, later than all before, is the first of its period."""
        slot = self._slot(t0_ns)
        if t0_ns < self._begin_ns or (self._last is not None and slot <= self._last):
            return False
        self._last = slot
        return True

    def _slot(self, t0_ns: int) -> int:
        # A frame that is a little early belongs to the period that it opens, for frames jitter.
        return (t0_ns - self._begin_ns + int(self._SLACK * self._period_ns)) // self._period_ns
