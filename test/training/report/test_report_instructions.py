"""Whether the instruction is obeyed: by who obeys, who drives by heart, and who goes straight on."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_factory import data_set, episode
from report_factory import OnTheMap, route_episode

from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.report.charts import instruction_chart
from alpamayo_ros.training.report.instructions import (
    JunctionSample,
    as_before,
    follow,
    junction_samples,
)
from alpamayo_ros.training.report.junctions import obedience


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> EpisodeSamples:
    made = [route_episode("junction_4way-185"), episode(186)]
    return EpisodeSamples(data_set(tmp_path_factory.mktemp("data"), made), split="validation")


@pytest.fixture(scope="module")
def chosen(samples: EpisodeSamples) -> tuple[JunctionSample, ...]:
    return junction_samples(samples, 100, seed=0)


def test_samples_are_before_the_junction_and_show_the_way(
    samples: EpisodeSamples, chosen: tuple[JunctionSample, ...]
) -> None:
    # 30, 20 and 10 m before it; 5 m behind its entry is too late. The other episode has no junction.
    assert [samples[each.index].sample_id for each in chosen] == [
        f"junction_4way-185.0/{tick}" for tick in range(3)
    ]
    assert {each.told for each in chosen} == {"right"}
    assert (
        set(chosen[0].others) == {"left", "straight"} and chosen[0].others["straight"] == "Continue straight"
    )
    assert chosen[0].others["left"].startswith("Turn left in ")
    assert len(junction_samples(samples, 2, seed=0)) == 2


def test_who_obeys_follows_whatever_is_told(
    samples: EpisodeSamples, chosen: tuple[JunctionSample, ...], tmp_path: Path
) -> None:
    planner = OnTheMap({0: chosen[0].junction})
    told = follow(planner, samples, chosen)
    assert obedience(told)["followed"]["value"] == 1.0
    swapped = follow(planner, samples, chosen, swapped=True)
    found = obedience(swapped)
    assert found["followed"]["value"] == 1.0 and found["followed"]["n"] == 6 and as_before(swapped) == 0
    assert {turn: counts["n"] for turn, counts in found["by_turn"].items()} == {
        "left": 3,
        "straight": 3,
        "all": 6,
    }
    instruction_chart(tmp_path / "chart.png", told, swapped)
    assert (tmp_path / "chart.png").stat().st_size > 10_000


def test_who_drives_by_heart_is_found_out(
    samples: EpisodeSamples, chosen: tuple[JunctionSample, ...]
) -> None:
    planner = OnTheMap({0: chosen[0].junction}, obeys=False)
    assert obedience(follow(planner, samples, chosen))["followed"]["value"] == 1.0
    swapped = follow(planner, samples, chosen, swapped=True)
    assert obedience(swapped)["followed"]["value"] == 0.0 and as_before(swapped) == 6
    assert obedience(swapped)["by_turn"]["all"]["another_way"] == 6


def test_straight_on_at_the_present_speed_follows_no_turn(
    samples: EpisodeSamples, chosen: tuple[JunctionSample, ...]
) -> None:
    found = obedience(follow(ConstantVelocityPlanner(), samples, chosen))
    assert found["followed"]["value"] == 0.0


def test_without_junctions_there_is_nothing(tmp_path: Path) -> None:
    samples = EpisodeSamples(data_set(tmp_path, [episode(185)]), split="validation")
    assert junction_samples(samples, 10, seed=0) == ()
    assert obedience(())["followed"]["value"] is None
