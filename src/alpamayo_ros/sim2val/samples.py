"""Samples of a metric in reality and in simulation: scenes measured in both, and scenes simulated only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import InvalidInput

FloatArray = NDArray[np.float64]

FEWEST_BEYOND = 4
"""Pairs that are needed beyond the number of control variates: with fewer nothing is left to judge by."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What the estimate is made of.

    Attributes:
        ids: of the n scenes that were measured in both.
        real: [n], the metric in reality.
        controls: names of the p control variates.
        sim: [n, p], in simulation, of the same scenes.
        sim_only: [m, p], of further scenes, drawn from the same population; m may be 0.
        unpaired_real: ids that were measured in reality alone; they are not used.

    Raises:
        InvalidInput: for other shapes, numbers that are not finite, too few pairs, a constant column.
    """

    ids: tuple[str, ...]
    real: FloatArray
    controls: tuple[str, ...]
    sim: FloatArray
    sim_only: FloatArray
    unpaired_real: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, p = len(self.ids), len(self.controls)
        if p < 1:
            raise InvalidInput("controls: expected a control variate at least, got none")
        if self.real.shape != (n,) or self.sim.shape != (n, p) or self.sim_only.shape[1:] != (p,):
            raise InvalidInput(
                f"samples: expected real [{n}], sim [{n}, {p}], sim_only [m, {p}], "
                f"got {self.real.shape}, {self.sim.shape}, {self.sim_only.shape}"
            )
        if n < p + FEWEST_BEYOND:
            raise InvalidInput(
                f"pairs: expected at least {p + FEWEST_BEYOND} scenes measured in both reality and "
                f"simulation ({p} control variates), got {n}"
            )
        for name, values in self._columns():
            if not np.isfinite(values).all():
                raise InvalidInput(f"{name}: expected finite numbers, got {values[~np.isfinite(values)][0]}")
            if name != "sim only" and np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
                raise InvalidInput(f"{name}: expected values that differ, got {values[0]:g} everywhere")
        spread = np.linalg.svd(_standardised(self.sim), compute_uv=False)
        if spread[-1] < 1e-8 * spread[0]:
            raise InvalidInput(
                f"controls: expected columns that tell different things, got {', '.join(self.controls)}, "
                "of which one follows from the others"
            )

    def _columns(self) -> list[tuple[str, FloatArray]]:
        named = [(f"control {name}", self.sim[:, i]) for i, name in enumerate(self.controls)]
        return [("real", self.real), *named, ("sim only", self.sim_only.ravel())]


def _standardised(values: FloatArray) -> FloatArray:
    centred: FloatArray = values - values.mean(axis=0)
    return centred / centred.std(axis=0)


def join(
    real: Mapping[str, float],
    sim: Mapping[str, Mapping[str, float]],
    *,
    controls: Sequence[str] | None = None,
    sim_id_of: Mapping[str, str] | None = None,
) -> Samples:
    """Bring the two sides together by their scenes' ids.

    Args:
        real: id -> metric.
        sim: control variate -> id -> value.
        controls: which of them, None for all.
        sim_id_of: id in reality -> id in simulation, where they are called otherwise.

    Raises:
        InvalidInput: where a control is unknown, nothing pairs, or Samples refuses it.
    """
    names = tuple(sim) if controls is None else tuple(controls)
    for name in names:
        if name not in sim:
            raise InvalidInput(f"controls: expected some of {', '.join(sim)}, got {name!r}")
    complete = list(dict.fromkeys(k for name in names for k in sim[name]))
    complete = [key for key in complete if all(key in sim[name] for name in names)]
    known = set(complete)
    twin = {key: (sim_id_of or {}).get(key, key) for key in real}
    paired = [key for key in real if twin[key] in known]
    if not paired:
        raise InvalidInput(
            f"pairs: expected ids that reality and simulation share, got none: {_some(real)} in reality, "
            f"{_some(complete)} in simulation"
        )
    used = [twin[key] for key in paired]
    if len(set(used)) < len(used):
        twice = next(key for key in used if used.count(key) > 1)
        raise InvalidInput(f"pairs: expected each simulated scene once, got {twice!r} for several real ones")
    alone = [key for key in complete if key not in set(used)]
    return Samples(
        ids=tuple(paired),
        real=np.array([real[key] for key in paired], np.float64),
        controls=names,
        sim=_table(sim, names, used),
        sim_only=_table(sim, names, alone),
        unpaired_real=tuple(key for key in real if twin[key] not in known),
    )


def _table(sim: Mapping[str, Mapping[str, float]], names: Sequence[str], ids: Sequence[str]) -> FloatArray:
    rows = [[sim[name][key] for name in names] for key in ids]
    return np.array(rows, np.float64).reshape(len(ids), len(names))


def _some(ids: Mapping[str, float] | Sequence[str]) -> str:
    few = list(ids)[:3]
    return (", ".join(few) + (", …" if len(ids) > 3 else "")) or "none"
