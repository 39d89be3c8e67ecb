"""How hard a sample's future brakes: a tag to balance by.

Who sees well brakes early and softly, so nearly all that an expert shows is soft: of 10,526 samples of
Pisco's own drives 0.2 % brake by more than 4.5 m/s² and 9 % by more than 2.5. Who sees late needs the rest.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from alpamayo_ros.types import WAYPOINT_INTERVAL_S, Float32Array

Braking = Literal["none", "soft", "firm", "hard"]

_WITHIN_S = 3.0
_OVER_S = 0.5
_FROM_MPS2: tuple[tuple[float, Braking], ...] = ((4.5, "hard"), (2.5, "firm"), (1.0, "soft"))


def braking_of(future_xyz_in_rig_t0: Float32Array) -> Braking:
    """Return how hard a future, float32 [64, 3] in m, brakes within 3 s: its strongest half second.

    soft from 1 m/s² on, firm from 2.5, hard from 4.5.
    """
    way = np.concatenate([np.zeros((1, 2)), np.asarray(future_xyz_in_rig_t0, np.float64)[:, :2]])
    speed_mps = np.linalg.norm(np.diff(way, axis=0), axis=1) / WAYPOINT_INTERVAL_S
    hop = round(_OVER_S / WAYPOINT_INTERVAL_S)
    near = speed_mps[: round(_WITHIN_S / WAYPOINT_INTERVAL_S) + 1]
    strongest_mps2 = float(((near[:-hop] - near[hop:]) / _OVER_S).max())
    return next((name for least, name in _FROM_MPS2 if strongest_mps2 >= least), "none")
