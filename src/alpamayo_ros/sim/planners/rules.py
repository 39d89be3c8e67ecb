"""What regulates the ego's way: lights, whose programmes the expert knows, and stop signs, remembered."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.planners.forecast import FORECAST_STEP_S, FORECAST_STEPS
from alpamayo_ros.sim.planners.paths import FRONT_M
from alpamayo_ros.sim.planners.route_frame import RouteFrame, StopLine
from alpamayo_ros.sim.scene import Scene

LINE_GAP_M = 0.7
"""Between the ego's front and the line where it stops."""
_SIGHT_M = 110.0
_STANDING_MPS = 0.15
_HOLD_STEPS = 5
_AT_SIGN_M = 2.5


@dataclass(frozen=True, eq=False)
class Signal:
    """A light ahead: its line, and by forecast step whether it is red, and red or yellow."""

    line: StopLine
    red: NDArray[np.bool_]
    closed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Regulation:
    """What applies now: lights ahead, and the stop sign whose line may not be crossed yet."""

    signals: tuple[Signal, ...]
    sign: StopLine | None


@dataclass(eq=False)
class Rules:
    """Follows one rollout; remembers at which signs the ego has stood."""

    scene: Scene
    frame: RouteFrame
    _stood: dict[str, int] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget everything: another rollout begins."""
        self._stood.clear()

    def at(self, time_us: int, *, s_m: float, speed_mps: float) -> Regulation:
        """Return what applies at a time with the rig at s; to be asked once a step, in order."""
        signals, sign = [], None
        front = s_m + FRONT_M
        for line in self.frame.stop_lines:
            ahead = line.s_m - front
            if not -0.3 < ahead < _SIGHT_M:
                continue
            if line.sign_id:
                if self._must_stop(line, ahead, speed_mps) and sign is None:
                    sign = line
                continue
            colours = self._colours(line.light_id, time_us)
            signals.append(Signal(line, colours == "red", colours != "green"))
        return Regulation(tuple(signals), sign)

    def _must_stop(self, line: StopLine, ahead_m: float, speed_mps: float) -> bool:
        stood = self._stood.get(line.sign_id, 0)
        if ahead_m < _AT_SIGN_M and speed_mps < _STANDING_MPS:
            stood += 1
            self._stood[line.sign_id] = stood
        return stood < _HOLD_STEPS

    def _colours(self, light_id: str, time_us: int) -> NDArray[np.str_]:
        assert self.scene.road is not None
        light = next(light for light in self.scene.road.lights if light.light_id == light_id)
        now_s = (time_us - self.scene.start_us) / 1e6
        return np.array([light.colour_at(now_s + step * FORECAST_STEP_S) for step in range(FORECAST_STEPS)])
