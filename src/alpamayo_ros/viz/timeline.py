"""Which plan a picture shows, and how the vehicle has moved since, by the stamp of the picture."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.ego_history import EgoHistory
from alpamayo_ros.sensing.rigid import Matrix4, invert
from alpamayo_ros.sensing.timing import NS_PER_S, TimingConfig
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import WAYPOINT_INTERVAL_S, Plan
from alpamayo_ros.viz.drawing import PlanDrawing

_PLANS = 64
_STEP_NS = round(WAYPOINT_INTERVAL_S * NS_PER_S)
_TRACK_STEP_NS = 200_000_000


@dataclass(frozen=True, eq=False)
class TimedPlan:
    """A plan as it was sent.

    Attributes:
        plan: the plan itself, or the stop.
        status: one of colours.STATUSES.
        reason: what led to the status.
        valid_until_ns: after this time nobody may drive it.
        odom_from_rig_t0: [4, 4]; None where nobody knows where it lies.
        odometry_frame: which frame that is.
        instruction: navigation text that it was made with.
        latency_ms: from t0 to the plan, None where it is not known.
    """

    plan: Plan
    status: str
    reason: str = ""
    valid_until_ns: int = 2**62
    odom_from_rig_t0: Matrix4 | None = None
    odometry_frame: str = ""
    instruction: str = ""
    latency_ms: float | None = None
    _drawings: dict[int, PlanDrawing] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Moment:
    """What is to be drawn at one time.

    Attributes:
        drawing: the plan's lines, in a frame of their own: the rig's at the plan's t0.
        drawing_from_rig: [4, 4], the rig at the picture's time in that frame.
    """

    drawing: PlanDrawing
    drawing_from_rig: Matrix4

    def view(self, view: View) -> View:
        """Return a camera on the rig as it stood in the drawing's frame."""
        return View(view.model, self.drawing_from_rig @ view.rig_from_camera)


