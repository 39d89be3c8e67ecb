"""What the scores are computed from: one rollout as plain arrays, made from a record or from a log."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.record import DriveRecord, RolloutRecord
from alpamayo_ros.sim.roads import Float64Array, RoadNetwork
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M, FORCE_GT_US
from alpamayo_ros.sim.scoring.shapes import planar_poses
from alpamayo_ros.sim.trajectories import headings_along
from alpamayo_ros.types import WAYPOINT_INTERVAL_S, InvalidInput, require_array, require_finite


@dataclass(frozen=True, eq=False)
class ActorInput:
    """One road user: poses of its box's centre x, y, yaw [S, 3] at the rollout's steps, NaN where absent."""

    actor_id: str
    length_m: float
    width_m: float
    poses: Float64Array


@dataclass(frozen=True, eq=False)
class DriveInput:
    """One step's plan.

    Attributes:
        time_us: when it was made, a step of the rollout.
        stamps_us: int64 [P], rising; the first is time_us.
        rig_poses: x, y, yaw [P, 3] of the rig along it.
        from_planner: whether the planner made it (no stop, no reference).
        candidate_stamps_us: int64 [T], of every sampled trajectory.
        candidates: x, y, yaw [K, T, 3] of the rig along the sampled trajectories.
    """

    time_us: int
    stamps_us: NDArray[np.int64]
    rig_poses: Float64Array
    from_planner: bool = True
    candidate_stamps_us: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    candidates: Float64Array = field(default_factory=lambda: np.zeros((0, 0, 3)))


@dataclass(frozen=True, eq=False)
class ScoreInput:
    """One rollout, all in local.

    Attributes:
        scene_id, family, rollout_index, planner, end_reason, error: who it was, as in RolloutRecord.
        stamps_us: int64 [S], rising, of the steps.
        ego_boxes: x, y, z, yaw [S, 4] of the ego's box centre.
        reference_stamps_us: int64 [N >= 2], rising, of the recorded drive.
        reference_boxes: x, y, yaw [N, 3] of the ego's box centre along the recorded drive.
        handover_us: when the planner takes over; earlier steps do not count.
        start_us: when the scene began (programmes of traffic lights count from there).
        actors: the road users, or None where nothing is known of them.
        road: the map, or None where it is unknown.
        drives: the plans, in order of time.
        ego_size_m: length and width of the ego's box.
        box_ahead_of_rig_m: how far the box's centre is ahead of the rear axle.
        ego_speed_mps: forward speed [S]; None to take it from the poses.
        has_black_image: whether a front-wide picture was black, for which AlpaSim drops the rollout.
        unsolved_steps: as in RolloutRecord.
    """

    scene_id: str
    stamps_us: NDArray[np.int64]
    ego_boxes: Float64Array
    reference_stamps_us: NDArray[np.int64]
    reference_boxes: Float64Array
    handover_us: int
    start_us: int
    actors: tuple[ActorInput, ...] | None
    road: RoadNetwork | None
    drives: tuple[DriveInput, ...] = ()
    family: str = "recorded"
    rollout_index: int = 0
    planner: str = ""
    end_reason: str = "time"
    error: str = ""
    ego_size_m: tuple[float, float] = EGO_SIZE_XYZ_M[:2]
    box_ahead_of_rig_m: float = EGO_BOX_IN_RIG_M[0]
    ego_speed_mps: Float64Array | None = None
    has_black_image: bool = False
    unsolved_steps: int | None = None

    def __post_init__(self) -> None:
        steps, points = len(self.stamps_us), len(self.reference_stamps_us)
        require_array("stamps_us", self.stamps_us, (None,), np.int64)
        require_array("ego_boxes", self.ego_boxes, (steps, 4), np.float64)
        require_finite("ego_boxes", self.ego_boxes)
        require_array("reference_stamps_us", self.reference_stamps_us, (None,), np.int64)
        require_array("reference_boxes", self.reference_boxes, (points, 3), np.float64)
        require_finite("reference_boxes", self.reference_boxes)
        if not steps or points < 2:
            raise InvalidInput(f"expected a step and two recorded poses at least, got {steps} and {points}")
        for name in ("stamps_us", "reference_stamps_us"):
            if np.any(np.diff(getattr(self, name)) <= 0):
                raise InvalidInput(f"{name}: expected rising stamps, got others")
        if self.ego_speed_mps is not None:
            require_array("ego_speed_mps", self.ego_speed_mps, (steps,), np.float64)
        for actor in self.actors or ():
            require_array(f"actor {actor.actor_id}: poses", actor.poses, (steps, 3), np.float64)

    @property
    def ego_poses(self) -> Float64Array:
        """The ego's box centre x, y, yaw [S, 3]."""
        return self.ego_boxes[:, [0, 1, 3]]

    def box_poses(self, rig_poses: Float64Array) -> Float64Array:
        """Return the box centre's x, y, yaw [..., 3] of poses of the rig."""
        return _ahead(rig_poses, self.box_ahead_of_rig_m)

    def rig_poses(self, box_poses: Float64Array) -> Float64Array:
        """Return the rig's x, y, yaw [..., 3] of poses of the box's centre."""
        return _ahead(box_poses, -self.box_ahead_of_rig_m)

    def reference_at(self, stamps_us: NDArray[np.int64]) -> Float64Array:
        """Return the recorded box poses x, y, yaw [M, 3] at stamps, interpolated, its ends held."""
        since_s = (self.reference_stamps_us - self.start_us) / 1e6
        at_s = (np.asarray(stamps_us) - self.start_us) / 1e6
        x, y, yaw = self.reference_boxes.T
        return np.stack([np.interp(at_s, since_s, row) for row in (x, y, np.unwrap(yaw))], axis=-1)


