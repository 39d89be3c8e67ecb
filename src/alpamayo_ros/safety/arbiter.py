"""Valid plan or fallback: which of the two drives, without wavering between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from alpamayo_ros.safety.limits import require_not_negative
from alpamayo_ros.types import InvalidInput

NO_PLAN_YET = "no valid plan yet"


class Mode(Enum):
    """What drives."""

    VALID = "valid"
    FALLBACK = "fallback"


@dataclass(frozen=True)
class ArbiterSettings:
    """When to fall back, and when to come back.

    Attributes:
        hold_ms: how old, from its t0 on, the last valid plan may get before the fallback takes over. One
            refused plan in between is no reason to brake.
        start_plans: how many valid plans in a row begin a drive: nothing has failed yet.
        recover_plans: how many valid plans in a row end a fallback; with recover_ms, three of them at 10 Hz.
        recover_ms: how long, at least, they must have been coming without one refused.
        max_gap_ms: a longer gap between two valid plans ends the row.

    Raises:
        InvalidInput: for numbers that are negative or not finite, or fewer than one plan.
    """

    hold_ms: float = 500.0
    start_plans: int = 1
    recover_plans: int = 2
    recover_ms: float = 200.0
    max_gap_ms: float = 500.0

    def __post_init__(self) -> None:
        for name in ("hold_ms", "recover_ms", "max_gap_ms"):
            require_not_negative(name, getattr(self, name))
        for name in ("start_plans", "recover_plans"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInput(f"{name}: expected a whole number, got {value!r}")
            if value < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {value}")


@dataclass(frozen=True)
class ArbiterState:
    """How things stand.

    Attributes:
        mode: what drives.
        since_ns: since when; 0 before the first call.
        reason: why it is the fallback; "" while it is not.
        row: valid plans in a row, so far, while falling back.
        fallbacks: how often the fallback has taken over from a valid plan.
    """

    mode: Mode = Mode.FALLBACK
    since_ns: int = 0
    reason: str = NO_PLAN_YET
    row: int = 0
    fallbacks: int = 0


class Arbiter:
    """The state machine. It begins with the fallback. Not thread-safe; its clock is the caller's `now_ns`.

    Every method returns the state that it led to. A clock that is set back, or a t0 that goes back, is a new
    drive: everything but the count is forgotten.
    """

    def __init__(self, settings: ArbiterSettings | None = None) -> None:
        self.settings = settings or ArbiterSettings()
        self.state = ArbiterState()
        self.clear()

    def clear(self) -> ArbiterState:
        """Forget the drive so far, as after a backward jump of the clock."""
        self._now_ns: int | None = None
        self._newest_t0_ns: int | None = None  # of a valid plan
        self._row_since_ns = 0
        self._row_newest_ns = 0
        self._refusal = ""
        self._has_driven = False
        self.state = ArbiterState(fallbacks=self.state.fallbacks)
        return self.state

    def valid(self, now_ns: int, *, t0_ns: int) -> ArbiterState:
        """Take a plan that passed the gate."""
        if self._newest_t0_ns is not None and t0_ns < self._newest_t0_ns:
            self.clear()
        self._advance(now_ns)
        self._newest_t0_ns, self._refusal = t0_ns, ""
        state = self.state
        if state.mode is Mode.VALID:
            return self.state
        if state.row == 0 or now_ns - self._row_newest_ns > self.settings.max_gap_ms * 1e6:
            self._row_since_ns, row = now_ns, 1
        else:
            row = state.row + 1
        self._row_newest_ns = now_ns
        needed, needed_ms = self.settings.start_plans, 0.0
        if self._has_driven:
            needed, needed_ms = self.settings.recover_plans, self.settings.recover_ms
        long_enough = now_ns - self._row_since_ns >= needed_ms * 1e6
        age_ms = (now_ns - t0_ns) / 1e6
        if age_ms > self.settings.hold_ms:
            # It would be given up at once.
            reason = f"valid plans come {age_ms:.0f} ms old (expected at most {self.settings.hold_ms:g} ms)"
            self.state = ArbiterState(Mode.FALLBACK, state.since_ns, reason, 0, state.fallbacks)
        elif row >= needed and long_enough:
            self._has_driven = True
            self.state = ArbiterState(Mode.VALID, now_ns, "", 0, state.fallbacks)
        else:
            self.state = ArbiterState(Mode.FALLBACK, state.since_ns, state.reason, row, state.fallbacks)
        return self.state

    def refused(self, now_ns: int, reason: str) -> ArbiterState:
        """Take note of a plan or an observation that was refused, or of an inference that failed."""
        self._advance(now_ns)
        self._refusal = reason
        state = self.state
        if state.mode is Mode.FALLBACK:
            self.state = ArbiterState(state.mode, state.since_ns, reason, 0, state.fallbacks)
        return self.state

    def tick(self, now_ns: int) -> ArbiterState:
        """Take note of the time; to be called at least once a period."""
        self._advance(now_ns)
        return self.state

    def _advance(self, now_ns: int) -> None:
        if self._now_ns is not None and now_ns < self._now_ns:
            self.clear()
        if self._now_ns is None:
            self.state = ArbiterState(since_ns=now_ns, fallbacks=self.state.fallbacks)
        self._now_ns = now_ns
        if self.state.mode is Mode.FALLBACK or self._newest_t0_ns is None:
            return
        age_ms = (now_ns - self._newest_t0_ns) / 1e6
        if age_ms > self.settings.hold_ms:
            late = f"no valid plan for {age_ms:.0f} ms (expected one within {self.settings.hold_ms:g} ms)"
            reason = f"{late}: {self._refusal}" if self._refusal else late
            self.state = ArbiterState(Mode.FALLBACK, now_ns, reason, 0, self.state.fallbacks + 1)
