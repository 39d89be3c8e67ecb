"""Rollouts that go wrong on purpose, so that the way back can be learned.

What is chosen here: the vehicle is not moved, but *driven* off. For a second or two the trajectory that the
controller gets is the expert's, turned about the ego by a few degrees and driven faster or slower. So the
vehicle gets displaced, yawed and to a wrong speed through its own steering and drive train: each history is
one that a vehicle can have, and the sample of every tick is good, those on the way out as well, for the
expert is asked anew at each tick and its answer leads back from where the ego is. Noise in a demonstrator's
commands is DART's scheme (Laskey et al., 2017). To set the ego down beside its path would be simpler, but
then every sample whose 1.6 s of history spans the jump must be left out, and by their end the expert has
made good most of what there was to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.sim.scene import FAMILIES, family_and_seed
from alpamayo_ros.sim.trajectories import Trajectory, interpolate_poses
from alpamayo_ros.types import InvalidInput

Recovery = Literal["none", "disturbed", "recovering"]
RECOVERING_TICKS = 30
"""How long after a disturbance samples count as recovering."""

MOST_TURN_RAD = 0.12
"""However slow the vehicle is."""
_MOST_DRIFT_MPS = 2.0
_SPEED_SHARES = (0.5, 1.5)
_DRIFT_MPS = (0.25, 0.8)
_SLOW, _FAST = (0.55, 0.85), (1.08, 1.2)
_LASTS_TICKS = (8, 18)
_FIRST_TICK = (0, 25)
_PAUSE_TICKS = (25, 60)
_LAST_TICK = 200


@dataclass(frozen=True)
class Disturbance:
    """One stretch of driving that goes wrong.

    Attributes:
        first_tick: when it begins, in steps of 0.1 s from the handover on.
        ticks: how long it lasts.
        drift_left_mps: how fast the vehicle is driven sideways. The trajectory is turned about the ego by
            what that takes at its speed, up to MOST_TURN_RAD; one turn for all speeds would have a fast
            vehicle off the road at once.
        speed_share: how fast the trajectory is driven, 1 as planned.

    Raises:
        InvalidInput: for a time before the handover, no duration, or more than a vehicle stands.
    """

    first_tick: int
    ticks: int
    drift_left_mps: float = 0.0
    speed_share: float = 1.0

    def __post_init__(self) -> None:
        if self.first_tick < 0 or self.ticks < 1:
            raise InvalidInput(
                f"disturbance: expected a first tick from 0 on and at least one tick, got {self.first_tick}, "
                f"{self.ticks}"
            )
        if not abs(self.drift_left_mps) <= _MOST_DRIFT_MPS:
            raise InvalidInput(f"drift_left_mps: expected up to {_MOST_DRIFT_MPS}, got {self.drift_left_mps}")
        low, high = _SPEED_SHARES
        if not low <= self.speed_share <= high:
            raise InvalidInput(f"speed_share: expected {low} ... {high}, got {self.speed_share}")

    @property
    def end_tick(self) -> int:
        """The first tick after it."""
        return self.first_tick + self.ticks

    def turn_rad(self, speed_mps: float) -> float:
        """Return by what a trajectory is turned, positive to the left."""
        wanted = np.arctan2(self.drift_left_mps, max(speed_mps, 0.1))
        return float(np.clip(wanted, -MOST_TURN_RAD, MOST_TURN_RAD))

    def disturbed(self, trajectory: Trajectory, *, speed_mps: float) -> Trajectory:
        """Return a trajectory as it is driven meanwhile: turned about its first pose, at another speed.

        Beyond the end of a trajectory that is driven faster its last pose is held, which lies outside of what
        the controller looks at.
        """
        stamps_us, poses = trajectory
        at_us = stamps_us[0] + np.round((stamps_us - stamps_us[0]) * self.speed_share).astype(np.int64)
        changed = interpolate_poses(stamps_us, poses, at_us)
        turn = Rotation.from_euler("z", self.turn_rad(speed_mps)).as_matrix()
        start = poses[0, :3, 3]
        changed[1:, :3, 3] = (changed[1:, :3, 3] - start) @ turn.T + start
        changed[1:, :3, :3] = turn @ changed[1:, :3, :3]
        changed[0] = poses[0]
        return stamps_us, changed

    def __str__(self) -> str:
        return (
            f"{self.first_tick / 10:.1f}-{self.end_tick / 10:.1f} s: "
            f"{self.drift_left_mps:+.2f} m/s to the left, {self.speed_share:.2f} of the speed"
        )


@dataclass(frozen=True)
class Disturbances:
    """All of one rollout, in order and apart from each other; none for an undisturbed one."""

    all: tuple[Disturbance, ...] = ()

    def __post_init__(self) -> None:
        ends = [0, *(each.end_tick for each in self.all)]
        for end, following in zip(ends, self.all, strict=False):
            if following.first_tick < end:
                raise InvalidInput(
                    f"disturbances: expected one after the other, got {following.first_tick} before {end}"
                )

    @classmethod
    def drawn(cls, scene_id: str, *, variant: int, seed: int) -> Disturbances:
        """Return those of a variant of a scene: none of variant 0, else drawn; the same in every process.

        Args:
            scene_id: of a procedural scene.
            variant: 0, 1, ...
            seed: of the data set.
        """
        if variant == 0:
            return cls()
        family, scene_seed = family_and_seed(scene_id)
        rng = np.random.default_rng([FAMILIES.index(family), scene_seed, variant, seed])
        found: list[Disturbance] = []
        tick = int(rng.integers(*_FIRST_TICK))
        while tick < _LAST_TICK:
            found.append(_draw(rng, tick))
            tick = found[-1].end_tick + int(rng.integers(*_PAUSE_TICKS))
        return cls(tuple(found))

    def at(self, tick: int) -> Disturbance | None:
        """Return the one that is on at a tick."""
        return next((each for each in self.all if each.first_tick <= tick < each.end_tick), None)

    def recovery(self, tick: int) -> Recovery:
        """Return what a tick's sample is tagged with: the state *before* its own disturbance took effect."""
        for each in reversed(self.all):
            if tick > each.first_tick:
                if tick <= each.end_tick:
                    return "disturbed"
                return "recovering" if tick <= each.end_tick + RECOVERING_TICKS else "none"
        return "none"


def _draw(rng: np.random.Generator, tick: int) -> Disturbance:
    """Draw one: it drifts, is too slow or too fast, or both."""
    kind = rng.choice(["drift", "speed", "both"], p=[0.45, 0.2, 0.35])
    drift = float(rng.uniform(*_DRIFT_MPS) * rng.choice([-1.0, 1.0]))
    share = float(rng.uniform(*_SLOW) if rng.random() < 0.5 else rng.uniform(*_FAST))
    return Disturbance(
        first_tick=tick,
        ticks=int(rng.integers(*_LASTS_TICKS)),
        drift_left_mps=0.0 if kind == "speed" else drift,
        speed_share=1.0 if kind == "drift" else share,
    )
