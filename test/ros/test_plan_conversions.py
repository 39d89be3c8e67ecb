"""Plan messages hold a plan to float32, through serialisation too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.plan_conversions import PlanStatus, PublishedPlan, plan_from_msg, plan_to_msg
from alpamayo_ros.types import InvalidInput, Plan, ReasoningSections, StageTimes

FLOATS = st.floats(-1e6, 1e6, width=32)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)


def float32(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, shape, elements=FLOATS, fill=FLOATS)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    k = draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rotation = Rotation.random(k * 64, random_state=np.random.default_rng(seed)).as_matrix()
    sections = st.builds(ReasoningSections, TEXTS.filter(bool), TEXTS, TEXTS, TEXTS) | st.none()
    milliseconds = st.floats(0, 1e6, width=32)
    return Plan(
        t0_ns=draw(st.integers(0, 2**31 * 10**9 - 1)),
        xyz_in_rig_t0=draw(float32(k, 64, 3)),
        rot_in_rig_t0=rotation.reshape(k, 64, 3, 3).astype(np.float32),
        accel_mps2=draw(float32(k, 64)),
        curvature_per_m=draw(float32(k, 64)),
        speed_mps=draw(float32(k, 65)),
        normalised_action=draw(float32(k, 64, 2)),
        reasoning=tuple(draw(TEXTS) for _ in range(k)),
        reasoning_complete=tuple(draw(st.booleans()) for _ in range(k)),
        meta_action=tuple(draw(TEXTS) for _ in range(k)),
        token_ids=tuple(tuple(draw(st.lists(st.integers(0, 2**31 - 1), max_size=5))) for _ in range(k)),
        sections=tuple(draw(sections) for _ in range(k)),
        chosen=draw(st.integers(0, k - 1)),
        times=draw(st.builds(StageTimes, *[milliseconds] * 6, st.integers(0, 2**32 - 1))),
        model=draw(TEXTS),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(
        random_state=np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ).as_matrix()
    pose[:3, 3] = [draw(st.floats(-1e7, 1e7)) for _ in range(3)]
    return pose


def assert_same(a: Plan, b: Plan) -> None:
    for name in ("xyz_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps", "normalised_action"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    # A rotation travels as a quaternion: equal to float32's own precision.
    np.testing.assert_allclose(a.rot_in_rig_t0, b.rot_in_rig_t0, atol=3e-7)
    exact = (
        "t0_ns", "reasoning", "reasoning_complete", "meta_action", "token_ids", "sections", "chosen",
        "times", "model", "seed",
    )  # fmt: skip
    for name in exact:
        assert getattr(a, name) == getattr(b, name), name


@settings(max_examples=30, deadline=None)
@given(plan=plans(), pose=poses(), status=st.sampled_from(PlanStatus), texts=st.tuples(*[TEXTS] * 4))
def test_a_plan_survives_the_message_and_the_wire(plan, pose, status, texts):
    frame, odometry_frame, reason, instruction = texts
    published = PublishedPlan(plan, frame, odometry_frame, pose, plan.t0_ns, status, reason, instruction)
    msg = deserialize_message(serialize_message(plan_to_msg(published)), PlanMsg)
    back = plan_from_msg(msg)
    assert_same(plan, back.plan)
    np.testing.assert_allclose(back.odom_from_rig_t0, pose, rtol=0, atol=1e-12)
    for name in ("rig_frame", "odometry_frame", "valid_until_ns", "status", "status_reason", "instruction"):
        assert getattr(back, name) == getattr(published, name)
    # And the other way: a message made of the plan that a message gave is that message.
    again = plan_to_msg(back)
    for a, b in zip(msg.candidates, again.candidates, strict=True):
        for p, q in zip(a.waypoints, b.waypoints, strict=True):
            assert p.pose.position == q.pose.position
            assert p.time_from_start == q.time_from_start
            assert (p.velocity_mps, p.acceleration_mps2) == (q.velocity_mps, q.acceleration_mps2)
            np.testing.assert_allclose(
                [getattr(p.pose.orientation, i) for i in "xyzw"],
                [getattr(q.pose.orientation, i) for i in "xyzw"],
                atol=3e-7,
            )


def test_the_message_says_what_the_interface_promises(make_plan):
    plan = make_plan(samples=3)
    msg = plan_to_msg(
        PublishedPlan(plan, "base_link", "odom", np.eye(4), plan.t0_ns + 10**9, PlanStatus.UNCHECKED)
    )
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert (msg.valid_until.sec, msg.valid_until.nanosec) == (1_700_000_001, 123_456_789)
    assert msg.status == PlanMsg.STATUS_UNCHECKED
    assert (msg.reasoning, msg.meta_action) == (plan.reasoning[2], plan.meta_action[2])
    times = [
        w.time_from_start.sec * 10 + w.time_from_start.nanosec / 1e8 for w in msg.candidates[0].waypoints
    ]
    assert times == list(range(1, 65))
    assert msg.candidates[0].waypoints[0].velocity_mps == plan.speed_mps[0, 1]
    assert msg.candidates[0].initial_velocity_mps == plan.speed_mps[0, 0]


def test_statuses_are_those_of_the_message():
    for status in PlanStatus:
        assert getattr(PlanMsg, f"STATUS_{status.name}") == status.value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name", ["xyz_in_rig_t0", "accel_mps2", "speed_mps", "normalised_action", "rot_in_rig_t0"]
)
def test_a_plan_that_is_not_finite_has_no_message(make_plan, name, bad):
    array = getattr(make_plan(), name).copy()
    array[(0,) * array.ndim] = bad
    plan = make_plan(**{name: array})
    with pytest.raises(InvalidInput, match=f"{name}: expected finite values, got"):
        plan_to_msg(PublishedPlan(plan, "base_link", "odom", np.eye(4), 0))


def test_a_plan_whose_rotation_is_none_has_no_message(make_plan):
    rotations = np.zeros((2, 64, 3, 3), np.float32)
    with pytest.raises(InvalidInput, match="expected rotation matrices"):
        plan_to_msg(PublishedPlan(make_plan(rot_in_rig_t0=rotations), "base_link", "odom", np.eye(4), 0))


def test_what_a_ros_string_cannot_carry_is_replaced(make_plan):
    plan = make_plan(reasoning=("a\0b", "c\ud800d"))
    msg = plan_to_msg(PublishedPlan(plan, "base_link", "odom", np.eye(4), 0))
    msg = deserialize_message(serialize_message(msg), PlanMsg)
    assert [c.reasoning for c in msg.candidates] == ["a\ufffdb", "c\ufffdd"]


@pytest.fixture
def message(make_plan):
    return plan_to_msg(PublishedPlan(make_plan(), "base_link", "odom", np.eye(4), 0))


def test_a_message_without_candidates_is_refused(message):
    message.candidates = []
    with pytest.raises(InvalidInput, match="candidates: expected at least one"):
        plan_from_msg(message)


def test_a_message_with_an_unknown_status_is_refused(message):
    message.status = 9
    with pytest.raises(InvalidInput, match=r"status: expected one of 0 UNKNOWN.*got 9"):
        plan_from_msg(message)


def test_a_message_whose_choice_is_out_of_range_is_refused(message):
    message.chosen = 2
    with pytest.raises(InvalidInput, match=r"chosen: expected an index in 0 \.\.\. 1, got 2"):
        plan_from_msg(message)


def test_a_message_with_a_zero_quaternion_is_refused(message):
    message.candidates[1].waypoints[3].pose.orientation.w = 0.0
    q = message.candidates[1].waypoints[3].pose.orientation
    q.x = q.y = q.z = 0.0
    with pytest.raises(InvalidInput, match="waypoint 3 orientation: expected a quaternion of length 1"):
        plan_from_msg(message)
