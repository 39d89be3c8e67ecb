"""alpamayo_ros/Plan messages from and to the Plan dataclass, lossless to float32 both ways."""

from __future__ import annotations

import array
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.ros.conversions import (
    duration_from_ns,
    fill_pose,
    pose_from_matrix,
    pose_to_matrix,
    stamp_from_ns,
    stamp_to_ns,
    text_to_ros,
    waypoint_stamps_ns,
)
from alpamayo_ros.safety.gate import Check
from alpamayo_ros.safety.monitor import MonitorVerdict
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import (
    NUM_WAYPOINTS,
    InvalidInput,
    Plan,
    ReasoningSections,
    StageTimes,
    require_finite,
    require_rotation,
)

if TYPE_CHECKING:
    from alpamayo_ros.msg import GateCheck as GateCheckMsg
    from alpamayo_ros.msg import Plan as PlanMsg
    from alpamayo_ros.msg import PlanCandidate as PlanCandidateMsg
    from alpamayo_ros.msg import StageTimes as StageTimesMsg
    from alpamayo_ros.msg import StageTimesStamped as StageTimesStampedMsg
    from alpamayo_ros.ros.inference import PlanOutcome

_STAGES_MS = ("preprocess_ms", "vision_ms", "prefill_ms", "reasoning_ms", "denoise_ms", "total_ms")
_QUATERNION_LENGTH_TOLERANCE = 0.01
_Constant = TypeVar("_Constant", bound=IntEnum)
_SECTIONS = ("observation", "reasoning", "action", "prediction")


class PlanStatus(IntEnum):
    """The STATUS_* constants of alpamayo_ros/Plan."""

    UNKNOWN = 0
    UNCHECKED = 1
    VALID = 2
    FALLBACK = 3
    REJECTED = 4


class MonitorStatus(IntEnum):
    """The MONITOR_* constants of alpamayo_ros/Plan."""

    NOT_ASKED = 0
    SILENT = 1
    AGREES = 2
    CONTRADICTS = 3

    @classmethod
    def of(cls, verdict: MonitorVerdict | None) -> MonitorStatus:
        """Return what a verdict says; None is nobody's."""
        return cls.NOT_ASKED if verdict is None else cls[verdict.agreement.name]


@dataclass(frozen=True, eq=False)
class PublishedPlan:
    """A plan with what a Plan message says beside it.

    Attributes:
        plan: the plan itself.
        rig_frame: name of the rig frame; the plan is in that frame as it stood at t0.
        odometry_frame: name of the odometry frame.
        odom_from_rig_t0: float64 [4, 4], pose of the rig at t0 in the odometry frame, m.
        valid_until_ns: after this time the plan must not be driven.
        status, status_reason: as in the message.
        instruction: navigation text that the plan was made with, "" for none.
        engaged: whether the driver has engaged the planner.
        decided_ns: t0 of the newest observation that has been decided about, 0 before there was one.
        checks: what the gate measured of the chosen candidate.
        monitor, monitor_reason: what the monitor says about it, and what contradicts what.
    """

    plan: Plan
    rig_frame: str
    odometry_frame: str
    odom_from_rig_t0: Matrix4
    valid_until_ns: int
    status: PlanStatus = PlanStatus.UNCHECKED
    status_reason: str = ""
    instruction: str = ""
    engaged: bool = False
    decided_ns: int = 0
    checks: tuple[Check, ...] = ()
    monitor: MonitorStatus = MonitorStatus.NOT_ASKED
    monitor_reason: str = ""


def require_publishable(plan: Plan) -> None:
    """Raise InvalidInput unless a plan's numbers are finite and its rotations are rotations.

    This is no safety gate: it is what any reader of a message may take for granted.
    """
    for name in (
        "xyz_in_rig_t0",
        "rot_in_rig_t0",
        "accel_mps2",
        "curvature_per_m",
        "speed_mps",
        "normalised_action",
    ):
        require_finite(name, getattr(plan, name))
    require_rotation("rot_in_rig_t0", plan.rot_in_rig_t0)


