"""Render requests of AlpaSim's protocol, checked and brought to views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.rigid import Matrix4, from_quaternion
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2
from alpamayo_ros.sim.render.lens import gpu_lens
from alpamayo_ros.sim.render.renderer import View
from alpamayo_ros.types import InvalidInput

MAX_SIDE_PX = 8192
DEFAULT_QUALITY = 95
_STANDING_MPS = 0.2

ImageFormat = Literal["JPEG", "PNG"]


@dataclass(frozen=True, eq=False)
class RenderRequest:
    """What is to be drawn and how it is to be encoded."""

    scene_id: str
    view: View
    image_format: ImageFormat
    quality: int


def parse_request(request: sensorsim_pb2.RGBRenderRequest) -> RenderRequest:
    """Check a request; raises InvalidInput naming the field.

    The pose at the end of the exposure counts, for the camera and for objects: the shutter is global. An ego
    mask is not drawn (get_available_ego_masks lists none). Quality 0, proto3's "not set", is 95.
    """
    size = request.resolution_w, request.resolution_h
    for name, value in zip(("resolution_w", "resolution_h"), size, strict=True):
        if not 1 <= value <= MAX_SIDE_PX:
            raise InvalidInput(f"{name}: expected 1 ... {MAX_SIDE_PX} pixels, got {value}")
    model = camera_model(request.camera_intrinsics).scaled_to(*size)
    gpu_lens(model)  # is it one that can be drawn with?
    formats: dict[int, ImageFormat] = {sensorsim_pb2.JPEG: "JPEG", sensorsim_pb2.PNG: "PNG"}
    if request.image_format not in formats:
        name = (
            sensorsim_pb2.ImageFormat.Name(request.image_format)
            if request.image_format in sensorsim_pb2.ImageFormat.values()
            else str(request.image_format)
        )
        raise InvalidInput(f"image_format: expected JPEG or PNG, got {name}")
    quality = request.image_quality or DEFAULT_QUALITY
    if not 1 <= quality <= 100:
        raise InvalidInput(f"image_quality: expected 1 ... 100 (or 0 for {DEFAULT_QUALITY}), got {quality}")
    if not request.HasField("sensor_pose") or not request.sensor_pose.HasField("end_pose"):
        raise InvalidInput("sensor_pose: expected an end_pose, got none")
    poses: dict[str, Matrix4] = {}
    standing: set[str] = set()
    seconds = (request.frame_end_us - request.frame_start_us) * 1e-6
    for item in request.dynamic_objects:
        name = f"dynamic object {item.track_id!r}"
        if item.track_id in poses:
            raise InvalidInput(f"{name}: expected each track id once, got it twice")
        if not item.pose_pair.HasField("end_pose"):
            raise InvalidInput(f"{name}: expected an end_pose, got none")
        poses[item.track_id] = matrix_of(item.pose_pair.end_pose, name)
        if seconds > 0 and item.pose_pair.HasField("start_pose"):
            a, b = item.pose_pair.start_pose.vec, item.pose_pair.end_pose.vec
            if np.hypot(b.x - a.x, b.y - a.y) < _STANDING_MPS * seconds:
                standing.add(item.track_id)
    view = View(
        model=model,
        local_from_camera=matrix_of(request.sensor_pose.end_pose, "sensor_pose"),
        time_us=request.frame_end_us,
        poses=poses,
        standing=frozenset(standing),
    )
    return RenderRequest(request.scene_id, view, formats[request.image_format], round(quality))


def matrix_of(pose: common_pb2.Pose, name: str) -> Matrix4:
    """Return a pose as a matrix [4, 4]; raises InvalidInput for NaN or a quaternion not of unit length."""
    v, q = pose.vec, pose.quat
    try:
        return from_quaternion((v.x, v.y, v.z), (q.x, q.y, q.z, q.w))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error


def camera_model(spec: sensorsim_pb2.CameraSpec) -> CameraModel:
    """Return the camera model of a CameraSpec at its native size; raises InvalidInput for what is not one."""
    kind = spec.WhichOneof("camera_param")
    name = f"camera {spec.logical_id!r}" if spec.logical_id else "camera_intrinsics"
    if spec.WhichOneof("external_distortion") is not None:
        raise InvalidInput(
            f"{name}: expected no external distortion, got {spec.WhichOneof('external_distortion')}"
        )
    for field in ("resolution_w", "resolution_h"):
        if not 1 <= getattr(spec, field) <= 4 * MAX_SIDE_PX:
            raise InvalidInput(
                f"{name}: {field}: expected 1 ... {4 * MAX_SIDE_PX} pixels, got {getattr(spec, field)}"
            )
    try:
        if kind == "ftheta_param":
            return _ftheta(spec)
        if kind == "opencv_pinhole_param":
            return _pinhole(spec)
        if kind == "opencv_fisheye_param":
            return _fisheye(spec)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error
    raise InvalidInput(f"{name}: expected f-theta, OpenCV pinhole or OpenCV fisheye parameters, got none")


def _ftheta(spec: sensorsim_pb2.CameraSpec) -> FTheta:
    p = spec.ftheta_param
    references = {
        sensorsim_pb2.FthetaCameraParam.ANGLE_TO_PIXELDIST: "angle_to_pixeldist",
        sensorsim_pb2.FthetaCameraParam.PIXELDIST_TO_ANGLE: "pixeldist_to_angle",
    }
    if p.reference_poly not in references:
        raise InvalidInput(
            f"reference_poly: expected PIXELDIST_TO_ANGLE or ANGLE_TO_PIXELDIST, got {p.reference_poly}"
        )
    cde = (p.linear_cde.linear_c, p.linear_cde.linear_d, p.linear_cde.linear_e)
    return FTheta(
        width=spec.resolution_w,
        height=spec.resolution_h,
        cx=p.principal_point_x,
        cy=p.principal_point_y,
        angle_to_pixeldist=tuple(p.angle_to_pixeldist_poly),
        pixeldist_to_angle=tuple(p.pixeldist_to_angle_poly),
        reference=references[p.reference_poly],
        linear_cde=cde if p.HasField("linear_cde") else (1.0, 0.0, 0.0),
        max_angle_rad=p.max_angle,
    )


def _pinhole(spec: sensorsim_pb2.CameraSpec) -> Pinhole:
    p = spec.opencv_pinhole_param
    radial, tangential, prism = (
        _padded(name, values, length)
        for name, values, length in (
            ("radial_coeffs", p.radial_coeffs, 6),
            ("tangential_coeffs", p.tangential_coeffs, 2),
            ("thin_prism_coeffs", p.thin_prism_coeffs, 4),
        )
    )
    distortion = (*radial[:2], *tangential, *radial[2:], *prism)
    return Pinhole(
        width=spec.resolution_w,
        height=spec.resolution_h,
        fx=p.focal_length_x,
        fy=p.focal_length_y,
        cx=p.principal_point_x,
        cy=p.principal_point_y,
        distortion=distortion if any(distortion) else (),
    )


def _fisheye(spec: sensorsim_pb2.CameraSpec) -> Fisheye:
    p = spec.opencv_fisheye_param
    k1, k2, k3, k4 = _padded("radial_coeffs", p.radial_coeffs, 4)
    return Fisheye(
        width=spec.resolution_w,
        height=spec.resolution_h,
        fx=p.focal_length_x,
        fy=p.focal_length_y,
        cx=p.principal_point_x,
        cy=p.principal_point_y,
        distortion=(k1, k2, k3, k4),
        max_angle_rad=p.max_angle,
    )


def _padded(name: str, values: object, length: int) -> tuple[float, ...]:
    given = tuple(float(v) for v in values)  # type: ignore[attr-defined]
    if len(given) > length:
        raise InvalidInput(f"{name}: expected at most {length} coefficients, got {len(given)}")
    return given + (0.0,) * (length - len(given))


def pose_message(matrix: Matrix4) -> common_pb2.Pose:
    """Return a matrix [4, 4] as a Pose."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return common_pb2.Pose(
        vec=common_pb2.Vec3(x=matrix[0, 3], y=matrix[1, 3], z=matrix[2, 3]),
        quat=common_pb2.Quat(w=w, x=x, y=y, z=z),
    )


