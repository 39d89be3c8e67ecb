"""The watchdog: a small node that stops the vehicle when the planner has died. See docs/WATCHDOG.md.

It imports neither the model nor a camera, and runs in a process of its own: what ends the planner's process
does not end this one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType, JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

from alpamayo_ros.ros import parameters
from alpamayo_ros.ros.conversions import path_to_msg
from alpamayo_ros.ros.diagnostics import to_message
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
from alpamayo_ros.ros.qos import output_qos, plan_qos
from alpamayo_ros.ros.runner import run_node
from alpamayo_ros.ros.watchdog_inputs import PlannerVoice, VehicleMotion
from alpamayo_ros.ros.watchdog_parameters import PARAMETERS, watchdog_settings
from alpamayo_ros.ros.watchdog_status import watchdog_status
from alpamayo_ros.safety.watchdog import Watchdog, WatchdogStop
from alpamayo_ros.sensing.ego_motion import TwistUse
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.types import InvalidInput

__all__ = ["PARAMETERS", "WatchdogNode", "main"]

_TICK_PERIOD_S = 0.02
_DIAGNOSTICS_PERIOD_S = 1.0
# Back: the stamps that are kept are of another time. Forwards: nobody was silent while simulated time leapt.
_JUMP = JumpThreshold(
    min_forward=Duration(seconds=1), min_backward=Duration(nanoseconds=-100_000_000), on_clock_change=True
)


class WatchdogNode(Node):
    """See the module; parameters in ros/watchdog_parameters.py.

    Silence is measured by the steady clock, under `use_sim_time` by simulated time: a simulation that is
    paused is no planner that is silent.

    Args:
        node_options: as of rclpy's Node, e.g. `namespace`, `parameter_overrides`.

    Attributes:
        watchdog: the state machine.

    Raises:
        InvalidInput: for parameters of a wrong type or out of range, or a rig that cannot be loaded.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("watchdog", **node_options)
        self._jumps: JumpHandle | None = None
        try:
            self._set_up()
        except BaseException:
            super().destroy_node()  # rclpy keeps a list of nodes, refused ones too
            raise

    def _set_up(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import Path

        from alpamayo_ros.msg import Plan

        parameters.declare(self, PARAMETERS)
        given = parameters.values(self, PARAMETERS)
        rig = load_rig(given["rig"])
        if given["rig_frame"]:
            rig = replace(rig, rig_frame=given["rig_frame"])
        self.watchdog = Watchdog(watchdog_settings(given))
        self._rig_frame = rig.rig_frame
        self._lifetime_ns = round(given["max_plan_age"] * 1e9)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._was_acting = False
        # Offered from the start, so that whoever follows plans is connected when a stop is needed.
        profile = plan_qos(
            period_ms=given["period_ms"],
            max_plan_age_ns=self._lifetime_ns,
            heartbeat_ms=given["heartbeat_ms"],
        )
        self._plan = self.create_publisher(Plan, "plan", profile)
        self._path = self.create_publisher(Path, "path", output_qos())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self._voice = PlannerVoice(self, self.watchdog, steady_ns=self._steady_ns)
        self._motion = VehicleMotion(
            self,
            self.watchdog,
            rig=rig,
            twist=TwistUse(given["odometry_twist"]),
            planner_frame=lambda: self._voice.odometry_frame,
            jumped=lambda: self._forget("odometry's stamps went back"),
        )
        self._jumps = self.get_clock().create_jump_callback(_JUMP, post_callback=self._on_jump)
        self.create_timer(_TICK_PERIOD_S, self._tick, clock=self._steady)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._report, clock=self._steady)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def destroy_node(self) -> None:
        """Take the node off the graph."""
        if self._jumps is not None:
            self._jumps.unregister()
            self._jumps = None
        super().destroy_node()

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _steady_ns(self) -> int:
        return self._now_ns() if self._simulated else int(self._steady.now().nanoseconds)

    def _on_jump(self, jump: TimeJump) -> None:
        self._forget("the clock jumped or changed")
        if self._simulated:
            self.watchdog.begin_silence(steady_ns=self._steady_ns())

    def _forget(self, why: str) -> None:
        self.get_logger().warning(f"{why}: the planner's path is forgotten")
        self._motion.clear()
        self.watchdog.forget_path()

    def _tick(self) -> None:
        now_ns = self._now_ns()
        if now_ns <= 0:  # simulated time that has not begun
            return
        stop = self.watchdog.stop(now_ns=now_ns, steady_ns=self._steady_ns())
        if stop is not None:
            self._publish(stop, now_ns)
        acting = self.watchdog.state(steady_ns=self._steady_ns()).acting
        if acting != self._was_acting:
            self._was_acting = acting
            if stop is not None:
                self.get_logger().error(f"stopping the vehicle: {stop.reason}")
            else:
                self.get_logger().warning("the planner drives again")
            self._report()

    def _publish(self, stop: WatchdogStop, now_ns: int) -> None:
        pose = np.eye(4) if stop.odom_from_rig is None else stop.odom_from_rig
        published = PublishedPlan(
            plan=stop.plan,
            rig_frame=self._rig_frame,
            odometry_frame=stop.odometry_frame,
            odom_from_rig_t0=pose,
            valid_until_ns=stop.plan.t0_ns + self._lifetime_ns,
            status=PlanStatus.FALLBACK,
            status_reason=stop.reason,
            engaged=stop.engaged,
            decided_ns=stop.decided_ns,
        )
        self._plan.assert_liveliness()
        self._plan.publish(plan_to_msg(published))
        if stop.odometry_frame:
            self._path.publish(
                path_to_msg(stop.plan, pose, odometry_frame=stop.odometry_frame, now_ns=now_ns)
            )

    def _on_set_parameters(self, changes: Sequence[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        try:
            values = {**parameters.values(self, PARAMETERS), **{c.name: c.value for c in changes}}
            self.watchdog.settings = watchdog_settings(values)
        except InvalidInput as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        now_ns = self._now_ns()
        status = watchdog_status(
            self.watchdog.state(steady_ns=self._steady_ns()),
            settings=self.watchdog.settings,
            voice=self._voice,
            motion=self._motion,
            now_ns=now_ns,
        )
        self._diagnostics.publish(to_message([status], stamp_ns=max(now_ns, 0)))


def main(args: Sequence[str] | None = None) -> int:
    """Watch until told to stop; returns the process's exit code."""
    return run_node(WatchdogNode, None if args is None else list(args))


if __name__ == "__main__":
    sys.exit(main())
