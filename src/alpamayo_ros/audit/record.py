"""What the log keeps: an envelope that chains the records, and one body for each kind of record.

Every record is a JSON object on the channel of its kind. `previous_sha256` is the SHA-256 of the whole record
before, as its bytes stand in the file, over all channels: whoever changes, drops or adds one breaks the chain
there.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.audit.codec import from_json, schema_of, to_json
from alpamayo_ros.audit.decision import Decision, OdometryWindow, Outcome
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.safety.arbiter import ArbiterState
from alpamayo_ros.safety.gate import GateDecision
from alpamayo_ros.safety.monitor import MonitorVerdict
from alpamayo_ros.safety.supervisor import SafetySettings
from alpamayo_ros.types import (
    NUM_FRAMES,
    Float32Array,
    InvalidInput,
    Observation,
    Plan,
    PlanOptions,
    UInt8Array,
)

NO_RECORD = "0" * 64
"""previous_sha256 of the first record."""

_REMEMBERED_FRAMES = 256


@dataclass(frozen=True, eq=False)
class ObservationRecord:
    """An Observation, its frames replaced by their hashes.

    Attributes:
        frame_shapes: [3, H, W], one a camera.
        frame_sha256: of the bytes of uint8 [3, H, W] RGB in C order; one row of 4 a camera, oldest first.
        others: as in Observation.
    """

    t0_ns: int
    camera_ids: tuple[int, ...]
    frame_stamps_ns: tuple[tuple[int, ...], ...]
    frame_shapes: tuple[tuple[int, ...], ...]
    frame_sha256: tuple[tuple[str, ...], ...]
    history_xyz_in_rig_t0: Float32Array
    history_rot_in_rig_t0: Float32Array
    rig_pose_in_odom_at_t0: NDArray[np.float64]
    instruction: str | None = None

    def __post_init__(self) -> None:
        for name in ("frame_stamps_ns", "frame_shapes", "frame_sha256"):
            if len(getattr(self, name)) != len(self.camera_ids):
                raise InvalidInput(
                    f"{name}: expected {len(self.camera_ids)} cameras, got {len(getattr(self, name))}"
                )

    def observation(self, frames: tuple[UInt8Array, ...] | None = None) -> Observation:
        """Return the observation with `frames`, uint8 [4, 3, H, W] a camera, or with black pixels."""
        if frames is None:
            frames = tuple(np.zeros((NUM_FRAMES, 3, 1, 1), np.uint8) for _ in self.camera_ids)
        same_size = len({array.shape for array in frames}) == 1
        return Observation(
            t0_ns=self.t0_ns,
            camera_ids=self.camera_ids,
            frames=np.stack(frames) if same_size else frames,
            frame_stamps_ns=np.array(self.frame_stamps_ns, dtype=np.int64),
            history_xyz_in_rig_t0=self.history_xyz_in_rig_t0,
            history_rot_in_rig_t0=self.history_rot_in_rig_t0,
            rig_pose_in_odom_at_t0=self.rig_pose_in_odom_at_t0,
            instruction=self.instruction,
        )


@dataclass(frozen=True, eq=False)
class JudgementRecord:
    """A Judgement without its plan, which the decision has, and the arbiter's state; see there."""

    decision: GateDecision
    monitor: MonitorVerdict | None
    refusal: str
    drives: bool
    odometry_speed_mps: float


@dataclass(frozen=True, eq=False, kw_only=True)
class DecisionRecord:
    """A Decision as it is kept; see there for the fields."""

    outcome: Outcome
    decided_ns: int
    reason: str = ""
    t0_ns: int | None = None
    observation: ObservationRecord | None = None
    epoch: int = 0
    odometry: OdometryWindow | None = None
    options: PlanOptions | None = None
    plan: Plan | None = None
    judgement: JudgementRecord | None = None
    settings: SafetySettings | None = None
    arbiter: ArbiterState | None = None
    odom_from_rig: NDArray[np.float64] | None = None
    latency_ms: float = 0.0
    engaged: bool = False
    published_ns: int | None = None


@dataclass(frozen=True)
class EventRecord:
    """Something else that decisions depend on.

    Attributes:
        name: weights, lost, cleared, parameters, engaged ...; "continues" names the file of before and the
            hash of its last record; "closed" is the last of a file that was closed.
        stamp_ns: when, in the clock of the stamps.
        details: of it.
    """

    name: str
    stamp_ns: int
    details: Mapping[str, Any] = field(default_factory=dict)


