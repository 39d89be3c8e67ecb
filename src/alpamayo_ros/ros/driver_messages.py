"""A driver's session as messages: routes, plans, answers without a plan, and poses with their speed."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.ros.conversions import duration_from_ns, stamp_from_ns, text_to_ros
from alpamayo_ros.ros.plan_conversions import MonitorStatus, PlanStatus, PublishedPlan
from alpamayo_ros.ros.sim_messages import NS_PER_US
from alpamayo_ros.safety.supervisor import Judgement
from alpamayo_ros.sensing.rigid import Matrix4, invert
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import Guidance, Maneuver
from alpamayo_ros.sim.protocol.egodriver_messages import Egomotion
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.types import NUM_WAYPOINTS, WAYPOINT_INTERVAL_S, Plan

if TYPE_CHECKING:
    from visualization_msgs.msg import MarkerArray

    from alpamayo_ros.msg import Route as RouteMsg

MANEUVERS: dict[Maneuver, int] = {"none": 0, "straight": 1, "left": 2, "right": 3}
"""The MANEUVER_* constants of alpamayo_ros/Route."""

_SPEED_OVER_US = 200_000
_ROUTE_WIDTH_M = 0.25
_ROUTE_COLOUR = {"r": 0.25, "g": 0.55, "b": 0.95, "a": 0.6}


def route_to_msg(time_us: int, guidance: Guidance, *, rig_frame: str, num_waypoints: int = 20) -> RouteMsg:
    """Return a route with at least `num_waypoints` places, those beyond its end marked as none."""
    from geometry_msgs.msg import Point

    from alpamayo_ros.msg import Route as RouteMsg

    msg = RouteMsg(maneuver=MANEUVERS[guidance.maneuver])
    msg.header.stamp = stamp_from_ns(time_us * NS_PER_US)
    msg.header.frame_id = rig_frame
    points = [Point(x=x, y=y, z=z) for x, y, z in guidance.points_in_rig.tolist()]
    lacking = max(0, num_waypoints - len(points))
    msg.waypoints = [*points, *(Point() for _ in range(lacking))]
    msg.waypoint_valid = [True] * len(points) + [False] * lacking
    if guidance.distance_m is not None:
        msg.distance_m, msg.distance_valid = guidance.distance_m, True
    msg.instruction = text_to_ros(guidance.instruction)
    msg.instruction_valid = bool(guidance.instruction)
    return msg


def route_to_markers(time_us: int, guidance: Guidance, *, rig_frame: str, lifetime_ns: int) -> MarkerArray:
    """Return a route as a line, in the rig frame as it stood at `time_us`."""
    from geometry_msgs.msg import Point
    from std_msgs.msg import ColorRGBA
    from visualization_msgs.msg import Marker, MarkerArray

    line = Marker(ns="route", type=Marker.LINE_STRIP, action=Marker.ADD, color=ColorRGBA(**_ROUTE_COLOUR))
    line.header.stamp = stamp_from_ns(time_us * NS_PER_US)
    line.header.frame_id = rig_frame
    line.lifetime = duration_from_ns(lifetime_ns)
    line.pose.orientation.w = 1.0
    line.scale.x = _ROUTE_WIDTH_M
    line.points = [Point(x=x, y=y, z=z) for x, y, z in guidance.points_in_rig.tolist()]
    return MarkerArray(markers=[line] if len(line.points) > 1 else [])


def published_plan(
    outcome: DriveOutcome, *, rig_frame: str, local_frame: str, max_age_s: float
) -> PublishedPlan:
    """Return an answer as a plan: the one behind it, else what was driven instead, marked FALLBACK."""
    why, decided_ns = "", 0
    if outcome.plan is not None and outcome.local_from_rig_t0 is not None:
        plan, pose = outcome.plan, outcome.local_from_rig_t0
        decided_ns = plan.t0_ns
    elif outcome.stop is not None:
        stop = outcome.stop
        plan, decided_ns = stop.plan, stop.decided_ns
        pose = outcome.local_from_rig_now if stop.odom_from_rig is None else stop.odom_from_rig
    else:
        plan, pose = trajectory_as_plan(outcome), outcome.local_from_rig_now
    if outcome.status == "fallback":
        why = f"{outcome.source}: {outcome.reason}"
    published = PublishedPlan(
        plan=plan,
        rig_frame=rig_frame,
        odometry_frame=local_frame,
        odom_from_rig_t0=pose,
        valid_until_ns=plan.t0_ns + round(max_age_s * 1e9),
        status=PlanStatus[outcome.status.upper()],
        status_reason=why,
        instruction=outcome.instruction,
        decided_ns=decided_ns,
    )
    return _with_judgement(published, outcome.plan_judgement)


def rejected_plan(outcome: DriveOutcome, *, rig_frame: str, local_frame: str) -> PublishedPlan | None:
    """Return the plan that was made for this answer and refused, None if there is none."""
    judgement, pose = outcome.judgement, outcome.judged_at
    if judgement is None or pose is None or not judgement.refusal:
        return None
    published = PublishedPlan(
        plan=judgement.plan,
        rig_frame=rig_frame,
        odometry_frame=local_frame,
        odom_from_rig_t0=pose,
        valid_until_ns=0,
        status=PlanStatus.REJECTED,
        status_reason=judgement.refusal,
        decided_ns=judgement.plan.t0_ns,
    )
    return _with_judgement(published, judgement)


def _with_judgement(published: PublishedPlan, judgement: Judgement | None) -> PublishedPlan:
    if judgement is None:
        return published
    monitor = judgement.monitor
    return replace(
        published,
        checks=judgement.decision.verdicts[judgement.decision.chosen or 0].checks,
        monitor=MonitorStatus.of(monitor),
        monitor_reason="" if monitor is None else monitor.reason,
    )


def trajectory_as_plan(outcome: DriveOutcome) -> Plan:
    """Return what was answered as a plan from now on, its end held; no model drew an action for it."""
    stamps_us, poses = outcome.trajectory
    count = NUM_WAYPOINTS + 1
    at_us = outcome.now_us + np.round(np.arange(count) * WAYPOINT_INTERVAL_S * 1e6).astype(np.int64)
    in_rig = invert(outcome.local_from_rig_now) @ interpolate_poses(stamps_us, poses, at_us)
    steps_m = np.linalg.norm(np.diff(in_rig[:, :3, 3], axis=0), axis=1)
    turns = Rotation.from_matrix(in_rig[:, :3, :3]).as_rotvec()
    yaw_steps = np.diff(np.unwrap(turns[:, 2]))
    # A step's speed is that of its middle; at the ends it is held.
    middles_mps = steps_m / WAYPOINT_INTERVAL_S
    speed_mps = np.interp(np.arange(count), np.arange(NUM_WAYPOINTS) + 0.5, middles_mps)
    return Plan(
        t0_ns=outcome.now_us * NS_PER_US,
        xyz_in_rig_t0=in_rig[None, 1:, :3, 3].astype(np.float32),
        rot_in_rig_t0=in_rig[None, 1:, :3, :3].astype(np.float32),
        accel_mps2=(np.diff(speed_mps) / WAYPOINT_INTERVAL_S)[None].astype(np.float32),
        curvature_per_m=np.divide(yaw_steps, steps_m, out=np.zeros(NUM_WAYPOINTS), where=steps_m > 1e-3)[
            None
        ].astype(np.float32),
        speed_mps=speed_mps[None].astype(np.float32),
        normalised_action=np.zeros((1, NUM_WAYPOINTS, 2), np.float32),
        reasoning=("",),
        reasoning_complete=(False,),
        meta_action=("",),
        token_ids=((),),
        sections=(None,),
        model=outcome.source,
    )


class EgoTrack:
    """Poses as they come, each once, with the velocity that the poses themselves show.

    AlpaSim's own velocities are zero while the ego follows the recording.
    """

    def __init__(self) -> None:
        self._poses: deque[tuple[int, Matrix4]] = deque()

    def add(self, egomotion: Egomotion) -> list[EgoState]:
        """Return the states of those poses that are newer than all before; the velocity is over 0.2 s."""
        return [
            self._state(stamp_us, pose)
            for stamp_us, pose in zip(egomotion.stamps_us.tolist(), egomotion.local_from_rig, strict=True)
            if not self._poses or stamp_us > self._poses[-1][0]
        ]

    def _state(self, stamp_us: int, pose: Matrix4) -> EgoState:
        while len(self._poses) > 1 and self._poses[1][0] <= stamp_us - _SPEED_OVER_US:
            self._poses.popleft()
        before = self._poses[0] if self._poses else None
        self._poses.append((stamp_us, pose))
        if before is None:
            return EgoState(stamp_us, pose)
        over_s = (stamp_us - before[0]) / 1e6
        step = invert(before[1]) @ pose
        turn = float(np.arctan2(step[1, 0], step[0, 0]))
        # The step is in the frame of its beginning; the velocity is said in that of its end.
        x, y = (invert(pose)[:3, :3] @ before[1][:3, :3] @ step[:3, 3])[:2].tolist()
        return EgoState(stamp_us, pose, (x / over_s, y / over_s), turn / over_s)
