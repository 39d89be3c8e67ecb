"""Controller and vehicle together: closed-loop tracking, handover, terrain, repeatability."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from alpamayo_ros.sim.ego import EgoDynamics
from alpamayo_ros.sim.roads import Float64Array, Terrain, TerrainWave
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput

Path = Callable[[float], tuple[float, float, float]]
FLAT = Terrain()
HILLS = Terrain((TerrainWave(3.0, 0.06, 0.0), TerrainWave(2.0, 0.0, 0.07, 1.0)))
STEP_US = 100_000


def circle(radius_m: float, speed_mps: float) -> Path:
    def at(time_s: float) -> tuple[float, float, float]:
        angle = speed_mps * time_s / radius_m
        return radius_m * np.sin(angle), radius_m - radius_m * np.cos(angle), angle

    return at


def straight(speed_mps: float) -> Path:
    return lambda time_s: (speed_mps * time_s, 0.0, 0.0)


def stop(speed_mps: float, braking_mps2: float) -> Path:
    def at(time_s: float) -> tuple[float, float, float]:
        braked_s = min(time_s, speed_mps / braking_mps2)
        return speed_mps * braked_s - braking_mps2 * braked_s**2 / 2.0, 0.0, 0.0

    return at


def follow(
    path: Path, start: EgoState, *, steps: int = 100, terrain: Terrain = FLAT
) -> tuple[EgoDynamics, list[EgoState]]:
    ego = EgoDynamics(terrain, start)
    states = []
    for _ in range(steps):
        now_us = ego.state.time_us
        stamps_us = now_us + STEP_US * np.arange(65, dtype=np.int64)
        plan = np.stack([terrain.pose_on_ground(*path(stamp / 1e6)) for stamp in stamps_us])
        states.append(ego.advance(stamps_us, plan, now_us + STEP_US))
    return ego, states


def off_m(states: list[EgoState], path: Path) -> Float64Array:
    return np.array([np.hypot(*(s.xy_m - path(s.time_us / 1e6)[:2])) for s in states])


@pytest.mark.parametrize("speed_mps", [2.0, 10.0, 25.0])
def test_keeps_to_a_straight_line(speed_mps: float) -> None:
    path = straight(speed_mps)
    ego, states = follow(path, EgoState(0, np.eye(4), (speed_mps, 0.0)))
    assert off_m(states, path).max() < 0.01
    assert ego.unsolved_steps == 0


@pytest.mark.parametrize(("radius_m", "speed_mps"), [(15.0, 4.0), (40.0, 10.0), (200.0, 20.0)])
def test_keeps_to_a_curve_within_half_a_metre(radius_m: float, speed_mps: float) -> None:
    # Steering costs, so the controller cuts curves by a few decimetres; so does AlpaSim's.
    path = circle(radius_m, speed_mps)
    start = EgoState(0, np.eye(4), (speed_mps, 0.0), yaw_rate_radps=speed_mps / radius_m)
    _, states = follow(path, start)
    assert off_m(states, path).max() < 0.5


def test_returns_to_the_plan_from_a_metre_beside() -> None:
    beside = np.eye(4)
    beside[1, 3] = 1.0
    path = straight(10.0)
    _, states = follow(path, EgoState(0, beside, (10.0, 0.0)))
    assert off_m(states[60:], path).max() < 0.05
    assert min(state.xy_m[1] for state in states) > -0.3


def test_stops_where_the_plan_stops_and_stays() -> None:
    path = stop(10.0, 2.0)
    _, states = follow(path, EgoState(0, np.eye(4), (10.0, 0.0)))
    assert states[-1].speed_mps == pytest.approx(0.0, abs=0.02)
    assert off_m(states[-1:], path)[0] < 0.6
    assert np.ptp([state.xy_m[0] for state in states[-20:]]) < 0.05
    assert min(np.diff([state.xy_m[0] for state in states])) > -1e-6


def test_handover_from_a_curve_has_no_jump() -> None:
    radius_m, speed_mps = 40.0, 10.0
    path = circle(radius_m, speed_mps)
    ego = EgoDynamics(FLAT, EgoState(0, np.eye(4), (speed_mps, 0.0)))
    for step in range(1, 18):
        pose = FLAT.pose_on_ground(*path(step / 10.0))
        placed = EgoState(
            step * STEP_US,
            pose,
            (speed_mps, 0.0),
            yaw_rate_radps=speed_mps / radius_m,
            accel_in_rig_mps2=(0.0, speed_mps**2 / radius_m),
        )
        assert ego.place(placed) is placed
        assert ego.state is placed
    now_us = ego.state.time_us
    stamps_us = now_us + STEP_US * np.arange(65, dtype=np.int64)
    plan = np.stack([FLAT.pose_on_ground(*path(stamp / 1e6)) for stamp in stamps_us])
    moved = ego.advance(stamps_us, plan, now_us + STEP_US)
    assert np.hypot(*(moved.xy_m - path(moved.time_us / 1e6)[:2])) < 0.03
    assert moved.yaw_rate_radps == pytest.approx(speed_mps / radius_m, rel=0.1)
    assert moved.speed_mps == pytest.approx(speed_mps, abs=0.05)


def test_stands_on_the_terrain() -> None:
    path = circle(60.0, 8.0)
    start = EgoState(0, HILLS.pose_on_ground(*path(0.0)), (8.0, 0.0), yaw_rate_radps=8.0 / 60.0)
    _, states = follow(path, start, terrain=HILLS)
    for state in states:
        pose = state.local_from_rig
        assert pose[2, 3] == pytest.approx(float(HILLS.height_m(pose[:2, 3])), abs=1e-9)
        np.testing.assert_allclose(pose, HILLS.pose_on_ground(*state.xy_m, state.yaw_rad), atol=1e-9)
    assert off_m(states, path).max() < 0.6
    assert np.ptp([state.local_from_rig[2, 3] for state in states]) > 2.0


def test_two_runs_are_the_same_to_the_byte() -> None:
    path = circle(30.0, 7.0)

    def run() -> bytes:
        _, states = follow(path, EgoState(0, np.eye(4), (7.5, 0.0)), steps=40)
        rows = [[*s.local_from_rig.ravel(), *s.velocity_in_rig_mps, *s.accel_in_rig_mps2] for s in states]
        return np.array(rows).tobytes()

    assert run() == run()


def test_longer_times_are_taken_in_controller_steps() -> None:
    path = circle(40.0, 10.0)
    stamps_us = STEP_US * np.arange(65, dtype=np.int64)
    plan = np.stack([FLAT.pose_on_ground(*path(stamp / 1e6)) for stamp in stamps_us])
    start = EgoState(0, np.eye(4), (10.0, 0.0), yaw_rate_radps=0.25)
    at_once, stepwise = EgoDynamics(FLAT, start), EgoDynamics(FLAT, start)
    at_once.advance(stamps_us, plan, 300_000)
    for to_us in (100_000, 200_000, 300_000):
        stepwise.advance(stamps_us, plan, to_us)
    np.testing.assert_array_equal(at_once.state.local_from_rig, stepwise.state.local_from_rig)


def test_refuses_what_it_cannot_follow() -> None:
    ego = EgoDynamics(FLAT, EgoState(0, np.eye(4)))
    stamps_us = STEP_US * np.arange(3, dtype=np.int64)
    plan = np.tile(np.eye(4), (3, 1, 1))
    with pytest.raises(InvalidInput, match="to_us: expected a time after now, 0 us, got 0 us"):
        ego.advance(stamps_us, plan, 0)
    with pytest.raises(InvalidInput, match="first pose not later than now"):
        ego.advance(stamps_us + 1, plan, STEP_US)
    assert ego.state.time_us == 0
    with pytest.raises(InvalidInput, match="local_from_rig: expected finite"):
        ego.place(EgoState(0, np.full((4, 4), np.nan)))
