"""Writing a scene as a .usdz: a zip whose members are stored and begin at multiples of 64 bytes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from alpamayo_ros.sim.export.ground_mesh import ground_mesh_ply
from alpamayo_ros.sim.export.members import metadata, rig_trajectories, sequence_tracks
from alpamayo_ros.sim.export.xodr import opendrive
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.types import InvalidInput

_MESHES = ("mesh.ply", "mesh_ground.ply")
"""AlpaSim's physics takes the one or the other, as it is told; ours holds the ground in both."""
_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30
_PADDING_FIELD = 0x1986
"""Id of the extra field that pads a member's header."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Zip's earliest date: the same scene makes the same file whenever it is exported."""


def usdz_path(folder: str | Path, scene_id: str) -> Path:
    """Return where a scene is exported to in a folder."""
    return Path(folder) / f"{scene_id}.usdz"


def export_scene(scene: Scene, folder: str | Path, *, force: bool = False) -> Path:
    """Write a scene to `folder`/SCENE_ID.usdz and return its path; never leaves half a file.

    Args:
        scene: with a map.
        folder: made if missing.
        force: replace a file that is there.

    Raises:
        InvalidInput: for a scene without a map, a map that OpenDRIVE cannot express, a file that exists
            without `force`, or a folder that cannot be written to.
    """
    path = usdz_path(folder, scene.scene_id)
    if scene.road is None:
        raise InvalidInput(f"export of {scene.scene_id}: expected a scene with a map, got one without")
    if path.exists() and not force:
        raise InvalidInput(f"export: expected no file {path}, got one (replace it with --force)")
    members = {
        "map.xodr": opendrive(scene.scene_id, scene.road, scene.terrain).encode(),
        "rig_trajectories.json": json.dumps(rig_trajectories(scene)).encode(),
        "sequence_tracks.json": json.dumps(sequence_tracks(scene)).encode(),
        **dict.fromkeys(_MESHES, ground_mesh_ply(scene.road, scene.terrain)),
    }
    about = yaml.safe_dump(metadata(scene, b"".join(members.values())), sort_keys=False).encode()
    archive = usdz_bytes({"metadata.yaml": about, **members})
    part = path.with_suffix(".usdz.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(archive)
        part.replace(path)
    except OSError as error:
        raise InvalidInput(f"export: expected to write {path}, got {error}") from error
    return path


def usdz_bytes(members: Mapping[str, bytes]) -> bytes:
    """Return a .usdz archive of members by name, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.extra = _padding(buffer.tell() + _LOCAL_HEADER_BYTES + len(name.encode()))
            archive.writestr(info, content)
    return buffer.getvalue()


def _padding(offset: int) -> bytes:
    """Return the extra field that brings data at `offset` (without it) to a multiple of 64."""
    short = -(offset + 4) % _ALIGNMENT
    return struct.pack("<HH", _PADDING_FIELD, short) + bytes(short)
