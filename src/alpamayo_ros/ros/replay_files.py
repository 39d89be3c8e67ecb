"""What a replay reads and writes: whether a bag has what the rig wants, and the folder of the results."""

from __future__ import annotations

import shutil
from pathlib import Path

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import InvalidInput

NAMESPACE = "/alpamayo"

IMAGE_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"

BAG_FOLDER, LOG_NAME = "bag", "planner.log"
_RESULTS = ("summary.json", "summary.png", LOG_NAME)


def check_inputs(bag: BagReader, rig: Rig, *, odometry: str | None) -> str:
    """Return the bag's odometry topic, having checked that the bag has all that the rig wants.

    Raises:
        BagError: names what is missing or of another type, and lists what the bag has.
    """
    if odometry is None:
        odometry = _find_odometry(bag, rig)
    bag.require_topics(
        [camera.topic for camera in rig.cameras] + [odometry], why=f"the topics of rig {rig.name}"
    )
    expected = {camera.topic: IMAGE_TYPES[camera.transport] for camera in rig.cameras}
    expected[odometry] = ODOMETRY_TYPE
    for topic, type_name in expected.items():
        if bag.topics[topic].type_name != type_name:
            raise BagError(
                f"bag {bag.path}: rig {rig.name} expected {type_name} on {topic}, "
                f"got {bag.topics[topic].type_name}"
            )
    return odometry


def _find_odometry(bag: BagReader, rig: Rig) -> str:
    """Return the topic that the rig names, or else the bag's only odometry."""
    name = rig.odometry_topic
    absolute = name if name.startswith("/") else f"{NAMESPACE}/{name}"
    if absolute in bag.topics:
        return absolute
    found = [t.name for t in bag.topics.values() if t.type_name == ODOMETRY_TYPE and t.count]
    if len(found) > 1:
        raise BagError(
            f"bag {bag.path}: rig {rig.name} expected odometry on {absolute}, "
            f"got several others: {', '.join(found)}; choose one with --odometry"
        )
    return found[0] if found else absolute


def prepare_output(out: Path) -> None:
    """Make the folder for the results, without those of an earlier replay.

    Raises:
        InvalidInput: where there is a bag of other origin, or the folder cannot be made.
    """
    if (out / BAG_FOLDER).exists() and not (out / LOG_NAME).exists():
        raise InvalidInput(
            f"--out {out}: expected a new folder or one of an earlier replay, got one with a bag"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / BAG_FOLDER).exists():
            shutil.rmtree(out / BAG_FOLDER)
        for name in _RESULTS:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(f"--out {out}: expected a folder to write to, got {error}") from error
