"""Where drivers for AlpaSim live on the ROS graph, and planner nodes beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alpamayo_ros.ros.sim_graph import Corner, corners
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sim.driver.settings import DEFAULT_PORT
from alpamayo_ros.types import InvalidInput

_LAST_PORT = 65535


@dataclass(frozen=True)
class DriverPlace:
    """One of several drivers: its corner of the graph, its port, and its device ("" for the file's)."""

    index: int
    corner: Corner
    port: int
    device: str


def driver_places(
    namespace: str, count: int, *, port: int = DEFAULT_PORT, device: str = ""
) -> list[DriverPlace]:
    """Return the places of `count` drivers: ports from `port` on, a GPU each unless a device is named.

    One alone has the namespace as it is, and the parameters' device; several have NAMESPACE/driver_0, ...

    Raises:
        InvalidInput: for a count that is not in 1 ... 64, or ports beyond the last one there is.
    """
    places = corners(namespace, count, stem="driver_")
    if not 0 < port <= _LAST_PORT - count + 1:
        raise InvalidInput(
            f"port: expected {count} ports in 1 ... {_LAST_PORT}, got {port} ... {port + count - 1}"
        )
    return [
        DriverPlace(
            index=index,
            corner=corner,
            port=port + index,
            device=device or (f"cuda:{index}" if count > 1 else ""),
        )
        for index, corner in enumerate(places)
    ]


def planner_parameters(rig: str, *, namespace: str) -> dict[str, Any]:
    """Return what a planner node needs to plan for a driver through topics.

    Its sensors are reliable, as a lost image would be a lost step.
    """
    loaded = load_rig(rig)
    topics = [*(camera.topic for camera in loaded.cameras), loaded.odometry_topic]
    reliable = {
        f"qos_overrides./{namespace.strip('/')}/{topic}.subscription.reliability": "reliable"
        for topic in topics
    }
    return {"rig": rig, "autostart": True, "use_sim_time": True, **reliable}
