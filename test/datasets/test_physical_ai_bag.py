"""A clip's bag: what was recorded, at its stamps, in its places, and usable by the rest of the stack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("physical_ai_av", reason="the extra `dataset` is not installed")

import clip_factory as factory
from clip_factory import COLOURS, COMPLETE, DRIVE, WRITTEN

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.views import camera_info_of, recorded_parents, recorded_views
from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.clip import Clip, read_clip
from alpamayo_ros.datasets.physical_ai.names import stamp_ns
from alpamayo_ros.datasets.physical_ai.source import open_folder
from alpamayo_ros.datasets.physical_ai.to_bag import BagSettings, WrittenBag, write_bag
from alpamayo_ros.sensing.camera_info import model_from_camera_info
from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput

NAMES = tuple(CAMERA_NAMES[i] for i in USUAL_CAMERA_IDS)
FEATURES = list(zip(NAMES, WRITTEN, strict=True))


@pytest.fixture(scope="module")
def clip(repository: Path) -> Clip:
    return read_clip(open_folder(repository), COMPLETE, camera_ids=USUAL_CAMERA_IDS)


@pytest.fixture(scope="module")
def written(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> WrittenBag:
    return write_bag(clip, tmp_path_factory.mktemp("bags") / "clip")


@pytest.fixture(scope="module")
def rig(written: WrittenBag) -> Rig:
    return load_rig(written.rig_file)


@pytest.fixture
def bag(written: WrittenBag) -> Iterator[BagReader]:
    with BagReader(written.bag) as opened:
        yield opened


def header_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def contents(bag: BagReader, topic: str) -> list[tuple[int, Any]]:
    return [(message.stamp_ns, bag.decode(message)) for message in bag.messages([topic])]


def matrix(position: Any, q: Any) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    pose[:3, 3] = (position.x, position.y, position.z)
    return pose


def test_everything_is_there_and_counted(bag: BagReader, written: WrittenBag) -> None:
    pictures = dict.fromkeys(NAMES, 60)
    assert written.pictures == pictures and written.poses == 401 and written.reasoning == 2
    assert written.remarks == ()
    expected = {"/odom": 401, "/tf": 401, "/tf_static": 1, "/dataset/reasoning": 2}
    for name in NAMES:
        expected |= {f"/camera/{name}/image/compressed": 60, f"/camera/{name}/camera_info": 60}
    assert {name: topic.count for name, topic in bag.topics.items()} == expected
    stamps = [message.stamp_ns for message in bag.messages()]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(("name", "feature"), FEATURES)
def test_pictures_have_their_own_stamps_to_the_microsecond(bag: BagReader, name: str, feature: str) -> None:
    expected = [stamp_ns(int(t)) for t in factory.stamps_us(feature, 2.0)]
    for topic in (f"/camera/{name}/image/compressed", f"/camera/{name}/camera_info"):
        messages = contents(bag, topic)
        assert [recorded for recorded, _ in messages] == expected
        assert [header_ns(message) for _, message in messages] == expected
        assert {message.header.frame_id for _, message in messages} == {f"camera_{name}"}


@pytest.mark.parametrize(("name", "feature"), FEATURES)
def test_landmarks_are_seen_where_lens_mount_odometry_and_stamp_put_them(
    bag: BagReader, rig: Rig, name: str, feature: str
) -> None:
    """Drawn by the package's projection, coded twice, found by colour; put there by rig file and odometry."""
    camera = rig.camera(CAMERA_NAMES.index(name))
    assert camera.intrinsics is not None and camera.rig_from_camera is not None
    poses = [
        (header_ns(m), matrix(m.pose.pose.position, m.pose.pose.orientation))
        for _, m in contents(bag, "/odom")
    ]
    stamps = np.array([stamp for stamp, _ in poses])
    checked = 0
    for at_ns, message in contents(bag, camera.topic)[::7]:
        image = cv2.imdecode(np.frombuffer(bytes(message.data), np.uint8), cv2.IMREAD_COLOR)[
            ..., ::-1
        ].astype(int)
        assert image.shape == (factory.HEIGHT, factory.WIDTH, 3)
        nearest = int(np.abs(stamps - at_ns).argmin())  # at most 5 ms, 4 cm away
        camera_from_anchor = np.linalg.inv(poses[nearest][1] @ camera.rig_from_camera)
        points = factory.LANDMARKS @ camera_from_anchor[:3, :3].T + camera_from_anchor[:3, 3]
        pixels, seen = camera.intrinsics.project(points)
        for colour, (x, y), in_sight in zip(COLOURS.astype(int), pixels, seen, strict=True):
            margin = factory.RADIUS_PX + 3
            if not in_sight or not (
                margin < x < factory.WIDTH - margin and margin < y < factory.HEIGHT - margin
            ):
                continue
            others = np.linalg.norm(pixels - (x, y), axis=1)
            if np.sort(others[np.isfinite(others)])[1] < 4 * factory.RADIUS_PX:
                continue  # behind another one
            v, u = np.nonzero(np.abs(image - colour).sum(axis=2) < 120)
            assert len(u) > 40, f"{name}: a disc of colour {colour} at {x:.0f}, {y:.0f}"
            np.testing.assert_allclose((u.mean(), v.mean()), (x, y), atol=0.8)
            checked += 1
    assert checked >= 8


