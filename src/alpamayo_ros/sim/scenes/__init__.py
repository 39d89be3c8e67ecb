"""Procedural scenes: `make_scene("cut_in-7")` builds roads, traffic, scenery and reference drive."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from alpamayo_ros.sim.scene import FAMILIES, Scene, family_and_seed, scene_id_of
from alpamayo_ros.sim.scenes.assembly import UnfitScene, assemble
from alpamayo_ros.sim.scenes.checks import problems_of
from alpamayo_ros.sim.scenes.families import BUILDERS

__all__ = ["make_scene"]


_ATTEMPTS = 12


@lru_cache(maxsize=32)
def _make(scene_id: str) -> Scene:
    family, seed = family_and_seed(scene_id)
    problems: list[str] = []
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([FAMILIES.index(family), seed, attempt])
        try:
            scene, drivable = assemble(scene_id, family, BUILDERS[family](rng))
        except UnfitScene as unfit:
            problems = [str(unfit)]
            continue
        problems = problems_of(scene, drivable)
        if not problems:
            return scene
    raise RuntimeError(f"scene {scene_id}: expected a sound one in {_ATTEMPTS} attempts, got {problems}")


def make_scene(scene_id: str) -> Scene:
    """Return the scene of an id FAMILY-SEED or of a seed alone; the same for ever and in every process.

    A draft whose reference drive is not comfortable and free of collisions is drawn again.

    Raises:
        InvalidInput: for an id of another form or an unknown family.
    """
    return _make(scene_id_of(scene_id))
