"""A camera on its rig: where points around the vehicle appear in its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rigid import Matrix4, invert

NEAREST_M = 0.3
"""What is less than this before a camera is not drawn."""

_STEPS_A_POINT = 20


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

    def ribbon(
        self, line_in_rig: NDArray[np.float64], *, ribbon_width_m: float, width: int
    ) -> NDArray[np.float64]:
        """Return the outline [M, 2], in pixels, of a ribbon that lies on the ground along a line.

        It may reach beyond the image, so that it is cut off at the image's edge; M is 0 if nothing is seen.

        Args:
            line_in_rig: [N, 3] in the rig frame at the time of the image, m, N >= 2.
            ribbon_width_m: how wide it is, level across the line.
            width: of the image at hand.
        """
        # In small steps, so that a near end is cut off close to the image's edge.
        steps = np.linspace(0, len(line_in_rig) - 1, _STEPS_A_POINT * len(line_in_rig))
        fine = np.stack(
            [np.interp(steps, np.arange(len(line_in_rig)), line_in_rig[:, i]) for i in range(3)], axis=1
        )
        along = np.gradient(fine[:, :2], axis=0)
        length = np.linalg.norm(along, axis=1, keepdims=True)
        along = along / np.maximum(length, 1e-6)
        left = np.concatenate([-along[:, 1:], along[:, :1], np.zeros((len(along), 1))], axis=1)
        sides = []
        for side in (fine + 0.5 * ribbon_width_m * left, fine - 0.5 * ribbon_width_m * left):
            pixels, _ = self.model.project(self._before_camera(side))
            sides.append(pixels[np.isfinite(pixels).all(axis=1)] * (width / self.model.width))
        if min(map(len, sides)) < 2:
            return np.zeros((0, 2))
        return np.concatenate([sides[0], sides[1][::-1]])

    def _before_camera(self, points_in_rig: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those points, in the camera frame, that lie before it."""
        camera_from_rig = invert(self.rig_from_camera)
        in_camera = points_in_rig @ camera_from_rig[:3, :3].T + camera_from_rig[:3, 3]
        return np.asarray(in_camera[in_camera[:, 2] > NEAREST_M])