def plan_to_msg(published: PublishedPlan) -> PlanMsg:
    """Return the message of a plan; raises InvalidInput if the plan is not finite or has no rotations."""
    from alpamayo_ros.msg import Plan as PlanMsg

    plan = published.plan
    require_publishable(plan)
    msg = PlanMsg()
    msg.header.stamp = stamp_from_ns(plan.t0_ns)
    msg.header.frame_id = published.rig_frame
    msg.odometry_frame_id = published.odometry_frame
    msg.rig_pose = pose_from_matrix(published.odom_from_rig_t0)
    msg.status = int(published.status)
    msg.status_reason = text_to_ros(published.status_reason)
    msg.engaged = published.engaged
    msg.decided = stamp_from_ns(published.decided_ns)
    msg.checks = [_check_to_msg(check) for check in published.checks]
    msg.monitor = int(published.monitor)
    msg.monitor_reason = text_to_ros(published.monitor_reason)
    msg.candidates = [_candidate_to_msg(plan, k) for k in range(plan.num_samples)]
    msg.chosen = int(plan.chosen)
    msg.reasoning = msg.candidates[plan.chosen].reasoning
    msg.meta_action = msg.candidates[plan.chosen].meta_action
    msg.valid_until = stamp_from_ns(published.valid_until_ns)
    msg.instruction = text_to_ros(published.instruction)
    msg.model = text_to_ros(plan.model)
    msg.seed = int(plan.seed)
    msg.times = stage_times_to_msg(plan.times)
    return msg


def plan_from_msg(msg: PlanMsg) -> PublishedPlan:
    """Return what a Plan message holds.

    Raises:
        InvalidInput: for a message without candidates, with an unknown status or an index out of range,
            or with a pose that is not finite or has no unit quaternion.
    """
    if not msg.candidates:
        raise InvalidInput("candidates: expected at least one, got none")
    status = _member(PlanStatus, "status", msg.status)
    monitor = _member(MonitorStatus, "monitor", msg.monitor)
    arrays = [_candidate_arrays(candidate) for candidate in msg.candidates]
    plan = Plan(
        t0_ns=stamp_to_ns(msg.header.stamp),
        xyz_in_rig_t0=np.stack([a["xyz"] for a in arrays]),
        rot_in_rig_t0=np.stack([a["rot"] for a in arrays]),
        accel_mps2=np.stack([a["accel"] for a in arrays]),
        curvature_per_m=np.stack([a["curvature"] for a in arrays]),
        speed_mps=np.stack([a["speed"] for a in arrays]),
        normalised_action=np.stack([a["action"] for a in arrays]),
        reasoning=tuple(c.reasoning for c in msg.candidates),
        reasoning_complete=tuple(bool(c.reasoning_complete) for c in msg.candidates),
        meta_action=tuple(c.meta_action for c in msg.candidates),
        token_ids=tuple(tuple(int(i) for i in c.token_ids) for c in msg.candidates),
        sections=tuple(_sections_from_msg(c) for c in msg.candidates),
        chosen=int(msg.chosen),
        times=stage_times_from_msg(msg.times),
        model=msg.model,
        seed=int(msg.seed),
    )
    return PublishedPlan(
        plan=plan,
        rig_frame=msg.header.frame_id,
        odometry_frame=msg.odometry_frame_id,
        odom_from_rig_t0=pose_to_matrix(msg.rig_pose, name="rig_pose"),
        valid_until_ns=stamp_to_ns(msg.valid_until),
        status=status,
        status_reason=msg.status_reason,
        instruction=msg.instruction,
        engaged=bool(msg.engaged),
        decided_ns=stamp_to_ns(msg.decided),
        checks=tuple(Check(c.name, float(c.value), float(c.limit), c.unit) for c in msg.checks),
        monitor=monitor,
        monitor_reason=msg.monitor_reason,
    )


def _member(kind: type[_Constant], name: str, value: int) -> _Constant:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(f"{constant.value} {constant.name}" for constant in kind)
        raise InvalidInput(f"{name}: expected one of {known}, got {value}") from error


def stage_times_to_msg(times: StageTimes) -> StageTimesMsg:
    """Return the message of a plan's stage times, ms."""
    from alpamayo_ros.msg import StageTimes as StageTimesMsg

    msg = StageTimesMsg(tokens=int(times.tokens))
    for name in _STAGES_MS:
        setattr(msg, name, float(getattr(times, name)))
    return msg


def stage_times_stamped_to_msg(
    outcome: PlanOutcome, *, observation_ms: float, output_ms: float, age_ms: float
) -> StageTimesStampedMsg:
    """Return where the time of a plan went.

    Args:
        outcome: of the inference.
        observation_ms: from t0 until the observation was complete.
        output_ms: judging, converting and publishing it.
        age_ms: from t0 until it had been published.
    """
    from alpamayo_ros.msg import StageTimesStamped

    msg = StageTimesStamped(
        observation_ms=float(observation_ms),
        queue_ms=float(outcome.queue_ms),
        inference_ms=float(outcome.latency_ms),
        output_ms=float(output_ms),
        age_ms=float(age_ms),
    )
    msg.header.stamp = stamp_from_ns(outcome.observation.t0_ns)
    if outcome.plan is not None:
        msg.times = stage_times_to_msg(outcome.plan.times)
    return msg


