"""The .usdz of a reconstructed scene: the recorded drive and the other road users' tracks, without USD.

A .usdz is a zip whose members are stored, not compressed. Beside the picture's own data it holds
metadata.yaml (scene_id, version_string), rig_trajectories.json (poses of the rig in local, when each
camera's frames were taken) and sequence_tracks.json (boxes, classes, poses with quaternions x, y, z, w;
a track without the flag CONTROLLABLE never moves). map.xodr is not read: it is in map coordinates that need
a geodetic transform, so off-road stays unknown. Nothing is extracted, and nothing in it is run.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import from_quaternion
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorKind, ActorSpec, Track
from alpamayo_ros.types import InvalidInput

MAX_MEMBER_BYTES = 512 * 2**20
_MOVES = "CONTROLLABLE"
_KINDS: tuple[tuple[tuple[str, ...], ActorKind], ...] = (
    (("person", "pedestrian", "stroller"), "pedestrian"),
    (("rider", "cycl", "bike"), "cyclist"),
    (("truck", "bus", "trailer", "train"), "truck"),
    (("van",), "van"),
    (("cone", "barrier", "protruding", "obstacle", "sign", "animal"), "cone"),
)
"""Parts of class names -> what they count as here; a class that matches none is a car."""


@dataclass(frozen=True, eq=False)
class RecordedScene:
    """What a .usdz says of its scene.

    Attributes:
        scene_id: as the renderer calls it.
        version: of the software that made it.
        stamps_us: int64 [N], of the rig's poses.
        local_from_rig: float64 [N, 4, 4].
        first_frame_us: when the first frame of all cameras had been taken; rollouts begin there.
        actors: the other road users by track id.
    """

    scene_id: str
    version: str
    stamps_us: NDArray[np.int64]
    local_from_rig: Float64Array
    first_frame_us: int
    actors: Mapping[str, ActorSpec]


def read_usdz(path: str | Path) -> RecordedScene:
    """Return what a .usdz says.

    Raises:
        InvalidInput: for a file that is no zip, lacks a member, holds more than one drive or sequence, or
            whose members are not as described above; names the file, the member and the key.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = _Part(path, "metadata.yaml", yaml.safe_load(_member(archive, path, "metadata.yaml")))
            rig = _json(archive, path, "rig_trajectories.json")
            tracks = _json(archive, path, "sequence_tracks.json")
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"usdz {path}: expected a zip archive, got {error}") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"usdz {path}: metadata.yaml: expected YAML, got {error}") from error
    stamps_us, poses, first_frame_us = _drive(rig)
    return RecordedScene(
        scene_id=metadata.text("scene_id"),
        version=metadata.text("version_string"),
        stamps_us=stamps_us,
        local_from_rig=poses,
        first_frame_us=first_frame_us,
        actors=_actors(tracks),
    )


