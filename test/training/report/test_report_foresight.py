"""What plans before a collision made of what was hit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rollout_factory import example_scene, pose, record_of

from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.scene import ActorSpec, Track
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.training.report.foresight import Foresight, foresight

SAID = "Slow down because of the parked car in our lane."


@pytest.fixture(scope="module")
def record() -> RolloutRecord:
    """A drive along the lane, into a car that stands there."""
    scene = example_scene()
    stands = Track(scene.reference.stamps_us[:1], pose(100.0, -1.75, 0.0, 0.75)[None])
    wall = ActorSpec("wall", "car", (4.5, 1.9, 1.5), stands, is_static=True)
    return record_of(replace(scene, actors={**scene.actors, "wall": wall}))


def test_plans_that_lead_into_what_is_hit_and_name_nothing(record: RolloutRecord) -> None:
    score = score_rollout(record)
    assert score.collision_with == "wall"
    found = foresight(record, score)
    assert found == Foresight(plans=40, led_into=40, named={"free": 40})
    assert found.words() == "40 of 40 plans led into it; named: free 40"
    assert found.as_dict() == {"plans": 40, "led_into": 40, "named": {"free": 40}}


def test_plans_that_pass_it_by_and_name_it(record: RolloutRecord) -> None:
    score = score_rollout(record)
    past = np.eye(4)
    past[1, 3] = 3.0
    end_us = record.scene.start_us + round(score.event_time_s * 1e6)
    drives = tuple(
        replace(drive, local_from_rig=past @ drive.local_from_rig, reasoning=SAID)
        if end_us - 1_000_000 <= drive.time_us < end_us
        else drive
        for drive in record.drives
    )
    found = foresight(replace(record, drives=drives), score)
    assert found == Foresight(plans=40, led_into=30, named={"free": 30, "parked": 10})


def test_stops_and_the_warm_up_are_no_plans(record: RolloutRecord) -> None:
    score = score_rollout(record)
    stops = tuple(replace(drive, source="stop") for drive in record.drives)
    assert foresight(replace(record, drives=stops), score) is None


def test_without_a_collision_there_is_nothing_to_foresee(record: RolloutRecord) -> None:
    score = score_rollout(record)
    assert foresight(record, replace(score, collision_with=None)) is None
    assert foresight(record, replace(score, event_time_s=None)) is None
    assert foresight(record, replace(score, collision_with="nobody")) is None
