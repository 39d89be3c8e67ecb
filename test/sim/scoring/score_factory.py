"""Rollouts as arrays for the scores: AlpaSim's cases, and a drive along a straight road to bend at will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alpamayo_ros.sim.roads import Float64Array, Lane, RoadNetwork, StopSign, Terrain, TrafficLight
from alpamayo_ros.sim.scene import Environment, ReferenceDrive, Scene
from alpamayo_ros.sim.scoring.inputs import ActorInput, ScoreInput

START_US = 1_700_000_000_000_000
STEP_US = 100_000


def case_road(road_map: Mapping[str, Any]) -> RoadNetwork:
    """Return the map of AlpaSim's cases."""

    def polyline(points: Sequence[Sequence[float]]) -> Float64Array:
        rows = np.array(points, np.float64)
        return np.concatenate([rows[:, :2], np.zeros((len(rows), 1))], axis=1)

    lanes = [
        Lane(str(i), *(polyline(lane[part]) for part in ("center", "left", "right")), speed_limit_mps=14.0)
        for i, lane in enumerate(road_map["lanes"])
    ]
    return RoadNetwork(tuple(lanes), tuple(polyline(edge) for edge in road_map["road_edges"]))


def case_input(cases: Mapping[str, Any], name: str, *, road: RoadNetwork) -> ScoreInput:
    """Return one of AlpaSim's cases; actors that it does not name are as recorded."""
    case = cases["cases"][name]
    actors = {**cases["cases"]["as_recorded"]["actors"], **case["actors"]}
    recorded = np.array(case.get("recorded_aabb", cases["recorded_aabb"]))
    ego = np.array(actors.pop("EGO")["poses"])
    return ScoreInput(
        scene_id=name,
        stamps_us=ego[:, 0].astype(np.int64),
        ego_boxes=ego[:, 1:].copy(),
        reference_stamps_us=recorded[:, 0].astype(np.int64),
        reference_boxes=recorded[:, 1:].copy(),
        handover_us=case["handover_us"],
        start_us=START_US,
        actors=tuple(
            ActorInput(actor_id, *actor["size_xyz"][:2], poses=np.array(actor["poses"])[:, [1, 2, 4]])
            for actor_id, actor in actors.items()
        ),
        road=road,
    )


def moved(rollout: ScoreInput, turn_rad: float, shift_m: tuple[float, float]) -> ScoreInput:
    """Return a rollout in another local frame: turned about the origin, then shifted."""
    rotation = np.array([[np.cos(turn_rad), -np.sin(turn_rad)], [np.sin(turn_rad), np.cos(turn_rad)]])

    def points(rows: Float64Array) -> Float64Array:
        result = rows.copy()
        result[:, :2] = rows[:, :2] @ rotation.T + shift_m
        return result

    def poses(rows: Float64Array) -> Float64Array:
        result = points(rows)
        result[:, -1] += turn_rad
        return result

    road = rollout.road
    if road is not None:
        lanes = [
            replace(lane, centre=points(lane.centre), left=points(lane.left), right=points(lane.right))
            for lane in road.lanes
        ]
        road = RoadNetwork(tuple(lanes), tuple(points(edge) for edge in road.edges))
    assert rollout.actors is not None
    return replace(
        rollout,
        ego_boxes=poses(rollout.ego_boxes),
        reference_boxes=poses(rollout.reference_boxes),
        actors=tuple(replace(actor, poses=poses(actor.poses)) for actor in rollout.actors),
        road=road,
    )


def straight_road(
    *, lights: tuple[TrafficLight, ...] = (), stop_signs: tuple[StopSign, ...] = ()
) -> RoadNetwork:
    """Return a road of 400 m along x: a lane to the east (y -3.5 … 0), one to the west (0 … 3.5), a kerb
    half a metre beside each."""

    def line(y_m: float, *, west: bool = False) -> Float64Array:
        x = np.linspace(-50.0, 350.0, 81)
        return np.stack([x[::-1] if west else x, np.full(81, y_m), np.zeros(81)], axis=-1)

    return RoadNetwork(
        (
            Lane("east", line(-1.75), line(0.0), line(-3.5), 14.0),
            Lane("west", line(1.75, west=True), line(0.0, west=True), line(3.5, west=True), 14.0),
        ),
        (line(-4.0), line(4.0)),
        lights=lights,
        stop_signs=stop_signs,
    )


def straight_drive(
    x_m: Float64Array | None = None,
    *,
    y_m: float | Float64Array = -1.75,
    road: RoadNetwork | None = None,
    actors: tuple[ActorInput, ...] | None = (),
    steps: int = 100,
) -> ScoreInput:
    """Return a drive to the east; by default at 10 m/s, as the recorded one, handover after 1.7 s."""
    stamps_us = START_US + STEP_US * np.arange(steps, dtype=np.int64)
    recorded_x = np.arange(steps) * 1.0
    ego = np.zeros((steps, 4))
    ego[:, 0] = recorded_x if x_m is None else x_m
    ego[:, 1], ego[:, 2] = y_m, 0.75
    recorded = np.stack([recorded_x, np.full(steps, -1.75), np.zeros(steps)], axis=-1)
    return ScoreInput(
        scene_id="straight",
        stamps_us=stamps_us,
        ego_boxes=ego,
        reference_stamps_us=stamps_us,
        reference_boxes=recorded,
        handover_us=START_US + 17 * STEP_US,
        start_us=START_US,
        actors=actors,
        road=straight_road() if road is None else road,
    )


def car(
    actor_id: str, x_m: float | Float64Array, y_m: float | Float64Array, *, steps: int = 100
) -> ActorInput:
    """Return a car that faces east."""
    poses = np.zeros((steps, 3))
    poses[:, 0], poses[:, 1] = x_m, y_m
    return ActorInput(actor_id, 4.5, 1.9, poses)


def straight_scene(road: RoadNetwork | None) -> Scene:
    """Return a scene with a road on which the reference drives to the east at 10 m/s, alone."""
    stamps_us = START_US + STEP_US * np.arange(218, dtype=np.int64)
    poses = np.tile(np.eye(4), (218, 1, 1))
    poses[:, 0, 3], poses[:, 1, 3] = np.arange(218) * 1.0, -1.75
    return Scene(
        scene_id="straight-0",
        family="straight",
        road=road,
        terrain=Terrain(),
        environment=Environment(),
        actors={},
        props=(),
        reference=ReferenceDrive(stamps_us, poses, np.full(218, 10.0)),
        route_lane_ids=("east",),
        route=poses[:, :3, 3].copy(),
    )
