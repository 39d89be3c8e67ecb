"""Procedural scenes: `make_scene("cut_in-7")` builds road, traffic, scenery and reference drive from the id alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from alpamayo_ros.sim.scene import FAMILIES, Scene, family_and_seed, scene_id_of
from alpamayo_ros.sim.scenes.assembly import assemble
from alpamayo_ros.sim.scenes.families import BUILDERS

__all__ = ["make_scene"]


@lru_cache(maxsize=32)
def _make(scene_id: str) -> Scene:
    family, seed = family_and_seed(scene_id)
    rng = np.random.default_rng([FAMILIES.index(family), seed])
    return assemble(scene_id, family, BUILDERS[family](rng))


def make_scene(scene_id: str) -> Scene:
    """Return the scene of an id FAMILY-SEED or of a seed alone; the same for ever and in every process.

    Raises:
        InvalidInput: for an id of another form or an unknown family.
    """
    return _make(scene_id_of(scene_id))
