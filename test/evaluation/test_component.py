"""The component that a sentence names: on all that the expert says, and on what others write."""

from __future__ import annotations

import pytest
from cause_grid import all_causes

from alpamayo_ros.evaluation.component import component_of_text
from alpamayo_ros.sim.planners.reasons import Component
from alpamayo_ros.sim.planners.wording import sentences


def test_each_wording_names_the_component_of_its_cause() -> None:
    said = {(text, cause.component) for cause in all_causes() for text in sentences(cause)}
    assert {component for _, component in said} == set(Component)
    for text, component in said:
        assert component_of_text(text) is component, text


@pytest.mark.parametrize(
    ("text", "component"),
    [
        ("Keep distance to the lead vehicle since it is directly ahead in our lane.", Component.LEAD),
        ("Decelerate because the car in front is slowing down.", Component.BRAKING_LEAD),
        ("The lead vehicle brakes, so the ego vehicle should slow down.", Component.BRAKING_LEAD),
        ("Nudge left to create clearance from the stopped truck on the right.", Component.PARKED),
        ("Nudge to the left due to the construction zone ahead.", Component.CONES),
        ("Proceed since the light is green.", Component.LIGHT),
        ("Since the traffic light is red, stop.", Component.LIGHT),
        ("Wait for people to cross at the junction.", Component.PEDESTRIAN),
        ("Slow down for the bicycle ahead.", Component.CYCLIST),
        ("Yield to the oncoming traffic before turning left.", Component.ONCOMING),
        ("Yield to cross traffic at the intersection.", Component.CROSSING_VEHICLE),
        ("Slow down since the van is cutting into our lane.", Component.CROSSING_VEHICLE),
        ("Adapt speed for the left curve ahead.", Component.CURVE),
        ("Prepare for the right turn at the intersection.", Component.TURN),
        ("Keep lane since the road ahead is clear.", Component.FREE),
        ("Slow down for the curve, and nudge to the left to pass the parked car.", Component.CURVE),
        ("lead_vehicle is braking", Component.BRAKING_LEAD),
    ],
)
def test_what_others_write(text: str, component: Component) -> None:
    assert component_of_text(text) is component


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Slow down.",
        "Stop now, then go on.",
        "Keep a moderate speed.",
        "Nudge to the left.",
        "dow dow dow",
        "…",
    ],
)
def test_a_sentence_that_names_none(text: str) -> None:
    assert component_of_text(text) is None


def test_left_and_right_make_no_difference() -> None:
    said = {(text, cause.component) for cause in all_causes() for text in sentences(cause)[:3]}
    for text, component in said:
        mirrored = text.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert component_of_text(mirrored) is component
