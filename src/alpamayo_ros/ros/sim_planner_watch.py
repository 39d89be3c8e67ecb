"""The planner as the bridge sees it on the graph: whether it is active, has failed, or has gone."""

from __future__ import annotations

import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rclpy.node import Node

_ANSWER_S = 2.0


class PlannerWatch:
    """Watches the node `planner` of the bridge's namespace, and the publishers of `plan`.

    Attributes:
        failure: why its configuring or activating failed, as it says on /diagnostics; "" where it did not.
    """

    def __init__(self, node: Node) -> None:
        self.failure = ""
        self._node = node
        self._get_state = node.create_client(GetState, "planner/get_state")
        self._reports = node.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)

    @property
    def state(self) -> str:
        """Its lifecycle state, "" without an answer; asks, so not to be called on the executor."""
        if not self._get_state.service_is_ready():
            return ""
        answered = threading.Event()
        future = self._get_state.call_async(GetState.Request())
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(_ANSWER_S):
            self._get_state.remove_pending_request(future)
            return ""
        response = future.result()
        return "" if response is None else str(response.current_state.label)

    @property
    def is_active(self) -> bool:
        """Whether it is active and its plans have a way to us."""
        return self.publishes and self.state == "active"

    @property
    def publishes(self) -> bool:
        """Whether anybody publishes plans."""
        return bool(self._node.count_publishers("plan"))

    def _on_report(self, message: Any) -> None:
        for status in message.status:
            if status.name == "alpamayo/model":
                self.failure = status.message if status.level == DiagnosticStatus.ERROR else ""
