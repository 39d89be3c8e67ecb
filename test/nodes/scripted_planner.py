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
from types import SimpleNamespace
from typing import Any

import numpy as np
import rclpy
from planner_harness import straight_plan
from rclpy.node import Node
from scipy.spatial.transform import Rotation
from watchdog_harness import RADIUS, SPEED, pose

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.engagement import Engagement
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
from alpamayo_ros.ros.qos import plan_qos
from alpamayo_ros.sensing.rigid import compose


def main() -> None:
    rclpy.init()
    node = Node("planner")
    status = PlanStatus[node.declare_parameter("status", "VALID").value]
    period_ms = float(node.declare_parameter("plan_period_ms", 500.0).value)
    profile = plan_qos(period_ms=period_ms, max_plan_age_ns=10**9, heartbeat_ms=period_ms)
    publisher = node.create_publisher(PlanMsg, "plan", profile)
    state = SimpleNamespace(plans=False, heart=False)
    engagement: list[Engagement] = []
    lock = threading.Lock()

    def publish() -> None:
        now_ns = time.time_ns()
        x, y, yaw = pose(now_ns)
        observation: Any = SimpleNamespace(t0_ns=now_ns)
        plan = straight_plan(observation, speed_mps=SPEED, model="scripted")
        turns = 0.1 * SPEED / RADIUS * np.arange(1, 65)
        plan.xyz_in_rig_t0[0, :, 0], plan.xyz_in_rig_t0[0, :, 1] = (
            RADIUS * np.sin(turns),
            RADIUS * (1 - np.cos(turns)),
        )
        plan.rot_in_rig_t0[0] = Rotation.from_rotvec(np.outer(turns, (0.0, 0.0, 1.0))).as_matrix()
        publisher.publish(
            plan_to_msg(
                PublishedPlan(
                    plan=plan,
                    rig_frame="base_link",
                    odometry_frame="odom",
                    odom_from_rig_t0=compose(Rotation.from_euler("z", yaw).as_matrix(), [x, y, 0.0]),
                    valid_until_ns=now_ns + 10**9,
                    status=status,
                    engaged=bool(engagement) and engagement[0].engaged,
                    decided_ns=now_ns,
                )
            )
        )

    def speak() -> None:
        try:
            speak_on()
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            os._exit(1)  # the next command finds nobody

    def speak_on() -> None:
        while True:
            with lock:
                if state.heart:
                    publisher.assert_liveliness()
                if state.plans:
                    publish()
            time.sleep(0.1)

    threading.Thread(target=speak, daemon=True).start()
    for line in sys.stdin:
        word = line.strip()
        with lock:
            if word == "start":
                engagement.append(Engagement(node, now_ns=time.time_ns, refusal=lambda: ""))
            elif word == "activate":
                engagement[0].activated()
                state.heart = True
            elif word in ("engage", "disengage"):
                engagement[0]._change(engaged=word == "engage", active=True, reason="engage was called")
            elif word == "deactivate":
                engagement[0].deactivated("deactivated")
                state.heart = state.plans = False
            elif word in ("plans", "mute"):
                state.plans, state.heart = word == "plans", True
            elif word == "hang":
                state.plans = state.heart = False
            elif word == "end":
                break
        print(word, flush=True)
    node.destroy_node()
    rclpy.try_shutdown()
    print("end", flush=True)


if __name__ == "__main__":
    main()