@dataclass(frozen=True)
class _Part:
    """A value in a member, with where it is for messages."""

    path: Path
    where: str
    value: Any

    def refuse(self, expected: str) -> InvalidInput:
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return InvalidInput(f"usdz {self.path}: {self.where}: expected {expected}, got {shown}")

    def at(self, key: str) -> _Part:
        if not isinstance(self.value, dict) or key not in self.value:
            raise InvalidInput(f"usdz {self.path}: {self.where}: expected a key {key!r}, got none")
        return _Part(self.path, f"{self.where}: {key}", self.value[key])

    def text(self, key: str) -> str:
        part = self.at(key)
        if not isinstance(part.value, str) or not part.value:
            raise part.refuse("a text")
        return part.value

    def items(self) -> list[_Part]:
        if not isinstance(self.value, list):
            raise self.refuse("a list")
        return [_Part(self.path, f"{self.where}[{i}]", value) for i, value in enumerate(self.value)]

    def numbers(self, shape: tuple[int | None, ...]) -> Float64Array:
        try:
            array = np.asarray(self.value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self.refuse("numbers") from error
        fits = array.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            raise InvalidInput(
                f"usdz {self.path}: {self.where}: expected {wanted} numbers, got {list(array.shape)}"
            )
        if not np.all(np.isfinite(array)):
            raise self.refuse("finite numbers")
        return array

    def stamps(self) -> NDArray[np.int64]:
        # Microseconds since the epoch are above 2^50: floats would hold them, but only just.
        if not isinstance(self.value, list) or not all(type(v) is int and 0 <= v < 2**63 for v in self.value):
            raise self.refuse("stamps in whole microseconds")
        stamps = np.array(self.value, np.int64)
        if not len(stamps) or np.any(np.diff(stamps) <= 0):
            raise self.refuse("at least one stamp, rising")
        return stamps


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise InvalidInput(f"usdz {path}: expected a member {name}, got none") from error
    if info.compress_type != zipfile.ZIP_STORED:
        raise InvalidInput(f"usdz {path}: {name}: expected it stored, as .usdz files are, got it compressed")
    if info.file_size > MAX_MEMBER_BYTES:
        raise InvalidInput(
            f"usdz {path}: {name}: expected at most {MAX_MEMBER_BYTES} bytes, got {info.file_size}"
        )
    return archive.read(info)


def _json(archive: zipfile.ZipFile, path: Path, name: str) -> _Part:
    try:
        return _Part(path, name, json.loads(_member(archive, path, name)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"usdz {path}: {name}: expected JSON, got {error}") from error


def _drive(rig: _Part) -> tuple[NDArray[np.int64], Float64Array, int]:
    drives = rig.at("rig_trajectories").items()
    if len(drives) != 1:
        raise InvalidInput(
            f"usdz {rig.path}: rig_trajectories.json: expected one recorded drive, got {len(drives)}"
        )
    drive = drives[0]
    stamps_us = drive.at("T_rig_world_timestamps_us").stamps()
    poses = drive.at("T_rig_worlds").numbers((len(stamps_us), 4, 4))
    frames = drive.at("cameras_frame_timestamps_us")
    if not isinstance(frames.value, dict) or not frames.value:
        raise frames.refuse("a camera's frame times at least")
    ends: list[int] = []
    for camera in sorted(frames.value):
        first = frames.at(camera).items()[:1]
        if first:
            ends.append(int(first[0].numbers((2,))[1]))
    if not ends:
        raise frames.refuse("a camera with a frame")
    return stamps_us, poses, max(*ends, int(stamps_us[0]))


def _actors(tracks: _Part) -> dict[str, ActorSpec]:
    if not isinstance(tracks.value, dict) or len(tracks.value) != 1:
        raise tracks.refuse("one sequence")
    (sequence_id,) = tracks.value
    sequence = tracks.at(sequence_id)
    data = sequence.at("tracks_data")
    columns = [
        data.at(key).items()
        for key in ("tracks_id", "tracks_label_class", "tracks_flags", "tracks_timestamps_us", "tracks_poses")
    ]
    columns.append(sequence.at("cuboidtracks_data").at("cuboids_dims").items())
    if len({len(column) for column in columns}) != 1:
        lengths = [len(column) for column in columns]
        raise InvalidInput(f"usdz {tracks.path}: {data.where}: expected columns of one length, got {lengths}")
    actors: dict[str, ActorSpec] = {}
    for track_id, label, flags, stamps, poses, size in zip(*columns, strict=True):
        actor_id = str(track_id.value)
        if actor_id in actors:
            raise track_id.refuse("each track once")
        stamps_us = stamps.stamps()
        x, y, z = size.numbers((3,)).tolist()
        if min(x, y, z) <= 0:
            raise size.refuse("positive sizes")
        rows = poses.numbers((len(stamps_us), 7))
        try:
            matrices = np.stack([from_quaternion(row[:3].tolist(), _unit(row[3:]).tolist()) for row in rows])
        except InvalidInput as error:
            raise InvalidInput(f"usdz {poses.path}: {poses.where}: {error}") from error
        actors[actor_id] = ActorSpec(
            actor_id=actor_id,
            kind=_kind(str(label.value)),
            size_xyz_m=(x, y, z),
            track=Track(stamps_us=stamps_us, local_from_box=matrices),
            is_static=_MOVES not in str(flags.value),
        )
    return actors


def _unit(quaternion: Float64Array) -> Float64Array:
    """Return the quaternion at unit length: stored ones are float32 and a little off."""
    length = float(np.linalg.norm(quaternion))
    return quaternion / length if abs(length - 1.0) < 0.05 else quaternion


def _kind(label: str) -> ActorKind:
    label = label.lower()
    for parts, kind in _KINDS:
        if any(part in label for part in parts):
            return kind
    return "car"
