"""Arrays as OpenGL wants them: matrices of uniforms, and the corners of a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4


def matrix_uniform(rotation: NDArray[np.float64]) -> tuple[float, ...]:
    """Return a matrix [3, 3] column by column."""
    return tuple(float(v) for v in rotation.T.ravel())


def camera_from(local_from_camera: Matrix4) -> Matrix4:
    """Return the inverse of a camera's pose."""
    inverse = np.eye(4)
    inverse[:3, :3] = local_from_camera[:3, :3].T
    inverse[:3, 3] = -inverse[:3, :3] @ local_from_camera[:3, 3]
    return inverse


def grid_mesh(cells: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return corners [-1, 1]^2 and triangles of a grid."""
    axis = np.linspace(-1, 1, cells + 1)
    x, y = np.meshgrid(axis, axis)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    triangles = np.stack(
        [corner, corner + 1, corner + cells + 1, corner + 1, corner + cells + 2, corner + cells + 1], axis=1
    )
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32), triangles.astype(np.int32)
