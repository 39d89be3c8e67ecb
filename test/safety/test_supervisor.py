"""One drive under supervision: what passes drives; what does not is answered by a stop, whatever lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.safety.arbiter import ArbiterSettings, Mode
from alpamayo_ros.safety.fallback import VehicleState
from alpamayo_ros.safety.gate import GateSettings
from alpamayo_ros.safety.limits import VehicleLimits
from alpamayo_ros.safety.monitor import Agreement
from alpamayo_ros.safety.supervisor import SafetySettings, Supervisor
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.types import InvalidInput, Observation, Plan

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
SPEED = 8.0


def observation(t0_ns: int = T0) -> Observation:
    """Return a vehicle that has driven straight on at 8 m/s, x = 0 at T0."""
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = SPEED * 0.1 * np.arange(-15, 1)
    stamps = t0_ns + np.array([[-300, -200, -100, 0]]) * MS
    return Observation(
        t0_ns=t0_ns,
        camera_ids=(1,),
        frames=np.zeros((1, 4, 3, 8, 8), np.uint8),
        frame_stamps_ns=stamps.astype(np.int64),
        history_xyz_in_rig_t0=xyz,
        history_rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)),
        rig_pose_in_odom_at_t0=pose(t0_ns),
    )


def pose(stamp_ns: int) -> np.ndarray:
    return compose(np.eye(3), (SPEED * (stamp_ns - T0) / 1e9, 0.0, 0.0))


def plan(t0_ns: int = T0, *, shifts_m: tuple[float, ...] = (0.0,), reasoning: str = "Keep the lane.") -> Plan:
    """Return a plan straight on; each candidate is shifted ahead by so much."""
    count = len(shifts_m)
    xyz = np.zeros((count, 64, 3), np.float32)
    xyz[:, :, 0] = SPEED * 0.1 * np.arange(1, 65) + np.array(shifts_m)[:, None]
    return Plan(
        t0_ns=t0_ns,
        xyz_in_rig_t0=xyz,
        rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (count, 64, 1, 1)),
        accel_mps2=np.zeros((count, 64), np.float32),
        curvature_per_m=np.zeros((count, 64), np.float32),
        speed_mps=np.full((count, 65), SPEED, np.float32),
        normalised_action=np.zeros((count, 64, 2), np.float32),
        reasoning=(reasoning,) * count,
        reasoning_complete=(True,) * count,
        meta_action=("",) * count,
        token_ids=((),) * count,
        sections=(None,) * count,
    )


def judge(supervisor: Supervisor, made: Plan, *, age_ms: float = 80.0, speed_mps: float = SPEED):
    now_ns = made.t0_ns + round(age_ms * MS)
    return supervisor.judge(made, observation(made.t0_ns), odometry_speed_mps=speed_mps, now_ns=now_ns)


def state(stamp_ns: int, speed_mps: float = SPEED) -> VehicleState:
    return VehicleState(stamp_ns, pose(stamp_ns), speed_mps)


def test_the_first_plan_that_passes_drives_and_no_stop_is_due() -> None:
    supervisor = Supervisor()
    assert supervisor.stop(state(T0), now_ns=T0) is not None
    judgement = judge(supervisor, plan())
    assert judgement.drives and judgement.refusal == ""
    assert judgement.monitor is not None and judgement.monitor.agreement is not Agreement.CONTRADICTS
    assert supervisor.stop(state(T0 + 80 * MS), now_ns=T0 + 80 * MS) is None
    assert supervisor.decided_ns == T0


def test_the_gate_chooses_among_those_that_pass() -> None:
    judgement = judge(Supervisor(), plan(shifts_m=(10.0, 0.5, 0.4, 0.3)))
    assert judgement.drives and judgement.plan.chosen == 2


def test_a_stop_follows_the_last_valid_path_and_says_why() -> None:
    supervisor = Supervisor()
    judge(supervisor, plan())
    bad = judge(supervisor, plan(T0 + 900 * MS, shifts_m=(10.0,)))
    assert not bad.drives and bad.monitor is None
    now = T0 + 1100 * MS
    stop = supervisor.stop(state(now), now_ns=now)
    assert stop is not None and stop.decided_ns == T0 + 900 * MS
    assert stop.reason.startswith("first_waypoint: expected at most 2 m, got 10 m")
    assert stop.plan.t0_ns == now
    np.testing.assert_allclose(stop.odom_from_rig, pose(now))
    assert stop.plan.speed_mps[0, 0] == pytest.approx(SPEED)
    assert stop.plan.speed_mps[0, -1] < 0.1
    assert np.abs(stop.plan.xyz_in_rig_t0[0, :, 1]).max() < 1e-3


def test_a_fallback_ends_after_three_in_a_row() -> None:
    supervisor = Supervisor()
    judge(supervisor, plan())
    begun = T0 + 2000 * MS
    assert supervisor.stop(state(begun), now_ns=begun) is not None
    drives = [judge(supervisor, plan(begun + step * 100 * MS)).drives for step in range(4)]
    assert drives == [False, False, True, True]
    assert supervisor.state.fallbacks == 1


def test_with_stale_odometry_the_stop_begins_where_the_last_plan_leads() -> None:
    supervisor = Supervisor()
    judge(supervisor, plan())
    last = state(T0)
    before = SPEED
    for step in range(40):
        now = T0 + (600 + 100 * step) * MS
        stop = supervisor.stop(last, now_ns=now)
        assert stop is not None and stop.odom_from_rig is not None
        assert f"odometry is {600 + 100 * step} ms old" in stop.reason
        speed = float(stop.plan.speed_mps[0, 0])
        assert speed <= before + 1e-3
        if step == 0:
            np.testing.assert_allclose(stop.odom_from_rig, pose(now), atol=1e-3)
        before = speed
    assert before < 0.1  # it has come to a stand


def test_where_nobody_ever_said_where_the_vehicle_is_it_is_to_stand() -> None:
    stop = Supervisor().stop(None, now_ns=T0)
    assert stop is not None and stop.odom_from_rig is None
    assert not stop.plan.speed_mps.any() and not stop.plan.xyz_in_rig_t0.any()
    assert "no odometry yet" in stop.reason


def test_odometry_of_an_earlier_time_does_not_break_the_stop() -> None:
    supervisor = Supervisor()
    judge(supervisor, plan(T0 + 100 * MS))
    now = T0 + 700 * MS
    assert supervisor.stop(state(now - 200 * MS), now_ns=now) is not None
    supervisor.settings = replace(supervisor.settings, max_odometry_age_ms=1e4)
    assert supervisor.stop(state(T0), now_ns=now) is not None


def test_a_contradiction_is_reported_and_refused_where_that_is_asked_for() -> None:
    made = plan(reasoning="Stop for the red light ahead.")
    reported = judge(Supervisor(), made)
    assert reported.drives and reported.monitor is not None
    assert reported.monitor.agreement is Agreement.CONTRADICTS
    refused = judge(Supervisor(SafetySettings(reject_contradictions=True)), made)
    assert not refused.drives and "expected to stop" in refused.refusal
    assert refused.state.mode is Mode.FALLBACK


def test_of_candidates_one_that_does_what_it_says_is_taken() -> None:
    made = plan(shifts_m=(0.0, 0.01, 0.02))
    made = replace(made, reasoning=("Keep the lane.", "Stop for the red light ahead.", "Keep the lane."))
    assert judge(Supervisor(), made).plan.chosen == 1  # the medoid
    judgement = judge(Supervisor(SafetySettings(reject_contradictions=True)), made)
    assert judgement.drives and judgement.plan.chosen in (0, 2)
    assert judgement.monitor is not None and judgement.monitor.agreement is not Agreement.CONTRADICTS


def test_refused_observations_are_decided_about() -> None:
    supervisor = Supervisor()
    supervisor.refused("camera front_wide: missing", t0_ns=T0 + 5, now_ns=T0 + 10)
    stop = supervisor.stop(state(T0 + 10), now_ns=T0 + 10)
    assert stop is not None
    assert (stop.decided_ns, stop.reason) == (T0 + 5, "camera front_wide: missing")


def test_a_new_drive_knows_nothing_of_the_old() -> None:
    supervisor = Supervisor()
    judge(supervisor, plan())
    supervisor.clear()
    stop = supervisor.stop(None, now_ns=T0 - 10_000 * MS)
    assert stop is not None and stop.odom_from_rig is None and stop.decided_ns == 0


def test_settings_change_during_a_drive() -> None:
    supervisor = Supervisor()
    judge(supervisor, plan())
    supervisor.settings = SafetySettings(
        limits=VehicleLimits(max_speed_mps=5.0),
        gate=GateSettings(v0_tolerance_mps=0.1),
        arbiter=ArbiterSettings(hold_ms=5000.0),
    )
    slow = judge(supervisor, plan(T0 + 100 * MS), speed_mps=SPEED + 1.0)
    assert {check.name for check in slow.decision.verdicts[0].failed} >= {"speed", "v0_of_plan"}
    assert supervisor.stop(state(T0 + 4000 * MS), now_ns=T0 + 4000 * MS) is None


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(InvalidInput, match="odometry_speed_mps: expected a finite number"):
        judge(Supervisor(), plan(), speed_mps=float("nan"))
    with pytest.raises(InvalidInput, match="max_odometry_age_ms"):
        SafetySettings(max_odometry_age_ms=0.0)
