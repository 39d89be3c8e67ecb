"""What a driver for AlpaSim says of itself on /diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alpamayo_ros.ros.diagnostics import Level, Status
from alpamayo_ros.sim.driver.planners import DriverPlanners
from alpamayo_ros.sim.driver.statistics import DriverCounts

if TYPE_CHECKING:
    from alpamayo_ros.ros.driver_mirror import DriverMirror


def driver_status(
    *,
    phase: str,
    address: str,
    counts: DriverCounts | None,
    troubled: bool,
    mirror: DriverMirror | None,
    error: Exception | None,
) -> Status:
    """Return the status "driver": a warning while it is `troubled`, an error where it has failed."""
    values: dict[str, object] = {"phase": phase, "address": address}
    level, message = Level.OK, phase
    if counts is not None:
        values |= {"sessions_open": counts.sessions_open, "sessions_started": counts.sessions_started}
        for group in ("drives", "frames", "ignored", "refused", "gate", "monitor"):
            counted = sorted(getattr(counts, group).items())
            values |= {f"{group}/{name}": number for name, number in counted}
        values["plans_waiting"] = counts.waited
        values["last_problem"] = counts.last_problem
        for name in ("overhead", "inference"):
            for share in ("p50", "p99"):
                values[f"{name}_{share}_ms"] = f"{getattr(counts, f'{name}_{share}_ms'):.1f}"
        if troubled:
            level, message = Level.WARN, f"{phase}; {counts.last_problem}"
    if mirror is not None:
        values |= {f"mirror_dropped/{kind}": number for kind, number in sorted(mirror.dropped.items())}
        values["mirror_failures"] = mirror.failures
    if error is not None:
        level, message = Level.ERROR, str(error)
    return Status("driver", level, message, values)


class Troubles:
    """Whether anything was refused, or stopped for, in the latest reports."""

    def __init__(self, *, reports: int = 10) -> None:
        self._reports, self._known, self._quiet = reports, 0, reports

    def look(self, counts: DriverCounts | None) -> bool:
        """Return it, at one report after another."""
        if counts is None:
            return False
        number = sum(counts.refused.values()) + counts.drives.get("stop", 0)
        self._quiet = 0 if number > self._known else self._quiet + 1
        self._known = number
        return self._quiet < self._reports


def model_status(planners: DriverPlanners | None, *, navigates: bool) -> Status:
    """Return the status "model": what plans, where it runs, and whether routes become navigation text."""
    if planners is None:
        return Status("model", Level.OK, "not loaded yet")
    values = {
        "model": planners.model_id,
        "device": getattr(planners, "device", ""),
        "takes_instruction": planners.takes_instruction,
        "navigation": "on" if navigates else "off",
    }
    return Status("model", Level.OK, planners.model_id, values)
