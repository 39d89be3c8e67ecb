"""What moves while a rollout runs: the ego, the actors, and the interface of the world they move in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, ActorKind, Scene
from alpamayo_ros.types import require_array


@dataclass(frozen=True, eq=False)
class EgoState:
    """The ego at one instant.

    Attributes:
        time_us: when.
        local_from_rig: pose [4, 4] of the rig (rear axle's centre on the ground) in local.
        velocity_in_rig_mps: (forward, left) of the rear axle.
        yaw_rate_radps: counter-clockwise.
        accel_in_rig_mps2: (forward, left) of the rear axle.
        steer_rad: front wheels' angle, positive to the left.
    """

    time_us: int
    local_from_rig: Float64Array
    velocity_in_rig_mps: tuple[float, float] = (0.0, 0.0)
    yaw_rate_radps: float = 0.0
    accel_in_rig_mps2: tuple[float, float] = (0.0, 0.0)
    steer_rad: float = 0.0

    def __post_init__(self) -> None:
        require_array("ego: local_from_rig", self.local_from_rig, (4, 4), np.float64)

    @property
    def speed_mps(self) -> float:
        """Forward speed of the rear axle."""
        return self.velocity_in_rig_mps[0]

    @property
    def xy_m(self) -> Float64Array:
        """Position [2] of the rear axle in local."""
        return np.asarray(self.local_from_rig[:2, 3])

    @property
    def yaw_rad(self) -> float:
        """Heading in local."""
        return float(np.arctan2(self.local_from_rig[1, 0], self.local_from_rig[0, 0]))

    @property
    def local_from_box(self) -> Float64Array:
        """Pose [4, 4] of the centre of the ego's box in local."""
        pose = np.array(self.local_from_rig)
        pose[:3, 3] += pose[:3, :3] @ np.array(EGO_BOX_IN_RIG_M)
        return pose


@dataclass(frozen=True, eq=False)
class ActorState:
    """An actor at one instant: pose [4, 4] of its box's centre in local, speed along its x axis."""

    actor_id: str
    kind: ActorKind
    size_xyz_m: tuple[float, float, float]
    local_from_box: Float64Array
    speed_mps: float
    is_static: bool = False

    @property
    def xy_m(self) -> Float64Array:
        """Position [2] of the box's centre in local."""
        return np.asarray(self.local_from_box[:2, 3])

    @property
    def yaw_rad(self) -> float:
        """Heading in local."""
        return float(np.arctan2(self.local_from_box[1, 0], self.local_from_box[0, 0]))


@runtime_checkable
class World(Protocol):
    """Everything around the ego, as it changes with time. One rollout, one World."""

    @property
    def scene(self) -> Scene:
        """What is fixed."""
        ...

    @property
    def time_us(self) -> int:
        """The instant that `actors` describes; scene.start_us at first."""
        ...

    @property
    def actors(self) -> tuple[ActorState, ...]:
        """Road users and obstacles now, static ones too, ordered by id; the ego is not among them."""
        ...

    def step(self, ego: EgoState, to_us: int) -> None:
        """Move on to `to_us`; `ego` is the ego's state at the present instant, which the actors react to."""
        ...

    def instruction(self, ego: EgoState) -> str:
        """Return navigation text for the ego's place on the route ("Turn left in 40m"), "" if none."""
        ...
