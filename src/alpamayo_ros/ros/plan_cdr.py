"""Plan messages read straight from their serialised bytes, for those who read every plan of many candidates.

rclpy makes a Python object of each of 64 waypoints a candidate, and of each's pose, position, orientation
and time: 7 ms for six candidates. Their numbers lie in the bytes at even distances, for numpy to take.
The encoding is OMG's CDR (formal/02-06-51, chapter 15.3), as in image_cdr.py.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.ros.plan_conversions import MonitorStatus, PlanStatus, PublishedPlan
from alpamayo_ros.safety.gate import Check
from alpamayo_ros.sensing.rigid import from_quaternion
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput, Plan, ReasoningSections, StageTimes

_LITTLE_ENDIAN_CDR = b"\x00\x01"
_WAYPOINT = np.dtype(
    [("xyz", "<f8", 3), ("quaternion", "<f8", 4), ("time", "<i4", 2), ("motion", "<f4", 3), ("gap", "V4")]
)
"""A waypoint, with the four bytes that bring the next one to a multiple of eight."""
_QUATERNION_TOLERANCE = 0.01
_MOST_CANDIDATES = 4096
_ARRAYS = (
    "xyz_in_rig_t0",
    "rot_in_rig_t0",
    "accel_mps2",
    "curvature_per_m",
    "speed_mps",
    "normalised_action",
)
_TEXTS = ("reasoning", "reasoning_complete", "meta_action", "token_ids", "sections")


def is_readable(serialised: bytes) -> bool:
    """Return whether bytes are in the encoding that this module reads: all others are left to rclpy."""
    return serialised[:2] == _LITTLE_ENDIAN_CDR


def parse_plan(serialised: bytes) -> PublishedPlan:
    """Return what a serialised alpamayo_ros/Plan holds, as plan_from_msg() does of the message.

    Raises:
        InvalidInput: for another encoding, bytes that end early, and all that plan_from_msg() refuses.
    """
    if not is_readable(serialised):
        raise InvalidInput(f"plan: expected little-endian CDR, got {bytes(serialised[:4])!r}")
    try:
        return _plan(_Reader(serialised))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"plan: expected a serialised Plan, got {error}") from error


class _Reader:
    def __init__(self, serialised: bytes) -> None:
        self._data = memoryview(serialised)[4:]
        self._at = 0

    def values(self, code: str, size: int) -> tuple[Any, ...]:
        """Read numbers of one size, aligned to it."""
        self._at += -self._at % size
        found = struct.unpack_from("<" + code, self._data, self._at)
        self._at += len(found) * size
        return found

    def uint8(self) -> int:
        return int(self.values("B", 1)[0])

    def uint32(self) -> int:
        return int(self.values("I", 4)[0])

    def stamp_ns(self) -> int:
        (seconds,), (nanoseconds,) = self.values("i", 4), self.values("I", 4)
        return int(seconds) * 10**9 + int(nanoseconds)

    def string(self) -> str:
        length = self.uint32()
        return bytes(self.take(length)).rstrip(b"\0").decode()

    def take(self, count: int) -> memoryview:
        if self._at + count > len(self._data):
            raise InvalidInput(f"plan: expected {self._at + count} bytes, got {len(self._data)}")
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def array(self, dtype: Any, count: int, *, align: int, last_gap: int = 0) -> np.ndarray:
        """Read an array; of a structured one the last element may lack its gap."""
        self._at += -self._at % align
        size = np.dtype(dtype).itemsize
        raw = bytes(self.take(count * size - last_gap)) + bytes(last_gap)
        return np.frombuffer(raw, dtype, count)


def _plan(reader: _Reader) -> PublishedPlan:
    t0_ns, rig_frame, odometry_frame = reader.stamp_ns(), reader.string(), reader.string()
    pose = reader.values("7d", 8)
    status, status_reason = _member(PlanStatus, "status", reader.uint8()), reader.string()
    engaged, decided_ns = bool(reader.uint8()), reader.stamp_ns()
    checks = tuple(_check(reader) for _ in range(reader.uint32()))
    monitor, monitor_reason = _member(MonitorStatus, "monitor", reader.uint8()), reader.string()
    count = reader.uint32()
    if not 1 <= count <= _MOST_CANDIDATES:
        raise InvalidInput(f"candidates: expected at least one, got {count}")
    candidates = [_candidate(reader) for _ in range(count)]
    chosen = reader.uint32()
    reader.string(), reader.string()  # the chosen candidate's texts once more
    valid_until_ns, instruction, model = reader.stamp_ns(), reader.string(), reader.string()
    (seed,) = reader.values("Q", 8)
    stages = reader.values("6f", 4)
    tokens = reader.uint32()
    arrays: dict[str, Any] = {name: np.stack([c[name] for c in candidates]) for name in _ARRAYS}
    texts: dict[str, Any] = {name: tuple(c[name] for c in candidates) for name in _TEXTS}
    preprocess, vision, prefill, reasoning, denoise, total = (float(value) for value in stages)
    plan = Plan(
        t0_ns=t0_ns,
        **arrays,
        **texts,
        chosen=chosen,
        times=StageTimes(preprocess, vision, prefill, reasoning, denoise, total, tokens),
        model=model,
        seed=int(seed),
    )
    try:
        odom_from_rig_t0 = from_quaternion(pose[:3], pose[3:])
    except InvalidInput as error:
        raise InvalidInput(f"rig_pose {error}") from error
    return PublishedPlan(
        plan=plan,
        rig_frame=rig_frame,
        odometry_frame=odometry_frame,
        odom_from_rig_t0=odom_from_rig_t0,
        valid_until_ns=valid_until_ns,
        status=status,
        status_reason=status_reason,
        instruction=instruction,
        engaged=engaged,
        decided_ns=decided_ns,
        checks=checks,
        monitor=monitor,
        monitor_reason=monitor_reason,
    )


def _check(reader: _Reader) -> Check:
    name = reader.string()
    value, limit = reader.values("2d", 8)
    check = Check(name, float(value), float(limit), reader.string())
    reader.uint8()  # whether it passed follows from the numbers
    return check


def _candidate(reader: _Reader) -> dict[str, Any]:
    waypoints = reader.array(_WAYPOINT, NUM_WAYPOINTS, align=8, last_gap=4)
    initial_mps = reader.array("<f4", 1, align=4)
    action = reader.array("<f4", 2 * NUM_WAYPOINTS, align=4).reshape(NUM_WAYPOINTS, 2).copy()
    reasoning, complete = reader.string(), bool(reader.uint8())
    sections = ReasoningSections(*(reader.string() for _ in range(4)))
    meta_action = reader.string()
    count = reader.uint32()
    token_ids = tuple(reader.array("<i4", count, align=4).tolist()) if count else ()
    quaternions = waypoints["quaternion"]
    lengths = np.linalg.norm(quaternions, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= _QUATERNION_TOLERANCE))
    if len(wrong):
        raise InvalidInput(
            f"waypoint {wrong[0]} orientation: expected a quaternion of length 1, "
            f"got {quaternions[wrong[0]].tolist()}"
        )
    motion = waypoints["motion"]
    return {
        "xyz_in_rig_t0": waypoints["xyz"].astype(np.float32),
        "rot_in_rig_t0": Rotation.from_quat(quaternions).as_matrix().astype(np.float32),
        "accel_mps2": motion[:, 1].astype(np.float32),
        "curvature_per_m": motion[:, 2].astype(np.float32),
        "speed_mps": np.concatenate([initial_mps, motion[:, 0]]).astype(np.float32),
        "normalised_action": action.astype(np.float32),
        "reasoning": reasoning,
        "reasoning_complete": complete,
        "meta_action": meta_action,
        "token_ids": token_ids,
        "sections": None if sections == ReasoningSections() else sections,
    }


def _member(kind: Any, name: str, value: int) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(f"{constant.value} {constant.name}" for constant in kind)
        raise InvalidInput(f"{name}: expected one of {known}, got {value}") from error
