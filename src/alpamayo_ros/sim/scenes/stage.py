"""What families have in common: the ground, a main street with the ego on it, and ordinary traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.roads import Terrain, TerrainWave
from alpamayo_ros.sim.scene import ActorKind
from alpamayo_ros.sim.scenes.agents import Agent, Trigger
from alpamayo_ros.sim.scenes.assembly import Draft, Obstacle
from alpamayo_ros.sim.scenes.driving import Shift, shift_offsets
from alpamayo_ros.sim.scenes.environments import day
from alpamayo_ros.sim.scenes.paths import Path, Pose, from_curvature
from alpamayo_ros.sim.scenes.roadmap import MapBuilder, Street, StreetLanes

Rng = np.random.Generator
Size = tuple[float, float, float]
Pieces = Sequence[tuple[float, float, float]]

BEHIND_M = 150.0
"""Road behind the ego's start."""
AHEAD_M = 190.0
"""Road beyond the farthest that the ego can get."""
DRIVE_S = 21.7

PERSON: Size = (0.6, 0.6, 1.75)
CYCLIST: Size = (1.8, 0.65, 1.7)
CONE: Size = (0.4, 0.4, 0.75)


def vehicle(rng: Rng, *, trucks: bool = True) -> tuple[ActorKind, Size, int]:
    """Draw a vehicle's kind, size and variant."""
    draw = rng.uniform()
    variant = int(rng.integers(1000))
    if draw < 0.72 or (not trucks and draw < 0.84):
        return (
            "car",
            (float(rng.uniform(4.1, 4.9)), float(rng.uniform(1.75, 1.92)), float(rng.uniform(1.42, 1.65))),
            variant,
        )
    if draw < 0.88 or not trucks:
        return (
            "van",
            (float(rng.uniform(5.0, 5.8)), float(rng.uniform(1.95, 2.05)), float(rng.uniform(2.0, 2.5))),
            variant,
        )
    return "truck", (float(rng.uniform(7.0, 9.5)), 2.45, float(rng.uniform(2.9, 3.4))), variant


def terrain(rng: Rng, grade: float) -> Terrain:
    """Return ground whose slope stays within `grade` (rise over run)."""
    shares = rng.dirichlet([2.0, 2.0, 1.0]) * grade
    waves = []
    for share, low, high in zip(shares, (220, 320, 140), (380, 520, 220), strict=True):
        direction = float(rng.uniform(0, 2 * np.pi))
        waves.append(_wave(rng, float(share), direction_rad=direction, length_m=(low, high)))
    return Terrain(tuple(waves))


def hills_across(rng: Rng, heading_rad: float, *, grade: float) -> Terrain:
    """Return ground of hills that lie across a heading, so that a road that way climbs and falls.

    Its slope stays within `grade` (rise over run), and comes near it on every hill.
    """
    across = float(rng.uniform(0, 2 * np.pi))
    return Terrain(
        (
            _wave(rng, 0.85 * grade, direction_rad=heading_rad, length_m=(150.0, 230.0)),
            _wave(rng, 0.15 * grade, direction_rad=across, length_m=(220.0, 380.0)),
        )
    )


def _wave(rng: Rng, grade: float, *, direction_rad: float, length_m: tuple[float, float]) -> TerrainWave:
    """Return a wave of any phase that is as steep as `grade`, of a length between two."""
    k = 2 * np.pi / float(rng.uniform(*length_m))
    return TerrainWave(
        grade / k,
        float(k * np.cos(direction_rad)),
        float(k * np.sin(direction_rad)),
        float(rng.uniform(0, 2 * np.pi)),
    )


def new_draft(
    rng: Rng, *, grade: float = 0.015, scenery: str | None = None, ground: Terrain | None = None
) -> Draft:
    """Return an empty draft by day, on gently rolling ground if none is given."""
    ground = terrain(rng, grade) if ground is None else ground
    draft = Draft(rng=rng, terrain=ground, builder=MapBuilder(ground), environment=day(rng))
    draft.scenery = scenery or ("city", "suburb", "suburb", "country")[int(rng.integers(4))]
    if draft.scenery == "country":
        draft.verge, draft.verge_m = "dirt", 1.5
    return draft


