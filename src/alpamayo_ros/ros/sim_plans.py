"""Plans as they come back to the simulation bridge: the answer to this t0 is waited for, others are counted.

The answer is the plan of t0; or a stop that says it was sent because of the observation at t0 (`decided`), as
stops also go out while the model still thinks; or, where the plan of t0 was rejected while an earlier one is
still valid, that rejection: then the earlier one is driven on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from alpamayo_ros.ros.conversions import stamp_to_ns, waypoint_stamps_ns
from alpamayo_ros.ros.plan_conversions import (
    PlanStatus,
    PublishedPlan,
    plan_from_msg,
    require_publishable,
)
from alpamayo_ros.ros.sim_messages import ODOMETRY_FRAME
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import InvalidInput

DRIVABLE = (PlanStatus.UNCHECKED, PlanStatus.VALID, PlanStatus.FALLBACK)
_POSITION_TOLERANCE_M = 0.05
_ROTATION_TOLERANCE = 0.01


class Interrupted(Exception):
    """Whoever waited was told to stop."""


class PlanInbox:
    """Hands the answer to one t0 from the executor to the thread that drives.

    Attributes:
        counts: messages that were not waited for: "stale" (of an earlier t0), "unexpected" (of a later one,
            or while none was expected), "duplicate"; and "stops", sent while nothing had been decided yet.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._expected_ns = 0
        self._message: Any = None
        self._interrupted = False

    def expect(self, t0_ns: int) -> None:
        """Take the plan of this t0 from now on; to be called before anything that it is made from is sent."""
        with self._changed:
            self._expected_ns = t0_ns
            self._message = None

    def put(self, message: Any) -> None:
        """Take a message of `plan`; on the executor."""
        is_stop = message.status == PlanStatus.FALLBACK
        answers_ns = stamp_to_ns(message.decided if is_stop else message.header.stamp)
        with self._changed:
            if is_stop and answers_ns != self._expected_ns:
                self.counts["stops"] += 1
                return
            self._take(message, answers_ns)

    def put_rejected(self, message: Any) -> None:
        """Take a message of `debug/rejected_plan`; on the executor.

        One without valid_until is followed by a stop, which is the answer then.
        """
        with self._changed:
            stamp_ns = stamp_to_ns(message.header.stamp)
            if stamp_to_ns(message.valid_until) and stamp_ns == self._expected_ns:
                self._take(message, stamp_ns)

    def _take(self, message: Any, stamp_ns: int) -> None:
        if stamp_ns != self._expected_ns:
            self.counts["stale" if stamp_ns < self._expected_ns else "unexpected"] += 1
        elif self._message is not None:
            self.counts["duplicate"] += 1
        else:
            self._message = message
            self._changed.notify_all()

    def wait(self, *, timeout_s: float) -> Any | None:
        """Return the expected message, or None if it does not come in time (wall seconds).

        Raises:
            Interrupted: after interrupt().
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._message is None and not self._interrupted:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._interrupted:
                raise Interrupted
            message, self._message = self._message, None
            return message

    def interrupt(self) -> None:
        """End a wait, and every later one, with Interrupted."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()


def require_drivable(
    message: Any, *, t0_ns: int, rig_frame: str, local_from_rig_t0: Matrix4
) -> PublishedPlan:
    """Return what a Plan message holds, if it may be driven from `local_from_rig_t0`.

    Raises:
        InvalidInput: for a plan that its sender rejected, of another t0 or in other frames, made from another
            pose than the vehicle's, with waypoints at other times than 0.1 s apart, or with numbers that
            are not finite or no rotations.
    """
    published = plan_from_msg(message)
    if published.status not in DRIVABLE:
        known = ", ".join(status.name for status in DRIVABLE)
        raise InvalidInput(
            f"plan: expected a status of {known}, got {published.status.name}: {published.status_reason}"
        )
    if published.plan.t0_ns != t0_ns:
        raise InvalidInput(f"plan: expected t0 {t0_ns} ns, got {published.plan.t0_ns} ns")
    frames = (published.rig_frame, published.odometry_frame)
    if frames != (rig_frame, ODOMETRY_FRAME):
        raise InvalidInput(
            f"plan: expected the frames {rig_frame!r} and {ODOMETRY_FRAME!r}, "
            f"got {frames[0]!r} and {frames[1]!r}"
        )
    require_publishable(published.plan)
    _require_pose(published.odom_from_rig_t0, local_from_rig_t0)
    due_ns = waypoint_stamps_ns(0, count=published.plan.xyz_in_rig_t0.shape[1])
    for candidate in message.candidates:
        stamps_ns = [stamp_to_ns(waypoint.time_from_start) for waypoint in candidate.waypoints]
        if stamps_ns != due_ns:
            at = next(i for i, (have, want) in enumerate(zip(stamps_ns, due_ns, strict=True)) if have != want)
            raise InvalidInput(
                f"plan: expected waypoint {at} {due_ns[at] / 1e9:g} s after t0, got {stamps_ns[at] / 1e9:g} s"
            )
    return published


def _require_pose(have: Matrix4, want: Matrix4) -> None:
    """Raise InvalidInput for a plan made at another place: from here it would lead elsewhere."""
    off_m = float(np.linalg.norm(have[:3, 3] - want[:3, 3]))
    turned = float(np.abs(have[:3, :3] - want[:3, :3]).max())
    if off_m > _POSITION_TOLERANCE_M or turned > _ROTATION_TOLERANCE:
        raise InvalidInput(
            f"plan: expected one made from the vehicle's pose at t0, got one from {off_m:.3f} m beside it"
        )
