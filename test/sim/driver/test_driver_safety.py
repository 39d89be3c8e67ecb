"""Which plans a session drives, what it says of them, and the stops in their place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from driver_factory import (
    SPEED_MPS,
    Drive,
    ScriptedPlanner,
    broken,
    check,
    info,
)

from alpamayo_ros.safety.fallback import VehicleState, stop_plan
from alpamayo_ros.safety.gate import PlanGate
from alpamayo_ros.safety.supervisor import Stop
from alpamayo_ros.sim.driver.planners import PlannerStops
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.types import Observation, Plan

drives: list[Drive] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while drives:
        drives.pop().close()


def begin(*args: object, **kwargs: object) -> Drive:
    drives.append(Drive(*args, **kwargs))  # type: ignore[arg-type]
    return drives[-1]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raises", "inference_error"),
        ("refuses", "observation_refused"),
        ("nan", "gate"),
        ("nan rotation", "gate"),
        ("skewed", "gate"),
        ("mirrored", "gate"),
        ("starts elsewhere", "gate"),
        ("reverses", "gate"),
        ("other t0", "plan_invalid"),
    ],
)
def test_a_planner_that_fails_is_counted_and_never_driven(what: str, reason: str) -> None:
    drive = begin(broken(what))
    for _ in range(5):
        now_us = drive.now_us
        answer = drive.step()
        check(answer, now_us)
    assert info(answer)["source"] == "stop"
    counts = drive.driver.statistics.snapshot()
    assert counts.refused == {reason: 2} and counts.drives["stop"] == 2
    assert counts.last_problem.startswith("stop: ")


def test_a_gate_that_fails_costs_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no limits")

    monkeypatch.setattr(PlanGate, "judge", fails)
    drive = begin()
    for _ in range(5):
        now_us = drive.now_us
        answer = drive.step()
        check(answer, now_us)
    assert info(answer)["source"] == "stop" and info(answer)["reason"] == "RuntimeError: no limits"
    assert drive.driver.statistics.snapshot().refused == {"unjudged": 2}


def after(steps: int, drive: Drive) -> dict[str, object]:
    """Return what the last of some steps says, each of which can be driven."""
    for _ in range(steps):
        now_us = drive.now_us
        answer = drive.step()
        check(answer, now_us)
    return info(answer)


def test_every_answer_says_what_gate_and_monitor_found() -> None:
    told = after(5, begin(ScriptedPlanner()))
    assert (told["status"], told["refusal"], told["monitor"]) == ("valid", "", "silent")
    checks = dict(told["checks"])  # type: ignore[call-overload]
    assert {"finite", "v0_of_history", "first_waypoint", "reverse", "curvature"} <= set(checks)
    assert all(value <= limit for value, limit in checks.values())
    told = after(5, begin(broken("starts elsewhere")))
    assert (told["source"], told["status"], told["monitor"]) == ("stop", "fallback", "not_asked")
    assert told["refusal"] == told["reason"] and "first_waypoint: expected at most 2 m" in str(told["reason"])
    value, limit = dict(told["checks"])["first_waypoint"]  # type: ignore[call-overload]
    assert (value, limit) == (pytest.approx(10.0, abs=0.2), 2.0)
    drive = begin(broken("nan"))
    assert after(5, drive)["checks"]["finite"] == [1.0, 0.0]  # type: ignore[index]
    assert drive.driver.statistics.snapshot().gate == {"finite": 6}, "two plans of three samples"


def test_one_plan_refused_in_between_costs_nothing_but_itself() -> None:
    turn = iter([False] * 3 + [True] + [False] * 9)

    def edit(plan: Plan) -> Plan:
        return replace(plan, xyz_in_rig_t0=-plan.xyz_in_rig_t0) if next(turn) else plan

    drive = begin(ScriptedPlanner(edit))
    told = [info(drive.step()) for _ in range(10)]
    assert [t["source"] for t in told] == ["warm_up"] * 3 + ["plan"] * 3 + ["held_plan"] + ["plan"] * 3
    assert told[6]["status"] == "valid" and "reverse" in str(told[6]["reason"])
    assert told[6]["refusal"] == told[6]["reason"], "what was refused is told beside what is driven"


def test_a_plan_that_contradicts_its_reasoning_is_counted_and_refused_where_that_is_wanted() -> None:
    def edit(plan: Plan) -> Plan:
        return replace(plan, reasoning=("Stop for the red light.",))

    drive = begin(ScriptedPlanner(edit))
    told = after(5, drive)
    assert (told["source"], told["monitor"]) == ("plan", "contradicts")
    assert "expected to stop" in str(told["monitor_reason"])
    assert drive.driver.statistics.snapshot().monitor == {"contradicts": 2}
    strict = DriverSettings(safety=replace(DriverSettings().safety, reject_contradictions=True))
    drive = begin(ScriptedPlanner(edit), settings=strict)
    told = after(5, drive)
    assert (told["source"], told["status"]) == ("stop", "fallback")
    assert drive.driver.statistics.snapshot().refused == {"contradiction": 2}


def test_without_the_gate_whatever_is_a_motion_is_driven_and_said_to_be_unchecked() -> None:
    off = DriverSettings(safety_gate=False)
    told = after(5, begin(broken("reverses"), settings=off))
    assert (told["source"], told["status"]) == ("plan", "unchecked") and "checks" not in told
    drive = begin(broken("nan"), settings=off)
    told = after(5, drive)
    assert (told["source"], told["status"]) == ("stop", "fallback")
    assert drive.driver.statistics.snapshot().refused == {"gate": 2}
    drive = begin(settings=off)
    after(5, drive)
    sources = [info(drive.step(cameras=()))["source"] for _ in range(13)]
    assert sources == ["held_plan"] * 10 + ["stop"] * 3
    assert [info(drive.step())["source"] for _ in range(4)] == ["stop"] * 3 + ["plan"], "no row is asked for"


def test_a_stop_follows_the_last_valid_path_from_the_vehicles_own_state() -> None:
    def bent(plan: Plan) -> Plan:
        xyz, rot = plan.xyz_in_rig_t0.copy(), plan.rot_in_rig_t0.copy()
        yaw = 0.01 * np.arange(1, 65)
        xyz[..., 0], xyz[..., 1] = 80.0 * np.sin(yaw), 80.0 * (1 - np.cos(yaw))
        rot[..., 0, 0], rot[..., 0, 1], rot[..., 1, 0] = np.cos(yaw), -np.sin(yaw), np.sin(yaw)
        rot[..., 1, 1] = np.cos(yaw)
        return replace(plan, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)

    drive = begin(ScriptedPlanner(bent))
    after(5, drive)
    for _ in range(11):
        now_us = drive.now_us
        answer = drive.step(cameras=())
    told = info(answer)
    assert (told["source"], told["safe_trajectory"], told["select_ix"]) == ("stop", False, 0)
    check(answer, now_us)
    _, poses = answer.trajectory
    # The circle's centre is in local at (0, 80): so far the stop stays on it.
    np.testing.assert_allclose(np.linalg.norm(poses[:, :2, 3] - [0.0, 80.0], axis=1), 80.0, atol=0.05)
    speeds = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / 0.1
    assert speeds[0] == pytest.approx(8.0, abs=0.1) and speeds[-1] == 0.0
    assert np.all(np.diff(speeds) < 0.01) and np.diff(speeds).min() > -0.45, "a comfortable one"


def test_the_planners_own_stop_is_the_answer_and_its_last_plan_holds_no_longer() -> None:
    reason = "no valid plan for 1020 ms"

    class Stopping(ScriptedPlanner):
        stops = False

        def plan(self, observation: Observation) -> Plan:
            plan = super().plan(observation)
            if not self.stops:
                return plan
            state = VehicleState(observation.t0_ns, observation.rig_pose_in_odom_at_t0, SPEED_MPS)
            raise PlannerStops(Stop(stop_plan(state, None), state.odom_from_rig, reason, observation.t0_ns))

    planner = Stopping()
    drive = begin(planner, settings=DriverSettings(safety_gate=False))
    after(5, drive)
    planner.stops = True
    told = after(1, drive)
    assert (told["source"], told["reason"]) == ("stop", reason)
    assert info(drive.step(cameras=()))["source"] == "stop"
    planner.stops = False
    assert after(4, drive)["source"] == "plan"


def test_samples_that_may_not_be_driven_go_along_but_for_those_that_are_no_motion() -> None:
    drive = begin(broken("reverses"))
    for _ in range(5):
        answer = drive.step()
    assert len(answer.samples) == 3 and info(answer)["select_ix"] is None
    drive = begin(broken("nan"))
    for _ in range(5):
        answer = drive.step()
    assert len(answer.samples) == 3 and info(answer)["select_ix"] == 0
    np.testing.assert_array_equal(answer.samples[0][1], answer.trajectory[1])


def test_of_several_samples_the_medoid_of_the_fit_ones_is_driven() -> None:
    def edit(plan: Plan) -> Plan:
        xyz = plan.xyz_in_rig_t0.copy()
        for k, aside in enumerate((np.nan, 0.0, 1.0, 1.2, 20.0)):
            xyz[k, 20:, 1] += aside * np.linspace(0.0, 1.0, 44) ** 2
        xyz[4, :, 0] += 10.0
        return replace(plan, xyz_in_rig_t0=xyz, chosen=0)

    drive = begin(ScriptedPlanner(edit, num_samples=5))
    for _ in range(5):
        answer = drive.step()
    told = info(answer)
    assert told["reasoning_text"] == "Sample 2." and told["select_ix"] == 1 and len(answer.samples) == 5
    np.testing.assert_array_equal(answer.samples[4][1], answer.samples[1][1])  # for the one that is no motion
    np.testing.assert_array_equal(answer.samples[1][1], answer.trajectory[1])
