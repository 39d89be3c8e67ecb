"""AlpaSim's metrics of a rollout, under AlpaSim's names, by its rules.

Every step from the handover on has a value of each metric. Steps after the first collision or off-road are
dropped, then steps after the first that is 4 m or more from the recorded drive; the step of the event stays.
What is left is reduced to one number, each metric in its own way (last, maximum, minimum).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scoring.events import COLLISION_KINDS, Collision, collision_kind
from alpamayo_ros.sim.scoring.inputs import ScoreInput
from alpamayo_ros.sim.scoring.lanes import lane_map
from alpamayo_ros.sim.scoring.shapes import GeometryArray, box_shape

LEFT_PATH_M = 4.0
FULL_PROGRESS = 0.8
"""Share of the recorded drive that earns the full score."""
ZERO_INCIDENTS = ("collision_at_fault", "offroad")
SHORT_REFERENCE_M = 5.0
"""On a shorter recorded drive there is no progress to ask for."""


@dataclass(frozen=True, eq=False)
class Clearance:
    """The ego and the others, at M steps.

    Attributes:
        distance_m: [M] from the ego's shape to the nearest other; 0 where they meet, NaN where none is there.
        collisions: M, the worst collision at each step or None.
    """

    distance_m: Float64Array
    collisions: tuple[Collision | None, ...]


@dataclass(frozen=True, eq=False)
class AlpasimMetrics:
    """One number a metric.

    Attributes:
        values: metrics by AlpaSim's names, None where unknown.
        first_step, last_step: the steps of the rollout that they are of, both included.
        collision: the first from the handover on, whether AlpaSim's metrics count it or it came after leaving
            the recorded drive; collision_step: its step. None where there is none or none is known.
        left_path: whether steps were dropped for being 4 m off the recorded drive.
    """

    values: dict[str, float | None]
    first_step: int
    last_step: int
    collision: Collision | None
    collision_step: int | None
    left_path: bool


def alpasim_metrics(rollout: ScoreInput) -> AlpasimMetrics | None:
    """Return AlpaSim's metrics, or None where no step is as late as the handover."""
    steps = np.flatnonzero(rollout.stamps_us >= rollout.handover_us)
    if not len(steps):
        return None
    shapes = box_shape(*rollout.ego_size_m).along(rollout.ego_poses[steps])
    gaps = None if rollout.actors is None else clearance(rollout, steps, shapes)
    road = _road_metrics(rollout, steps, shapes)
    path = _path_metrics(rollout, steps)
    none = np.zeros(len(steps), bool)
    collided = none if gaps is None else np.array([each is not None for each in gaps.collisions])
    left_road = none if road is None else road["offroad"] > 0
    # The cuts, in AlpaSim's order.
    last = _first(collided | left_road, len(steps) - 1)
    away = path["dist_to_gt_trajectory"][: last + 1] >= LEFT_PATH_M
    last = _first(away, last)

    hit = _first(collided, 0)
    elapsed_us = rollout.stamps_us[steps[last]] - rollout.stamps_us[steps[0]]
    return AlpasimMetrics(
        values={
            **_collision_values(gaps, slice(0, last + 1)),
            **_road_values(road, slice(0, last + 1)),
            **_path_values(path, last),
            "duration_frac_20s": float(elapsed_us) / 20e6,
        },
        first_step=int(steps[0]),
        last_step=int(steps[last]),
        collision=None if gaps is None else gaps.collisions[hit],
        collision_step=int(steps[hit]) if collided.any() else None,
        left_path=bool(away.any()),
    )


def _collision_values(gaps: Clearance | None, kept: slice) -> dict[str, float | None]:
    kinds = [f"collision_{kind}" for kind in COLLISION_KINDS]
    if gaps is None:
        keys = (*kinds, "collision_any", "collision_at_fault", "min_distance_to_obstacle_m")
        return dict.fromkeys(keys)
    collisions = [each for each in gaps.collisions[kept] if each is not None]
    seen = {f"collision_{each.kind}" for each in collisions}
    return {
        **{kind: float(kind in seen) for kind in kinds},
        "collision_any": float(bool(collisions)),
        "collision_at_fault": float(any(each.at_fault for each in collisions)),
        "min_distance_to_obstacle_m": _least(gaps.distance_m[kept]),
    }


def _road_values(road: dict[str, Float64Array] | None, kept: slice) -> dict[str, float | None]:
    if road is None:
        return dict.fromkeys(("offroad", "wrong_lane", "min_distance_to_lane_boundary_m"))
    return {
        "offroad": float(road["offroad"][kept].max()),
        "wrong_lane": float(road["wrong_lane"][kept].max()),
        "min_distance_to_lane_boundary_m": float(road["lane_boundary_m"][kept].min()),
    }


def _path_values(path: dict[str, Float64Array], last: int) -> dict[str, float | None]:
    kept = slice(0, last + 1)
    return {
        "dist_traveled_m": float(path["dist_traveled_m"][last]),
        "progress": float(path["progress"][last]),
        "progress_rel_to_total": float(path["progress"][last]),
        "progress_rel": float(path["progress_rel"][kept].min()),
        "dist_to_gt_trajectory": float(path["dist_to_gt_trajectory"][kept].max()),
        "dist_to_gt_location": float(path["dist_to_gt_location"][kept].max()),
        "gt_dist_traveled_m": float(path["reference_m"]),
    }


