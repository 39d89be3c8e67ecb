"""Plans of random content for the tests of ros/."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.types import Plan, ReasoningSections, StageTimes


def build_plan(
    seed: int = 0, *, samples: int = 2, t0_ns: int = 1_700_000_000_123_456_789, **changes: object
) -> Plan:
    """Return a plan of random numbers: what it says is nonsense, what it holds is not."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal((samples, *shape)) * scale).astype(np.float32)

    rotations = Rotation.random(samples * 64, random_state=rng).as_matrix().reshape(samples, 64, 3, 3)
    fields: dict = {
        "t0_ns": t0_ns,
        "xyz_in_rig_t0": draw(64, 3, scale=50.0),
        "rot_in_rig_t0": rotations.astype(np.float32),
        "accel_mps2": draw(64),
        "curvature_per_m": draw(64, scale=0.1),
        "speed_mps": draw(65, scale=10.0),
        "normalised_action": draw(64, 2),
        "reasoning": tuple(f"Keep the lane, sample {k}." for k in range(samples)),
        "reasoning_complete": tuple(k % 2 == 0 for k in range(samples)),
        "meta_action": tuple("keep lane" for _ in range(samples)),
        "token_ids": tuple(tuple(int(i) for i in rng.integers(0, 160_000, k + 3)) for k in range(samples)),
        "sections": tuple(
            ReasoningSections("A car.", "It is near.", "Yield.", "") if k % 2 else None
            for k in range(samples)
        ),
        "chosen": samples - 1,
        "times": StageTimes(1.5, 2.25, 3.5, 4.0, 5.0, 16.25, 17),
        "model": "random, alpamayo1_5",
        "seed": 2**63 - 1,
    }
    return Plan(**{**fields, **changes})
