"""Rigid transforms as float64 4x4 matrices: p_a = a_from_b @ p_b."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.types import InvalidInput, require_array, require_finite, require_rotation

Matrix4 = NDArray[np.float64]


def require_rigid(name: str, matrix: object) -> Matrix4:
    """Return `matrix` as float64 [4, 4]; raises InvalidInput unless it is a finite rigid transform."""
    array = (
        np.array(matrix, dtype=np.float64)
        if not isinstance(matrix, np.ndarray)
        else matrix.astype(np.float64)
    )
    require_array(name, array, (4, 4), np.float64)
    require_finite(name, array)
    require_rotation(name, array[:3, :3])
    if np.abs(array[3] - (0.0, 0.0, 0.0, 1.0)).max() > 1e-9:
        raise InvalidInput(f"{name}: expected a last row of 0 0 0 1, got {array[3].tolist()}")
    return array


def invert(a_from_b: Matrix4) -> Matrix4:
    """Return b_from_a of a rigid transform."""
    b_from_a = np.eye(4)
    b_from_a[:3, :3] = a_from_b[:3, :3].T
    b_from_a[:3, 3] = -a_from_b[:3, :3].T @ a_from_b[:3, 3]
    return b_from_a


def compose(rotation: NDArray[np.float64], xyz_m: Sequence[float] | NDArray[np.float64]) -> Matrix4:
    """Return the transform of a rotation matrix [3, 3] and a translation [3] in m."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = xyz_m
    return matrix


def from_quaternion(xyz_m: Sequence[float], quaternion_xyzw: Sequence[float]) -> Matrix4:
    """Return the transform of a translation in m and a quaternion in ROS' order x, y, z, w.

    Raises:
        InvalidInput: for non-finite numbers or a quaternion not of unit length (1 % off is normalised).
    """
    xyz, quaternion = np.asarray(xyz_m, np.float64), np.asarray(quaternion_xyzw, np.float64)
    require_array("translation", xyz, (3,), np.float64)
    require_array("quaternion", quaternion, (4,), np.float64)
    require_finite("translation", xyz)
    require_finite("quaternion", quaternion)
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1.0) > 0.01:
        raise InvalidInput(
            f"quaternion: expected unit length, got {quaternion.tolist()} of length {length:.4g}"
        )
    return compose(Rotation.from_quat(quaternion).as_matrix(), xyz)


def rotation_from_rpy_deg(rpy_deg: Sequence[float]) -> NDArray[np.float64]:
    """Return R = Rz(yaw) Ry(pitch) Rx(roll), the fixed-axis convention of REP-103 and URDF."""
    return np.asarray(Rotation.from_euler("xyz", rpy_deg, degrees=True).as_matrix(), dtype=np.float64)
