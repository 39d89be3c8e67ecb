"""A real drive: no observation refused after the first two seconds, although cameras run at 9.7 Hz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sensing_events import Drive, S, take_all

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.camera_info import CameraInfo, model_from_camera_info
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sensing.rigid import from_quaternion


@pytest.mark.parametrize("odometry_first", [True, False])
def test_the_kitti_bag(bags_dir: Path, odometry_first: bool) -> None:
    from rosbags import highlevel

    rig = load_rig("kitti")
    pipelines = {camera.topic: FramePipeline(camera) for camera in rig.cameras}
    info_topics = {camera.info_topic: camera.topic for camera in rig.cameras}
    assembler, drive = ObservationAssembler(rig), Drive()
    with highlevel.AnyReader([bags_dir / "kitti_raw_0001_street"]) as reader:
        messages = [
            (time_ns, (connection.topic == rig.odometry_topic) != odometry_first, number, connection, raw)
            for number, (connection, time_ns, raw) in enumerate(reader.messages())
        ]
        start_ns = messages[0][0]
        for time_ns, _, _, connection, raw in sorted(messages, key=lambda m: m[:3]):
            message = reader.deserialize(raw, connection.msgtype)
            if connection.topic in pipelines:
                pipeline = pipelines[connection.topic]
                frame = pipeline.process_compressed(message.data, format=message.format).frame
                stamp = message.header.stamp
                assembler.add_frame(pipeline.camera.camera_id, stamp.sec * S + stamp.nanosec, frame)
            elif connection.topic == rig.odometry_topic:
                p, q = message.pose.pose.position, message.pose.pose.orientation
                stamp = message.header.stamp
                pose = from_quaternion([p.x, p.y, p.z], [q.x, q.y, q.z, q.w])
                assembler.add_odometry(
                    stamp.sec * S + stamp.nanosec, pose, child_frame=message.child_frame_id
                )
            elif connection.topic in info_topics:
                info = CameraInfo(
                    message.width, message.height, message.distortion_model, message.d, message.k
                )
                pipelines[info_topics[connection.topic]].set_intrinsics(model_from_camera_info(info))
            take_all(assembler, time_ns, drive)
    assert drive.refusals == []
    # 108 frames, of which the first 1.5 s are history. Where odometry comes first, all t0s are taken at once.
    assert len(drive.observations) >= 92
    assert drive.observations[0].t0_ns - start_ns < 1.7 * S
    assert drive.observations[0].frames[0].shape == (4, 3, 120, 397)
    speeds = [
        np.linalg.norm(np.diff(o.history_xyz_in_rig_t0[-3:], axis=0), axis=1).mean() / 0.1
        for o in drive.observations
    ]
    assert 10 < speeds[0] < 14
    assert 4 < speeds[-1] < 6
    assert all("near" in pipelines[camera.topic].warnings[0] for camera in rig.cameras), (
        "80 degrees are not 120"
    )
