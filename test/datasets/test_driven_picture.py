"""Where the vehicle went is painted where the road is; what cannot be painted is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.synthetic.bag import ODOMETRY_TOPIC, START_NS, SyntheticDrive, write_synthetic_bag
from alpamayo_ros.bags.synthetic.camera import SyntheticCamera
from alpamayo_ros.bags.synthetic.course import Course
from alpamayo_ros.cli.main import main
from alpamayo_ros.datasets.driven_picture import driven_picture
from alpamayo_ros.sensing.rig import Rig, load_rig

SECONDS, WIDTH, HEIGHT = 6.0, 320, 180


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "drive"
    drive = SyntheticDrive(seconds=SECONDS, camera_hz=5, width=WIDTH, height=HEIGHT)
    write_synthetic_bag(path, load_rig("default"), drive=drive)
    return path


@pytest.fixture
def rig() -> Rig:
    return replace(load_rig("default"), odometry_topic=ODOMETRY_TOPIC)


def tiles(picture: np.ndarray) -> dict[str, np.ndarray]:
    rows = [half for row in np.split(picture, 2) for half in np.split(row, 2, axis=1)]
    return dict(zip(("cross_left", "front_wide", "cross_right", "front_tele"), rows, strict=True))


def plain(bag: BagReader, topic: str, index: int) -> np.ndarray:
    message = bag.decode(list(bag.messages([topic]))[index])
    data = np.frombuffer(bytes(message.data), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_the_way_ahead_is_painted_where_it_will_be_driven(bag: Path, rig: Rig) -> None:
    with BagReader(bag) as opened:
        shown = tiles(driven_picture(opened, rig, width=WIDTH))["front_wide"].astype(int)
        index = int(0.4 * (SECONDS * 5))
        before = plain(opened, rig.camera(1).topic, index).astype(int)
        message = opened.decode(list(opened.messages([rig.camera(1).topic]))[index])
    time_s = (message.header.stamp.sec * 10**9 + message.header.stamp.nanosec - START_NS) * 1e-9
    course, camera = Course(seconds=SECONDS), SyntheticCamera(1, WIDTH, HEIGHT)
    here = course.pose(time_s)
    painted = np.abs(shown - before).sum(axis=2) > 25
    painted[:24, -100:] = False  # the camera's name
    checked = 0
    for ahead_s in np.arange(0.6, SECONDS - time_s, 0.3):
        there = course.pose(time_s + ahead_s)
        dx, dy = there.x_m - here.x_m, there.y_m - here.y_m
        cos, sin = np.cos(here.yaw_rad), np.sin(here.yaw_rad)
        in_rig = np.array([cos * dx + sin * dy, -sin * dx + cos * dy, 0.0, 1.0])
        x, y, z = (np.linalg.inv(camera.rig_from_camera) @ in_rig)[:3]
        u, v = (camera.intrinsics @ (x / z, y / z, 1.0))[:2]
        if z > 2 and 3 < u < WIDTH - 3 and 3 < v < HEIGHT - 3:
            assert painted[round(v), round(u)], f"{ahead_s:.1f} s ahead, at {u:.0f}, {v:.0f}"
            checked += 1
    assert checked >= 6
    assert not painted[: HEIGHT // 2 - 12].any()  # nothing in the sky
    assert 0.005 < painted.mean() < 0.4


def test_the_command_writes_a_picture_of_all_cameras(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "look.jpg"
    assert main(["bag", "look", str(bag), "--odometry", "/odom", "--out", str(out)]) == 0
    assert "must lie on the road" in capsys.readouterr().out
    picture = cv2.imread(str(out))
    assert picture is not None and picture.shape == (2 * 540, 2 * 960, 3)


def test_an_odd_number_of_cameras_leaves_one_place_black(bag: Path, rig: Rig) -> None:
    with BagReader(bag) as opened:
        one = driven_picture(opened, replace(rig, cameras=rig.cameras[1:2]), width=64)
        three = driven_picture(opened, replace(rig, cameras=rig.cameras[:3]), width=64)
    assert one.shape == (36, 64, 3) and three.shape == (72, 128, 3)
    assert not three[36:, 64:].any()


def test_what_is_missing_is_refused(bag: Path, rig: Rig, tmp_path: Path) -> None:
    with BagReader(bag) as opened:
        with pytest.raises(BagError, match=r"expected odometry at .*, got none"):
            driven_picture(opened, replace(rig, odometry_topic="/nowhere"))
        elsewhere = replace(rig.cameras[0], topic="/nowhere")
        with pytest.raises(BagError, match=r"expected a picture on /nowhere around .*, got none"):
            driven_picture(opened, replace(rig, cameras=(elsewhere, *rig.cameras[1:])))
        alone = replace(rig, cameras=(elsewhere,), reference_camera_id=-1)
        with pytest.raises(BagError, match="expected pictures of the reference camera, got none"):
            driven_picture(opened, alone)
    nowhere = str(tmp_path / "no" / "x.jpg")
    assert main(["bag", "look", str(bag), "--odometry", "/odom", "--out", nowhere]) == 2
