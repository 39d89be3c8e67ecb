"""Where our scenes lie on the Earth: AlpaSim places maps by latitude, longitude and the drive's ECEF pose.

It takes the map from its east-north-up frame at `geoReference` to ECEF, and from there to local by the
inverse of `T_world_base`. With `T_world_base` the pose of that very frame, map and local are the same.
"""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.roads import Float64Array

ORIGIN_LATITUDE_DEG = 0.0
ORIGIN_LONGITUDE_DEG = 0.0
"""Our scenes are nowhere: off the coast of Africa, where no map has roads."""

_EQUATOR_M = 6378137.0
_FLATTENING = 1.0 / 298.257223563

GEO_REFERENCE = (
    f"+proj=tmerc +lat_0={ORIGIN_LATITUDE_DEG} +lon_0={ORIGIN_LONGITUDE_DEG} +alt_0=0.0 +k=1 +x_0=0 +y_0=0 "
    "+datum=WGS84 +units=m +no_defs"
)


def ecef_from_local(
    latitude_deg: float = ORIGIN_LATITUDE_DEG, longitude_deg: float = ORIGIN_LONGITUDE_DEG
) -> Float64Array:
    """Return the pose [4, 4] in ECEF of the east-north-up frame at a place on the WGS 84 ellipsoid."""
    phi, lam = np.radians([latitude_deg, longitude_deg])
    e2 = _FLATTENING * (2.0 - _FLATTENING)
    normal_m = _EQUATOR_M / np.sqrt(1.0 - e2 * np.sin(phi) ** 2)
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([east, np.cross(up, east), up], axis=1)
    pose[:3, 3] = normal_m * up * np.array([1.0, 1.0, 1.0 - e2])
    return pose
