"""Radial polynomials of lenses: where they stop rising, and their inverse up to there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import polynomial as P
from numpy.typing import NDArray

_REAL = 1e-9
_TABLE_SIZE = 2049


def first_stationary_point(numerator: Sequence[float], denominator: Sequence[float] = (1.0,)) -> float:
    """Return the smallest x > 0 where numerator/denominator stops rising or has a pole, else infinity.

    Polynomials are given lowest power first.
    """
    slope = _slope_numerator(numerator, denominator)
    candidates = [_positive_roots(slope), _positive_roots(denominator)]
    return float(min((x for roots in candidates for x in roots), default=np.inf))


def _slope_numerator(numerator: Sequence[float], denominator: Sequence[float]) -> NDArray[np.float64]:
    """Return the numerator of the quotient's derivative (the denominator's square is its denominator)."""
    left = P.polymul(P.polyder(numerator), denominator)
    return np.asarray(P.polysub(left, P.polymul(numerator, P.polyder(denominator))), dtype=np.float64)


def _positive_roots(polynomial: Sequence[float] | NDArray[np.float64]) -> list[float]:
    trimmed = np.trim_zeros(np.asarray(polynomial, dtype=np.float64), "b")
    with np.errstate(over="ignore"):  # a root that lies beyond all numbers is none
        while len(trimmed) >= 2 and not np.isfinite(trimmed[:-1] / trimmed[-1]).all():
            trimmed = np.trim_zeros(trimmed[:-1], "b")
    if len(trimmed) < 2:
        return []
    roots = P.polyroots(trimmed)
    return [float(r.real) for r in roots if abs(r.imag) <= _REAL * max(1.0, abs(r)) and r.real > 0]


def invert_monotonic(
    numerator: Sequence[float],
    values: NDArray[np.float64],
    *,
    upper: float,
    denominator: Sequence[float] = (1.0,),
) -> NDArray[np.float64]:
    """Return x in [0, upper] with numerator(x)/denominator(x) = value, NaN where there is none.

    The function must be 0 at 0 and rise up to `upper` (which may be infinite). Safeguarded Newton:
    a step that leaves its bracket is replaced by bisection.
    """
    values = np.asarray(values, dtype=np.float64)

    def evaluate(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(P.polyval(x, numerator) / P.polyval(x, denominator))

    slope_numerator = _slope_numerator(numerator, denominator)
    with np.errstate(all="ignore"):
        wanted = np.isfinite(values) & (values >= 0)
        if not np.isfinite(upper):
            upper = _upper_bound(evaluate, float(values[wanted].max(initial=0.0)))
        # A table brackets each value so closely that two or three steps of Newton do.
        grid = np.linspace(0.0, upper, _TABLE_SIZE)
        table = evaluate(grid)
        cell = np.clip(np.searchsorted(table, values, side="right") - 1, 0, _TABLE_SIZE - 2)
        low, high = grid[cell], grid[cell + 1]
        reachable = wanted & (values <= table[-1])
        x = np.clip(np.interp(values, table, grid), low, high)
        for _ in range(60):
            error = evaluate(x) - values
            low, high = np.where(error < 0, x, low), np.where(error > 0, x, high)
            newton = x - error * P.polyval(x, denominator) ** 2 / P.polyval(x, slope_numerator)
            x_next = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
            done = np.abs(x_next - x) <= 1e-13 * np.maximum(1.0, np.abs(x))
            x = np.where(error == 0, x, x_next)
            if bool(np.all(done | ~reachable)):
                break
    return np.where(reachable, x, np.nan)


def _upper_bound(evaluate: Callable[[NDArray[np.float64]], NDArray[np.float64]], value: float) -> float:
    """Return some x with f(x) >= value for a function that rises without limit."""
    x = 1.0
    while x < 1e12 and float(evaluate(np.array([x]))[0]) < value:
        x *= 2.0
    return x
