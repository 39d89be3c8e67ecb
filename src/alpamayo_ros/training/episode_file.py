"""An episode as a safetensors file.

It holds arrays by sample (t0, history, future, pose, which frames, who is about), of each camera its encoded
frames end to end with their stamps and ends, and as metadata the episode's head and its samples' texts and
tags in JSON. So any reader of safetensors reads it, and a sample is read without the rest. Rotations are
stored as rotation vectors. Files are written whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.training.episode import (
    ROAD_USER_COLUMNS,
    Episode,
    EpisodeHead,
    Moment,
    Split,
    tags_of_sample,
)
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.tensor_files import ordered_metadata
from alpamayo_ros.types import Float32Array, InvalidInput

FORMAT = "alpamayo episodes 1"
EPISODES_FOLDER = "episodes"
_TEXTS = ("instruction", "reasoning", "meta_action", "source", "tags")


class DataSetError(InvalidInput):
    """A data set that cannot be read or gone on with; the message names the file, expected and got."""


@dataclass(frozen=True)
class IndexEntry:
    """One line of the index.

    Attributes:
        episode_id, scene_id, family, seed, split: as in EpisodeHead.
        file: path in the data set's folder.
        size_bytes: of the file.
        sha256: of the file.
        samples: how many it holds.
        frames: how many pictures.
        tags: how many samples have which value of each tag.
    """

    episode_id: str
    scene_id: str
    family: str
    seed: int | None
    split: Split
    file: str
    size_bytes: int
    sha256: str
    samples: int
    frames: int
    tags: Mapping[str, Mapping[str, int]]


def write_episode(folder: Path, episode: Episode) -> IndexEntry:
    """Write an episode's file, whole or not at all, and return the line that the index is to get."""
    from safetensors.numpy import save

    data = ordered_metadata(save(_tensors(episode), metadata=_metadata(episode)))
    path = episode_path(episode.head.episode_id)
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
    head = episode.head
    return IndexEntry(
        episode_id=head.episode_id,
        scene_id=head.scene_id,
        family=head.family,
        seed=head.seed,
        split=head.split,
        file=str(path),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        samples=len(episode),
        frames=sum(len(camera) for camera in episode.frames),
        tags=_counts(episode.moments),
    )


def episode_path(episode_id: str) -> Path:
    """Return an episode's path in its data set."""
    return Path(EPISODES_FOLDER) / f"{episode_id}.safetensors"


def _counts(moments: Sequence[Moment]) -> dict[str, dict[str, int]]:
    names = sorted({name for moment in moments for name in moment.tags})
    counted = {name: Counter(moment.tags.get(name, "") for moment in moments) for name in names}
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}


