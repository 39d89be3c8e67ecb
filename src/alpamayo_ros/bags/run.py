"""What a recorded run of the planner holds: plans, the drive, diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader, RawMessage

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

PLAN_TYPE = "alpamayo_ros/msg/Plan"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
DIAGNOSTICS_TYPE = "diagnostic_msgs/msg/DiagnosticArray"
REJECTED_NAME = "debug/rejected_plan"
STAGES = ("preprocess", "vision", "prefill", "reasoning", "denoise", "total")

_HARDWARE_ID = "alpamayo_ros"
_STATUS_PREFIX = "STATUS_"

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlanRecord:
    """One published plan, or a stop in the place of one.

    Attributes:
        t0_ns: stamp of its observation.
        received_ns: when the recorder got it, by the recording's clock.
        status: "unchecked", "valid", "rejected", "fallback".
        status_reason: why it was rejected or what a stop is for.
        contradiction: what the monitor says about it, if its reasoning contradicts it.
        odom_from_rig_t0: [4, 4], pose of the rig at t0.
        xyz_in_rig_t0: [K, 64, 3] m.
        speed_mps: [K, 65], the first is the speed that the plan starts from.
        chosen: index of the candidate to drive.
        reasoning: of the chosen candidate.
        instruction: navigation text that it was made with.
        model: what made it.
        stages_ms: stage -> ms.
        tokens: generated tokens of the longest candidate.
    """

    t0_ns: int
    received_ns: int
    status: str
    odom_from_rig_t0: FloatArray
    xyz_in_rig_t0: FloatArray
    speed_mps: FloatArray
    chosen: int
    reasoning: str
    instruction: str
    model: str
    stages_ms: dict[str, float]
    tokens: int
    status_reason: str = ""
    contradiction: str = ""

    @property
    def publish_latency_ms(self) -> float:
        """From t0 to the plan's arrival, by the recording's clock."""
        return (self.received_ns - self.t0_ns) / 1e6


@dataclass(frozen=True, eq=False)
class Track:
    """The drive as odometry tells it.

    Attributes:
        stamps_ns: [N], rising.
        odom_from_child: [N, 4, 4].
        speed_mps: [N], forward, from the twist.
    """

    stamps_ns: NDArray[np.int64]
    odom_from_child: FloatArray
    speed_mps: FloatArray

    def pose(self, stamp_ns: int) -> FloatArray | None:
        """Return the pose [4, 4] at a time, interpolated; None outside of the track."""
        from scipy.spatial.transform import Rotation, Slerp

        if len(self.stamps_ns) < 2 or not self.stamps_ns[0] <= stamp_ns <= self.stamps_ns[-1]:
            return None
        after = int(
            np.clip(np.searchsorted(self.stamps_ns, stamp_ns, side="right"), 1, len(self.stamps_ns) - 1)
        )
        a, b = self.odom_from_child[after - 1], self.odom_from_child[after]
        start, end = int(self.stamps_ns[after - 1]), int(self.stamps_ns[after])
        share = (stamp_ns - start) / (end - start)
        pose = np.eye(4)
        pose[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
        pose[:3, :3] = Slerp([0.0, 1.0], Rotation.from_matrix([a[:3, :3], b[:3, :3]]))(share).as_matrix()
        return pose

    def future_in_rig_t0(self, plan: PlanRecord, times_s: FloatArray) -> FloatArray:
        """Return where the rig was at t0 + times_s, [N, 3] m in the rig frame at t0; NaN where unknown.

        Odometry may be of another body frame than the rig: what is between them is taken from the plan's
        own pose at t0.
        """
        xyz = np.full((len(times_s), 3), np.nan)
        at_t0 = self.pose(plan.t0_ns)
        if at_t0 is None:
            return xyz
        child_from_rig = np.linalg.inv(at_t0) @ plan.odom_from_rig_t0
        rig_t0_from_odom = np.linalg.inv(plan.odom_from_rig_t0)
        for i, time_s in enumerate(times_s):
            pose = self.pose(plan.t0_ns + round(time_s * 1e9))
            if pose is not None:
                xyz[i] = (rig_t0_from_odom @ pose @ child_from_rig)[:3, 3]
        return xyz


@dataclass(frozen=True)
class DiagnosticsRecord:
    """One report of the planner: status name (without "alpamayo/") -> key -> value."""

    stamp_ns: int
    values: dict[str, dict[str, str]]
    messages: dict[str, str]


@dataclass(frozen=True, eq=False)
class Run:
    """A recorded run, read with read_run().

    Attributes:
        plans: what the model made, rejected ones too, as they were recorded.
        stops: what was sent in the place of a valid plan.
    """

    path: Path
    start_ns: int
    end_ns: int
    counts: dict[str, int]
    plans: tuple[PlanRecord, ...]
    track: Track
    diagnostics: tuple[DiagnosticsRecord, ...] = field(repr=False)
    stops: tuple[PlanRecord, ...] = ()

    @property
    def plans_by_status(self) -> dict[str, int]:
        """Number of the model's plans of each status."""
        return dict(Counter(plan.status for plan in self.plans))

    def last(self, status: str) -> dict[str, str]:
        """Return a status' values as the planner last reported them; {} without a report."""
        for record in reversed(self.diagnostics):
            if status in record.values:
                return record.values[status]
        return {}

    def inference(self) -> dict[str, str]:
        """Return the planner's counters as it last reported them; {} without a report."""
        return self.last("inference")


def refusals(inference: dict[str, str]) -> dict[str, int]:
    """Return reason -> number from the planner's counters."""
    prefix = "refusals/"
    return {k.removeprefix(prefix): int(v) for k, v in inference.items() if k.startswith(prefix)}


