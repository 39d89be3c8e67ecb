"""Feeds a visualizer from a process of its own: plans, odometry, four cameras; and looks at overlays."""

from __future__ import annotations

import multiprocessing
import time
from types import TracebackType
from typing import Any


class Feed:
    """Runs in a child process while the block lasts.

    Args:
        namespace: of the visualizer.
        jpegs: a picture of each camera.
        samples: candidates of a plan.
    """

    def __init__(self, namespace: str, jpegs: dict[int, bytes], *, samples: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._looks = context.Event()
        self._ends = context.Event()
        arguments = (namespace, jpegs, samples, self._looks, self._ends)
        self._process = context.Process(target=_run, args=arguments, daemon=True)

    def __enter__(self) -> Feed:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._process.join(20)

    def look(self, yes: bool) -> None:
        """Subscribe to all overlays, or to none."""
        (self._looks.set if yes else self._looks.clear)()


def _run(namespace: str, jpegs: dict[int, bytes], samples: int, looks: Any, ends: Any) -> None:
    import numpy as np
    import rclpy
    from geometry_msgs.msg import TransformStamped
    from nav_msgs.msg import Odometry
    from rclpy.node import Node
    from scipy.spatial.transform import Rotation
    from sensor_msgs.msg import CompressedImage
    from tf2_msgs.msg import TFMessage

    from alpamayo_ros.msg import Plan as PlanMsg
    from alpamayo_ros.ros.conversions import stamp_from_ns
    from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
    from alpamayo_ros.ros.qos import latched_qos
    from alpamayo_ros.sensing.rigid import compose
    from alpamayo_ros.sim.cameras import default_cameras
    from alpamayo_ros.types import camera_name
    from benchmarks.visualizer import HZ, SPEED_MPS, plan

    rclpy.init()
    node = Node("feed", namespace=namespace)
    plans = node.create_publisher(PlanMsg, "plan", 10)
    odometry = node.create_publisher(Odometry, "odometry", 50)
    transforms = node.create_publisher(TFMessage, "/tf_static", latched_qos())
    cameras = {
        i: node.create_publisher(CompressedImage, f"camera/{camera_name(i)}/image/compressed", 5)
        for i in jpegs
    }
    message = TFMessage()
    for camera in default_cameras():
        stamped = TransformStamped(child_frame_id=f"{namespace[1:]}_{camera.camera_id}")
        stamped.header.frame_id = "base_link"
        t, q = stamped.transform.translation, stamped.transform.rotation
        t.x, t.y, t.z = camera.rig_from_camera[:3, 3].tolist()
        q.x, q.y, q.z, q.w = Rotation.from_matrix(camera.rig_from_camera[:3, :3]).as_quat().tolist()
        message.transforms.append(stamped)
    transforms.publish(message)
    listening: list[Any] = []
    begun_ns = time.time_ns()
    number = 0
    while not ends.is_set():
        if looks.is_set() and not listening:
            listening = [
                node.create_subscription(CompressedImage, f"overlay/{camera_name(i)}", lambda _: None, 5)
                for i in jpegs
            ]
        stamp_ns = begun_ns + number * 10**9 // (5 * HZ)
        time.sleep(max(0.0, (stamp_ns - time.time_ns()) / 1e9))
        x = SPEED_MPS * (stamp_ns - begun_ns) / 1e9
        sample = Odometry(child_frame_id="base_link")
        sample.header.stamp, sample.header.frame_id = stamp_from_ns(stamp_ns), "odom"
        sample.pose.pose.position.x, sample.pose.pose.orientation.w = x, 1.0
        odometry.publish(sample)
        if number % 5 == 0:
            for i, jpeg in jpegs.items():
                picture = CompressedImage(format="jpeg")
                picture.data.frombytes(jpeg)
                picture.header.stamp, picture.header.frame_id = (
                    stamp_from_ns(stamp_ns),
                    f"{namespace[1:]}_{i}",
                )
                cameras[i].publish(picture)
            published = PublishedPlan(
                plan=plan(stamp_ns, samples, number),
                rig_frame="base_link",
                odometry_frame="odom",
                odom_from_rig_t0=compose(np.eye(3), (x, 0, 0)),
                valid_until_ns=stamp_ns + 10**9,
                status=PlanStatus.VALID,
                instruction="Turn left in 30 m",
            )
            plans.publish(plan_to_msg(published))
        rclpy.spin_once(node, timeout_sec=0.0)
        number += 1
    node.destroy_node()
    rclpy.try_shutdown()