def test_camera_info_says_the_lens_as_far_as_ros_can(bag: BagReader, rig: Rig) -> None:
    for camera in rig.cameras:
        assert camera.info_topic is not None and camera.intrinsics is not None
        _, message = contents(bag, camera.info_topic)[0]
        lens, exact = model_from_camera_info(camera_info_of(message)), camera.intrinsics
        u, v = np.meshgrid(np.linspace(0, exact.width - 1, 17), np.linspace(0, exact.height - 1, 11))
        pixels = np.stack([u.ravel(), v.ravel()], axis=1)
        rays, valid = exact.unproject(pixels)
        assert valid.all()
        assert np.linalg.norm(lens.project(rays)[0] - pixels, axis=1).max() < 0.5


def test_places_of_cameras_are_in_tf_and_in_the_rig_file(bag: BagReader, rig: Rig) -> None:
    parents = recorded_parents(bag)
    views = recorded_views(bag, rig)
    for camera, feature in zip(rig.cameras, WRITTEN, strict=True):
        parent, pose = parents[f"camera_{camera.name}"]
        assert parent == "base_link" == rig.rig_frame
        np.testing.assert_allclose(pose, factory.mount(feature), atol=1e-6)
        np.testing.assert_allclose(views[camera.camera_id].rig_from_camera, pose, atol=1e-6)
    without = replace(
        rig, cameras=tuple(replace(c, intrinsics=None, rig_from_camera=None) for c in rig.cameras)
    )
    assert recorded_views(bag, without).keys() == views.keys()  # the bag alone tells it, too


def test_odometry_is_the_drive(bag: BagReader) -> None:
    moving = dict(contents(bag, "/tf"))
    for at_ns, message in contents(bag, "/odom")[::20]:
        assert header_ns(message) == at_ns
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        truth = DRIVE.pose((at_ns - stamp_ns(0)) * 1e-9)
        np.testing.assert_allclose(
            matrix(message.pose.pose.position, message.pose.pose.orientation), truth, atol=1e-9
        )
        twist = message.twist.twist
        assert twist.linear.x == pytest.approx(DRIVE.speed_mps, rel=2e-3)
        assert abs(twist.linear.y) < 3e-3
        assert twist.angular.z == pytest.approx(DRIVE.yaw_rate_radps, rel=2e-3)
        (transform,) = moving[at_ns].transforms
        assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "base_link")
        np.testing.assert_allclose(
            matrix(transform.transform.translation, transform.transform.rotation), truth, atol=1e-9
        )


def test_reasoning_comes_at_its_moment(bag: BagReader) -> None:
    assert [(at_ns, message.data) for at_ns, message in contents(bag, "/dataset/reasoning")] == [
        (stamp_ns(700_000), "Keep the lane since it is clear."),
        (stamp_ns(1_600_000), "Slow down since the lead car brakes."),
    ]


