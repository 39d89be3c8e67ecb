"""The planner node over real topics with a scripted planner: plans, refusals, time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from planner_harness import STEP_NS, T0_NS, ScriptedPlanner, active, straight_plan, wait_for
from rclpy.duration import Duration
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import MarkerArray

from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.types import InvalidInput


def test_a_plan_is_stamped_and_anchored_at_t0(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        world.node.create_subscription(MarkerArray, "markers", world.received["markers"].append, 10)
        wait_for(lambda: node.count_subscribers("markers"), "the markers' subscription")
        world.drive(lambda: len(world.plans) >= 3 and world.received["markers"], what="three plans")
        wait_for(lambda: len(world.paths) >= 3, "three paths")

        for observation, msg in zip(planner.observations, world.plans, strict=False):
            published = plan_from_msg(msg)
            assert published.plan.t0_ns == observation.t0_ns
            assert published.valid_until_ns == observation.t0_ns + 10**9
            assert (published.status.name, published.status_reason) == ("VALID", "")
            assert (published.rig_frame, published.odometry_frame) == ("base_link", "odom")
            assert (msg.reasoning, msg.model) == ("Keep the lane.", "straight")
            x, y, yaw = world.pose(observation.t0_ns)
            np.testing.assert_allclose(published.odom_from_rig_t0[:2, 3], (x, y), atol=2e-3)
            turned = Rotation.from_matrix(published.odom_from_rig_t0[:3, :3]).as_euler("zyx")[0]
            assert turned == pytest.approx(yaw, abs=1e-6)

        path = world.paths[0]
        t0_ns = planner.observations[0].t0_ns
        x, y, yaw = world.pose(t0_ns)
        assert path.header.frame_id == "odom"
        for stamped in path.poses:
            ahead = 5.0 * (stamp_to_ns(stamped.header.stamp) - t0_ns) / 1e9
            position = stamped.pose.position
            assert position.x == pytest.approx(x + ahead * np.cos(yaw), abs=0.01)
            assert position.y == pytest.approx(y + ahead * np.sin(yaw), abs=0.01)
        names = {m.ns for m in world.received["markers"][0].markers}
        assert names == {"path", "ribbon", "footprint", "footprints", "reasoning"}
        assert world.received["reasoning"][0].data == "Keep the lane."
        # The frames: green from the raw camera, red from the JPEG one, as RGB.
        observation = planner.observations[0]
        assert observation.camera_ids == (0, 1)
        red, green, blue = observation.frames_of(1)[0, :, 5, 5]
        assert green > 200 and (red, blue) == (0, 0)
        assert observation.frames_of(0)[0, 0, 5, 5] > 200


def test_the_plan_topic_offers_a_deadline_and_a_lifespan(tmp_path):
    options = {"max_plan_age": 0.8, "plan_period_ms": 250.0}
    with active(tmp_path, ScriptedPlanner(), **options) as (world, node):
        (info,) = world.node.get_publishers_info_by_topic(node.resolve_topic_name("plan"))
        assert info.qos_profile.deadline == Duration(nanoseconds=500_000_000)
        assert info.qos_profile.lifespan == Duration(nanoseconds=800_000_000)
        assert info.qos_profile.reliability.name == "RELIABLE"
        assert info.qos_profile.durability.name == "VOLATILE"
        (info,) = world.node.get_subscriptions_info_by_topic(node.resolve_topic_name("front"))
        assert info.qos_profile.reliability.name == "BEST_EFFORT"


def test_quality_of_service_is_a_parameter(tmp_path):
    overrides = {"qos_overrides./front.subscription.reliability": "reliable"}
    rig = """
name: one
cameras:
  - {role: front_wide, topic: /front, transport: raw}
