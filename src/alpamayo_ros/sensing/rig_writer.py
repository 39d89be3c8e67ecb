"""Write a rig as the YAML file that rig_file.py reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import InvalidInput, camera_name


def write_rig_file(rig: Rig, file: Path, *, notes: tuple[str, ...] = ()) -> None:
    """Write a rig file; read back, it is the same rig to the last digit.

    Args:
        rig: what to write.
        file: it must not exist.
        notes: lines of comment for its head.

    Raises:
        InvalidInput: where the file exists or cannot be written, or a lens is of a kind that rig files lack.
    """
    text = "".join(f"# {line}\n" for line in notes) + rig_yaml(rig)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise InvalidInput(f"rig file {file}: expected a new file, got one that exists") from error
    except OSError as error:
        raise InvalidInput(f"rig file {file}: expected a file that can be written, got {error}") from error


def rig_yaml(rig: Rig) -> str:
    """Return a rig in the schema of rig_file.py; raises InvalidInput for a lens that the schema lacks."""
    odometry: dict[str, Any] = {"topic": rig.odometry_topic}
    if rig.rig_from_child:
        odometry["body_frames"] = {name: _pose(pose) for name, pose in rig.rig_from_child.items()}
    content = {
        "name": rig.name,
        "rig_frame": rig.rig_frame,
        "reference_camera": camera_name(rig.reference_camera_id),
        "odometry": odometry,
        "cameras": [_camera(camera) for camera in rig.cameras],
    }
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)


def _camera(camera: CameraConfig) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": camera.name, "topic": camera.topic, "transport": camera.transport}
    if camera.info_topic is not None:
        entry["info_topic"] = camera.info_topic
    if camera.rectified:
        entry["rectified"] = True
    if camera.intrinsics is not None:
        entry["intrinsics"] = _model(camera.intrinsics)
    if camera.rig_from_camera is not None:
        entry["mount"] = _pose(camera.rig_from_camera)
    if camera.model_camera is not None:
        entry["model_camera"] = {
            "intrinsics": _model(camera.model_camera.model),
            "rotation": {"quaternion_xyzw": _quaternion(np.asarray(camera.model_camera.camera_from_virtual))},
        }
    return entry


def _model(model: CameraModel) -> dict[str, Any]:
    size: dict[str, Any] = {"width": int(model.width), "height": int(model.height)}
    if isinstance(model, FTheta):
        lens: dict[str, Any] = {"cx": float(model.cx), "cy": float(model.cy)}
        for name in ("angle_to_pixeldist", "pixeldist_to_angle"):
            if getattr(model, name):
                lens[name] = list(getattr(model, name))
        lens["reference"] = model.reference
        lens["linear_cde"] = list(model.linear_cde)
        return {"model": "ftheta", **size, **lens, **_largest_angle(model.max_angle_rad)}
    if isinstance(model, (Pinhole, Fisheye)):
        lens = {key: float(getattr(model, key)) for key in ("fx", "fy", "cx", "cy")}
        lens["distortion"] = [float(value) for value in model.distortion]
        if isinstance(model, Pinhole):
            return {"model": "pinhole", **size, **lens}
        return {"model": "fisheye", **size, **lens, **_largest_angle(model.max_angle_rad)}
    raise InvalidInput(f"rig file: expected a pinhole, fisheye or ftheta lens, got {type(model).__name__}")


def _largest_angle(max_angle_rad: float) -> dict[str, float]:
    return {"max_angle_deg": float(np.rad2deg(max_angle_rad))} if max_angle_rad > 0 else {}


def _pose(pose: Matrix4) -> dict[str, list[float]]:
    return {"xyz_m": [float(v) for v in pose[:3, 3]], "quaternion_xyzw": _quaternion(pose[:3, :3])}


def _quaternion(rotation: np.ndarray) -> list[float]:
    return [float(v) for v in Rotation.from_matrix(rotation).as_quat()]