def _tensors(episode: Episode) -> dict[str, NDArray[Any]]:
    moments, cameras = episode.moments, len(episode.head.camera_ids)

    def stacked(name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        return np.array([getattr(moment, name) for moment in moments], dtype).reshape(len(moments), *shape)

    tensors = {
        "tick": stacked("tick", (), np.int64),
        "t0_ns": stacked("t0_ns", (), np.int64),
        "frame_index": stacked("frame_index", (cameras, 4), np.int32),
        "history_xyz_in_rig_t0": stacked("history_xyz_in_rig_t0", (16, 3), np.float32),
        "history_rotvec_in_rig_t0": _rotvecs(stacked("history_rot_in_rig_t0", (16, 3, 3), np.float32)),
        "odom_from_rig_t0": stacked("odom_from_rig_t0", (4, 4), np.float64),
        "future_xyz_in_rig_t0": stacked("future_xyz_in_rig_t0", (64, 3), np.float32),
        "future_rotvec_in_rig_t0": _rotvecs(stacked("future_rot_in_rig_t0", (64, 3, 3), np.float32)),
    }
    if any(moment.road_users_in_rig_t0 is not None for moment in moments):
        tensors.update(_road_users(moments))
    for camera_id, frames, stamps in zip(
        episode.head.camera_ids, episode.frames, episode.frame_stamps_ns, strict=True
    ):
        tensors[f"frames_{camera_id}"] = np.frombuffer(b"".join(frames), np.uint8)
        tensors[f"frame_ends_{camera_id}"] = np.cumsum([len(data) for data in frames], dtype=np.int64)
        tensors[f"frame_stamps_ns_{camera_id}"] = stamps
    return tensors


def _road_users(moments: Sequence[Moment]) -> dict[str, NDArray[Any]]:
    """Return all samples' road users end to end, and where each sample's end; without any where unknown."""
    width = len(ROAD_USER_COLUMNS)
    nobody = np.zeros((0, width), np.float32)
    known = [moment.road_users_in_rig_t0 for moment in moments]
    rows = [nobody if each is None else each for each in known]
    return {
        "road_users_in_rig_t0": np.concatenate(rows),
        "road_user_ends": np.cumsum([len(each) for each in rows], dtype=np.int64),
    }


def _metadata(episode: Episode) -> dict[str, str]:
    """Return head and texts; of each text the list of its different values, and which one a sample has."""
    head = {**_head_json(episode.head), "format": FORMAT}
    columns = {}
    for name in _TEXTS:
        values = [_text(moment, name) for moment in episode.moments]
        different = list(dict.fromkeys(values))
        place = {value: index for index, value in enumerate(different)}
        columns[name] = {"values": different, "index": [place[value] for value in values]}
    return {"episode": json.dumps(head), "texts": json.dumps(columns, ensure_ascii=False)}


def _text(moment: Moment, name: str) -> str:
    value = getattr(moment, name)
    if name == "tags":
        return json.dumps(dict(value), sort_keys=True)
    return str(value.value) if name == "source" else str(value)


def _head_json(head: EpisodeHead) -> dict[str, Any]:
    """Return a head as JSON takes it."""
    return {
        "episode_id": head.episode_id,
        "origin": head.origin,
        "scene_id": head.scene_id,
        "family": head.family,
        "seed": head.seed,
        "split": head.split,
        "camera_ids": list(head.camera_ids),
        "notes": dict(head.notes),
    }


def _rotvecs(rotations: Float32Array) -> Float32Array:
    """Return rotation matrices [..., 3, 3] as rotation vectors [..., 3] in rad."""
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3).astype(np.float64)) if rotations.size else None
    vectors = np.zeros((0, 3)) if flat is None else flat.as_rotvec()
    return np.asarray(vectors.reshape(rotations.shape[:-1]).astype(np.float32))


def _matrices(vectors: Float32Array) -> Float32Array:
    flat = Rotation.from_rotvec(vectors.reshape(-1, 3).astype(np.float64)).as_matrix()
    return np.asarray(flat.reshape(*vectors.shape, 3).astype(np.float32))