def from_record(record: RolloutRecord) -> ScoreInput:
    """Return a rollout's record as input of the scores.

    The actors count as unknown where the scene was recorded elsewhere and none is in the record, unless the
    scene's extras say `actors_known`.
    """
    scene = record.scene
    boxes = np.stack([state.local_from_box for state in record.ego])
    planar = planar_poses(boxes)
    reference = np.array(scene.reference.local_from_rig)
    reference[:, :3, 3] += reference[:, :3, :3] @ np.array(EGO_BOX_IN_RIG_M)
    known = scene.extras.get("actors_known", scene.family != "recorded" or bool(record.actors))
    actors = tuple(
        ActorInput(track.actor_id, *track.size_xyz_m[:2], poses=_present(track.present, track.local_from_box))
        for _, track in sorted(record.actors.items())
    )
    return ScoreInput(
        scene_id=scene.scene_id,
        stamps_us=record.stamps_us,
        ego_boxes=np.concatenate([boxes[:, :3, 3], planar[:, 2:]], axis=1),
        reference_stamps_us=scene.reference.stamps_us,
        reference_boxes=planar_poses(reference),
        handover_us=scene.start_us + FORCE_GT_US,
        start_us=scene.start_us,
        actors=actors if known else None,
        road=scene.road,
        drives=tuple(_drive(drive) for drive in record.drives),
        family=scene.family,
        rollout_index=record.rollout_index,
        planner=record.planner,
        end_reason=record.end_reason,
        error=record.error,
        ego_speed_mps=np.array([state.speed_mps for state in record.ego]),
        unsolved_steps=record.unsolved_steps,
    )


def _drive(drive: DriveRecord) -> DriveInput:
    count = drive.candidates.shape[1]
    step_us = round(WAYPOINT_INTERVAL_S * 1e6)
    rig_poses = planar_poses(drive.local_from_rig)
    xy = np.asarray(drive.candidates[..., :2], np.float64)
    return DriveInput(
        time_us=drive.time_us,
        stamps_us=drive.stamps_us,
        rig_poses=rig_poses,
        from_planner=drive.source == "plan",
        candidate_stamps_us=drive.time_us + step_us * np.arange(1, count + 1, dtype=np.int64),
        candidates=np.concatenate([xy, headings_along(xy, rig_poses[0])[..., None]], axis=-1),
    )


def _present(present: NDArray[np.bool_], local_from_box: Float64Array) -> Float64Array:
    poses = np.full((len(present), 3), np.nan)
    poses[present] = planar_poses(local_from_box[present])
    return poses


def _ahead(poses: Float64Array, distance_m: float) -> Float64Array:
    yaw = poses[..., 2]
    offset = distance_m * np.stack([np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)], axis=-1)
    return np.asarray(poses + offset)
