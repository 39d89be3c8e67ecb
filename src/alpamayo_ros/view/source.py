"""Where what is shown comes from: topics that come and go, and their messages as bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

ROS2_MSG, ROS2_IDL = "ros2msg", "ros2idl"
DEFAULT_HOST = "127.0.0.1"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Topic:
    """A topic that can be shown.

    Attributes:
        name: absolute.
        type_name: e.g. "sensor_msgs/msg/CompressedImage".
        definition: the type's text, with all that it is made of.
        encoding: of the definition: ROS2_MSG or ROS2_IDL.
        latched: whether its last messages are for late comers.

    Raises:
        InvalidInput: for a name that is not absolute, a type that is not PACKAGE/msg/NAME, another encoding.
    """

    name: str
    type_name: str
    definition: str = field(repr=False)
    encoding: str = ROS2_MSG
    latched: bool = False

    def __post_init__(self) -> None:
        if not self.name.startswith("/"):
            raise InvalidInput(f"topic: expected an absolute name, got {self.name!r}")
        if self.type_name.count("/") != 2:
            raise InvalidInput(f"{self.name}: expected a type PACKAGE/msg/NAME, got {self.type_name!r}")
        if self.encoding not in (ROS2_MSG, ROS2_IDL):
            raise InvalidInput(f"{self.name}: expected {ROS2_MSG} or {ROS2_IDL}, got {self.encoding!r}")


class Viewer(Protocol):
    """What a source tells; called from the source's threads, and never to block."""

    def topics_changed(self, topics: Mapping[str, Topic]) -> None:
        """Take note of all topics that there are now."""
        ...

    def message(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Take a message of a wanted topic: CDR bytes, and when it came by the source's clock."""
        ...

    def time_is(self, stamp_ns: int) -> None:
        """Take note of the source's time, which goes on without messages too."""
        ...

    def jumped(self) -> None:
        """Forget what was shown: time goes on elsewhere."""
        ...


class Source(Protocol):
    """The live graph or a recording."""

    @property
    def typestore(self) -> Typestore:
        """The types of its messages."""
        ...

    def attach(self, viewer: Viewer) -> None:
        """Say who is told; once, before anything else."""
        ...

    def want(self, topics: Collection[str]) -> None:
        """Send the messages of these topics, and of no other, from now on; from any thread, at once."""
        ...

    def renew(self, topic: str) -> None:
        """Send a latched topic's last messages again, for one who came later; from any thread, at once."""
        ...


def require_extra(module: str, *, why: str) -> ModuleType:
    """Import a module of the extra `view`; raises InvalidInput that names the extra where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = {"foxglove": "foxglove-sdk"}.get(module.partition(".")[0], module.partition(".")[0])
        raise InvalidInput(
            f"{why}: expected the package {package}, got {error}; pip install 'alpamayo_ros[view]'"
        ) from error


def exposure_warning(host: str, port: int) -> str:
    """Return what to say of an address that others than this machine reach; "" for loopback."""
    if host in LOOPBACK:
        return ""
    return (
        f"warning: {host}:{port} is open to the network: whoever reaches it sees cameras, position and "
        "plans, without a password and unencrypted"
    )