def stage_times_from_msg(msg: StageTimesMsg) -> StageTimes:
    """Return the stage times, ms, of a message."""
    return StageTimes(**{name: float(getattr(msg, name)) for name in _STAGES_MS}, tokens=int(msg.tokens))


def _check_to_msg(check: Check) -> GateCheckMsg:
    from alpamayo_ros.msg import GateCheck

    return GateCheck(
        name=check.name,
        value=float(check.value),
        limit=float(check.limit),
        unit=check.unit,
        passed=check.passed,
    )


def _candidate_to_msg(plan: Plan, k: int) -> PlanCandidateMsg:
    from alpamayo_ros.msg import PlanCandidate

    candidate = PlanCandidate()
    rows = zip(
        candidate.waypoints,
        waypoint_stamps_ns(0, count=NUM_WAYPOINTS),
        plan.xyz_in_rig_t0[k].tolist(),
        Rotation.from_matrix(plan.rot_in_rig_t0[k].astype(np.float64)).as_quat().tolist(),
        plan.speed_mps[k, 1:].tolist(),
        plan.accel_mps2[k].tolist(),
        plan.curvature_per_m[k].tolist(),
        strict=True,
    )
    for waypoint, time_ns, xyz, quaternion_xyzw, speed_mps, accel_mps2, curvature_per_m in rows:
        fill_pose(waypoint.pose, xyz, quaternion_xyzw)
        waypoint.time_from_start = duration_from_ns(time_ns)
        waypoint.velocity_mps = speed_mps
        waypoint.acceleration_mps2 = accel_mps2
        waypoint.curvature_per_m = curvature_per_m
    candidate.initial_velocity_mps = float(plan.speed_mps[k, 0])
    candidate.normalised_action = np.ascontiguousarray(plan.normalised_action[k]).reshape(-1)
    candidate.reasoning = text_to_ros(plan.reasoning[k])
    candidate.reasoning_complete = bool(plan.reasoning_complete[k])
    sections = plan.sections[k]
    if sections is not None:
        for name in _SECTIONS:
            setattr(candidate, f"reasoning_{name}", text_to_ros(getattr(sections, name)))
    candidate.meta_action = text_to_ros(plan.meta_action[k])
    # An array('i') is taken as it is; a list would be checked element by element.
    candidate.token_ids = array.array("i", plan.token_ids[k])
    return candidate


def _sections_from_msg(candidate: PlanCandidateMsg) -> ReasoningSections | None:
    sections = ReasoningSections(**{name: getattr(candidate, f"reasoning_{name}") for name in _SECTIONS})
    return None if sections == ReasoningSections() else sections


def _candidate_arrays(candidate: PlanCandidateMsg) -> dict[str, Any]:
    points = candidate.waypoints
    if len(points) != NUM_WAYPOINTS:
        raise InvalidInput(f"waypoints: expected {NUM_WAYPOINTS}, got {len(points)}")
    positions = [p.pose.position for p in points]
    quaternions = np.array([(q.x, q.y, q.z, q.w) for q in (p.pose.orientation for p in points)])
    require_finite("waypoint orientations", quaternions)
    lengths = np.linalg.norm(quaternions, axis=1)
    worst = int(np.argmax(np.abs(lengths - 1.0)))
    if abs(lengths[worst] - 1.0) > _QUATERNION_LENGTH_TOLERANCE:
        raise InvalidInput(
            f"waypoint {worst} orientation: expected a quaternion of length 1, "
            f"got {quaternions[worst].tolist()}"
        )
    speed_mps = [candidate.initial_velocity_mps, *(p.velocity_mps for p in points)]
    return {
        "xyz": np.array([(p.x, p.y, p.z) for p in positions], dtype=np.float32),
        "rot": Rotation.from_quat(quaternions).as_matrix().astype(np.float32),
        "accel": np.array([p.acceleration_mps2 for p in points], dtype=np.float32),
        "curvature": np.array([p.curvature_per_m for p in points], dtype=np.float32),
        "speed": np.array(speed_mps, dtype=np.float32),
        "action": np.array(candidate.normalised_action, dtype=np.float32).reshape(NUM_WAYPOINTS, 2),
    }
