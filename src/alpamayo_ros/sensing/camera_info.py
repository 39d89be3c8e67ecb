"""Camera models from ROS: sensor_msgs/CameraInfo (its plain fields) and the files of camera_calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, Pinhole
from alpamayo_ros.sensing.sections import Section
from alpamayo_ros.types import InvalidInput, require_finite, require_rotation

_PINHOLE_MODELS = ("plumb_bob", "rational_polynomial", "thin_prism")
_FISHEYE_MODELS = ("equidistant", "fisheye")


@dataclass(frozen=True)
class CameraInfo:
    """The fields of sensor_msgs/CameraInfo, under its names; matrices are row-major lists.

    `d` and `k` describe the camera at its full size, `r` and `p` the rectified image. Binning and region of
    interest say what part of the full image was published.
    """

    width: int
    height: int
    distortion_model: str
    d: Sequence[float]
    k: Sequence[float]
    r: Sequence[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    p: Sequence[float] = ()
    binning_x: int = 0
    binning_y: int = 0
    roi_x_offset: int = 0
    roi_y_offset: int = 0
    roi_width: int = 0
    roi_height: int = 0


def model_from_camera_info(info: CameraInfo, *, rectified: bool = False) -> CameraModel:
    """Return the camera model that a CameraInfo describes, for the image as it was published.

    Args:
        info: the message's fields.
        rectified: the images are rectified (topics named image_rect): the model is the pinhole of P, without
            distortion. P's fourth column, the baseline of a stereo pair, is the position of the camera
            and not of its lens, and left out. The rectified image looks along R: see rectifying_rotation.

    Raises:
        InvalidInput: for an unknown distortion model or number of coefficients, an uncalibrated camera
            (zero focal length), or matrices of wrong size or with non-finite numbers.
    """
    size: dict[str, Any] = {"width": int(info.width), "height": int(info.height)}
    if rectified:
        model: CameraModel = Pinhole(**size, **_lens("p", _matrix("p", info.p, 3, 4)))
    else:
        d = [float(v) for v in info.d]
        require_finite("camera info: d", np.asarray(d, np.float64))
        name = info.distortion_model.strip().lower()
        part = _lens("k", _matrix("k", info.k, 3, 3))
        if name in _FISHEYE_MODELS:
            model = Fisheye(**size, **part, distortion=tuple(d))
        elif name in _PINHOLE_MODELS:
            model = Pinhole(**size, **part, distortion=_pinhole_coefficients(d))
        elif not name and not any(d):
            model = Pinhole(**size, **part)
        else:
            known = ", ".join((*_PINHOLE_MODELS, *_FISHEYE_MODELS))
            raise InvalidInput(
                f"camera info: distortion_model: expected one of {known}, got {info.distortion_model!r}"
            )
    return _published_part(model, info)


def rectifying_rotation(info: CameraInfo) -> NDArray[np.float64]:
    """Return R [3, 3], which takes a ray of the camera's optical frame into that of the rectified image."""
    rotation = _matrix("r", info.r, 3, 3)
    if not rotation.any():  # uncalibrated
        return np.eye(3)
    require_rotation("camera info: r", rotation)
    return rotation


def _matrix(name: str, values: Sequence[float], rows: int, columns: int) -> NDArray[np.float64]:
    array = np.asarray(list(values), dtype=np.float64)
    if array.size != rows * columns:
        raise InvalidInput(f"camera info: {name}: expected {rows * columns} numbers, got {array.size}")
    require_finite(f"camera info: {name}", array)
    return array.reshape(rows, columns)


def _lens(name: str, matrix: NDArray[np.float64]) -> dict[str, Any]:
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise InvalidInput(
            f"camera info: {name}: expected positive focal lengths, got {matrix[0, 0]:g} and "
            f"{matrix[1, 1]:g}: is the camera calibrated?"
        )
    if abs(matrix[0, 1]) > 1e-9:
        raise InvalidInput(f"camera info: {name}: expected no skew, got {matrix[0, 1]:g}")
    return {"fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2]}


def _pinhole_coefficients(d: list[float]) -> tuple[float, ...]:
    if len(d) == 14:
        if any(d[12:]):
            raise InvalidInput(f"camera info: d: expected no sensor tilt (the last two of 14), got {d[12:]}")
        d = d[:12]
    return tuple(d)


def _published_part(model: CameraModel, info: CameraInfo) -> CameraModel:
    """Apply the region of interest (in full-size pixels), then binning."""
    if info.roi_width or info.roi_height:
        assert isinstance(model, (Pinhole, Fisheye))
        width, height = int(info.roi_width) or model.width, int(info.roi_height) or model.height
        cx, cy = model.cx - info.roi_x_offset, model.cy - info.roi_y_offset
        model = replace(model, width=width, height=height, cx=cx, cy=cy)
    bin_x, bin_y = max(1, int(info.binning_x)), max(1, int(info.binning_y))
    if bin_x > 1 or bin_y > 1:
        model = model.scaled_to(max(1, model.width // bin_x), max(1, model.height // bin_y))
    return model


def is_calibration_file(section: Section) -> bool:
    """Whether a file looks like one of camera_calibration (camera_info_manager's YAML)."""
    return "camera_matrix" in section


def camera_info_of_file(section: Section) -> CameraInfo:
    """Return the CameraInfo of a camera_calibration file; raises InvalidInput naming file and key."""

    def matrix(key: str, length: int | None) -> list[float]:
        part = section.section(key)
        return part.numbers("data", length=length)

    return CameraInfo(
        width=section.count("image_width"),
        height=section.count("image_height"),
        distortion_model=section.text("distortion_model"),
        d=matrix("distortion_coefficients", None),
        k=matrix("camera_matrix", 9),
        r=matrix("rectification_matrix", 9) if "rectification_matrix" in section else CameraInfo.r,
        p=matrix("projection_matrix", 12) if "projection_matrix" in section else (),
    )
