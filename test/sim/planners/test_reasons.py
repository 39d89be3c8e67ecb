"""What a plan is about, by its cause."""

from __future__ import annotations

import pytest

from alpamayo_ros.sim.planners.reasons import Cause, Component, Manoeuvre


@pytest.mark.parametrize(
    ("cause", "component", "manoeuvre"),
    [
        (Cause("free", speed_mps=9.0), Component.FREE, Manoeuvre.KEEP),
        (Cause("free", speed_mps=0.1, speed_change_mps=3.0), Component.FREE, Manoeuvre.START),
        (Cause("free", speed_mps=5.0, speed_change_mps=3.0), Component.FREE, Manoeuvre.ACCELERATE),
        (Cause("free", speed_mps=0.6, speed_change_mps=0.1), Component.FREE, Manoeuvre.CREEP),
        (Cause("free", speed_mps=6.0, turn=1), Component.TURN, Manoeuvre.KEEP),
        (Cause("free", nudge_side=1, nudge_kind="cone", speed_mps=6.0), Component.CONES, Manoeuvre.KEEP),
        (Cause("free", nudge_side=1, nudge_kind="van", speed_mps=6.0), Component.PARKED, Manoeuvre.KEEP),
        (Cause("light", "red", stops=True), Component.LIGHT, Manoeuvre.STOP),
        (Cause("sign", stops=True, stands=True), Component.STOP_SIGN, Manoeuvre.HOLD),
        (Cause("crossing", "pedestrian", speed_change_mps=-3.0), Component.PEDESTRIAN, Manoeuvre.SLOW),
        (Cause("crossing", "car", speed_change_mps=-3.0), Component.CROSSING_VEHICLE, Manoeuvre.SLOW),
        (Cause("collision", "truck", speed_mps=9.0), Component.CROSSING_VEHICLE, Manoeuvre.BRAKE),
        (Cause("oncoming", "van", stops=True, turn=1), Component.ONCOMING, Manoeuvre.STOP),
        (Cause("leader", "van", static=True, stops=True), Component.PARKED, Manoeuvre.STOP),
        (Cause("leader", "cone", static=True, stops=True), Component.CONES, Manoeuvre.STOP),
        (Cause("leader", "cyclist", speed_mps=4.0), Component.CYCLIST, Manoeuvre.KEEP),
        (Cause("bend", speed_change_mps=-2.0, bend_side=-1), Component.CURVE, Manoeuvre.SLOW),
        (Cause("bend", speed_change_mps=-2.0, bend_side=-1, turn=-1), Component.TURN, Manoeuvre.SLOW),
    ],
)
def test_component_and_manoeuvre(cause: Cause, component: Component, manoeuvre: Manoeuvre) -> None:
    assert cause.component is component
    assert cause.manoeuvre is manoeuvre


def test_a_leader_that_brakes_is_told_from_one_that_stands() -> None:
    drives = Cause("leader", "car", other_speed_mps=6.0)
    brakes = Cause("leader", "car", other_speed_mps=6.0, other_accel_mps2=-2.0)
    stands = Cause("leader", "car", other_speed_mps=0.1, other_accel_mps2=-2.0)
    assert [each.component for each in (drives, brakes, stands)] == [
        Component.LEAD,
        Component.BRAKING_LEAD,
        Component.LEAD,
    ]
    assert [each.lead_stands for each in (drives, brakes, stands)] == [False, False, True]


def test_the_way_into_a_roundabout_is_a_curve_to_its_own_side() -> None:
    """The route turns right there, the road bends left first: what the vehicle does next is what counts."""
    assert Cause("bend", bend_side=1, turn=-1).component is Component.CURVE
