"""What AlpaSim needs of a driver, one rule a line, and the check of one answer to drive() by them.

Answers are checked as they came over the wire: what a reader would mend or refuse is exactly what is looked
for. AlpaSim's own code was seen to fail a rollout for most of these faults, but takes a NaN without a word:
that is an error here.
"""

from __future__ import annotations

import json
import math
import pickletools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from alpamayo_ros.sim.asl_tallies import debug_info as debug_info_of
from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2
from alpamayo_ros.types import InvalidInput

FIRST_POSE_M = 0.01
FIRST_POSE_RAD = 0.01
QUATERNION_NORM = 1e-3
HORIZON_S = 2.0
SAMPLE_HORIZON_S = 5.0
ANSWER_BYTES = 4 * 1024 * 1024
"""What gRPC receives by default, and AlpaSim's client with it."""


@dataclass(frozen=True)
class Rule:
    """One thing that is expected of a driver.

    Attributes:
        name: short, for tables.
        expected: what.
        otherwise: what AlpaSim does where it is not so.
        warning: whether no rollout fails for it, and only figures or views suffer.
        of_answers: whether answers to drive() are looked at: without any, nobody knows.
    """

    name: str
    expected: str
    otherwise: str
    warning: bool = False
    of_answers: bool = True


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("version", "get_version answers", "the run does not begin", of_answers=False),
        Rule("start_session", "start_session is OK", "the rollout fails", of_answers=False),
        Rule(
            "told",
            "pictures, egomotion, route and ground truth are OK in any order",
            "the rollout fails",
            of_answers=False,
        ),
        Rule("answered", "drive is OK, in the first seconds too", "the rollout fails"),
        Rule("close_session", "close_session is OK", "the rollout fails", of_answers=False),
        Rule("size", f"at most {ANSWER_BYTES} bytes", "gRPC refuses it: the rollout fails"),
        Rule("not_empty", "poses", "the rollout fails, but while the recording is followed"),
        Rule("stamps_rise", "strictly rising stamps", "the rollout fails"),
        Rule("finite", "finite numbers", "taken without a word: the vehicle is driven by NaN"),
        Rule(
            "unit_quaternion",
            f"quaternions of norm 1 within {QUATERNION_NORM:g}",
            "zero ones fail the rollout",
        ),
        Rule("first_stamp", "a first pose stamped time_now", "a later one fails the rollout"),
        Rule(
            "first_pose",
            f"a first pose at the newest egomotion's (to {FIRST_POSE_M:g} m, {FIRST_POSE_RAD:g} rad)",
            "the controller steers away an error that is none",
        ),
        Rule("horizon", f"a last pose {HORIZON_S:g} s ahead or more", "the vehicle brakes"),
        Rule("same_answers", "the answers of a session driven alone", "runs cannot be repeated"),
        Rule("goes_on", "no terminate_session", "the rollout ends early", warning=True),
        Rule("samples", "sampled trajectories", "no minADE", warning=True),
        Rule("samples_finite", "samples of finite numbers and rising stamps", "no minADE", warning=True),
        Rule(
            "samples_horizon",
            f"samples that each reach {SAMPLE_HORIZON_S:g} s ahead",
            "one short sample, and no minADE at all",
            warning=True,
        ),
        Rule("debug_info", "none, JSON, or a whole pickle", "the evaluator cannot read it", warning=True),
        Rule(
            "repeated_start",
            "ALREADY_EXISTS for a session that is there",
            "two rollouts may share a session",
            warning=True,
            of_answers=False,
        ),
        Rule(
            "unknown_session",
            "NOT_FOUND for a drive in a session that is not there",
            "a client's mistake looks like an answer",
            warning=True,
            of_answers=False,
        ),
    )
}
"""All rules by name, in the order of a report."""


@dataclass(frozen=True)
class Finding:
    """A rule that was broken.

    Attributes:
        rule: its name, one of RULES.
        got: what was there instead.
        session: which, from 0; None for what concerns no session.
        step: which, from 0; None outside of steps.
        now_us: time_now of that step.
    """

    rule: str
    got: str
    session: int | None = None
    step: int | None = None
    now_us: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InvalidInput(f"rule: expected one of {', '.join(RULES)}, got {self.rule!r}")

    @property
    def warning(self) -> bool:
        """Return whether no rollout fails for it."""
        return RULES[self.rule].warning

    @property
    def where(self) -> str:
        """Return like "session 0, step 3 (time_now 1700000000500000)"."""
        names = ("session", self.session), ("step", self.step)
        text = ", ".join(f"{name} {number}" for name, number in names if number is not None)
        return text + (f" (time_now {self.now_us})" if self.now_us is not None else "")


def check_answer(
    answer: egodriver_pb2.DriveResponse, *, now_us: int, newest_rig: common_pb2.PoseAtTime | None
) -> Iterator[tuple[str, str]]:
    """Yield (rule, what was got) for each rule that an answer to drive() breaks.

    Args:
        answer: as it came.
        now_us: time_now of the request.
        newest_rig: the newest pose in local that the driver has been told, none after time_now; None where
            it has been told none.
    """
    size = answer.ByteSize()
    if size > ANSWER_BYTES:
        yield "size", f"{size} bytes"
    if answer.terminate_session:
        yield "goes_on", "terminate_session"
    if answer.trajectory.poses:
        yield from _check_trajectory(answer.trajectory.poses, now_us, newest_rig)
    elif not answer.terminate_session:
        yield "not_empty", "no pose"
    yield from _check_samples(answer.debug_info.sampled_trajectories, now_us)
    problem = debug_info_problem(answer.debug_info.unstructured_debug_info)
    if problem:
        yield "debug_info", problem


