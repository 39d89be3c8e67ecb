"""What must hold of all that a planner publishes, whatever goes wrong; judged without the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan

MAX_PLAN_AGE_S = 1.0
FALLBACK_PERIOD_S = 0.1
_WRITE_S = 0.02
"""From the planner's look at the clock until the middleware stamps what it writes."""
MAX_SPEED_MPS, MAX_ACCEL_MPS2, MAX_LATERAL_MPS2, MAX_CURVATURE_PER_M = 41.7, 9.5, 7.0, 0.3


@dataclass(frozen=True, eq=False)
class Heard:
    """One message of `plan`.

    Attributes:
        published: what it says.
        sent_s: when it was published, wall time, as the middleware stamped it.
        age_s: then, since its t0, in the planner's clock.
    """

    published: PublishedPlan
    sent_s: float
    age_s: float

    @property
    def is_valid(self) -> bool:
        return self.published.status is PlanStatus.VALID

    @property
    def is_predicted(self) -> bool:
        """Whether it is a stop that begins where a vehicle would be that has followed the last message.

        That is where this test's vehicle is not, which follows nothing.
        """
        return self.is_stop and "odometry is" in self.published.status_reason

    @property
    def is_stop(self) -> bool:
        return self.published.status is PlanStatus.FALLBACK


TruePose = Callable[[int], tuple[float, float, float]]


def plan_problems(heard: Heard, true_pose: TruePose, *, pose_tolerance_m: float = 0.3) -> list[str]:
    """Return what is wrong with one message, in words; [] for nothing.

    Of a VALID plan all of it is checked, of a stop that it is finite, begins at the vehicle and gets slower.

    Args:
        heard: the message.
        true_pose: of the vehicle at a time, x, y, yaw.
        pose_tolerance_m: how far the pose that it says may be from the true one.
    """
    published, plan = heard.published, heard.published.plan
    if published.status not in (PlanStatus.VALID, PlanStatus.FALLBACK):
        return [f"expected VALID or FALLBACK on `plan`, got {published.status.name}"]
    problems = []
    if heard.age_s > MAX_PLAN_AGE_S + _WRITE_S:
        problems.append(f"{published.status.name}: {heard.age_s:.3f} s old when it was published")
    xyz, rot = plan.xyz_in_rig_t0[plan.chosen].astype(float), plan.rot_in_rig_t0[plan.chosen].astype(float)
    speed = plan.speed_mps[plan.chosen].astype(float)
    if not (np.isfinite(xyz).all() and np.isfinite(rot).all() and np.isfinite(speed).all()):
        return [*problems, "not finite"]
    if published.odometry_frame and not heard.is_predicted:
        x, y, _ = true_pose(plan.t0_ns)
        off_m = float(np.hypot(*(published.odom_from_rig_t0[:2, 3] - (x, y))))
        if off_m > pose_tolerance_m:
            problems.append(f"{published.status.name}: begins {off_m:.2f} m from the vehicle")
    if heard.is_stop:
        if np.any(np.diff(speed) > 0.02) or speed[-1] > max(speed[0] - 1.0, 0.1):
            problems.append(f"a stop that goes from {speed[0]:.2f} to {speed[-1]:.2f} m/s")
        return problems
    return problems + _motion_problems(np.vstack([np.zeros(3), xyz]), rot)


def _motion_problems(points: np.ndarray, rot: np.ndarray) -> list[str]:
    problems = []
    if np.linalg.norm(points[1]) > 0.1 * MAX_SPEED_MPS or np.linalg.norm(points[1, :2]) > 2.0 + 0.8:
        problems.append(f"first waypoint {np.linalg.norm(points[1]):.1f} m away")
    steps = np.diff(points[:, :2], axis=0)
    headings = np.vstack([[1.0, 0.0], rot[:-1, :2, 0]])
    back_m = -np.minimum(np.einsum("ij,ij->i", steps, headings), 0.0).sum()
    if back_m > 0.5:
        problems.append(f"reverses by {back_m:.2f} m")
    speeds = np.linalg.norm(steps, axis=1) / 0.1
    if speeds.max() > MAX_SPEED_MPS:
        problems.append(f"{speeds.max():.1f} m/s")
    half_seconds = speeds[: len(speeds) // 5 * 5].reshape(-1, 5).mean(axis=1)
    accel = np.abs(np.diff(half_seconds)).max() / 0.5
    if accel > MAX_ACCEL_MPS2:
        problems.append(f"accelerates by {accel:.1f} m/s²")
    moving = speeds > 1.0
    if moving.sum() > 2:
        yaw = np.unwrap(np.arctan2(steps[moving, 1], steps[moving, 0]))
        turn = np.abs(np.diff(yaw))
        lateral = (turn / 0.1 * speeds[moving][1:]).max()
        curvature = (turn / (0.1 * speeds[moving][1:])).max()
        if lateral > MAX_LATERAL_MPS2 * 1.2:
            problems.append(f"lateral acceleration {lateral:.1f} m/s²")
        if curvature > MAX_CURVATURE_PER_M * 1.2:
            problems.append(f"curvature {curvature:.2f} 1/m")
    return problems


def silences(messages: Sequence[Heard], *, slack_s: float) -> list[str]:
    """Return the gaps in which a vehicle had nothing to follow.

    After a valid plan the next message must come before that plan expires (it is then a stop, at the latest),
    after a stop within two periods of the stops. `slack_s` is what a loaded machine may add.
    """
    problems = []
    for one, other in pairwise(messages):
        gap_s = other.sent_s - one.sent_s
        allowed_s = 2 * FALLBACK_PERIOD_S + (max(0.0, MAX_PLAN_AGE_S - one.age_s) if one.is_valid else 0.0)
        if gap_s > allowed_s + slack_s:
            problems.append(f"nothing for {gap_s:.2f} s after {one.published.status.name}")
    return problems
