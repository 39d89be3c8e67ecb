"""An episode: one drive, its pictures stored once, and the samples that are made of it.

Consecutive samples share three of their four frames, so frames belong to the episode, encoded, and a sample
says which of them it shows. All else that a sample needs is small and stored with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.sim.scene import ActorKind
from alpamayo_ros.training.braking import braking_of
from alpamayo_ros.training.sample import ReasoningSource, TrainingSample
from alpamayo_ros.types import (
    NUM_FRAMES,
    NUM_HISTORY_POSES,
    NUM_WAYPOINTS,
    Float32Array,
    InvalidInput,
    Observation,
    UInt8Array,
    camera_name,
    require_array,
)

Origin = Literal["simulation", "bag"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

ROAD_USER_COLUMNS = ("x", "y", "yaw", "length", "width", "height", "speed", "kind")
"""Of a road user or obstacle: centre of its box in m and heading in rad in the rig frame at t0, size in m,
speed along its heading in m/s, and its kind as an index of ROAD_USER_KINDS."""
ROAD_USER_KINDS: tuple[ActorKind, ...] = get_args(ActorKind)

TEST_SEEDS = range(100)
"""What `alpamayo sim --scenarios all` drives: never trained on."""
_FAMILY_COUNT = 20
_VALIDATION_EVERY = 10


def split_of(seed: int) -> Split:
    """Return what the episodes of a scenario seed are for; by the seed alone: no scene is ever in two splits.

    Seeds 0 ... 99 are the standard scenes of `alpamayo sim`: "test". Of the others each tenth run of twenty
    (one of each family) is "validation".
    """
    if seed in TEST_SEEDS:
        return "test"
    return "validation" if seed // _FAMILY_COUNT % _VALIDATION_EVERY == _VALIDATION_EVERY - 1 else "train"


@dataclass(frozen=True)
class FrameCodec:
    """How frames are stored.

    Attributes:
        format: "jpeg" at full colour resolution (4:4:4: at the size of a model's input a far traffic light is
            two pixels, which the usual halved colour would blur), or "png", without loss.
        quality: of JPEG, 1 ... 100.

    Raises:
        InvalidInput: for another format or quality, or JPEG with an OpenCV that cannot be told its sampling.
    """

    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.format not in ("jpeg", "png"):
            raise InvalidInput(f"image format: expected jpeg or png, got {self.format!r}")
        if not 1 <= self.quality <= 100:
            raise InvalidInput(f"image quality: expected 1 ... 100, got {self.quality}")
        if self.format == "jpeg" and not hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):
            raise InvalidInput(
                f"image format: expected OpenCV 4.7 or newer for jpeg at full colour resolution, got "
                f"{cv2.__version__}; png does without"
            )

    @property
    def description(self) -> str:
        """For people and the index."""
        return f"jpeg, quality {self.quality}, 4:4:4" if self.format == "jpeg" else "png"

    def encode(self, frame: UInt8Array) -> bytes:
        """Return uint8 RGB [3, H, W] encoded."""
        require_array("frame", frame, (3, None, None), np.uint8)
        bgr = np.ascontiguousarray(frame.transpose(1, 2, 0)[..., ::-1])
        if self.format == "png":
            done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 6])
        else:
            sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
            options = [cv2.IMWRITE_JPEG_QUALITY, self.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
            done, data = cv2.imencode(".jpg", bgr, options)
        if not done:
            raise RuntimeError(f"OpenCV did not encode {frame.shape[2]}x{frame.shape[1]} as {self.format}")
        return bytes(data.tobytes())


@dataclass(frozen=True)
class EpisodeHead:
    """What an episode is.

    Attributes:
        episode_id: unique in its data set, and a file's name: letters, digits, "_", "-", ".".
        origin: where it is from.
        scene_id: the scene, or the bag's name.
        family: the scene's, or "bag".
        seed: the scenario's; None of a bag.
        split: what it is for.
        camera_ids: ascending.
        notes: how it was made, for people.

    Raises:
        InvalidInput: for another name, an unknown split, or a split that is not the seed's.
    """

    episode_id: str
    origin: Origin
    scene_id: str
    family: str
    seed: int | None
    split: Split
    camera_ids: tuple[int, ...]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = self.episode_id.replace("_", "").replace("-", "").replace(".", "")
        if not (plain.isascii() and plain.isalnum()) or self.episode_id.startswith("."):
            raise InvalidInput(f"episode: expected a name of A-Z a-z 0-9 _ - ., got {self.episode_id!r}")
        if self.split not in SPLITS:
            raise InvalidInput(
                f"{self.episode_id}: split: expected one of {', '.join(SPLITS)}, got {self.split!r}"
            )
        if self.seed is not None and self.split != split_of(self.seed):
            raise InvalidInput(
                f"{self.episode_id}: split: expected {split_of(self.seed)} of seed {self.seed}, "
                f"got {self.split}"
            )
        ids = tuple(int(camera_id) for camera_id in self.camera_ids)
        for camera_id in ids:
            camera_name(camera_id)
        if not ids or list(ids) != sorted(set(ids)):
            raise InvalidInput(f"{self.episode_id}: camera_ids: expected ascending ids, got {list(ids)}")
        object.__setattr__(self, "camera_ids", ids)
        object.__setattr__(self, "notes", MappingProxyType(dict(self.notes)))

    def __reduce__(self) -> tuple[object, ...]:
        """Go between processes, as a mapping proxy does not."""
        values = (self.episode_id, self.origin, self.scene_id, self.family, self.seed, self.split)
        return EpisodeHead, (*values, self.camera_ids, dict(self.notes))


@dataclass(frozen=True, eq=False)
class Moment:
    """A sample of an episode, without its pixels.

    Attributes:
        tick: which of the episode's, 10 a second; names the sample.
        t0_ns: the observation's.
        frame_index: int32 [C, 4], which of the episode's frames of each camera it shows, oldest first.
        history_xyz_in_rig_t0, history_rot_in_rig_t0, odom_from_rig_t0: as in Observation.
        future_xyz_in_rig_t0, future_rot_in_rig_t0: as in TrainingSample.
        instruction: navigation text, "" for none.
        reasoning, meta_action, source, tags: as in TrainingSample.
        road_users_in_rig_t0: float32 [N, 8], ROAD_USER_COLUMNS of who and what is about at t0: what a vision
            tower learns to see, never an input. None where nobody knows, as in a bag.
    """

    tick: int
    t0_ns: int
    frame_index: NDArray[np.int32]
    history_xyz_in_rig_t0: Float32Array
    history_rot_in_rig_t0: Float32Array
    odom_from_rig_t0: NDArray[np.float64]
    future_xyz_in_rig_t0: Float32Array
    future_rot_in_rig_t0: Float32Array
    instruction: str = ""
    reasoning: str = ""
    meta_action: str = ""
    source: ReasoningSource = ReasoningSource.NONE
    tags: Mapping[str, str] = field(default_factory=dict)
    road_users_in_rig_t0: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.road_users_in_rig_t0 is not None:
            shape = (None, len(ROAD_USER_COLUMNS))
            require_array("road_users_in_rig_t0", self.road_users_in_rig_t0, shape, np.float32)
        require_array("frame_index", self.frame_index, (None, NUM_FRAMES), np.int32)
        if np.any(self.frame_index < 0) or np.any(np.diff(self.frame_index, axis=1) <= 0):
            raise InvalidInput(f"frame_index: expected rising indices, got {self.frame_index.tolist()}")
        require_array("history_xyz_in_rig_t0", self.history_xyz_in_rig_t0, (NUM_HISTORY_POSES, 3), np.float32)
        require_array("future_xyz_in_rig_t0", self.future_xyz_in_rig_t0, (NUM_WAYPOINTS, 3), np.float32)


@dataclass(frozen=True, eq=False)
class Episode:
    """One drive: encoded frames of each camera, and its samples.

    Attributes:
        head: what it is.
        frames: of each camera its encoded frames, oldest first.
        frame_stamps_ns: of each camera int64 [N], rising.
        moments: its samples, by rising tick.

    Raises:
        InvalidInput: where frames, stamps and what the moments refer to do not fit together.
    """

    head: EpisodeHead
    frames: tuple[tuple[bytes, ...], ...]
    frame_stamps_ns: tuple[NDArray[np.int64], ...]
    moments: tuple[Moment, ...]

    def __post_init__(self) -> None:
        name, count = self.head.episode_id, len(self.head.camera_ids)
        if len(self.frames) != count or len(self.frame_stamps_ns) != count:
            raise InvalidInput(
                f"{name}: expected frames and stamps of {count} cameras, got {len(self.frames)} and "
                f"{len(self.frame_stamps_ns)}"
            )
        for camera_id, frames, stamps in zip(
            self.head.camera_ids, self.frames, self.frame_stamps_ns, strict=True
        ):
            require_array(f"{name}: stamps of {camera_name(camera_id)}", stamps, (len(frames),), np.int64)
            if np.any(np.diff(stamps) <= 0):
                raise InvalidInput(f"{name}: {camera_name(camera_id)}: expected rising stamps, got others")
        lengths = np.array([len(frames) for frames in self.frames])
        last = -1
        for moment in self.moments:
            if moment.tick <= last:
                raise InvalidInput(f"{name}: expected rising ticks, got {moment.tick} after {last}")
            last = moment.tick
            if len(moment.frame_index) != count or np.any(moment.frame_index[:, -1] >= lengths):
                raise InvalidInput(
                    f"{name}: tick {moment.tick}: expected indices of {lengths.tolist()} frames, "
                    f"got {moment.frame_index.tolist()}"
                )

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def encoded_bytes(self) -> int:
        """Size of all frames."""
        return sum(len(data) for camera in self.frames for data in camera)

    def sample(self, index: int) -> TrainingSample:
        """Return a sample, its frames decoded."""
        moment = self.moments[index]
        frames = [
            [camera[int(i)] for i in row] for camera, row in zip(self.frames, moment.frame_index, strict=True)
        ]
        stamps = np.stack(
            [stamps[row] for stamps, row in zip(self.frame_stamps_ns, moment.frame_index, strict=True)]
        )
        return assemble(self.head, moment, frames, stamps)


def tags_of_sample(
    head: EpisodeHead, tags: Mapping[str, str], future_xyz_in_rig_t0: Float32Array
) -> dict[str, str]:
    """Return a sample's tags, those among them that are not stored: its family, and how hard it brakes."""
    return {**tags, "family": head.family, "braking": braking_of(future_xyz_in_rig_t0)}


