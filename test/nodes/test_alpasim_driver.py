"""The driver for AlpaSim as a node: called over gRPC, mirrored on topics, reported in diagnostics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from alpasim_harness import CAMERA_IDS, SPEED_MPS, START_US, STEP_US, YAW_RATE_RADPS, Caller, Looker, called
from planner_harness import Graph, graph, wait_for
from rclpy.node import Node
from rclpy.parameter import Parameter
from sim_harness import CAMERAS

from alpamayo_ros.nodes.alpasim_driver import AlpasimDriverNode
from alpamayo_ros.nodes.sim_bridge import SimBridgeNode, simulation_nodes
from alpamayo_ros.ros.conversions import pose_to_matrix, stamp_to_ns
from alpamayo_ros.ros.plan_conversions import PlanStatus
from alpamayo_ros.types import InvalidInput

UUID = "1a2b3c4d-e665-11f1-b417-02fc00000001"
PREFIX = "session_1a2b3c4d"


@pytest.fixture
def corner() -> Iterator[Graph]:
    with graph(sim_time=False) as (corner, _):
        yield corner


def make(corner: Graph, **parameters: object) -> list[Node]:
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    return simulation_nodes(parameter_overrides=overrides, **corner.options)


def drive(caller: Caller, looker: Looker, *, steps: int = 8) -> None:
    """Drive once all topics of the session are matched."""
    caller.steps(2)
    matched = [f"{caller.prefix}/plan", f"{caller.prefix}/camera/front_tele/image/compressed"]
    wait_for(lambda: all(looker.count_publishers(topic) for topic in matched), "the session's topics")
    # Discovery goes both ways: only what was answered after a plan has come is surely seen.
    count = len(looker.received[f"{caller.prefix}/plan"])
    wait_for(
        lambda: caller.step() and len(looker.received[f"{caller.prefix}/plan"]) > count,
        "a plan on the topics",
    )
    caller.steps(steps)


def test_the_mode_chooses_the_node(corner):
    for mode, kind in (("alpasim", AlpasimDriverNode), ("renderer", SimBridgeNode)):
        nodes = make(corner, mode=mode, planner="constant", port=0) if mode == "alpasim" else make(corner)
        assert type(nodes[0]) is kind and nodes[0].get_name() == "sim_bridge"
        for node in nodes:
            node.destroy_node()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "checkpoint: expected a folder or a hub id"),
        ({"planner": "constant", "checkpoint": "a"}, "expected one of them"),
        ({"through_topics": True, "checkpoint": "a"}, "expected the planner node to plan"),
        ({"planner": "constant", "cameras": "front=nose"}, "expected LOGICAL_ID=ROLE"),
        ({"planner": "constant", "tls_key": "a"}, "expected both or neither"),
        ({"planner": "constant", "navigation": "perhaps"}, "expected one of auto, on, off"),
        ({"planner": "constant", "port": 70000}, "parameter port: expected integer"),
        ({"planner": "constant", "fallback_after_ms": 2000.0}, "expected at most max_plan_age"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(corner, parameters, message):
    with pytest.raises(InvalidInput, match=message):
        make(corner, mode="alpasim", **parameters)


def test_a_session_is_answered_and_mirrored_under_a_name_of_its_own(corner):
    looker = Looker(PREFIX, **corner.options)
    with called(corner, looker) as (_, client):
        caller = Caller(client, UUID)
        drive(caller, looker)
        now_us = caller.now_us - STEP_US
        heard = {topic.removeprefix(f"{PREFIX}/"): messages for topic, messages in looker.received.items()}
        wait_for(
            lambda: heard["plan"] and stamp_to_ns(heard["plan"][-1].header.stamp) == now_us * 1000, "the last"
        )
        wait_for(
            lambda: stamp_to_ns(heard["odometry"][-1].header.stamp) == now_us * 1000, "the last odometry"
        )

        plan = heard["plan"][-1]
        assert plan.status == PlanStatus.VALID and stamp_to_ns(plan.decided) == now_us * 1000
        assert plan.checks and all(c.passed for c in plan.checks) and plan.monitor == plan.MONITOR_AGREES
        assert (plan.header.frame_id, plan.odometry_frame_id) == (f"{PREFIX}/base_link", f"{PREFIX}/local")
        np.testing.assert_allclose(pose_to_matrix(plan.rig_pose), caller.pose(now_us), atol=1e-6)
        assert heard["path"][-1].header.frame_id == f"{PREFIX}/local"
        markers = [marker for array in heard["markers"] for marker in array.markers]
        assert {marker.header.frame_id for marker in markers if marker.ns == "path"} == {f"{PREFIX}/local"}
        (frame,) = {marker.header.frame_id for marker in markers if marker.ns == "route"}
        assert frame == f"{PREFIX}/base_link"

        odometry = heard["odometry"][-1]
        assert (odometry.header.frame_id, odometry.child_frame_id) == (
            f"{PREFIX}/local",
            f"{PREFIX}/base_link",
        )
        assert odometry.twist.twist.linear.x == pytest.approx(SPEED_MPS, abs=0.01)
        assert odometry.twist.twist.angular.z == pytest.approx(YAW_RATE_RADPS, abs=1e-3)
        frames = {(t.header.frame_id, t.child_frame_id) for m in heard["/tf"] for t in m.transforms}
        assert (f"{PREFIX}/local", f"{PREFIX}/base_link") in frames

        route = heard["route"][-1]
        assert (route.header.frame_id, route.maneuver) == (f"{PREFIX}/base_link", route.MANEUVER_LEFT)
        assert route.distance_valid and route.instruction_valid and "left" in route.instruction
        assert len(route.waypoints) == 20 and all(route.waypoint_valid)
        mounts = {t.child_frame_id for t in heard["/tf_static"][-1].transforms}
        assert {f"{PREFIX}/{name}_optical_frame" for name in CAMERAS} <= mounts
        for name in CAMERAS:
            images, infos = heard[f"camera/{name}/image/compressed"], heard[f"camera/{name}/camera_info"]
            shown_us = stamp_to_ns(images[-1].header.stamp) // 1000
            assert bytes(images[-1].data) == caller.picture(shown_us) and images[-1].format == "jpeg"
            assert stamp_to_ns(images[-1].header.stamp) > (START_US + STEP_US) * 1000
            assert images[-1].header.frame_id == infos[-1].header.frame_id == f"{PREFIX}/{name}_optical_frame"
            assert (infos[-1].width, infos[-1].height) == (96, 54)

        caller.close()
        wait_for(lambda: not looker.topics_of(PREFIX), "the end of the session's topics")


def test_what_was_driven_without_a_plan_is_shown_as_a_fallback(corner):
    looker = Looker(PREFIX, **corner.options)
    with called(corner, looker, warm_up=0.0) as (_, client):
        caller = Caller(client, UUID)
        wait_for(lambda: looker.topics_of(PREFIX), "the session's topics")
        plans = looker.received[f"{PREFIX}/plan"]
        wait_for(lambda: caller.step(cameras=(1,)) and len(plans) > 1, "what was driven without a plan")
        plan = plans[-1]
        assert plan.status == PlanStatus.FALLBACK
        assert plan.status_reason.startswith("stop: expected frames of every camera, got none of cross_left")
        xyz = np.array([[getattr(w.pose.position, a) for a in "xyz"] for w in plan.candidates[0].waypoints])
        assert xyz[0, 0] == pytest.approx(SPEED_MPS * 0.1, abs=0.1)
        assert np.all(np.diff(xyz[:, 0]) >= -1e-6) and xyz[-1, 0] < SPEED_MPS * 6.4


def test_what_the_gate_refuses_is_shown_beside_the_stop(corner):
    looker = Looker(PREFIX, **corner.options)
    with called(corner, looker, **{"limits.max_speed_mps": 5.0}) as (_, client):
        caller = Caller(client, UUID)
        rejected, plans = looker.received[f"{PREFIX}/debug/rejected_plan"], looker.received[f"{PREFIX}/plan"]
        wait_for(lambda: caller.step() and len(rejected) > 1 and len(plans) > 1, "a plan that is refused")
        caller.step()
        now_ns = (caller.now_us - STEP_US) * 1000
        for heard in (rejected, plans):
            wait_for(lambda heard=heard: stamp_to_ns(heard[-1].header.stamp) == now_ns, "the last")
        assert (rejected[-1].status, plans[-1].status) == (PlanStatus.REJECTED, PlanStatus.FALLBACK)
        assert rejected[-1].status_reason.startswith("speed: expected at most 5 m/s, got 8")
        assert plans[-1].status_reason == f"stop: {rejected[-1].status_reason}"
        assert {c.name for c in rejected[-1].checks if not c.passed} == {"speed"}
        assert stamp_to_ns(plans[-1].decided) == now_ns and not stamp_to_ns(rejected[-1].valid_until)
        text = [m.text for array in looker.received[f"{PREFIX}/markers"] for m in array.markers if m.text]
        assert any(line.startswith("Stopping: stop: speed") for line in text)
        wait_for(lambda: looker.status("driver").get("gate/speed"), "a report")
        assert int(looker.status("driver")["refused/gate"]) > 1


def test_without_the_gate_plans_are_shown_as_unchecked(corner):
    looker = Looker(PREFIX, **corner.options)
    with called(corner, looker, safety_gate=False, **{"limits.max_speed_mps": 5.0}) as (_, client):
        drive(Caller(client, UUID), looker, steps=2)
        plan = looker.received[f"{PREFIX}/plan"][-1]
        assert plan.status == PlanStatus.UNCHECKED and not plan.checks


def test_one_session_at_a_time_is_watched_and_the_next_follows(corner):
    looker = Looker("watched", **corner.options)
    with called(corner, looker) as (_, client):
        first = Caller(client)
        plans, clocks = looker.received["watched/plan"], looker.received["watched/clock"]
        wait_for(lambda: first.step() and plans, "a watched plan")
        second = Caller(client, start_us=START_US - 10**9)
        second.steps(2)
        assert all(stamp_to_ns(clock.clock) >= START_US * 1000 for clock in clocks)
        first.close()
        wait_for(
            lambda: second.step() and stamp_to_ns(plans[-1].header.stamp) < START_US * 1000,
            "the next session",
        )
        assert plans[-1].header.frame_id == "watched/base_link"
        wait_for(
            lambda: stamp_to_ns(clocks[-1].clock) == stamp_to_ns(plans[-1].header.stamp),
            "the plan of this time",
        )


def test_sessions_with_the_same_first_digits_have_distinct_names(corner):
    looker = Looker(**corner.options)
    with called(corner, looker) as (_, client):
        callers = [Caller(client, f"1a2b3c4d-e665-11f1-b417-02fc0000000{n}") for n in range(3)]
        for name in (PREFIX, f"{PREFIX}_2", f"{PREFIX}_3"):
            wait_for(lambda name=name: looker.topics_of(name), name)
        callers[1].close()
        wait_for(lambda: not looker.topics_of(f"{PREFIX}_2"), "the end of the second")
        assert looker.topics_of(PREFIX) and looker.topics_of(f"{PREFIX}_3")


def test_without_a_mirror_the_answers_are_the_same_and_there_are_no_topics(corner):
    looker = Looker(**corner.options)
    with called(corner, looker) as (_, client):
        mirrored = Caller(client, UUID).steps(6)
    looker = Looker(**corner.options)
    with called(corner, looker, mirror=False) as (_, client):
        plain = Caller(client, UUID).steps(6)
        assert not looker.topics_of(PREFIX) and not looker.topics_of("watched")
    for ours, theirs in zip(mirrored, plain, strict=True):
        np.testing.assert_array_equal(ours.trajectory[1], theirs.trajectory[1])
        assert ours.debug_info == theirs.debug_info


def test_diagnostics_say_who_drives_where_and_what_was_refused(corner):
    looker = Looker(**corner.options)
    with called(corner, looker) as (node, client):
        caller = Caller(client, UUID)
        caller.steps(6)
        caller.step(cameras=(*CAMERA_IDS, 4))
        caller.jpeg = b"no picture"
        with pytest.raises(Exception, match="camera_image"):
            caller.step()
        wait_for(lambda: looker.status("driver").get("refused/image"), "a report")
        status = looker.status("driver")
        assert status["address"] == node.address and status["phase"] == "driving"
        assert (status["sessions_open"], status["level"]) == ("1", "1")
        assert status["ignored/camera_rear_tele_30fov"] == "1"
        assert "camera_image" in status["last_problem"]
        assert int(status["drives/plan"]) >= 3 and math.isfinite(float(status["overhead_p99_ms"]))
        assert looker.status("model")["model"] == "constant"


def test_a_port_that_cannot_be_had_ends_the_process(corner):
    with called(corner) as (node, _):
        port = int(node.address.rsplit(":", 1)[1])
        (second,) = make(corner, mode="alpasim", planner="constant", port=port)
        try:
            second.start()
            wait_for(lambda: second.done, "the end")
            assert isinstance(second.error, InvalidInput) and str(port) in str(second.error)
        finally:
            second.destroy_node()


def test_debug_info_is_json_unless_a_pickle_is_asked_for(corner):
    with called(corner, debug_info="json") as (_, client):
        answer = Caller(client, UUID).steps(1)[0]
        assert json.loads(answer.debug_info)["source"] == "warm_up"