def test_the_bag_says_where_it_is_from(written: WrittenBag, rig: Rig) -> None:
    metadata = yaml.safe_load((written.bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    told = metadata["custom_data"]
    assert told["clip_id"] == COMPLETE and told["clip_country"] == "Germany"
    assert told["revision"] == "folder" and told["clip_zero_ns"] == str(stamp_ns(0))
    assert told["pictures"] == "JPEG quality 95, all"
    assert rig.name == f"physical_ai_av_{COMPLETE}" and rig.odometry_topic == "/odom"
    assert rig.warnings == []  # fields of view are those of the roles
    assert COMPLETE in written.rig_file.read_text().splitlines()[0]


def test_ten_a_second_are_a_third_and_stay_together(clip: Clip, tmp_path: Path) -> None:
    written = write_bag(clip, tmp_path / "thin", settings=BagSettings(rate_hz=10, jpeg_quality=60))
    assert written.pictures == dict.fromkeys(NAMES, 20)
    with BagReader(written.bag) as bag:
        times = {
            name: np.array([at for at, _ in contents(bag, f"/camera/{name}/image/compressed")])
            for name in NAMES
        }
    reference = times["front_wide"]
    assert reference[0] == stamp_ns(int(clip.cameras[1].stamps_us[0]))
    assert np.abs(np.diff(reference) - 100_000_000).max() < 1_000_000
    for feature, name in zip(WRITTEN, NAMES, strict=True):
        assert np.abs(times[name] - reference).max() < 17_000_000
        assert set(times[name]) <= {stamp_ns(int(t)) for t in factory.stamps_us(feature, 2.0)}


def test_a_lens_that_camera_info_cannot_say_is_in_the_rig_file_and_remarked_on(
    clip: Clip, tmp_path: Path
) -> None:
    """Nothing but powers 1, 3, 5 ... fits an equidistant lens; a strong second power does not."""
    camera = clip.cameras[1]
    odd = replace(camera.lens, angle_to_pixeldist=(0.0, 160.0, -90.0, 60.0), pixeldist_to_angle=())
    short = replace(clip, cameras=(replace(camera, lens=odd),), reasoning=())
    written = write_bag(short, tmp_path / "odd")
    (remark,) = written.remarks
    assert remark.startswith("front_wide has no CameraInfo, its lens is in the rig file alone: ")
    with BagReader(written.bag) as bag:
        assert "/camera/front_wide/camera_info" not in bag.topics and "/dataset/reasoning" not in bag.topics
    lens = load_rig(written.rig_file).cameras[0].intrinsics
    assert lens == odd


def test_the_rig_file_goes_where_it_is_wanted(clip: Clip, tmp_path: Path) -> None:
    one = replace(clip, cameras=clip.cameras[1:2])
    written = write_bag(one, tmp_path / "a" / "clip", rig_file=tmp_path / "b" / "mine.yaml")
    assert written.rig_file == tmp_path / "b" / "mine.yaml" and written.rig_file.is_file()
    assert not (written.bag / "rig.yaml").exists()
    assert load_rig(written.rig_file).camera_ids == (1,)


def test_nothing_is_overwritten(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    with pytest.raises(BagError, match="clip: expected a new folder, got one that exists"):
        write_bag(clip, tmp_path / "clip")
    (tmp_path / "rig.yaml").write_text("mine")
    with pytest.raises(InvalidInput, match=r"rig\.yaml: expected a new file, got one that exists"):
        write_bag(clip, tmp_path / "other", rig_file=tmp_path / "rig.yaml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip", "rig.yaml"]


def test_a_broken_video_leaves_nothing_behind(clip: Clip, tmp_path: Path) -> None:
    broken = replace(clip.cameras[2], video=clip.cameras[2].video[:5000])
    cameras = (*clip.cameras[:2], broken, clip.cameras[3])
    with pytest.raises(DatasetError, match=f"clip {COMPLETE}: camera cross_right: video: expected a video"):
        write_bag(replace(clip, cameras=cameras), tmp_path / "clip")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(clip: Clip, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bag(clip, tmp_path / "clip", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_size_than_the_lens_are_refused(clip: Clip, tmp_path: Path) -> None:
    camera = clip.cameras[1]
    other = replace(camera, lens=camera.lens.scaled_to(640, 360))
    with pytest.raises(DatasetError, match="expected pictures of the calibration's 640x360, got 320x180"):
        write_bag(replace(clip, cameras=(other,)), tmp_path / "clip")


@pytest.mark.parametrize(
    "settings", [{"rate_hz": 0.5}, {"rate_hz": 31.0}, {"jpeg_quality": 0}, {"jpeg_quality": 101}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(settings))}: expected 1 ... .*, got"):
        BagSettings(**settings)
