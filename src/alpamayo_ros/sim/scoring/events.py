"""What ends a rollout: a collision, or leaving the road. Cheap enough to ask at every step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M, Scene
from alpamayo_ros.sim.scoring.lanes import lane_map
from alpamayo_ros.sim.scoring.shapes import BoxShape, box_shape, planar_poses
from alpamayo_ros.sim.state import ActorState, EgoState

CollisionKind = Literal["front", "lateral", "rear"]
COLLISION_KINDS: tuple[CollisionKind, ...] = ("front", "lateral", "rear")
"""Worst first; all but "rear" are the ego's fault, whoever moved."""


@dataclass(frozen=True)
class Collision:
    """A collision of the ego: with whom, and which part of the ego met them."""

    actor_id: str
    kind: CollisionKind

    @property
    def at_fault(self) -> bool:
        """Whether AlpaSim blames the ego."""
        return self.kind != "rear"


def collision_kind(ego: BoxShape, ego_pose: Float64Array, other: shapely.Polygon) -> CollisionKind:
    """Return which part of the ego at x, y, yaw meets a shape that it collides with."""
    x_m, y_m, yaw_rad = (float(value) for value in ego_pose)
    if other.intersects(ego.front_at(x_m, y_m, yaw_rad)):
        return "front"
    if other.intersects(ego.rear_at(x_m, y_m, yaw_rad)):
        return "rear"
    return "lateral"


class StepChecker:
    """Checks single steps of rollouts in one scene, by the shapes of the scores."""

    def __init__(self, scene: Scene) -> None:
        self._map = None if scene.road is None else lane_map(scene.road)
        self._ego = box_shape(*EGO_SIZE_XYZ_M[:2])

    def collision(self, ego: EgoState, actors: Iterable[ActorState]) -> Collision | None:
        """Return the worst collision of the ego with any of the actors, or None; touching counts."""
        pose = planar_poses(ego.local_from_box)
        shape: shapely.Polygon | None = None
        found: list[Collision] = []
        for actor in actors:
            other = box_shape(*actor.size_xyz_m[:2])
            if np.hypot(*(actor.xy_m - pose[:2])) > self._ego.reach_m + other.reach_m:
                continue
            shape = shape or self._ego.at(*pose)
            other_shape = other.at(*planar_poses(actor.local_from_box))
            if shape.intersects(other_shape):
                found.append(Collision(actor.actor_id, collision_kind(self._ego, pose, other_shape)))
        return min(found, key=lambda each: COLLISION_KINDS.index(each.kind), default=None)

    def off_road(self, ego: EgoState) -> bool:
        """Return whether the ego's shape strictly leaves the drivable area; never so without a map."""
        if self._map is None:
            return False
        return self._map.strictly_off_road(self._ego.at(*planar_poses(ego.local_from_box)))
