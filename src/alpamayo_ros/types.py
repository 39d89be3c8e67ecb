"""What flows through the stack: Observation in, Plan out, and the one interface between them.

Everything here is numpy and frozen dataclasses: no ROS, no torch. Frames follow REP-103
(x forward, y left, z up) and the rig frame is Alpamayo's: the rear axle's centre on the ground.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float32Array: TypeAlias = NDArray[np.float32]
UInt8Array: TypeAlias = NDArray[np.uint8]
PrepareFrame: TypeAlias = Callable[[UInt8Array], UInt8Array]
"""uint8 [3, H, W] RGB at the camera's size -> uint8 [3, h, w] RGB at the model's size."""

NUM_FRAMES = 4
FRAME_INTERVAL_S = 0.1
NUM_HISTORY_POSES = 16
HISTORY_INTERVAL_S = 0.1
NUM_WAYPOINTS = 64
WAYPOINT_INTERVAL_S = 0.1

CAMERA_NAMES: tuple[str, ...] = (
    "cross_left",
    "front_wide",
    "cross_right",
    "rear_left",
    "rear_tele",
    "rear_right",
    "front_tele",
)
"""Alpamayo's cameras; a camera id is the index into this tuple."""

_ROTATION_TOLERANCE = 1e-3
_IDENTITY_TOLERANCE = 1e-4


class InvalidInput(ValueError):
    """Input that the stack refuses before any compute; the message says what was expected and given."""


def camera_name(camera_id: int) -> str:
    """Return the name of an Alpamayo camera id; raises InvalidInput for an unknown one."""
    if not 0 <= camera_id < len(CAMERA_NAMES):
        known = ", ".join(f"{i} {name}" for i, name in enumerate(CAMERA_NAMES))
        raise InvalidInput(f"camera id: expected one of {known}, got {camera_id}")
    return CAMERA_NAMES[camera_id]


def require_array(name: str, array: object, shape: tuple[int | None, ...], dtype: type) -> None:
    """Raise InvalidInput unless `array` is an ndarray of `dtype` and `shape` (None = any length)."""
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{name}: expected a numpy array, got {type(array).__name__}")
    if array.dtype != np.dtype(dtype):
        raise InvalidInput(f"{name}: expected dtype {np.dtype(dtype)}, got {array.dtype}")
    matches = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not matches:
        wanted = [("any" if n is None else n) for n in shape]
        raise InvalidInput(f"{name}: expected shape {wanted}, got {list(array.shape)}".replace("'", ""))


def require_finite(name: str, array: NDArray[np.floating]) -> None:
    """Raise InvalidInput if `array` has a NaN or an infinity, naming the first one's index."""
    finite = np.isfinite(array)
    if finite.all():
        return
    index = tuple(int(i) for i in np.argwhere(~finite)[0])
    raise InvalidInput(f"{name}: expected finite values, got {array[index]} at index {list(index)}")


def require_rotation(name: str, rotation: NDArray[np.floating]) -> None:
    """Raise InvalidInput unless every [..., 3, 3] matrix is a rotation (orthonormal, determinant +1)."""
    gram = rotation @ np.swapaxes(rotation, -1, -2)
    error = float(np.abs(gram - np.eye(3)).max(initial=0.0))
    if error > _ROTATION_TOLERANCE:
        raise InvalidInput(f"{name}: expected rotation matrices, got one off orthonormal by {error:.3g}")
    determinant = np.linalg.det(rotation)
    if np.any(determinant < 0):
        raise InvalidInput(f"{name}: expected rotation matrices, got a reflection (determinant -1)")


def _frozen(instance: object, name: str, value: object) -> None:
    """Set a field of a frozen dataclass from its __post_init__."""
    object.__setattr__(instance, name, value)


