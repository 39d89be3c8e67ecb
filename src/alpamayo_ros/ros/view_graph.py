"""The live graph as a source for viewers: subscribes to what somebody looks at, and to nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock as ClockMsg

from alpamayo_ros.bags.typestore import base_typestore, definition_of
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.diagnostics import Level, Status, to_message
from alpamayo_ros.ros.executors import WakeableNode
from alpamayo_ros.ros.message_types import message_class
from alpamayo_ros.ros.qos import output_qos
from alpamayo_ros.ros.recorded_qos import requested_when_recorded
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.source import Topic, Viewer

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

DISCOVERY_PERIOD_S = 0.5
DIAGNOSTICS_PERIOD_S = 1.0
CLOCK_TOPIC = "/clock"
_TICK_S = 0.1
_JUMP_NS = 1_000_000_000

StatusOf = Callable[[], Status]


class ViewNode(WakeableNode):
    """Tells a viewer which topics there are, and sends it the bytes of those that it wants.

    While somebody publishes /clock, messages are stamped with that time, else with the system's. Says on
    /diagnostics what `status_of` returns. A topic whose messages cannot be had is left out, see `ignored`.

    Args:
        status_of: the viewer's state, for /diagnostics; None where it says nothing.
    """

    def __init__(self, *, status_of: StatusOf | None = None, **node_options: Any) -> None:
        super().__init__("viewer", **node_options)
        self.typestore: Typestore = base_typestore()
        self.ignored: dict[str, str] = {}
        """Topic -> why it cannot be shown."""
        self.status_of = status_of
        self.on_destroy: Callable[[], None] | None = None
        """Called before the node is destroyed, e.g. to close whatever it is the source of."""
        self._viewer: Viewer | None = None
        self._lock = threading.Lock()
        self._wanted: frozenset[str] = frozenset()
        self._renewed: set[str] = set()
        self._gone = False
        self._topics: dict[str, Topic] = {}
        self._inputs: dict[str, tuple[Subscription, QoSProfile, Topic]] = {}
        self._clock_topic = self.resolve_topic_name(CLOCK_TOPIC)
        self._clock_input: Subscription | None = None
        self._sim_ns: int | None = None
        self._definitions: dict[str, str] = {}
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        # By wall time: the graph is watched while simulated time stands still, too.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DISCOVERY_PERIOD_S, self.discover, clock=steady)
        self.create_timer(_TICK_S, self._tell_time, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report, clock=steady)

    @property
    def subscribed_topics(self) -> set[str]:
        """Topics that are subscribed to now."""
        return set(self._inputs)

    def attach(self, viewer: Viewer) -> None:
        """Name the viewer; it is told of topics from now on, in the executor's thread."""
        self._viewer = viewer
        viewer.topics_changed(self._topics)

    def want(self, topics: Collection[str]) -> None:
        """Subscribe to these topics alone; done by the executor, at once."""
        with self._lock:
            self._wanted = frozenset(topics)
        self.wake()

    def renew(self, topic: str) -> None:
        """Subscribe to a topic anew, so that its publishers send what is latched again."""
        with self._lock:
            self._renewed.add(topic)
        self.wake()

    def woken(self) -> None:
        """Do what was asked for, unless the node is gone by now."""
        if not self._gone:
            self._reconcile()

    def now_ns(self) -> int:
        """Return the time that messages are stamped with now."""
        return time.time_ns() if self._sim_ns is None else self._sim_ns

    def discover(self) -> None:
        """Look which topics there are; runs by itself twice a second."""
        found: dict[str, Topic] = {}
        for name, types in self.get_topic_names_and_types():
            publishers = self.get_publishers_info_by_topic(name)
            if not publishers:
                continue
            profile = requested_when_recorded(p.qos_profile for p in publishers)
            latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            topic = self._topic(name, types, latched=latched)
            if topic is not None:
                found[name] = topic
        self._follow_clock(self._clock_topic in found)
        if found != self._topics:
            self._topics = found
            if self._viewer is not None:
                self._viewer.topics_changed(found)
        self._reconcile()

    def destroy_node(self) -> None:
        """Stop receiving and take the node off the graph."""
        if self.on_destroy is not None:
            self.on_destroy()
        with self._lock:
            self._gone = True
        for subscription, _, _ in self._inputs.values():
            self.destroy_subscription(subscription)
        self._inputs.clear()
        super().destroy_node()

    def _topic(self, name: str, types: list[str], *, latched: bool) -> Topic | None:
        try:
            if len(types) != 1:
                raise InvalidInput(f"expected one type, got {', '.join(types)}")
            message_class(types[0])
            if types[0] not in self._definitions:
                self._definitions[types[0]] = definition_of(self.typestore, types[0]).text
            self.ignored.pop(name, None)
            return Topic(name, types[0], self._definitions[types[0]], latched=latched)
        except InvalidInput as error:
            if self.ignored.get(name) != str(error):
                self.ignored[name] = str(error)
                self.get_logger().warning(f"{name} is not shown: {error}")
            return None

    def _reconcile(self) -> None:
        """Subscribe to what is wanted and there, so that every publisher matches; end what is not."""
        with self._lock:
            wanted, renewed = self._wanted & self._topics.keys(), self._renewed
            self._renewed = set()
        for name in [name for name in self._inputs if name not in wanted or name in renewed]:
            self.destroy_subscription(self._inputs.pop(name)[0])
        for name in wanted:
            topic = self._topics[name]
            publishers = self.get_publishers_info_by_topic(name)
            profile = requested_when_recorded(p.qos_profile for p in publishers)
            known = self._inputs.get(name)
            if known is not None:
                subscription, former, of_topic = known
                same = (former.reliability, former.durability) == (profile.reliability, profile.durability)
                if same and of_topic.type_name == topic.type_name:
                    continue
                self.destroy_subscription(subscription)
            receive = partial(self._receive, name)
            subscription = self.create_subscription(
                message_class(topic.type_name), name, receive, profile, raw=True
            )
            self._inputs[name] = (subscription, profile, topic)

    def _receive(self, topic: str, data: bytes) -> None:
        if self._viewer is not None:
            self._viewer.message(topic, self.now_ns(), bytes(data))

    def _follow_clock(self, simulated: bool) -> None:
        """Take the time from /clock, or from the system again."""
        if simulated and self._clock_input is None:
            self._clock_input = self.create_subscription(
                ClockMsg, CLOCK_TOPIC, self._take_clock, qos_profile_sensor_data
            )
        elif not simulated and self._clock_input is not None:
            self.destroy_subscription(self._clock_input)
            self._clock_input = None
            if self._sim_ns is not None:
                self._sim_ns = None
                self._tell_jump()

    def _take_clock(self, message: ClockMsg) -> None:
        former, self._sim_ns = self._sim_ns, stamp_to_ns(message.clock)
        if former is None or self._sim_ns < former - _JUMP_NS:
            self._tell_jump()

    def _tell_jump(self) -> None:
        if self._viewer is not None:
            self._viewer.jumped()

    def _tell_time(self) -> None:
        if self._viewer is not None:
            self._viewer.time_is(self.now_ns())

    def _report(self) -> None:
        if self.status_of is None:
            return
        status = self.status_of()
        if self.ignored:
            values = {**status.values, **{f"not shown/{name}": why for name, why in self.ignored.items()}}
            status = Status(status.name, max(status.level, Level.WARN), status.message, values)
        self._diagnostics.publish(to_message([status], stamp_ns=self.now_ns()))
