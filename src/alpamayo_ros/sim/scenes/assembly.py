"""From a draft of a scene to the scene: drive the reference, record the tracks, put scenery beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from shapely.geometry import MultiPolygon, Polygon

from alpamayo_ros.sim.roads import Float64Array, SurfaceKind, Terrain
from alpamayo_ros.sim.scene import (
    ROLLOUT_US,
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
from alpamayo_ros.sim.scenes.agents import Agent, EgoMotion, TrafficScript
from alpamayo_ros.sim.scenes.bodies import bodies_at
from alpamayo_ros.sim.scenes.driver import Driver, drive
from alpamayo_ros.sim.scenes.driving import DriverScript, route_speed_limits
from alpamayo_ros.sim.scenes.paths import Path
from alpamayo_ros.sim.scenes.roadmap import MapBuilder
from alpamayo_ros.sim.scenes.traffic import Traffic, prepare

STEPS = ROLLOUT_US // STEP_US


class UnfitScene(RuntimeError):
    """A draft whose story did not happen as meant; it is drawn again."""


@dataclass(frozen=True)
class Obstacle:
    """Something that never moves: a parked car, a cone. x, y, yaw of its box's centre."""

    actor_id: str
    kind: ActorKind
    size_xyz_m: tuple[float, float, float]
    pose: tuple[float, float, float]
    variant: int = 0


@dataclass(eq=False)
class Draft:
    """A scene in the making: what a family fills in."""

    rng: np.random.Generator
    terrain: Terrain
    builder: MapBuilder
    route: list[str] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    props: list[Prop] = field(default_factory=list)
    driver: DriverScript | None = None
    environment: Environment = field(default_factory=Environment)
    fillet_m: float = 0.0
    verge: SurfaceKind = "sidewalk"
    verge_m: float = 2.5
    scenery: str = "suburb"
    description: str = ""
    events: list[str] = field(default_factory=list)
    ends_ahead: str = ""
    """Id of an agent that must be ahead of the ego on its way in the end (one that has cut in)."""

    def route_path(self) -> Path:
        """Return the path along the route's lane centres."""
        return self.builder.path(self.route)


def assemble(scene_id: str, family: str, draft: Draft) -> tuple[Scene, Polygon | MultiPolygon]:
    """Return the scene of a draft and its drivable area.

    The reference has been driven, its actors' tracks recorded.
    """
    from alpamayo_ros.sim.scenes.scenery import decorate

    if draft.driver is None:
        raise ValueError("draft: expected a driver, got none")
    network, area = draft.builder.finish(fillet_m=draft.fillet_m, verge=draft.verge, verge_m=draft.verge_m)
    path = draft.route_path()
    script = TrafficScript(
        agents=tuple(draft.agents),
        lights=network.lights,
        obstacles=bodies_at([o.pose for o in draft.obstacles], [o.size_xyz_m for o in draft.obstacles]),
        ego_path=path,
    )
    tables = prepare(script)
    traffic = Traffic(script, tables)
    traffic.ego_s_m = draft.driver.start_s_m
    limits = route_speed_limits(
        [(draft.builder.paths[i].length_m, draft.builder.lanes[i].speed_limit_mps) for i in draft.route]
    )
    motions, poses, _ = drive(Driver(draft.driver, traffic, limits), STEPS)
    stamps = START_US + STEP_US * np.arange(STEPS + 1, dtype=np.int64)
    terrain = draft.terrain
    reference = ReferenceDrive(
        stamps,
        np.stack([terrain.pose_on_ground(m.x_m, m.y_m, m.yaw_rad) for m in motions]),
        np.array([m.speed_mps for m in motions]),
    )
    actors: dict[str, ActorSpec] = {}
    for i, agent in enumerate(draft.agents):
        boxes = np.stack([box_on_ground(terrain, tuple(p[i]), agent.size_xyz_m[2]) for p in poses])
        actors[agent.actor_id] = ActorSpec(
            agent.actor_id, agent.kind, agent.size_xyz_m, Track(stamps, boxes), variant=agent.variant
        )
    for obstacle in draft.obstacles:
        box = box_on_ground(terrain, obstacle.pose, obstacle.size_xyz_m[2])
        actors[obstacle.actor_id] = ActorSpec(
            obstacle.actor_id,
            obstacle.kind,
            obstacle.size_xyz_m,
            Track(stamps[:1], box[None]),
            is_static=True,
            variant=obstacle.variant,
        )
    props = [*draft.props, *decorate(draft, area, path)]
    if draft.ends_ahead:
        _check_ahead(path, motions[-1], draft.ends_ahead, actors[draft.ends_ahead])
    scene = Scene(
        scene_id=scene_id,
        family=family,
        road=network,
        terrain=terrain,
        environment=draft.environment,
        actors=dict(sorted(actors.items())),
        props=tuple(props),
        reference=reference,
        route_lane_ids=tuple(draft.route),
        route=route_points(terrain, path, draft.driver.start_s_m),
        description=draft.description,
        extras={
            "traffic": script,
            "tables": tables,
            "labels": tuple(draft.events),
            "ego_start_s_m": draft.driver.start_s_m,
        },
    )
    return scene, area


def _check_ahead(path: Path, ego: EgoMotion, actor_id: str, actor: ActorSpec) -> None:
    """Raise UnfitScene unless an actor is in the end ahead of the ego on the route."""
    there, aside = path.project(actor.track.local_from_box[-1, :2, 3])
    here, _ = path.project(np.array([ego.x_m, ego.y_m]))
    if there < here or abs(aside) > 0.5:
        raise UnfitScene(f"{actor_id} {there - here:.1f} m ahead, {aside:.1f} m aside in the end")


def box_on_ground(terrain: Terrain, pose: Sequence[float], height_m: float) -> Float64Array:
    """Return the pose [4, 4] of the centre of a box that stands on the ground at x, y, yaw of its centre."""
    result = terrain.pose_on_ground(float(pose[0]), float(pose[1]), float(pose[2]))
    result[:3, 3] += result[:3, 2] * (height_m / 2)
    return result


def route_points(terrain: Terrain, path: Path, from_m: float) -> Float64Array:
    """Return the route's line [N, 3], a point every 1.5 m at most, from a little behind the start on."""
    start = max(0.0, from_m - 5.0)
    count = int(np.ceil((path.length_m - start) / 1.5)) + 1
    xy, _, _ = path.sample(np.linspace(start, path.length_m, count))
    return terrain.on_ground(xy)
