"""What is made of AlpaSim's routes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alpamayo_ros.sim.driver.navigation import Guidance, guide
from alpamayo_ros.sim.protocol.egodriver_messages import Route
from alpamayo_ros.types import InvalidInput

SPACING_M = 80.0 / 19.0


def route(headings_deg: np.ndarray) -> Route:
    """Return a route of AlpaSim's spacing whose segments have these headings."""
    heading = np.radians(headings_deg)
    steps = SPACING_M * np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=1)
    return Route(1_000_000, np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)]))


def bend(*, at_m: float, degrees: float, over_m: float = 10.0) -> Route:
    """Return a route that is straight until `at_m`, then bends evenly by `degrees` over `over_m`."""
    middles = (np.arange(19) + 0.5) * SPACING_M
    return route(degrees * np.clip((middles - at_m) / over_m, 0.0, 1.0))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_bend_of_over_30_degrees_is_a_turn_announced_for_where_it_has_bent_by_15(side: str) -> None:
    sign = 1 if side == "left" else -1
    guidance = guide(bend(at_m=30.0, degrees=sign * 90.0, over_m=20.0))
    assert guidance.maneuver == side
    assert guidance.distance_m == pytest.approx(30.0 + 20.0 / 6, abs=1.0)
    assert guidance.instruction == f"Turn {side} in 35m"


@pytest.mark.parametrize(("degrees", "maneuver"), [(29.0, "straight"), (31.0, "left"), (-31.0, "right")])
def test_30_degrees_is_the_limit(degrees: float, maneuver: str) -> None:
    assert guide(bend(at_m=20.0, degrees=degrees)).maneuver == maneuver


def test_a_route_without_a_turn_is_straight_and_has_no_distance() -> None:
    guidance = guide(bend(at_m=50.0, degrees=12.8, over_m=30.0))
    assert (guidance.maneuver, guidance.distance_m) == ("straight", None)
    assert guidance.instruction == "Continue straight"


def test_a_turn_that_is_reached_has_no_distance_in_its_text() -> None:
    guidance = guide(bend(at_m=-5.0, degrees=120.0, over_m=40.0))
    assert guidance.maneuver == "left"
    assert guidance.instruction.startswith("Turn left")
    assert guidance.distance_m is not None
    assert guidance.distance_m < 8.0


def test_the_first_of_two_turns_counts_and_a_waver_before_it_does_not() -> None:
    headings = np.zeros(19)
    headings[2:5] = 20.0  # past 15 degrees, and back: no turn
    headings[9:] = 60.0
    headings[14:] = -90.0
    guidance = guide(route(headings))
    assert guidance.maneuver == "left"
    assert guidance.distance_m == pytest.approx(8.5 * SPACING_M + SPACING_M / 4, abs=0.1)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((1, 3)), np.full((20, 3), 2.0)])
def test_no_route_gives_no_text(points: np.ndarray) -> None:
    guidance = guide(Route(1_000_000, points))
    assert (guidance.maneuver, guidance.distance_m, guidance.instruction) == ("none", None, "")


def test_repeated_points_have_no_direction_and_change_nothing() -> None:
    plain = bend(at_m=30.0, degrees=90.0)
    doubled = Route(1_000_000, np.repeat(plain.points_in_rig, 2, axis=0))
    assert guide(doubled).distance_m == pytest.approx(guide(plain).distance_m)


@given(st.floats(5.0, 60.0), st.floats(-170.0, 170.0), st.floats(4.0, 30.0), st.floats(-np.pi, np.pi))
def test_it_does_not_depend_on_where_the_rig_looks(
    at_m: float, degrees: float, over_m: float, turned_rad: float
) -> None:
    assume(abs(abs(degrees) - 30.0) > 1e-6)  # at 30 degrees rounding decides
    plain = bend(at_m=at_m, degrees=degrees, over_m=over_m)
    c, s = np.cos(turned_rad), np.sin(turned_rad)
    turned = Route(1, plain.points_in_rig @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))
    one, other = guide(plain), guide(turned)
    assert one.maneuver == other.maneuver
    if one.distance_m is not None:
        assert other.distance_m == pytest.approx(one.distance_m, abs=1e-6)
        assert 0.0 <= one.distance_m <= 80.0


def test_a_distance_belongs_to_a_turn() -> None:
    with pytest.raises(InvalidInput, match="expected a distance with a turn"):
        Guidance(np.zeros((0, 3)), "straight", 3.0)
    with pytest.raises(InvalidInput, match="expected a distance with a turn"):
        Guidance(np.zeros((0, 3)), "left", None)
