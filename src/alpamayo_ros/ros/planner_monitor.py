"""Watches a planner from outside, by its diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from alpamayo_ros.msg import Plan

RESTING_REPORTS = 2
"""Reports in a row without anything new after which the planner is taken to be idle."""

_WORK = ("observations", "newest_t0_ns", "plans_", "refusals/", "superseded", "discarded")


class PlannerMonitor(Node):
    """Knows the planner's lifecycle state, what it has counted, and whether it still has work."""

    def __init__(self, *, on_plan: Callable[[float, float], None] | None = None, **node_options: Any) -> None:
        """`on_plan` is called with the wall time (monotonic, s) and the seconds that each plan took."""
        super().__init__("planner_monitor", **node_options)
        self.state = ""
        """Lifecycle state as the planner reports it; "" before its first report."""
        self.failure = ""
        """Why configuring or activating failed, or ""."""
        self.detail = ""
        self.plans = 0
        self.refusals = 0
        self._last: dict[str, str] = {}
        self._resting = 0
        self._watching = False
        self._on_plan = on_plan
        self._subscription = self.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)
        if on_plan is not None:
            self._plans = self.create_subscription(Plan, "plan", self._on_plan_message, 10)

    @property
    def planners(self) -> int:
        """Number of planners on the graph, by who publishes diagnostics."""
        publishers = self.get_publishers_info_by_topic("/diagnostics")
        return sum(info.node_name == "planner" for info in publishers)

    @property
    def rests(self) -> bool:
        """Whether, since watch_for_rest(), report after report was idle and the same."""
        return self._resting >= RESTING_REPORTS

    def watch_for_rest(self) -> None:
        """Start waiting for the planner to be idle."""
        self._watching = True
        self._resting = 0

    def _on_plan_message(self, message: Plan) -> None:
        if self._on_plan is not None:
            self._on_plan(time.monotonic(), message.times.total_ms * 1e-3)

    def _on_report(self, message: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if status.name == "alpamayo/model":
                self.failure = status.message if status.level == b"\x02" else ""
            elif status.name == "alpamayo/inference":
                self.state = values.get("state", "")
                self.detail = status.message
                self._count(values)

    def _count(self, values: dict[str, str]) -> None:
        self.plans = sum(int(values.get(f"plans_{status}", 0)) for status in ("valid", "unchecked"))
        self.refusals = sum(int(n) for key, n in values.items() if key.startswith("refusals/"))
        # Not everything that it counts is work: a deadline may be missed again and again.
        work = {k: n for k, n in values.items() if k.startswith(_WORK)}
        same = work == self._last
        self._last = work
        if self._watching:
            self._resting = self._resting + 1 if same and values.get("busy") == "false" else 0
