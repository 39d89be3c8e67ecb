"""The driver through the node graph: inputs on topics, the real planner node's plans as answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from alpasim_harness import START_US, STEP_US, Caller, called
from planner_harness import Graph, ScriptedPlanner, graph, straight_plan, wait_for
from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.nodes.planner import PlannerNode
from alpamayo_ros.ros.driver_graph import planner_parameters
from alpamayo_ros.sim.protocol.channel import ServiceError


@pytest.fixture
def corner() -> Iterator[Graph]:
    with graph(sim_time=False) as (corner, _):
        yield corner


def planner_node(corner: Graph, planner: Any) -> Node:
    given = planner_parameters("sim", namespace=corner.name)
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    return PlannerNode(planner=planner, parameter_overrides=overrides, **corner.options)


def outcome(answer: Any) -> dict[str, Any]:
    return dict(json.loads(answer.debug_info))


def test_sessions_one_after_another_are_driven_by_the_planner_node(corner):
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=8.0)
    with called(
        corner, planner_node(corner, planner), through_topics=True, planner="", plan_timeout_s=10.0
    ) as (_, client):
        # The second is of the same time, so the clock jumps back; the third of an earlier one.
        for start_us in (START_US, START_US, START_US - 10**9):
            planner.observations.clear()
            caller = Caller(client, start_us=start_us)
            answers = caller.steps(8)
            caller.close()
            sources = [outcome(answer)["source"] for answer in answers]
            assert sources == ["warm_up"] * 3 + ["plan"] * 5
            assert outcome(answers[-1])["reasoning_text"] == "Keep the lane."
            seen = planner.observations[-1]
            assert seen.t0_ns == (caller.now_us - STEP_US) * 1000
            assert seen.instruction is not None and "left" in seen.instruction
            np.testing.assert_allclose(
                seen.rig_pose_in_odom_at_t0, caller.pose(caller.now_us - STEP_US), atol=1e-6
            )
            stamps_us, poses = answers[-1].trajectory
            assert stamps_us[0] == caller.now_us - STEP_US
            ahead = poses[10, :3, 3] - poses[0, :3, 3]
            np.testing.assert_allclose(np.linalg.norm(ahead), 8.0, atol=0.1)


def test_a_second_session_finds_no_room_until_the_first_ends(corner):
    with called(corner, planner_node(corner, ScriptedPlanner()), through_topics=True, planner="") as (
        _,
        client,
    ):
        first = Caller(client)
        with pytest.raises(ServiceError, match="at most 1 sessions"):
            Caller(client)
        first.close()
        Caller(client).steps(1)


def test_the_planner_nodes_stop_is_the_answer_until_it_plans_again(corner):
    planner = ScriptedPlanner()

    def refuse(observation: Any) -> Any:
        raise RuntimeError("no plan today")

    planner.plan_of = refuse
    with called(
        corner, planner_node(corner, planner), through_topics=True, planner="", plan_timeout_s=10.0
    ) as (_, client):
        caller = Caller(client)
        answers = caller.steps(5)
        assert (outcome(answers[-1])["source"], outcome(answers[-1])["safe_trajectory"]) == ("stop", False)
        assert outcome(answers[-1])["reason"] == "inference_error: no plan today"
        stamps_us, poses = answers[-1].trajectory
        np.testing.assert_allclose(poses[0], caller.pose(int(stamps_us[0])), atol=1e-6)
        speeds = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / 0.1
        assert 6.0 < speeds[0] < 8.1 and speeds[-1] == 0.0
        planner.plan_of = lambda observation: straight_plan(observation, speed_mps=8.0)
        wait_for(lambda: outcome(caller.step())["source"] == "plan", "a plan")


def test_a_plan_that_the_planner_node_rejects_leaves_the_last_one_in_force(corner):
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=8.0)
    with called(
        corner, planner_node(corner, planner), through_topics=True, planner="", plan_timeout_s=10.0
    ) as (_, client):
        caller = Caller(client)
        assert outcome(caller.steps(6)[-1])["source"] == "plan"
        planner.plan_of = lambda observation: straight_plan(observation, speed_mps=60.0)
        told = [outcome(answer) for answer in caller.steps(13)]
        assert [t["source"] for t in told] == ["held_plan"] * 10 + ["stop"] * 3
        assert "rejected by the planner node" in told[0]["reason"] and "v0_of_plan" in told[0]["reason"]
        assert "v0_of_plan" in told[-1]["reason"]


def test_a_planner_that_says_nothing_costs_a_step_its_plan(corner):
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=8.0)
    node = planner_node(corner, planner)
    with called(corner, node, through_topics=True, planner="", plan_timeout_s=0.5) as (_, client):
        caller = Caller(client)
        wait_for(lambda: outcome(caller.step())["source"] == "plan", "a plan")

        def refuse(observation: Any) -> Any:
            raise RuntimeError("no plan today")

        planner.plan_of = refuse  # nothing is sent: the last plan still holds
        told = outcome(caller.step())
        assert told["source"] == "held_plan"
        assert "plan: expected one within 0.5 s, got none" in told["reason"]


def test_the_end_of_the_driver_ends_a_wait_for_a_plan(corner):
    with called(
        corner, planner_node(corner, ScriptedPlanner()), through_topics=True, planner="", plan_timeout_s=60.0
    ) as (node, client):
        caller = Caller(client)
        caller.steps(6)
        node._topics.interrupt()
        assert "the end of the driver" in outcome(caller.step())["reason"]


def test_without_a_planner_the_port_stays_closed_and_it_says_so(corner):
    from alpamayo_ros.nodes.sim_bridge import simulation_nodes

    values = {"mode": "alpasim", "through_topics": True, "port": 0, "planner_timeout_s": 0.5}
    (node,) = simulation_nodes(
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()], **corner.options
    )
    try:
        node.start()
        wait_for(lambda: node.done, "the end")
        assert "planner: expected a subscriber of" in str(node.error) and not node.address
    finally:
        node.destroy_node()
