"""Messages and numpy say the same, and what is wrong on the wire is refused by its name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sim.cameras import default_cameras
from alpamayo_ros.sim.protocol.convert import (
    API_VERSION,
    RigMotion,
    camera_model,
    camera_spec,
    dynamic_state_message,
    matrices_of,
    matrix_of,
    motion_of,
    pose_message,
    pose_messages,
    size_message,
    size_of,
    trajectory_message,
    trajectory_of,
    vec_message,
    version_message,
    xyz_of,
)
from alpamayo_ros.sim.protocol.generated import common_pb2, logging_pb2, sensorsim_pb2
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import InvalidInput

angles = st.floats(-np.pi, np.pi)
metres = st.floats(-5000, 5000)


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZYX", [draw(angles), draw(angles), draw(angles)]).as_matrix()
    matrix[:3, 3] = [draw(metres), draw(metres), draw(metres)]
    return matrix


@given(st.lists(poses(), max_size=5))
def test_poses_survive_the_wire(matrices: list[np.ndarray]) -> None:
    stack = np.array(matrices).reshape(-1, 4, 4)
    messages = [common_pb2.Pose.FromString(m.SerializeToString()) for m in pose_messages(stack)]
    assert all(message.quat.w >= 0 for message in messages)
    np.testing.assert_allclose(matrices_of(messages, "poses"), stack, atol=1e-3, rtol=1e-6)
    for message, matrix in zip(messages, stack, strict=True):
        one = matrix_of(message, "pose")
        np.testing.assert_allclose(one[:3, :3], matrix[:3, :3], atol=1e-6)
        np.testing.assert_array_equal(pose_message(one).vec.x, message.vec.x)


def test_a_negative_w_is_the_same_rotation() -> None:
    matrix = pose_matrix(0.7)
    message = pose_message(matrix)
    for axis in "wxyz":
        setattr(message.quat, axis, -getattr(message.quat, axis))
    np.testing.assert_allclose(matrix_of(message, "pose"), matrix, atol=1e-6)


def pose_matrix(yaw_rad: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw_rad).as_matrix()
    matrix[:3, 3] = 1.0, 2.0, 3.0
    return matrix


@pytest.mark.parametrize(
    ("field", "axis", "value"),
    [
        ("vec", "x", np.nan),
        ("vec", "z", np.inf),
        ("quat", "w", np.nan),
        ("quat", "w", 0.0),
        ("quat", "w", 2.0),
    ],
)
def test_a_pose_that_is_none_is_refused_by_name(field: str, axis: str, value: float) -> None:
    message = pose_message(np.eye(4))
    setattr(getattr(message, field), axis, value)
    with pytest.raises(InvalidInput, match=r"sensor_pose: .*expected"):
        matrix_of(message, "sensor_pose")
    with pytest.raises(InvalidInput, match=r"actor\[1\]: expected"):
        matrices_of([pose_message(np.eye(4)), message], "actor")


@given(st.lists(st.tuples(st.integers(1, 10**6), poses()), max_size=6))
def test_trajectories_survive_the_wire(steps: list[tuple[int, np.ndarray]]) -> None:
    stamps = 1_700_000_000_000_000 + np.cumsum([step for step, _ in steps], dtype=np.int64)
    stack = np.array([pose for _, pose in steps]).reshape(-1, 4, 4)
    message = common_pb2.Trajectory.FromString(trajectory_message(stamps, stack).SerializeToString())
    again_us, again = trajectory_of(message, "drive")
    assert again_us.dtype == np.int64
    np.testing.assert_array_equal(again_us, stamps)
    np.testing.assert_allclose(again, stack, atol=1e-3, rtol=1e-6)


def test_trajectories_that_are_none_are_refused_by_name() -> None:
    same = trajectory_message(np.array([5, 5]), np.tile(np.eye(4), (2, 1, 1)))
    with pytest.raises(InvalidInput, match=r"drive\[1\]: expected rising stamps, got 5 us after 5 us"):
        trajectory_of(same, "drive")
    with pytest.raises(InvalidInput, match="drive: expected at least one pose"):
        trajectory_of(common_pb2.Trajectory(), "drive", allow_empty=False)
    far = common_pb2.Trajectory()
    far.poses.add(timestamp_us=2**63)
    with pytest.raises(InvalidInput, match="drive: expected stamps in us"):
        trajectory_of(far, "drive")


def test_motion_survives_the_wire() -> None:
    ego = EgoState(
        time_us=0,
        local_from_rig=np.eye(4),
        velocity_in_rig_mps=(8.0, 0.25),
        yaw_rate_radps=0.5,
        accel_in_rig_mps2=(-1.0, 2.0),
    )
    message = dynamic_state_message(RigMotion.of(ego))
    assert (message.linear_velocity.x, message.linear_velocity.y, message.angular_velocity.z) == (
        8,
        0.25,
        0.5,
    )
    assert motion_of(message, "state") == RigMotion.of(ego)
    message.linear_acceleration.y = np.nan
    with pytest.raises(InvalidInput, match="state: accel_mps2"):
        motion_of(message, "state")


def test_sizes_vectors_and_versions() -> None:
    assert size_of(size_message((4.5, 2.0, 1.5)), "box") == (4.5, 2.0, 1.5)
    with pytest.raises(InvalidInput, match="box: expected positive sizes"):
        size_of(size_message((4.5, 0.0, 1.5)), "box")
    np.testing.assert_array_equal(xyz_of(vec_message([1, 2, 3]), "v"), [1, 2, 3])
    with pytest.raises(InvalidInput, match="v: "):
        xyz_of(vec_message([1, np.nan, 3]), "v")
    api = version_message("x").grpc_api_version
    assert (api.major, api.minor, api.patch) == API_VERSION == (0, 54, 0)


LENSES: list[CameraModel] = [
    FTheta(1920, 1080, 950.0, 545.0, (0.0, 900.0, 3.0, -20.0), (), linear_cde=(1.01, 0.002, -0.001)),
    FTheta(
        1920, 1080, 960.0, 540.0, (), (0.0, 1.1e-3, 1e-8), reference="pixeldist_to_angle", max_angle_rad=1.2
    ),
    Pinhole(1280, 720, 800.0, 805.0, 640.0, 350.0),
    Pinhole(1280, 720, 800.0, 805.0, 640.0, 350.0, (0.05, -0.02, 1e-3, -2e-3, 0.01)),
    Pinhole(1280, 720, 800.0, 805.0, 640.0, 350.0, tuple(0.001 * k for k in range(1, 13))),
    Fisheye(1000, 800, 350.0, 352.0, 500.0, 400.0, (0.01, -0.003, 1e-3, -1e-4), max_angle_rad=1.6),
]


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: type(lens).__name__)
def test_lenses_survive_the_wire(lens: CameraModel) -> None:
    spec = sensorsim_pb2.CameraSpec.FromString(camera_spec(lens, "camera_x").SerializeToString())
    again = camera_model(spec)
    assert type(again) is type(lens) and spec.logical_id == "camera_x"
    assert (again.width, again.height) == (lens.width, lens.height)
    points = np.random.default_rng(1).normal(size=(200, 3)) + np.array([0.0, 0.0, 2.0])
    for mine, theirs in zip(lens.project(points), again.project(points), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("lens", [*LENSES[:2], *(camera.model for camera in default_cameras())])
def test_the_inverse_of_an_f_theta_polynomial_is_close(lens: FTheta) -> None:
    p = camera_spec(lens, "x").ftheta_param
    corner = np.array([[0.0, 0.0], [lens.width - 1.0, lens.height - 1.0]])
    rays, seen = lens.unproject(corner)
    widest = np.arctan2(np.hypot(rays[:, 0], rays[:, 1]), rays[:, 2])[seen].max(initial=0.8)
    theta = np.linspace(0.0, widest, 50)
    radius = np.polynomial.polynomial.polyval(theta, list(p.angle_to_pixeldist_poly))
    back = np.polynomial.polynomial.polyval(radius, list(p.pixeldist_to_angle_poly))
    assert np.abs(back - theta).max() < 2e-3  # under two pixels: whoever wants more takes the exact one


def test_what_is_no_lens_is_refused_by_name() -> None:
    spec = camera_spec(LENSES[0], "camera_x")
    spec.ftheta_param.reference_poly = 0
    with pytest.raises(InvalidInput, match="camera 'camera_x': reference_poly"):
        camera_model(spec)
    spec = camera_spec(LENSES[0], "camera_x")
    spec.resolution_h = 0
    with pytest.raises(InvalidInput, match="resolution_h: expected"):
        camera_model(spec)
    spec = camera_spec(LENSES[0], "camera_x")
    spec.bivariate_windshield_model_param.horizontal_poly.append(1.0)
    with pytest.raises(InvalidInput, match="expected no external distortion"):
        camera_model(spec)
    spec = camera_spec(LENSES[-1], "camera_x")
    spec.opencv_fisheye_param.radial_coeffs.append(0.1)
    with pytest.raises(InvalidInput, match="radial_coeffs: expected at most 4"):
        camera_model(spec)
    with pytest.raises(InvalidInput, match="got none"):
        camera_model(sensorsim_pb2.CameraSpec(resolution_h=1, resolution_w=1))

    class Mirror:
        width = height = 10

    with pytest.raises(InvalidInput, match="got Mirror"):
        camera_spec(Mirror(), "x")  # type: ignore[arg-type]


def test_the_lenses_of_a_real_log_come_back_as_they_were(golden_dir) -> None:
    data, at, checked = (golden_dir / "alpasim" / "rollout.asl").read_bytes(), 0, 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        entry = logging_pb2.LogEntry.FromString(data[at + 4 : at + 4 + length])
        at += 4 + length
        if entry.WhichOneof("log_entry") != "available_cameras_return":
            continue
        for camera in entry.available_cameras_return.available_cameras:
            there = camera_spec(camera_model(camera.intrinsics), camera.logical_id)
            there.shutter_type = camera.intrinsics.shutter_type
            if not camera.intrinsics.ftheta_param.HasField("linear_cde"):
                there.ftheta_param.ClearField("linear_cde")
            assert there == camera.intrinsics
            checked += 1
    assert checked == 4
