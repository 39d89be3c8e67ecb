"""Subscriptions of the planner node: cameras, CameraInfo, odometry, /tf_static and `instruction`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription

from alpamayo_ros.ros.conversions import OdometrySample, odometry_from_msg
from alpamayo_ros.ros.diagnostics import InputStatistics
from alpamayo_ros.ros.qos import LatchedSubscription, overridable, sensor_qos
from alpamayo_ros.ros.sensor_feed import SensorFeed
from alpamayo_ros.ros.static_transforms import StaticTransforms
from alpamayo_ros.sensing.camera_info import CameraInfo, model_from_camera_info
from alpamayo_ros.sensing.ego_motion import EgoMotion
from alpamayo_ros.sensing.rig import CameraConfig
from alpamayo_ros.types import InvalidInput

WARN_PERIOD_S = 5.0
_ODOMETRY_DEPTH = 50
_TF_DEPTH = 100


class PlannerInputs:
    """Feeds what arrives to a SensorFeed. Everything here runs on the executor and is short.

    Args:
        node: the node to subscribe with.
        feed: where camera images and odometry go.
        is_active: whether sensor data is wanted now.
        instruct: called with each navigation text.
        motion: keeps how the vehicle moves; None if nobody wants to know.

    Attributes:
        odometry: statistics of the odometry.
        odometry_frame: frame of the odometry that is being used; "" before there is any.
    """

    def __init__(
        self,
        node: LifecycleNode,
        feed: SensorFeed,
        *,
        is_active: Callable[[], bool],
        instruct: Callable[[str], None],
        motion: EgoMotion | None = None,
    ) -> None:
        from nav_msgs.msg import Odometry
        from std_msgs.msg import String
        from tf2_msgs.msg import TFMessage

        self._node = node
        self._feed = feed
        self._is_active = is_active
        self._motion = motion
        self._transforms = StaticTransforms()
        self._infos: dict[int, CameraInfo] = {}
        self.odometry = InputStatistics()
        self.odometry_frame = ""
        self._subscriptions: list[Subscription] = []
        for camera in feed.rig.cameras:
            self._subscribe_to_camera(camera)
        self._subscriptions.append(
            node.create_subscription(
                Odometry,
                feed.rig.odometry_topic,
                self._on_odometry,
                sensor_qos(depth=_ODOMETRY_DEPTH),
                qos_overriding_options=overridable(),
            )
        )
        self._latched = [
            LatchedSubscription(
                node, TFMessage, "/tf_static", callback=self._on_static_transforms, depth=_TF_DEPTH
            ),
            LatchedSubscription(node, String, "instruction", callback=lambda msg: instruct(msg.data)),
        ]

    def restart(self) -> None:
        """Take the frame of the next odometry message for the odometry frame: the buffers were cleared."""
        self.odometry_frame = ""
        self.odometry.clear_stamps()
        self.restart_motion()

    def restart_motion(self) -> None:
        """Forget how the vehicle moved: time went backwards."""
        if self._motion is not None:
            self._motion.clear()

    @property
    def speed_source(self) -> str:
        """Where the measured speed comes from: "twist", "poses", or "" where nobody keeps it."""
        if self._motion is None:
            return ""
        return "twist" if self._motion.reads_twist else "poses"

    def speed_mps(self) -> float:
        """Return the newest measured speed, 0 where there is none."""
        motion = None if self._motion is None else self._motion.newest()
        return 0.0 if motion is None else motion.speed_mps

    def destroy(self) -> None:
        """Stop receiving."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for latched in self._latched:
            latched.destroy()
        self._subscriptions.clear()
        self._latched.clear()

    def _subscribe_to_camera(self, camera: CameraConfig) -> None:
        from sensor_msgs.msg import CameraInfo as CameraInfoMsg
        from sensor_msgs.msg import CompressedImage, Image

        def add(message: Any, topic: str, callback: Callable[[Any], None], *, raw: bool) -> None:
            subscription = self._node.create_subscription(
                message, topic, callback, sensor_qos(), raw=raw, qos_overriding_options=overridable()
            )
            self._subscriptions.append(subscription)

        message = Image if camera.transport == "raw" else CompressedImage
        add(message, camera.topic, partial(self._on_image, camera.camera_id), raw=True)
        if camera.info_topic is not None and camera.intrinsics is None:
            add(CameraInfoMsg, camera.info_topic, partial(self._on_camera_info, camera), raw=False)

    def _on_image(self, camera_id: int, serialised: bytes) -> None:
        if self._is_active():
            self._feed.image(camera_id, serialised)

    def _on_camera_info(self, camera: CameraConfig, msg: Any) -> None:
        info = camera_info_fields(msg)
        if self._infos.get(camera.camera_id) == info:  # it comes with every image and is always the same
            return
        self._infos[camera.camera_id] = info
        try:
            model = model_from_camera_info(info, rectified=camera.rectified)
            warnings = self._feed.intrinsics(camera.camera_id, model)
        except InvalidInput as error:
            self._node.get_logger().error(f"camera {camera.name}: {error}")
            return
        for warning in warnings:
            self._node.get_logger().warning(warning)

    def _on_odometry(self, msg: Any) -> None:
        if not self._is_active():
            return
        self.odometry.count("received")
        try:
            sample = odometry_from_msg(msg, with_twist=self._motion is not None and self._motion.wants_twist)
            self._check_odometry_frame(sample)
            child_frame = sample.child_frame.removeprefix("/")
            self._feed.odometry(sample.stamp_ns, sample.odom_from_child, child_frame=child_frame)
            self._note_motion(sample, child_frame)
        except InvalidInput as error:
            self.odometry.count("rejected")
            self.odometry.problem = str(error)
            self._node.get_logger().warning(f"odometry refused: {error}", throttle_duration_sec=WARN_PERIOD_S)
            return
        self.odometry.problem = ""
        self.odometry.stamped(sample.stamp_ns)

    def _note_motion(self, sample: OdometrySample, child_frame: str) -> None:
        if self._motion is None:
            return
        child_from_rig = self._feed.assembler.child_from_rig(sample.stamp_ns, child_frame)
        pose = sample.odom_from_child if child_from_rig is None else sample.odom_from_child @ child_from_rig
        twist = None if sample.twist is None else sample.twist.at_rig(child_from_rig)
        self._motion.add(sample.stamp_ns, pose, twist)

    def _check_odometry_frame(self, sample: OdometrySample) -> None:
        """Poses of two odometry frames have nothing to do with each other: a mixed history would be wild."""
        if not self.odometry_frame:
            self.odometry_frame = sample.frame
        elif sample.frame != self.odometry_frame:
            raise InvalidInput(
                f"odometry header.frame_id: expected {self.odometry_frame!r} as before, got {sample.frame!r}"
            )

    def _on_static_transforms(self, msg: Any) -> None:
        def refused(error: InvalidInput) -> None:
            self._node.get_logger().warning(f"/tf_static: {error}", throttle_duration_sec=WARN_PERIOD_S)

        self._transforms.add_message(msg, refused=refused)
        rig = self._feed.rig
        for frame in self._transforms.frames:
            # What the rig file says is meant for this vehicle, and wins.
            if frame == rig.rig_frame or frame in rig.rig_from_child:
                continue
            rig_from_child = self._transforms.lookup(rig.rig_frame, frame)
            if rig_from_child is not None:
                self._feed.assembler.set_rig_from_child(frame, rig_from_child)


def camera_info_fields(msg: Any) -> CameraInfo:
    """Return the fields of a sensor_msgs/CameraInfo."""
    return CameraInfo(
        width=int(msg.width),
        height=int(msg.height),
        distortion_model=msg.distortion_model,
        d=tuple(float(v) for v in msg.d),
        k=tuple(float(v) for v in msg.k),
        r=tuple(float(v) for v in msg.r),
        p=tuple(float(v) for v in msg.p),
        binning_x=int(msg.binning_x),
        binning_y=int(msg.binning_y),
        roi_x_offset=int(msg.roi.x_offset),
        roi_y_offset=int(msg.roi.y_offset),
        roi_width=int(msg.roi.width),
        roi_height=int(msg.roi.height),
    )
