"""What is to be drawn: a camera at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import Matrix4, require_rigid
from alpamayo_ros.sim.protocol.server import NotFound
from alpamayo_ros.sim.scene import Scene


class UnknownActor(NotFound):
    """A dynamic object of a track id that the scene does not have."""


@dataclass(frozen=True, eq=False)
class View:
    """One image to draw.

    Attributes:
        model: lens and size of the image.
        local_from_camera: pose [4, 4] of the optical frame (x right, y down, z forward) in local.
        time_us: when; lights and the recorded actors are of this instant.
        poses: box poses [4, 4] in local of actors by id, in place of the recorded ones.
        standing: ids of actors known to stand still (their brake lamps are on).
    """

    model: CameraModel
    local_from_camera: Matrix4
    time_us: int
    poses: Mapping[str, Matrix4] = field(default_factory=lambda: MappingProxyType({}))
    standing: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        pose = require_rigid("local_from_camera", self.local_from_camera)
        object.__setattr__(self, "local_from_camera", pose)


def require_known(scene: Scene, view: View) -> None:
    """Raise UnknownActor for a pose of an actor that the scene does not have."""
    for actor_id in view.poses:
        if actor_id not in scene.actors:
            raise UnknownActor(
                f"dynamic object: expected a track id of scene {scene.scene_id}, got {actor_id!r}"
            )
