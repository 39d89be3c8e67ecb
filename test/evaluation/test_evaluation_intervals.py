"""Figures with intervals: what belongs together stays together."""

from __future__ import annotations

import pytest

from alpamayo_ros.evaluation.intervals import Estimate, mean_of, ratio_of_means
from alpamayo_ros.types import InvalidInput


def test_a_mean_is_of_what_is_known() -> None:
    found = mean_of(["a", "b", "c"], [1.0, None, 2.0])
    assert found.value == pytest.approx(1.5) and found.n == 2
    assert found.ci95 == pytest.approx((1.0, 2.0))
    assert mean_of(["a"], [None]) == Estimate(n=0) and mean_of([], []) == Estimate()
    assert mean_of(["a", "a", "b", "b"], [True, True, True, False]).value == 0.75


def test_many_samples_of_two_scenes_prove_no_more_than_two_scenes() -> None:
    few = mean_of(["a", "b"], [0.0, 1.0])
    many = mean_of(["a"] * 50 + ["b"] * 50, [0.0] * 50 + [1.0] * 50)
    assert many.ci95 == few.ci95 == (0.0, 1.0)
    apart = mean_of([str(i) for i in range(100)], [0.0] * 50 + [1.0] * 50)
    assert apart.ci95 is not None and apart.ci95[1] - apart.ci95[0] < 0.25


def test_what_is_hard_for_both_drops_out_of_a_ratio() -> None:
    scenes = [str(i) for i in range(20)]
    baseline = [0.1 * 2**i for i in range(20)]
    found = ratio_of_means(scenes, [0.4 * value for value in baseline], baseline)
    assert found.value == pytest.approx(0.4) and found.ci95 == pytest.approx((0.4, 0.4)) and found.n == 20


def test_a_ratio_to_nothing_is_unknown() -> None:
    assert ratio_of_means(["a"], [1.0], [0.0]) == Estimate(n=1)
    some = ratio_of_means(["a", "b"], [1.0, 1.0], [0.0, 2.0])
    assert some.value == pytest.approx(1.0) and some.ci95 is not None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 2, one a scene's sample, got 2 and 1"):
        ratio_of_means(["a", "b"], [1.0, 1.0], [1.0])
    with pytest.raises(InvalidInput, match="ci95: expected none where there is no value"):
        Estimate(None, (0.0, 1.0))


def test_too_few_scenes_have_a_mean_and_no_interval() -> None:
    found = mean_of(["a", "a", "b"], [1.0, 2.0, 3.0], least_scenes=3)
    assert found == Estimate(2.0, None, 3) and found.as_dict()["ci95"] is None
    assert mean_of(["a", "b", "c"], [1.0, 2.0, 3.0], least_scenes=3).ci95 is not None
