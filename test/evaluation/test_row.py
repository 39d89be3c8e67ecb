"""One plan's row: what is measured of it, and what is said of its text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_factory import circle_track, plan_of, truth_of

from alpamayo_ros.evaluation.row import METRICS, Scorer, driven_comfort
from alpamayo_ros.evaluation.texts import text_statistics
from alpamayo_ros.types import InvalidInput

TRACK = circle_track(radius_m=200.0, speed_mps=9.0)


def scorer(*, speaks: bool = True) -> Scorer:
    return Scorer("policy", "bag", speaks=speaks)


def test_the_drive_itself_is_a_perfect_plan() -> None:
    truth = truth_of(TRACK, 3.0)
    row = scorer().row(plan_of(truth), truth)
    assert set(row.values) == set(METRICS)
    for name, value in row.values.items():
        if name.partition("@")[0] in ("ade", "fde", "min_ade", "miss", "lateral_m", "longitudinal_m"):
            assert value == pytest.approx(0.0, abs=0.01), name
    assert row.values["lateral_accel_mps2"] == pytest.approx(9.0**2 / 200.0, rel=0.05)
    assert row.values["comfortable"] == 1.0 and row.values["change_m"] is None
    assert driven_comfort(truth) == pytest.approx({k: row.values[k] for k in driven_comfort(truth) or {}})
    assert row.speed_mps == pytest.approx(9.0, abs=0.01) and row.known_s == 6.4


def test_the_best_of_several_and_the_chosen_one() -> None:
    truth = truth_of(TRACK, 3.0)
    plan = replace(plan_of(truth, left_m=-1.0, candidates=3), chosen=2)
    row = scorer().row(plan, truth)
    assert row.candidates == 3
    assert row.values["min_ade@6.4s"] == pytest.approx(0.0, abs=0.01)
    assert row.values["lateral_m@3s"] == pytest.approx(1.0, abs=0.02)
    assert row.values["one_ade@6.4s"] == pytest.approx(2 / 3, abs=0.02)


def test_a_text_is_held_against_its_plan_and_against_the_drive() -> None:
    truth = truth_of(circle_track(radius_m=15.0, speed_mps=5.0), 3.0)
    said = scorer().row(plan_of(truth, text="Turn right at the junction."), truth).said
    assert said is not None and said.agreement == "contradicts" and "expected to turn right" in said.reason
    assert said.fits_drive == "contradicts" and said.component == "turn"
    straight = truth_of(circle_track(radius_m=1e6, speed_mps=5.0), 3.0)
    both = replace(plan_of(straight, text="Turn left at the junction."), t0_ns=truth.observation.t0_ns)
    other = scorer().row(both, truth).said
    assert other is not None and other.fits_drive == "agrees" and other.agreement != "agrees"
    assert scorer(speaks=False).row(plan_of(truth), truth).said is None


def test_what_is_no_plan_of_this_instant_is_refused() -> None:
    truth = truth_of(TRACK, 3.0)
    with pytest.raises(InvalidInput, match="expected one of t0"):
        scorer().row(replace(plan_of(truth), t0_ns=5), truth)
    xyz = plan_of(truth).xyz_in_rig_t0.copy()
    xyz[0, 5] = np.inf
    with pytest.raises(InvalidInput, match="expected finite waypoints"):
        scorer().row(replace(plan_of(truth), xyz_in_rig_t0=xyz), truth)


def test_statistics_of_texts() -> None:
    judge = scorer()
    texts = ["Keep lane, the road is clear.", "Keep lane, the road is clear.", "Stop for the red light.", ""]
    rows = [
        judge.row(plan_of(truth_of(TRACK, 3.0 + 0.5 * i), text=text), truth_of(TRACK, 3.0 + 0.5 * i))
        for i, text in enumerate(texts)
    ]
    told = text_statistics(rows)
    assert told is not None
    assert (told["texts"], told["empty"], told["distinct"]) == (4, 1, 2)
    assert told["vocabulary"] == len(
        {"keep", "lane", "the", "road", "is", "clear", "stop", "for", "red", "light"}
    )
    assert told["words"]["median"] == 6.0 and told["words"]["max"] == 6
    assert told["changes"] == {"pairs": 3, "text": 2, "component": 2, "gap_s": 0.5}
    assert told["components"] == {"free": 2, "light": 1} or sum(told["components"].values()) == 3
    assert told["agreement"]["contradicts"] == 1 and told["contradictions"][0]["text"] == texts[2]
    silent = Scorer("constant velocity", "bag", speaks=False)
    assert text_statistics([silent.row(plan_of(truth_of(TRACK, 3.0)), truth_of(TRACK, 3.0))]) is None