"""
    from planner_harness import running

    with running(tmp_path, ScriptedPlanner(), rig=rig, **overrides) as (world, _):
        assert world.transition("configure")
        wait_for(lambda: world.node.count_subscribers("/front"), "the subscription")
        (info,) = world.node.get_subscriptions_info_by_topic("/front")
        assert info.qos_profile.reliability.name == "RELIABLE"


def test_it_plans_in_wall_time_too(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        world.drive(lambda: len(world.plans) >= 2, what="two plans", pause_s=0.1)
        age_ns = time.time_ns() - stamp_to_ns(world.plans[0].header.stamp)
        assert 0 < age_ns < 2 * 10**9


def test_inference_takes_the_newest_observation_only(tmp_path):
    planner = ScriptedPlanner()
    planner.gate = threading.Event()
    with active(tmp_path, planner, max_plan_age=60.0) as (world, node):
        world.drive(lambda: planner.observations, what="a first observation")
        world.drive(lambda: node.statistics["superseded"] >= 5, what="observations that pass unplanned")
        last_ns = world.now_ns
        wait_for(lambda: node.statistics.newest_t0_ns == last_ns, "the last tick's observation")
        planner.gate.set()
        wait_for(lambda: len(world.plans) >= 2, "both plans")
        assert [o.t0_ns for o in planner.observations][1:] == [last_ns]


def test_waypoints_that_are_past_are_left_out_of_the_path(tmp_path):
    planner = ScriptedPlanner()
    planner.gate = threading.Event()
    with active(tmp_path, planner) as (world, _):
        world.drive(lambda: planner.observations, what="an observation")
        t0_ns = planner.observations[0].t0_ns
        while world.now_ns < t0_ns + 5 * STEP_NS:
            world.tick()
            time.sleep(0.05)
        planner.gate.set()
        wait_for(lambda: world.paths, "a path")
        path = world.paths[0]
        assert stamp_to_ns(path.header.stamp) == t0_ns
        assert stamp_to_ns(path.poses[0].header.stamp) == world.now_ns
        assert len(path.poses) == 60
        # The vehicle is past those waypoints; the plan itself has all of them, anchored where it was at t0.
        assert stamp_to_ns(world.plans[0].header.stamp) == t0_ns


def test_a_plan_that_comes_too_late_is_refused(tmp_path):
    planner = ScriptedPlanner()
    planner.gate = threading.Event()
    with active(tmp_path, planner) as (world, node):
        world.drive(lambda: planner.observations, what="an observation")
        late_ns = planner.observations[0].t0_ns
        while world.now_ns <= late_ns + 11 * STEP_NS:
            world.tick()
            time.sleep(0.02)
        planner.gate.set()
        wait_for(lambda: node.statistics.refusals.get("plan_age"), "a refusal")
        assert "expected an age of at most 1 s" in str(node.statistics.values()["last_refusal"])
        world.drive(lambda: world.plans, what="a plan in time")
        assert all(stamp_to_ns(p.header.stamp) > late_ns for p in world.plans)


def test_an_observation_that_is_too_old_already_is_not_planned(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner, sim_time=False) as (world, node):
        start_ns = time.time_ns() - 3600 * 10**9
        for i in range(40):
            world.tick(start_ns + i * STEP_NS)
            time.sleep(0.02)
        wait_for(lambda: node.statistics.refusals.get("observation_age"), "the refusal")
        assert not planner.observations
        assert not world.plans


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda o: straight_plan(o, xyz_in_rig_t0=np.full((1, 64, 3), np.nan, np.float32)), "gate"),
        (lambda o: straight_plan(o, rot_in_rig_t0=np.zeros((1, 64, 3, 3), np.float32)), "gate"),
        (lambda o: straight_plan(o, rot_in_rig_t0=np.zeros((1, 64, 3, 3), np.float32)), "plan_invalid"),
        (lambda o: straight_plan(o, t0_ns=o.t0_ns + 1), "observation_refused"),
        (lambda o: (_ for _ in ()).throw(InvalidInput("instruction: expected none")), "observation_refused"),
        (lambda o: (_ for _ in ()).throw(RuntimeError("out of memory")), "inference_error"),
        (lambda o: None, "inference_error"),
    ],
)
def test_what_cannot_be_published_is_refused_and_the_next_plan_comes(tmp_path, bad, reason):
    planner = ScriptedPlanner()
    planner.plan_of = bad
    with active(tmp_path, planner, safety_gate=reason != "plan_invalid") as (world, node):
        world.drive(lambda: node.statistics.refusals.get(reason, 0) >= 2, what=f"refusals for {reason}")
        assert not world.plans
        planner.plan_of = straight_plan
        world.drive(lambda: world.plans, what="a good plan")
        wait_for(
            lambda: int(world.diagnostics("alpamayo/inference").get(f"refusals/{reason}", 0)) >= 2,
            "its count",
        )


def test_a_clock_that_jumps_back_clears_everything(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        world.drive(lambda: world.plans, what="a plan")
        before = len(planner.observations)
        world.now_ns = T0_NS - 100 * STEP_NS
        world.drive(lambda: node.statistics["clock_jumps"] == 1, what="the jump")
        after_ns = world.now_ns
        world.drive(lambda: world.plans[-1].header.stamp.sec < T0_NS // 10**9, what="a plan of the new time")
        again = [o for o in planner.observations[before:] if o.t0_ns < T0_NS]
        # A whole history of the new time was waited for, and none of it is from the old one.
        assert again[0].t0_ns >= after_ns + 10 * STEP_NS
        for observation in again:
            assert np.all(observation.frame_stamps_ns < T0_NS)
            assert np.abs(observation.history_xyz_in_rig_t0).max() < 10


def test_stamps_that_jump_back_clear_everything(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner, sim_time=False, max_plan_age=60.0) as (world, node):
        world.drive(lambda: world.plans, what="a plan", pause_s=0.1)
        start_ns = time.time_ns() - 30 * 10**9
        before = len(planner.observations)
        for i in range(40):
            world.tick(start_ns + i * STEP_NS)
            time.sleep(0.03)
        wait_for(lambda: len(planner.observations) > before, "an observation of the new time")
        assert node.statistics["backward_jumps"] >= 1
        assert planner.observations[-1].t0_ns < start_ns + 41 * STEP_NS


def test_nothing_is_planned_before_the_clock_runs(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, node):
        for i in range(25):
            stamp_ns = T0_NS + i * STEP_NS
            for k in range(5):
                world.publish_odometry(stamp_ns - (4 - k) * STEP_NS // 5)
            world.publish_cameras(stamp_ns)
            time.sleep(0.02)
        assert not planner.observations
        assert node.statistics["observations"] == 0
        world.now_ns = T0_NS + 24 * STEP_NS
        world.drive(lambda: world.plans, what="a plan")
