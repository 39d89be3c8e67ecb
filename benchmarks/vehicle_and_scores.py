"""What a step of the vehicle, a check of a step, and the scores of a rollout cost.

    python benchmarks/vehicle_and_scores.py [--repeats 200]

CPU time of one thread (a busy machine hardly matters). The rollout is 20 s on a curve among 30 cars.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from alpamayo_ros.sim.ego import EgoDynamics
from alpamayo_ros.sim.record import ActorTrack, DriveRecord, RolloutRecord
from alpamayo_ros.sim.roads import Lane, RoadNetwork, Terrain
from alpamayo_ros.sim.scene import STEP_US, Environment, ReferenceDrive, Scene
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.sim.scoring.events import StepChecker
from alpamayo_ros.sim.scoring.lanes import LaneMap
from alpamayo_ros.sim.state import ActorState, EgoState

RADIUS_M, SPEED_MPS, STEPS, ACTORS = 150.0, 10.0, 218, 30
TERRAIN = Terrain()


def pose(along_m: float, left_m: float = 0.0, height_m: float = 0.0) -> np.ndarray:
    """Return a pose on (left_m > 0: inside of) the curve."""
    angle = along_m / RADIUS_M
    radius = RADIUS_M - left_m
    matrix = TERRAIN.pose_on_ground(radius * np.sin(angle), RADIUS_M - radius * np.cos(angle), angle)
    matrix[2, 3] += height_m
    return matrix


def border(left_m: float) -> np.ndarray:
    """Return a polyline along the curve."""
    return np.stack([pose(along_m, left_m)[:3, 3] for along_m in np.arange(-20.0, 320.0, 2.0)])


def curve_scene() -> Scene:
    """Return a curve with three lanes and a reference drive at 10 m/s."""
    lanes = tuple(
        Lane(f"lane {i}", border(left_m), border(left_m + 1.75), border(left_m - 1.75), 14.0)
        for i, left_m in enumerate((-3.5, 0.0, 3.5))
    )
    stamps_us = 1_700_000_000_000_000 + STEP_US * np.arange(STEPS, dtype=np.int64)
    poses = np.stack([pose(SPEED_MPS * 0.1 * step) for step in range(STEPS)])
    return Scene(
        scene_id="curve-0",
        family="curve",
        road=RoadNetwork(lanes, (border(-5.5), border(5.5))),
        terrain=TERRAIN,
        environment=Environment(),
        actors={},
        props=(),
        reference=ReferenceDrive(stamps_us, poses, np.full(STEPS, SPEED_MPS)),
        route_lane_ids=("lane 1",),
        route=border(0.0),
    )


def plan_at(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps [65] and poses [65, 4, 4] along the curve from a step on."""
    stamps_us = 1_700_000_000_000_000 + STEP_US * (step + np.arange(65, dtype=np.int64))
    return stamps_us, np.stack([pose(SPEED_MPS * 0.1 * (step + k)) for k in range(65)])


def rollout(scene: Scene) -> tuple[RolloutRecord, list[float]]:
    """Return a rollout among cars in the lanes beside, and the CPU time of each step of the vehicle in ms."""
    start = EgoState(scene.start_us, pose(0.0), (SPEED_MPS, 0.0), yaw_rate_radps=SPEED_MPS / RADIUS_M)
    ego, states, drives, times_ms = EgoDynamics(TERRAIN, start), [start], [], []
    for step in range(STEPS - 1):
        stamps_us, poses = plan_at(step)
        began = time.thread_time()
        states.append(ego.advance(stamps_us, poses, int(stamps_us[1])))
        times_ms.append(1e3 * (time.thread_time() - began))
        candidates = np.tile(poses[None, 1:, :3, 3], (6, 1, 1))
        drives.append(DriveRecord(int(stamps_us[0]), "plan", stamps_us, poses, candidates=candidates))
    tracks = {}
    for index in range(ACTORS):
        left_m = 3.5 if index % 2 else -3.5
        boxes = np.stack([pose(20.0 * (index // 2) + 0.8 * step, left_m, 0.75) for step in range(STEPS)])
        size = (4.5, 1.9, 1.5)
        name = f"car {index:02d}"
        tracks[name] = ActorTrack(name, "car", size, False, np.ones(STEPS, bool), boxes)
    return RolloutRecord(scene, 0, "benchmark", tuple(states), tracks, tuple(drives), "time"), times_ms


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of a call in ms."""
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Print the table of docs/MEASUREMENTS.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=200, help="calls that the median is of")
    repeats = parser.parse_args().repeats
    scene = curve_scene()
    record, times_ms = rollout(scene)
    checker, ego = StepChecker(scene), record.ego[100]
    actors = tuple(
        ActorState(t.actor_id, t.kind, t.size_xyz_m, t.local_from_box[100], 8.0)
        for t in record.actors.values()
    )
    road = scene.road
    assert road is not None
    checker.off_road(ego)
    rows = {
        f"a check for collisions, {ACTORS} actors": (lambda: checker.collision(ego, actors), repeats),
        "a check for the road's border": (lambda: checker.off_road(ego), repeats),
        "a map's geometry, once a scene": (lambda: LaneMap(road).area, 5),
        f"scores of {STEPS} steps, {ACTORS} actors": (lambda: score_rollout(record), 5),
    }
    name = "a step of controller and vehicle"
    print(f"{name:40s}{np.median(times_ms):9.3f} ms, at most {max(times_ms):.3f}")
    for name, (work, count) in rows.items():
        print(f"{name:40s}{milliseconds(work, count):9.3f} ms")


if __name__ == "__main__":
    main()