def camera_spec(model: FTheta, logical_id: str) -> sensorsim_pb2.CameraSpec:
    """Return an f-theta camera as a CameraSpec; the polynomial that is not exact is fitted to the other."""
    p = sensorsim_pb2.FthetaCameraParam(
        principal_point_x=model.cx, principal_point_y=model.cy, max_angle=model.max_angle_rad
    )
    exact_forward = model.reference == "angle_to_pixeldist"
    p.reference_poly = (
        sensorsim_pb2.FthetaCameraParam.ANGLE_TO_PIXELDIST
        if exact_forward
        else sensorsim_pb2.FthetaCameraParam.PIXELDIST_TO_ANGLE
    )
    forward, backward = model.angle_to_pixeldist, model.pixeldist_to_angle
    widest = gpu_lens(model).max_angle_rad
    theta = np.linspace(0.0, widest, 200)
    if exact_forward and not backward:
        backward = _fit(np.polynomial.polynomial.polyval(theta, forward), theta, len(forward))
    if not exact_forward and not forward:
        farthest = float(np.hypot(model.width, model.height))
        pixels = np.linspace(0.0, farthest, 2000)
        angle = np.polynomial.polynomial.polyval(pixels, backward)
        pixels = pixels[: int(np.argmax(angle > widest)) or len(pixels)]
        forward = _fit(np.polynomial.polynomial.polyval(pixels, backward), pixels, len(backward))
    p.angle_to_pixeldist_poly.extend(forward)
    p.pixeldist_to_angle_poly.extend(backward)
    c, d, e = model.linear_cde
    p.linear_cde.CopyFrom(sensorsim_pb2.LinearCde(linear_c=c, linear_d=d, linear_e=e))
    return sensorsim_pb2.CameraSpec(
        ftheta_param=p,
        logical_id=logical_id,
        resolution_w=model.width,
        resolution_h=model.height,
        shutter_type=sensorsim_pb2.GLOBAL,
    )


def _fit(x: np.ndarray, y: np.ndarray, terms: int) -> tuple[float, ...]:
    """Return a polynomial of `terms` coefficients, the first zero, through (x, y)."""
    scale = float(x.max())
    powers = np.stack([(x / scale) ** k for k in range(1, max(terms, 2))], axis=1)
    coefficients = np.linalg.lstsq(powers, y, rcond=None)[0]
    return (0.0, *(float(c) / scale ** (k + 1) for k, c in enumerate(coefficients)))
