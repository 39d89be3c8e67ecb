"""Samples with known answers: the planners of the report's tests know them, or know nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from episode_factory import CAMERAS, STEP_NS, moment, picture
from sft_samples import Samples, make_sample

from alpamayo_ros.sim.roads import Turn
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.training.episode import Episode, EpisodeHead, FrameCodec, FrameStore, split_of
from alpamayo_ros.training.report.baselines import plan_of_labels
from alpamayo_ros.training.report.draw import Drawn
from alpamayo_ros.training.report.junctions import RouteJunction, junctions_of
from alpamayo_ros.training.sample import SampleSource, TrainingSample
from alpamayo_ros.types import Observation, Plan

SAID = {
    "free": "Keep the lane since the road ahead is clear.",
    "pedestrian": "Yield to the pedestrian crossing from the right.",
    "light": "Stop since the traffic light is red.",
    "cones": "Nudge to the left around the cones.",
}
FAMILIES = ("straight", "pedestrian", "traffic_light", "cones")


def known_samples(count: int) -> tuple[Samples, tuple[Drawn, ...]]:
    """Samples of four components in turn, two to a scene, each with a t0 of its own."""
    items = []
    for index in range(count):
        made = make_sample(index)
        component = list(SAID)[index % 4]
        items.append(
            replace(
                made,
                observation=replace(made.observation, t0_ns=10**9 + index),
                reasoning=SAID[component],
                meta_action="",
                tags={"component": component, "family": FAMILIES[index % 4], "recovery": "none"},
            )
        )
    drawn = tuple(Drawn(index, f"{FAMILIES[index % 4]}-{index // 8}") for index in range(count))
    return Samples(tuple(items)), drawn


@dataclass(frozen=True)
class Knowing:
    """Knows the samples' futures and reasons by heart: by t0."""

    samples: SampleSource

    def sample(self, observation: Observation) -> TrainingSample:
        found = (self.samples[index] for index in range(len(self.samples)))
        return next(each for each in found if each.observation.t0_ns == observation.t0_ns)

    def plan(self, observation: Observation) -> Plan:
        return plan_of_labels(self.sample(observation))


@dataclass(frozen=True)
class Looking(Knowing):
    """Says what is there only if it sees anything, as if it had learned it from the pictures."""

    otherwise: str = SAID["free"]

    def plan(self, observation: Observation) -> Plan:
        plan = super().plan(observation)
        assert isinstance(observation.frames, np.ndarray)
        return plan if np.ptp(observation.frames) else replace(plan, reasoning=(self.otherwise,))


# ---------------------------------------------------------------------------------------------- on a map


def place(line: np.ndarray, s_m: float) -> np.ndarray:
    """Pose [4, 4] on a polyline, heading along it."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    x, y = (float(np.interp(s_m, along, line[:, i])) for i in (0, 1))
    dx, dy = (float(np.interp(s_m + 0.5, along, line[:, i])) - (x, y)[i] for i in (0, 1))
    pose, yaw = np.eye(4), np.arctan2(dy, dx)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def along(line: np.ndarray, s_m: float, *, speed_mps: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """Future float32 [64, 3] and [64, 3, 3] along a polyline, in the rig frame there."""
    rig_from_local = np.linalg.inv(place(line, s_m))
    poses = [rig_from_local @ place(line, s_m + speed_mps * 0.1 * i) for i in range(1, 65)]
    xyz = np.array([pose[:3, 3] for pose in poses], np.float32)
    return xyz, np.array([pose[:3, :3] for pose in poses], np.float32)


def whole_way(junction: RouteJunction, turn: Turn) -> np.ndarray:
    """The route up to the junction, and from there a way [N, 2]."""
    line = junction.route_line
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    way = next(way for way in junction.ways if way.turn == turn and way.is_from_route)
    return np.concatenate([line[s < junction.entry_s_m - 0.1], way.line])


def route_episode(scene_id: str, *, before_m: tuple[float, ...] = (30.0, 20.0, 10.0, -5.0)) -> Episode:
    """An episode whose moments are so far before its junction; its futures follow the route at 8 m/s."""
    scene = make_scene(scene_id)
    (junction,) = junctions_of(scene)
    codec, store = FrameCodec("png"), FrameStore(CAMERAS)
    made = []
    for tick, ahead_m in enumerate(before_m):
        stamps = np.tile((tick + 20 + np.arange(-3, 1, dtype=np.int64)) * STEP_NS, (len(CAMERAS), 1))
        for camera_id in CAMERAS:
            for stamp in stamps[0]:
                store.add(
                    camera_id,
                    int(stamp),
                    codec.encode(picture(camera_id, int(stamp) // STEP_NS - 20)),
                )
        s_m = junction.entry_s_m - ahead_m
        xyz, rot = along(junction.route_line, s_m)
        made.append(
            (
                moment(
                    tick,
                    odom_from_rig_t0=place(junction.route_line, s_m),
                    future_xyz_in_rig_t0=xyz,
                    future_rot_in_rig_t0=rot,
                    instruction=junction.instruction(junction.route_turn, before_m=ahead_m),
                    reasoning=SAID["free"],
                    tags={"component": "free", "route": junction.route_turn},
                ),
                stamps,
            )
        )
    family, _, seed = scene_id.rpartition("-")
    split = split_of(int(seed))
    head = EpisodeHead(f"{scene_id}.0", "simulation", scene_id, family, int(seed), split, CAMERAS)
    return store.close(head, made)


@dataclass(frozen=True)
class OnTheMap:
    """Drives the way that the text says, or always the route's, at 8 m/s."""

    junctions: Mapping[int, RouteJunction]
    obeys: bool = True

    def plan(self, observation: Observation) -> Plan:
        junction = next(iter(self.junctions.values()))
        turn: Turn = junction.route_turn
        for said in ("left", "right", "straight"):
            if self.obeys and said in (observation.instruction or ""):
                turn = said  # type: ignore[assignment]
        line = whole_way(junction, turn)
        here = observation.rig_pose_in_odom_at_t0[:2, 3]
        s_m = junction.entry_s_m - junction.before_entry_m(here)
        xyz, rot = along(line, s_m)
        sample = make_sample(0)
        made = plan_of_labels(replace(sample, future_xyz_in_rig_t0=xyz, future_rot_in_rig_t0=rot))
        return replace(made, t0_ns=observation.t0_ns)
