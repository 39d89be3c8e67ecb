"""Each kind of sample comes up equally often, whatever there is most of."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.training.balance import balanced_order, balanced_weights
from alpamayo_ros.types import InvalidInput

UNEVEN = [{"family": "straight", "recovery": "none"}] * 80 + [{"family": "cones", "recovery": "none"}] * 20


def test_families_come_up_equally_often() -> None:
    order = balanced_order(UNEVEN, count=1000, seed=3, by=("family",))
    counts = Counter(UNEVEN[index]["family"] for index in order)
    assert counts["straight"] == pytest.approx(500, abs=5) and counts["cones"] == pytest.approx(500, abs=5)


def test_every_sample_of_a_family_gets_its_turn() -> None:
    times = np.bincount(balanced_order(UNEVEN, count=1000, seed=3, by=("family",)), minlength=100)
    assert set(times[:80]) <= {6, 7} and set(times[80:]) == {25}


def test_the_same_seed_gives_the_same_order_and_another_another() -> None:
    first, again, other = (balanced_order(UNEVEN, count=50, seed=seed, by=("family",)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_two_tags_that_do_not_depend_on_each_other_are_both_balanced() -> None:
    tags = [
        {"family": family, "recovery": recovery}
        for family, many in (("straight", 4), ("cones", 1))
        for recovery, times in (("none", 9), ("recovering", 1))
        for _ in range(many * times)
    ]
    weights = balanced_weights(tags)
    for name, value in (("family", "cones"), ("recovery", "recovering")):
        share = sum(w for w, each in zip(weights, tags, strict=True) if each[name] == value)
        assert share == pytest.approx(0.5)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=60),
    st.floats(1.0, 30.0),
)
def test_weights_are_shares_and_none_is_over_the_limit(pairs: list[tuple[str, str]], most: float) -> None:
    tags = [{"family": family, "recovery": recovery} for family, recovery in pairs]
    weights = balanced_weights(tags, most_often=most)
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() > 0 and weights.max() <= most / len(tags) * (1 + 1e-6)


def test_a_single_sample_of_a_rare_kind_is_not_drawn_for_ever() -> None:
    tags = [{"family": "straight"}] * 999 + [{"family": "cones"}]
    assert balanced_weights(tags, by=("family",), most_often=20)[-1] == pytest.approx(0.02)


def test_what_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected at least one sample"):
        balanced_weights([])
    with pytest.raises(
        InvalidInput, match=r"expected tags that samples have \(family, recovery\), got 'weather'"
    ):
        balanced_weights(UNEVEN, by=("weather",))
    with pytest.raises(InvalidInput, match="most_often: expected at least 1"):
        balanced_weights(UNEVEN, most_often=0.5)
    with pytest.raises(InvalidInput, match="count: expected at least 1"):
        balanced_order(UNEVEN, count=0, seed=0)
