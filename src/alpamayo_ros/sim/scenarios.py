"""What `--scenarios` says: which scenes to drive, by family, by range or one by one."""

from __future__ import annotations

import re

from alpamayo_ros.sim.scene import FAMILIES, scene_id_of
from alpamayo_ros.types import InvalidInput

STANDARD_SEEDS = range(100)
"""What "all" is: each family five times."""

_RANGE = re.compile(r"(\d+)-(\d+)")


def parse_scenarios(text: str) -> tuple[str, ...]:
    """Return the scene ids of "all", a FAMILY, seeds "A-B", or several of these and of scene ids by comma.

    A family stands for its seeds among the standard hundred. Order is as given; one that is named twice is
    driven once.

    Raises:
        InvalidInput: for what is none of these; it lists what is.
    """
    scenes: dict[str, None] = {}
    for part in text.split(","):
        scenes.update(dict.fromkeys(_one(part.strip())))
    return tuple(scenes)


def _one(part: str) -> tuple[str, ...]:
    if part == "all":
        return tuple(scene_id_of(seed) for seed in STANDARD_SEEDS)
    if part in FAMILIES:
        index = FAMILIES.index(part)
        return tuple(scene_id_of(seed) for seed in STANDARD_SEEDS if seed % len(FAMILIES) == index)
    spread = _RANGE.fullmatch(part)
    if spread is not None:
        first, last = int(spread[1]), int(spread[2])
        if first > last:
            raise InvalidInput(f"scenarios: expected a range A-B with A <= B, got {part!r}")
        return tuple(scene_id_of(seed) for seed in range(first, last + 1))
    try:
        return (scene_id_of(part),)
    except InvalidInput as error:
        raise InvalidInput(
            f"scenarios: expected all, a seed, a range A-B, FAMILY-SEED or a family of "
            f"{', '.join(FAMILIES)}; got {part!r}"
        ) from error