def any_start(rng: Rng) -> Pose:
    """Return x, y, yaw for a main street to start at."""
    return float(rng.uniform(-50, 50)), float(rng.uniform(-50, 50)), float(rng.uniform(-np.pi, np.pi))


@dataclass(eq=False)
class Stage:
    """A main street in a draft; the ego drives forward on lane `ego_lane` (from the line outwards)."""

    draft: Draft
    street: Street
    lanes: StreetLanes
    ego_lane: int
    path: Path
    """Of the ego's lane: the route."""

    @property
    def rng(self) -> Rng:
        return self.draft.rng

    def lane_path(self, index: int, *, backward: bool = False) -> Path:
        """Return the path of one of the street's lanes."""
        ids = self.lanes.backward[index] if backward else self.lanes.forward[index]
        return self.draft.builder.path(ids)

    def beside(self, s_m: float, offset_m: float, *, turned: bool = False) -> tuple[float, float, float]:
        """Return x, y, yaw beside the route's path at `s_m`, looking along it (or back)."""
        x, y, yaw = self.path.pose(s_m, offset_m)
        return x, y, yaw + (np.pi if turned else 0.0)


def main_street(
    draft: Draft,
    pieces: Pieces,
    *,
    limit_mps: float,
    forward: int = 1,
    backward: int = 1,
    lane_m: float = 3.5,
    shoulder_m: float = 0.6,
    parking_right_m: float = 0.0,
    parking_left_m: float = 0.0,
    marked: bool = True,
    ego_lane: int | None = None,
    start: Pose | None = None,
) -> Stage:
    """Add the main street, its line through `pieces`, and the route along it. It may start anywhere."""
    rng = draft.rng
    start = any_start(rng) if start is None else start
    street = Street(
        "main",
        from_curvature(start, pieces),
        forward,
        backward,
        limit_mps,
        lane_m=lane_m,
        shoulder_m=shoulder_m,
        parking_right_m=parking_right_m,
        parking_left_m=parking_left_m,
        centre_dashed=bool(rng.uniform() < 0.6) and forward == backward == 1,
        marked=marked,
    )
    lanes = draft.builder.add_street(street)
    index = forward - 1 if ego_lane is None else ego_lane
    draft.route = list(lanes.forward[index])
    return Stage(draft, street, lanes, index, draft.route_path())


def length_for(speed_mps: float) -> float:
    """Return the length of a main street that is driven at `speed_mps` at most."""
    return BEHIND_M + speed_mps * DRIVE_S + AHEAD_M


def gentle(rng: Rng, length_m: float, *, tightest: float = 0.0012) -> list[tuple[float, float, float]]:
    """Return the pieces of an almost straight line of `length_m`."""
    pieces: list[tuple[float, float, float]] = []
    rest, curvature = length_m, 0.0
    while rest > 0:
        length = min(rest, float(rng.uniform(120, 220)))
        following = float(rng.uniform(-tightest, tightest))
        pieces.append((length, curvature, following))
        curvature = following
        rest -= length
    return pieces


def oncoming_traffic(stage: Stage, *, count: int, first_m: float, spacing_m: float, speed_mps: float) -> None:
    """Add vehicles that come the other way, the first `first_m` ahead of the ego's start."""
    rng = stage.rng
    for lane in range(stage.street.backward):
        path = stage.lane_path(lane, backward=True)
        ahead = first_m + rng.uniform(0, spacing_m)
        for k in range(count):
            s = path.length_m - BEHIND_M - ahead
            if s < 15:
                break
            kind, size, variant = vehicle(rng)
            speed = float(speed_mps * rng.uniform(0.85, 1.0))
            stage.draft.agents.append(
                Agent(
                    f"oncoming_{lane}_{k}",
                    kind,
                    size,
                    path,
                    float(s),
                    speed,
                    speed,
                    yields_to_ego=False,
                    variant=variant,
                )
            )
            ahead += spacing_m * rng.uniform(0.7, 1.6) + 15


def follower(stage: Stage, *, start_s_m: float, speed_mps: float, shifts: Sequence[Shift] = ()) -> None:
    """Add a vehicle behind the ego, in its lane; it makes the same `shifts`."""
    path = stage.path.offset(shift_offsets(stage.path, shifts)) if shifts else stage.path
    kind, size, variant = vehicle(stage.rng, trucks=False)
    gap = float(stage.rng.uniform(1.8, 2.8)) * speed_mps + 8.0
    stage.draft.agents.append(
        Agent(
            "behind",
            kind,
            size,
            path,
            max(4.0, start_s_m - gap),
            speed_mps,
            speed_mps * 1.05,
            variant=variant,
            headway_s=1.6,
        )
    )


