"""Makes the messages that bags hold, of a writer's type store, from numpy and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_info import CameraInfo

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

FloatArray = NDArray[np.float64]
_NOTHING = (0.0, 0.0, 0.0)


class MessageFactory:
    """Makes messages of a type store; stamps are ns, poses float64 [4, 4], frames TF names."""

    def __init__(self, typestore: Typestore) -> None:
        self._types: dict[str, Any] = dict(typestore.types)

    def header(self, stamp_ns: int, frame: str) -> Any:
        """Return a std_msgs/Header."""
        sec, nanosec = divmod(stamp_ns, 10**9)
        return self._make(
            "std_msgs/msg/Header",
            stamp=self._make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec),
            frame_id=frame,
        )

    def transforms(self, stamp_ns: int, parent: str, poses: Mapping[str, FloatArray]) -> Any:
        """Return a tf2_msgs/TFMessage: child frame -> its pose in `parent`."""
        return self._make(
            "tf2_msgs/msg/TFMessage",
            transforms=[
                self._make(
                    "geometry_msgs/msg/TransformStamped",
                    header=self.header(stamp_ns, parent),
                    child_frame_id=child,
                    transform=self._make(
                        "geometry_msgs/msg/Transform",
                        translation=self._vector(pose[:3, 3]),
                        rotation=self._quaternion(pose[:3, :3]),
                    ),
                )
                for child, pose in poses.items()
            ],
        )

    def odometry(
        self,
        stamp_ns: int,
        odom_from_child: FloatArray,
        *,
        frame: str,
        child: str,
        linear_mps: FloatArray | tuple[float, float, float] = _NOTHING,
        angular_radps: FloatArray | tuple[float, float, float] = _NOTHING,
    ) -> Any:
        """Return a nav_msgs/Odometry without covariances; velocities are in the child frame."""
        return self._make(
            "nav_msgs/msg/Odometry",
            header=self.header(stamp_ns, frame),
            child_frame_id=child,
            pose=self._make(
                "geometry_msgs/msg/PoseWithCovariance",
                pose=self._make(
                    "geometry_msgs/msg/Pose",
                    position=self._point(odom_from_child[:3, 3]),
                    orientation=self._quaternion(odom_from_child[:3, :3]),
                ),
                covariance=np.zeros(36),
            ),
            twist=self._make(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=self._make(
                    "geometry_msgs/msg/Twist",
                    linear=self._vector(linear_mps),
                    angular=self._vector(angular_radps),
                ),
                covariance=np.zeros(36),
            ),
        )

    def camera_info(self, stamp_ns: int, info: CameraInfo, *, frame: str) -> Any:
        """Return a sensor_msgs/CameraInfo."""
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(stamp_ns, frame),
            height=info.height,
            width=info.width,
            distortion_model=info.distortion_model,
            d=np.array(info.d, np.float64),
            k=np.array(info.k, np.float64),
            r=np.array(info.r, np.float64),
            p=np.array(info.p if len(info.p) else np.zeros(12), np.float64),
            binning_x=info.binning_x,
            binning_y=info.binning_y,
            roi=self._make(
                "sensor_msgs/msg/RegionOfInterest",
                x_offset=info.roi_x_offset,
                y_offset=info.roi_y_offset,
                height=info.roi_height,
                width=info.roi_width,
                do_rectify=False,
            ),
        )

    def compressed_image(
        self, stamp_ns: int, data: NDArray[np.uint8], *, frame: str, image_format: str = "jpeg"
    ) -> Any:
        """Return a sensor_msgs/CompressedImage of a file's bytes [N]."""
        return self._make(
            "sensor_msgs/msg/CompressedImage",
            header=self.header(stamp_ns, frame),
            format=image_format,
            data=data,
        )

    def image(self, stamp_ns: int, rgb: NDArray[np.uint8], *, frame: str) -> Any:
        """Return a sensor_msgs/Image of RGB pixels [H, W, 3]."""
        height, width = rgb.shape[:2]
        return self._make(
            "sensor_msgs/msg/Image",
            header=self.header(stamp_ns, frame),
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=width * 3,
            data=rgb.ravel(),
        )

    def string(self, text: str) -> Any:
        """Return a std_msgs/String."""
        return self._make("std_msgs/msg/String", data=text)

    def _vector(self, xyz: FloatArray | tuple[float, float, float]) -> Any:
        return self._xyz("geometry_msgs/msg/Vector3", xyz)

    def _point(self, xyz: FloatArray) -> Any:
        return self._xyz("geometry_msgs/msg/Point", xyz)

    def _xyz(self, type_name: str, xyz: FloatArray | tuple[float, float, float]) -> Any:
        x, y, z = (float(value) for value in xyz)
        return self._make(type_name, x=x, y=y, z=z)

    def _quaternion(self, rotation: FloatArray) -> Any:
        x, y, z, w = (float(value) for value in Rotation.from_matrix(rotation).as_quat())
        return self._make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)

    def _make(self, type_name: str, **fields: Any) -> Any:
        return self._types[type_name](**fields)
