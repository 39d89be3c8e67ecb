"""How a driver drives, whatever model it is made around."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from alpamayo_ros.safety.arbiter import ArbiterSettings
from alpamayo_ros.safety.gate import GateSettings
from alpamayo_ros.safety.supervisor import SafetySettings
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.types import InvalidInput, camera_name

DEFAULT_PORT = 6789
DEBUG_INFOS = ("json", "pickle")
NAVIGATIONS = ("auto", "on", "off")
MAX_PLAN_AGE_S = 1.0


def _default_safety() -> SafetySettings:
    age_ms = 1e3 * MAX_PLAN_AGE_S
    return SafetySettings(
        gate=GateSettings(max_plan_age_ms=age_ms), arbiter=ArbiterSettings(hold_ms=age_ms, max_gap_ms=age_ms)
    )


@dataclass(frozen=True)
class DriverSettings:
    """Settings of a driver.

    Attributes:
        seed: of what the planner draws; None takes each session's own.
        debug_info: "json", or "pickle" for AlpaSim's own videos (written, never read).
        navigation: whether routes become navigation text: "on", "off", or "auto" for where the model takes
            any.
        cameras: Alpamayo's camera id by logical id, where a scene names its cameras otherwise than AlpaSim
            usually does (see sim/cameras.py); they come on top of the usual names.
        max_plan_age_s: how old, in the session's time, pictures may be that are planned from.
        safety: of each session's gate, monitor and stops; its arbiter says for how long a plan is driven on
            for want of a newer one.
        safety_gate: whether plans are judged; without that whatever is a motion is driven.
        warm_up_s: how long after the first drive, in the session's time, too short a history or too few
            pictures are no fault.
        max_image_bytes: of an encoded picture.
        max_image_pixels: of a decoded one; checked before it is decoded.
        max_sessions: at a time.
        idle_s: wall seconds after which a session that nobody calls is ended.

    Raises:
        InvalidInput: for a value out of its range.
    """

    seed: int | None = None
    debug_info: str = "json"
    navigation: str = "auto"
    cameras: Mapping[str, int] = field(default_factory=dict)
    max_plan_age_s: float = MAX_PLAN_AGE_S
    safety: SafetySettings = field(default_factory=_default_safety)
    safety_gate: bool = True
    warm_up_s: float = 2.0
    max_image_bytes: int = 32 * 2**20
    max_image_pixels: int = 40_000_000
    max_sessions: int = 64
    idle_s: float = 600.0

    def __post_init__(self) -> None:
        def check(name: str, ok: bool, expected: str) -> None:
            if not ok:
                raise InvalidInput(f"{name}: expected {expected}, got {getattr(self, name)!r}")

        check("seed", self.seed is None or 0 <= self.seed < 2**63, "0 ... 2^63 - 1, or none")
        check("debug_info", self.debug_info in DEBUG_INFOS, f"one of {', '.join(DEBUG_INFOS)}")
        check("navigation", self.navigation in NAVIGATIONS, f"one of {', '.join(NAVIGATIONS)}")
        for name in ("max_plan_age_s", "idle_s"):
            value = getattr(self, name)
            check(name, math.isfinite(value) and value > 0, "a positive number of seconds")
        check("warm_up_s", math.isfinite(self.warm_up_s) and self.warm_up_s >= 0, "zero seconds or more")
        for name in ("max_image_bytes", "max_image_pixels", "max_sessions"):
            check(name, getattr(self, name) >= 1, "at least 1")
        for logical_id, camera_id in self.cameras.items():
            if not logical_id:
                raise InvalidInput("cameras: expected a logical id, got ''")
            camera_name(camera_id)
        object.__setattr__(self, "cameras", MappingProxyType(dict(self.cameras)))

    def camera_ids(self) -> dict[str, int]:
        """Return Alpamayo's camera id by logical id: the usual ones, but those that were named otherwise."""
        named = set(self.cameras.values())
        usual = {name: camera_id for camera_id, name in enumerate(LOGICAL_IDS) if camera_id not in named}
        return {**usual, **self.cameras}
