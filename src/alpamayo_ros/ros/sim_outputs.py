"""The topics on which the bridge is a vehicle: cameras, odometry, transforms, clock, instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher

from alpamayo_ros.ros.conversions import text_to_ros
from alpamayo_ros.ros.qos import latched_qos, no_publisher_events, output_qos, overridable
from alpamayo_ros.ros.sim_markers import actors_to_markers, map_to_markers
from alpamayo_ros.ros.sim_messages import (
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
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True, eq=False)
class MountedCamera:
    """What is rendered for one camera of the rig: its lens at its native size, and its pose in the rig."""

    camera_id: int
    model: CameraModel
    rig_from_camera: Matrix4


class SimOutputs:
    """Publishers of the bridge. Called from the thread that drives, one call at a time.

    Sensors are offered reliably: in lock-step a lost image is a lost step. Readers that ask for best effort
    get it all the same.

    Args:
        node: publishes.
        rig: which camera goes where; the odometry's topic; the rig frame.

    Raises:
        InvalidInput: for a rig that wants raw images: renderers compress theirs, and we hand them on.
    """

    def __init__(self, node: Node, rig: Rig) -> None:
        from nav_msgs.msg import Odometry
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, CompressedImage
        from std_msgs.msg import String
        from tf2_msgs.msg import TFMessage
        from visualization_msgs.msg import MarkerArray

        self._node = node
        self.rig = rig
        quiet = no_publisher_events()

        def add(message: Any, topic: str, qos: Any) -> Publisher:
            return node.create_publisher(
                message, topic, qos, qos_overriding_options=overridable(), event_callbacks=quiet
            )

        self._images: dict[int, Publisher] = {}
        self._infos: dict[int, Publisher] = {}
        self._lenses: dict[int, CameraModel] = {}
        self._info_messages: dict[int, Any] = {}
        for camera in rig.cameras:
            _require_compressed(rig, camera)
            self._images[camera.camera_id] = add(CompressedImage, camera.topic, output_qos())
            if camera.info_topic is not None:
                self._infos[camera.camera_id] = add(CameraInfo, camera.info_topic, output_qos())
        self._odometry = add(Odometry, rig.odometry_topic, output_qos(depth=50))
        self._clock = add(Clock, "/clock", output_qos())
        self._tf = add(TFMessage, "/tf", output_qos(depth=100))
        self._tf_static = add(TFMessage, "/tf_static", latched_qos())
        self._instruction = add(String, "instruction", latched_qos())
        self._actors = add(MarkerArray, "sim/actors", output_qos(depth=2))
        self._map = add(MarkerArray, "sim/map", latched_qos())
        self._told: str | None = None

    @property
    def lacking_listeners(self) -> list[str]:
        """The sensor topics that nobody listens to yet."""
        sensors = [*self._images.values(), self._odometry]
        return [publisher.topic_name for publisher in sensors if not publisher.get_subscription_count()]

    def mount(self, cameras: Sequence[MountedCamera], *, time_us: int) -> None:
        """Say where the cameras sit (static TF); how they see is said once `resize` was called."""
        self._info_messages = {}
        self._lenses = {camera.camera_id: camera.model for camera in cameras}
        poses = {self._frame(camera.camera_id): camera.rig_from_camera for camera in cameras}
        self._tf_static.publish(static_transforms(self.rig.rig_frame, poses, time_us=time_us))

    def resize(self, sizes: Mapping[int, tuple[int, int]]) -> list[str]:
        """Have CameraInfo be of images of these (width, height), by camera id; returns what it cannot say."""
        problems = []
        for camera_id, size in sizes.items():
            known = self._info_messages.pop(camera_id, None)
            try:
                if known is None or (known.width, known.height) != size:
                    info = camera_info_of_model(self._lenses[camera_id].scaled_to(*size))
                    known = camera_info_msg(info, frame=self._frame(camera_id))
            except InvalidInput as error:
                name = self.rig.camera(camera_id).name
                problems.append(f"camera {name}: no CameraInfo is published: {error}")
                continue
            self._info_messages[camera_id] = known
        return problems

    def _frame(self, camera_id: int) -> str:
        return optical_frame(self.rig.camera(camera_id).name)

    def scene(self, scene: Scene) -> None:
        """Show a scene's map to whoever looks, now or later."""
        self._map.publish(map_to_markers(scene))

    def state(self, ego: EgoState) -> None:
        """Say what time it is and where the ego is; in this order, and before the images of that time.

        An observation is then complete with its last image, and waits for nothing.
        """
        self._clock.publish(clock_msg(ego.time_us))
        odometry = odometry_msg(ego, child_frame=self.rig.rig_frame)
        self._odometry.publish(odometry)
        self._tf.publish(transform_of_odometry(odometry))

    def time(self, time_us: int) -> None:
        """Say what time it is."""
        self._clock.publish(clock_msg(time_us))

    def instruct(self, text: str) -> None:
        """Say the navigation text, if it is another than before."""
        if text == self._told:
            return
        from std_msgs.msg import String

        self._instruction.publish(String(data=text_to_ros(text)))
        self._told = text

    def images(self, time_us: int, images: Mapping[int, bytes]) -> None:
        """Publish one image a camera, by camera id, the reference camera's last: it completes the set."""
        order = sorted(images, key=lambda camera_id: (camera_id == self.rig.reference_camera_id, camera_id))
        for camera_id in order:
            message = image_msg(images[camera_id], time_us=time_us, frame=self._frame(camera_id))
            self._images[camera_id].publish(message)
            if camera_id in self._infos and camera_id in self._info_messages:
                info = self._info_messages[camera_id]
                info.header.stamp = message.header.stamp
                self._infos[camera_id].publish(info)

    def actors(self, actors: Sequence[ActorState], ego: EgoState, scene: Scene) -> None:
        """Show who is where, if anybody looks."""
        if self._actors.get_subscription_count():
            self._actors.publish(actors_to_markers(actors, ego, scene))


def _require_compressed(rig: Rig, camera: CameraConfig) -> None:
    if camera.transport != "compressed":
        raise InvalidInput(
            f"rig {rig.name}: camera {camera.name}: expected transport compressed, as renderers answer, "
            f"got {camera.transport}"
        )