class EpisodeFile:
    """An episode's file, read sample by sample.

    Args:
        path: the file.

    Raises:
        DataSetError: for a file that is not there, is damaged, or is no episode of this format.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            self._file = safe_open(str(path), framework="np")
        except (OSError, SafetensorError) as error:
            raise DataSetError(f"{path}: expected an episode's file, got: {error}") from error
        metadata = self._file.metadata() or {}
        if "episode" not in metadata or "texts" not in metadata:
            raise DataSetError(f"{path}: expected an episode, got a safetensors file of something else")
        head = json.loads(metadata["episode"])
        found = head.pop("format", None)
        if found != FORMAT:
            raise DataSetError(f"{path}: expected format {FORMAT!r}, got {found!r}")
        self.head = EpisodeHead(**{**head, "camera_ids": tuple(head["camera_ids"])})
        self._texts = json.loads(metadata["texts"])
        self._length = len(self._texts["source"]["index"])
        self._names = frozenset(self._file.keys())

    def __len__(self) -> int:
        return self._length

    def tags(self, index: int) -> dict[str, str]:
        """Return a sample's tags, the family's among them."""
        stored = json.loads(self._text("tags", index))
        return tags_of_sample(self.head, stored, self._row("future_xyz_in_rig_t0", index))

    def moment(self, index: int) -> Moment:
        """Return a sample without its pixels; raises IndexError for one that is not there."""
        if not 0 <= index < self._length:
            raise IndexError(f"{self.path}: sample {index} of {self._length}")
        return Moment(
            tick=int(self._row("tick", index)),
            t0_ns=int(self._row("t0_ns", index)),
            frame_index=self._row("frame_index", index),
            history_xyz_in_rig_t0=self._row("history_xyz_in_rig_t0", index),
            history_rot_in_rig_t0=_matrices(self._row("history_rotvec_in_rig_t0", index)),
            odom_from_rig_t0=self._row("odom_from_rig_t0", index),
            future_xyz_in_rig_t0=self._row("future_xyz_in_rig_t0", index),
            future_rot_in_rig_t0=_matrices(self._row("future_rotvec_in_rig_t0", index)),
            instruction=self._text("instruction", index),
            reasoning=self._text("reasoning", index),
            meta_action=self._text("meta_action", index),
            source=ReasoningSource(self._text("source", index)),
            tags=json.loads(self._text("tags", index)),
            road_users_in_rig_t0=self._road_users(index),
        )

    def frames(self, moment: Moment) -> tuple[list[list[bytes]], NDArray[np.int64]]:
        """Return a moment's encoded frames [C][4] and their stamps int64 [C, 4]."""
        frames: list[list[bytes]] = []
        stamps: list[NDArray[np.int64]] = []
        for camera_id, row in zip(self.head.camera_ids, moment.frame_index, strict=True):
            ends = self._file.get_tensor(f"frame_ends_{camera_id}")
            data = self._file.get_slice(f"frames_{camera_id}")
            begins = [int(ends[i - 1]) if i else 0 for i in row]
            frames.append([bytes(data[begin : int(ends[i])]) for begin, i in zip(begins, row, strict=True)])
            stamps.append(self._file.get_tensor(f"frame_stamps_ns_{camera_id}")[row])
        return frames, np.stack(stamps)

    def all_frames(self, camera_id: int) -> list[bytes]:
        """Return all frames of a camera, encoded, oldest first."""
        ends = self._file.get_tensor(f"frame_ends_{camera_id}").tolist()
        data = self._file.get_tensor(f"frames_{camera_id}").tobytes()
        return [data[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]

    def newest_frames(self, moment: Moment) -> list[bytes]:
        """Return of each camera a moment's newest frame, encoded."""
        frames: list[bytes] = []
        for camera_id, last in zip(self.head.camera_ids, moment.frame_index[:, -1].tolist(), strict=True):
            ends = self._file.get_slice(f"frame_ends_{camera_id}")
            begin = int(ends[last - 1 : last][0]) if last else 0
            data = self._file.get_slice(f"frames_{camera_id}")
            frames.append(bytes(data[begin : int(ends[last : last + 1][0])]))
        return frames

    def _road_users(self, index: int) -> Float32Array | None:
        if "road_user_ends" not in self._names:
            return None
        ends = self._file.get_tensor("road_user_ends")
        begin = int(ends[index - 1]) if index else 0
        if begin == int(ends[index]):  # safetensors refuses an empty slice at the end
            return np.zeros((0, len(ROAD_USER_COLUMNS)), np.float32)
        return np.asarray(self._file.get_slice("road_users_in_rig_t0")[begin : int(ends[index])])

    def _row(self, name: str, index: int) -> NDArray[Any]:
        return np.asarray(self._file.get_slice(name)[index : index + 1][0])

    def _text(self, name: str, index: int) -> str:
        column = self._texts[name]
        return str(column["values"][column["index"][index]])
