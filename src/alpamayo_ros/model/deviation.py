"""How far plans of a lossy way are from the exact ones, by the same seeds and observations.

Lossy are FP8 weights (SpeedOptions.fp8), fewer flow steps and a cap on the reasoning (PlanOptions'
`flow_steps` and `max_reasoning_tokens`). All are off unless asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from alpamayo_ros.types import InvalidInput, Plan


@dataclass(frozen=True)
class Deviation:
    """What differs between two ways to make the same plans.

    Attributes:
        plans: observations that were planned.
        samples: trajectories of all of them.
        same_tokens: share of samples that say the same, to the last token.
        same_start: mean share of the exact one's tokens that a sample says before it says another.
        ade_m: mean distance of waypoints in the ground plane, m.
        worst_ade_m: of the sample that differs most.
        fde_m: mean distance of the last waypoints, m.
    """

    plans: int
    samples: int
    same_tokens: float
    same_start: float
    ade_m: float
    worst_ade_m: float
    fde_m: float


def deviation(exact: Sequence[Plan], lossy: Sequence[Plan]) -> Deviation:
    """Compare plans pair by pair, sample by sample.

    Raises:
        InvalidInput: for none, or for pairs that are not of one observation, seed and number of samples.
    """
    if not exact or len(exact) != len(lossy):
        raise InvalidInput(f"deviation: expected as many plans of both ways, got {len(exact)}, {len(lossy)}")
    same, starts, distances = [], [], []
    for a, b in zip(exact, lossy, strict=True):
        ours, theirs = ((p.t0_ns, p.seed, p.num_samples) for p in (a, b))
        if ours != theirs:
            raise InvalidInput(f"deviation: expected the same t0, seed and samples, got {ours} and {theirs}")
        for said, other in zip(a.token_ids, b.token_ids, strict=True):
            same.append(said == other)
            common = sum(
                1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(said, other, strict=False))
            )
            starts.append(common / len(said))
        apart = (a.xyz_in_rig_t0 - b.xyz_in_rig_t0)[..., :2].astype(np.float64)
        distances.append(np.linalg.norm(apart, axis=-1))
    apart_m = np.concatenate(distances)  # [samples, 64]
    return Deviation(
        plans=len(exact),
        samples=len(apart_m),
        same_tokens=float(np.mean(same)),
        same_start=float(np.mean(starts)),
        ade_m=float(apart_m.mean()),
        worst_ade_m=float(apart_m.mean(axis=1).max()),
        fde_m=float(apart_m[:, -1].mean()),
    )
