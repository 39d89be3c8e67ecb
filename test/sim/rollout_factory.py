"""Rollouts without a simulation: the ego follows a scene's reference drive, the actors their tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alpamayo_ros.sim.cameras import SimCamera, default_cameras
from alpamayo_ros.sim.record import ActorTrack, DriveRecord, DriveSource, EndReason, RolloutRecord
from alpamayo_ros.sim.reference import ReferenceCourse
from alpamayo_ros.sim.roads import (
    Crosswalk,
    Lane,
    Marking,
    RoadNetwork,
    StopSign,
    Surface,
    Terrain,
    TrafficLight,
)
from alpamayo_ros.sim.scene import (
    FORCE_GT_US,
    START_US,
    STEP_US,
    ActorKind,
    ActorSpec,
    Environment,
    Prop,
    ReferenceDrive,
    Scene,
    Track,
)
from alpamayo_ros.sim.trajectories import interpolate_poses

SIZES: dict[ActorKind, tuple[float, float, float]] = {
    "car": (4.6, 1.9, 1.5),
    "van": (5.4, 2.0, 2.2),
    "truck": (8.0, 2.5, 3.2),
    "pedestrian": (0.5, 0.6, 1.75),
    "cyclist": (1.8, 0.6, 1.7),
    "cone": (0.4, 0.4, 0.7),
}


class FlatPictures:
    """Pictures of one colour, in place of a renderer; counts how many were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def cameras(self) -> Mapping[int, SimCamera]:
        return {camera.camera_id: camera for camera in default_cameras()}

    def render(
        self, record: RolloutRecord, step: int, *, camera_ids: Sequence[int], width: int, height: int
    ) -> dict[int, np.ndarray]:
        self.asked += len(camera_ids)
        return {camera_id: np.full((height, width, 3), 120, np.uint8) for camera_id in camera_ids}


def line(start: tuple[float, float], end: tuple[float, float], count: int = 41) -> np.ndarray:
    points = np.zeros((count, 3))
    points[:, :2] = np.linspace(start, end, count)
    return points


