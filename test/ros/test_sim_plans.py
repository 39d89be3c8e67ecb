"""Plans that come back to the bridge: which are waited for, and which may be driven."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_to_msg
from alpamayo_ros.ros.sim_plans import Interrupted, PlanInbox, require_drivable
from alpamayo_ros.types import InvalidInput

T0_NS = 1_700_000_002_000_000_000


def message(make_plan, t0_ns: int = T0_NS, **changes: Any) -> Any:
    fields = {"rig_frame": "base_link", "odometry_frame": "odom", "status": PlanStatus.UNCHECKED}
    fields |= {"odom_from_rig_t0": np.eye(4), "valid_until_ns": t0_ns + 10**9, **changes}
    return plan_to_msg(PublishedPlan(plan=make_plan(t0_ns=t0_ns), **fields))


def test_the_plan_of_the_time_is_handed_over_once(make_plan):
    inbox = PlanInbox()
    inbox.expect(T0_NS)
    late, now, early = (message(make_plan, T0_NS + i * 100_000_000) for i in (-1, 0, 1))
    for each in (late, early, now, now):
        inbox.put(each)
    assert inbox.wait(timeout_s=1) is now
    assert inbox.counts == {"stale": 1, "unexpected": 1, "duplicate": 1}
    assert inbox.wait(timeout_s=0.01) is None


def test_a_plan_before_the_wait_is_kept_and_one_of_before_is_forgotten(make_plan):
    inbox = PlanInbox()
    inbox.expect(T0_NS - 100_000_000)
    inbox.put(message(make_plan, T0_NS - 100_000_000))
    inbox.expect(T0_NS)
    assert inbox.wait(timeout_s=0.01) is None
    threading.Timer(0.05, inbox.put, [message(make_plan)]).start()
    assert inbox.wait(timeout_s=5) is not None


def test_a_wait_is_cut_short_and_so_is_every_later_one():
    inbox = PlanInbox()
    threading.Timer(0.05, inbox.interrupt).start()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(Interrupted):
            inbox.wait(timeout_s=20)
    assert time.monotonic() - began < 5


def drivable(msg: Any, pose: np.ndarray | None = None) -> PublishedPlan:
    return require_drivable(
        msg, t0_ns=T0_NS, rig_frame="base_link", local_from_rig_t0=np.eye(4) if pose is None else pose
    )


def test_a_plan_that_may_be_driven_is_what_was_published(make_plan):
    for status in (PlanStatus.UNCHECKED, PlanStatus.VALID, PlanStatus.FALLBACK):
        assert drivable(message(make_plan, status=status)).plan.t0_ns == T0_NS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"status": PlanStatus.REJECTED, "status_reason": "too fast"},
            "a status of .*, got REJECTED: too fast",
        ),
        ({"t0_ns": T0_NS + 1}, "expected t0"),
        ({"odometry_frame": "map"}, "expected the frames 'base_link' and 'odom', got 'base_link' and 'map'"),
        ({"rig_frame": "gps"}, "expected the frames"),
    ],
)
def test_a_plan_that_may_not_is_refused(make_plan, change, expected):
    with pytest.raises(InvalidInput, match=f"plan: .*{expected}|plan: {expected}"):
        drivable(message(make_plan, **change))


def test_a_plan_from_elsewhere_is_refused(make_plan):
    pose = np.eye(4)
    pose[0, 3] = 0.5
    with pytest.raises(InvalidInput, match=r"made from the vehicle's pose at t0, got one from 0\.500 m"):
        drivable(message(make_plan), pose)


def test_waypoints_at_other_times_are_refused(make_plan):
    msg = message(make_plan)
    msg.candidates[1].waypoints[7].time_from_start.nanosec += 1000
    with pytest.raises(InvalidInput, match=r"expected waypoint 7 0.8 s after t0, got 0.800001 s"):
        drivable(msg)


def test_what_is_not_finite_is_refused(make_plan):
    msg = message(make_plan)
    msg.candidates[0].waypoints[3].pose.position.x = float("nan")
    with pytest.raises(InvalidInput, match="finite"):
        drivable(msg)


def test_a_stop_answers_the_observation_that_it_was_sent_for(make_plan):
    inbox = PlanInbox()
    inbox.expect(T0_NS)
    stop = {"status": PlanStatus.FALLBACK, "status_reason": "no valid plan yet"}
    meanwhile = message(make_plan, **stop, decided_ns=T0_NS - 100_000_000)  # the model still thinks
    answer = message(make_plan, **stop, decided_ns=T0_NS)
    inbox.put(meanwhile)
    assert inbox.wait(timeout_s=0.01) is None
    inbox.put(answer)
    assert inbox.wait(timeout_s=1) is answer
    assert inbox.counts == {"stops": 1}


def test_a_rejected_plan_answers_only_while_an_earlier_one_holds(make_plan):
    inbox = PlanInbox()
    inbox.expect(T0_NS)
    stopped = message(make_plan, status=PlanStatus.REJECTED, valid_until_ns=0)
    held = message(make_plan, status=PlanStatus.REJECTED, valid_until_ns=T0_NS + 10**9)
    for other in (stopped, message(make_plan, T0_NS - 1, status=PlanStatus.REJECTED)):
        inbox.put_rejected(other)
    assert inbox.wait(timeout_s=0.01) is None
    inbox.put_rejected(held)
    assert inbox.wait(timeout_s=1) is held
