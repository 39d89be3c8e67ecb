"""A scene from an AlpaSim log: a plain road along the recorded drive, the log's actors and cameras.

The log tells sizes and classes of all actors, where each was at every step, and the cameras. It has no map:
the road is one lane each way along the drive, on the plane that fits the drive best, so it shows where the
car went and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alpamayo_ros.sensing.camera_models import FTheta
from alpamayo_ros.sim.cameras import LOGICAL_IDS, SimCamera
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.convert import camera_model, matrix_of
from alpamayo_ros.sim.protocol.generated import logging_pb2, sensorsim_pb2
from alpamayo_ros.sim.render.scene_store import FixedScene
from alpamayo_ros.sim.roads import (
    Float64Array,
    Lane,
    Marking,
    RoadNetwork,
    Surface,
    Terrain,
    TerrainWave,
)
from alpamayo_ros.sim.scene import (
    EGO_ID,
    ActorKind,
    ActorSpec,
    Environment,
    Prop,
    ReferenceDrive,
    Scene,
    Track,
)
from alpamayo_ros.types import InvalidInput

LANE_M = 3.7
_BEYOND_M = 150.0
_STEP_M = 2.0
_LEVEL_M = 1e-3
_STIFFNESS_M2 = 100.0

_KINDS: tuple[tuple[tuple[str, ...], ActorKind], ...] = (
    (("truck", "lorry", "trailer", "heavy", "bus", "tram"), "truck"),
    (("van",), "van"),
    (("bicycle", "cyclist", "bike", "rider", "motor", "scooter"), "cyclist"),
    (("person", "pedestrian", "child", "adult", "animal", "stroller"), "pedestrian"),
    (("cone", "barrier", "bollard", "object", "debris"), "cone"),
    (("automobile", "car", "vehicle"), "car"),
)


def scene_from_asl(path: str | Path) -> FixedScene:
    """Read a log and return its scene and cameras.

    Raises:
        InvalidInput: if the file cannot be read, is no log, or lacks its metadata or recorded drive.
    """
    metadata: logging_pb2.RolloutMetadata | None = None
    poses: list[logging_pb2.ActorPoses] = []
    cameras: tuple[SimCamera, ...] = ()
    for entry in read_entries(Path(path)):
        kind = entry.WhichOneof("log_entry")
        if kind == "rollout_metadata" and metadata is None:
            metadata = entry.rollout_metadata
        elif kind == "actor_poses":
            poses.append(entry.actor_poses)
        elif kind == "available_cameras_return" and not cameras:
            cameras = _cameras(entry.available_cameras_return)
    if metadata is None:
        raise InvalidInput(f"{path}: expected a log with rollout metadata, got none")
    reference = _reference(metadata, str(path))
    terrain = _terrain(reference.local_from_rig[:, :3, 3])
    scene = Scene(
        scene_id=metadata.session_metadata.scene_id,
        family="recorded",
        road=_road(_path(reference), terrain),
        terrain=terrain,
        environment=Environment(),
        actors=_actors(metadata, poses),
        props=_props(reference),
        reference=reference,
        route_lane_ids=("drive",),
        route=terrain.on_ground(_path(reference)),
        description=f"Recorded drive of {Path(path).name}",
        start_us=int(reference.stamps_us[0]),
    )
    return FixedScene(scene, cameras)


def _reference(metadata: logging_pb2.RolloutMetadata, name: str) -> ReferenceDrive:
    drive = metadata.ego_rig_recorded_ground_truth_trajectory.poses
    if len(drive) < 2:
        raise InvalidInput(f"{name}: expected a recorded drive of at least 2 poses, got {len(drive)}")
    stamps = np.array([pose.timestamp_us for pose in drive], np.int64)
    poses = np.array([matrix_of(pose.pose, "recorded drive") for pose in drive])
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / (np.diff(stamps) * 1e-6)
    return ReferenceDrive(stamps, poses, np.append(steps, steps[-1]))


def _actors(
    metadata: logging_pb2.RolloutMetadata, steps: list[logging_pb2.ActorPoses]
) -> dict[str, ActorSpec]:
    tracks: dict[str, tuple[list[int], list[Float64Array]]] = {}
    for step in steps:
        for item in step.actor_poses:
            stamps, poses = tracks.setdefault(item.actor_id, ([], []))
            if not stamps or step.timestamp_us > stamps[-1]:
                stamps.append(step.timestamp_us)
                poses.append(matrix_of(item.actor_pose, f"actor {item.actor_id!r}"))
    actors: dict[str, ActorSpec] = {}
    for index, definition in enumerate(metadata.actor_definitions.actor_aabb):
        if definition.actor_id == EGO_ID or definition.actor_id not in tracks:
            continue
        stamps, poses = tracks[definition.actor_id]
        at = np.array([pose[:3, 3] for pose in poses])
        still = bool(np.abs(at - at[0]).max() < 0.05)
        box = definition.aabb
        actors[definition.actor_id] = ActorSpec(
            actor_id=definition.actor_id,
            kind=actor_kind(definition.actor_label, length_m=box.size_x),
            size_xyz_m=(box.size_x, box.size_y, box.size_z),
            track=Track(
                np.array(stamps[:1] if still else stamps, np.int64), np.array(poses[:1] if still else poses)
            ),
            is_static=still,
            variant=7 * index + 2,
        )
    return actors


def actor_kind(label: str, *, length_m: float) -> ActorKind:
    """Return what an actor of a log's class is drawn as; long ones of an unknown class are lorries."""
    lowered = label.lower()
    for words, kind in _KINDS:
        if any(word in lowered for word in words):
            return kind
    return "truck" if length_m > 6.5 else "car" if length_m > 2.5 else "pedestrian"


