"""A camera rig: which topic is which Alpamayo camera, how it sees, and where odometry comes from."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from alpamayo_ros.sensing.camera_models import CameraModel, FTheta, horizontal_fov_rad
from alpamayo_ros.sensing.rigid import Matrix4, require_rigid
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput, camera_name

ROLE_FOV_DEG: tuple[float, ...] = (120.0, 120.0, 120.0, 70.0, 30.0, 70.0, 30.0)
"""Horizontal field of view of the cameras that Alpamayo was trained with, by camera id."""

TRANSPORTS = ("raw", "compressed")

# A field of view is worth a warning where it differs from the role's by more than this factor.
_FOV_FACTOR = 1.25


def nominal_model(camera_id: int, *, width: int = 1920, height: int = 1080) -> FTheta:
    """Return an ideal f-theta camera of the role's field of view: equal angles are equal distances."""
    half_rad = np.deg2rad(ROLE_FOV_DEG[camera_id]) / 2
    return FTheta(
        width=width,
        height=height,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
        angle_to_pixeldist=(0.0, width / 2 / half_rad),
    )


def field_of_view_warning(camera_id: int, model: CameraModel) -> str | None:
    """Return a warning if the model's horizontal field of view is far from the role's, else None."""
    fov_deg, role_deg = float(np.rad2deg(horizontal_fov_rad(model))), ROLE_FOV_DEG[camera_id]
    if role_deg / _FOV_FACTOR <= fov_deg <= role_deg * _FOV_FACTOR:
        return None
    return (
        f"camera {camera_name(camera_id)}: expected a horizontal field of view near {role_deg:g} degrees, "
        f"which Alpamayo was trained with, got {fov_deg:.1f}; choose another role, or give the camera a "
        "model_camera"
    )


@dataclass(frozen=True, eq=False)
class ModelCamera:
    """A virtual camera, which a frame is warped to as if it had been taken with it.

    Attributes:
        model: its lens and size.
        camera_from_virtual: rotation [3, 3] of the virtual camera in the real camera's optical frame. The
            warp is a pure rotation: both cameras stand at the same place.
    """

    model: CameraModel
    camera_from_virtual: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.camera_from_virtual, np.float64)
        require_rigid("camera_from_virtual", matrix)


@dataclass(frozen=True, eq=False)
class CameraConfig:
    """One camera of a rig.

    Attributes:
        camera_id: its role, an index into types.CAMERA_NAMES.
        topic: where its images come from.
        transport: "raw" (sensor_msgs/Image) or "compressed" (sensor_msgs/CompressedImage).
        info_topic: where its CameraInfo comes from; used if `intrinsics` is None.
        rectified: the images are rectified: CameraInfo's P describes them, not K and D.
        intrinsics: its lens, if known beforehand.
        rig_from_camera: pose [4, 4] of its optical frame in the rig frame, if known beforehand.
        model_camera: the virtual camera to warp to, or None to hand the frames on as they are.
    """

    camera_id: int
    topic: str
    transport: str = "compressed"
    info_topic: str | None = None
    rectified: bool = False
    intrinsics: CameraModel | None = None
    rig_from_camera: Matrix4 | None = None
    model_camera: ModelCamera | None = None

    def __post_init__(self) -> None:
        name = camera_name(self.camera_id)
        if not self.topic:
            raise InvalidInput(f"camera {name}: topic: expected a topic name, got {self.topic!r}")
        if self.transport not in TRANSPORTS:
            raise InvalidInput(
                f"camera {name}: transport: expected one of {', '.join(TRANSPORTS)}, got {self.transport!r}"
            )
        if self.rig_from_camera is not None:
            require_rigid(f"camera {name}: rig_from_camera", self.rig_from_camera)
        if self.model_camera is not None and self.intrinsics is None and self.info_topic is None:
            raise InvalidInput(
                f"camera {name}: model_camera: expected intrinsics or an info_topic to warp from, got neither"
            )

    @property
    def name(self) -> str:
        """The role's name, e.g. "front_wide"."""
        return camera_name(self.camera_id)

    def warnings(self, intrinsics: CameraModel | None = None) -> list[str]:
        """Return what is doubtful about the camera, given intrinsics that came at run time."""
        shown = self.model_camera.model if self.model_camera is not None else (intrinsics or self.intrinsics)
        warning = None if shown is None else field_of_view_warning(self.camera_id, shown)
        return [] if warning is None else [warning]


