"""Between AlpaSim's messages and numpy: poses, trajectories, states, sizes and camera models.

On the wire rotations are quaternions w, x, y, z and numbers mostly float32; here poses are matrices [4, 4],
float64. What comes from the wire is checked, and refused by the name of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.rigid import Matrix4, from_quaternion
from alpamayo_ros.sim.protocol.generated import common_pb2, sensorsim_pb2
from alpamayo_ros.sim.protocol.trajectory_wire import trajectory_from_rows
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput, require_finite

API_VERSION = (0, 54, 0)
"""Of AlpaSim's protocol that we speak."""

_MAX_SIDE_PX = 32768
_UNIT_TOLERANCE = 0.01

Vector3 = tuple[float, float, float]


# --------------------------------------------------------------------------------------------- poses


def vec_message(xyz: Sequence[float] | Float64Array) -> common_pb2.Vec3:
    """Return three numbers as a Vec3."""
    x, y, z = xyz
    return common_pb2.Vec3(x=float(x), y=float(y), z=float(z))


def xyz_of(vec: common_pb2.Vec3, name: str) -> Float64Array:
    """Return a Vec3 as float64 [3]; raises InvalidInput naming it for numbers that are not finite."""
    xyz = np.array((vec.x, vec.y, vec.z), np.float64)
    require_finite(name, xyz)
    return xyz


def pose_message(local_from_body: Matrix4) -> common_pb2.Pose:
    """Return a pose [4, 4] as a message; its quaternion has w >= 0."""
    return pose_messages(local_from_body[None])[0]


def pose_messages(local_from_body: Float64Array) -> list[common_pb2.Pose]:
    """Return poses [N, 4, 4] as messages; their quaternions have w >= 0."""
    if not len(local_from_body):
        return []
    quaternions = _quaternions_wxyz(local_from_body).tolist()
    return [
        common_pb2.Pose(vec=common_pb2.Vec3(x=x, y=y, z=z), quat=common_pb2.Quat(w=qw, x=qx, y=qy, z=qz))
        for (x, y, z), (qw, qx, qy, qz) in zip(local_from_body[:, :3, 3].tolist(), quaternions, strict=True)
    ]


def _quaternions_wxyz(local_from_body: Float64Array) -> Float64Array:
    """Return the rotations of poses [N >= 1, 4, 4] as quaternions [N, 4], w >= 0."""
    xyzw = Rotation.from_matrix(local_from_body[:, :3, :3]).as_quat()
    return np.asarray(np.where(xyzw[:, 3:] < 0, -xyzw, xyzw)[:, [3, 0, 1, 2]])


def matrix_of(pose: common_pb2.Pose, name: str) -> Matrix4:
    """Return a message as a pose [4, 4].

    Raises:
        InvalidInput: naming it, for NaN or a quaternion not of unit length (1 % off is normalised).
    """
    vec, quat = pose.vec, pose.quat
    try:
        return from_quaternion((vec.x, vec.y, vec.z), (quat.x, quat.y, quat.z, quat.w))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error


def matrices_of(poses: Iterable[common_pb2.Pose], name: str) -> Float64Array:
    """Return messages as poses [N, 4, 4]; raises as matrix_of does, with the index of the pose."""
    rows = np.array(
        [(v.x, v.y, v.z, q.x, q.y, q.z, q.w) for v, q in ((pose.vec, pose.quat) for pose in poses)],
        np.float64,
    ).reshape(-1, 7)
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    if not len(rows):
        return matrices
    lengths = np.linalg.norm(rows[:, 3:], axis=1)
    good = np.isfinite(rows).all(axis=1) & (np.abs(lengths - 1.0) <= _UNIT_TOLERANCE)
    if not good.all():
        index = int(np.argmin(good))
        raise InvalidInput(
            f"{name}[{index}]: expected finite numbers and a quaternion of unit length, got position "
            f"{rows[index, :3].tolist()} and x, y, z, w {rows[index, 3:].tolist()}"
        )
    matrices[:, :3, :3] = Rotation.from_quat(rows[:, 3:]).as_matrix()
    matrices[:, :3, 3] = rows[:, :3]
    return matrices


def pose_pair(at_open: common_pb2.Pose, at_close: common_pb2.Pose) -> sensorsim_pb2.PosePair:
    """Return the poses at shutter open and close as one message."""
    return sensorsim_pb2.PosePair(start_pose=at_open, end_pose=at_close)


