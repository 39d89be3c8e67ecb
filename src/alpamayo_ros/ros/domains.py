"""ROS domains: find one that nobody uses, and keep a graph to it."""

from __future__ import annotations

import os
import random
from pathlib import Path

from alpamayo_ros.types import InvalidInput

# Ports of DDS domains (DDS-RTPS 9.6.1): 7400 + 250 * domain + ...
_FIRST_PORT, _PORTS_PER_DOMAIN = 7400, 250
_MAX_DOMAIN = 101  # the highest whose ports lie below Linux's ephemeral ones


def free_domain_id() -> int:
    """Return a random ROS domain on which no participant of this machine seems to be."""
    taken = {(port - _FIRST_PORT) // _PORTS_PER_DOMAIN for port in _udp_ports()}
    free = [domain_id for domain_id in range(1, _MAX_DOMAIN + 1) if domain_id not in taken]
    if not free:
        raise InvalidInput("--domain-id: expected a free ROS domain, got none; name one")
    return random.choice(free)


def _udp_ports() -> set[int]:
    """Return the UDP ports that are bound on this machine (none where the system does not tell)."""
    ports = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        path = Path(table)
        for line in path.read_text(encoding="ascii").splitlines()[1:] if path.exists() else ():
            ports.add(int(line.split()[1].rpartition(":")[2], 16))
    return ports


def use_domain(domain_id: int | None, *, any_host: bool = False) -> None:
    """Set this process's environment to a ROS domain, before rclpy is initialised.

    Args:
        domain_id: None picks a free one.
        any_host: let the graph reach other machines.

    Raises:
        InvalidInput: where none is free.
    """
    domain_id = free_domain_id() if domain_id is None else domain_id
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    if not any_host:
        # Humble knows only the older variable, and later ones complain about it.
        if os.environ.get("ROS_DISTRO") == "humble":
            os.environ["ROS_LOCALHOST_ONLY"] = "1"
        else:
            os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
