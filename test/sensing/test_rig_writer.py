"""A rig that is written and read again is the same rig."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.rig import CameraConfig, ModelCamera, Rig, load_rig, nominal_model, rig_folders
from alpamayo_ros.sensing.rig_writer import rig_yaml, write_rig_file
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.types import InvalidInput

SIZE = {"width": 640, "height": 360}
LENSES: tuple[CameraModel, ...] = (
    FTheta(
        **SIZE,
        cx=318.1,
        cy=181.7,
        angle_to_pixeldist=(0.0, 305.2, -3.1, 1e-5, -7.25),
        pixeldist_to_angle=(0.0, 0.00327, 1.1e-7),
        linear_cde=(1.01, 1e-4, -2e-4),
        max_angle_rad=1.2,
    ),
    FTheta(**SIZE, cx=319.5, cy=179.5, pixeldist_to_angle=(0.0, 0.0033), reference="pixeldist_to_angle"),
    Pinhole(**SIZE, fx=400.5, fy=401.25, cx=320.0, cy=180.0, distortion=(-0.1, 0.02, 1e-4, -2e-4, 0.003)),
    Fisheye(
        **SIZE, fx=300.0, fy=301.0, cx=320.0, cy=180.0, distortion=(0.1, 0.0, 0.01, 0.0), max_angle_rad=1.7
    ),
)


def pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return compose(Rotation.random(random_state=seed).as_matrix(), rng.uniform(-2, 2, 3))


def assert_same(rig: Rig, other: Rig) -> None:
    for name in ("name", "rig_frame", "reference_camera_id", "odometry_topic", "camera_ids"):
        assert getattr(rig, name) == getattr(other, name)
    assert rig.rig_from_child.keys() == other.rig_from_child.keys()
    for child, child_pose in rig.rig_from_child.items():
        np.testing.assert_allclose(other.rig_from_child[child], child_pose, atol=1e-12)
    for a, b in zip(rig.cameras, other.cameras, strict=True):
        assert (a.topic, a.transport, a.info_topic, a.rectified) == (
            b.topic,
            b.transport,
            b.info_topic,
            b.rectified,
        )
        assert_same_lens(a.intrinsics, b.intrinsics)
        assert (a.rig_from_camera is None) == (b.rig_from_camera is None)
        if a.rig_from_camera is not None:
            np.testing.assert_allclose(b.rig_from_camera, a.rig_from_camera, atol=1e-12)
        assert (a.model_camera is None) == (b.model_camera is None)
        if a.model_camera is not None and b.model_camera is not None:
            assert_same_lens(a.model_camera.model, b.model_camera.model)
            np.testing.assert_allclose(
                b.model_camera.camera_from_virtual, a.model_camera.camera_from_virtual, atol=1e-12
            )


def assert_same_lens(a: CameraModel | None, b: CameraModel | None) -> None:
    assert type(a) is type(b)
    if a is not None and b is not None:
        points = np.random.default_rng(0).uniform((-3, -2, 1), (3, 2, 9), (200, 3))
        np.testing.assert_allclose(b.project(points)[0], a.project(points)[0], atol=1e-9)
        assert (a.width, a.height) == (b.width, b.height)


def test_every_lens_and_place_comes_back(tmp_path: Path) -> None:
    cameras = [
        CameraConfig(
            camera_id=i,
            topic=f"/camera/{i}",
            info_topic=f"/camera/{i}/info" if i else None,
            transport="raw" if i == 2 else "compressed",
            rectified=i == 2,
            intrinsics=lens,
            rig_from_camera=pose(i),
        )
        for i, lens in enumerate(LENSES)
    ]
    virtual = ModelCamera(nominal_model(6, width=576, height=320), pose(9)[:3, :3])
    cameras.append(CameraConfig(camera_id=6, topic="/tele", info_topic="/tele/info", model_camera=virtual))
    rig = Rig(
        name="all of them",
        cameras=tuple(cameras),
        reference_camera_id=3,
        rig_frame="rear_axle",
        odometry_topic="/localisation/odom",
        rig_from_child={"imu_link": pose(20)},
    )
    file = tmp_path / "deeper" / "rig.yaml"
    write_rig_file(rig, file, notes=("Written by a test.",))
    assert file.read_text().startswith("# Written by a test.\n")
    assert_same(rig, load_rig(file))


@pytest.mark.parametrize("name", sorted(file.stem for file in rig_folders()[0].glob("*.yaml")))
def test_the_rigs_that_ship_come_back(name: str, tmp_path: Path) -> None:
    rig = load_rig(name)
    write_rig_file(rig, tmp_path / "again.yaml")
    assert_same(rig, load_rig(tmp_path / "again.yaml"))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text("mine")
    with pytest.raises(InvalidInput, match=r"rig\.yaml: expected a new file, got one that exists"):
        write_rig_file(load_rig("default"), file)
    assert file.read_text() == "mine"


def test_a_lens_of_another_kind_is_refused() -> None:
    class Strange:
        width, height = 4, 3

    camera = CameraConfig(camera_id=1, topic="/a", intrinsics=Strange())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="expected a pinhole, fisheye or ftheta lens, got Strange"):
        rig_yaml(Rig(name="x", cameras=(camera,)))