# --------------------------------------------------------------------------------------------- trajectories


def trajectory_message(stamps_us: NDArray[np.int64], poses: Float64Array) -> common_pb2.Trajectory:
    """Return stamps [N] in us and poses [N, 4, 4] as a message."""
    return trajectory_messages([(stamps_us, poses)])[0]


def trajectory_messages(
    trajectories: Sequence[tuple[NDArray[np.int64], Float64Array]],
) -> list[common_pb2.Trajectory]:
    """Return stamps [N] in us and poses [N, 4, 4] each as a message; faster than one after the other.

    Raises:
        InvalidInput: for stamps below zero, or not as many as poses.
    """
    for stamps_us, poses in trajectories:
        if len(stamps_us) != len(poses):
            raise InvalidInput(f"trajectory: expected {len(stamps_us)} poses, one a stamp, got {len(poses)}")
    if not any(len(poses) for _, poses in trajectories):
        return [common_pb2.Trajectory() for _ in trajectories]
    quaternions = _quaternions_wxyz(np.concatenate([poses for _, poses in trajectories if len(poses)]))
    ends = np.cumsum([len(poses) for _, poses in trajectories])
    return [
        trajectory_from_rows(np.asarray(stamps_us), np.asarray(poses).reshape(-1, 4, 4)[:, :3, 3], wxyz)
        for (stamps_us, poses), wxyz in zip(trajectories, np.split(quaternions, ends[:-1]), strict=True)
    ]


def trajectory_of(
    trajectory: common_pb2.Trajectory, name: str, *, allow_empty: bool = True
) -> tuple[NDArray[np.int64], Float64Array]:
    """Return a message as stamps int64 [N] in us and poses float64 [N, 4, 4].

    Raises:
        InvalidInput: naming it and the pose, for poses as in matrix_of, stamps that do not rise, or no pose
            where `allow_empty` is false.
    """
    if not allow_empty and not trajectory.poses:
        raise InvalidInput(f"{name}: expected at least one pose, got none")
    stamps = [each.timestamp_us for each in trajectory.poses]
    if any(stamp >= 2**63 for stamp in stamps):
        raise InvalidInput(f"{name}: expected stamps in us under 2^63, got {max(stamps)}")
    stamps_us = np.array(stamps, np.int64)
    falls = np.flatnonzero(np.diff(stamps_us) <= 0)
    if len(falls):
        index = int(falls[0]) + 1
        raise InvalidInput(
            f"{name}[{index}]: expected rising stamps, got {stamps[index]} us after {stamps[index - 1]} us"
        )
    return stamps_us, matrices_of((each.pose for each in trajectory.poses), name)


# --------------------------------------------------------------------------------------------- states


@dataclass(frozen=True)
class RigMotion:
    """How the rig moves, in its own axes at that instant (x forward, y left, z up)."""

    velocity_mps: Vector3 = (0.0, 0.0, 0.0)
    turn_radps: Vector3 = (0.0, 0.0, 0.0)
    accel_mps2: Vector3 = (0.0, 0.0, 0.0)
    turn_accel_radps2: Vector3 = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, ego: EgoState) -> RigMotion:
        """Return an ego's motion; what EgoState does not hold is zero."""
        return cls(
            velocity_mps=(*ego.velocity_in_rig_mps, 0.0),
            turn_radps=(0.0, 0.0, ego.yaw_rate_radps),
            accel_mps2=(*ego.accel_in_rig_mps2, 0.0),
        )


def dynamic_state_message(motion: RigMotion) -> common_pb2.DynamicState:
    """Return a motion as a message."""
    return common_pb2.DynamicState(
        linear_velocity=vec_message(motion.velocity_mps),
        angular_velocity=vec_message(motion.turn_radps),
        linear_acceleration=vec_message(motion.accel_mps2),
        angular_acceleration=vec_message(motion.turn_accel_radps2),
    )


