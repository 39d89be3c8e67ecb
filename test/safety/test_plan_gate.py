"""The gate: what a vehicle can drive passes, what it cannot does not, and the reason is named."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from plan_making import T0_NS, make_observation, motion_of, plan_of, smooth
from recorded_expert import RecordingSource

from alpamayo_ros.safety.gate import GateDecision, GateSettings, PlanGate
from alpamayo_ros.safety.kinematics import speed_of_history
from alpamayo_ros.safety.limits import VehicleLimits
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout
from alpamayo_ros.sim.scenarios import parse_scenarios
from alpamayo_ros.sim.scene import FAMILIES
from alpamayo_ros.types import InvalidInput, Plan, medoid

SOON_NS = T0_NS + 200_000_000


@dataclass(frozen=True)
class Case:
    """Ordinary driving: a speed at t0, and a share of what is ordinary at it for each candidate."""

    speed: float
    shares: tuple[tuple[float, float], ...]

    @property
    def plan(self) -> Plan:
        motions = []
        for slower, aside in self.shares:
            accel = 4.0 * slower if slower < 0 else (1.5 if self.speed < 25 else 0.5) * slower
            fastest = self.speed + max(0.0, accel) * 6.4
            bend = aside * min(0.2, 4.0 / max(fastest, 1.0) ** 2)
            motions.append(motion_of(self.speed, *smooth(accel, bend)))
        return plan_of(motions)


def ordinary(min_speed: float = 0.0) -> st.SearchStrategy[Case]:
    share = st.floats(-1.0, 1.0)
    shares = st.lists(st.tuples(share, share), min_size=1, max_size=6).map(tuple)
    return st.builds(Case, st.floats(min_speed, 33.0), shares)


def judge(plan: Plan, speed: float, now_ns: int = SOON_NS, gate: PlanGate | None = None) -> GateDecision:
    return (gate or PlanGate()).judge(plan, make_observation(speed), odometry_speed_mps=speed, now_ns=now_ns)


def spoilt(plan: Plan, index: int, **changes: np.ndarray) -> Plan:
    """Return the plan with one candidate's arrays replaced."""
    arrays = {}
    for name, value in changes.items():
        array = getattr(plan, name).copy()
        array[index] = value
        arrays[name] = array
    return replace(plan, **arrays)


def failed(decision: GateDecision, index: int) -> set[str]:
    return {check.name for check in decision.verdicts[index].failed}


# --- what passes ---------------------------------------------------------------------------------


@given(ordinary())
def test_ordinary_driving_passes_and_the_medoid_is_chosen(case: Case) -> None:
    plan, speed = case.plan, case.speed
    decision = judge(plan, speed)
    assert decision.passed and decision.reason == ""
    assert all(verdict.passed for verdict in decision.verdicts), [v.reason for v in decision.verdicts]
    assert decision.chosen == medoid(plan.xyz_in_rig_t0)
    assert decision.apply(plan).chosen == decision.chosen
    assert all(np.isfinite(check.value) for verdict in decision.verdicts for check in verdict.checks)


@pytest.mark.parametrize("speed", [5.0, 15.0, 30.0])
def test_full_braking_passes(speed: float) -> None:
    """A gate that refused it would put a gentle stop in place of an emergency braking."""
    accel = np.maximum(-9.0, -np.arange(1, 65) * 1.8)  # built up in half a second
    decision = judge(plan_of([motion_of(speed, accel, np.zeros(64))]), speed)
    assert decision.passed, decision.reason


def test_a_vehicle_that_stands_may_stay() -> None:
    assert judge(plan_of([motion_of(0.0, np.zeros(64), np.zeros(64))]), 0.0).passed


