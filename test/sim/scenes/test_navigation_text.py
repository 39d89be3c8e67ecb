"""Navigation text: Alpamayo's wording, distances by 5 m, nothing where there is nothing to say."""

from __future__ import annotations

import re

import pytest

from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scenes.navigation import Maneuver, instruction_at
from alpamayo_ros.sim.world import ProceduralWorld, reference_state


def texts(scene_id: str) -> list[str]:
    scene = make_scene(scene_id)
    world = ProceduralWorld(scene)
    stamps = scene.reference.stamps_us
    result = []
    for index in range(len(stamps) - 1):
        ego = reference_state(scene, int(stamps[index]))
        result.append(world.instruction(ego))
        world.step(ego, int(stamps[index + 1]))
    return result


def test_a_turn_is_counted_down_and_then_forgotten() -> None:
    said = texts("junction_4way-5")
    assert make_scene("junction_4way-5").description.endswith("turns left.")
    spoken = [text for text in said if text]
    assert all(re.fullmatch(r"Turn left( in \d+m)?", text) for text in spoken)
    distances = [int(match[1]) for text in spoken if (match := re.search(r"in (\d+)m", text))]
    assert distances == sorted(distances, reverse=True)
    assert all(distance % 5 == 0 and 0 < distance <= 80 for distance in distances)
    assert "Turn left" in spoken
    assert said[-1] == ""


def test_roundabouts_name_the_exit() -> None:
    assert texts("roundabout-16")[0] == "Take the second exit in 55m"
    assert texts("roundabout-36")[0].startswith("Take the first exit in ")


@pytest.mark.parametrize("scene_id", ["straight-0", "curve-1", "s_bend-2", "cones-6"])
def test_no_junction_no_text(scene_id: str) -> None:
    assert set(texts(scene_id)) == {""}


def test_going_straight_on_is_said_at_the_junction_only() -> None:
    said = texts("traffic_light-14")
    assert set(said) == {"", "Continue straight"}
    assert said[0] == "" and said[-1] == ""


def test_rounding_and_reach() -> None:
    turn = (Maneuver("Turn right", 100.0, 120.0),)
    assert instruction_at(turn, 10.0) == ""
    assert instruction_at(turn, 21.0) == "Turn right in 80m"
    assert instruction_at(turn, 57.6) == "Turn right in 40m"
    assert instruction_at(turn, 98.0) == "Turn right"
    assert instruction_at(turn, 110.0) == "Turn right"
    assert instruction_at(turn, 121.0) == ""
