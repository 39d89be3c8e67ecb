"""Rig files: what they may say, and errors that name file, camera and key."""

# ruff: noqa: E501 (one error a line)

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.rig import CameraConfig, Rig, find_rig_file, load_rig, nominal_model, rig_folders
from alpamayo_ros.types import InvalidInput

PINHOLE = "{model: pinhole, width: 640, height: 400, fx: 300, fy: 301, cx: 320, cy: 200, distortion: [0.1, 0, 0, 0]}"
CALIBRATION = """
image_width: 1280
image_height: 720
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [600.0, 0, 650, 0, 610, 350, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.28, 0.09, 0.0007, -0.0004, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [550, 0, 640, 0, 0, 550, 360, 0, 0, 0, 1, 0]}
"""


def write(folder: Path, camera: str = "", top: str = "") -> Path:
    file = folder / "car.yaml"
    file.write_text(f"{top}\ncameras:\n  - role: front_wide\n    topic: /front\n{camera}")
    return file


def test_the_default_rig_is_the_usual_four_cameras() -> None:
    rig = load_rig("default")
    assert rig.name == "default"
    assert rig.camera_ids == (0, 1, 2, 6)
    assert [c.name for c in rig.cameras] == ["cross_left", "front_wide", "cross_right", "front_tele"]
    assert rig.camera(1).topic == "/camera/front_wide/image/compressed"
    assert (rig.reference_camera_id, rig.rig_frame, rig.odometry_topic) == (1, "base_link", "odometry")
    assert rig.warnings == []


def test_every_named_rig_loads() -> None:
    names = {path.stem for folder in rig_folders() for path in folder.glob("*.yaml")}
    assert names >= {"default", "kitti"}
    for name in names:
        assert load_rig(name).camera_ids


def test_kitti_s_cameras_have_the_four_roles() -> None:
    rig = load_rig("kitti")
    assert rig.camera_ids == (0, 1, 2, 6)
    assert rig.odometry_topic == "/odom"
    assert rig.camera(1).topic == "/camera/front/image/compressed"


def test_names_are_found_where_the_package_is_installed(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "share" / "alpamayo_ros" / "config" / "rigs"
    folder.mkdir(parents=True)
    write(folder).rename(folder / "my_fleet.yaml")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert find_rig_file("my_fleet") == folder / "my_fleet.yaml"
    assert load_rig("my_fleet").name == "my_fleet"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"one of the named rigs \(default, kitti.*\), got 'kiti'"):
        load_rig("kiti")
    with pytest.raises(InvalidInput, match=r"rig: expected a file, got 'rigs/none.yaml', which is not there"):
        load_rig("rigs/none.yaml")


