"""The members of a .usdz beside its map: what AlpaSim's runtime reads of the drive, the tracks, the scene."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros import __version__
from alpamayo_ros.sim.cameras import SimCamera, default_cameras
from alpamayo_ros.sim.export.geodesy import ecef_from_local
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import (
    EGO_BOX_IN_RIG_M,
    EGO_SIZE_XYZ_M,
    STEP_US,
    ActorKind,
    ActorSpec,
    Scene,
)

EXPORTER = "alpamayo_ros"
"""Who wrote the scene: what the version that AlpaSim puts on record begins with."""
SHUTTER_US = 33_333
"""How long the shutter is open for a frame; a frame's time is when it closes."""

_LABELS: dict[ActorKind, str] = {
    "car": "automobile",
    "van": "van",
    "truck": "heavy_truck",
    "pedestrian": "person",
    "cyclist": "rider",
    "cone": "traffic_cone",
}
"""Classes as sequence_tracks.json names them; sim/usdz.py reads each back as its kind."""


def rig_trajectories(scene: Scene) -> dict[str, Any]:
    """Return rig_trajectories.json: the reference drive, the vehicle, its cameras and when they took frames.

    Frames end every 100 ms from 100 ms after the start on, so that the first shutter opens after it.
    AlpaSim's runtime takes the earliest first frame for the start of the rollout.
    """
    reference = scene.reference
    sequence = scene.scene_id
    end_us = int(reference.stamps_us[-1])
    frames = [[t - SHUTTER_US, t] for t in range(scene.start_us + STEP_US, end_us + 1, STEP_US)]
    cameras = default_cameras()
    return {
        "T_world_base": ecef_from_local().tolist(),
        "world_to_nre": {"matrix": np.eye(4).tolist()},
        "camera_calibrations": {_camera_key(c, sequence): _calibration(c, sequence) for c in cameras},
        "rig_trajectories": [
            {
                "sequence_id": sequence,
                "T_rig_world_timestamps_us": reference.stamps_us.tolist(),
                "T_rig_worlds": reference.local_from_rig.tolist(),
                "cameras_frame_timestamps_us": {_camera_key(c, sequence): frames for c in cameras},
                "rig_bbox": {
                    "centroid": list(EGO_BOX_IN_RIG_M),
                    "dim": list(EGO_SIZE_XYZ_M),
                    "rot": [0.0, 0.0, 0.0],
                },
            }
        ],
    }


def sequence_tracks(scene: Scene) -> dict[str, Any]:
    """Return sequence_tracks.json: all other road users and obstacles, those that never move too.

    AlpaSim's runtime smooths every track over time, which takes two poses: what never moves stands at the
    start and at the end of the drive.
    """
    actors = list(scene.actors.values())
    tracks = [_track(actor, scene) for actor in actors]
    return {
        scene.scene_id: {
            "tracks_data": {
                "tracks_id": [actor.actor_id for actor in actors],
                "tracks_label_class": [_LABELS[actor.kind] for actor in actors],
                "tracks_flags": ["NONE" if actor.is_static else "CONTROLLABLE" for actor in actors],
                "tracks_timestamps_us": [stamps for stamps, _ in tracks],
                "tracks_poses": [poses for _, poses in tracks],
            },
            "cuboidtracks_data": {"cuboids_dims": [list(actor.size_xyz_m) for actor in actors]},
        }
    }


def metadata(scene: Scene, content: bytes) -> dict[str, Any]:
    """Return metadata.yaml; its hash and uuid are of `content`, so that equal scenes have equal ones."""
    digest = hashlib.sha256(content).hexdigest()
    reference = scene.reference.stamps_us
    return {
        "scene_id": scene.scene_id,
        "version_string": f"{EXPORTER} {__version__}",
        "training_date": "none",
        "dataset_hash": digest,
        "uuid": f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}",
        "is_resumable": False,
        "sensors": {"camera_ids": [c.logical_id for c in default_cameras()], "lidar_ids": []},
        "logger": {"name": None, "run_id": None, "run_url": None},
        "time_range": {"start": float(reference[0]) / 1e6, "end": float(reference[-1]) / 1e6},
        "training_step_outputs": {},
    }


def _camera_key(camera: SimCamera, sequence: str) -> str:
    return f"{camera.logical_id}@{sequence}"


def _calibration(camera: SimCamera, sequence: str) -> dict[str, Any]:
    model = camera.model
    return {
        "sequence_id": sequence,
        "logical_sensor_name": camera.logical_id,
        "unique_sensor_idx": camera.camera_id,
        "T_sensor_rig": camera.rig_from_camera.tolist(),
        "camera_model": {
            "type": "ftheta",
            "parameters": {
                "resolution": [model.width, model.height],
                "shutter_type": "GLOBAL",
                "principal_point": [model.cx, model.cy],
                "reference_poly": model.reference,
                "angle_to_pixeldist_poly": list(model.angle_to_pixeldist),
                "pixeldist_to_angle_poly": list(model.pixeldist_to_angle),
                "max_angle": model.max_angle_rad,
                "linear_cde": list(model.linear_cde),
            },
        },
    }


def _track(actor: ActorSpec, scene: Scene) -> tuple[list[int], list[list[float]]]:
    stamps, poses = actor.track.stamps_us, actor.track.local_from_box
    if len(stamps) == 1:
        stamps = scene.reference.stamps_us[[0, -1]]
        poses = np.repeat(poses, 2, axis=0)
    return stamps.tolist(), _rows(poses).tolist()


def _rows(poses: Float64Array) -> Float64Array:
    """Return x, y, z and quaternion x, y, z, w [N, 7] of poses [N, 4, 4]."""
    return np.concatenate([poses[:, :3, 3], Rotation.from_matrix(poses[:, :3, :3]).as_quat()], axis=1)