def read_run(path: str | Path, *, plan_topic: str, odometry_topic: str) -> Run:
    """Read a recorded run.

    Args:
        path: the bag.
        plan_topic: absolute name of the topic with the plans; those that were rejected are beside it.
        odometry_topic: absolute name of the topic with the odometry.

    Raises:
        BagError: where the bag cannot be read, or these topics are of other types.
    """
    rejected_topic = plan_topic.removesuffix("plan") + REJECTED_NAME
    expected_types = ((plan_topic, PLAN_TYPE), (rejected_topic, PLAN_TYPE), (odometry_topic, ODOMETRY_TYPE))
    with BagReader(path) as bag:
        for topic, expected in expected_types:
            known = bag.topics.get(topic)
            if known is not None and known.type_name != expected:
                raise BagError(f"bag {path}: expected {expected} on {topic}, got {known.type_name}")
        has_plans = plan_topic in bag.topics or rejected_topic in bag.topics
        status_names = plan_status_names(bag.typestore) if has_plans else {}
        plans: list[PlanRecord] = []
        odometry: list[tuple[int, FloatArray, float]] = []
        diagnostics: list[DiagnosticsRecord] = []
        for message in bag.messages([plan_topic, rejected_topic, odometry_topic, "/diagnostics"]):
            content = bag.decode(message)
            if message.topic in (plan_topic, rejected_topic):
                plans.append(
                    plan_record(
                        content,
                        topic=message.topic,
                        received_ns=message.stamp_ns,
                        status_names=status_names,
                    )
                )
            elif message.topic == odometry_topic:
                odometry.append(
                    (
                        _stamp_ns(content.header.stamp),
                        pose_matrix(content.pose.pose),
                        content.twist.twist.linear.x,
                    )
                )
            elif message.type_name == DIAGNOSTICS_TYPE:
                record = _diagnostics(content, message)
                if record is not None:
                    diagnostics.append(record)
        counts = {topic.name: topic.count for topic in bag.topics.values()}
        start_ns, end_ns = bag.start_ns, bag.end_ns
    return Run(
        Path(path),
        start_ns,
        end_ns,
        counts,
        tuple(plan for plan in plans if plan.status != "fallback"),
        _track(odometry),
        tuple(diagnostics),
        stops=tuple(plan for plan in plans if plan.status == "fallback"),
    )


def _track(samples: list[tuple[int, FloatArray, float]]) -> Track:
    """Return the samples by rising stamp; of equal stamps the first."""
    rising: list[tuple[int, FloatArray, float]] = []
    for sample in sorted(samples, key=lambda s: s[0]):
        if not rising or sample[0] > rising[-1][0]:
            rising.append(sample)
    return Track(
        np.array([s for s, _, _ in rising], np.int64),
        np.array([m for _, m, _ in rising]).reshape(-1, 4, 4),
        np.array([v for _, _, v in rising], np.float64),
    )


def plan_status_names(store: Typestore) -> dict[int, str]:
    """Return status -> name, in lower case, by the constants of the message definition at hand."""
    constants = store.fielddefs[PLAN_TYPE][0]
    return {
        int(str(value)): name.removeprefix(_STATUS_PREFIX).lower()
        for name, _, value in constants
        if name.startswith(_STATUS_PREFIX)
    }


def plan_record(content: Any, *, topic: str, received_ns: int, status_names: Mapping[int, str]) -> PlanRecord:
    """Return what a decoded alpamayo_ros/Plan says.

    Args:
        content: the message.
        topic: where it came from, for the error.
        received_ns: when it came, by the clock of who got it.
        status_names: as from plan_status_names().

    Raises:
        BagError: for a chosen candidate that is not there.
    """
    candidates = content.candidates
    chosen = int(content.chosen)
    if chosen >= len(candidates):
        raise BagError(f"{topic}: expected a chosen candidate below {len(candidates)}, got {chosen}")
    points = [[w.pose.position for w in c.waypoints] for c in candidates]
    times = content.times
    return PlanRecord(
        t0_ns=_stamp_ns(content.header.stamp),
        received_ns=received_ns,
        status=status_names.get(int(content.status), f"status_{content.status}"),
        odom_from_rig_t0=pose_matrix(content.rig_pose),
        xyz_in_rig_t0=np.array([[(p.x, p.y, p.z) for p in line] for line in points]),
        speed_mps=np.array(
            [[c.initial_velocity_mps, *(w.velocity_mps for w in c.waypoints)] for c in candidates]
        ),
        chosen=chosen,
        reasoning=str(content.reasoning),
        instruction=str(content.instruction),
        model=str(content.model),
        stages_ms={stage: float(getattr(times, f"{stage}_ms")) for stage in STAGES},
        tokens=int(times.tokens),
        status_reason=str(content.status_reason),
        contradiction=str(getattr(content, "monitor_reason", "")),  # bags of before the monitor lack it
    )


def _diagnostics(content: Any, message: RawMessage) -> DiagnosticsRecord | None:
    values: dict[str, dict[str, str]] = {}
    messages: dict[str, str] = {}
    for status in content.status:
        if status.hardware_id == _HARDWARE_ID:
            name = str(status.name).removeprefix("alpamayo/")
            values[name] = {pair.key: pair.value for pair in status.values}
            messages[name] = str(status.message)
    return DiagnosticsRecord(message.stamp_ns, values, messages) if values else None


def _stamp_ns(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def pose_matrix(pose: Any) -> FloatArray:
    """Return a geometry_msgs/Pose as a matrix [4, 4]."""
    from scipy.spatial.transform import Rotation

    q, p = pose.orientation, pose.position
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = (p.x, p.y, p.z)
    return matrix
