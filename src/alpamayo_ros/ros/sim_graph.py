"""Several simulations on one ROS graph: each in a corner of its own, with its own clock and frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alpamayo_ros.types import InvalidInput

MAX_ROLLOUTS = 64
_ABSOLUTE_TOPICS = ("/clock", "/tf", "/tf_static", "/diagnostics")


@dataclass(frozen=True)
class Corner:
    """Where one simulation lives: the namespace of its nodes, and the absolute topics that move into it."""

    namespace: str
    remaps: Mapping[str, str]

    def arguments(self) -> list[str]:
        """Return the ROS arguments of a node in this corner (rclpy.Node's `cli_args`)."""
        arguments = ["--ros-args", "-r", f"__ns:={self.namespace}"]
        for source, target in self.remaps.items():
            arguments += ["-r", f"{source}:={target}"]
        return arguments


def corners(namespace: str, count: int, *, stem: str = "r") -> list[Corner]:
    """Return the corners of `count` simulations at once.

    One alone has the namespace as it is and the usual clock; several have NAMESPACE/r0, r1, ... or what else
    `stem` makes of it.

    Raises:
        InvalidInput: for a count that is not in 1 ... 64.
    """
    if not 1 <= count <= MAX_ROLLOUTS:
        raise InvalidInput(f"rollouts: expected 1 ... {MAX_ROLLOUTS} at once, got {count}")
    root = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    if count == 1:
        return [Corner(root or "/", {})]
    names = [f"{root}/{stem}{index}" for index in range(count)]
    return [Corner(name, {topic: f"{name}{topic}" for topic in _ABSOLUTE_TOPICS}) for name in names]
