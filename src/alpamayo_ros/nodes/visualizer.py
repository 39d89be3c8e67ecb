"""The visualizer: the plan in the cameras' pictures, and as markers where nobody else sends them.

See docs/VISUALIZATION.md. It works for those who look: without a subscriber of `overlay/<camera>` that camera
is not even subscribed to, and nothing is decoded or drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType, JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from alpamayo_ros.ros import parameters
from alpamayo_ros.ros.conversions import odometry_from_msg, stamp_from_ns
from alpamayo_ros.ros.diagnostics import InputStatistics, to_message
from alpamayo_ros.ros.image_cdr import parse_stamp
from alpamayo_ros.ros.markers import delete_all, plan_to_markers
from alpamayo_ros.ros.plan_cdr import is_readable, parse_plan
from alpamayo_ros.ros.plan_conversions import PublishedPlan, plan_from_msg, require_publishable
from alpamayo_ros.ros.planner_inputs import camera_info_fields
from alpamayo_ros.ros.qos import LatchedSubscription, no_publisher_events, output_qos, overridable, sensor_qos
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.ros.visualizer_cameras import CameraViews
from alpamayo_ros.ros.visualizer_overlays import Overlay, Overlays
from alpamayo_ros.ros.visualizer_parameters import (
    MARKERS_IF_ALONE,
    MARKERS_NEVER,
    PARAMETERS,
    visualizer_settings,
)
from alpamayo_ros.ros.visualizer_plans import timed_plan
from alpamayo_ros.ros.visualizer_status import visualizer_status
from alpamayo_ros.sensing.odometry_frames import OdometryFrames
from alpamayo_ros.sensing.rig import CameraConfig
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.timeline import PlanTimeline

__all__ = ["PARAMETERS", "VisualizerNode", "main"]

LOOK_PERIOD_S = 0.25
"""How often subscribers are looked for."""
_POLL_PERIOD_S = 0.03
_DIAGNOSTICS_PERIOD_S = 1.0
_WARN_PERIOD_S = 5.0
_BACK_NS = 100_000_000
_ODOMETRY_STEP_NS = 15_000_000
"""Odometry that comes more often is not read."""
_JUMP = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-_BACK_NS), on_clock_change=True)


class VisualizerNode(Node):
    """See the module; parameters in ros/visualizer_parameters.py.

    Args:
        node_options: as of rclpy's Node, e.g. `namespace`, `parameter_overrides`.

    Raises:
        InvalidInput: for parameters of a wrong type or out of range, or a rig that cannot be loaded.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("visualizer", **node_options)
        self._jumps: JumpHandle | None = None
        self._overlays: Overlays | None = None
        try:
            self._set_up()
        except BaseException:
            self.destroy_node()  # rclpy keeps a list of nodes, refused ones too
            raise

    def _set_up(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import Odometry
        from sensor_msgs.msg import CompressedImage
        from tf2_msgs.msg import TFMessage
        from visualization_msgs.msg import MarkerArray

        from alpamayo_ros.msg import Plan

        parameters.declare(self, PARAMETERS)
        self.settings = settings = visualizer_settings(parameters.values(self, PARAMETERS))
        rig = settings.rig
        self.plans, self.odometry = InputStatistics(), InputStatistics()
        self.timeline = PlanTimeline(history_s=settings.history_s)
        self._frames = OdometryFrames(rig)
        self._views = CameraViews(rig)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._overlays = self.overlays = Overlays(
            settings,
            timeline=self.timeline,
            views=self._views,
            steady_ns=lambda: int(steady.now().nanoseconds),
            done=self._publish,
        )

        def add(message: Any, topic: str) -> Any:
            return self.create_publisher(
                message,
                topic,
                output_qos(depth=2),
                qos_overriding_options=overridable(),
                event_callbacks=no_publisher_events(),
            )

        # Each picture under two names: image_transport's tools, RViz among them, want the second.
        self._outputs = {
            camera.camera_id: [
                add(CompressedImage, topic)
                for topic in (f"overlay/{camera.name}", f"overlay/{camera.name}/compressed")
            ]
            for camera in rig.cameras
        }
        self._markers = None if settings.markers == MARKERS_NEVER else add(MarkerArray, "markers")
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self._cameras: dict[int, list[Subscription]] = {}
        self.create_subscription(Plan, "plan", self._on_plan, output_qos(depth=5), raw=True)
        self._plan_type = Plan
        self.create_subscription(
            Odometry,
            rig.odometry_topic,
            self._on_odometry,
            sensor_qos(depth=50),
            qos_overriding_options=overridable(),
            raw=True,
        )
        self._odometry_type = Odometry
        self._latched = LatchedSubscription(
            self, TFMessage, "/tf_static", callback=self._on_static_transforms, depth=100
        )
        self._jumps = self.get_clock().create_jump_callback(_JUMP, post_callback=self._on_jump)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=steady)
        self._poll_timer = self.create_timer(_POLL_PERIOD_S, self._poll, clock=steady)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._report, clock=steady)
        self._look()

    def destroy_node(self) -> None:
        """Take the node off the graph."""
        if self._overlays is not None:
            self._overlays.close()
            self._overlays = None
        if self._jumps is not None:
            self._jumps.unregister()
            self._jumps = None
        super().destroy_node()

    @property
    def looked_at(self) -> list[int]:
        """The cameras whose overlays somebody looks at."""
        return [i for i, outputs in self._outputs.items() if any(o.get_subscription_count() for o in outputs)]

    def _look(self) -> None:
        """Subscribe to the cameras whose overlays are looked at, and to no others."""
        wanted = self.looked_at
        for camera_id in [i for i in self._cameras if i not in wanted]:
            for subscription in self._cameras.pop(camera_id):
                self.destroy_subscription(subscription)
        for camera_id in wanted:
            if camera_id not in self._cameras:
                self._cameras[camera_id] = self._subscribe(self.settings.rig.camera(camera_id))

    def _poll(self) -> None:
        """Look after the pictures that wait, as long as there are any."""
        self.overlays.poll()
        if not self.overlays.waiting:
            self._poll_timer.cancel()

    def _on_image(self, camera_id: int, serialised: bytes) -> None:
        self.overlays.image(camera_id, serialised)
        if self.overlays.waiting and self._poll_timer.is_canceled():
            self._poll_timer.reset()

    def _subscribe(self, camera: CameraConfig) -> list[Subscription]:
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        message = Image if camera.transport == "raw" else CompressedImage
        subscriptions = [
            self.create_subscription(
                message, camera.topic, partial(self._on_image, camera.camera_id), sensor_qos(), raw=True
            )
        ]
        if camera.info_topic is not None and (camera.intrinsics is None or camera.rectified):
            subscriptions.append(
                self.create_subscription(
                    CameraInfo,
                    camera.info_topic,
                    partial(self._on_camera_info, camera.camera_id),
                    sensor_qos(),
                )
            )
        return subscriptions

    def _publish(self, camera_id: int, overlay: Overlay) -> None:
        """Send an overlay to those who look; called in the drawing thread."""
        from sensor_msgs.msg import CompressedImage

        message = CompressedImage(format="rgb8; jpeg compressed bgr8")
        message.header.stamp = stamp_from_ns(overlay.stamp_ns)
        message.header.frame_id = overlay.frame_id
        message.data.frombytes(overlay.jpeg)  # assigned, bytes are checked one by one
        for output in self._outputs[camera_id]:
            if output.get_subscription_count():
                output.publish(message)

    def _on_camera_info(self, camera_id: int, msg: Any) -> None:
        try:
            self._views.set_info(camera_id, camera_info_fields(msg))
        except InvalidInput as error:
            name = self.settings.rig.camera(camera_id).name
            self.get_logger().error(f"camera {name}: {error}", throttle_duration_sec=_WARN_PERIOD_S)

    def _on_plan(self, serialised: bytes) -> None:
        self.plans.count("received")
        if not self._cameras and not self._markers_wanted():
            return  # nothing is read for nobody
        try:
            if is_readable(serialised):
                published = parse_plan(serialised)
            else:
                published = plan_from_msg(read_message(serialised, self._plan_type))
            require_publishable(published.plan)
        except InvalidInput as error:
            self._refuse(self.plans, "plan", error)
            return
        self.plans.problem = ""
        newest_ns = self.plans.newest_ns
        if newest_ns is not None and published.plan.t0_ns < newest_ns - _BACK_NS:
            self._forget("the plans' stamps went back")
        self.plans.stamped(published.plan.t0_ns)
        self.timeline.add_plan(timed_plan(published))
        if self._markers_wanted():
            self._send_markers(published)

    def _markers_wanted(self) -> bool:
        """Whether somebody looks at markers that nobody else sends."""
        if self._markers is None or not self._markers.get_subscription_count():
            return False
        return self.settings.markers != MARKERS_IF_ALONE or self.count_publishers("markers") == 1

    def _send_markers(self, published: PublishedPlan) -> None:
        if self._markers is None or not published.odometry_frame:
            return
        self._markers.publish(
            plan_to_markers(
                published.plan,
                published.odom_from_rig_t0,
                odometry_frame=published.odometry_frame,
                footprint=self.settings.footprint,
                lifetime_ns=max(published.valid_until_ns - published.plan.t0_ns, 0),
                status=published.status,
                reason=published.status_reason,
            )
        )

    def _on_odometry(self, serialised: bytes) -> None:
        self.odometry.count("received")
        if not self._cameras:
            return  # nothing is read for nobody
        try:
            newest_ns = self.odometry.newest_ns
            if newest_ns is not None and 0 <= parse_stamp(serialised) - newest_ns < _ODOMETRY_STEP_NS:
                return  # more would be interpolated away
            sample = odometry_from_msg(read_message(serialised, self._odometry_type))
            pose = self._frames.rig_pose(sample.stamp_ns, sample.odom_from_child, sample.child_frame)
            if newest_ns is not None and sample.stamp_ns < newest_ns - _BACK_NS:
                self._forget("odometry's stamps went back")
            self.timeline.add_pose(sample.stamp_ns, pose, frame=sample.frame.removeprefix("/"))
        except InvalidInput as error:
            self._refuse(self.odometry, "odometry", error)
            return
        self.odometry.problem = ""
        self.odometry.stamped(sample.stamp_ns)
        self.overlays.poll()

    def _refuse(self, statistics: InputStatistics, what: str, error: InvalidInput) -> None:
        statistics.count("refused")
        statistics.problem = str(error)
        self.get_logger().warning(f"{what} refused: {error}", throttle_duration_sec=_WARN_PERIOD_S)

    def _on_static_transforms(self, msg: Any) -> None:
        def refused(error: InvalidInput) -> None:
            self.get_logger().warning(f"/tf_static: {error}", throttle_duration_sec=_WARN_PERIOD_S)

        transforms = self._views.transforms
        transforms.add_message(msg, refused=refused)
        for frame in transforms.frames:
            rig_from_child = transforms.lookup(self.settings.rig.rig_frame, frame)
            if rig_from_child is not None:
                self._frames.set_from_tf(frame, rig_from_child)
        self._views.transforms_changed()

    def _on_jump(self, jump: TimeJump) -> None:
        self._forget("the clock went back or changed")

    def _forget(self, why: str) -> None:
        """Forget all plans, poses and pictures, and take the markers off the screens."""
        self.get_logger().warning(f"{why}: plans, odometry and pictures are forgotten")
        self.timeline.clear()
        self.overlays.clear()
        self.plans.clear_stamps()
        self.odometry.clear_stamps()
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(delete_all())

    def _report(self) -> None:
        now_ns = int(self.get_clock().now().nanoseconds)
        status = visualizer_status(
            plans=self.plans,
            odometry=self.odometry,
            cameras=self.overlays.statistics,
            looked_at=self.looked_at,
            now_ns=now_ns,
        )
        self._diagnostics.publish(to_message([status], stamp_ns=max(now_ns, 0)))


def read_message(serialised: bytes, message_type: Any) -> Any:
    """Return a message; raises InvalidInput for bytes that are none of its type, e.g. of another version."""
    try:
        return deserialize_message(serialised, message_type)
    except Exception as error:  # the middleware's own errors
        raise InvalidInput(f"expected a {message_type.__name__} message, got {error}") from error


def main(args: Sequence[str] | None = None) -> int:
    """Draw until told to stop; returns the process's exit code."""
    return run_node(VisualizerNode, None if args is None else list(args))


if __name__ == "__main__":
    sys.exit(main())
