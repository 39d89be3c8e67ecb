"""Plans that a bag holds: alpamayo_ros/Plan messages as the stack published them, read without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.run import PLAN_TYPE, REJECTED_NAME
from alpamayo_ros.evaluation.drive import stamp_of
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Plan, ReasoningSections, StageTimes

_STATUS = {0: "unknown", 1: "unchecked", 2: "valid", 3: "fallback", 4: "rejected"}
_SECTIONS = ("observation", "reasoning", "action", "prediction")
_STAGES_MS = ("preprocess_ms", "vision_ms", "prefill_ms", "reasoning_ms", "denoise_ms", "total_ms")
STOP = "fallback"


@dataclass(frozen=True, eq=False)
class RecordedPlan:
    """A plan as it was recorded.

    Attributes:
        plan: of the model; texts and times as published.
        status: unchecked, valid or rejected.
        instruction: navigation text that it was made with, "" for none.
        published_ms: from t0 to its recording.
    """

    plan: Plan
    status: str
    instruction: str
    published_ms: float


def plan_topics(bag: BagReader) -> list[str]:
    """Return the topics of plans that a bag has messages on; those of rejected ones are not named."""
    return sorted(
        topic.name
        for topic in bag.topics.values()
        if topic.type_name == PLAN_TYPE and topic.count and not topic.name.endswith(REJECTED_NAME)
    )


def recorded_plans(bag: BagReader, topic: str, *, left_out: Counter[str]) -> Iterator[RecordedPlan]:
    """Yield the model's plans of a topic by rising t0, those that the gate rejected among them.

    Stops that were sent in the place of a plan are no plans of the model: they are counted, and left out, as
    are messages that cannot be understood and a second plan of one t0.

    Raises:
        BagError: for a topic that the bag lacks or that is of another type.
    """
    known = bag.topics.get(topic)
    if known is None or known.type_name != PLAN_TYPE:
        have = "none" if known is None else known.type_name
        raise BagError(f"bag {bag.path}: expected {PLAN_TYPE} on {topic}, got {have}")
    rejected = topic.removesuffix("plan") + REJECTED_NAME
    found: dict[int, RecordedPlan] = {}
    for message in bag.messages([topic, rejected]):
        content = bag.decode(message)
        status = _STATUS.get(int(content.status), "unknown")
        if status == STOP:
            left_out["a stop in the place of a plan"] += 1
            continue
        try:
            plan = _plan(content)
        except InvalidInput as error:
            left_out[f"a plan that cannot be read ({str(error).split(':')[0]})"] += 1
            continue
        if plan.t0_ns in found:
            left_out["a second plan of the same t0"] += 1
            continue
        published_ms = (message.stamp_ns - plan.t0_ns) / 1e6
        found[plan.t0_ns] = RecordedPlan(plan, status, str(content.instruction), published_ms)
    yield from (found[t0_ns] for t0_ns in sorted(found))


def _plan(content: Any) -> Plan:
    if not content.candidates:
        raise InvalidInput("candidates: expected at least one, got none")
    arrays = [_candidate(candidate) for candidate in content.candidates]
    times = {name: float(getattr(content.times, name)) for name in _STAGES_MS}
    return Plan(
        t0_ns=stamp_of(content.header),
        **{name: np.stack([each[name] for each in arrays]) for name in arrays[0]},
        reasoning=tuple(str(c.reasoning) for c in content.candidates),
        reasoning_complete=tuple(bool(c.reasoning_complete) for c in content.candidates),
        meta_action=tuple(str(c.meta_action) for c in content.candidates),
        token_ids=tuple(tuple(int(i) for i in c.token_ids) for c in content.candidates),
        sections=tuple(_sections(c) for c in content.candidates),
        chosen=int(content.chosen),
        times=StageTimes(**times, tokens=int(content.times.tokens)),
        model=str(content.model),
        seed=int(content.seed),
    )


def _sections(candidate: Any) -> ReasoningSections | None:
    told = ReasoningSections(**{name: str(getattr(candidate, f"reasoning_{name}", "")) for name in _SECTIONS})
    return None if told == ReasoningSections() else told


def _candidate(candidate: Any) -> dict[str, np.ndarray]:
    points = candidate.waypoints
    if len(points) != NUM_WAYPOINTS:
        raise InvalidInput(f"waypoints: expected {NUM_WAYPOINTS}, got {len(points)}")
    xyz = np.array([(w.pose.position.x, w.pose.position.y, w.pose.position.z) for w in points])
    q = [w.pose.orientation for w in points]
    quaternions = np.array([(each.x, each.y, each.z, each.w) for each in q])
    if not np.allclose(np.linalg.norm(quaternions, axis=1), 1.0, atol=0.01):
        raise InvalidInput("waypoints: expected unit quaternions, got others")
    speed = [candidate.initial_velocity_mps, *(w.velocity_mps for w in points)]
    action = np.asarray(candidate.normalised_action, np.float32).reshape(NUM_WAYPOINTS, 2)
    return {
        "xyz_in_rig_t0": xyz.astype(np.float32),
        "rot_in_rig_t0": Rotation.from_quat(quaternions).as_matrix().astype(np.float32),
        "accel_mps2": np.array([w.acceleration_mps2 for w in points], np.float32),
        "curvature_per_m": np.array([w.curvature_per_m for w in points], np.float32),
        "speed_mps": np.array(speed, np.float32),
        "normalised_action": action,
    }