def progress_score(values: dict[str, float | None]) -> float:
    """Return what progress alone earns, 0 … 1."""
    reference_m, progress = values["gt_dist_traveled_m"], values["progress_rel_to_total"]
    assert reference_m is not None
    assert progress is not None
    if reference_m < SHORT_REFERENCE_M:
        return 1.0
    return min(min(max(progress, 0.0), 1.0) / FULL_PROGRESS, 1.0)


def scene_score(values: dict[str, float | None]) -> tuple[float | None, str | None]:
    """Return a rollout's scene score and AlpaSim's reason for a zero, or None.

    The score is None where nothing is known of road users, unless the road was left. Without a map it stands
    for a drive that did not leave the road: unknown_incidents says so.
    """
    for name in ZERO_INCIDENTS:
        if values[name]:
            return 0.0, name
    if values["collision_at_fault"] is None:
        return None, None
    return progress_score(values), None


def unknown_incidents(values: dict[str, float | None]) -> tuple[str, ...]:
    """Return which of the incidents that make a scene score 0 are unknown."""
    return tuple(name for name in ZERO_INCIDENTS if values[name] is None)


def clearance(rollout: ScoreInput, steps: NDArray[np.int64], shapes: GeometryArray) -> Clearance:
    """Return distances and collisions at `steps` [M], where the ego has `shapes` [M]."""
    ego = box_shape(*rollout.ego_size_m)
    actors = rollout.actors or ()
    poses = rollout.ego_poses[steps]
    distance = np.full((len(actors), len(steps)), np.nan)
    forms = [box_shape(actor.length_m, actor.width_m) for actor in actors]
    apart = np.array([np.linalg.norm(a.poses[steps, :2] - poses[:, :2], axis=1) for a in actors])
    apart = apart.reshape(len(actors), len(steps))
    # Exact distances are dear: only of those that may be nearest, by circles around and inside the boxes.
    at_least = apart - np.array([ego.reach_m + form.reach_m for form in forms])[:, None]
    at_most = np.fmin.reduce(apart, axis=0, initial=np.inf)
    worst: list[Collision | None] = [None] * len(steps)
    for index, (actor, form) in enumerate(zip(actors, forms, strict=True)):
        near = np.flatnonzero(at_least[index] <= np.maximum(at_most, 0.0))
        others = form.along(actor.poses[steps[near]])
        distance[index, near] = shapely.distance(shapes[near], others)
        for step, other in zip(near, others, strict=True):
            if distance[index, step] == 0.0:
                hit = Collision(actor.actor_id, collision_kind(ego, poses[step], other))
                worst[step] = _worse(worst[step], hit)
    return Clearance(np.fmin.reduce(distance, axis=0, initial=np.nan), tuple(worst))


def _worse(first: Collision | None, second: Collision) -> Collision:
    if first is None or COLLISION_KINDS.index(second.kind) < COLLISION_KINDS.index(first.kind):
        return second
    return first


def _path_metrics(rollout: ScoreInput, steps: NDArray[np.int64]) -> dict[str, Float64Array]:
    """Return, by step, where the ego is along the recorded drive and along its own."""
    reference = shapely.LineString(rollout.reference_boxes[:, :2])
    centres = shapely.points(rollout.ego_poses[steps, :2])
    driven = _line(rollout.ego_poses[:, :2])
    recorded = rollout.reference_at(rollout.stamps_us)[:, :2]
    so_far = np.array([_line(recorded[: step + 1]) for step in steps], dtype=object)
    return {
        "progress": _share_along(reference, centres),
        "progress_rel": _share_along(so_far, centres),
        "dist_to_gt_trajectory": shapely.distance(reference, centres),
        "dist_to_gt_location": np.linalg.norm(recorded[steps] - rollout.ego_poses[steps, :2], axis=1),
        "dist_traveled_m": shapely.line_locate_point(driven, centres),
        "reference_m": np.asarray(reference.length),
    }


def _road_metrics(
    rollout: ScoreInput, steps: NDArray[np.int64], shapes: GeometryArray
) -> dict[str, Float64Array] | None:
    """Return, by step, what the map says; None without one."""
    if rollout.road is None:
        return None
    road = lane_map(rollout.road)
    rows = []
    for box, shape in zip(rollout.ego_boxes[steps], shapes, strict=True):
        x_y_z, yaw = box[:3], float(box[3])
        rows.append(
            (
                road.off_road(shape, x_y_z),
                road.is_wrong_lane(x_y_z[:2], yaw, xyz_m=x_y_z),
                road.lane_boundary_distance_m(shape, x_y_z),
            )
        )
    columns = np.array(rows, np.float64).T
    return dict(zip(("offroad", "wrong_lane", "lane_boundary_m"), columns, strict=True))


def _share_along(lines: shapely.LineString | GeometryArray, points: GeometryArray) -> Float64Array:
    """Return where points project on lines, 0 … 1; 1 on a line without length."""
    length = shapely.length(lines)
    along = shapely.line_locate_point(lines, points)
    return np.asarray(np.where(length > 0, along / np.where(length > 0, length, 1.0), 1.0))


def _line(xy: Float64Array) -> shapely.LineString:
    return shapely.LineString(xy if len(xy) > 1 else np.repeat(xy, 2, axis=0))


def _first(flags: NDArray[np.bool_], otherwise: int) -> int:
    return int(np.argmax(flags)) if flags.any() else otherwise


def _least(values: Float64Array) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmin(values))
