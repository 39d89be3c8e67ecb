"""The cameras of the embedded simulator's vehicle, under AlpaSim's names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import FTheta
from alpamayo_ros.sensing.rig import ROLE_FOV_DEG, nominal_model
from alpamayo_ros.sensing.rigid import Matrix4, compose, require_rigid
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput, camera_name

NATIVE_WIDTH, NATIVE_HEIGHT = 1920, 1080
USUAL_CAMERA_IDS: tuple[int, ...] = (0, 1, 2, 6)
"""What Alpamayo 1 and 1.5 are usually shown."""

LOGICAL_IDS: tuple[str, ...] = tuple(
    f"camera_{name}_{fov_deg:.0f}fov" for name, fov_deg in zip(CAMERA_NAMES, ROLE_FOV_DEG, strict=True)
)
"""AlpaSim's logical id of each of Alpamayo's cameras, by camera id."""

_BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation from optical axes (x right, y down, z forward) to body axes (x forward, y left, z up)."""

# Position in the rig in m, yaw and pitch (positive: down) in degrees.
_MOUNTS: tuple[tuple[tuple[float, float, float], float, float], ...] = (
    ((1.80, 0.90, 1.40), 60.0, 0.0),
    ((2.00, 0.00, 1.50), 0.0, 0.0),
    ((1.80, -0.90, 1.40), -60.0, 0.0),
    ((2.20, 0.95, 1.00), 135.0, 0.0),
    ((-0.90, 0.00, 1.35), 180.0, 0.0),
    ((2.20, -0.95, 1.00), -135.0, 0.0),
    ((2.00, 0.05, 1.50), 0.0, 0.0),
)


@dataclass(frozen=True, eq=False)
class SimCamera:
    """A camera of a simulated vehicle.

    Attributes:
        logical_id: its name on the wire.
        camera_id: Alpamayo's camera id (see types.CAMERA_NAMES).
        model: lens, at the native size.
        rig_from_camera: pose [4, 4] in the rig of its optical frame (x right, y down, z forward).
    """

    logical_id: str
    camera_id: int
    model: FTheta
    rig_from_camera: Matrix4

    def __post_init__(self) -> None:
        camera_name(self.camera_id)
        object.__setattr__(self, "rig_from_camera", require_rigid("rig_from_camera", self.rig_from_camera))


def camera_id_of(logical_id: str) -> int:
    """Return Alpamayo's camera id of a logical id; raises InvalidInput for one that it does not know."""
    if logical_id not in LOGICAL_IDS:
        raise InvalidInput(f"logical_id: expected one of {', '.join(LOGICAL_IDS)}, got {logical_id!r}")
    return LOGICAL_IDS.index(logical_id)


def default_cameras() -> tuple[SimCamera, ...]:
    """Return all seven cameras at their native 1920 x 1080, by camera id: ideal f-theta lenses."""
    return tuple(
        SimCamera(
            logical_id=LOGICAL_IDS[camera_id],
            camera_id=camera_id,
            model=nominal_model(camera_id, width=NATIVE_WIDTH, height=NATIVE_HEIGHT),
            rig_from_camera=compose(
                Rotation.from_euler("ZY", (yaw_deg, pitch_deg), degrees=True).as_matrix()
                @ _BODY_FROM_OPTICAL,
                xyz_m,
            ),
        )
        for camera_id, (xyz_m, yaw_deg, pitch_deg) in enumerate(_MOUNTS)
    )
