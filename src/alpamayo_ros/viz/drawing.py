"""What a picture shows of a plan: its lines around the vehicle at one time, its state and its words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4, require_rigid
from alpamayo_ros.types import WAYPOINT_INTERVAL_S, InvalidInput, Plan
from alpamayo_ros.viz.colours import require_status

Points = NDArray[np.float64]
_NONE: Points = np.zeros((0, 3))


@dataclass(frozen=True, eq=False)
class PlanDrawing:
    """What is drawn of a plan, in the rig frame at the time of the picture.

    Any other level frame does, too (the rig frame at t0, say), if the camera's pose is given in it.

    Attributes:
        path: [N, 3] m, where the chosen candidate leads from here on; N is 0 where there is no plan.
        path_times_s: [N], after the picture's time, when the vehicle is to be there; rising.
        path_speed_mps: [N].
        candidates: paths [M, 3] of the others.
        history: [H, 3] m, where the rear axle has been, oldest first.
        future: [F, 3] m, where it really went (in a recording), oldest first.
        status: one of colours.STATUSES, in capitals.
        reason: what led to the status, in words.
        reasoning: the model's text.
        latency_ms: from t0 to the plan; None where it is not known.
        notes: further short remarks, e.g. an instruction.

    Raises:
        InvalidInput: for a wrong shape, an unknown status, or times and speeds of another length than path.
    """

    path: Points = field(default_factory=lambda: _NONE)
    path_times_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    path_speed_mps: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    candidates: tuple[Points, ...] = ()
    history: Points = field(default_factory=lambda: _NONE)
    future: Points = field(default_factory=lambda: _NONE)
    status: str = "UNKNOWN"
    reason: str = ""
    reasoning: str = ""
    latency_ms: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", require_status(self.status))
        for name in ("path", "history", "future"):
            object.__setattr__(self, name, _line(name, getattr(self, name)))
        lines = tuple(_line(f"candidates[{i}]", line) for i, line in enumerate(self.candidates))
        object.__setattr__(self, "candidates", lines)
        for name in ("path_times_s", "path_speed_mps"):
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != (len(self.path),):
                raise InvalidInput(f"{name}: expected [{len(self.path)}] as path, got {list(values.shape)}")
            object.__setattr__(self, name, values)

    @classmethod
    def of_lines(
        cls,
        xyz_in_rig_t0: NDArray[np.floating],
        speed_mps: NDArray[np.floating],
        *,
        chosen: int,
        rig_from_rig_t0: Matrix4 | None = None,
        elapsed_s: float = 0.0,
        **said: object,
    ) -> PlanDrawing:
        """Return the drawing of K candidates, as they are seen some time after t0.

        What has been driven by then is left out; the path begins where the plan wants the vehicle now.

        Args:
            xyz_in_rig_t0: [K, N, 3] m, waypoint i at t0 + (i + 1) * 0.1 s.
            speed_mps: [K, N + 1] from t0 on.
            chosen: index of the candidate to drive.
            rig_from_rig_t0: [4, 4], the rig at t0 in the rig at the picture's time, by odometry; the same
                place by default.
            elapsed_s: the picture's time after t0; negative for a picture from before.
            said: history, future, status, reason, reasoning, latency_ms, notes.

        Raises:
            InvalidInput: for wrong shapes, an index out of range or a pose that is no rigid transform.
        """
        xyz, speed = np.asarray(xyz_in_rig_t0, np.float64), np.asarray(speed_mps, np.float64)
        if xyz.ndim != 3 or xyz.shape[2] != 3 or speed.shape != (xyz.shape[0], xyz.shape[1] + 1):
            raise InvalidInput(
                "plan: expected xyz [K, N, 3] and speed [K, N + 1], "
                f"got {list(xyz.shape)} and {list(speed.shape)}"
            )
        if not 0 <= chosen < len(xyz):
            raise InvalidInput(f"chosen: expected an index in 0 … {len(xyz) - 1}, got {chosen}")
        pose = np.eye(4) if rig_from_rig_t0 is None else require_rigid("rig_from_rig_t0", rig_from_rig_t0)
        xyz = np.concatenate([np.zeros((len(xyz), 1, 3)), xyz], axis=1) @ pose[:3, :3].T + pose[:3, 3]
        times: NDArray[np.float64] = (
            np.arange(xyz.shape[1], dtype=np.float64) * WAYPOINT_INTERVAL_S - elapsed_s
        )
        lines = [_from_now(line, times) for line in xyz]
        path, ahead_s = lines[chosen]
        return cls(
            path=path,
            path_times_s=ahead_s,
            path_speed_mps=np.interp(ahead_s, times, speed[chosen]),
            candidates=tuple(line for k, (line, _) in enumerate(lines) if k != chosen),
            **said,  # type: ignore[arg-type]
        )

    @classmethod
    def of_plan(
        cls,
        plan: Plan,
        *,
        status: str,
        rig_from_rig_t0: Matrix4 | None = None,
        elapsed_s: float = 0.0,
        **said: object,
    ) -> PlanDrawing:
        """Return the drawing of a plan, as it is seen some time after t0; see of_lines().

        Its reasoning is the chosen candidate's and its latency the model's own, unless `said` otherwise.
        """
        words = {"reasoning": plan.reasoning[plan.chosen], "latency_ms": plan.times.total_ms or None}
        return cls.of_lines(
            plan.xyz_in_rig_t0,
            plan.speed_mps,
            chosen=plan.chosen,
            rig_from_rig_t0=rig_from_rig_t0,
            elapsed_s=elapsed_s,
            **{"status": status, **words, **said},
        )


def _line(name: str, line: object) -> Points:
    array = np.asarray(line, np.float64)
    if array.size == 0:
        return _NONE
    if array.ndim != 2 or array.shape[1] != 3:
        raise InvalidInput(f"{name}: expected shape [N, 3], got {list(array.shape)}")
    return array


def _from_now(line: Points, times_s: NDArray[np.float64]) -> tuple[Points, NDArray[np.float64]]:
    """Return what of a timed line [N, 3] is not in the past, begun at time 0, and its times."""
    if times_s[0] >= 0:
        return line, times_s
    if times_s[-1] <= 0:
        return _NONE, np.zeros(0)
    now = np.array([np.interp(0.0, times_s, line[:, axis]) for axis in range(3)])
    ahead = times_s > 0
    return np.concatenate([now[None], line[ahead]]), np.concatenate([[0.0], times_s[ahead]])
