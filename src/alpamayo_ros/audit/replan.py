"""Decide again from a bag: the same frames, history, model and seed must give the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alpamayo_ros.audit.identity import hash_folder
from alpamayo_ros.audit.reader import AuditError
from alpamayo_ros.audit.record import DecisionRecord, ObservationRecord, hash_frame
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.audit.verify import history_problem
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.views import camera_info_of, fixed_transform, frame_of, recorded_parents
from alpamayo_ros.sensing.camera_info import model_from_camera_info
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rigid import Matrix4, from_quaternion, invert
from alpamayo_ros.types import InvalidInput, Plan, UInt8Array

if TYPE_CHECKING:
    from alpamayo_ros.model import Alpamayo

_COMPARED = (
    "xyz_in_rig_t0",
    "rot_in_rig_t0",
    "speed_mps",
    "accel_mps2",
    "curvature_per_m",
    "normalised_action",
)
_TEXTS = ("reasoning", "reasoning_complete", "meta_action", "token_ids")
_POSE_TOLERANCE = 1e-9
"""Of poses, a share of their largest number: transforms of /tf_static may be chained in another order."""
_BEFORE_NS, _AFTER_NS = 500_000_000, 3_000_000_000
"""Messages are looked for among those recorded from so long before their stamp to so long after it."""


class Verdict(Enum):
    """What comes of a comparison."""

    SAME = "same"
    CLOSE = "within the tolerance"
    DIFFERENT = "different"
    UNKNOWN = "cannot be compared"


@dataclass(frozen=True)
class Finding:
    """What comes of one comparison, and for people what differs or is missing."""

    verdict: Verdict
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.detail}" if self.detail else self.verdict.value


SAME = Finding(Verdict.SAME)


@dataclass(frozen=True)
class Recomputed:
    """What became of one decision: of its frames, its history, and the plan that was made again from both."""

    t0_ns: int
    frames: Finding
    history: Finding
    plan: Finding

    @property
    def verdict(self) -> Verdict:
        """The whole: the worst of the three, a difference being worse than what cannot be compared."""
        found = {self.frames.verdict, self.history.verdict, self.plan.verdict}
        order = (Verdict.DIFFERENT, Verdict.UNKNOWN, Verdict.CLOSE)
        return next((verdict for verdict in order if verdict in found), Verdict.SAME)


class BagDecisions:
    """Recomputes decisions of one log from one bag.

    Args:
        session: the log's first record.
        bag: the recording that the planner was fed with.
        model: plans again, and prepares the frames as it did then.
        tolerance_m: how far waypoints may lie apart where the same bits cannot be asked for.

    Raises:
        AuditError: where the bag lacks a topic of the log.
    """

    def __init__(
        self, session: AuditSession, bag: BagReader, *, model: Alpamayo, tolerance_m: float = 0.0
    ) -> None:
        self._session, self._bag, self._model = session, bag, model
        self._tolerance_m = tolerance_m
        self._rig = session.rig()
        wanted = [*session.camera_topics.values(), session.odometry_topic]
        missing = [topic for topic in wanted if topic not in bag.topics]
        if missing:
            raise AuditError(
                f"bag {bag.path}: expected the log's topics, got no {', '.join(missing)}; "
                f"it has {', '.join(sorted(bag.topics))}"
            )
        self._pipelines = {
            camera.camera_id: FramePipeline(camera, model.prepare_frame) for camera in self._rig.cameras
        }
        self._parents = recorded_parents(bag)
        self._take_lenses()

    def recompute(self, record: DecisionRecord) -> Recomputed:
        """Return what becomes of a decision; raises AuditError for one without an observation or a plan."""
        observation, plan = record.observation, record.plan
        if observation is None or plan is None:
            raise AuditError(f"decision of t0 {record.t0_ns} ns: expected observation and plan, got none")
        frames, about_frames = self._frames(observation)
        again = Finding(Verdict.UNKNOWN, "not made again")
        if frames is not None and record.options is None:
            again = Finding(Verdict.UNKNOWN, "the log has no options")
        elif frames is not None and record.options is not None:
            options = replace(record.options, seed=plan.seed)
            made = self._model.plan(observation.observation(frames), options)
            again = compare_plans(plan, made, tolerance_m=self._tolerance_m)
        return Recomputed(observation.t0_ns, about_frames, self._history(record), again)

    def _take_lenses(self) -> None:
        for camera in self._rig.cameras:
            if camera.model_camera is None or camera.intrinsics is not None or camera.info_topic is None:
                continue
            first = next(self._bag.messages([camera.info_topic]), None)
            if first is not None:
                info = camera_info_of(self._bag.decode(first))
                model = model_from_camera_info(info, rectified=camera.rectified)
                self._pipelines[camera.camera_id].set_intrinsics(model)

    def _frames(self, observation: ObservationRecord) -> tuple[tuple[UInt8Array, ...] | None, Finding]:
        """Return the frames [4, 3, H, W] of each camera from the bag, and how they compare."""
        made: list[UInt8Array] = []
        different: list[str] = []
        first_ns = min(min(row) for row in observation.frame_stamps_ns)
        for row, camera_id in enumerate(observation.camera_ids):
            topic = self._session.camera_topics[camera_id]
            found, broken = self._images(topic, camera_id, set(observation.frame_stamps_ns[row]), first_ns)
            name = self._rig.camera(camera_id).name
            lacking = [stamp for stamp in observation.frame_stamps_ns[row] if stamp not in found]
            if lacking:
                got = broken.get(lacking[0], "none")
                problem = f"{name}: expected an image of {lacking[0]} ns on {topic} in the bag, got {got}"
                return None, Finding(Verdict.UNKNOWN, problem)
            frames = [found[stamp] for stamp in observation.frame_stamps_ns[row]]
            for frame, digest in zip(frames, observation.frame_sha256[row], strict=True):
                if hash_frame(frame) != digest:
                    different.append(name)
            made.append(np.stack(frames))
        if different:
            counts = ", ".join(f"{different.count(name)} of {name}" for name in dict.fromkeys(different))
            return tuple(made), Finding(Verdict.DIFFERENT, f"other pixels than the model saw: {counts}")
        return tuple(made), SAME

    def _images(
        self, topic: str, camera_id: int, stamps_ns: set[int], first_ns: int
    ) -> tuple[Mapping[int, UInt8Array], Mapping[int, str]]:
        """Return frames [3, H, W] by stamp, and what is wrong with images that make none, by stamp."""
        found: dict[int, UInt8Array] = {}
        broken: dict[int, str] = {}
        # Recorded after their stamps, by whatever the transport took.
        span = {"start_ns": first_ns - _BEFORE_NS, "stop_ns": max(stamps_ns) + _AFTER_NS}
        for message in self._bag.messages([topic], **span):
            content = self._bag.decode(message)
            stamp = content.header.stamp
            stamp_ns = stamp.sec * 10**9 + stamp.nanosec
            if stamp_ns in stamps_ns and stamp_ns not in found:
                try:
                    found[stamp_ns] = frame_of(content, self._pipelines[camera_id])
                except InvalidInput as error:  # the planner took the next of that stamp
                    broken[stamp_ns] = f"one that cannot be read ({error})"
            if len(found) == len(stamps_ns):
                break
        return found, broken

    def _history(self, record: DecisionRecord) -> Finding:
        window = record.odometry
        if window is None or not len(window.stamps_ns):
            return Finding(Verdict.UNKNOWN, "the log has no odometry of it")
        problem = history_problem(record)
        if problem:
            return Finding(Verdict.DIFFERENT, problem)
        return self._odometry(window.stamps_ns.tolist(), window.odom_from_rig)

    def _odometry(self, stamps_ns: list[int], poses: np.ndarray) -> Finding:
        """Compare the log's odometry with the bag's."""
        wanted = dict(zip(stamps_ns, poses, strict=True))
        span = {"start_ns": stamps_ns[0] - _BEFORE_NS, "stop_ns": stamps_ns[-1] + _AFTER_NS}
        seen: set[int] = set()
        for message in self._bag.messages([self._session.odometry_topic], **span):
            content = self._bag.decode(message)
            stamp_ns = content.header.stamp.sec * 10**9 + content.header.stamp.nanosec
            if stamp_ns not in wanted or stamp_ns in seen:
                continue
            rig_from_child = self._rig_from_child(content.child_frame_id)
            if rig_from_child is None:
                problem = f"expected the place of {content.child_frame_id} in rig or /tf_static, got none"
                return Finding(Verdict.UNKNOWN, problem)
            p, q = content.pose.pose.position, content.pose.pose.orientation
            pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)) @ invert(rig_from_child)
            off = float(np.abs(pose - wanted[stamp_ns]).max())
            if off > _POSE_TOLERANCE * max(1.0, float(np.abs(wanted[stamp_ns]).max())):
                problem = f"odometry of {stamp_ns} ns: another pose than in the bag, by {off:.3g}"
                return Finding(Verdict.DIFFERENT, problem)
            seen.add(stamp_ns)
        if len(seen) < len(wanted):
            problem = f"odometry: expected {len(wanted)} messages of the log in the bag, got {len(seen)}"
            return Finding(Verdict.UNKNOWN, problem)
        return SAME

    def _rig_from_child(self, child_frame: str) -> Matrix4 | None:
        """Return the pose of a body frame in the rig frame; the rig file goes before /tf_static."""
        child, rig_frame = (frame.strip().lstrip("/") for frame in (child_frame, self._rig.rig_frame))
        for frame, pose in self._rig.rig_from_child.items():
            if frame.lstrip("/") == child and child != rig_frame:
                return pose
        return fixed_transform(self._parents, rig_frame, child)


def compare_plans(logged: Plan, again: Plan, *, tolerance_m: float = 0.0) -> Finding:
    """Compare a plan with the one that was made again: bit by bit, and then within a tolerance.

    Tokens and texts must be the same whatever the tolerance is.
    """
    if again.num_samples != logged.num_samples:
        problem = f"expected {logged.num_samples} candidates, got {again.num_samples}"
        return Finding(Verdict.DIFFERENT, problem)
    apart = again.xyz_in_rig_t0.astype(np.float64) - logged.xyz_in_rig_t0.astype(np.float64)
    largest_m = float(np.linalg.norm(apart, axis=-1).max())
    other = [name for name in _TEXTS if getattr(again, name) != getattr(logged, name)]
    if other:
        problem = f"other {', '.join(other)}; waypoints by up to {largest_m:.3g} m"
        return Finding(Verdict.DIFFERENT, problem)
    other = [
        name
        for name in _COMPARED
        if not np.array_equal(getattr(again, name), getattr(logged, name), equal_nan=True)
    ]
    if not other:
        return SAME
    verdict = Verdict.CLOSE if largest_m <= tolerance_m else Verdict.DIFFERENT
    return Finding(verdict, f"other {', '.join(other)}; waypoints by up to {largest_m:.3g} m")


def load_model(
    session: AuditSession, weights: Mapping[str, Any], *, checkpoint: str | None = None
) -> tuple[Alpamayo, str]:
    """Load the model of a log, to compute as it did then.

    Args:
        session: the log's first record.
        weights: what the log says of the model's files.
        checkpoint: where it is now; by default where it was.

    Returns:
        The model, and "" or why its figures may differ from the log's all the same.

    Raises:
        AuditError: where the planner was no Alpamayo, the checkpoint is not there, or it is another.
    """
    logged = session.model
    if logged.kind != "alpamayo":
        raise AuditError(
            f"model: expected one that can be loaded again, got {logged.kind} ({logged.model_id})"
        )
    folder = checkpoint or logged.checkpoint
    if not Path(folder).is_dir():
        raise AuditError(
            f"checkpoint: expected the folder {folder}, got none; say where it is: --checkpoint DIR"
        )
    expected = weights.get("checkpoint", {}).get("sha256")
    if not expected:
        raise AuditError(
            "weights: expected their hash in the log, got none: it ended before they were hashed"
        )
    backbone = logged.backbone if Path(logged.backbone).is_dir() else None
    _require_files("checkpoint", folder, expected)
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.speed import SpeedOptions
    from alpamayo_ros.model.threads import use_cpu_threads

    try:
        model = Alpamayo.from_pretrained(
            folder,
            backbone=backbone,
            device=logged.device,
            dtype=logged.dtype,
            speed=SpeedOptions(fp8=logged.fp8, read_ahead=logged.read_ahead),
        )
    except (InvalidInput, RuntimeError) as error:
        raise AuditError(f"model: expected one on {logged.device} in {logged.dtype}, got: {error}") from error
    _require_files("backbone", str(model.backbone_folder), weights.get("backbone", {}).get("sha256", ""))
    if model.device.type == "cpu" and logged.cpu_threads:
        use_cpu_threads(logged.cpu_threads)
    return model, _doubt(session, model)


def _require_files(what: str, folder: str, expected: str) -> None:
    have = hash_folder(folder).sha256
    if have != expected:
        raise AuditError(
            f"{what} {folder}: expected files of hash {expected[:12]}…, got {have[:12]}…: another model"
        )


def _doubt(session: AuditSession, model: Alpamayo) -> str:
    from alpamayo_ros.audit.identity import identity_of

    then, now = session.model, identity_of(model)
    if not then.repeats_exactly:
        return f"{then.dtype} on {then.device} does not repeat bit by bit"
    changed = [
        f"{name} {dict(then.versions or {}).get(name)} then, {version} now"
        for name, version in (now.versions or {}).items()
        if dict(then.versions or {}).get(name) != version
    ]
    if then.processor != now.processor:
        changed.append(f"{then.processor} then, {now.processor} now")
    return "; ".join(changed)