class PlanTimeline:
    """Remembers plans and poses, and says what a picture of a time shows. Not thread-safe.

    Shown is the newest plan whose t0 is not after the picture; its lines stay where they are on the road, by
    odometry, while the vehicle moves on. One that has expired by then, or whose place is not known, is never
    shown: the picture says that there is no valid plan, and why.

    Args:
        history_s: how far back the driven track is shown.
    """

    def __init__(self, *, history_s: float = 3.0) -> None:
        self._history_ns = round(history_s * NS_PER_S)
        self.poses = EgoHistory(TimingConfig(odometry_buffer_ms=max(5000.0, 1e3 * history_s + 4000.0)))
        self._plans: deque[TimedPlan] = deque(maxlen=_PLANS)
        self.odometry_frame = ""
        self._last: tuple[int, Moment] | None = None

    def clear(self) -> None:
        """Forget everything: time went back."""
        self._plans.clear()
        self.poses.clear()
        self._last = None
        self.odometry_frame = ""

    def add_plan(self, plan: TimedPlan) -> None:
        """Take a plan; it supersedes those with an earlier t0."""
        self._plans.append(plan)
        self._last = None

    def add_pose(self, stamp_ns: int, odom_from_rig: Matrix4, *, frame: str = "") -> None:
        """Take a pose [4, 4] of the rig; one of another odometry frame makes those before void."""
        if frame != self.odometry_frame:
            self.poses.clear()
            self.odometry_frame = frame
        self.poses.add(stamp_ns, odom_from_rig)
        self._last = None

    @property
    def newest_plan(self) -> TimedPlan | None:
        """The plan with the newest t0."""
        return max(self._plans, key=lambda timed: timed.plan.t0_ns, default=None)

    def at(self, stamp_ns: int) -> Moment:
        """Return what a picture of a time shows."""
        if self._last is None or self._last[0] != stamp_ns:  # cameras of one rig share their stamps
            self._last = stamp_ns, self._at(stamp_ns)
        return self._last[1]

    def _at(self, stamp_ns: int) -> Moment:
        pose = self.poses.pose_at(stamp_ns)
        current: TimedPlan | None = None
        for timed in self._plans:  # of two with the same t0 the one that came later
            if timed.plan.t0_ns <= stamp_ns and (current is None or timed.plan.t0_ns >= current.plan.t0_ns):
                current = timed
        why = self._why_not(current, stamp_ns, known=pose is not None)
        if why or current is None or pose is None:
            # A stop is to be seen as one though nobody knows where it lies.
            said = current.status if current is not None and current.status == "FALLBACK" else "NONE"
            if said == "FALLBACK" and current is not None and stamp_ns <= current.valid_until_ns:
                return Moment(PlanDrawing(status=said, reason=current.reason), np.eye(4))
            return self._without_plan(why, stamp_ns, pose)
        assert current.odom_from_rig_t0 is not None
        rig_t0_from_odom = invert(current.odom_from_rig_t0)
        return Moment(self._drawing(current, stamp_ns, rig_t0_from_odom), np.asarray(rig_t0_from_odom @ pose))

    def _why_not(self, timed: TimedPlan | None, stamp_ns: int, *, known: bool) -> str:
        """Return why a plan is not shown, "" if it is."""
        if timed is None:
            return (
                "no plan was received yet" if not self._plans else "no plan is of a time before this picture"
            )
        if stamp_ns > timed.valid_until_ns:
            age_s = (stamp_ns - timed.plan.t0_ns) / NS_PER_S
            return f"the newest plan is {age_s:.1f} s old and no longer valid"
        if timed.odom_from_rig_t0 is None:
            return "the plan does not say where it lies"
        if timed.odometry_frame != self.odometry_frame and self.odometry_frame:
            return f"the plan lies in {timed.odometry_frame!r}, odometry in {self.odometry_frame!r}"
        if known:
            return ""
        newest_ns = self.poses.buffer.newest_ns
        if newest_ns is None:
            return "there is no odometry to place the plan by"
        behind_ms = (stamp_ns - newest_ns) / 1e6
        return (
            f"odometry ends {behind_ms:.0f} ms before this picture"
            if behind_ms > 0
            else "odometry has a gap at this picture's time"
        )

    def _without_plan(self, why: str, stamp_ns: int, pose: Matrix4 | None) -> Moment:
        history = np.zeros((0, 3)) if pose is None else self._track(stamp_ns, invert(pose))
        return Moment(PlanDrawing(history=history, status="NONE", reason=why), np.eye(4))

    def _drawing(self, timed: TimedPlan, stamp_ns: int, rig_t0_from_odom: Matrix4) -> PlanDrawing:
        """Return a plan's drawing, the same for all pictures until its next waypoint."""
        step = (stamp_ns - timed.plan.t0_ns) // _STEP_NS
        found = timed._drawings.get(step)
        if found is None:
            plan = timed.plan
            found = PlanDrawing.of_plan(
                plan,
                status=timed.status,
                elapsed_s=step * WAYPOINT_INTERVAL_S,
                history=self._track(stamp_ns, rig_t0_from_odom),
                reason=timed.reason,
                latency_ms=timed.latency_ms,
                notes=(timed.instruction,) if timed.instruction else (),
            )
            timed._drawings.clear()  # time does not go back
            timed._drawings[step] = found
        return found

    def _track(self, stamp_ns: int, frame_from_odom: Matrix4) -> NDArray[np.float64]:
        """Return where the rig has been up to a time, [N, 3] m, oldest first, about five a second."""
        buffer = self.poses.buffer
        track: list[NDArray[np.float64]] = []
        last_ns = stamp_ns + _TRACK_STEP_NS
        for stamp in reversed(buffer.stamps):
            if stamp > stamp_ns or last_ns - stamp < _TRACK_STEP_NS:
                continue
            if stamp < stamp_ns - self._history_ns:
                break
            track.append(buffer.at(stamp)[:3, 3])
            last_ns = stamp
        if not track:
            return np.zeros((0, 3))
        return np.asarray(np.array(track[::-1]) @ frame_from_odom[:3, :3].T + frame_from_odom[:3, 3])