def debug_info_problem(data: bytes) -> str:
    """Return why nobody can read a debug info, "" where somebody can.

    A pickle is gone through opcode by opcode and never opened: that would run what its writer wished.
    """
    kind, _ = debug_info_of(data)
    if kind == "other":
        return f"{len(data)} bytes that are neither: {data[:20]!r}"
    if kind == "json":
        return "" if isinstance(json.loads(data), dict) else f"JSON, but no object: {data[:20]!r}"
    if kind == "pickle":
        end = -1
        try:
            for opcode, _, position in pickletools.genops(data):
                end = (position or 0) + 1 if opcode.name == "STOP" else end
        except Exception as error:  # whatever its parser stumbles over
            return f"a pickle that breaks off: {error}"
        if end != len(data):
            return f"a pickle that ends at byte {end} of {len(data)}"
    return ""


def _check_trajectory(
    poses: Iterable[common_pb2.PoseAtTime], now_us: int, newest_rig: common_pb2.PoseAtTime | None
) -> Iterator[tuple[str, str]]:
    poses = list(poses)
    yield from _check_stamps("stamps_rise", poses)
    bad = _first_not_finite(poses)
    if bad is not None:
        yield "finite", f"{_numbers(poses[bad])} at pose {bad}"
    for index, pose in enumerate(poses):
        norm = _norm(pose.pose.quat)
        if math.isfinite(norm) and abs(norm - 1.0) > QUATERNION_NORM:
            yield "unit_quaternion", f"norm {norm:.4f} at pose {index}"
            break
    first, ahead_s = poses[0], (poses[-1].timestamp_us - now_us) / 1e6
    if first.timestamp_us != now_us:
        yield "first_stamp", f"{(first.timestamp_us - now_us) / 1e6:+.6f} s from it"
    if newest_rig is not None and bad != 0:
        yield from _check_first_pose(first.pose, newest_rig.pose)
    if ahead_s < HORIZON_S:
        yield "horizon", f"{ahead_s:.3f} s"


def _check_first_pose(first: common_pb2.Pose, rig: common_pb2.Pose) -> Iterator[tuple[str, str]]:
    here, there = first.vec, rig.vec
    off_m = math.dist((here.x, here.y, here.z), (there.x, there.y, there.z))
    turned_rad = _angle(first.quat, rig.quat)
    if off_m > FIRST_POSE_M or turned_rad > FIRST_POSE_RAD:
        yield "first_pose", f"{off_m:.3f} m and {turned_rad:.4f} rad away"


def _check_samples(samples: Iterable[common_pb2.Trajectory], now_us: int) -> Iterator[tuple[str, str]]:
    samples = list(samples)
    if not samples:
        yield "samples", "none"
    faults: dict[str, str] = {}
    for index, sample in enumerate(samples):
        poses = list(sample.poses)
        if not poses:
            faults.setdefault("samples_horizon", f"no pose in sample {index}")
            continue
        bad = _first_not_finite(poses)
        if bad is not None:
            faults.setdefault("samples_finite", f"{_numbers(poses[bad])} at pose {bad} of sample {index}")
        for _, got in _check_stamps("samples_finite", poses):
            faults.setdefault("samples_finite", f"{got} of sample {index}")
        ahead_s = (poses[-1].timestamp_us - now_us) / 1e6
        if ahead_s < SAMPLE_HORIZON_S:
            faults.setdefault("samples_horizon", f"{ahead_s:.3f} s by sample {index}")
    yield from faults.items()


def _check_stamps(rule: str, poses: list[common_pb2.PoseAtTime]) -> Iterator[tuple[str, str]]:
    for index, (before, after) in enumerate(pairwise(poses), start=1):
        if after.timestamp_us <= before.timestamp_us:
            yield rule, f"{after.timestamp_us} us after {before.timestamp_us} us at pose {index}"
            return


def _first_not_finite(poses: list[common_pb2.PoseAtTime]) -> int | None:
    return next((i for i, pose in enumerate(poses) if not all(map(math.isfinite, _numbers(pose)))), None)


def _numbers(pose: common_pb2.PoseAtTime) -> tuple[float, ...]:
    v, q = pose.pose.vec, pose.pose.quat
    return v.x, v.y, v.z, q.w, q.x, q.y, q.z


def _norm(q: common_pb2.Quat) -> float:
    return math.sqrt(q.w**2 + q.x**2 + q.y**2 + q.z**2)


def _angle(a: common_pb2.Quat, b: common_pb2.Quat) -> float:
    """Return the angle between two rotations in rad; q and -q are the same one.

    By the vector part of a's inverse times b: the cosine alone resolves no small angle in float32.
    """
    w = a.w * b.w + a.x * b.x + a.y * b.y + a.z * b.z
    x = a.w * b.x - a.x * b.w - a.y * b.z + a.z * b.y
    y = a.w * b.y + a.x * b.z - a.y * b.w - a.z * b.x
    z = a.w * b.z - a.x * b.y + a.y * b.x - a.z * b.w
    return 2.0 * math.atan2(math.sqrt(x * x + y * y + z * z), abs(w))
