"""The safety stage of the planner node on real topics: what goes out when a plan is bad, late or missing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from planner_harness import ScriptedPlanner, active, straight_plan, wait_for
from rclpy.parameter import Parameter

from alpamayo_ros.msg import Engagement as EngagementMsg
from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.msg import StageTimesStamped
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.plan_conversions import PlanStatus, plan_from_msg
from alpamayo_ros.ros.qos import latched_qos
from alpamayo_ros.srv import Engage
from alpamayo_ros.types import Observation, Plan

KEPT = "Keep the lane."


def far_away(observation: Observation) -> Plan:
    """Return a plan that starts 10 m ahead of the vehicle."""
    plan = straight_plan(observation)
    plan.xyz_in_rig_t0[:, :, 0] += 10.0
    return plan


def two(observation: Observation) -> Plan:
    """Return a plan of three candidates: one that starts far away, and two that do not."""
    xyz = np.concatenate(
        [far_away(observation).xyz_in_rig_t0, *[straight_plan(observation).xyz_in_rig_t0] * 2]
    )
    xyz[2, :, 1] += np.linspace(0.0, 0.5, 64, dtype=np.float32)
    one = straight_plan(observation)
    repeated = {
        name: np.repeat(getattr(one, name), 3, axis=0)
        for name in ("rot_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps", "normalised_action")
    }
    return replace(
        one,
        xyz_in_rig_t0=xyz,
        **repeated,
        reasoning=(KEPT,) * 3,
        reasoning_complete=(True,) * 3,
        meta_action=("",) * 3,
        token_ids=((),) * 3,
        sections=(None,) * 3,
    )


def test_before_the_first_plan_there_is_a_stop_and_then_the_plan_drives(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        world.drive(lambda: len(world.plans) >= 3, what="three plans")
        first = world.received["plan"][0]
        assert first.status == PlanMsg.STATUS_FALLBACK
        assert "no valid plan yet" in first.status_reason
        assert not first.engaged
        statuses = [msg.status for msg in world.received["plan"]]
        begun = statuses.index(PlanMsg.STATUS_VALID)
        assert set(statuses[begun:]) == {PlanMsg.STATUS_VALID}
        plan = world.plans[-1]
        assert stamp_to_ns(plan.decided) == stamp_to_ns(plan.header.stamp)
        checks = {check.name: check for check in plan.checks}
        assert checks["v0_of_plan"].passed and checks["v0_of_plan"].value < 0.2
        assert {"finite", "age", "first_waypoint", "kink", "lateral_accel"} <= set(checks)
        assert plan.monitor != PlanMsg.MONITOR_NOT_ASKED
        assert node.statistics["stops"] >= 1


def test_a_plan_that_starts_elsewhere_is_for_the_record_and_the_stop_says_why(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        rejected: list[PlanMsg] = []
        world.node.create_subscription(PlanMsg, "debug/rejected_plan", rejected.append, 10)
        wait_for(lambda: node.count_subscribers("debug/rejected_plan"), "the subscription")
        world.drive(lambda: len(world.plans) >= 3, what="plans")
        good, stopped = len(world.plans), len(world.stops)
        planner.plan_of = far_away
        world.drive(lambda: len(world.stops) > stopped + 5, what="stops")
        last_good_ns = stamp_to_ns(world.plans[-1].header.stamp)
        assert len(world.plans) <= good + 1
        first = next(s for s in world.stops[stopped:])
        begins_ns = stamp_to_ns(first.header.stamp)
        assert begins_ns - last_good_ns >= 0.9e9  # the last valid plan holds until it expires
        assert "first_waypoint: expected at most 2 m, got 10 m" in first.status_reason
        assert rejected and all(msg.status == PlanMsg.STATUS_REJECTED for msg in rejected)
        failed = [check.name for check in rejected[0].checks if not check.passed]
        assert "first_waypoint" in failed
        assert node.statistics["gate/first_waypoint"] >= 5

        # The stop begins where the vehicle is, at its speed, and gets slower.
        stop = plan_from_msg(first)
        x, y, _ = world.pose(begins_ns)
        np.testing.assert_allclose(stop.odom_from_rig_t0[:2, 3], (x, y), atol=0.05)
        speed = stop.plan.speed_mps[0]
        assert speed[0] == pytest.approx(5.0, abs=0.1)
        assert speed[-1] < 0.1 and (np.diff(speed) < 1e-3).all()

        # Three in a row, over 0.2 s, end it.
        planner.plan_of = straight_plan
        valid = len(world.plans)
        world.drive(lambda: len(world.plans) > valid, what="recovery")
        assert node.statistics["plans_waiting"] >= 2
        after = world.received["plan"].index(world.plans[valid])
        assert {m.status for m in world.received["plan"][after:]} == {PlanMsg.STATUS_VALID}


def test_of_several_candidates_one_that_passes_is_chosen(tmp_path):
    planner = ScriptedPlanner()
    planner.plan_of = two
    with active(tmp_path, planner) as (world, _):
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        assert all(plan.chosen in (1, 2) for plan in world.plans)
        assert all(len(plan.candidates) == 3 for plan in world.plans)


def test_while_cameras_are_silent_stops_go_on_and_deactivation_ends_them(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        world.drive(lambda: len(world.plans) >= 3, what="plans", pause_s=0.1)
        stopped = len(world.stops)
        deadline = time.monotonic() + 20
        while len(world.stops) < stopped + 10 and time.monotonic() < deadline:
            world.publish_odometry(time.time_ns())
            time.sleep(0.02)
        ages_ms = [
            (stamp_to_ns(b.header.stamp) - stamp_to_ns(a.header.stamp)) / 1e6
            for a, b in pairwise(world.stops[stopped:])
        ]
        assert len(ages_ms) >= 9 and np.median(ages_ms) < 200
        assert "no valid plan for" in world.stops[-1].status_reason
        assert world.transition("deactivate")
        time.sleep(0.3)
        silent = len(world.received["plan"])
        time.sleep(0.5)
        assert len(world.received["plan"]) == silent


def test_without_odometry_a_stop_begins_where_the_last_plan_leads(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        world.drive(lambda: len(world.plans) >= 3, what="plans", pause_s=0.1)
        stopped = len(world.stops)
        wait_for(lambda: len(world.stops) > stopped + 20, "stops")
        stops = [plan_from_msg(msg) for msg in world.stops[stopped:]]
        assert "odometry is" in stops[0].status_reason
        assert all(stop.odometry_frame == "odom" for stop in stops)
        speeds = [float(stop.plan.speed_mps[0, 0]) for stop in stops]
        assert speeds[0] == pytest.approx(5.0, abs=0.5)
        assert speeds[-1] < speeds[0] - 1.0
        assert all(later <= earlier + 0.05 for earlier, later in pairwise(speeds))


def test_without_any_odometry_the_stop_is_to_stand(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        wait_for(lambda: len(world.stops) >= 3, "stops")
        stop = plan_from_msg(world.stops[0])
        assert stop.odometry_frame == "" and "no odometry yet" in stop.status_reason
        assert not stop.plan.speed_mps.any() and not world.received["path"]


def test_a_contradiction_rejects_where_a_parameter_says_so(tmp_path):
    planner = ScriptedPlanner()
    planner.plan_of = lambda o: straight_plan(o, reasoning=("Stop for the red light.",))
    with active(tmp_path, planner) as (world, node):
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        assert world.plans[-1].monitor == PlanMsg.MONITOR_CONTRADICTS
        assert "expected to stop" in world.plans[-1].monitor_reason
        (result,) = node.set_parameters([Parameter("monitor_rejects", value=True)])
        assert result.successful
        stopped = len(world.stops)
        world.drive(lambda: len(world.stops) > stopped, what="a stop")
        assert node.statistics.refusals["contradiction"] >= 1


def test_limits_change_live_and_what_cannot_be_is_refused(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        (bad,) = node.set_parameters([Parameter("stop.comfort_decel_mps2", value=9.0)])
        assert not bad.successful and "comfort_decel_mps2 <= hard_decel_mps2" in bad.reason
        (late,) = node.set_parameters([Parameter("fallback_after_ms", value=2000.0)])
        assert not late.successful and "at most max_plan_age" in late.reason
        (good,) = node.set_parameters([Parameter("limits.max_speed_mps", value=4.0)])
        assert good.successful
        stopped = len(world.stops)
        world.drive(lambda: len(world.stops) > stopped, what="a stop")
        assert "speed: expected at most 4 m/s, got 5" in world.stops[-1].status_reason


def test_engaged_is_said_by_every_plan_and_refused_while_there_is_none(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, _):
        said: list[EngagementMsg] = []
        world.node.create_subscription(EngagementMsg, "engaged", said.append, latched_qos())
        client = world.node.create_client(Engage, "engage")
        refused = world.call(client, Engage.Request(engage=True))
        assert not refused.success and "expected a valid plan, got a stop" in refused.message
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        assert world.call(client, Engage.Request(engage=True)).success
        world.drive(lambda: world.plans[-1].engaged, what="an engaged plan")
        wait_for(lambda: said and said[-1].engaged, "the state")
        assert said[-1].active
        assert world.call(client, Engage.Request(engage=False)).success
        world.drive(lambda: not world.plans[-1].engaged, what="one that is not")
        assert world.call(client, Engage.Request(engage=True)).success
        assert world.transition("deactivate")
        wait_for(lambda: not said[-1].active, "the state")
        assert said[-1].engaged and said[-1].reason == "deactivated"  # it fell silent with a vehicle on it
        assert not world.call(client, Engage.Request(engage=True)).success


def test_stage_times_go_out_with_every_plan(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        times: list[StageTimesStamped] = []
        world.node.create_subscription(StageTimesStamped, "planner/debug/stage_times", times.append, 10)
        wait_for(lambda: node.count_subscribers("planner/debug/stage_times"), "the subscription")
        world.drive(lambda: len(times) >= 3, what="stage times")
        t0s = {stamp_to_ns(plan.header.stamp) for plan in world.plans}
        assert all(stamp_to_ns(msg.header.stamp) in t0s for msg in times)
        assert all(msg.inference_ms > 0 and msg.output_ms > 0 for msg in times)


def test_a_clock_that_jumps_back_begins_a_new_drive(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        world.now_ns -= 100 * 10**9
        back_ns = world.now_ns
        world.drive(lambda: node.statistics["clock_jumps"] == 1, what="the jump")
        world.drive(lambda: stamp_to_ns(world.plans[-1].header.stamp) < back_ns + 60 * 10**9, what="a plan")
        begun = [m for m in world.received["plan"] if stamp_to_ns(m.header.stamp) < back_ns + 60 * 10**9]
        assert PlanStatus(begun[0].status) is PlanStatus.FALLBACK
        assert "no valid plan yet" in begun[0].status_reason


def test_without_the_gate_plans_are_unchecked_and_nothing_stops(tmp_path):
    planner = ScriptedPlanner()
    planner.plan_of = far_away
    with active(tmp_path, planner, safety_gate=False) as (world, _):
        world.drive(lambda: len(world.plans) >= 3, what="plans")
        assert {msg.status for msg in world.received["plan"]} == {PlanMsg.STATUS_UNCHECKED}
        client = world.node.create_client(Engage, "engage")
        assert "safety gate" in world.call(client, Engage.Request(engage=True)).message


def test_a_slow_model_is_stopped_for_and_comes_back(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, _):
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        planner.gate = threading.Event()
        stopped = len(world.stops)
        world.drive(lambda: len(world.stops) > stopped + 3, what="stops")
        planner.gate.set()
        valid = len(world.plans)
        world.drive(lambda: len(world.plans) > valid + 2, what="plans again")
