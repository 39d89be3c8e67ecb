"""A camera on its rig: where points around the vehicle appear in its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import Matrix4, invert

NEAREST_M = 0.3
"""What is less than this before a camera is not drawn."""


@dataclass(frozen=True, eq=False)
class View:
    """One camera: its lens, and its pose [4, 4] in the rig frame."""

    model: CameraModel
    rig_from_camera: Matrix4

    def pixels(self, points_in_rig: NDArray[np.float64], *, width: int) -> NDArray[np.float64]:
        """Return where points [N, 3] appear, [M, 2], without those behind the camera or out of its sight.

        Args:
            points_in_rig: in the rig frame at the time of the image, m.
            width: of the image at hand, if it is not of the calibration's size.
        """
        pixels, visible = self.model.project(self._before_camera(points_in_rig))
        return np.asarray(pixels[visible] * (width / self.model.width), np.float64)

    def _before_camera(self, points_in_rig: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those points, in the camera frame, that lie before it."""
        camera_from_rig = invert(self.rig_from_camera)
        in_camera = points_in_rig @ camera_from_rig[:3, :3].T + camera_from_rig[:3, 3]
        return np.asarray(in_camera[in_camera[:, 2] > NEAREST_M])
