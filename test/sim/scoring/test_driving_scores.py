"""Our scores beside AlpaSim's: comfort, speed, time to collision, traffic rules, the road's border."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from score_factory import START_US, STEP_US, car, straight_drive, straight_road

from alpamayo_ros.sim.roads import Float64Array, LightColour, StopSign, Surface, TrafficLight
from alpamayo_ros.sim.scoring import aggregate, score_input
from alpamayo_ros.sim.scoring.inputs import ActorInput, ScoreInput

STOP_LINE = np.array([[60.0, 0.0, 0.0], [60.0, -3.5, 0.0]])
"""Of the lane to the east: its left end first."""
FRONT_M = 2.5


def travelled(speeds_mps: Float64Array) -> Float64Array:
    """Return where one is after each step at these speeds."""
    return np.concatenate([[0.0], np.cumsum((speeds_mps[1:] + speeds_mps[:-1]) / 2 * 0.1)])


def metrics(rollout: ScoreInput) -> dict[str, float | int | None]:
    return score_input(rollout).metrics


def test_steady_driving_is_comfortable() -> None:
    values = metrics(straight_drive())
    assert values["uncomfortable_share"] == 0.0
    assert values["mean_speed_mps"] == pytest.approx(10.0)
    assert values["speed_rel_to_reference"] == pytest.approx(1.0)


def test_hard_braking_is_counted_step_by_step() -> None:
    speed = np.full(100, 10.0)
    speed[50:60] = 10.0 - 0.5 * np.arange(1, 11)  # -5 m/s² for a second
    speed[60:] = 5.0
    rollout = straight_drive(travelled(speed))
    for given in (rollout, replace(rollout, ego_speed_mps=speed)):
        values = metrics(given)
        intervals = 99 - 17
        assert values["accel_lon_over_limit_share"] == pytest.approx(10 / intervals, abs=1.5 / intervals)
        assert 1 / intervals <= values["jerk_over_limit_share"] <= 4 / intervals
        assert values["accel_lat_over_limit_share"] == 0.0


def test_fast_turning_is_counted() -> None:
    steps = np.arange(100)
    yaw = np.where(steps < 40, 0.0, (steps - 40) * 0.06)  # 0.6 rad/s at 10 m/s: 6 m/s² sideways
    rollout = replace(straight_drive(), road=None)
    boxes = rollout.ego_boxes.copy()
    boxes[:, 3] = yaw
    boxes[:, 0] = np.concatenate([[0.0], np.cumsum(np.cos(yaw[1:]))])
    boxes[:, 1] = np.concatenate([[0.0], np.cumsum(np.sin(yaw[1:]))])
    turning = replace(rollout, ego_boxes=boxes, ego_speed_mps=np.full(100, 10.0))
    values = metrics(turning)
    assert values["accel_lat_over_limit_share"] == pytest.approx(59 / 82, abs=0.02)
    assert values["yaw_rate_over_limit_share"] == 0.0
    boxes[:, 3] = yaw * 2.0
    assert metrics(replace(turning, ego_boxes=boxes))["yaw_rate_over_limit_share"] > 0.6


def test_speed_is_compared_over_the_same_time() -> None:
    half = straight_drive(np.arange(100) * 0.5)
    values = metrics(half)
    assert values["mean_speed_mps"] == pytest.approx(5.0)
    assert values["reference_mean_speed_mps"] == pytest.approx(10.0)
    assert values["speed_rel_to_reference"] == pytest.approx(0.5)
    standing = replace(half, reference_boxes=np.tile(half.reference_boxes[:1], (100, 1)))
    assert metrics(standing)["speed_rel_to_reference"] is None


@pytest.mark.parametrize(("gap_m", "near"), [(9.0, True), (11.0, False)])
def test_time_to_collision_with_what_stands(gap_m: float, near: bool) -> None:
    """At 10 m/s, 1 s is 10 m; shrinking leaves 4.9 m + 4.41 m of boxes between the centres."""
    steps = np.arange(100)
    centres_m = gap_m + 4.9 / 2 + 4.41 / 2
    ahead = car("ahead", np.where(steps == 50, 50.0 + centres_m, np.nan), -1.75)
    share = metrics(straight_drive(actors=(ahead,)))["ttc_under_1s_share"]
    assert share == pytest.approx(1 / 83 if near else 0.0)


def test_time_to_collision_of_following_and_passing() -> None:
    steps = np.arange(100) * 1.0
    follows = car("same speed", steps + 8.0, -1.75)
    passes = car("oncoming", 150.0 - steps, 1.75)
    assert metrics(straight_drive(actors=(follows, passes)))["ttc_under_1s_share"] == 0.0
    crossing = ActorInput(
        "crossing", 4.5, 1.9, np.stack([np.full(100, 80.0), 78.25 - steps, np.full(100, -np.pi / 2)], axis=-1)
    )
    assert metrics(straight_drive(actors=(crossing,)))["ttc_under_1s_share"] > 0.05


def test_who_stands_is_not_blamed_for_others_haste() -> None:
    steps = np.arange(100) * 1.0
    passing = car("hasty", 1.5 * steps - 20.0, -1.75)
    passing.poses[steps > 25] = np.nan
    assert metrics(straight_drive(np.zeros(100), actors=(passing,)))["ttc_under_1s_share"] == 0.0


def light(*programme: tuple[LightColour, float]) -> TrafficLight:
    heads = np.array([[75.0, -5.0, 5.0, np.pi]])
    return TrafficLight("light", heads, STOP_LINE, ("east",), programme)


@pytest.mark.parametrize(("colour", "runs"), [("red", 1), ("yellow", 0), ("green", 0)])
def test_red_lights_count_when_the_front_crosses_the_line(colour: LightColour, runs: int) -> None:
    rollout = straight_drive(road=straight_road(lights=(light((colour, 60.0)),)))
    assert metrics(rollout)["red_light_runs"] == runs


def test_light_is_read_at_the_crossing() -> None:
    # The front, 2.5 m ahead of the box's centre, reaches x = 60 m at 5.75 s.
    for red_from_s, runs in ((5.7, 1), (5.8, 0)):
        programme = light(("green", red_from_s), ("red", 60.0))
        assert metrics(straight_drive(road=straight_road(lights=(programme,))))["red_light_runs"] == runs


def test_the_other_direction_and_stopping_short_are_no_run() -> None:
    road = straight_road(lights=(light(("red", 60.0)),))
    assert metrics(straight_drive(road=road, y_m=1.75))["red_light_runs"] == 0  # beside the line
    short = np.minimum(np.arange(100) * 1.0, 60.0 - FRONT_M - 0.1)
    assert metrics(straight_drive(short, road=road))["red_light_runs"] == 0
    back = straight_drive(80.0 - np.arange(100) * 0.5, road=road)
    assert metrics(back)["red_light_runs"] == 0


def stop_sign_drive(low_mps: float, *, at_front_m: float) -> ScoreInput:
    """Return a drive at 5 m/s, slower for a second from where its front is `at_front_m` before the line."""
    speed = np.full(160, 5.0)
    sign = StopSign("stop", (60.0, -5.0, 0.0, np.pi), STOP_LINE, ("east",))
    slow_at = round((60.0 - at_front_m - FRONT_M) / 0.5)
    speed[slow_at : slow_at + 10] = low_mps
    x_m = np.concatenate([[0.0], np.cumsum(speed[:-1] * 0.1)])
    return straight_drive(x_m, road=straight_road(stop_signs=(sign,)), steps=160)


@pytest.mark.parametrize(
    ("low_mps", "at_front_m", "runs"),
    [(0.0, 1.0, 0), (0.1, 3.0, 0), (0.4, 1.0, 1), (5.0, 1.0, 1), (0.0, 20.0, 1)],
)
def test_a_stop_sign_wants_a_stop_near_its_line(low_mps: float, at_front_m: float, runs: int) -> None:
    assert metrics(stop_sign_drive(low_mps, at_front_m=at_front_m))["stop_sign_runs"] == runs


def test_leaving_the_drivable_area_is_told_with_its_time() -> None:
    steps = np.arange(100)
    y_m = np.where(steps < 60, -1.75, -1.75 - (steps - 60) * 0.5)
    score = score_input(straight_drive(y_m=y_m))
    assert score.metrics["strict_offroad"] == 1.0
    assert score.metrics["offroad"] == 1.0
    # The shape's side is 0.98 m to the right, the kerb is at -4: crossed at the third step.
    assert score.event_time_s == pytest.approx(6.3)
    assert score.failure_reason == "offroad"


def test_touching_the_edge_before_leaving_is_both() -> None:
    """AlpaSim sees the road left as soon as the edge is touched, the strict rule 5 cm later."""
    y_m = np.where(np.arange(100) < 60, -1.75, -3.04 - 0.004 * np.maximum(np.arange(100) - 60, 0))
    paved = np.array([[-50.0, -4.0], [350.0, -4.0], [350.0, 4.0], [-50.0, 4.0]])
    road = replace(straight_road(), surfaces=(Surface("road", paved),))
    score = score_input(straight_drive(y_m=y_m, road=road))
    assert score.metrics["offroad"] == 1.0
    assert score.metrics["strict_offroad"] == 1.0
    assert score.event_time_s == pytest.approx(6.0)
    assert score.metrics["window_s"] == pytest.approx(5.1)  # 2 cm at once, 4 mm more a step


def test_beyond_the_edge_is_off_by_the_strict_rule_only() -> None:
    score = score_input(straight_drive(y_m=-8.0))
    assert score.metrics["offroad"] == 0.0
    assert score.metrics["strict_offroad"] == 1.0


def test_after_leaving_by_four_metres_only_our_scores_go_on() -> None:
    steps = np.arange(100)
    y_m = np.where(steps < 40, -1.75, 2.4)  # 4.15 m beside the recorded drive
    wall = car("wall", 80.0, 2.4)
    score = score_input(straight_drive(y_m=y_m, actors=(wall,)))
    assert score.left_path
    assert score.metrics["collision_any"] == 0.0
    assert score.metrics["strict_collision_at_fault"] == 1.0
    assert score.collision_with == "wall"
    assert score.event_time_s == pytest.approx(7.6)  # 4.66 m before the wall's centre
    assert aggregate([score])["at_fault"] == 1
    assert score.metrics["duration_frac_20s"] == pytest.approx((40 - 17) * 0.1 / 20)
    assert score.metrics["window_s"] == pytest.approx((76 - 17) * 0.1)


def test_stamps_count_not_indices() -> None:
    """The same drive sampled half as often has the same speeds."""
    rollout = straight_drive()
    half = replace(
        rollout,
        stamps_us=rollout.stamps_us[::2],
        ego_boxes=rollout.ego_boxes[::2],
        handover_us=START_US + 18 * STEP_US,
    )
    assert metrics(half)["mean_speed_mps"] == pytest.approx(10.0)
    assert metrics(half)["dist_traveled_m"] == pytest.approx(98.0)
