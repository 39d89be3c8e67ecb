"""The planner node on the events executor; run by test_events_executor.py, in a process of its own."""

from __future__ import annotations

import pytest
from planner_harness import ScriptedPlanner, active, connected, running, wait_for
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String


@pytest.mark.parametrize("sim_time", [True, False])
def test_it_plans_is_told_where_to_go_and_reports(tmp_path, sim_time):
    planner = ScriptedPlanner()
    with active(tmp_path, planner, sim_time=sim_time) as (world, node):
        assert not isinstance(node.executor, SingleThreadedExecutor)
        pace = {} if sim_time else {"pause_s": 0.1}
        world.drive(lambda: len(world.plans) >= 3, what="three plans", **pace)
        for observation, message in zip(planner.observations, world.plans, strict=False):
            stamp = message.header.stamp
            assert stamp.sec * 10**9 + stamp.nanosec == observation.t0_ns
        world.node.create_publisher(String, "instruction", 1).publish(String(data="Turn left in 30m"))
        told = "Turn left in 30m"
        world.drive(lambda: planner.observations[-1].instruction == told, what="the text", **pace)
        wait_for(lambda: world.diagnostics("alpamayo/inference"), "a report")


def test_it_is_taken_down_and_set_up_again_while_messages_come(tmp_path):
    with running(tmp_path, ScriptedPlanner()) as (world, _):
        for _ in range(3):
            count = len(world.plans)
            assert world.transition("configure") and world.transition("activate")
            connected(world)
            world.drive(lambda count=count: len(world.plans) > count, what="a plan")
            world.tick()
            assert world.transition("deactivate")
            world.tick()
            assert world.transition("cleanup")
        assert world.state() == "unconfigured"
