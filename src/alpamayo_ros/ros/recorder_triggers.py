"""What saves the recorder's ring: the service, the end of an engagement, the watchdog."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from rclpy.node import Node

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.msg import Engagement
from alpamayo_ros.ros.conversions import text_to_ros
from alpamayo_ros.ros.qos import latched_qos, output_qos
from alpamayo_ros.ros.recorder_parameters import DISENGAGEMENT, WATCHDOG
from alpamayo_ros.srv import SaveRecording

SERVICE = "save_recording"
MAX_AFTER_S = 3600.0

_WATCHDOG_STATUS = "alpamayo/watchdog"

Save = Callable[[str, float | None], Path]
"""Saves the ring for a reason, with so many seconds after it (None: as configured); raises BagError."""


class Triggers:
    """Calls `save` on every occasion. All of it runs on the executor.

    Args:
        node: the recorder; it gets the service `save_recording` and subscribes to `engaged`, /diagnostics.
        occasions: what saves by itself, see OCCASIONS.
        save: see Save.
    """

    def __init__(self, node: Node, *, occasions: Set[str], save: Save) -> None:
        self._node = node
        self._save = save
        self._drives: bool | None = None
        self._acting = False
        node.create_service(SaveRecording, SERVICE, self._on_service)
        if DISENGAGEMENT in occasions:
            node.create_subscription(Engagement, "engaged", self._on_engaged, latched_qos())
        if WATCHDOG in occasions:
            from diagnostic_msgs.msg import DiagnosticArray

            node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, output_qos())

    def _on_service(self, request: Any, response: Any) -> Any:
        after_s = None if request.after_s < 0 else float(request.after_s)
        if (after_s is not None and not after_s <= MAX_AFTER_S) or math.isnan(request.after_s):
            response.message = f"after_s: expected at most {MAX_AFTER_S:g} s, got {request.after_s:g}"
            return response
        try:
            response.path = text_to_ros(str(self._save(request.label, after_s)))
        except BagError as error:
            response.message = text_to_ros(str(error))
            return response
        response.success, response.message = True, "saving"
        return response

    def _on_engaged(self, message: Any) -> None:
        drives = bool(message.engaged and message.active)
        if self._drives and not drives:
            self._by_itself(f"{DISENGAGEMENT}: {message.reason}")
        self._drives = drives

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name != _WATCHDOG_STATUS:
                continue
            acting = any(pair.key == "acting" and pair.value == "true" for pair in status.values)
            if acting and not self._acting:
                self._by_itself(f"{WATCHDOG}: {status.message}")
            self._acting = acting

    def _by_itself(self, why: str) -> None:
        try:
            path = self._save(why, None)
        except BagError as error:
            self._node.get_logger().error(f"{why}, but nothing is saved: {error}")
        else:
            self._node.get_logger().info(f"{why}: saving to {path}")