@dataclass(frozen=True, eq=False)
class Observation:
    """What the model sees at t0.

    Attributes:
        t0_ns: stamp of the observation in ns since the epoch of the messages' clock.
        camera_ids: Alpamayo camera ids, strictly ascending (see CAMERA_NAMES).
        frames: uint8 RGB [C, 4, 3, H, W], oldest first; for cameras of different size a tuple of
            C arrays [4, 3, H, W]. Any size: the model resizes what is not its own.
        frame_stamps_ns: int64 [C, 4].
        history_xyz_in_rig_t0: float32 [16, 3] m, rear-axle positions at t0 - 1.5 s ... t0, in the
            rig frame at t0 (the last is zero).
        history_rot_in_rig_t0: float32 [16, 3, 3], rotations likewise (the last is the identity).
        rig_pose_in_odom_at_t0: float64 [4, 4], p_odom = T @ p_rig.
        instruction: navigation text ("Turn left in 30m") or None.

    Raises:
        InvalidInput: on any wrong shape, dtype or order, non-finite or non-rotation history, or a
            history whose last pose is not the identity.
    """

    t0_ns: int
    camera_ids: tuple[int, ...]
    frames: UInt8Array | tuple[UInt8Array, ...]
    frame_stamps_ns: NDArray[np.int64]
    history_xyz_in_rig_t0: Float32Array
    history_rot_in_rig_t0: Float32Array
    rig_pose_in_odom_at_t0: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    instruction: str | None = None

    def __post_init__(self) -> None:
        camera_ids = tuple(int(i) for i in self.camera_ids)
        _frozen(self, "camera_ids", camera_ids)
        if not camera_ids:
            raise InvalidInput("camera_ids: expected at least one camera, got none")
        for camera_id in camera_ids:
            camera_name(camera_id)
        if any(b <= a for a, b in pairwise(camera_ids)):
            raise InvalidInput(f"camera_ids: expected strictly ascending ids, got {list(camera_ids)}")
        self._check_frames()
        require_array("frame_stamps_ns", self.frame_stamps_ns, (len(camera_ids), NUM_FRAMES), np.int64)
        if np.any(np.diff(self.frame_stamps_ns, axis=1) <= 0):
            raise InvalidInput(
                "frame_stamps_ns: expected frames oldest first with rising stamps, "
                f"got {self.frame_stamps_ns.tolist()}"
            )
        self._check_history()
        require_array("rig_pose_in_odom_at_t0", self.rig_pose_in_odom_at_t0, (4, 4), np.float64)
        require_finite("rig_pose_in_odom_at_t0", self.rig_pose_in_odom_at_t0)
        require_rotation("rig_pose_in_odom_at_t0", self.rig_pose_in_odom_at_t0[:3, :3])
        if self.instruction is not None and not isinstance(self.instruction, str):
            raise InvalidInput(f"instruction: expected str or None, got {type(self.instruction).__name__}")

    def _check_frames(self) -> None:
        count = len(self.camera_ids)
        if isinstance(self.frames, np.ndarray):
            require_array("frames", self.frames, (count, NUM_FRAMES, 3, None, None), np.uint8)
            return
        if not isinstance(self.frames, Sequence):
            raise InvalidInput(
                f"frames: expected an array or a tuple of arrays, got {type(self.frames).__name__}"
            )
        if len(self.frames) != count:
            raise InvalidInput(f"frames: expected {count} cameras as in camera_ids, got {len(self.frames)}")
        for camera_id, frames in zip(self.camera_ids, self.frames, strict=True):
            name = f"frames of camera {camera_id} ({camera_name(camera_id)})"
            require_array(name, frames, (NUM_FRAMES, 3, None, None), np.uint8)
        _frozen(self, "frames", tuple(self.frames))

    def _check_history(self) -> None:
        xyz, rot = self.history_xyz_in_rig_t0, self.history_rot_in_rig_t0
        require_array("history_xyz_in_rig_t0", xyz, (NUM_HISTORY_POSES, 3), np.float32)
        require_array("history_rot_in_rig_t0", rot, (NUM_HISTORY_POSES, 3, 3), np.float32)
        require_finite("history_xyz_in_rig_t0", xyz)
        require_finite("history_rot_in_rig_t0", rot)
        require_rotation("history_rot_in_rig_t0", rot)
        offset = float(np.abs(xyz[-1]).max())
        turn = float(np.abs(rot[-1] - np.eye(3, dtype=np.float32)).max())
        if offset > _IDENTITY_TOLERANCE or turn > _IDENTITY_TOLERANCE:
            raise InvalidInput(
                "history: expected the last pose to be the identity (the rig frame is taken at t0), "
                f"got position {xyz[-1].tolist()} m and a rotation off by {turn:.3g}"
            )

    def frames_of(self, camera_id: int) -> UInt8Array:
        """Return the frames of one camera, uint8 [4, 3, H, W]."""
        return self.frames[self.camera_ids.index(camera_id)]


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is sampled.

    Attributes:
        num_samples: K, plans drawn from one observation.
        temperature, top_p, top_k: sampling of the reasoning; applied in the order temperature,
            top-k, top-p. top_k = 1 is greedy.
        max_reasoning_tokens: limit on generated tokens, the one after the end token included.
        flow_steps: Euler steps of the trajectory's flow.
        guidance_weight: weight w of navigation guidance (1.5 only), None = off.
        noise_temperature: scale of the flow's initial noise.
        seed: base of the samples' own seeds; None draws a fresh one.
    """

    num_samples: int = 1
    temperature: float = 0.6
    top_p: float = 0.98
    top_k: int | None = None
    max_reasoning_tokens: int = 256
    flow_steps: int = 10
    guidance_weight: float | None = None
    noise_temperature: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        def check(name: str, ok: bool, expected: str) -> None:
            if not ok:
                raise InvalidInput(f"{name}: expected {expected}, got {getattr(self, name)}")

        check("num_samples", self.num_samples >= 1, "at least 1")
        check("temperature", np.isfinite(self.temperature) and self.temperature > 0, "a positive number")
        check("top_p", 0 < self.top_p <= 1, "a number in (0, 1]")
        check("top_k", self.top_k is None or self.top_k >= 1, "None or at least 1")
        check("max_reasoning_tokens", self.max_reasoning_tokens >= 1, "at least 1")
        check("flow_steps", self.flow_steps >= 1, "at least 1")
        check(
            "guidance_weight",
            self.guidance_weight is None or bool(np.isfinite(self.guidance_weight)),
            "None or a finite number",
        )
        check(
            "noise_temperature",
            np.isfinite(self.noise_temperature) and self.noise_temperature >= 0,
            "zero or more",
        )
        check("seed", self.seed is None or 0 <= self.seed < 2**63, "None or 0 ... 2^63 - 1")


@dataclass(frozen=True)
class StageTimes:
    """How long each stage of a plan took, in ms; `tokens` counts the longest sample's generated tokens."""

    preprocess_ms: float = 0.0
    vision_ms: float = 0.0
    prefill_ms: float = 0.0
    reasoning_ms: float = 0.0
    denoise_ms: float = 0.0
    total_ms: float = 0.0
    tokens: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the stages by name, e.g. {"vision": 3.1, ..., "tokens": 17}."""
        return {f.name.removesuffix("_ms"): getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class ReasoningSections:
    """A reasoning text that is written in headed sections; a section that is missing is ""."""

    observation: str = ""
    reasoning: str = ""
    action: str = ""
    prediction: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """K sampled plans from one observation.

    Attributes:
        t0_ns: the observation's t0; every coordinate below is in the rig frame at t0.
        xyz_in_rig_t0: float32 [K, 64, 3] m, waypoint i at t0 + (i + 1) * 0.1 s.
        rot_in_rig_t0: float32 [K, 64, 3, 3].
        accel_mps2: float32 [K, 64], constant over each interval.
        curvature_per_m: float32 [K, 64], positive to the left.
        speed_mps: float32 [K, 65], from t0 on.
        normalised_action: float32 [K, 64, 2], what the flow drew (acceleration, curvature).
        reasoning: K Chain-of-Causation texts ("" where the end token never came).
        reasoning_complete: K flags, False where the text's end token is missing.
        sections: K ReasoningSections, or None for a text that is not written in sections.
        meta_action: K texts.
        token_ids: K tuples of generated token ids.
        chosen: index of the plan to drive. The model sets the medoid (least mean distance to the
            others); the safety gate replaces it by the medoid of those that pass.
        times: how long it took.
        model: what made it, for the record.
        seed: the seed that was used, drawn or given; sample k's generators come from (seed, k).

    Raises:
        InvalidInput: on a wrong shape or dtype, or an index out of range. Values are not checked:
            a non-finite plan is the safety gate's to refuse.
    """

    t0_ns: int
    xyz_in_rig_t0: Float32Array
    rot_in_rig_t0: Float32Array
    accel_mps2: Float32Array
    curvature_per_m: Float32Array
    speed_mps: Float32Array
    normalised_action: Float32Array
    reasoning: tuple[str, ...]
    reasoning_complete: tuple[bool, ...]
    meta_action: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    sections: tuple[ReasoningSections | None, ...]
    chosen: int = 0
    times: StageTimes = StageTimes()
    model: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        k = self.num_samples
        require_array("xyz_in_rig_t0", self.xyz_in_rig_t0, (k, NUM_WAYPOINTS, 3), np.float32)
        require_array("rot_in_rig_t0", self.rot_in_rig_t0, (k, NUM_WAYPOINTS, 3, 3), np.float32)
        require_array("accel_mps2", self.accel_mps2, (k, NUM_WAYPOINTS), np.float32)
        require_array("curvature_per_m", self.curvature_per_m, (k, NUM_WAYPOINTS), np.float32)
        require_array("speed_mps", self.speed_mps, (k, NUM_WAYPOINTS + 1), np.float32)
        require_array("normalised_action", self.normalised_action, (k, NUM_WAYPOINTS, 2), np.float32)
        for name in ("reasoning", "reasoning_complete", "meta_action", "token_ids", "sections"):
            if len(getattr(self, name)) != k:
                raise InvalidInput(
                    f"{name}: expected {k} entries, one a sample, got {len(getattr(self, name))}"
                )
        if not 0 <= self.chosen < k:
            raise InvalidInput(f"chosen: expected an index in 0 ... {k - 1}, got {self.chosen}")

    @property
    def num_samples(self) -> int:
        """K, the number of sampled plans."""
        return len(self.xyz_in_rig_t0)


@runtime_checkable
class Planner(Protocol):
    """Anything that turns an observation into a plan; recorders, replayers and remote backends wrap one."""

    def plan(self, observation: Observation) -> Plan:
        """Return the plan for `observation`; raises InvalidInput for one that it cannot take."""
        ...


def medoid(xyz_in_rig_t0: Float32Array) -> int:
    """Return the index of the sample with the least mean distance to the others.

    Args:
        xyz_in_rig_t0: float32 [K, 64, 3] m. The distance of two samples is the mean over waypoints
            of their distance in the ground plane. Ties go to the first; samples with a NaN or an infinity
            are left out (0 if all have one).
    """
    xy = xyz_in_rig_t0[..., :2].astype(np.float64)
    usable = np.flatnonzero(np.isfinite(xy).all(axis=(1, 2)))
    if not len(usable):
        return 0
    distance = np.linalg.norm(xy[usable, None] - xy[None, usable], axis=-1).mean(axis=-1)
    return int(usable[np.argmin(distance.mean(axis=1))])
