"""The table of families: what makes a draft of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alpamayo_ros.sim.scenes import environments as light
from alpamayo_ros.sim.scenes import families_junction, families_obstacles, families_road, families_traffic
from alpamayo_ros.sim.scenes.assembly import Draft

Builder = Callable[[np.random.Generator], Draft]

_ROAD: Mapping[str, Builder] = {
    "straight": families_road.straight,
    "curve": families_road.curve,
    "s_bend": families_road.s_bend,
    "hills": families_road.hills,
    "junction_3way": families_junction.junction_3way,
    "junction_4way": families_junction.junction_4way,
    "cones": families_obstacles.cones,
    "parked": families_obstacles.parked,
    "cut_in": families_traffic.cut_in,
    "lead_braking": families_traffic.lead_braking,
    "queue": families_traffic.queue,
    "pedestrian": families_obstacles.pedestrian_crossing,
    "cyclist": families_obstacles.cyclist,
    "oncoming": families_obstacles.oncoming,
    "traffic_light": families_junction.traffic_light,
    "stop_sign": families_junction.stop_sign,
    "roundabout": families_junction.roundabout,
}


def _fog(rng: np.random.Generator) -> Draft:
    """Put thick fog over something else."""
    return _under(rng, light.fog, "Fog.", ("straight", "curve", "lead_braking", "queue", "s_bend"))


def _dusk(rng: np.random.Generator) -> Draft:
    """Put a low sun over something else."""
    return _under(rng, light.dusk, "Dusk.", ("curve", "pedestrian", "junction_4way", "cyclist", "parked"))


def _rain_dark(rng: np.random.Generator) -> Draft:
    """Put a rainy night over something else."""
    below = ("traffic_light", "lead_braking", "curve", "pedestrian", "junction_3way")
    return _under(rng, light.rain_dark, "A rainy night.", below)


def _under(
    rng: np.random.Generator,
    environment: Callable[[np.random.Generator], light.Environment],
    text: str,
    below: tuple[str, ...],
) -> Draft:
    weather = environment(rng)
    name = below[int(rng.integers(len(below)))]
    draft = _ROAD[name](rng)
    draft.environment = weather
    draft.description = f"{text} {draft.description}"
    draft.events = [weather.name, *draft.events]
    return draft


BUILDERS: Mapping[str, Builder] = {**_ROAD, "fog": _fog, "dusk": _dusk, "rain_dark": _rain_dark}
