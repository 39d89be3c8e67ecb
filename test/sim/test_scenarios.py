"""What --scenarios means."""

from __future__ import annotations

from collections import Counter

import pytest

from alpamayo_ros.sim.scenarios import parse_scenarios
from alpamayo_ros.sim.scene import FAMILIES
from alpamayo_ros.types import InvalidInput


def test_all_is_each_family_five_times() -> None:
    scenes = parse_scenarios("all")
    assert len(scenes) == 100
    assert Counter(scene.rpartition("-")[0] for scene in scenes) == dict.fromkeys(FAMILIES, 5)


def test_families_ranges_seeds_and_ids_combine_in_order_without_repeats() -> None:
    assert parse_scenarios("cones") == ("cones-6", "cones-26", "cones-46", "cones-66", "cones-86")
    assert parse_scenarios("3-5") == ("hills-3", "junction_3way-4", "junction_4way-5")
    assert parse_scenarios("5, cut_in-1234,4-6,5") == (
        "junction_4way-5", "cut_in-1234", "junction_3way-4", "cones-6"
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "conez", "conez-4", "5-3", "1,,2", "-3", "cones-", "3-x"])
def test_unknown_names_are_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(InvalidInput, match="scenarios: expected") as caught:
        parse_scenarios(text)
    if text != "5-3":
        assert "roundabout" in str(caught.value)
