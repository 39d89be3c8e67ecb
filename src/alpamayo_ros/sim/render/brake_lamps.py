"""Whose brake lamps are on: the protocol does not say, so the recording does.

A render request gives the pose of each object at the shutter's opening and closing, so a speed but no
deceleration, and to remember earlier requests would make an image depend on what somebody else has asked for.
So the lamps are on of who stands, and of who brakes in the recording at that time while it is where the
recording has it. An actor that has left its recorded track shows lamps only when it stands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorSpec, Track

STANDING_MPS = 0.2
BRAKING_MPS2 = 0.8
"""More than a car loses by coasting."""

_SPAN_US = 250_000
_ON_TRACK_M = 1.0
_VEHICLES = ("car", "van", "truck")


class RecordedBraking:
    """When an actor brakes or stands in its recording."""

    def __init__(self, spec: ActorSpec) -> None:
        self._can = spec.kind in _VEHICLES and not spec.is_static
        self._stamps_us = spec.track.stamps_us
        self._xyz = spec.track.local_from_box[:, :3, 3]
        self._on = _braking(spec.track) if self._can else np.zeros(len(self._stamps_us), np.bool_)

    def lamps_on(self, time_us: int, xyz_m: Float64Array, *, standing: bool) -> bool:
        """Say whether the lamps are on of an actor whose box's centre is at `xyz_m` at a time."""
        if not self._can or standing:
            return self._can
        if not self._on.any():
            return False
        recorded = [np.interp(time_us, self._stamps_us, self._xyz[:, k]) for k in range(3)]
        if np.linalg.norm(np.asarray(recorded) - xyz_m) > _ON_TRACK_M:
            return False
        index = int(np.searchsorted(self._stamps_us, time_us, side="right")) - 1
        return bool(self._on[max(index, 0)])


def _braking(track: Track) -> NDArray[np.bool_]:
    """Return at which stamps a track's speed falls, or is about none, bool [N]."""
    if len(track.stamps_us) < 2:
        return np.ones(1, np.bool_)
    times = track.stamps_us - track.stamps_us[0]

    def at(moved_us: float) -> Float64Array:
        moved = times + moved_us
        return np.stack([np.interp(moved, times, track.local_from_box[:, k, 3]) for k in range(2)], axis=1)

    half = _SPAN_US / 2
    inside = np.clip(times, _SPAN_US, max(times[-1] - _SPAN_US, _SPAN_US)) - times
    later = np.linalg.norm(at(inside + _SPAN_US) - at(inside), axis=1) / (_SPAN_US * 1e-6)
    earlier = np.linalg.norm(at(inside) - at(inside - _SPAN_US), axis=1) / (_SPAN_US * 1e-6)
    now = np.linalg.norm(at(inside + half) - at(inside - half), axis=1) / (_SPAN_US * 1e-6)
    falling = (earlier - later) / (_SPAN_US * 1e-6) > BRAKING_MPS2
    return np.asarray(falling | (now < STANDING_MPS))
