"""The table of families: what makes a draft of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alpamayo_ros.sim.scenes import families_junction, families_road
from alpamayo_ros.sim.scenes.assembly import Draft

BUILDERS: Mapping[str, Callable[[np.random.Generator], Draft]] = {
    "straight": families_road.straight,
    "curve": families_road.curve,
    "cones": families_road.cones,
    "lead_braking": families_road.lead_braking,
    "junction_4way": families_junction.junction_4way,
}