def motion_of(state: common_pb2.DynamicState, name: str) -> RigMotion:
    """Return a message as a motion; raises InvalidInput naming it for numbers that are not finite."""

    def numbers(vec: common_pb2.Vec3) -> Vector3:
        return float(vec.x), float(vec.y), float(vec.z)

    motion = RigMotion(
        velocity_mps=numbers(state.linear_velocity),
        turn_radps=numbers(state.angular_velocity),
        accel_mps2=numbers(state.linear_acceleration),
        turn_accel_radps2=numbers(state.angular_acceleration),
    )
    for field in ("velocity_mps", "turn_radps", "accel_mps2", "turn_accel_radps2"):
        require_finite(f"{name}: {field}", np.array(getattr(motion, field)))
    return motion


def size_message(size_xyz_m: Vector3) -> common_pb2.AABB:
    """Return a box's length, width and height as a message."""
    x, y, z = size_xyz_m
    return common_pb2.AABB(size_x=x, size_y=y, size_z=z)


def size_of(box: common_pb2.AABB, name: str) -> Vector3:
    """Return a message as length, width and height in m; raises InvalidInput unless all are positive."""
    size = float(box.size_x), float(box.size_y), float(box.size_z)
    if not all(0 < side < float("inf") for side in size):
        raise InvalidInput(f"{name}: expected positive sizes in m, got {size}")
    return size


def version_message(version_id: str, *, git_hash: str = "") -> common_pb2.VersionId:
    """Return a version of something that speaks our version of the protocol."""
    major, minor, patch = API_VERSION
    return common_pb2.VersionId(
        version_id=version_id,
        git_hash=git_hash,
        grpc_api_version=common_pb2.VersionId.APIVersion(major=major, minor=minor, patch=patch),
    )


# --------------------------------------------------------------------------------------------- cameras

_REFERENCES = {
    sensorsim_pb2.FthetaCameraParam.ANGLE_TO_PIXELDIST: "angle_to_pixeldist",
    sensorsim_pb2.FthetaCameraParam.PIXELDIST_TO_ANGLE: "pixeldist_to_angle",
}


def camera_model(spec: sensorsim_pb2.CameraSpec) -> CameraModel:
    """Return a CameraSpec's lens at its native size; raises InvalidInput for what is not one of ours."""
    kind = spec.WhichOneof("camera_param")
    name = f"camera {spec.logical_id!r}" if spec.logical_id else "camera_intrinsics"
    if spec.WhichOneof("external_distortion") is not None:
        raise InvalidInput(
            f"{name}: expected no external distortion, got {spec.WhichOneof('external_distortion')}"
        )
    for field in ("resolution_w", "resolution_h"):
        if not 1 <= getattr(spec, field) <= _MAX_SIDE_PX:
            raise InvalidInput(
                f"{name}: {field}: expected 1 ... {_MAX_SIDE_PX} pixels, got {getattr(spec, field)}"
            )
    makers: dict[str, Callable[[sensorsim_pb2.CameraSpec], CameraModel]] = {
        "ftheta_param": _ftheta,
        "opencv_pinhole_param": _pinhole,
        "opencv_fisheye_param": _fisheye,
    }
    if kind not in makers:
        raise InvalidInput(f"{name}: expected f-theta, OpenCV pinhole or OpenCV fisheye parameters, got none")
    try:
        return makers[kind](spec)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error


def camera_spec(model: CameraModel, logical_id: str) -> sensorsim_pb2.CameraSpec:
    """Return a lens as a CameraSpec with a global shutter.

    Of an f-theta lens the polynomial that is not exact is fitted to the other over what the image shows.

    Raises:
        InvalidInput: for a lens that the protocol does not know.
    """
    spec = sensorsim_pb2.CameraSpec(
        logical_id=logical_id,
        resolution_w=model.width,
        resolution_h=model.height,
        shutter_type=sensorsim_pb2.GLOBAL,
    )
    if isinstance(model, FTheta):
        _write_ftheta(spec.ftheta_param, model)
    elif isinstance(model, Pinhole):
        k1, k2, p1, p2, k3, k4, k5, k6, *prism = _padded("distortion", model.distortion, 12)
        pinhole = spec.opencv_pinhole_param
        pinhole.focal_length_x, pinhole.focal_length_y = model.fx, model.fy
        pinhole.principal_point_x, pinhole.principal_point_y = model.cx, model.cy
        pinhole.radial_coeffs.extend((k1, k2, k3, k4, k5, k6))
        pinhole.tangential_coeffs.extend((p1, p2))
        pinhole.thin_prism_coeffs.extend(prism)
    elif isinstance(model, Fisheye):
        fisheye = spec.opencv_fisheye_param
        fisheye.focal_length_x, fisheye.focal_length_y = model.fx, model.fy
        fisheye.principal_point_x, fisheye.principal_point_y = model.cx, model.cy
        fisheye.radial_coeffs.extend(model.distortion)
        fisheye.max_angle = model.max_angle_rad
    else:
        raise InvalidInput(
            f"camera {logical_id!r}: expected an f-theta, pinhole or fisheye lens, got {type(model).__name__}"
        )
    return spec


