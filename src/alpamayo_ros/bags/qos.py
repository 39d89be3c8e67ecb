"""Quality of service as bags store it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rosbags.interfaces import Qos

INFINITE_NS = 2**63 - 1
"""What RMW calls an infinite duration."""


def make_qos(*, depth: int = 10, reliable: bool = True, transient_local: bool = False) -> Qos:
    """Return a profile with the last `depth` messages kept and no deadline, lifespan or lease."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(*divmod(INFINITE_NS, 10**9))
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if transient_local else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def is_transient_local(profiles: tuple[Qos, ...]) -> bool:
    """Whether every publisher kept its last messages for late subscribers (False where none is recorded)."""
    from rosbags.interfaces import QosDurability

    return bool(profiles) and all(q.durability == QosDurability.TRANSIENT_LOCAL for q in profiles)
