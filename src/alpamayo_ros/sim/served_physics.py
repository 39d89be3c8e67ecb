"""The ground of our scenes as a service: AlpaSim's runtime can stand its vehicles on it.

servicer = PhysicsServicer(ServedGround(make_scene))
with serve(servicer.register, port=6004): ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from alpamayo_ros.sim.protocol.physics import Body, Grounded
from alpamayo_ros.sim.protocol.server import NotFound
from alpamayo_ros.sim.roads import Terrain
from alpamayo_ros.sim.scene import FAMILIES, Scene
from alpamayo_ros.types import InvalidInput

LISTED_SEEDS = 100
MAX_LIFT_M = 5.0
"""What is farther from the ground is not there to stand on it: actors are hidden 100 m below it."""
MAX_TILT_RAD = np.deg2rad(45.0)


def listed_scene_ids() -> list[str]:
    """Return the first LISTED_SEEDS scenes of each family; any other seed is served too."""
    return [f"{family}-{seed}" for family in FAMILIES for seed in range(LISTED_SEEDS)]


class ServedGround:
    """Puts boxes on the ground of scenes (a protocol.physics.PhysicsHandler).

    A box stands on its foot, the centre of its lower face: that point goes straight up or down to the ground
    and the box leans with it, its heading kept. So a box that stands already is left where it is.

    Args:
        make_scene: scene id -> Scene; raises InvalidInput for an id that it does not know.
    """

    def __init__(self, make_scene: Callable[[str], Scene]) -> None:
        self._make_scene = make_scene

    def scene_ids(self) -> Sequence[str]:
        """Return the scenes that are listed."""
        return listed_scene_ids()

    def put_on_ground(self, scene_id: str, body: Body) -> Grounded:
        """Put a body's poses on a scene's ground; raises NotFound."""
        try:
            terrain = self._make_scene(scene_id).terrain
        except InvalidInput as error:
            raise NotFound(f"scene_id: {error}") from error
        poses, statuses = np.array(body.local_from_box), []
        for index, pose in enumerate(poses):
            poses[index], status = _on_ground(terrain, pose, body.size_xyz_m[2] / 2)
            statuses.append(status)
        return Grounded(poses, tuple(statuses))


def _on_ground(terrain: Terrain, local_from_box: np.ndarray, half_height_m: float) -> tuple[np.ndarray, str]:
    """Return the pose of a box's centre on the ground and its status; as it was for all but the first."""
    up, forward = local_from_box[:3, 2], local_from_box[:2, 0]
    if up[2] < np.cos(MAX_TILT_RAD):  # lies on its side: which way it heads is not clear either
        return local_from_box, "HIGH_ROTATION"
    foot = local_from_box[:3, 3] - half_height_m * up
    if abs(float(terrain.height_m(foot)) - foot[2]) > MAX_LIFT_M:
        return local_from_box, "HIGH_TRANSLATION"
    standing = terrain.pose_on_ground(
        float(foot[0]), float(foot[1]), float(np.arctan2(forward[1], forward[0]))
    )
    standing[:3, 3] += half_height_m * standing[:3, 2]
    return standing, "SUCCESSFUL_UPDATE"