@dataclass(frozen=True, eq=False)
class Rig:
    """The cameras and the odometry of a vehicle.

    Attributes:
        name: what the rig is called.
        cameras: ascending by camera id.
        reference_camera_id: the camera whose stamps are the observations' t0; front_wide if present, else
            the first, unless given.
        rig_frame: TF name of Alpamayo's rig frame, the rear axle's centre on the ground.
        odometry_topic: where nav_msgs/Odometry comes from.
        rig_from_child: poses [4, 4] in the rig frame of other body frames that odometry may speak of.

    Raises:
        InvalidInput: without cameras, with a role given twice, or with a reference that is not among them.
    """

    name: str
    cameras: tuple[CameraConfig, ...]
    reference_camera_id: int = -1
    rig_frame: str = "base_link"
    odometry_topic: str = "odometry"
    rig_from_child: Mapping[str, Matrix4] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cameras = tuple(sorted(self.cameras, key=lambda camera: camera.camera_id))
        ids = [camera.camera_id for camera in cameras]
        if not ids:
            raise InvalidInput("cameras: expected at least one camera, got none")
        for first, second in itertools.pairwise(ids):
            if first == second:
                raise InvalidInput(f"cameras: expected each role once, got {camera_name(first)} twice")
        topics = [camera.topic for camera in cameras]
        for topic in topics:
            if topics.count(topic) > 1:
                raise InvalidInput(f"cameras: expected a topic for each camera, got {topic!r} twice")
        front_wide = CAMERA_NAMES.index("front_wide")
        reference = self.reference_camera_id
        if reference == -1:
            reference = front_wide if front_wide in ids else ids[0]
        if reference not in ids:
            raise InvalidInput(
                f"reference_camera: expected one of {', '.join(c.name for c in cameras)}, "
                f"got {camera_name(reference)}"
            )
        for key in ("rig_frame", "odometry_topic"):
            if not getattr(self, key):
                raise InvalidInput(f"{key}: expected a name, got {getattr(self, key)!r}")
        poses = {
            child: require_rigid(f"body frame {child}", pose) for child, pose in self.rig_from_child.items()
        }
        object.__setattr__(self, "cameras", cameras)
        object.__setattr__(self, "reference_camera_id", reference)
        object.__setattr__(self, "rig_from_child", MappingProxyType(poses))

    def __reduce__(self) -> tuple[object, ...]:
        """Go to other processes by the arguments that make it: a read-only mapping cannot be pickled."""
        others = (self.reference_camera_id, self.rig_frame, self.odometry_topic, dict(self.rig_from_child))
        return Rig, (self.name, self.cameras, *others)

    @property
    def camera_ids(self) -> tuple[int, ...]:
        """The cameras' ids, ascending."""
        return tuple(camera.camera_id for camera in self.cameras)

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about the rig, as far as it is known before any message arrives."""
        return [warning for camera in self.cameras for warning in camera.warnings()]

    def camera(self, camera_id: int) -> CameraConfig:
        """Return the camera of an id; raises InvalidInput for one that the rig lacks."""
        for camera in self.cameras:
            if camera.camera_id == camera_id:
                return camera
        raise InvalidInput(
            f"camera id: expected one of {', '.join(f'{c.camera_id} {c.name}' for c in self.cameras)}, "
            f"got {camera_id}"
        )


def rig_folders() -> list[Path]:
    """Return the folders that named rigs are looked up in: the source tree's, then installed ones."""
    module = Path(__file__).resolve()
    candidates = [module.parents[3] / "config" / "rigs"]
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    prefixes += [Path(sys.prefix), *module.parents]
    candidates += [prefix / "share" / "alpamayo_ros" / "config" / "rigs" for prefix in prefixes]
    folders: list[Path] = []
    for folder in candidates:
        if folder.is_dir() and folder not in folders:
            folders.append(folder)
    return folders


def _named_rigs() -> Iterator[tuple[str, Path]]:
    for folder in rig_folders():
        for path in sorted(folder.glob("*.yaml")):
            yield path.stem, path


def find_rig_file(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a path or of a name in config/rigs; InvalidInput lists the known names."""
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise InvalidInput(f"rig: expected a file, got {text!r}, which is not there")
    known: dict[str, Path] = {}
    for name, file in _named_rigs():
        known.setdefault(name, file)
    if text not in known:
        names = ", ".join(sorted(known)) or "none: no config/rigs folder was found"
        raise InvalidInput(f"rig: expected a file or one of the named rigs ({names}), got {text!r}")
    return known[text]


def load_rig(name_or_path: str | os.PathLike[str]) -> Rig:
    """Return the rig of a YAML file, or of a name in config/rigs.

    Raises:
        InvalidInput: for an unknown name (lists the known ones) or a bad file (names file, camera and key).
    """
    from alpamayo_ros.sensing.rig_file import read_rig_file

    return read_rig_file(find_rig_file(name_or_path))
