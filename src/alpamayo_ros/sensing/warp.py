"""Warps a camera's frames to a virtual camera, as if they had been taken with it.

Both cameras stand at the same place, so the warp is a fixed map of pixels: computed once for a frame
size, applied by cv2.remap.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.types import InvalidInput, UInt8Array, require_array

_OUTSIDE = -1e4  # a map coordinate that no image reaches: the border's black
_ROWS_AT_ONCE = 64  # bounds the memory of computing a map
_MAX_SIDE = 32766  # cv2.remap's maps hold 16-bit coordinates


@dataclass(frozen=True, eq=False)
class WarpMap:
    """For every pixel of the virtual camera, where it lies in the real camera's image.

    Attributes:
        source_size: width and height of the frames that the map is for.
        map_xy: float32 [height, width, 2] source pixel (whole numbers are centres), NaN where the real camera
            does not look.
        coverage: share of the virtual image that the real camera sees, 0 ... 1.
        shrink: frames are averaged down by this whole number first, where the virtual image is that much
            coarser: sampling alone would alias.
    """

    source_size: tuple[int, int]
    map_xy: NDArray[np.float32]
    coverage: float
    shrink: int
    _fixed: tuple[NDArray[np.int16], NDArray[np.uint16]]

    @classmethod
    def between(
        cls, source: CameraModel, target: CameraModel, camera_from_virtual: NDArray[np.float64] | None = None
    ) -> WarpMap:
        """Compute the map from a real camera to a virtual one.

        Args:
            source: the real camera, at its frames' size.
            target: the virtual camera.
            camera_from_virtual: rotation [3, 3] of the virtual camera in the real one's optical frame.

        Raises:
            InvalidInput: if the real camera sees nothing of the virtual image, or an image is too large.
        """
        if max(source.width, source.height, target.width, target.height) > _MAX_SIDE:
            raise InvalidInput(
                f"warp: expected images of at most {_MAX_SIDE} pixels a side, got a larger one"
            )
        rotation = np.eye(3) if camera_from_virtual is None else np.asarray(camera_from_virtual, np.float64)
        map_xy = np.full((target.height, target.width, 2), np.nan, np.float32)
        for top in range(0, target.height, _ROWS_AT_ONCE):
            rows = np.arange(top, min(top + _ROWS_AT_ONCE, target.height))
            v, u = np.meshgrid(rows, np.arange(target.width), indexing="ij")
            rays, has_ray = target.unproject(np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float64))
            pixels, visible = source.project(np.where(has_ray[:, None], rays, 0.0) @ rotation.T)
            pixels[~(visible & has_ray)] = np.nan
            map_xy[rows] = pixels.reshape(len(rows), target.width, 2)
        coverage = float(np.isfinite(map_xy[..., 0]).mean())
        if coverage == 0:
            raise InvalidInput(
                "warp: expected the camera to see a part of the virtual camera's image, got none: "
                "check the intrinsics and the rotation"
            )
        shrink = _shrink(map_xy)
        # An image's outer pixels reach half a pixel beyond their centres; do not mix in black there.
        inner = np.clip(map_xy, 0, np.array([source.width - 1, source.height - 1], np.float32))
        scaled = np.nan_to_num((inner + 0.5) / shrink - 0.5, nan=_OUTSIDE).astype(np.float32)
        fixed = cv2.convertMaps(scaled[..., 0], scaled[..., 1], cv2.CV_16SC2)
        return cls(
            source_size=(source.width, source.height),
            map_xy=map_xy,
            coverage=coverage,
            shrink=shrink,
            _fixed=(fixed[0], fixed[1]),
        )

    def apply(self, frame: UInt8Array) -> UInt8Array:
        """Return a frame, uint8 [3, H, W], as the virtual camera sees it; black where it sees nothing.

        Raises:
            InvalidInput: for a frame of another size than the map is for.
        """
        width, height = self.source_size
        require_array("frame", frame, (3, height, width), np.uint8)
        pixels = np.ascontiguousarray(frame.transpose(1, 2, 0))
        if self.shrink > 1:
            size = (-(-width // self.shrink), -(-height // self.shrink))
            padded = (size[0] * self.shrink - width, size[1] * self.shrink - height)
            if any(padded):  # so that every block has the same number of pixels
                pixels = cv2.copyMakeBorder(pixels, 0, padded[1], 0, padded[0], cv2.BORDER_REPLICATE)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        warped = cv2.remap(
            pixels, *self._fixed, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        return np.asarray(warped, np.uint8).transpose(2, 0, 1)


def _shrink(map_xy: NDArray[np.float32]) -> int:
    """Return how many source pixels, rounded down, a virtual pixel spans where it spans least."""
    steps = [np.linalg.norm(np.diff(map_xy, axis=axis), axis=-1) for axis in (0, 1)]
    usual = [np.nanpercentile(step, 10) for step in steps if np.isfinite(step).any()]
    return max(1, int(min(usual) + 0.05)) if usual else 1
