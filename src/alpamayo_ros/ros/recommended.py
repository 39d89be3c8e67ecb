"""Sampling as the checkpoint recommends (plan_options.json), for parameters that nobody has set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.ros import parameters
from alpamayo_ros.ros.planner_parameters import PARAMETERS, sampling_values
from alpamayo_ros.types import PlanOptions

_SPECS = tuple(spec for spec in PARAMETERS if spec.by_checkpoint)


class RecommendedSampling:
    """Lets a checkpoint's recommendation take the place of the parameters' defaults.

    A parameter that was set, at the start or later, stays as it was set, whatever checkpoint comes.

    Args:
        node: the planner node, with its parameters declared.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._set = parameters.given(node, _SPECS)
        self._applying = False
        self._recommended: dict[str, int | float] = {}

    def changed(self, names: Iterable[str]) -> None:
        """Note parameters that were changed, so that they are left alone from now on."""
        if not self._applying:
            self._set.update(names)

    def apply(self, recommended: PlanOptions | None) -> None:
        """Set the parameters that nobody has set; to be called on the executor when the node is configured.

        None, for a planner that does not sample, leaves them as they are.
        """
        self._recommended = {}
        if recommended is None:
            return
        wanted = {name: v for name, v in sampling_values(recommended).items() if name not in self._set}
        before = parameters.values(self._node, _SPECS)
        changes = [Parameter(name, value=v) for name, v in wanted.items() if before[name] != v]
        self._applying = True
        try:
            if changes:
                self._node.set_parameters(changes)
        finally:
            self._applying = False
        defaults = {spec.name: spec.default for spec in _SPECS}
        self._recommended = {name: v for name, v in wanted.items() if v != defaults[name]}
        if self._recommended:
            self._node.get_logger().info(
                f"sampling as the checkpoint recommends: {self.in_force}; a parameter that is set wins"
            )

    @property
    def in_force(self) -> str:
        """What of the recommendation differs from the defaults and is in force, as "top_k=1, …"."""
        now: dict[str, Any] = parameters.values(self._node, _SPECS)
        held = [name for name in self._recommended if name not in self._set]
        return ", ".join(f"{name}={now[name]:g}" for name in held)