def leader(
    stage: Stage,
    *,
    start_s_m: float,
    gap_m: float,
    speed_mps: float,
    cruise_mps: float | None = None,
    actor_id: str = "lead",
    trucks: bool = True,
    **more: object,
) -> Agent:
    """Add a vehicle ahead of the ego in its lane, `gap_m` between the bumpers; returns it."""
    kind, size, variant = vehicle(stage.rng, trucks=trucks)
    agent = Agent(
        actor_id,
        kind,
        size,
        stage.path,
        start_s_m + 3.9 + gap_m + size[0] / 2,
        speed_mps,
        speed_mps if cruise_mps is None else cruise_mps,
        variant=variant,
        **more,  # type: ignore[arg-type]
    )
    stage.draft.agents.append(agent)
    return agent


def parked_cars(
    stage: Stage, places: Sequence[tuple[float, float]], *, prefix: str = "parked", turned: bool = False
) -> None:
    """Add parked cars at (arc length, offset) of the route's path."""
    rng = stage.rng
    for k, (s, offset) in enumerate(places):
        kind, size, variant = vehicle(rng, trucks=False)
        x, y, yaw = stage.beside(s, offset, turned=turned)
        pose = (x, y, yaw + float(rng.normal(0, 0.01)))
        stage.draft.obstacles.append(Obstacle(f"{prefix}_{k}", kind, size, pose, variant))


def walkers(stage: Stage, *, count: int, from_m: float, to_m: float) -> None:
    """Add people who walk along the pavements, some either way."""
    rng = stage.rng
    for k, at in enumerate(np.linspace(from_m, to_m, count + 1)[:-1]):
        right, onward = bool(rng.uniform() < 0.5), bool(rng.uniform() < 0.5)
        away = 2.1 if onward else 1.2  # those who meet keep apart
        border = -(stage.street.right_m + away) if right else stage.street.left_m + away
        line = stage.street.line.offset(border)
        path = line if onward else line.reverse()
        s = float(at + rng.uniform(0.1, 0.9) * (to_m - from_m) / count)
        start = s if onward else path.length_m - s
        stage.draft.agents.append(pedestrian(rng, f"walker_{k}", path, start, float(rng.uniform(1.0, 1.6))))


def pedestrian(
    rng: Rng,
    actor_id: str,
    path: Path,
    start_s_m: float,
    speed_mps: float,
    *,
    trigger: Trigger | None = None,
    yields_to_ego: bool = False,
) -> Agent:
    """Return someone on foot."""
    return Agent(
        actor_id,
        "pedestrian",
        (PERSON[0], PERSON[1], float(rng.uniform(1.55, 1.9))),
        path,
        start_s_m,
        speed_mps,
        speed_mps,
        trigger=trigger,
        accel_mps2=1.5,
        decel_mps2=2.0,
        headway_s=0.3,
        gap_m=0.6,
        lateral_mps2=9.0,
        yields_to_ego=yields_to_ego,
        variant=int(rng.integers(1000)),
    )


def fill_parking(
    stage: Stage,
    *,
    right: bool,
    from_m: float,
    to_m: float,
    share: float,
    clear: Sequence[tuple[float, float]] = (),
) -> None:
    """Park cars in a parking lane of the main street, but not in the stretches `clear` (arc lengths)."""
    rng = stage.rng
    street = stage.street
    width = street.parking_right_m if right else street.parking_left_m
    middle = (street.right_m if right else street.left_m) - width / 2 - 0.05
    ego_offset = -(stage.ego_lane + 0.5) * street.lane_m
    offset = (-middle if right else middle) - ego_offset
    places, s = [], from_m
    while s < to_m:
        if rng.uniform() < share and not any(a - 3.2 < s < b + 3.2 for a, b in clear):
            places.append((s, offset + float(rng.uniform(-0.08, 0.08))))
        s += 6.4 + float(rng.uniform(0, 0.8))
    parked_cars(stage, places, prefix="parked_r" if right else "parked_l", turned=not right)