def assemble(
    head: EpisodeHead, moment: Moment, frames: Sequence[Sequence[bytes]], frame_stamps_ns: NDArray[np.int64]
) -> TrainingSample:
    """Return the sample of a moment and its frames.

    Args:
        head: of its episode.
        moment: all but the pixels.
        frames: encoded [C][4].
        frame_stamps_ns: int64 [C, 4].

    Raises:
        InvalidInput: for bytes that are no image, or values that Observation or TrainingSample refuse.
    """
    stacks = tuple(np.stack([decode_rgb(data) for data in camera]) for camera in frames)
    same = all(stack.shape == stacks[0].shape for stack in stacks)
    observation = Observation(
        t0_ns=moment.t0_ns,
        camera_ids=head.camera_ids,
        frames=np.stack(stacks) if same else stacks,
        frame_stamps_ns=frame_stamps_ns,
        history_xyz_in_rig_t0=moment.history_xyz_in_rig_t0,
        history_rot_in_rig_t0=moment.history_rot_in_rig_t0,
        rig_pose_in_odom_at_t0=moment.odom_from_rig_t0,
        instruction=moment.instruction or None,
    )
    return TrainingSample(
        sample_id=f"{head.episode_id}/{moment.tick}",
        observation=observation,
        future_xyz_in_rig_t0=moment.future_xyz_in_rig_t0,
        future_rot_in_rig_t0=moment.future_rot_in_rig_t0,
        reasoning=moment.reasoning,
        meta_action=moment.meta_action,
        source=moment.source,
        tags=tags_of_sample(head, moment.tags, moment.future_xyz_in_rig_t0),
    )


