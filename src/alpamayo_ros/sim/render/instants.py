"""A scene at an instant: where everybody is, and what shines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.render import lights
from alpamayo_ros.sim.render.brake_lamps import RecordedBraking
from alpamayo_ros.sim.render.instances import (
    Instances,
    Part,
    actor_mesh,
    actor_part,
    actor_pose_at,
    assemble,
    concatenate,
    scenery_parts,
    signal_parts,
)
from alpamayo_ros.sim.render.view import View
from alpamayo_ros.sim.scene import Scene

Shapes = Literal["drawn", "box"]

_HIDDEN_BELOW_M = 20.0


@dataclass(frozen=True, eq=False)
class Moment:
    """A scene at one instant, shared by the cameras of that instant.

    Attributes:
        instances: what is drawn.
        bodies: the actors, which throw shadows.
        sources: what shines.
        lamps: of these, those that stand in the scene, lit or not.
    """

    instances: Instances
    bodies: tuple[lights.Body, ...]
    sources: tuple[lights.Source, ...]
    lamps: tuple[lights.Source, ...]


class Instants:
    """The instants of one scene; the newest is kept, for the other cameras of it.

    Args:
        scene: whose.
        kinds: the meshes' numbers, by name.
        picture_layers: the textures' layers, by name.
    """

    def __init__(self, scene: Scene, kinds: Mapping[str, int], *, picture_layers: Mapping[str, int]) -> None:
        self._scene, self._kinds = scene, kinds
        self._standing = assemble(scenery_parts(scene, picture_layers), kinds)
        self._braking = {actor_id: RecordedBraking(spec) for actor_id, spec in scene.actors.items()}
        self._identities = {actor_id: index + 1 for index, actor_id in enumerate(scene.actors)}
        self._lamps = tuple(lights.scene_sources(scene))
        self._newest: tuple[object, Moment] | None = None

    def at(self, view: View) -> Moment:
        """Return the instant of a view."""
        key = (
            view.time_us,
            view.standing,
            tuple((actor_id, view.poses[actor_id].tobytes()) for actor_id in sorted(view.poses)),
        )
        if self._newest is not None and self._newest[0] == key:
            return self._newest[1]
        placed = self._placed(view)
        bodies = tuple(
            lights.Body(
                spec.kind,
                actor_mesh(spec.kind, spec.variant),
                spec.size_xyz_m,
                placed[spec.actor_id],
                lit=not spec.is_static,
                braking=self._brakes(view, spec.actor_id, placed[spec.actor_id]),
            )
            for spec in (self._scene.actors[actor_id] for actor_id in placed)
        )
        dark = self._scene.environment.lamps_lit
        sources = (
            *(self._lamps if dark else ()),
            *lights.signal_sources(self._scene, view.time_us, dark=dark),
            *lights.body_sources(bodies, dark=dark),
        )
        moment = Moment(self._instances(view, "drawn", placed), bodies, sources, self._lamps)
        self._newest = (key, moment)
        return moment

    def instances(self, view: View, *, shapes: Shapes) -> Instances:
        """Return what is drawn of a view, actors as they look or as their boxes."""
        return self._instances(view, shapes, self._placed(view))

    def _brakes(self, view: View, actor_id: str, pose: Matrix4) -> bool:
        return self._braking[actor_id].lamps_on(view.time_us, pose[:3, 3], standing=actor_id in view.standing)

    def _placed(self, view: View) -> dict[str, Matrix4]:
        """Return the box poses of all actors that are not far below the ground."""
        poses = {
            actor_id: view.poses[actor_id] if actor_id in view.poses else actor_pose_at(spec, view.time_us)
            for actor_id, spec in self._scene.actors.items()
        }
        if not poses:
            return {}
        at = np.array([pose[:3, 3] for pose in poses.values()])
        below = self._scene.terrain.height_m(at[:, :2]) - at[:, 2]
        return {
            actor_id: pose
            for (actor_id, pose), depth in zip(poses.items(), below, strict=True)
            if depth < _HIDDEN_BELOW_M
        }

    def _instances(self, view: View, shapes: Shapes, placed: Mapping[str, Matrix4]) -> Instances:
        parts: list[Part] = signal_parts(self._scene, view.time_us)
        for actor_id, pose in placed.items():
            spec, identity = self._scene.actors[actor_id], self._identities[actor_id]
            if shapes == "box":
                parts.append(Part("box", pose, spec.size_xyz_m, identity=identity))
            else:
                braking = self._brakes(view, actor_id, pose)
                parts.append(actor_part(spec, pose, identity=identity, braking=braking))
        return concatenate(self._standing, assemble(parts, self._kinds)) if parts else self._standing
