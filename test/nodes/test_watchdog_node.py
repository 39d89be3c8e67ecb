"""The watchdog node on real topics, with a planner in a process of its own that is silenced or killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from planner_harness import T0_NS, Graph, World
from rclpy.parameter import Parameter
from scripted_planner import RADIUS, SPEED, pose
from watchdog_harness import (
    Observer,
    ScriptedProcess,
    Traffic,
    after,
    scripted_planner,
    t0_ns,
    until,
    watched,
)

from alpamayo_ros.msg import Engagement
from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.ros.qos import latched_qos


@dataclass
class Driving:
    """What a test has at hand."""

    observer: Observer
    planner: ScriptedProcess
    traffic: Traffic
    corner: Graph


@contextmanager
def driving(
    tmp_path, *, engaged: bool = True, heartbeat_ms: float = 10_000.0, timeout_ms: float = 10_000.0
) -> Iterator[Driving]:
    """Run a watchdog and a planner that drives, and the vehicle's odometry.

    What a test is not about is given ten seconds: on a busy machine everybody is silent for a while.
    """
    with (
        watched(tmp_path, timeout_ms=timeout_ms) as (observer, corner, _),
        Traffic(observer.world) as traffic,
        scripted_planner(corner, heartbeat_ms=heartbeat_ms) as planner,
    ):
        planner.tell("start", "activate", "plans", *(["engage"] if engaged else []))
        until(lambda: len(observer.of_planner()) >= 5, "plans")
        until(lambda: guards(observer, engaged=engaged), "the watchdog to guard")
        yield Driving(observer, planner, traffic, corner)


def guards(observer: Observer, *, engaged: bool) -> bool:
    status = observer.status()
    wanted = ("true", "false", str(engaged).lower())
    return (status.get("guarding"), status.get("acting"), status.get("engaged")) == wanted


def test_a_killed_planner_is_stopped_for_until_a_restarted_one_sends_plans(tmp_path):
    with driving(tmp_path, heartbeat_ms=500.0) as drive:
        observer, planner = drive.observer, drive.planner
        killed = planner.kill()
        until(lambda: len(after(observer.of_watchdog(), killed)) >= 10, "stops")
        stops = [(at, msg) for at, msg in observer.of_watchdog() if at > killed]
        print(f"first stop {1e3 * (stops[0][0] - killed):.0f} ms after the kill")
        assert stops[0][0] - killed < 2.0  # a heartbeat, on a machine that may be busy; not the timeout
        assert np.median([b - a for (a, _), (b, _) in pairwise(stops)]) == pytest.approx(0.1, abs=0.03)
        first = stops[0][1]
        assert first.status == PlanMsg.STATUS_FALLBACK
        assert first.engaged
        assert first.status_reason.startswith("the planner's liveliness was lost; no plan for ")
        assert t0_ns(first) > t0_ns(observer.of_planner()[-1][1])
        assert first.decided == observer.of_planner()[-1][1].decided
        along_the_circle(first)
        until(lambda: observer.status()["acting"] == "true", "diagnostics")
        assert observer.status()["level"] == "2"
        assert "start and activate the planner again" in observer.status()["message"]
        until(lambda: observer.paths, "a path")

        with scripted_planner(drive.corner, heartbeat_ms=10_000.0) as second:
            second.tell("start", "activate")
            seen = len(observer.of_watchdog())
            until(lambda: len(observer.of_watchdog()) > seen + 5, "stops that go on")
            assert observer.of_watchdog()[-1][1].engaged
            second.tell("plans")
            until(lambda: len(observer.of_planner()) > 5 and guards(observer, engaged=False), "the planner")
            quiet_from = time.monotonic() + 0.5  # what is on its way has come by then
            until(lambda: len(after(observer.of_planner(), quiet_from)) > 5, "more plans")
            assert not after(observer.of_watchdog(), quiet_from)


def along_the_circle(msg: PlanMsg) -> None:
    """Check that a stop begins at the vehicle, gets slower, and stays on the circle that the plan was on."""
    stop = plan_from_msg(msg)
    x, y, _ = pose(t0_ns(msg))
    np.testing.assert_allclose(stop.odom_from_rig_t0[:2, 3], (x, y), atol=0.05)
    speed = stop.plan.speed_mps[0]
    assert speed[0] == pytest.approx(SPEED, abs=0.1)
    assert speed[-1] < 0.1
    assert (np.diff(speed) < 1e-3).all()
    rotation, origin = stop.odom_from_rig_t0[:3, :3], stop.odom_from_rig_t0[:3, 3]
    way = stop.plan.xyz_in_rig_t0[0] @ rotation.T + origin
    np.testing.assert_allclose(np.linalg.norm(way[:, :2] - (0.0, RADIUS), axis=1), RADIUS, atol=0.05)


def test_a_planner_that_lives_and_says_nothing_is_silent(tmp_path):
    with driving(tmp_path, engaged=False, timeout_ms=1000.0) as drive:
        observer, planner = drive.observer, drive.planner
        planner.tell("mute")
        last = observer.of_planner()[-1][0]
        until(lambda: after(observer.of_watchdog(), last), "a stop")
        at, first = next((at, msg) for at, msg in observer.of_watchdog() if at > last)
        assert at - last > 0.9
        assert first.status_reason.startswith("the planner is silent (expected a plan within 1000 ms)")
        assert not first.engaged
        planner.tell("plans")
        until(lambda: observer.of_planner()[-1][0] > at + 1.0, "plans")
        until(lambda: observer.status()["acting"] == "false", "the end of the stop")


@pytest.mark.long
def test_deactivation_is_a_failure_only_while_engaged(tmp_path):
    with driving(tmp_path, engaged=False, heartbeat_ms=2000.0) as drive:
        observer, planner = drive.observer, drive.planner
        planner.tell("deactivate")
        until(lambda: "not active" in observer.status()["message"], "the watchdog to stand down")
        until(lambda: int(observer.status()["liveliness_lost"]) > 0, "the planner's liveliness to be lost")
        assert not observer.of_watchdog()
        assert observer.status()["level"] == "0"
        planner.tell("activate", "plans", "engage")
        until(lambda: guards(observer, engaged=True), "the watchdog to guard")
        planner.tell("deactivate")
        until(observer.of_watchdog, "a stop")
        assert "is not active any more (deactivated)" in observer.of_watchdog()[0][1].status_reason


def test_an_orderly_end_is_no_failure(tmp_path):
    with driving(tmp_path, engaged=False) as drive:
        observer, planner = drive.observer, drive.planner
        planner.tell("deactivate", "end")
        until(lambda: observer.status()["publishers"] == "0", "the planner's publisher to go")
        planner.process.wait()
        assert not observer.of_watchdog()


@pytest.mark.long
def test_without_odometry_the_stop_goes_on_where_it_leads(tmp_path):
    with driving(tmp_path, heartbeat_ms=500.0) as drive:
        observer, planner = drive.observer, drive.planner
        killed = planner.kill()
        drive.traffic.odometry = False
        until(lambda: len(after(observer.of_watchdog(), killed)) > 20, "stops")
        stops = [plan_from_msg(msg) for msg in after(observer.of_watchdog(), killed)]
        assert "the stop begins where the last plan leads" in stops[-1].status_reason
        assert stops[-1].plan.speed_mps[0, 0] < stops[0].plan.speed_mps[0, 0] - 2.0
        assert "no odometry" not in stops[-1].status_reason


def test_nothing_known_is_a_stop_to_stand(tmp_path):
    with watched(tmp_path) as (observer, corner, _), scripted_planner(corner) as planner:
        until(lambda: "nothing to guard" in observer.status().get("message", ""), "diagnostics")
        assert observer.status()["level"] == "1"
        planner.tell("start", "activate", "engage")
        until(observer.of_watchdog, "a stop")
        stop = plan_from_msg(observer.of_watchdog()[0][1])
        assert stop.odometry_frame == ""
        assert not stop.plan.speed_mps.any()
        assert not observer.paths


def test_it_asks_for_no_more_than_a_slow_planner_promises(tmp_path):
    with (
        watched(tmp_path, timeout_ms=8000.0) as (observer, corner, node),
        Traffic(observer.world),
        scripted_planner(corner, plan_period_ms=3000.0, heartbeat_ms=3000.0) as planner,
    ):
        planner.tell("start", "activate", "engage", "plans")
        until(lambda: guards(observer, engaged=True), "the watchdog to guard")
        until(lambda: int(observer.status()["plans_received"]) > 10, "plans")
        until(lambda: observer.status()["message"].startswith("guarding the planner"), "contentment")
        assert not observer.of_watchdog()
        changed = node.set_parameters([Parameter("timeout_ms", value=2000.0)])
        assert changed[0].successful
        until(lambda: "may be silent for 6000 ms" in observer.status()["message"], "a warning")
        refused = node.set_parameters([Parameter("rig", value="kitti")])
        assert "read-only" in refused[0].reason
        refused = node.set_parameters([Parameter("stop.comfort_decel_mps2", value=6.0)])
        assert "comfort_decel_mps2 <= hard_decel_mps2" in refused[0].reason


def test_simulated_time_that_stands_is_no_silence(tmp_path):
    """In simulated time nobody is silent while it stands or leaps; once it runs, its seconds count."""
    with watched(tmp_path, use_sim_time=True, max_odometry_age_ms=10_000.0) as (observer, _, node):
        world = observer.world
        planner = SpokenFor(world)
        planner.says(active=True, engaged=True)
        until(lambda: node.count_publishers("engaged"), "the planner")

        def clock(stamp_ns: int) -> None:
            world.tick(stamp_ns)
            until(lambda: node.get_clock().now().nanoseconds == stamp_ns, "the clock")

        until(lambda: world.clock.get_subscription_count(), "the clock's subscription")
        clock(T0_NS)
        until(lambda: node.watchdog.state(steady_ns=T0_NS).guarding, "the watchdog to guard")
        time.sleep(1.3)  # more than the timeout of the watchdog, if it went by this clock
        clock(T0_NS + 100_000_000)
        clock(T0_NS + 3600 * 10**9)  # a leap
        time.sleep(0.2)
        assert not observer.of_watchdog()
        for step in range(1, 12):
            clock(T0_NS + 3600 * 10**9 + step * 100_000_000)
        until(observer.of_watchdog, "a stop")
        assert observer.of_watchdog()[0][1].engaged


class SpokenFor:
    """A planner of which only the word on `engaged` is heard."""

    def __init__(self, world: World) -> None:
        self._topic = world.node.create_publisher(Engagement, "engaged", latched_qos())

    def says(self, *, active: bool, engaged: bool) -> None:
        self._topic.publish(Engagement(active=active, engaged=engaged, reason="test"))


def test_odometry_of_another_body_is_brought_to_the_rig(tmp_path):
    """An antenna 2 m ahead of the rear axle; odometry of unknown frames is refused and said to be."""
    with watched(tmp_path) as (observer, _, _), Traffic(observer.world):
        observer.world.child_frame = "antenna"
        until(observer.status, "diagnostics")
        until(lambda: int(observer.status()["odometry_rejected"]) > 10, "refusals")
        observer.world.static_transform("base_link", "antenna", (2.0, 0.0, 1.0))
        rejected = int(observer.status()["odometry_rejected"])
        until(lambda: int(observer.status()["odometry_received"]) > rejected + 100, "odometry")
        SpokenFor(observer.world).says(active=True, engaged=True)
        until(lambda: from_odometry(observer), "a stop that begins at the newest odometry")
        stop = plan_from_msg(from_odometry(observer)[0])
        x, y, yaw = pose(stop.plan.t0_ns)
        rear_axle = (x - 2.0 * np.cos(yaw), y - 2.0 * np.sin(yaw))
        np.testing.assert_allclose(stop.odom_from_rig_t0[:2, 3], rear_axle, atol=0.02)
        # Poses of another odometry frame have nothing to do with those before.
        seen = len(observer.of_watchdog())
        observer.world.odometry_frame = "elsewhere"
        until(lambda: len(observer.of_watchdog()) > seen + 5, "stops")
        assert observer.of_watchdog()[-1][1].odometry_frame_id == "odom"


def from_odometry(observer: Observer) -> list[PlanMsg]:
    """Return the stops that begin at the newest odometry: on a busy machine it may be too old at first."""
    return [msg for _, msg in observer.of_watchdog() if "odometry is" not in msg.status_reason]


def first_stop_after_a_kill(drive: Driving) -> float:
    """Kill the planner and return how long it took until the watchdog's first stop, in s."""
    killed = drive.planner.kill()
    until(lambda: after(drive.observer.of_watchdog(), killed), "a stop")
    return next(at for at, _ in drive.observer.of_watchdog() if at > killed) - killed


@pytest.mark.long
def test_how_long_it_takes_from_a_kill_to_the_first_stop(tmp_path):
    took_ms = []
    for _ in range(20):
        with driving(tmp_path, heartbeat_ms=500.0) as drive:
            took_ms.append(1e3 * first_stop_after_a_kill(drive))
    least, middle, most = np.percentile(took_ms, [0, 50, 100])
    print(f"from kill to stop: {least:.0f} ... {most:.0f} ms, median {middle:.0f} ms")
    assert middle < 700.0