class FrameStore:
    """Collects the encoded frames of an episode while it is made; each frame once.

    Args:
        camera_ids: ascending.
    """

    def __init__(self, camera_ids: Sequence[int]) -> None:
        self._frames: dict[int, dict[int, bytes]] = {camera_id: {} for camera_id in camera_ids}

    def add(self, camera_id: int, stamp_ns: int, data: bytes) -> None:
        """Add a frame; one of a known stamp is the same frame again."""
        self._frames[camera_id].setdefault(stamp_ns, data)

    def has(self, camera_id: int, stamp_ns: int) -> bool:
        """Return whether a frame is there."""
        return stamp_ns in self._frames[camera_id]

    def close(self, head: EpisodeHead, moments: Sequence[tuple[Moment, NDArray[np.int64]]]) -> Episode:
        """Return the episode; frames that no moment shows are left out.

        Args:
            head: what it is.
            moments: each with the stamps int64 [C, 4] of its frames; their frame_index is set from these.
        """
        ids = head.camera_ids
        used: list[NDArray[np.int64]] = [
            np.unique([stamps[row] for _, stamps in moments]).astype(np.int64) for row in range(len(ids))
        ]
        indexed = tuple(
            replace(
                moment,
                frame_index=np.stack(
                    [np.searchsorted(used[row], stamps[row]) for row in range(len(ids))]
                ).astype(np.int32),
            )
            for moment, stamps in moments
        )
        frames = tuple(
            tuple(self._frames[camera_id][int(stamp)] for stamp in stamps)
            for camera_id, stamps in zip(ids, used, strict=True)
        )
        return Episode(head, frames, tuple(used), indexed)
