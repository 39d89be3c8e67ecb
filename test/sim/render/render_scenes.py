"""Small scenes for the renderer's tests, and views of them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import FTheta
from alpamayo_ros.sim.render.view import View
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
    START_US,
    ActorSpec,
    Environment,
    Prop,
    ReferenceDrive,
    Scene,
    Track,
)

GOLDEN_LENSES = {
    "wide": FTheta(
        width=1920, height=1080, cx=960, cy=540, angle_to_pixeldist=(0.0, 920.0), max_angle_rad=1.2
    ),
    "tele": FTheta(
        width=1920, height=1080, cx=960, cy=540, angle_to_pixeldist=(0.0, 3500.0), max_angle_rad=1.2
    ),
}
"""The lenses of the reference log's cameras: three wide ones, one tele."""

FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
SIZES = {
    "car": (4.5, 1.9, 1.6),
    "van": (5.4, 2.0, 2.3),
    "truck": (8.0, 2.5, 3.2),
    "pedestrian": (0.6, 0.6, 1.75),
    "cyclist": (1.8, 0.6, 1.75),
    "cone": (0.4, 0.4, 0.75),
}


def box_pose(x, y, z, yaw=0.0, pitch=0.0, roll=0.0):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", (yaw, pitch, roll)).as_matrix()
    pose[:3, 3] = x, y, z
    return pose


def actor(actor_id, kind="car", *, x=20.0, y=0.0, yaw=0.0, size=None, static=False, variant=0, speed=0.0):
    size = SIZES[kind] if size is None else size
    stamps = START_US + np.arange(2 if speed else 1) * 1_000_000
    poses = np.array([box_pose(x + speed * k, y, size[2] / 2, yaw) for k in range(len(stamps))])
    return ActorSpec(actor_id, kind, size, Track(stamps.astype(np.int64), poses), static, variant)


def plain_scene(
    *actors,
    terrain=None,
    environment=None,
    props=(),
    lights=(),
    stop_signs=(),
    scene_id="plain",
    drawn_road=True,
):
    """A straight road along x; without actors given, one car 20 m ahead."""
    terrain = terrain or Terrain()
    x = np.arange(-40.0, 200.0, 4.0)

    def line(y):
        return terrain.on_ground(np.stack([x, np.full_like(x, y)], axis=1))

    def band(low, high):
        return np.array([[x[0], low], [x[-1], low], [x[-1], high], [x[0], high]])

    lane = Lane("a", line(0.0), line(1.75), line(-1.75), 13.9)
    road = RoadNetwork(
        lanes=(lane,),
        edges=(line(5.5), line(-2.0)),
        surfaces=(Surface("sidewalk", band(-4.5, 8.0)), Surface("road", band(-2.0, 5.5))),
        markings=(Marking(line(-1.75)), Marking(line(1.75), style="dashed", colour="yellow")),
        crosswalks=(Crosswalk(np.array([[30.0, -2.0], [33.0, -2.0], [33.0, 5.5], [30.0, 5.5]]), 0.0),),
        lights=lights,
        stop_signs=stop_signs,
    )
    stamps = START_US + np.arange(218, dtype=np.int64) * 100_000
    poses = np.array([terrain.pose_on_ground(0.8 * k * 0.1 * 10, 0.0, 0.0) for k in range(len(stamps))])
    chosen = actors or (actor("ahead"),)
    return Scene(
        scene_id=scene_id,
        family="straight",
        road=road if drawn_road else None,
        terrain=terrain,
        environment=environment or Environment(),
        actors={spec.actor_id: spec for spec in chosen},
        props=tuple(props),
        reference=ReferenceDrive(stamps, poses, np.full(len(stamps), 8.0)),
        route_lane_ids=("a",),
        route=line(0.0),
    )


def looking(model, *, at=(0.0, 0.0, 1.5), yaw=0.0, pitch=0.0, roll=0.0, time_us=START_US, poses=None):
    """A view from a place, along x turned by yaw (left), pitch (down) and roll."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", (yaw, pitch, roll)).as_matrix() @ FORWARD
    pose[:3, 3] = at
    return View(model, pose, time_us, poses or {})


def light(colours=(("green", 5.0), ("yellow", 2.0), ("red", 5.0))):
    return TrafficLight(
        "light",
        np.array([[15.0, -3.0, 3.0, np.pi]]),
        np.array([[10.0, 1.75, 0], [10.0, -1.75, 0.0]]),
        ("a",),
        colours,
    )


def stop_sign():
    return StopSign("stop", (12.0, -3.2, 0.0, np.pi), np.array([[10.0, 1.75, 0], [10.0, -1.75, 0.0]]), ("a",))


def house(x=25.0, y=-14.0):
    return Prop("building", x, y, 0.0, (12.0, 9.0, 7.0), 4)