def pose(x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


def example_road() -> RoadNetwork:
    """Two lanes of 200 m, one each way, with everything that can be on a road."""
    ahead = Lane(
        "ahead",
        line((-20, -1.75), (200, -1.75)),
        line((-20, 0), (200, 0)),
        line((-20, -3.5), (200, -3.5)),
        13.9,
    )
    back = Lane(
        "back", line((200, 1.75), (-20, 1.75)), line((200, 0), (-20, 0)), line((200, 3.5), (-20, 3.5)), 13.9
    )
    stop_line = np.array([[118.0, 0.0, 0.0], [118.0, -3.5, 0.0]])
    return RoadNetwork(
        lanes=(ahead, back),
        edges=(line((-20, -3.5), (200, -3.5)), line((-20, 3.5), (200, 3.5))),
        surfaces=(
            Surface("road", np.array([[-20, -3.5], [200, -3.5], [200, 3.5], [-20, 3.5]], float)),
            Surface("sidewalk", np.array([[-20, 3.5], [200, 3.5], [200, 6], [-20, 6]], float)),
        ),
        markings=(
            Marking(line((-20, 0), (200, 0)), style="dashed"),
            Marking(line((-20, 3.3), (200, 3.3)), colour="yellow"),
        ),
        crosswalks=(Crosswalk(np.array([[120, -3.5], [124, -3.5], [124, 3.5], [120, 3.5]], float), 0.0),),
        lights=(
            TrafficLight(
                "light",
                np.array([[126.0, -5.0, 5.0, np.pi]]),
                stop_line,
                ("ahead",),
                (("red", 9.0), ("green", 9.0)),
            ),
        ),
        stop_signs=(StopSign("sign", (60.0, -4.5, 0.0, np.pi), stop_line - (60, 0, 0), ("ahead",)),),
    )


def example_scene(*, scene_id: str = "straight-0", description: str = "A straight road.") -> Scene:
    """A scene made by hand: 10 m/s along the road for 21.7 s, one actor of every kind."""
    times_us = np.arange(START_US, START_US + 21_700_001, STEP_US, dtype=np.int64)
    x = (times_us - START_US) * 1e-6 * 8.0
    poses = np.stack([pose(at, -1.75) for at in x])
    reference = ReferenceDrive(times_us, poses, np.full(len(times_us), 8.0))
    oncoming = np.stack([pose(180 - at, 1.75, np.pi, 0.75) for at in x])
    tracks = {
        "car": Track(times_us, oncoming),
        "pedestrian": Track(times_us, np.stack([pose(122, 5 - 0.4 * t, -np.pi / 2, 0.9) for t in x / 8.0])),
    }
    actors = {}
    for index, (kind, size) in enumerate(SIZES.items()):
        still = Track(times_us[:1], pose(30.0 * index, 4.8, 0.0, size[2] / 2)[None])
        actors[kind] = ActorSpec(kind, kind, size, tracks.get(kind, still), is_static=kind not in tracks)
    return Scene(
        scene_id=scene_id,
        family=scene_id.partition("-")[0],
        road=example_road(),
        terrain=Terrain(),
        environment=Environment(),
        actors=actors,
        props=(
            Prop("building", 50, 14, 0.2, (12, 8, 6)),
            Prop("tree", 70, -8, 0, (4, 4, 6)),
            Prop("barrier", 90, -6, 0, (8, 0.4, 0.8)),
        ),
        reference=reference,
        route_lane_ids=("ahead",),
        route=line((-20, -1.75), (200, -1.75), 111),
        description=description,
    )


def record_of(
    scene: Scene,
    *,
    steps: int = 218,
    rollout_index: int = 0,
    end_reason: EndReason = "time",
    error: str = "",
    reasoning: str = "Keep the lane because the road ahead is clear.",
    samples: int = 3,
    stop_from: int | None = None,
) -> RolloutRecord:
    """Return a rollout that follows the reference, `steps` states long, with plans of `samples` samples."""
    course = ReferenceCourse(scene)
    stamps = START_US + STEP_US * np.arange(steps, dtype=np.int64)
    actors = {}
    for actor_id, actor in scene.actors.items():
        poses = (
            interpolate_poses(actor.track.stamps_us, actor.track.local_from_box, stamps)
            if len(actor.track.stamps_us) > 1
            else np.repeat(actor.track.local_from_box, steps, axis=0)
        )
        actors[actor_id] = ActorTrack(
            actor_id, actor.kind, actor.size_xyz_m, actor.is_static, np.ones(steps, bool), poses
        )
    return RolloutRecord(
        scene=scene,
        rollout_index=rollout_index,
        planner="reference",
        ego=tuple(course.state_at(int(stamp)) for stamp in stamps),
        actors=actors,
        drives=tuple(
            _drive(
                course,
                int(stamp),
                reasoning=reasoning,
                samples=samples,
                stop=stop_from is not None and i >= stop_from,
            )
            for i, stamp in enumerate(stamps[:-1])
        ),
        end_reason=end_reason,
        error=error,
        wall_s=3.2,
    )


def _drive(course: ReferenceCourse, time_us: int, *, reasoning: str, samples: int, stop: bool) -> DriveRecord:
    stamps = time_us + STEP_US * np.arange(65, dtype=np.int64)
    poses = course.poses_at(stamps)
    spread = np.arange(samples)[:, None, None] - samples // 2
    drift = np.linspace(0, 1, 64)[None, :, None] * np.array([0.0, 1.0, 0.0])
    warm_up = time_us < START_US + FORCE_GT_US
    source: DriveSource = "reference" if warm_up else "stop" if stop else "plan"
    planned = source == "plan"
    return DriveRecord(
        time_us=time_us,
        source=source,
        stamps_us=stamps,
        local_from_rig=poses,
        candidates=poses[None, 1:, :3, 3] + spread * drift if planned else np.zeros((0, 64, 3)),
        chosen=samples // 2 if planned else 0,
        reasoning=reasoning if planned else "",
        instruction="Continue straight",
        latency_ms=80.0 if planned else 0.0,
        reason="no plan in time" if source == "stop" else "",
    )