def _ftheta(spec: sensorsim_pb2.CameraSpec) -> FTheta:
    p = spec.ftheta_param
    if p.reference_poly not in _REFERENCES:
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
        reference=_REFERENCES[p.reference_poly],
        linear_cde=cde if p.HasField("linear_cde") else (1.0, 0.0, 0.0),
        max_angle_rad=p.max_angle,
    )


def _pinhole(spec: sensorsim_pb2.CameraSpec) -> Pinhole:
    p = spec.opencv_pinhole_param
    radial = _padded("radial_coeffs", p.radial_coeffs, 6)
    tangential = _padded("tangential_coeffs", p.tangential_coeffs, 2)
    prism = _padded("thin_prism_coeffs", p.thin_prism_coeffs, 4)
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
    return Fisheye(
        width=spec.resolution_w,
        height=spec.resolution_h,
        fx=p.focal_length_x,
        fy=p.focal_length_y,
        cx=p.principal_point_x,
        cy=p.principal_point_y,
        distortion=_padded("radial_coeffs", p.radial_coeffs, 4),
        max_angle_rad=p.max_angle,
    )


def _padded(name: str, values: Iterable[float], length: int) -> tuple[float, ...]:
    given = tuple(float(v) for v in values)
    if len(given) > length:
        raise InvalidInput(f"{name}: expected at most {length} coefficients, got {len(given)}")
    return given + (0.0,) * (length - len(given))


def _write_ftheta(p: sensorsim_pb2.FthetaCameraParam, model: FTheta) -> None:
    p.principal_point_x, p.principal_point_y, p.max_angle = model.cx, model.cy, model.max_angle_rad
    p.reference_poly = next(number for number, name in _REFERENCES.items() if name == model.reference)
    forward, backward = model.angle_to_pixeldist, model.pixeldist_to_angle
    if not forward or not backward:
        radius_px, angle_rad = _radii_and_angles(model)
        if not backward:
            backward = _fit(radius_px, angle_rad, len(forward))
        else:
            forward = _fit(angle_rad, radius_px, len(backward))
    p.angle_to_pixeldist_poly.extend(forward)
    p.pixeldist_to_angle_poly.extend(backward)
    p.linear_cde.linear_c, p.linear_cde.linear_d, p.linear_cde.linear_e = model.linear_cde


def _radii_and_angles(model: FTheta) -> tuple[Float64Array, Float64Array]:
    """Return radii [N] in pixels and the angles [N] seen there, out to the farthest that the image shows."""
    corners = np.array([[x, y] for x in (0.0, model.width - 1.0) for y in (0.0, model.height - 1.0)])
    centre = np.array([model.cx, model.cy])
    c, d, e = model.linear_cde
    spread = (corners - centre) @ np.linalg.inv([[c, d], [e, 1.0]]).T
    farthest = corners[int(np.argmax(np.linalg.norm(spread, axis=1)))]
    share = np.linspace(0.0, 1.0, 512)[:, None]
    rays, seen = model.unproject(centre + share * (farthest - centre))
    angles = np.arctan2(np.linalg.norm(rays[:, :2], axis=1), rays[:, 2])
    radii = share[:, 0] * np.linalg.norm(spread, axis=1).max()
    return radii[seen], angles[seen]


def _fit(x: Float64Array, y: Float64Array, terms: int) -> tuple[float, ...]:
    """Return a polynomial of `terms` coefficients, the first zero, through (x, y)."""
    scale = float(x.max())
    powers = np.stack([(x / scale) ** k for k in range(1, max(terms, 2))], axis=1)
    coefficients = np.linalg.lstsq(powers, y, rcond=None)[0]
    return (0.0, *(float(c) / scale ** (k + 1) for k, c in enumerate(coefficients)))
