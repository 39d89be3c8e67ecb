"""Traffic: following, lights, giving way, and what the ego's presence does."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.roads import TrafficLight
from alpamayo_ros.sim.scenes.agents import Agent, EgoMotion, StopPoint, TrafficScript
from alpamayo_ros.sim.scenes.bodies import bodies_at, empty_bodies
from alpamayo_ros.sim.scenes.paths import Path, from_curvature
from alpamayo_ros.sim.scenes.traffic import Traffic, prepare

CAR = (4.5, 1.8, 1.5)
EAST = from_curvature((0.0, 0.0, 0.0), [(400.0, 0.0, 0.0)])
NORTH = from_curvature((200.0, -200.0, np.pi / 2), [(400.0, 0.0, 0.0)])
AWAY = EgoMotion(-500.0, -500.0, 0.0, 0.0)


def car(name: str, path: Path, s_m: float, speed: float, **more: object) -> Agent:
    return Agent(name, "car", CAR, path, s_m, speed, speed, **more)  # type: ignore[arg-type]


def traffic_of(*agents: Agent, ego_path: Path = EAST, **more: object) -> Traffic:
    obstacles = more.pop("obstacles", empty_bodies())
    lights = more.pop("lights", ())
    script = TrafficScript(agents, lights, obstacles, ego_path)  # type: ignore[arg-type]
    return Traffic(script, prepare(script))


def run(traffic: Traffic, seconds: float, ego: EgoMotion = AWAY) -> None:
    for _ in range(round(seconds * 10)):
        traffic.step(ego)


def test_a_follower_stops_behind_what_stands_in_its_lane() -> None:
    wall = bodies_at([(150.0, 0.0, 0.0)], [CAR])
    traffic = traffic_of(car("a", EAST, 20.0, 14.0), obstacles=wall)
    run(traffic, 25.0)
    gap = 150.0 - 4.5 - float(traffic.s_m[0])
    assert traffic.speed_mps[0] < 0.1
    assert 1.5 < gap < 5.0


def test_a_follower_keeps_its_headway() -> None:
    traffic = traffic_of(car("lead", EAST, 60.0, 10.0), car("behind", EAST, 20.0, 14.0))
    run(traffic, 25.0)
    gap = float(traffic.s_m[0] - traffic.s_m[1]) - 4.5
    assert abs(traffic.speed_mps[1] - 10.0) < 0.5
    assert 12.0 < gap < 30.0


def test_red_holds_and_green_releases() -> None:
    light = TrafficLight(
        "l", np.zeros((1, 4)), np.zeros((2, 3)), (), (("red", 15.0), ("green", 30.0), ("yellow", 3.0))
    )
    traffic = traffic_of(car("a", EAST, 20.0, 12.0, stops=(StopPoint(120.0, "l"),)), lights=(light,))
    run(traffic, 14.0)
    front = float(traffic.s_m[0]) + 2.25
    assert traffic.speed_mps[0] < 0.5
    assert 116.0 < front < 120.0
    run(traffic, 8.0)
    assert traffic.speed_mps[0] > 5.0


def test_a_stop_sign_is_left_after_a_while() -> None:
    traffic = traffic_of(car("a", EAST, 50.0, 10.0, stops=(StopPoint(100.0, hold_s=1.5),)))
    speeds = []
    for _ in range(200):
        traffic.step(AWAY)
        speeds.append(float(traffic.speed_mps[0]))
    assert min(speeds) < 0.15
    assert speeds[-1] > 8.0


def test_the_later_in_the_list_gives_way_at_a_crossing() -> None:
    traffic = traffic_of(
        car("first", EAST, 120.0, 10.0), car("second", NORTH, 118.0, 10.0), ego_path=NORTH.offset(80.0)
    )
    slowest = 10.0
    for _ in range(150):
        traffic.step(AWAY)
        a, b = traffic.poses()
        assert np.hypot(*(a[:2] - b[:2])) > 2.5
        slowest = min(slowest, float(traffic.speed_mps[1]))
    assert slowest < 8.0
    assert traffic.s_m[0] > 250.0 and traffic.s_m[1] > 210.0


def test_a_crossing_car_gives_way_to_the_ego_only_if_it_is_to() -> None:
    for yields in (True, False):
        traffic = traffic_of(car("a", NORTH, 140.0, 10.0, yields_to_ego=yields))
        traffic.ego_s_m = 140.0
        slowest = 10.0
        for k in range(60):
            traffic.step(EgoMotion(140.0 + k, 0.0, 0.0, 10.0))
            slowest = min(slowest, float(traffic.speed_mps[0]))
            if not yields and traffic.s_m[0] > 190.0:
                break
        assert (slowest < 7.0) == yields


def test_nobody_on_foot_steps_before_a_fast_ego_but_before_a_standing_one() -> None:
    across = from_curvature((30.0, -8.0, np.pi / 2), [(20.0, 0.0, 0.0)])
    walker = Agent(
        "w",
        "pedestrian",
        (0.6, 0.6, 1.7),
        across,
        4.0,
        1.4,
        1.4,
        headway_s=0.3,
        gap_m=0.6,
        yields_to_ego=False,
    )
    fast = traffic_of(walker)
    for k in range(20):
        fast.step(EgoMotion(10.0 + k, 0.0, 0.0, 10.0))
    assert fast.poses()[0, 1] < -1.3
    standing = traffic_of(walker)
    run(standing, 8.0, EgoMotion(10.0, 0.0, 0.0, 0.0))
    assert standing.poses()[0, 1] > 2.0
