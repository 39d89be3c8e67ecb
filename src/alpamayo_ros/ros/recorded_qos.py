"""QoS between bags (rosbags' Qos) and rclpy: what to offer when playing, what to ask for when recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

from alpamayo_ros.bags.qos import INFINITE_NS, is_transient_local

PUBLISHER_DEPTH = 10
RECORDER_DEPTH = 100
MAX_LATCHED = 1000

_LONGEST_FINITE_NS = (2**31 - 1) * 10**9
"""DDS's older spellings of "infinite" all lie at or above 2^31 - 1 s."""


def offered_when_played(profiles: Sequence[Qos], *, topic: str, count: int) -> QoSProfile:
    """Return what a player offers for a topic.

    As upstream's player: reliable or transient local only where every recorded publisher was; a deadline
    or lifespan only where all agree. A topic recorded without QoS is offered reliable and volatile,
    except /tf_static, which every TF listener wants latched. A latched topic keeps all its messages,
    since one publisher now stands for several.

    Args:
        profiles: what was recorded.
        topic: its name.
        count: messages of the topic in the bag.
    """
    if not profiles:
        latched = topic == "/tf_static"
        profile = QoSProfile(depth=PUBLISHER_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
    else:
        latched = is_transient_local(tuple(profiles))
        best_effort = any(p.reliability == QosReliability.BEST_EFFORT for p in profiles)
        profile = QoSProfile(
            depth=max([PUBLISHER_DEPTH, *(p.depth for p in profiles if p.history == QosHistory.KEEP_LAST)]),
            reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        )
        for name in ("deadline", "lifespan"):
            values = {_nanoseconds(getattr(p, name)) for p in profiles}
            if len(values) == 1 and (value := values.pop()) is not None:
                setattr(profile, name, Duration(nanoseconds=value))
    if latched:
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
        profile.depth = min(max(count, 1), MAX_LATCHED)
    return profile


def requested_when_recorded(offered: Iterable[QoSProfile]) -> QoSProfile:
    """Return a subscription's profile that matches every publisher of a topic, the strictest that does."""
    profiles = list(offered)
    reliable = all(p.reliability != ReliabilityPolicy.BEST_EFFORT for p in profiles)
    latched = bool(profiles) and all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    return QoSProfile(
        depth=RECORDER_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def is_kept_for_latecomers(profile: QoSProfile) -> bool:
    """Whether a publisher keeps its last messages for late subscribers, for as long as it lives.

    /rosout is transient local, too, but its lines expire.
    """
    lifespan_ns = profile.lifespan.nanoseconds
    return profile.durability == DurabilityPolicy.TRANSIENT_LOCAL and not (
        0 < lifespan_ns < _LONGEST_FINITE_NS
    )


def to_recorded(profile: QoSProfile) -> Qos:
    """Return a publisher's profile as bags store it (discovery tells no history: 'unknown', depth 0)."""
    return Qos(
        history=QosHistory(int(profile.history)),
        depth=profile.depth,
        reliability=QosReliability(int(profile.reliability)),
        durability=QosDurability(int(profile.durability)),
        deadline=_time(profile.deadline),
        lifespan=_time(profile.lifespan),
        liveliness=QosLiveliness(int(profile.liveliness)),
        liveliness_lease_duration=_time(profile.liveliness_lease_duration),
        avoid_ros_namespace_conventions=profile.avoid_ros_namespace_conventions,
    )


def _time(duration: Duration) -> QosTime:
    return QosTime(*divmod(duration.nanoseconds or INFINITE_NS, 10**9))


def _nanoseconds(time: QosTime) -> int | None:
    """Return a recorded duration in ns, None for an infinite or unset one."""
    value = time.sec * 10**9 + time.nsec
    return value if 0 < value < _LONGEST_FINITE_NS else None
