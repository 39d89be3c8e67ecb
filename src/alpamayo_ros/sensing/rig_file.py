"""The YAML schema of rig files.

    name: my_car                      # default: the file's name
    rig_frame: base_link              # TF name of the rear axle's centre on the ground
    reference_camera: front_wide      # default: front_wide if present, else the first
    odometry:
      topic: odometry
      body_frames:                    # poses of other body frames in the rig frame, where TF does not say
        imu_link: {xyz_m: [0.3, 0.0, 0.9], rpy_deg: [0, 0, 0]}     # or quaternion_xyzw
    cameras:
      - role: front_wide              # a name or id of Alpamayo's cameras
        topic: /camera/front/image
        transport: raw                # raw or compressed
        info_topic: /camera/front/camera_info
        rectified: false              # true: CameraInfo's P describes the images
        intrinsics: front.yaml        # a file beside this one, of this schema or camera_calibration's, or:
        # intrinsics: {model: pinhole, width: 1920, height: 1080, fx: .., fy: .., cx: .., cy: ..,
        #              distortion: [k1, k2, p1, p2, k3]}      # 0, 4, 5, 8 or 12, as OpenCV orders them
        # intrinsics: {model: fisheye, .., distortion: [k1, k2, k3, k4], max_angle_deg: 100}
        # intrinsics: {model: ftheta, width: .., height: .., cx: .., cy: .., angle_to_pixeldist: [0, ..],
        #              pixeldist_to_angle: [..], reference: angle_to_pixeldist, linear_cde: [1, 0, 0]}
        mount: {xyz_m: [1.5, 0, 1.4], quaternion_xyzw: [-0.5, 0.5, -0.5, 0.5]}   # optical frame in the rig
        model_camera:                 # warp to the camera that the model was trained with
          intrinsics: {model: nominal, width: 960, height: 540}    # an ideal lens of the role's field of view
          rotation: {rpy_deg: [0, 0, 0]}   # of the virtual camera in the real camera's optical frame

A mount may speak of the camera's body axes (x forward, y left, z up) instead of its optical axes:
`mount: {xyz_m: [1.5, 0, 1.4], body_rpy_deg: [roll, pitch, yaw]}`, all zero for a camera that looks ahead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.sensing.camera_info import camera_info_of_file, is_calibration_file, model_from_camera_info
from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.rig import CameraConfig, ModelCamera, Rig, nominal_model
from alpamayo_ros.sensing.rigid import Matrix4, compose, from_quaternion, rotation_from_rpy_deg
from alpamayo_ros.sensing.sections import Section
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput

OPTICAL_IN_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation of an optical frame (x right, y down, z forward) in the body axes of its camera, REP-103."""

_MODELS = ("pinhole", "fisheye", "ftheta", "nominal")


def read_rig_file(file: Path) -> Rig:
    """Return the rig of a YAML file; raises InvalidInput that names file, camera and key."""
    top = Section.of_file(file)
    top.only("name", "rig_frame", "reference_camera", "odometry", "cameras")
    cameras = tuple(_camera(entry, index, file) for index, entry in enumerate(_list(top, "cameras")))
    topic, body_frames = "odometry", {}
    if "odometry" in top:
        odometry = top.section("odometry")
        odometry.only("topic", "body_frames")
        topic = odometry.text("topic", "odometry")
        if "body_frames" in odometry:
            frames = odometry.section("body_frames")
            body_frames = {name: _pose(frames.section(name)) for name in frames}
    reference = _role(top, "reference_camera") if "reference_camera" in top else -1
    try:
        return Rig(
            name=top.text("name", file.stem),
            cameras=cameras,
            reference_camera_id=reference,
            rig_frame=top.text("rig_frame", "base_link"),
            odometry_topic=topic,
            rig_from_child=body_frames,
        )
    except InvalidInput as error:
        raise _in_file(file, "", error) from error


def _list(section: Section, key: str) -> list[object]:
    values = section.raw(key)
    if not isinstance(values, list) or not values:
        section.fail(key, f"expected a list with at least one entry, got {values!r}")
    return values


def _role(section: Section, key: str) -> int:
    value = section.raw(key)
    if isinstance(value, str) and value in CAMERA_NAMES:
        return CAMERA_NAMES.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(CAMERA_NAMES):
        return value
    known = ", ".join(f"{i} {name}" for i, name in enumerate(CAMERA_NAMES))
    section.fail(key, f"expected one of the roles {known} (name or number), got {value!r}")


def _camera(entry: object, index: int, file: Path) -> CameraConfig:
    section = Section(entry, file=file, place=f"cameras[{index}]")
    camera_id = _role(section, "role")
    section = Section(entry, file=file, place=f"camera {CAMERA_NAMES[camera_id]}:")
    section.only(
        "role", "topic", "transport", "info_topic", "rectified", "intrinsics", "mount", "model_camera"
    )
    rectified = section.flag("rectified", False)
    try:
        return CameraConfig(
            camera_id=camera_id,
            topic=section.text("topic"),
            transport=section.text("transport", "compressed"),
            info_topic=section.text("info_topic") if "info_topic" in section else None,
            rectified=rectified,
            intrinsics=_intrinsics(section, camera_id, rectified=rectified)
            if "intrinsics" in section
            else None,
            rig_from_camera=_pose(section.section("mount"), camera=True) if "mount" in section else None,
            model_camera=_model_camera(section, camera_id) if "model_camera" in section else None,
        )
    except InvalidInput as error:
        raise _in_file(file, "", error) from error