def _cameras(answer: sensorsim_pb2.AvailableCamerasReturn) -> tuple[SimCamera, ...]:
    cameras = []
    for item in answer.available_cameras:
        model = camera_model(item.intrinsics)
        if item.logical_id not in LOGICAL_IDS or not isinstance(model, FTheta):
            continue
        cameras.append(
            SimCamera(
                item.logical_id,
                LOGICAL_IDS.index(item.logical_id),
                model,
                matrix_of(item.rig_to_camera, f"camera {item.logical_id!r}"),
            )
        )
    return tuple(cameras)


def _terrain(xyz: Float64Array) -> Terrain:
    """Return the plane that fits points [N, 3] best; across a straight drive it is level."""
    if np.abs(xyz[:, 2]).max() < _LEVEL_M:
        return Terrain()
    centre = xyz.mean(axis=0)
    away = xyz - centre
    gx, gy = np.linalg.solve(
        away[:, :2].T @ away[:, :2] + _STIFFNESS_M2 * np.eye(2), away[:, :2].T @ away[:, 2]
    )
    waves = [TerrainWave(float(centre[2]), 0.0, 0.0, np.pi / 2)]
    slope = float(np.hypot(gx, gy))
    if slope > 1e-5:
        # A wave of 600 km is a plane for as far as one can see.
        k = 1e-5 / slope
        phase = -k * (gx * centre[0] + gy * centre[1])
        waves.append(TerrainWave(slope / 1e-5, float(k * gx), float(k * gy), float(phase)))
    return Terrain(tuple(waves))


def _path(reference: ReferenceDrive) -> Float64Array:
    """Return the drive as points [N, 2] about 2 m apart, with straight ends added."""
    xyz = reference.local_from_rig[:, :3, 3]
    keep = np.concatenate([[True], np.linalg.norm(np.diff(xyz[:, :2], axis=0), axis=1) > 0.01])
    xyz = xyz[keep]
    first, last = reference.local_from_rig[0, :3, 0], reference.local_from_rig[-1, :3, 0]
    xyz = np.concatenate([[xyz[0] - _BEYOND_M * first], xyz, [xyz[-1] + _BEYOND_M * last]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xyz[:, :2], axis=0), axis=1))])
    at = np.arange(0.0, along[-1], _STEP_M)
    return np.stack([np.interp(at, along, xyz[:, k]) for k in range(2)], axis=1)


def _beside(path: Float64Array, left_m: float) -> Float64Array:
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.asarray(path + np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * left_m)


def _road(path: Float64Array, terrain: Terrain) -> RoadNetwork:
    """Return a road of two lanes: the drive's own on the right, one that comes the other way on its left."""
    half = LANE_M / 2

    def line(left_m: float, *, back: bool = False) -> Float64Array:
        beside = _beside(path, left_m)
        return terrain.on_ground(beside[::-1] if back else beside)

    own = Lane("drive", line(0.0), line(half), line(-half), speed_limit_mps=13.9)
    other = Lane(
        "oncoming",
        line(LANE_M, back=True),
        line(half, back=True),
        line(3 * half, back=True),
        speed_limit_mps=13.9,
    )
    right, left = line(-half - 0.6), line(3 * half + 0.6)
    far_right, far_left = line(-half - 3.2), line(3 * half + 3.2)

    def area(a: Float64Array, b: Float64Array) -> Float64Array:
        return np.concatenate([a[:, :2], b[::-1, :2]])

    return RoadNetwork(
        lanes=(own, other),
        edges=(left, right),
        surfaces=(
            Surface("sidewalk", area(far_left, left)),
            Surface("sidewalk", area(right, far_right)),
            Surface("road", area(left, right)),
        ),
        markings=(
            Marking(line(-half)),
            Marking(line(half), style="dashed", colour="yellow"),
            Marking(line(3 * half)),
        ),
    )


def _props(reference: ReferenceDrive) -> tuple[Prop, ...]:
    """Return trees and lamps along the road, so that motion can be seen."""
    path = _path(reference)
    rng = np.random.default_rng([51, len(path)])
    props = []
    for side, offset in ((1, 1.5 * LANE_M + 5.0), (-1, -0.5 * LANE_M - 5.0)):
        border = _beside(path, offset)
        for index in range(6, len(border) - 6, 9):
            x, y = border[index, :2] + rng.uniform(-1.0, 1.0, 2)
            size = float(rng.uniform(3.0, 4.5))
            clear = np.hypot(path[:, 0] - x, path[:, 1] - y).min() > LANE_M * 0.5 + 3.0
            if clear:
                props.append(
                    Prop("tree", float(x), float(y), 0.0, (size, size, 2.1 * size), int(rng.integers(1000)))
                )
        heading = np.arctan2(*np.gradient(path[:, :2], axis=0).T[::-1])
        lamps = _beside(path, offset - side * 2.6)
        for index in range(10, len(lamps) - 10, 18):
            yaw = float(heading[index]) - side * np.pi / 2
            props.append(Prop("lamp", float(lamps[index, 0]), float(lamps[index, 1]), yaw, (0.25, 0.25, 7.5)))
    return tuple(props)
