"""Camera views from a recording: lens by CameraInfo, place by /tf_static."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.synthetic.camera import SyntheticCamera
from alpamayo_ros.bags.views import recorded_views
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.sensing.rig import load_rig


def test_views_project_as_the_cameras_that_drew_the_images(drive_bag: Path) -> None:
    rig = load_rig("default")
    with BagReader(drive_bag) as bag:
        views = recorded_views(bag, rig)
    assert set(views) == set(rig.camera_ids)
    for camera_id, view in views.items():
        camera = SyntheticCamera(camera_id, 192, 108)
        assert np.allclose(view.rig_from_camera, camera.rig_from_camera, atol=1e-9)
        point_in_camera = np.array([0.4, 0.2, 7.0])
        point = camera.rig_from_camera[:3, :3] @ point_in_camera + camera.rig_from_camera[:3, 3]
        expected = (camera.intrinsics @ point_in_camera)[:2] / 7.0
        behind = camera.rig_from_camera[:3, 3] - camera.rig_from_camera[:3, 2]
        assert np.allclose(view.pixels(np.array([point, behind]), width=192), [expected], atol=1e-6)
        assert np.allclose(view.pixels(point[None], width=384), [2 * expected], atol=1e-6)


def test_cameras_of_unknown_place_are_left_out(drive_bag: Path, tmp_path: Path) -> None:
    rig = load_rig("default")
    with BagReader(drive_bag) as source, BagWriter(tmp_path / "bag") as writer:
        for topic in source.topics.values():
            writer.add_topic(topic.name, topic.type_name)
        types = writer.typestore.types
        transforms = source.decode(next(source.messages(["/tf_static"]))).transforms
        first, second, third, _ = transforms
        # One by way of another frame, one below a frame that nothing connects, two in a circle.
        third.header.frame_id, second.header.frame_id = "nowhere", second.child_frame_id
        middle = source.typestore.types["geometry_msgs/msg/TransformStamped"](
            header=first.header, child_frame_id="mast", transform=first.transform
        )
        chained = type(first)(
            header=type(first.header)(stamp=first.header.stamp, frame_id="mast"),
            child_frame_id=first.child_frame_id,
            transform=third.transform,
        )
        message = types["tf2_msgs/msg/TFMessage"](transforms=[middle, chained, second, third])
        writer.write_message("/tf_static", source.start_ns, message)
        for recorded in source.messages():
            if recorded.topic != "/tf_static":
                writer.write(recorded.topic, recorded.stamp_ns, recorded.data)
    with BagReader(tmp_path / "bag") as bag:
        views = recorded_views(bag, rig)
    assert set(views) == {0}
    a, c = (SyntheticCamera(i, 192, 108).rig_from_camera for i in (0, 2))
    assert np.allclose(views[0].rig_from_camera, a @ c, atol=1e-9)


def test_kitti_cameras_stand_where_its_calibration_says(bags_dir: Path) -> None:
    with BagReader(bags_dir / "kitti_raw_0001_street") as bag:
        views = recorded_views(bag, load_rig("kitti"))
    assert set(views) == {0, 1, 2, 6}
    x, y, z = views[1].rig_from_camera[:3, 3]
    assert 0.5 < x < 2.5
    assert abs(y) < 0.6
    assert z == pytest.approx(1.65, abs=0.15)
