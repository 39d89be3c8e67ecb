"""Plans read from serialised bytes are what rclpy's own deserialisation gives."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_factory import build_plan
from rclpy.serialization import deserialize_message, serialize_message

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.plan_cdr import parse_plan
from alpamayo_ros.ros.plan_conversions import (
    MonitorStatus,
    PlanStatus,
    PublishedPlan,
    plan_from_msg,
    plan_to_msg,
)
from alpamayo_ros.safety.gate import Check
from alpamayo_ros.types import InvalidInput

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=9)


def published(samples: int = 2, *, seed: int = 0, **said: Any) -> PublishedPlan:
    fields_of = {
        "rig_frame": "base_link",
        "odometry_frame": "odom",
        "odom_from_rig_t0": np.eye(4),
        "valid_until_ns": 1_700_000_001 * 10**9 + 5,
        "decided_ns": 1_700_000_000 * 10**9 + 7,
        **said,
    }
    return PublishedPlan(plan=build_plan(seed, samples=samples), **fields_of)


def same(left: Any, right: Any, where: str = "plan") -> None:
    for field in fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, f"{where}.{field.name}"
            np.testing.assert_array_equal(a, b, err_msg=f"{where}.{field.name}")
        elif field.name == "plan":
            same(a, b)
        else:
            assert a == b, f"{where}.{field.name}"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 1000),
    st.lists(TEXTS, min_size=7, max_size=7),
    st.sampled_from(PlanStatus),
    st.sampled_from(MonitorStatus),
    st.booleans(),
    st.integers(0, 3),
)
def test_a_plan_is_read_as_it_was_written(samples, seed, texts, status, monitor, engaged, checks) -> None:
    rig_frame, odometry_frame, reason, monitor_reason, instruction, name, unit = texts
    said = published(
        samples,
        seed=seed,
        rig_frame=rig_frame,
        odometry_frame=odometry_frame,
        status=status,
        status_reason=reason,
        monitor=monitor,
        monitor_reason=monitor_reason,
        instruction=instruction,
        engaged=engaged,
        checks=tuple(Check(name, 1.5 * i, 2.5, unit) for i in range(checks)),
    )
    serialised = serialize_message(plan_to_msg(said))
    same(parse_plan(serialised), plan_from_msg(deserialize_message(serialised, PlanMsg)), "published")


def test_what_plan_from_msg_refuses_is_refused() -> None:
    empty = PlanMsg(status=PlanMsg.STATUS_VALID)
    empty.rig_pose.orientation.w = 1.0
    with pytest.raises(InvalidInput, match="candidates: expected at least one, got 0"):
        parse_plan(serialize_message(empty))
    unknown = plan_to_msg(published())
    unknown.status = 77
    with pytest.raises(InvalidInput, match=r"status: expected one of .*, got 77"):
        parse_plan(serialize_message(unknown))
    bent = plan_to_msg(published())
    bent.candidates[1].waypoints[3].pose.orientation.w = 9.0
    with pytest.raises(InvalidInput, match="waypoint 3 orientation: expected a quaternion of length 1"):
        parse_plan(serialize_message(bent))
    tilted = plan_to_msg(published())
    tilted.rig_pose.orientation.w = 0.2
    with pytest.raises(InvalidInput, match="rig_pose quaternion: expected unit length"):
        parse_plan(serialize_message(tilted))
    outside = plan_to_msg(published())
    outside.chosen = 5
    with pytest.raises(InvalidInput, match=r"chosen: expected an index in 0 \.\.\. 1, got 5"):
        parse_plan(serialize_message(outside))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.7, 0.99])
def test_bytes_that_end_early_are_refused(share: float) -> None:
    serialised = serialize_message(plan_to_msg(published()))
    with pytest.raises(InvalidInput, match="plan: expected"):
        parse_plan(serialised[: int(share * len(serialised))])


def test_another_encoding_is_refused() -> None:
    serialised = serialize_message(plan_to_msg(replace(published(), engaged=True)))
    with pytest.raises(InvalidInput, match="plan: expected little-endian CDR"):
        parse_plan(b"\x00\x00" + serialised[2:])
