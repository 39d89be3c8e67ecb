"""The ego history as tokens: differences of successive positions, cut into bins.

Upstream's DeltaTrajectoryTokenizer. Every operation is float32 and in upstream's order, since standing
still lies on a tie between two bins (499.5 of 0 ... 999) and rounds half to even.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.model.config import HistoryTokenizerConfig
from alpamayo_ros.types import NUM_HISTORY_POSES, Float32Array, InvalidInput, require_finite


class HistoryTokenizer:
    """Positions to bins and back.

    Args:
        config: the bins' number and range.
    """

    def __init__(self, config: HistoryTokenizerConfig) -> None:
        self.config = config
        self._low = np.asarray(config.xyz_min_m, dtype=np.float32)
        self._range = np.asarray(config.xyz_max_m, dtype=np.float32) - self._low

    def encode(self, history_xyz_in_rig_t0: Float32Array) -> NDArray[np.int64]:
        """Return the bins int64 [..., 48] of positions float32 [..., 16, 3] m: pose by pose x, y, z.

        The first difference is the oldest position itself, which leaves the range (and is clamped) above
        about 2.7 m/s; the model was trained so.

        Raises:
            InvalidInput: on another shape or dtype, or a value that is not finite.
        """
        xyz = history_xyz_in_rig_t0
        if not isinstance(xyz, np.ndarray) or xyz.dtype != np.float32:
            given = xyz.dtype if isinstance(xyz, np.ndarray) else type(xyz).__name__
            raise InvalidInput(f"history_xyz_in_rig_t0: expected a float32 array, got {given}")
        if xyz.shape[-2:] != (NUM_HISTORY_POSES, 3):
            raise InvalidInput(
                f"history_xyz_in_rig_t0: expected shape [..., {NUM_HISTORY_POSES}, 3], got {list(xyz.shape)}"
            )
        require_finite("history_xyz_in_rig_t0", xyz)
        origin = np.zeros_like(xyz[..., :1, :])
        steps = np.diff(xyz, axis=-2, prepend=origin)
        last_bin = np.float32(self.config.num_bins - 1)
        bins = np.rint((steps - self._low) / self._range * last_bin)
        # Clamped before the conversion: a float beyond int64 has no defined integer.
        bins = np.clip(bins, 0, last_bin).astype(np.int64)
        return bins.reshape(*xyz.shape[:-2], 3 * NUM_HISTORY_POSES)

    def decode(self, bins: NDArray[np.int64]) -> Float32Array:
        """Return the positions float32 [..., 16, 3] m at the bins' centres; inverse of `encode` up to a bin.

        Raises:
            InvalidInput: on another shape, or a bin out of range.
        """
        if bins.shape[-1] != 3 * NUM_HISTORY_POSES:
            raise InvalidInput(f"bins: expected shape [..., {3 * NUM_HISTORY_POSES}], got {list(bins.shape)}")
        if bins.size and not 0 <= bins.min() <= bins.max() < self.config.num_bins:
            raise InvalidInput(
                f"bins: expected 0 ... {self.config.num_bins - 1}, got {bins.min()} ... {bins.max()}"
            )
        steps = bins.reshape(*bins.shape[:-1], NUM_HISTORY_POSES, 3).astype(np.float32)
        steps = steps / np.float32(self.config.num_bins - 1) * self._range + self._low
        return np.cumsum(steps, axis=-2, dtype=np.float32)

    def token_ids(self, history_xyz_in_rig_t0: Float32Array, *, first_id: int) -> tuple[int, ...]:
        """Return the 48 token ids of one history [16, 3] m.

        `first_id` is AlpamayoTokenizer.history_token_start.
        """
        if history_xyz_in_rig_t0.ndim != 2:
            raise InvalidInput(
                f"history_xyz_in_rig_t0: expected one history [{NUM_HISTORY_POSES}, 3], "
                f"got shape {list(history_xyz_in_rig_t0.shape)}"
            )
        return tuple((self.encode(history_xyz_in_rig_t0) + first_id).tolist())
