"""The drive that never happened: consistent geometry, reproducible, refusing what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.synthetic.bag import SyntheticDrive, write_synthetic_bag
from alpamayo_ros.bags.synthetic.camera import FOV_DEG, SyntheticCamera
from alpamayo_ros.bags.synthetic.course import Course
from alpamayo_ros.bags.synthetic.scene import make_scene
from alpamayo_ros.cli.main import main
from alpamayo_ros.sensing.rig import ROLE_FOV_DEG, load_rig
from alpamayo_ros.types import InvalidInput


@settings(max_examples=20, deadline=None)
@given(time_s=st.floats(0.05, 11.9))
def test_poses_agree_with_speed_and_yaw_rate(time_s: float) -> None:
    course, h = Course(seconds=12.0), 0.02
    a, b, pose = course.pose(time_s - h), course.pose(time_s + h), course.pose(time_s)
    assert np.hypot(b.x_m - a.x_m, b.y_m - a.y_m) / (2 * h) == pytest.approx(pose.speed_mps, abs=0.05)
    assert (b.yaw_rad - a.yaw_rad) / (2 * h) == pytest.approx(pose.yaw_rate_radps, abs=0.03)
    heading = np.arctan2(b.y_m - a.y_m, b.x_m - a.x_m)
    assert heading == pytest.approx(pose.yaw_rad, abs=0.02)


def test_the_drive_starts_at_the_identity_and_turns() -> None:
    course = Course(seconds=12.0)
    start, end = course.pose(0.0), course.pose(12.0)
    assert (start.x_m, start.y_m, start.yaw_rad) == pytest.approx((0, 0, 0), abs=1e-9)
    assert end.yaw_rad > 1.0
    assert 80 < course.driven_m < 130


def test_cameras_have_the_roles_fields_of_view() -> None:
    assert FOV_DEG == ROLE_FOV_DEG
    for camera_id, fov_deg in enumerate(FOV_DEG):
        camera = SyntheticCamera(camera_id, 640, 360)
        assert np.rad2deg(2 * np.arctan(320 / camera.focal_px)) == pytest.approx(fov_deg)
        rotation = camera.rig_from_camera[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.allclose(rotation[:, 1], [0, 0, -1])  # the image's downwards is the world's


def test_the_lane_is_drawn_where_the_camera_matrix_projects_it() -> None:
    """Paint on the right edge of the lane must appear at its projected pixels, grass beside it must not."""
    course = Course(seconds=3.0)
    scene = make_scene(course, seed=3, finest_m=0.06)
    camera = SyntheticCamera(1, 960, 540)
    pose = course.pose(1.0)
    image = cv2.cvtColor(camera.render(scene, pose), cv2.COLOR_BGR2GRAY).astype(float)
    edge = -course.lane_width_m / 2 + 0.15

    def brightness(left_m: float) -> float:
        values = []
        for ahead_m in np.arange(4.0, 9.0, 0.25):
            in_camera = np.linalg.inv(camera.rig_from_camera) @ (ahead_m, left_m, 0.0, 1.0)
            pixel = camera.intrinsics @ in_camera[:3] / in_camera[2]
            values.append(image[round(pixel[1]), round(pixel[0])])
        return float(np.median(values))

    assert brightness(edge) > brightness(edge - 0.35) + 60
    assert brightness(edge) > brightness(edge + 0.35) + 60


def test_turning_the_vehicle_moves_the_distance_by_the_angle() -> None:
    """Far things shift by focal length times angle: the image turns with the vehicle, and the right way."""
    course = Course(seconds=3.0)
    scene = make_scene(course, seed=1, finest_m=0.4)
    camera = SyntheticCamera(6, 960, 540)
    pose = course.pose(0.0)
    turn = np.deg2rad(1.0)
    turned = type(pose)(pose.x_m, pose.y_m, pose.yaw_rad + turn, pose.speed_mps, 0.0)
    before, after = (
        cv2.cvtColor(camera.render(scene, p), cv2.COLOR_BGR2GRAY)[120:266].astype(np.float32)
        for p in (pose, turned)
    )
    (shift, _), _ = cv2.phaseCorrelate(before, after, cv2.createHanningWindow(before.shape[::-1], cv2.CV_32F))
    assert shift == pytest.approx(camera.focal_px * np.tan(turn), abs=2.0)  # to the left: things go right


def test_the_bag_holds_what_the_rig_wants(drive_bag: Path) -> None:
    rig = load_rig("default")
    with BagReader(drive_bag) as bag:
        bag.require_topics([c.topic for c in rig.cameras] + ["/odom", "/tf_static"], why="the rig's")
        assert bag.topics["/odom"].count == 151
        stamps = {}
        for message in bag.messages():
            content = bag.decode(message)
            if message.topic == "/tf_static":
                assert [t.child_frame_id for t in content.transforms] == [
                    f"camera_{c.name}" for c in rig.cameras
                ]
                continue
            stamps.setdefault(message.topic, []).append(message.stamp_ns)
            assert content.header.stamp.sec * 10**9 + content.header.stamp.nanosec == message.stamp_ns
            if message.topic == rig.cameras[0].topic:
                image = cv2.imdecode(np.asarray(content.data), cv2.IMREAD_COLOR)
                assert image.shape == (108, 192, 3)
                assert image.std() > 20
    for camera in rig.cameras:
        assert np.array_equal(np.diff(stamps[camera.topic]), np.full(30, 100_000_000))


def test_the_same_seed_gives_the_same_bag(tmp_path: Path) -> None:
    drive = SyntheticDrive(seconds=3.0, camera_hz=2, width=96, height=54, seed=5)
    for name in ("a", "b"):
        write_synthetic_bag(tmp_path / name / "bag", load_rig("default"), drive=drive)
    files = [(tmp_path / name / "bag" / "bag_0.mcap").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_raw_cameras_send_images(tmp_path: Path) -> None:
    rig_file = tmp_path / "rig.yaml"
    rig_file.write_text(
        "name: raw\nodometry: {topic: /odom}\ncameras: [{role: front_wide, topic: /image, transport: raw}]\n"
    )
    drive = SyntheticDrive(seconds=3.0, camera_hz=1, width=64, height=36)
    write_synthetic_bag(tmp_path / "bag", load_rig(rig_file), drive=drive)
    with BagReader(tmp_path / "bag") as bag:
        image = bag.decode(next(bag.messages(["/image"])))
    assert (image.encoding, image.step, len(image.data)) == ("rgb8", 192, 64 * 36 * 3)
    blue_sky = np.asarray(image.data).reshape(36, 64, 3)[0].mean(axis=0)
    assert blue_sky[2] > blue_sky[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--seconds", "1"], "seconds: expected 3 ... 120, got 1"),
        (["--hz", "0.1"], "--hz: expected 1 ... 60"),
        (["--size", "9x9"], "width: expected"),
        (["--rig", "nobody"], "rig: expected"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bag", "synthetic", str(tmp_path / "bag"), *options]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()


def test_bag_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "bag")
    assert main(["bag", "synthetic", folder, "--seconds", "3", "--hz", "2", "--size", "96x54"]) == 0
    assert main(["bag", "info", folder]) == 0
    output = capsys.readouterr().out
    assert "/tf_static" in output
    assert "latched" in output
    assert "50.33 Hz  nav_msgs/msg/Odometry" in output
    assert main(["bag", "info", str(tmp_path / "none")]) == 2
    assert main(["bag", "synthetic", folder]) == 2
    with pytest.raises(SystemExit):
        main(["bag", "synthetic", folder, "--size", "big"])
    with pytest.raises(InvalidInput):
        SyntheticDrive(seed=-1)
