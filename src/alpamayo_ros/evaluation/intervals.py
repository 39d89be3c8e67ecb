"""Means, shares and ratios over samples, with intervals by scene: samples of a scene are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.scoring.aggregate import CONFIDENCE, RESAMPLES
from alpamayo_ros.types import InvalidInput

_SEED = 20261127
_DECIMALS = 6


@dataclass(frozen=True)
class Estimate:
    """A figure and how sure it is.

    Attributes:
        value: the figure; None where nothing is known.
        ci95: its central 95 % interval, bootstrapped over scenes; None likewise, and of too few scenes.
        n: samples that it is of.
    """

    value: float | None = None
    ci95: tuple[float, float] | None = None
    n: int = 0

    def __post_init__(self) -> None:
        if self.value is None and self.ci95 is not None:
            raise InvalidInput(f"ci95: expected none where there is no value, got {self}")

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        return {
            "value": None if self.value is None else round(self.value, _DECIMALS),
            "ci95": None if self.ci95 is None else [round(bound, _DECIMALS) for bound in self.ci95],
            "n": self.n,
        }


def mean_of(scenes: Sequence[str], values: Sequence[float | None], *, least_scenes: int = 1) -> Estimate:
    """Return the mean of the values that are known; of booleans it is their share.

    Args:
        scenes: of each value; drawn with replacement, each with all of its values.
        values: None for unknown.
        least_scenes: with values of fewer there is no interval: a resample of one scene is that scene.
    """
    ones = [None if value is None else 1.0 for value in values]
    return ratio_of_means(scenes, values, ones, least_scenes=least_scenes)


def ratio_of_means(
    scenes: Sequence[str],
    above: Sequence[float | None],
    below: Sequence[float | None],
    *,
    least_scenes: int = 1,
) -> Estimate:
    """Return the mean of `above` over the mean of `below`, where both are known, as pairs of a sample.

    Numerator and denominator are resampled together, so what makes a scene hard for both drops out. Unknown
    where the denominator is zero; resamples whose denominator is zero are left out of the interval.

    Raises:
        InvalidInput: unless there are as many scenes and values.
    """
    if not len(scenes) == len(above) == len(below):
        raise InvalidInput(
            f"values: expected {len(scenes)}, one a scene's sample, got {len(above)} and {len(below)}"
        )
    known = [
        (scene, float(a), float(b))
        for scene, a, b in zip(scenes, above, below, strict=True)
        if a is not None and b is not None
    ]
    names = {name: row for row, name in enumerate(sorted({scene for scene, _, _ in known}))}
    sums = np.zeros((len(names), 2))
    for scene, a, b in known:
        sums[names[scene]] += a, b
    total = sums.sum(axis=0)
    if total[1:].sum() == 0.0:
        return Estimate(n=len(known))
    if len(names) < least_scenes:
        return Estimate(float(total[0] / total[1]), None, len(known))
    generator = np.random.default_rng([_SEED, len(names)])
    weights = generator.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=RESAMPLES)
    drawn = weights @ sums
    drawn = drawn[drawn[:, 1] > 0]
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [tail, 100.0 - tail])
    return Estimate(float(total[0] / total[1]), (float(low), float(high)), len(known))
