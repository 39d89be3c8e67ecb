"""Names and conventions of the data set: its repository, files, cameras and clock."""

from __future__ import annotations

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.sim.cameras import LOGICAL_IDS

REPOSITORY = "nvidia/PhysicalAI-Autonomous-Vehicles"
PAGE = f"https://huggingface.co/datasets/{REPOSITORY}"
"""Where a person reads and accepts the licence."""

EGOMOTION = "egomotion"
CALIBRATION: tuple[str, ...] = ("camera_intrinsics", "sensor_extrinsics")
VIDEO, FRAME_TIMESTAMPS = "video", "frame_timestamps"
"""Aliases of the two files that we need of a camera."""

INDEX_FILE = "clip_index.parquet"
REASONING_FILE = "reasoning/ood_reasoning.parquet"
"""One table for the whole data set; few of its clips are in it."""

CLIP_ZERO_NS = 1_000_000_000 * 10**9
"""ROS time of a clip's own zero. The data set does not tell when a clip was taken; its clock runs from a
little below zero to some 20 s. Zero itself would not do: ROS takes a stamp of 0 for none, and has no
negative ones. So 5.1 s into any clip is 1000000005.1 s."""

_MAX_CLIP_TIME_US = 3_600 * 10**6


def camera_feature(camera_id: int) -> str:
    """Return the data set's name of one of Alpamayo's cameras, e.g. "camera_front_wide_120fov"."""
    return LOGICAL_IDS[camera_id]


def stamp_ns(clip_time_us: int) -> int:
    """Return the ROS stamp of a time on a clip's clock, exactly.

    Raises:
        DatasetError: for a time that is not of a clip's clock (more than an hour from its zero).
    """
    if abs(clip_time_us) > _MAX_CLIP_TIME_US:
        raise DatasetError(
            f"timestamp: expected microseconds on the clip's own clock, within an hour of its zero, "
            f"got {clip_time_us}"
        )
    return CLIP_ZERO_NS + int(clip_time_us) * 1000
