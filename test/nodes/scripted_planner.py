"""A process that speaks like the planner node: the same topics, QoS and messages; tests tell it what to say.

Commands, a line each, on standard input; each is echoed when it is done: start, activate, engage, disengage,
deactivate, plans, mute (it lives and says nothing), hang (it does not assert its liveliness either), end.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

import numpy as np
import rclpy
from rclpy.node import Node
from scipy.spatial.transform import Rotation

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.engagement import Engagement
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
from alpamayo_ros.ros.qos import plan_qos
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.types import Plan

SPEED = 5.0
RADIUS = 50.0
T0_NS = 1_700_000_000 * 10**9


def pose(stamp_ns: int) -> tuple[float, float, float]:
    """Return x, y, yaw of a vehicle on the circle, by the system's clock."""
    yaw = SPEED / RADIUS * (stamp_ns - T0_NS) / 1e9
    return RADIUS * np.sin(yaw), RADIUS * (1 - np.cos(yaw)), yaw


def plan_on_the_circle(t0_ns: int) -> Plan:
    """Return the plan of a vehicle that stays on the circle."""
    turns = 0.1 * SPEED / RADIUS * np.arange(1, 65)
    xyz = np.stack([RADIUS * np.sin(turns), RADIUS * (1 - np.cos(turns)), np.zeros(64)], axis=1)
    return Plan(
        t0_ns=t0_ns,
        xyz_in_rig_t0=xyz[None].astype(np.float32),
        rot_in_rig_t0=yaw_rotations(turns)[None].astype(np.float32),
        accel_mps2=np.zeros((1, 64), np.float32),
        curvature_per_m=np.full((1, 64), 1 / RADIUS, np.float32),
        speed_mps=np.full((1, 65), SPEED, np.float32),
        normalised_action=np.zeros((1, 64, 2), np.float32),
        reasoning=("Follow the bend.",),
        reasoning_complete=(True,),
        meta_action=("",),
        token_ids=((),),
        sections=(None,),
        model="scripted",
    )


def yaw_rotations(yaw_rad: np.ndarray) -> np.ndarray:
    """Return rotations [N, 3, 3] about z."""
    return Rotation.from_rotvec(np.outer(yaw_rad, (0.0, 0.0, 1.0))).as_matrix()


class ScriptedPlanner:
    """Says what it is told to say, ten times a second, from a thread."""

    def __init__(self, node: Node) -> None:
        period_ms = float(node.declare_parameter("plan_period_ms", 500.0).value)
        heartbeat_ms = float(node.declare_parameter("heartbeat_ms", 500.0).value)
        profile = plan_qos(period_ms=period_ms, max_plan_age_ns=10**9, heartbeat_ms=heartbeat_ms)
        self._node = node
        self._publisher = node.create_publisher(PlanMsg, "plan", profile)
        self._engagement: Engagement | None = None
        self._plans = self._alive = False
        self._lock = threading.Lock()
        threading.Thread(target=self._speak, daemon=True).start()

    def obey(self, command: str) -> None:
        """Do what a command says."""
        with self._lock:
            if command == "start":
                self._engagement = Engagement(self._node, now_ns=time.time_ns, refusal=lambda: "")
                return
            assert self._engagement is not None, command
            if command == "activate":
                self._engagement.activated()
                self._alive = True
            elif command in ("engage", "disengage"):
                engaged = command == "engage"
                self._engagement._change(engaged=engaged, active=True, reason="engage was called")
            elif command == "deactivate":
                self._engagement.deactivated("deactivated")
                self._plans = self._alive = False
            else:
                self._plans, self._alive = {
                    "plans": (True, True),
                    "mute": (False, True),
                    "hang": (False, False),
                }[command]

    def _speak(self) -> None:
        try:
            while True:
                with self._lock:
                    if self._alive:
                        self._publisher.assert_liveliness()
                    if self._plans:
                        self._publish(time.time_ns())
                time.sleep(0.1)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            os._exit(1)  # the next command finds nobody

    def _publish(self, now_ns: int) -> None:
        x, y, yaw = pose(now_ns)
        published = PublishedPlan(
            plan=plan_on_the_circle(now_ns),
            rig_frame="base_link",
            odometry_frame="odom",
            odom_from_rig_t0=compose(yaw_rotations(np.array([yaw]))[0], [x, y, 0.0]),
            valid_until_ns=now_ns + 10**9,
            status=PlanStatus.VALID,
            engaged=self._engagement is not None and self._engagement.engaged,
            decided_ns=now_ns,
        )
        self._publisher.publish(plan_to_msg(published))


def main() -> None:
    """Obey until told to end."""
    rclpy.init()
    node = Node("planner")
    planner = ScriptedPlanner(node)
    for line in sys.stdin:
        command = line.strip()
        if command == "end":
            break
        planner.obey(command)
        print(command, flush=True)
    node.destroy_node()
    rclpy.try_shutdown()
    print("end", flush=True)


if __name__ == "__main__":
    main()
