"""A scene: everything that is fixed before a rollout begins. Renderer, world, scores and report share it.

Coordinates as in roads.py (local, ENU, metres, rad); times are microseconds since the epoch, as on
AlpaSim's wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array, RoadNetwork, Terrain
from alpamayo_ros.types import InvalidInput, require_array

FAMILIES: tuple[str, ...] = (
    "straight",
    "curve",
    "s_bend",
    "hills",
    "junction_3way",
    "junction_4way",
    "cones",
    "parked",
    "cut_in",
    "lead_braking",
    "queue",
    "pedestrian",
    "cyclist",
    "oncoming",
    "traffic_light",
    "stop_sign",
    "roundabout",
    "fog",
    "dusk",
    "rain_dark",
)
"""Kinds of scenes. A seed alone is of family FAMILIES[seed % 20], so 100 seeds hold each five times."""

ActorKind = Literal["car", "van", "truck", "pedestrian", "cyclist", "cone"]
PropKind = Literal[
    "building", "tree", "bush", "pole", "lamp", "barrier", "sign_speed", "sign_yield", "sign_turn"
]

START_US = 1_700_000_000_000_000
"""When every procedural scene begins."""
STEP_US = 100_000
FORCE_GT_US = 1_700_000
"""How long a rollout follows the reference before the planner drives."""
ROLLOUT_US = 21_700_000
EGO_ID = "EGO"
EGO_SIZE_XYZ_M: tuple[float, float, float] = (5.0, 2.0, 1.5)
EGO_BOX_IN_RIG_M: tuple[float, float, float] = (1.4, 0.0, 0.75)
"""Centre of the ego's box in the rig frame (rear axle's centre on the ground)."""

_SCENE_ID = re.compile(r"([a-z0-9_]+)-(\d+)")


def scene_id_of(text: str | int) -> str:
    """Return the scene id of a seed ("7", 7) or of an id ("cut_in-7").

    Raises:
        InvalidInput: for an unknown family or a text that is neither.
    """
    if isinstance(text, int) or text.isdecimal():
        seed = int(text)
        return f"{FAMILIES[seed % len(FAMILIES)]}-{seed}"
    family_and_seed(text)
    return text


def family_and_seed(scene_id: str) -> tuple[str, int]:
    """Return the two parts of a scene id FAMILY-SEED; raises InvalidInput for anything else."""
    match = _SCENE_ID.fullmatch(scene_id)
    if match is None:
        raise InvalidInput(f"scene: expected FAMILY-SEED or a seed, got {scene_id!r}")
    if match[1] not in FAMILIES:
        raise InvalidInput(f"scene: expected a family of {', '.join(FAMILIES)}, got {match[1]!r}")
    return match[1], int(match[2])


@dataclass(frozen=True, eq=False)
class Track:
    """Poses of one actor over time: where it was while the reference drive was made.

    Attributes:
        stamps_us: int64 [N], rising.
        local_from_box: float64 [N, 4, 4], the box's centre in local (x forward).
    """

    stamps_us: NDArray[np.int64]
    local_from_box: Float64Array

    def __post_init__(self) -> None:
        require_array("track: stamps_us", self.stamps_us, (None,), np.int64)
        require_array("track: local_from_box", self.local_from_box, (len(self.stamps_us), 4, 4), np.float64)
        if not len(self.stamps_us) or np.any(np.diff(self.stamps_us) <= 0):
            raise InvalidInput("track: expected at least one pose and rising stamps")


@dataclass(frozen=True, eq=False)
class ActorSpec:
    """One road user or obstacle of a scene (not the ego).

    Attributes:
        actor_id: its track id on the wire.
        kind: what it looks like and counts as.
        size_xyz_m: length, width, height of its box.
        track: where it was during the reference drive; one pose for what never moves.
        is_static: part of the scene, never sent as a dynamic object.
        variant: picks its colour and shape.
    """

    actor_id: str
    kind: ActorKind
    size_xyz_m: tuple[float, float, float]
    track: Track
    is_static: bool = False
    variant: int = 0


@dataclass(frozen=True)
class Prop:
    """Scenery that nobody drives on: x, y of its centre, yaw, size; stands on the terrain."""

    kind: PropKind
    x_m: float
    y_m: float
    yaw_rad: float
    size_xyz_m: tuple[float, float, float]
    variant: int = 0


@dataclass(frozen=True)
class Environment:
    """Light and weather. Colours are linear RGB, 0 … 1; `sun_direction` points from sun to ground."""

    name: str = "day"
    sky_top_rgb: tuple[float, float, float] = (0.25, 0.45, 0.8)
    sky_horizon_rgb: tuple[float, float, float] = (0.72, 0.8, 0.88)
    sun_direction: tuple[float, float, float] = (0.4, 0.3, -0.87)
    sun_strength: float = 0.75
    ambient: float = 0.45
    fog_per_m: float = 0.0015
    wetness: float = 0.0
    """0 dry … 1 wet: darker, glossier road and rain streaks."""
    lamps_lit: bool = False
    """Street lamps, headlights and tail lights glow."""


@dataclass(frozen=True, eq=False)
class ReferenceDrive:
    """The recorded trajectory: what the scripted driver drove, from the scene's start on.

    Attributes:
        stamps_us: int64 [N], 100 ms apart or closer.
        local_from_rig: float64 [N, 4, 4].
        speed_mps: float64 [N].
    """

    stamps_us: NDArray[np.int64]
    local_from_rig: Float64Array
    speed_mps: Float64Array

    def __post_init__(self) -> None:
        count = len(self.stamps_us)
        require_array("reference: stamps_us", self.stamps_us, (None,), np.int64)
        require_array("reference: local_from_rig", self.local_from_rig, (count, 4, 4), np.float64)
        require_array("reference: speed_mps", self.speed_mps, (count,), np.float64)
        if count < 2 or np.any(np.diff(self.stamps_us) <= 0):
            raise InvalidInput("reference: expected at least two poses and rising stamps")


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene.

    Attributes:
        scene_id: FAMILY-SEED, or whatever a log or a foreign renderer calls it.
        family: of FAMILIES, or "recorded".
        road: the map, or None where it is unknown (a foreign renderer's scene).
        terrain: the ground under everything.
        environment: light and weather.
        actors: road users and obstacles by id, with their tracks during the reference drive.
        props: scenery.
        reference: the recorded trajectory.
        route_lane_ids: lanes from the start to beyond the end, in order.
        route: [N, 3] m, where the route leads (lane centres, not around obstacles), at most 2 m a point.
        description: what happens here, one sentence for people.
    """

    scene_id: str
    family: str
    road: RoadNetwork | None
    terrain: Terrain
    environment: Environment
    actors: Mapping[str, ActorSpec]
    props: tuple[Prop, ...]
    reference: ReferenceDrive
    route_lane_ids: tuple[str, ...]
    route: Float64Array
    description: str = ""
    start_us: int = START_US
    extras: Mapping[str, object] = field(default_factory=dict)
    """What the world needs beyond this (behaviours of the actors); of no concern to others."""
