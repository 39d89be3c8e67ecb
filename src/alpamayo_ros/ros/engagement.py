"""Whether the planner drives: the service `engage`, and the topic `engaged` that says what is the case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from alpamayo_ros.msg import Engagement as EngagementMsg
from alpamayo_ros.ros.conversions import stamp_from_ns, text_to_ros
from alpamayo_ros.ros.qos import latched_qos, no_publisher_events
from alpamayo_ros.srv import Engage

STARTED = "started"
"""Reason of a planner's first word: it was started, and knows of no drive before."""


class Engagement:
    """Engaged or not, active or not, and why. Begins with neither. All of it runs on the executor.

    Args:
        node: the planner.
        now_ns: its clock.
        refusal: says why the planner cannot be engaged now, "" if it can.

    Attributes:
        engaged: whether the driver has engaged the planner.
        active: whether it keeps sending plans or stops.
        reason: what led to it.
    """

    def __init__(self, node: Node, *, now_ns: Callable[[], int], refusal: Callable[[], str]) -> None:
        self.engaged = False
        self.active = False
        self.reason = STARTED
        self._node = node
        self._now_ns = now_ns
        self._refusal = refusal
        self._topic = node.create_publisher(
            EngagementMsg, "engaged", latched_qos(), event_callbacks=no_publisher_events()
        )
        node.create_service(Engage, "engage", self._on_engage)
        self._publish()

    def activated(self) -> None:
        """Say that the planner is active, and not engaged yet."""
        self._change(engaged=False, active=True, reason="activated")

    def deactivated(self, reason: str) -> None:
        """Say that the planner sends nothing any more.

        Where it was engaged, that stays true in what is said: it fell silent with a vehicle that relied on
        it, and the watchdog is to stop that. The next activation begins not engaged.
        """
        if self.active:
            self._change(engaged=self.engaged, active=False, reason=reason)
        self.engaged = False

    def _on_engage(self, request: Any, response: Any) -> Any:
        refusal = self._refusal() if request.engage else ""
        if refusal:
            response.success, response.message = False, text_to_ros(refusal)
            self._node.get_logger().warning(f"engage refused: {refusal}")
            return response
        response.success = True
        if request.engage == self.engaged:
            response.message = "engaged already" if self.engaged else "not engaged already"
            return response
        self._change(engaged=request.engage, active=self.active, reason="engage was called")
        response.message = "engaged" if self.engaged else "not engaged"
        self._node.get_logger().info(response.message)
        return response

    def _change(self, *, engaged: bool, active: bool, reason: str) -> None:
        self.engaged, self.active, self.reason = engaged, active, reason
        self._publish()

    def _publish(self) -> None:
        message = EngagementMsg(engaged=self.engaged, active=self.active, reason=text_to_ros(self.reason))
        message.header.stamp = stamp_from_ns(max(self._now_ns(), 0))
        self._topic.publish(message)
