"""The camera models: Pinhole (with distortion), Fisheye (Kannala-Brandt) and FTheta (NVIDIA).

To add one, implement the protocol CameraModel, export it here, and give it a name in rig_file.py.
"""

from __future__ import annotations

from alpamayo_ros.sensing.camera_geometry import CameraModel, horizontal_fov_rad
from alpamayo_ros.sensing.pinhole import Pinhole
from alpamayo_ros.sensing.wide_angle import Fisheye, FTheta

__all__ = ["CameraModel", "FTheta", "Fisheye", "Pinhole", "horizontal_fov_rad"]
