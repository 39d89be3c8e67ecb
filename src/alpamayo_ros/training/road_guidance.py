"""RoaD's guidance: of K samples the one nearest to the expert's continuation is driven.

RoaD, "Rollouts as Demonstrations" (Garcia-Cobo, Igl, Karkus et al., arXiv:2512.01993, 2025), fine-tunes a
cloned policy on its own closed-loop rollouts, in which the expert's drive biases what is executed: K samples
are drawn at a step, the one nearest to the expert is taken, and where none is near the trajectory is brought
back to the expert's (recovery). Its forerunner for policies of discrete actions is CAT-K, closest among the
top K (Zhang et al., arXiv:2412.05334, 2024).

Where ours departs. The paper has recordings, no expert that can be asked: its nearest sample is nearest to
the one recorded drive, its recovery interpolates to that drive, and what is learned is what the guided
rollout went on to do. Our simulator's expert is asked anew at every state that the policy gets into, so
- nearness is measured to what the expert would do *from here*, not to a drive that has taken another course;
- recovery drives the expert's own plan, which is feasible from here, where an interpolation need not be;
- the target of a visited state is the expert's continuation with its reasons, which is better than the
  nearest sample. The states are RoaD's, the labels DAgger's (Ross, Gordon, Bagnell, 2011).
Distances are of positions alone, in the plane: over two seconds heading shows in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.types import NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, InvalidInput, Plan

_LONGEST_RECOVERY_TICKS = 200
_LONGEST_HELD_TICKS = 20


@dataclass(frozen=True)
class Guidance:
    """How a policy's rollout is guided.

    Attributes:
        num_samples: K, drawn at each step at which the policy is asked.
        compared_s: samples are ranked by their mean distance from the expert's waypoints so far ahead.
            AlpaSim's controller looks no further than 2 s.
        near_m: the best of them is driven if it is no further than this from the expert's ...
        near_at_s: ... waypoint at this time; else the expert recovers.
        recovery_ticks: for how many steps of 0.1 s the expert then drives, before the policy is asked again.
        held_ticks: for how many a sample is driven before the policy is asked again: plans cost more than
            pictures do.

    Raises:
        InvalidInput: for a number out of its range, or a time that is no whole number of waypoints.
    """

    num_samples: int = 8
    compared_s: float = 2.0
    near_m: float = 1.5
    near_at_s: float = 2.0
    recovery_ticks: int = 10
    held_ticks: int = 1

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise InvalidInput(f"num_samples: expected at least 1, got {self.num_samples}")
        for name in ("compared_s", "near_at_s"):
            value = getattr(self, name)
            steps = value / WAYPOINT_INTERVAL_S
            if not 0.5 < steps < NUM_WAYPOINTS + 0.5 or abs(steps - round(steps)) > 1e-6:
                last_s = NUM_WAYPOINTS * WAYPOINT_INTERVAL_S
                raise InvalidInput(f"{name}: expected 0.1, 0.2 ... {last_s:.1f} s, got {value}")
        if not (math.isfinite(self.near_m) and self.near_m >= 0):
            raise InvalidInput(f"near_m: expected zero or more metres, got {self.near_m}")
        for name, most in (("recovery_ticks", _LONGEST_RECOVERY_TICKS), ("held_ticks", _LONGEST_HELD_TICKS)):
            if not 1 <= getattr(self, name) <= most:
                raise InvalidInput(f"{name}: expected 1 ... {most}, got {getattr(self, name)}")

    @property
    def compared_waypoints(self) -> int:
        """How many waypoints are compared."""
        return round(self.compared_s / WAYPOINT_INTERVAL_S)

    @property
    def near_waypoint(self) -> int:
        """Index of the waypoint at near_at_s."""
        return round(self.near_at_s / WAYPOINT_INTERVAL_S) - 1


@dataclass(frozen=True)
class Nearest:
    """The sample nearest to the expert's continuation.

    Attributes:
        index: which; 0 where no sample can be driven.
        mean_m: its mean distance over Guidance.compared_s; infinite where no sample can be driven.
        off_m: its distance at Guidance.near_at_s, likewise.
        is_near: whether it may be driven.
    """

    index: int
    mean_m: float
    off_m: float
    is_near: bool


def nearest_sample(plan: Plan, expert: Plan, *, guidance: Guidance) -> Nearest:
    """Return the sample of a policy's plan that is nearest to the expert's chosen one.

    A sample with a number that is not finite can't be driven and is never nearest. Of several at the same
    distance it is the first.

    Args:
        plan: of the policy, K samples.
        expert: of the expert, from the same state.
        guidance: how distances are taken.

    Raises:
        InvalidInput: for plans of different instants, or another number of samples than was asked for.
    """
    if plan.t0_ns != expert.t0_ns:
        raise InvalidInput(
            f"policy: expected a plan from the expert's t0, {expert.t0_ns} ns, got {plan.t0_ns} ns"
        )
    if plan.num_samples != guidance.num_samples:
        raise InvalidInput(f"policy: expected {guidance.num_samples} samples, got {plan.num_samples}")
    to_xy_m = expert.xyz_in_rig_t0[expert.chosen, :, :2].astype(np.float64)
    off_m = np.linalg.norm(plan.xyz_in_rig_t0[:, :, :2] - to_xy_m, axis=-1)
    drivable = np.array(
        [
            bool(np.isfinite(xyz).all() and np.isfinite(rot).all())
            for xyz, rot in zip(plan.xyz_in_rig_t0, plan.rot_in_rig_t0, strict=True)
        ]
    )
    mean_m = np.where(drivable, off_m[:, : guidance.compared_waypoints].mean(axis=1), np.inf)
    index = int(np.argmin(mean_m))
    if not drivable[index]:
        return Nearest(0, math.inf, math.inf, is_near=False)
    at_m = float(off_m[index, guidance.near_waypoint])
    return Nearest(index, float(mean_m[index]), at_m, is_near=at_m <= guidance.near_m)