Body = AuditSession | DecisionRecord | EventRecord
KINDS: Mapping[str, type[AuditSession] | type[DecisionRecord] | type[EventRecord]] = {
    "session": AuditSession,
    "decision": DecisionRecord,
    "event": EventRecord,
}
"""Kinds of records; the channel of each is /audit/KIND."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One record of a log.

    Attributes:
        sequence: counts the records of a log from 0 on.
        previous_sha256: of the record before.
        written_ns: when, by the computer's clock.
        body: what it says.
    """

    sequence: int
    previous_sha256: str
    written_ns: int
    body: Body

    @property
    def kind(self) -> str:
        """The name of the body's kind."""
        return next(name for name, kind in KINDS.items() if isinstance(self.body, kind))

    @property
    def stamp_ns(self) -> int:
        """When, in the clock of the stamps."""
        body = self.body
        if isinstance(body, DecisionRecord):
            return body.decided_ns
        return body.stamp_ns if isinstance(body, EventRecord) else body.started_ns

    def encode(self) -> bytes:
        """Return the record as JSON."""
        envelope = {name: getattr(self, name) for name in ("sequence", "previous_sha256", "written_ns")}
        record = {**envelope, "kind": self.kind, self.kind: to_json(self.body)}
        return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """Return the record of some JSON; raises InvalidInput for anything else."""
        try:
            record = json.loads(data)
            kind = record["kind"]
            envelope = record["sequence"], record["previous_sha256"], record["written_ns"]
            body = record[kind]
            cls_of_body = KINDS[kind]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"record: expected JSON of one of {', '.join(KINDS)}, got {error!r}"
            ) from error
        return cls(*envelope, from_json(cls_of_body, body, name=kind))


def digest_of(data: bytes) -> str:
    """Return the SHA-256 that the next record names."""
    return hashlib.sha256(data).hexdigest()


def schema_text(kind: str) -> bytes:
    """Return the JSON schema of a kind of record."""
    schema = {
        "type": "object",
        "title": f"alpamayo_ros.audit.{kind}",
        "properties": {
            "sequence": {"type": "integer"},
            "previous_sha256": {"type": "string"},
            "written_ns": {"type": "integer"},
            "kind": {"const": kind},
            kind: schema_of(KINDS[kind]),
        },
    }
    return json.dumps(schema).encode()


class FrameHasher:
    """Hashes frames, each once: observations that follow each other share most of theirs. Not thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int, int], str] = OrderedDict()

    def record(self, observation: Observation, *, epoch: int) -> ObservationRecord:
        """Return an observation's record; a frame is known by epoch, camera and stamp."""
        hashes = tuple(
            tuple(
                self._hash((epoch, camera_id, int(stamp_ns)), frame)
                for stamp_ns, frame in zip(stamps, observation.frames_of(camera_id), strict=True)
            )
            for camera_id, stamps in zip(observation.camera_ids, observation.frame_stamps_ns, strict=True)
        )
        return ObservationRecord(
            t0_ns=observation.t0_ns,
            camera_ids=observation.camera_ids,
            frame_stamps_ns=tuple(tuple(int(s) for s in row) for row in observation.frame_stamps_ns),
            frame_shapes=tuple(tuple(observation.frames_of(i).shape[1:]) for i in observation.camera_ids),
            frame_sha256=hashes,
            history_xyz_in_rig_t0=observation.history_xyz_in_rig_t0,
            history_rot_in_rig_t0=observation.history_rot_in_rig_t0,
            rig_pose_in_odom_at_t0=observation.rig_pose_in_odom_at_t0,
            instruction=observation.instruction,
        )

    def _hash(self, key: tuple[int, int, int], frame: UInt8Array) -> str:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = hash_frame(frame)
            while len(self._known) > _REMEMBERED_FRAMES:
                self._known.popitem(last=False)
        return known


def hash_frame(frame: UInt8Array) -> str:
    """Return the SHA-256 of a frame, uint8 [3, H, W] RGB, in C order."""
    return hashlib.sha256(np.ascontiguousarray(frame).data).hexdigest()


def record_of(decision: Decision, hasher: FrameHasher) -> DecisionRecord:
    """Return what is kept of a decision."""
    values = {f.name: getattr(decision, f.name) for f in fields(Decision)}
    if decision.observation is not None:
        values["observation"] = hasher.record(decision.observation, epoch=decision.epoch)
    judgement = decision.judgement
    if judgement is not None:
        kept = {f.name: getattr(judgement, f.name) for f in fields(JudgementRecord)}
        values["judgement"] = JudgementRecord(**kept)
    return DecisionRecord(**values)
