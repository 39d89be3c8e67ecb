"""The topics that one session of a driver is shown on, under a prefix of its own."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.msg import Route as RouteMsg
from alpamayo_ros.ros.conversions import path_to_msg, text_to_ros
from alpamayo_ros.ros.driver_messages import (
    EgoTrack,
    published_plan,
    rejected_plan,
    route_to_markers,
    route_to_msg,
)
from alpamayo_ros.ros.markers import plan_to_markers
from alpamayo_ros.ros.plan_conversions import plan_to_msg
from alpamayo_ros.ros.qos import latched_qos, no_publisher_events, output_qos
from alpamayo_ros.ros.sim_messages import (
    NS_PER_US,
    camera_info_msg,
    clock_msg,
    image_msg,
    odometry_msg,
    optical_frame,
    static_transforms,
    transform_of_odometry,
)
from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.lens_info import camera_info_of_model
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import Guidance
from alpamayo_ros.sim.images import image_size
from alpamayo_ros.sim.protocol.convert import camera_model
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession, Egomotion
from alpamayo_ros.types import InvalidInput, camera_name
from alpamayo_ros.viz.footprint import PASSENGER_CAR


class SessionTopics:
    """Publishers of one session. Called by one thread at a time.

    Stamps are the session's own. There is no /clock of it: each session has its own time. `clock` is what a
    viewer of this one session may take for it.

    Args:
        node: publishes; what is its own goes under its namespace.
        prefix: of topics and frames, e.g. "session_1a2b3c4d".
        tf: publisher of /tf, shared with other sessions.
        camera_ids: the cameras to show.
        max_plan_age_s: how long plans are valid after their t0.
    """

    def __init__(
        self, node: Node, prefix: str, *, tf: Publisher, camera_ids: tuple[int, ...], max_plan_age_s: float
    ) -> None:
        from nav_msgs.msg import Odometry, Path
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, CompressedImage
        from std_msgs.msg import String
        from visualization_msgs.msg import MarkerArray

        self._node, self.prefix, self._tf = node, prefix, tf
        self._max_plan_age_s = max_plan_age_s
        self.local_frame, self.rig_frame = f"{prefix}/local", f"{prefix}/base_link"
        self._publishers: list[Publisher] = []
        quiet = no_publisher_events()

        def add(message: Any, topic: str, qos: Any = None) -> Publisher:
            publisher = node.create_publisher(
                message, f"{prefix}/{topic}", qos or output_qos(), event_callbacks=quiet
            )
            self._publishers.append(publisher)
            return publisher

        names = {camera_id: camera_name(camera_id) for camera_id in camera_ids}
        self._images = {
            i: add(CompressedImage, f"camera/{name}/image/compressed") for i, name in names.items()
        }
        self._infos = {i: add(CameraInfo, f"camera/{name}/camera_info") for i, name in names.items()}
        self._odometry = add(Odometry, "odometry", output_qos(depth=50))
        self._clock = add(Clock, "clock")
        self._path, self._markers = add(Path, "path"), add(MarkerArray, "markers")
        self._plan, self._reasoning = add(PlanMsg, "plan"), add(String, "reasoning")
        self._rejected = add(PlanMsg, "debug/rejected_plan")
        self._route = add(RouteMsg, "route", latched_qos())
        self.begin({}, {})

    def begin(self, lenses: dict[int, CameraModel], mounts: dict[int, Matrix4]) -> None:
        """Show a session from its beginning: what its cameras' lenses are and where they sit in the rig."""
        self._lenses, self._mounts = lenses, mounts
        self._info_messages: dict[int, Any] = {}
        self._track = EgoTrack()

    def static_transforms(self) -> list[Any]:
        """Return where the cameras sit, as geometry_msgs/TransformStamped."""
        poses = {self._camera_frame(camera_id): pose for camera_id, pose in self._mounts.items()}
        return list(static_transforms(self.rig_frame, poses, time_us=0).transforms)

    def looked_at(self, camera_id: int) -> bool:
        """Return whether anybody looks at a camera's images or lens; any thread may ask."""
        images, infos = self._images[camera_id], self._infos[camera_id]
        return bool(images.get_subscription_count() or infos.get_subscription_count())

    def frame(self, camera_id: int, stamp_us: int, image_bytes: bytes) -> None:
        """Publish an image as it came, and its CameraInfo where the lens is known and can be said."""
        frame = self._camera_frame(camera_id)
        if self._images[camera_id].get_subscription_count():
            self._images[camera_id].publish(image_msg(image_bytes, time_us=stamp_us, frame=frame))
        info = self._info(camera_id, image_bytes)
        if info is not None:
            info.header.stamp = clock_msg(stamp_us).clock
            self._infos[camera_id].publish(info)

    def egomotion(self, egomotion: Egomotion) -> None:
        """Publish odometry and transforms of all poses that are new."""
        for state in self._track.add(egomotion):
            message = odometry_msg(state, child_frame=self.rig_frame, frame=self.local_frame)
            self._odometry.publish(message)
            self._tf.publish(transform_of_odometry(message))

    def route(self, time_us: int, guidance: Guidance) -> None:
        """Publish what a route says."""
        self._route.publish(route_to_msg(time_us, guidance, rig_frame=self.rig_frame))
        if self._markers.get_subscription_count():
            lifetime_ns = round(self._max_plan_age_s * 1e9)
            self._markers.publish(
                route_to_markers(time_us, guidance, rig_frame=self.rig_frame, lifetime_ns=lifetime_ns)
            )

    def drove(self, outcome: DriveOutcome) -> None:
        """Publish an answer: its plan, path and text; made only where somebody looks."""
        from std_msgs.msg import String

        self._clock.publish(clock_msg(outcome.now_us))
        if outcome.plan is not None:
            self._reasoning.publish(String(data=text_to_ros(outcome.plan.reasoning[outcome.plan.chosen])))
        if self._rejected.get_subscription_count():
            self._reject(outcome)
        if not any(p.get_subscription_count() for p in (self._plan, self._path, self._markers)):
            return
        published = published_plan(
            outcome,
            rig_frame=self.rig_frame,
            local_frame=self.local_frame,
            max_age_s=self._max_plan_age_s,
        )
        plan, pose = published.plan, published.odom_from_rig_t0
        if self._plan.get_subscription_count():
            self._plan.publish(plan_to_msg(published))
        if self._path.get_subscription_count():
            now_ns = outcome.now_us * NS_PER_US
            self._path.publish(path_to_msg(plan, pose, odometry_frame=self.local_frame, now_ns=now_ns))
        if self._markers.get_subscription_count():
            self._markers.publish(
                plan_to_markers(
                    plan,
                    pose,
                    odometry_frame=self.local_frame,
                    footprint=PASSENGER_CAR,
                    lifetime_ns=round(self._max_plan_age_s * 1e9),
                    status=published.status,
                    reason=published.status_reason,
                )
            )

    def _reject(self, outcome: DriveOutcome) -> None:
        """Publish the plan that was refused, if one was; one that is not finite fits into no message."""
        published = rejected_plan(outcome, rig_frame=self.rig_frame, local_frame=self.local_frame)
        if published is None:
            return
        try:
            message = plan_to_msg(published)
        except InvalidInput:
            return
        self._rejected.publish(message)

    def destroy(self) -> None:
        """Take the topics off the graph."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _camera_frame(self, camera_id: int) -> str:
        return f"{self.prefix}/{optical_frame(camera_name(camera_id))}"

    def _info(self, camera_id: int, image_bytes: bytes) -> Any:
        """Return the CameraInfo of a camera whose images are of this one's size; None where there is none."""
        if camera_id not in self._lenses or not self._infos[camera_id].get_subscription_count():
            return None
        if camera_id not in self._info_messages:
            try:
                lens = self._lenses[camera_id].scaled_to(*image_size(image_bytes))
                info = camera_info_msg(camera_info_of_model(lens), frame=self._camera_frame(camera_id))
            except InvalidInput as error:  # a lens that CameraInfo has no words for
                self._node.get_logger().warning(
                    f"{self.prefix}: camera {camera_name(camera_id)}: no CameraInfo is published: {error}"
                )
                info = None
            self._info_messages[camera_id] = info
        return self._info_messages[camera_id]


def session_cameras(
    session: DriveSession, camera_ids: dict[str, int]
) -> tuple[dict[int, CameraModel], dict[int, Matrix4]]:
    """Return lenses and poses in the rig, by camera id, of a session's cameras among `camera_ids`."""
    lenses, mounts = {}, {}
    for logical_id, camera in session.cameras.items():
        camera_id = camera_ids.get(logical_id)
        if camera_id is None:
            continue
        mounts[camera_id] = camera.rig_from_camera
        try:
            lenses[camera_id] = camera_model(camera.intrinsics)
        except InvalidInput:  # one that no model of ours has; the driver takes it as it is
            continue
    return lenses, mounts