def _in_file(file: Path, place: str, error: InvalidInput) -> InvalidInput:
    """Return the error with the file and the place named, if it does not name the file already."""
    text = str(error)
    if text.startswith(str(file)):
        return error
    return InvalidInput(f"{file}: {place}{text}")


def _intrinsics(section: Section, camera_id: int, *, rectified: bool = False) -> CameraModel:
    """Return the intrinsics of a camera, inline or from a file beside the rig file."""
    if not isinstance(section.raw("intrinsics"), str):
        return _model(section.section("intrinsics"), camera_id)
    file = section.file.parent / Path(section.text("intrinsics")).expanduser()
    if not file.is_file():
        section.fail("intrinsics", f"expected a file or a mapping, got {str(file)!r}, which is not there")
    try:
        content = Section.of_file(file)
        if not is_calibration_file(content):
            return _model(content, camera_id)
        return model_from_camera_info(camera_info_of_file(content), rectified=rectified)
    except InvalidInput as error:
        section.fail("intrinsics", str(_in_file(file, "", error)))


def _model(section: Section, camera_id: int) -> CameraModel:
    kind = section.text("model")
    if kind == "nominal":
        section.only("model", "width", "height")
        return nominal_model(
            camera_id, width=section.count("width", 1920), height=section.count("height", 1080)
        )
    size: dict[str, Any] = {}
    if kind in _MODELS:
        size = {"width": section.count("width"), "height": section.count("height")}
    try:
        if kind == "ftheta":
            section.only(
                "model", "width", "height", "cx", "cy", "angle_to_pixeldist", "pixeldist_to_angle",
                "reference", "linear_cde", "max_angle_deg",
            )  # fmt: skip
            c, d, e = section.numbers("linear_cde", length=3, default=(1.0, 0.0, 0.0))
            return FTheta(
                **size,
                cx=section.number("cx"),
                cy=section.number("cy"),
                angle_to_pixeldist=tuple(section.numbers("angle_to_pixeldist", default=())),
                pixeldist_to_angle=tuple(section.numbers("pixeldist_to_angle", default=())),
                reference=section.text("reference", "angle_to_pixeldist"),
                linear_cde=(c, d, e),
                max_angle_rad=float(np.deg2rad(section.number("max_angle_deg", 0.0))),
            )
        if kind in ("pinhole", "fisheye"):
            lens: dict[str, Any] = {key: section.number(key) for key in ("fx", "fy", "cx", "cy")}
            common = ("model", "width", "height", "fx", "fy", "cx", "cy", "distortion")
            if kind == "pinhole":
                section.only(*common)
                return Pinhole(**size, **lens, distortion=tuple(section.numbers("distortion", default=())))
            section.only(*common, "max_angle_deg")
            return Fisheye(
                **size,
                **lens,
                distortion=tuple(section.numbers("distortion", default=(0.0, 0.0, 0.0, 0.0))),
                max_angle_rad=float(np.deg2rad(section.number("max_angle_deg", 0.0))),
            )
    except InvalidInput as error:
        raise _in_file(section.file, f"{section.place}." if section.place else "", error) from error
    section.fail("model", f"expected one of {', '.join(_MODELS)}, got {kind!r}")


def _rotation(section: Section, *, camera: bool = False) -> np.ndarray:
    """Return a rotation [3, 3] given by one of rpy_deg, quaternion_xyzw and, for cameras, body_rpy_deg."""
    keys = ("rpy_deg", "quaternion_xyzw") + (("body_rpy_deg",) if camera else ())
    given = [key for key in keys if key in section]
    if len(given) != 1:
        section.fail(keys[0], f"expected one of the keys {', '.join(keys)}, got {', '.join(given) or 'none'}")
    if given[0] == "quaternion_xyzw":
        try:
            return from_quaternion((0.0, 0.0, 0.0), section.numbers(given[0], length=4))[:3, :3]
        except InvalidInput as error:
            section.fail(given[0], str(error))
    rotation = rotation_from_rpy_deg(section.numbers(given[0], length=3))
    return rotation @ OPTICAL_IN_BODY if given[0] == "body_rpy_deg" else rotation


def _pose(section: Section, *, camera: bool = False) -> Matrix4:
    section.only("xyz_m", "rpy_deg", "quaternion_xyzw", *(("body_rpy_deg",) if camera else ()))
    return compose(_rotation(section, camera=camera), section.numbers("xyz_m", length=3))


def _model_camera(section: Section, camera_id: int) -> ModelCamera:
    part = section.section("model_camera")
    part.only("intrinsics", "rotation")
    rotation = np.eye(3)
    if "rotation" in part:
        given = part.section("rotation")
        given.only("rpy_deg", "quaternion_xyzw")
        rotation = _rotation(given)
    return ModelCamera(model=_intrinsics(part, camera_id), camera_from_virtual=rotation)