@pytest.mark.parametrize(
    "scenes",
    [
        "s_bend-2",
        pytest.param("all", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_everything_that_the_expert_drives_passes(scenes: str) -> None:
    """All candidates that it chose, of all families, by the speed that the vehicle really had."""
    names = parse_scenarios(scenes)
    if scenes == "all":
        assert {name.rsplit("-", 1)[0] for name in names} == set(FAMILIES)
    refused, judged = [], 0
    for scene_id in names:
        source = RecordingSource()
        record = drive_rollout(Job(scene_id), source)
        speeds = {state.time_us: state.speed_mps for state in record.ego}
        for observation, plan in source.plans:
            speed = speeds[observation.t0_ns // 1000]
            decision = PlanGate().judge(plan, observation, odometry_speed_mps=speed, now_ns=plan.t0_ns)
            judged += 1
            if not decision.verdicts[plan.chosen].passed:
                refused.append(f"{scene_id}: {decision.verdicts[plan.chosen].reason}")
    assert refused == []
    assert judged > 150 * len(names)


# --- what does not -------------------------------------------------------------------------------


@given(ordinary(min_speed=3.0), st.data())
def test_a_spoilt_candidate_is_refused_by_name_and_another_one_is_chosen(
    case: Case, data: st.DataObject
) -> None:
    plan, speed = case.plan, case.speed
    index = data.draw(st.integers(0, plan.num_samples - 1))
    kind = data.draw(st.sampled_from(sorted(FAULTS)))
    decision = judge(FAULTS[kind](plan, index, data), speed)
    names = failed(decision, index)
    assert names & EXPECTED[kind], f"{kind}: {names}"
    assert decision.chosen != index
    others = [verdict.passed for k, verdict in enumerate(decision.verdicts) if k != index]
    assert all(others)
    assert decision.passed == bool(others)
    if not others:
        assert "expected at most" in decision.reason
        with pytest.raises(InvalidInput, match="expected a candidate that passes the gate"):
            decision.apply(plan)
    assert set(decision.failures()) == names


def _nan(plan: Plan, index: int, data: st.DataObject) -> Plan:
    name = data.draw(
        st.sampled_from(["xyz_in_rig_t0", "rot_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps"])
    )
    array = getattr(plan, name)[index].copy()
    where = data.draw(st.integers(0, array.size - 1))
    array.reshape(-1)[where] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return spoilt(plan, index, **{name: array})


def _shifted(plan: Plan, index: int, data: st.DataObject) -> Plan:
    angle = data.draw(st.floats(0.0, 2 * np.pi))
    offset = np.array([np.cos(angle), np.sin(angle), 0.0], np.float32) * data.draw(st.floats(2.5, 50.0))
    return spoilt(plan, index, xyz_in_rig_t0=plan.xyz_in_rig_t0[index] + offset)


def _lifted(plan: Plan, index: int, data: st.DataObject) -> Plan:
    offset = np.array([0.0, 0.0, data.draw(st.sampled_from([-10.0, 3.0]))], np.float32)
    return spoilt(plan, index, xyz_in_rig_t0=plan.xyz_in_rig_t0[index] + offset)


def _reversed(plan: Plan, index: int, data: st.DataObject) -> Plan:
    """It runs backwards at the same speed, its heading kept."""
    return spoilt(plan, index, xyz_in_rig_t0=-plan.xyz_in_rig_t0[index])


def _turned_back(plan: Plan, index: int, data: st.DataObject) -> Plan:
    """It goes on for a while and comes back on its own way, its heading kept or turned too."""
    xyz, rot = plan.xyz_in_rig_t0[index].copy(), plan.rot_in_rig_t0[index].copy()
    at = data.draw(st.integers(5, 31))
    count = min(at + 1, 63 - at)
    xyz[at + 1 : at + 1 + count] = xyz[at - count + 1 : at + 1][::-1]
    xyz[at + 1 + count :] = xyz[at + count]
    if data.draw(st.booleans()):
        rot[at + 1 :, :2] *= -1
    return spoilt(plan, index, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)


def _kinked(plan: Plan, index: int, data: st.DataObject) -> Plan:
    """From some waypoint on it is turned about it."""
    xyz, rot = plan.xyz_in_rig_t0[index].copy(), plan.rot_in_rig_t0[index].copy()
    at = data.draw(st.integers(2, 10))
    assume(np.linalg.norm(xyz[-1] - xyz[at]) > 3.0)  # the last bit of a stop is too short for a kink
    angle = data.draw(st.sampled_from([-1, 1])) * data.draw(st.floats(0.7, 3.0))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    xyz[at:] = xyz[at] + (xyz[at:] - xyz[at]) @ turn.T
    rot[at:] = turn @ rot[at:]
    return spoilt(plan, index, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)


def _torn(plan: Plan, index: int, data: st.DataObject) -> Plan:
    """The rest lies some metres to the side."""
    xyz = plan.xyz_in_rig_t0[index].copy()
    xyz[data.draw(st.integers(2, 60)) :, 1] += data.draw(st.sampled_from([-5.0, -3.0, 3.0, 5.0]))
    return spoilt(plan, index, xyz_in_rig_t0=xyz)


def _other_v0(plan: Plan, index: int, data: st.DataObject) -> Plan:
    """The same course at the speed of another history."""
    speed = float(plan.speed_mps[index, 0])
    off = data.draw(st.sampled_from([-1, 1])) * (1.2 + 0.06 * speed + data.draw(st.floats(0.0, 20.0)))
    motion = motion_of(max(0.0, speed + off), plan.accel_mps2[index], plan.curvature_per_m[index])
    other = plan_of([motion])
    names = ("xyz_in_rig_t0", "rot_in_rig_t0", "speed_mps", "accel_mps2")
    return spoilt(plan, index, **{name: getattr(other, name)[0] for name in names})


def _too_fast(plan: Plan, index: int, data: st.DataObject) -> Plan:
    xyz = plan.xyz_in_rig_t0[index].copy()
    xyz[:, 0] = np.cumsum(np.linspace(0.1 * plan.speed_mps[index, 0], data.draw(st.floats(4.5, 9.0)), 64))
    xyz[:, 1] = 0.0
    rot = np.tile(np.eye(3, dtype=np.float32), (64, 1, 1))
    return spoilt(plan, index, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)


def _swerving(plan: Plan, index: int, data: st.DataObject) -> Plan:
    speed = max(float(plan.speed_mps[index, 0]), 8.0 / 6.4)
    bend = data.draw(st.sampled_from([-1, 1])) * max(0.4, 9.0 / speed**2) * data.draw(st.floats(1.0, 3.0))
    other = plan_of([motion_of(float(plan.speed_mps[index, 0]), *smooth(0.0, bend))])
    names = ("xyz_in_rig_t0", "rot_in_rig_t0", "curvature_per_m")
    return spoilt(plan, index, **{name: getattr(other, name)[0] for name in names})


def _sideways(plan: Plan, index: int, data: st.DataObject) -> Plan:
    """Headings turned against the way that is driven, as of a body frame that is mounted askew."""
    angle = data.draw(st.sampled_from([-1, 1])) * data.draw(st.floats(0.5, 2.5))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return spoilt(plan, index, rot_in_rig_t0=plan.rot_in_rig_t0[index] @ turn)


def _mirrored(plan: Plan, index: int, data: st.DataObject) -> Plan:
    return spoilt(plan, index, rot_in_rig_t0=plan.rot_in_rig_t0[index] * np.float32(-1))


FAULTS = {
    "nan": _nan, "shifted": _shifted, "lifted": _lifted, "reversed": _reversed, "turned back": _turned_back,
    "kinked": _kinked, "torn": _torn, "other v0": _other_v0, "too fast": _too_fast, "swerving": _swerving,
    "sideways": _sideways, "mirrored": _mirrored,
}  # fmt: skip
EXPECTED = {
    "nan": {"finite"},
    "shifted": {"first_waypoint"},
    "lifted": {"first_waypoint"},
    "reversed": {"reverse"},
    "turned back": {"reverse", "kink"},
    "kinked": {"kink", "lateral_accel"},
    "torn": {"kink", "slip", "accel"},
    "other v0": {"v0_of_plan"},
    "too fast": {"speed"},
    "swerving": {"lateral_accel", "curvature"},
    "sideways": {"slip"},
    "mirrored": {"finite"},
}


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 37.0))
def test_noise_never_passes_and_never_raises(seed: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    plan = plan_of([motion_of(10.0, *smooth(0.0, 0.0))])
    noise = (rng.normal(size=(64, 3)) * 10.0**power).astype(np.float32)
    assert not judge(spoilt(plan, 0, xyz_in_rig_t0=noise), 10.0).passed


@given(ordinary(), st.floats(1000.1, 1e5))
def test_a_stale_plan_is_refused(case: Case, age_ms: float) -> None:
    plan, speed = case.plan, case.speed
    decision = judge(plan, speed, now_ns=T0_NS + int(age_ms * 1e6))
    assert not decision.passed
    assert set(decision.failures()) == {"age"}


def test_a_plan_of_the_future_is_refused_but_for_clocks_that_differ_a_little() -> None:
    plan = plan_of([motion_of(10.0, *smooth(0.0, 0.0))])
    assert judge(plan, 10.0, now_ns=T0_NS - 50_000_000).passed
    decision = judge(plan, 10.0, now_ns=T0_NS - 51_000_000)
    assert set(decision.failures()) == {"ahead_of_time"}
    assert decision.reason == "ahead_of_time: expected at most 50 ms, got 51 ms"


@given(st.floats(0.0, 30.0), st.floats(-15.0, 15.0))
def test_a_history_that_disagrees_with_odometry_refuses_all_candidates(speed: float, off: float) -> None:
    plan = plan_of([motion_of(speed, *smooth(0.0, 0.0))] * 3)
    odometry = speed + off
    decision = PlanGate().judge(plan, make_observation(speed), odometry_speed_mps=odometry, now_ns=SOON_NS)
    tolerance = 1.0 + 0.05 * abs(odometry)
    if abs(off) > tolerance + 1e-3:
        assert not decision.passed
        assert list(decision.failures()).count("v0_of_history") == 3
        assert "none of 3 candidates passed" in decision.reason
    elif abs(off) < tolerance - 1e-3:
        assert "v0_of_history" not in set(decision.failures())


@given(st.floats(0.0, 30.0), st.floats(-3.0, 3.0))
def test_the_speed_of_a_history_is_that_at_t0(speed: float, accel: float) -> None:
    observation = make_observation(speed, accel)
    implied = speed_of_history(observation.history_xyz_in_rig_t0, observation.history_rot_in_rig_t0)
    assert implied == pytest.approx(speed, abs=1e-3)


def test_what_cannot_be_judged_is_refused() -> None:
    plan = plan_of([motion_of(10.0, *smooth(0.0, 0.0))])
    observation = make_observation(10.0)
    gate = PlanGate()
    for speed in (float("nan"), float("inf"), "10"):
        with pytest.raises(InvalidInput, match="odometry_speed_mps: expected a finite number, got"):
            gate.judge(plan, observation, odometry_speed_mps=speed, now_ns=SOON_NS)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"plan: expected one of t0 .* ns, got"):
        gate.judge(replace(plan, t0_ns=T0_NS + 1), observation, odometry_speed_mps=10.0, now_ns=SOON_NS)
    decision = judge(plan, 10.0)
    with pytest.raises(InvalidInput, match="expected 1 candidates, got 2"):
        decision.apply(plan_of([motion_of(10.0, *smooth(0.0, 0.0))] * 2))


# --- limits --------------------------------------------------------------------------------------


def test_each_limit_of_a_vehicle_is_the_one_that_counts() -> None:
    speed = 15.0
    plan = plan_of([motion_of(speed, *smooth(-2.0, 0.01)), motion_of(speed, *smooth(1.0, 0.01))])
    assert judge(plan, speed).passed
    for name, value, check in (
        ("max_speed_mps", 14.0, "speed"),
        ("max_accel_mps2", 0.9, "accel"),
        ("max_decel_mps2", 1.9, "decel"),
        ("max_lateral_accel_mps2", 1.5, "lateral_accel"),
        ("max_jerk_mps3", 0.5, "jerk"),
        ("max_curvature_per_m", 0.005, "curvature"),
    ):
        gate = PlanGate(VehicleLimits.from_mapping({name: value}))
        assert set(judge(plan, speed, gate=gate).failures()) == {check}


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), "2", True, None])
def test_limits_that_are_no_numbers_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="max_speed_mps: expected"):
        VehicleLimits.from_mapping({"max_speed_mps": value})
    with pytest.raises(InvalidInput, match="max_kink_rad: expected"):
        GateSettings(max_kink_rad=value)  # type: ignore[arg-type]


def test_an_unknown_limit_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"vehicle limits: expected some of max_speed_mps, .*max_spee$"):
        VehicleLimits.from_mapping({"max_spee": 1.0})
    with pytest.raises(InvalidInput, match="max_plan_lead_ms: expected zero or more, got -1"):
        GateSettings(max_plan_lead_ms=-1)