def test_everything_a_file_may_say(tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text(CALIBRATION)
    file = tmp_path / "car.yaml"
    file.write_text(f"""
name: truck
rig_frame: rear_axle
reference_camera: 6
odometry:
  topic: /ins/odometry
  body_frames:
    imu_link: {{xyz_m: [0.3, 0.1, 0.9], rpy_deg: [0, 0, 90]}}
    gnss: {{xyz_m: [0, 0, 2], quaternion_xyzw: [0, 0, 1, 0]}}
cameras:
  - role: front_tele
    topic: /tele
    transport: raw
    intrinsics: {PINHOLE}
  - role: 1
    topic: /front
    intrinsics: front.yaml
    mount: {{xyz_m: [1.5, 0, 1.4], body_rpy_deg: [0, 10, 0]}}
    model_camera:
      intrinsics: {{model: nominal, width: 960, height: 540}}
      rotation: {{rpy_deg: [0, 5, 0]}}
  - role: cross_left
    topic: left
    info_topic: left/camera_info
    rectified: true
    model_camera:
      intrinsics: {{model: ftheta, width: 1900, height: 1080, cx: 950, cy: 540, angle_to_pixeldist: [0, 900.5, 3],
                    linear_cde: [1.01, 0, 0], max_angle_deg: 70}}
  - role: cross_right
    topic: right
    intrinsics: {{model: fisheye, width: 1280, height: 800, fx: 400, fy: 400, cx: 640, cy: 400}}
""")
    rig = load_rig(file)
    assert (rig.name, rig.rig_frame, rig.odometry_topic) == ("truck", "rear_axle", "/ins/odometry")
    assert rig.camera_ids == (0, 1, 2, 6)
    assert rig.reference_camera_id == 6
    np.testing.assert_allclose(rig.rig_from_child["imu_link"] @ [1, 0, 0, 1], [0.3, 1.1, 0.9, 1], atol=1e-12)
    np.testing.assert_allclose(rig.rig_from_child["gnss"] @ [1, 0, 0, 1], [-1, 0, 2, 1], atol=1e-12)
    left, front, right, tele = rig.cameras
    assert tele.transport == "raw"
    assert tele.intrinsics == Pinhole(640, 400, 300, 301, 320, 200, distortion=(0.1, 0, 0, 0))
    assert front.intrinsics == Pinhole(
        1280, 720, 600, 610, 650, 350, distortion=(-0.28, 0.09, 0.0007, -0.0004, 0.0)
    )
    assert front.rig_from_camera is not None
    # A camera that looks 10 degrees down: its optical axis in the rig frame.
    axis = front.rig_from_camera[:3, :3] @ [0, 0, 1]
    np.testing.assert_allclose(axis, [np.cos(np.deg2rad(10)), 0, -np.sin(np.deg2rad(10))], atol=1e-12)
    assert front.model_camera is not None
    assert front.model_camera.model == nominal_model(1, width=960, height=540)
    expected = Rotation.from_euler("y", 5, degrees=True).as_matrix()
    np.testing.assert_allclose(front.model_camera.camera_from_virtual, expected, atol=1e-12)
    assert left.rectified
    assert left.model_camera is not None
    assert left.model_camera.model == FTheta(
        1900,
        1080,
        950,
        540,
        angle_to_pixeldist=(0, 900.5, 3),
        linear_cde=(1.01, 0, 0),
        max_angle_rad=np.deg2rad(70),
    )
    assert right.intrinsics == Fisheye(1280, 800, 400, 400, 640, 400)
    assert [w.split(":")[0] for w in rig.warnings] == ["camera cross_right", "camera front_tele"]


def test_a_rectified_camera_takes_p_of_its_calibration_file(tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text(CALIBRATION)
    rig = load_rig(write(tmp_path, "    intrinsics: front.yaml\n    rectified: true\n"))
    assert rig.camera(1).intrinsics == Pinhole(1280, 720, 550, 550, 640, 360)


def test_intrinsics_in_a_file_of_this_schema_and_of_opencv(tmp_path: Path) -> None:
    (tmp_path / "lens.yaml").write_text(yaml.safe_dump(yaml.safe_load(PINHOLE)))
    rig = load_rig(write(tmp_path, "    intrinsics: lens.yaml\n"))
    assert rig.camera(1).intrinsics == Pinhole(640, 400, 300, 301, 320, 200, distortion=(0.1, 0, 0, 0))
    opencv = CALIBRATION.replace("camera_matrix: {", "camera_matrix: !!opencv-matrix {")
    (tmp_path / "lens.yaml").write_text("%YAML:1.0\n---" + opencv)
    assert isinstance(load_rig(write(tmp_path, "    intrinsics: lens.yaml\n")).camera(1).intrinsics, Pinhole)


@pytest.mark.parametrize(
    ("camera", "top", "message"),
    [
        ("    topics: x", "", r"camera front_wide: topics: expected one of the keys role, topic, .*, got 'topics'"),
        ("    transport: theora", "", "camera front_wide: transport: expected one of raw, compressed, got 'theora'"),
        ("    transport: 3", "", "camera front_wide: transport: expected text, got 3"),
        ("    rectified: maybe", "", "camera front_wide: rectified: expected true or false, got 'maybe'"),
        ("    intrinsics: lost.yaml", "", "camera front_wide: intrinsics: expected a file or a mapping, got"),
        ("    intrinsics: [1, 2]", "", r"camera front_wide: intrinsics: expected a mapping of keys, got \[1, 2\]"),
        ("    intrinsics: {fx: 1}", "", "camera front_wide: intrinsics.model: expected a value, got none"),
        ("    intrinsics: {model: omni}", "", "intrinsics.model: expected one of pinhole, fisheye, .*, got 'omni'"),
        (f"    intrinsics: {PINHOLE.replace('fx: 300', 'fx: wide')}", "",
         "camera front_wide: intrinsics.fx: expected a finite number, got 'wide'"),
        (f"    intrinsics: {PINHOLE.replace('fx: 300', 'fx: -300')}", "",
         "camera front_wide: intrinsics.fx: expected a positive number, got -300"),
        (f"    intrinsics: {PINHOLE.replace('fx: 300, ', '')}", "",
         "camera front_wide: intrinsics.fx: expected a value, got none: the key is required"),
        (f"    intrinsics: {PINHOLE.replace('cx', 'skew: 1, cx')}", "", "intrinsics.skew: expected one of the keys"),
        (f"    intrinsics: {PINHOLE.replace('640', '640.5')}", "",
         "intrinsics.width: expected a positive whole number, got 640.5"),
        (f"    intrinsics: {PINHOLE.replace('[0.1, 0, 0, 0]', '[0.1, 0]')}", "",
         "camera front_wide: intrinsics.distortion: expected 0, 4, 5, 8 or 12 coefficients"),
        (f"    intrinsics: {PINHOLE.replace('[0.1, 0, 0, 0]', '[.nan, 0, 0, 0]')}", "",
         "intrinsics.distortion: expected a list of finite numbers, got nan in it"),
        ("    mount: {xyz_m: [1, 2], rpy_deg: [0, 0, 0]}", "", "mount.xyz_m: expected a list of 3 numbers"),
        ("    mount: {xyz_m: [1, 2, 3]}", "", "mount.rpy_deg: expected one of the keys rpy_deg, .*, got none"),
        ("    mount: {xyz_m: [1, 2, 3], quaternion_xyzw: [0, 0, 0, 2]}", "",
         "mount.quaternion_xyzw: quaternion: expected unit length"),
        ("    model_camera: {intrinsics: {model: nominal}}", "",
         "camera front_wide: model_camera: expected intrinsics or an info_topic to warp from, got neither"),
        ("    topic: /again", "", "line 5: expected each key once, got 'topic' twice"),
        ("  - role: front_wide\n    topic: /b", "", "cameras: expected each role once, got front_wide twice"),
        ("  - role: front_tele\n    topic: /front", "", "cameras: expected a topic for each camera, got '/front' twice"),
        ("  - role: middle\n    topic: /b", "", r"cameras\[1\].role: expected one of the roles 0 cross_left, .* got 'middle'"),
        ("  - role: 7\n    topic: /b", "", r"cameras\[1\].role: .* got 7"),
        ("  - topic: /b", "", r"cameras\[1\].role: expected a value, got none"),
        ("  - role: front_tele", "", "camera front_tele: topic: expected a value, got none: the key is required"),
        ("  - just text", "", r"cameras\[1\]: expected a mapping of keys, got 'just text'"),
        ("", "reference_camera: rear_tele", "reference_camera: expected one of front_wide, got rear_tele"),
        ("", "reference_camera: middle", "reference_camera: expected one of the roles"),
        ("", "rate: 10", "rate: expected one of the keys name, rig_frame, reference_camera, odometry, cameras"),
        ("", "odometry: {topic: ''}", "odometry.topic: expected text, got ''"),
        ("", "odometry: {frames: {}}", "odometry.frames: expected one of the keys topic, body_frames, got 'frames'"),
        ("", "odometry: {body_frames: {imu: {xyz_m: [0, 0, .inf], rpy_deg: [0, 0, 0]}}}",
         "odometry.body_frames.imu.xyz_m: expected a list of finite 3 numbers, got inf in it"),
        ("", "cameras: []", "expected each key once, got 'cameras' twice"),
        ("", "name: [", "expected YAML, got:"),
    ],
)  # fmt: skip
def test_errors_name_file_camera_and_key(tmp_path: Path, camera: str, top: str, message: str) -> None:
    file = write(tmp_path, camera, top)
    with pytest.raises(InvalidInput, match=message) as info:
        load_rig(file)
    assert str(info.value).startswith(f"{file}: ")


def test_a_file_without_cameras(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    for text, message in (
        ("name: x", "cameras: expected a value, got none"),
        ("cameras: []", "cameras: expected a list with at least one entry"),
        ("", "top level: expected a mapping of keys, got nothing"),
        ("- a\n- b", "top level: expected a mapping of keys"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=message):
            load_rig(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="expected a readable YAML file"):
        load_rig(file)


def test_errors_in_a_calibration_file_name_that_file(tmp_path: Path) -> None:
    calibration = tmp_path / "front.yaml"
    for text, message in (
        (
            CALIBRATION.replace("data: [600.0, ", "data: ["),
            "camera_matrix.data: expected a list of 9 numbers",
        ),
        (CALIBRATION.replace("600.0", "0"), "k: expected positive focal lengths"),
        (CALIBRATION.replace("plumb_bob", "omni"), "distortion_model: expected one of plumb_bob"),
        (CALIBRATION.replace("image_width: 1280", ""), "image_width: expected a value, got none"),
    ):
        calibration.write_text(text)
        file = write(tmp_path, "    intrinsics: front.yaml\n")
        with pytest.raises(InvalidInput, match=message) as info:
            load_rig(file)
        assert str(info.value).startswith(f"{file}: camera front_wide: intrinsics: {calibration}: ")


def test_the_errors_of_a_rig_built_in_code() -> None:
    with pytest.raises(InvalidInput, match="expected at least one camera, got none"):
        Rig(name="x", cameras=())
    with pytest.raises(InvalidInput, match="camera front_wide: topic: expected a topic name, got ''"):
        CameraConfig(camera_id=1, topic="")
    with pytest.raises(InvalidInput, match=r"camera id: expected one of 0 cross_left, .* got 9"):
        CameraConfig(camera_id=9, topic="/x")
    with pytest.raises(InvalidInput, match="rig_frame: expected a name, got ''"):
        Rig(name="x", cameras=(CameraConfig(camera_id=1, topic="/x"),), rig_frame="")
    with pytest.raises(InvalidInput, match=r"body frame imu: .* reflection"):
        Rig(
            name="x",
            cameras=(CameraConfig(camera_id=1, topic="/x"),),
            rig_from_child={"imu": np.diag([1.0, 1.0, -1.0, 1.0])},
        )


def test_a_rig_goes_to_other_processes() -> None:
    rig = load_rig("sim")
    placed = replace(rig, rig_from_child={"imu": np.diag([-1.0, -1.0, 1.0, 1.0])})
    again = pickle.loads(pickle.dumps(placed))
    assert repr(again) == repr(placed)
    np.testing.assert_array_equal(again.rig_from_child["imu"], placed.rig_from_child["imu"])
