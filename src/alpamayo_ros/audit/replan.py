"""Decide again from a bag: the same frames, history, model and seed must give the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alpamayo_ros.audit.identity import hash_folder
from alpamayo_ros.audit.reader import AuditError
from alpamayo_ros.audit.record import DecisionRecord, ObservationRecord, hash_frame
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.views import camera_info_of
from alpamayo_ros.sensing.camera_info import model_from_camera_info
from alpamayo_ros.sensing.ego_history import EgoHistory, History
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import from_quaternion, invert
from alpamayo_ros.sensing.timing import TimingConfig
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


@dataclass(frozen=True)
class Recomputed:
    """What became of one decision.

    Attributes:
        t0_ns: of it.
        frames: "same", or what differs.
        history: "same", or what differs.
        plan: "same", or what differs; "" where it was not made again.
        largest_m: largest distance of a waypoint from the logged one.
    """

    t0_ns: int
    frames: str
    history: str
    plan: str
    largest_m: float = 0.0

    @property
    def same(self) -> bool:
        """Whether all that was compared is the same."""
        return self.frames == self.history == "same" and self.plan in ("same", "")


class BagDecisions:
    """Recomputes decisions of one log from one bag.

    Args:
        session: the log's first record.
        bag: the recording that the planner was fed with.
        model: plans again; None compares frames and histories alone, and only as far as the model's own size
            does not matter.

    Raises:
        AuditError: where the bag lacks a topic of the log.
    """

    def __init__(self, session: AuditSession, bag: BagReader, *, model: Alpamayo) -> None:
        self._session, self._bag, self._model = session, bag, model
        self._rig = session.rig()
        wanted = [*session.camera_topics.values(), session.odometry_topic]
        missing = [topic for topic in wanted if topic not in bag.topics]
        if missing:
            raise AuditError(
                f"bag {bag.path}: expected the log's topics, got none of {', '.join(missing)}; "
                f"it has {', '.join(sorted(bag.topics))}"
            )
        self._pipelines = {
            camera.camera_id: FramePipeline(camera, model.prepare_frame) for camera in self._rig.cameras
        }
        self._take_lenses()

    def recompute(self, records: Sequence[DecisionRecord]) -> Iterable[Recomputed]:
        """Yield what becomes of each decision; of those that have a plan of the model."""
        for record in records:
            yield self._recompute(record)

    def _take_lenses(self) -> None:
        for camera in self._rig.cameras:
            if camera.model_camera is None or camera.intrinsics is not None or camera.info_topic is None:
                continue
            first = next(self._bag.messages([camera.info_topic]), None)
            if first is not None:
                info = camera_info_of(self._bag.decode(first))
                model = model_from_camera_info(info, rectified=camera.rectified)
                self._pipelines[camera.camera_id].set_intrinsics(model)

    def _recompute(self, record: DecisionRecord) -> Recomputed:
        observation, plan = record.observation, record.plan
        if observation is None or plan is None:
            raise AuditError(f"decision of t0 {record.t0_ns} ns: expected observation and plan, got none")
        frames, frames_said = self._frames(observation)
        history_said = self._history(record)
        if frames is None:
            return Recomputed(
                observation.t0_ns, frames_said, history_said, "not made again: frames are missing"
            )
        if record.options is None:
            return Recomputed(observation.t0_ns, frames_said, history_said, "not made again: no options")
        options = replace(record.options, seed=plan.seed)
        again = self._model.plan(observation.observation(frames), options)
        said, largest_m = compare_plans(plan, again)
        return Recomputed(observation.t0_ns, frames_said, history_said, said, largest_m)

    def _frames(self, observation: ObservationRecord) -> tuple[tuple[UInt8Array, ...] | None, str]:
        """Return the frames [4, 3, H, W] of each camera from the bag, and how they compare."""
        made: list[UInt8Array] = []
        different: list[str] = []
        first_ns = min(min(row) for row in observation.frame_stamps_ns)
        for row, camera_id in enumerate(observation.camera_ids):
            topic = self._session.camera_topics[camera_id]
            found = self._images(topic, camera_id, set(observation.frame_stamps_ns[row]), first_ns)
            name = self._rig.camera(camera_id).name
            lacking = [stamp for stamp in observation.frame_stamps_ns[row] if stamp not in found]
            if lacking:
                return None, f"{name}: expected an image of {lacking[0]} ns on {topic}, got none"
            frames = [found[stamp] for stamp in observation.frame_stamps_ns[row]]
            for frame, digest in zip(frames, observation.frame_sha256[row], strict=True):
                if hash_frame(frame) != digest:
                    different.append(name)
            made.append(np.stack(frames))
        if different:
            counts = ", ".join(f"{different.count(name)} of {name}" for name in dict.fromkeys(different))
            return tuple(made), f"other pixels than the model saw: {counts}"
        return tuple(made), "same"

    def _images(
        self, topic: str, camera_id: int, stamps_ns: set[int], first_ns: int
    ) -> Mapping[int, UInt8Array]:
        found: dict[int, UInt8Array] = {}
        # Recorded after their stamps, by whatever the transport took.
        span = {"start_ns": first_ns - _BEFORE_NS, "stop_ns": max(stamps_ns) + _AFTER_NS}
        for message in self._bag.messages([topic], **span):
            content = self._bag.decode(message)
            stamp = content.header.stamp
            stamp_ns = stamp.sec * 10**9 + stamp.nanosec
            if stamp_ns in stamps_ns and stamp_ns not in found:
                found[stamp_ns] = self._frame(camera_id, content)
            if len(found) == len(stamps_ns):
                break
        return found

    def _frame(self, camera_id: int, content: Any) -> UInt8Array:
        pipeline = self._pipelines[camera_id]
        if pipeline.camera.transport == "compressed":
            return pipeline.process_compressed(bytes(content.data), format=content.format).frame
        return pipeline.process_image(
            bytes(content.data),
            encoding=content.encoding,
            height=content.height,
            width=content.width,
            step=content.step,
            is_bigendian=bool(content.is_bigendian),
        ).frame

    def _history(self, record: DecisionRecord) -> str:
        observation, window = record.observation, record.odometry
        assert observation is not None
        if window is None or not len(window.stamps_ns):
            return "no odometry in the log"
        # The window holds what the history was interpolated from, so no gap is longer than was allowed then.
        ego = EgoHistory(TimingConfig(odometry_max_gap_ms=5000.0, odometry_buffer_ms=60_000.0))
        for stamp_ns, pose in zip(window.stamps_ns.tolist(), window.odom_from_rig, strict=True):
            ego.add(stamp_ns, pose)
        history = ego.at(observation.t0_ns)
        if not isinstance(history, History):
            return f"cannot be made from the log's odometry: {history}"
        for name, have, want in (
            ("positions", observation.history_xyz_in_rig_t0, history.xyz_in_rig_t0),
            ("rotations", observation.history_rot_in_rig_t0, history.rot_in_rig_t0),
        ):
            if not np.array_equal(have, want):
                return f"other {name} than from the log's odometry, by up to {np.abs(have - want).max():.3g}"
        return self._odometry(window.stamps_ns.tolist(), window.odom_from_rig)

    def _odometry(self, stamps_ns: list[int], poses: np.ndarray) -> str:
        """Compare the log's odometry with the bag's."""
        wanted = dict(zip(stamps_ns, poses, strict=True))
        span = {"start_ns": stamps_ns[0] - _BEFORE_NS, "stop_ns": stamps_ns[-1] + _AFTER_NS}
        seen = 0
        for message in self._bag.messages([self._session.odometry_topic], **span):
            content = self._bag.decode(message)
            stamp_ns = content.header.stamp.sec * 10**9 + content.header.stamp.nanosec
            if stamp_ns not in wanted:
                continue
            child_from_rig = _child_from_rig(self._rig, content.child_frame_id)
            if child_from_rig is None:
                return "same"  # where the body sits was told by /tf_static alone: the poses are the log's
            p, q = content.pose.pose.position, content.pose.pose.orientation
            pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)) @ child_from_rig
            off_m = float(np.abs(pose - wanted[stamp_ns]).max())
            if off_m > 1e-9:
                return (
                    f"odometry of {stamp_ns} ns: expected the bag's pose, got one that differs by {off_m:.3g}"
                )
            seen += 1
        if seen < len(wanted):
            return f"odometry: expected {len(wanted)} messages of the log in the bag, got {seen}"
        return "same"


_BEFORE_NS, _AFTER_NS = 500_000_000, 3_000_000_000


def compare_plans(logged: Plan, again: Plan) -> tuple[str, float]:
    """Return "same" for plans that are the same bit by bit, or what differs; and by how much in m."""
    if again.num_samples != logged.num_samples:
        return f"expected {logged.num_samples} candidates, got {again.num_samples}", float("inf")
    away = np.linalg.norm(
        again.xyz_in_rig_t0.astype(np.float64) - logged.xyz_in_rig_t0.astype(np.float64), axis=-1
    )
    largest_m = float(away.max())
    for name in _TEXTS:
        if getattr(again, name) != getattr(logged, name):
            return f"another {name}", largest_m
    different = [
        name for name in _COMPARED if not np.array_equal(getattr(again, name), getattr(logged, name))
    ]
    if different:
        return f"other {', '.join(different)}; waypoints by up to {largest_m:.3g} m", largest_m
    return "same", largest_m


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
    have = hash_folder(folder).sha256
    if have != expected:
        raise AuditError(
            f"checkpoint {folder}: expected weights of hash {expected[:12]}…, got {have[:12]}…: another model"
        )
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.threads import use_cpu_threads

    try:
        model = Alpamayo.from_pretrained(
            folder,
            backbone=logged.backbone if Path(logged.backbone).is_dir() and not checkpoint else None,
            device=logged.device,
            dtype=logged.dtype,
        )
    except (InvalidInput, RuntimeError) as error:
        raise AuditError(f"model: expected one on {logged.device} in {logged.dtype}, got: {error}") from error
    if model.device.type == "cpu" and logged.cpu_threads:
        use_cpu_threads(logged.cpu_threads)
    return model, _doubt(session, model)


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


def _child_from_rig(rig: Rig, child_frame: str) -> np.ndarray | None:
    child = child_frame.strip().lstrip("/")
    if child == rig.rig_frame.lstrip("/"):
        return np.eye(4)
    known = {frame.lstrip("/"): pose for frame, pose in rig.rig_from_child.items()}
    return invert(known[child]) if child in known else None
