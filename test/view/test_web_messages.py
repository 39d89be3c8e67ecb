"""What the page is sent is plain JSON, small, and true to the messages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from view_factory import SPEED_MPS, STEP_NS, T0_NS, Messages

from alpamayo_ros.bags.run import plan_record, plan_status_names
from alpamayo_ros.bags.typestore import base_typestore
from alpamayo_ros.view.web_messages import (
    diagnostics_json,
    markers_json,
    plan_json,
    pose_json,
    shown_status,
    thought_json,
    yaw_of,
)


@pytest.fixture(scope="module")
def store() -> Any:
    return base_typestore()


@pytest.fixture(scope="module")
def make(store: Any) -> Messages:
    return Messages(store)


def record(store: Any, message: Any) -> Any:
    return plan_record(message, topic="/plan", received_ns=T0_NS, status_names=plan_status_names(store))


def test_a_plan_has_its_path_its_place_and_its_colour(store, make):
    said = plan_json(record(store, make.plan(T0_NS + 10 * STEP_NS)), engaged=True)
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert len(said["path"]) == 64 and len(said["speed"]) == 65
    assert said["path"][63] == [round(6.4 * SPEED_MPS, 2), 0.02 * 63]  # the chosen candidate is the second
    assert said["candidates"] == [[[round(0.1 * SPEED_MPS * (i + 1), 2), 0.0] for i in range(0, 64, 2)]]
    assert said["pose"] == [SPEED_MPS, 0.0, 0.0] and said["t0"] == pytest.approx(T0_NS / 1e9 + 1)
    assert (said["status"], said["engaged"], said["instruction"]) == ("VALID", True, "Turn left.")
    assert said["colour"] == "#1acc60"


def test_a_thought_has_the_words_and_the_stages(store, make):
    plan = record(store, make.plan(T0_NS, reasoning="Stop for the red light."))
    said = thought_json(plan, meta_action="stop")
    assert (said["text"], said["meta"], said["status"]) == ("Stop for the red light.", "stop", "VALID")
    assert said["stages_ms"] == [1.0, 10.0, 20.0, 30.0, 15.0] and said["total_ms"] == 80.0
    stop = thought_json(record(store, make.plan(T0_NS, status=3)), meta_action="")
    assert (stop["status"], stop["reason"]) == ("FALLBACK", "no plan came")


def test_a_status_of_a_later_version_is_unknown(store, make):
    assert shown_status(record(store, make.plan(T0_NS, status=77))) == "UNKNOWN"


def test_a_number_that_is_none_does_not_end_the_page(store, make):
    message = make.plan(T0_NS)
    message.candidates[1].waypoints[5].pose.position.x = float("nan")
    said = plan_json(record(store, message), engaged=False)
    assert json.dumps(said, allow_nan=False) and said["path"][5][0] == 0.0


@pytest.mark.parametrize("yaw", [-3.0, -0.5, 0.0, 1.2, 3.1])
def test_headings_are_those_of_an_independent_conversion(make, yaw):
    x, y, z, w = Rotation.from_euler("ZYX", [yaw, 0.1, -0.2]).as_quat()
    assert yaw_of(make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)) == pytest.approx(yaw)


def test_a_pose_is_rounded_for_the_screen(make):
    said = pose_json(make.odometry(T0_NS + 3 * STEP_NS))
    assert (said["x"], said["y"], said["yaw"], said["speed"]) == (1.5, 0.0, 0.0, SPEED_MPS)


def markers(make: Messages, *found: Any) -> Any:
    return make("visualization_msgs/msg/MarkerArray", markers=list(found))


def test_lines_are_pairs_of_points_in_the_markers_frame_and_strips_are_cut_into_pairs(make):
    line = make.line_marker([(0.0, 1.0), (2.0, 1.0), (5.0, 1.0), (6.0, 1.0)])
    strip = make.line_marker([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    strip.type = 4
    strip.pose.position.x = 10.0
    q = Rotation.from_euler("z", np.pi / 2).as_quat()
    strip.pose.orientation.z, strip.pose.orientation.w = q[2], q[3]
    said = markers_json("map", markers(make, line, strip))
    assert said["lines"][0]["pairs"] == [0.0, 1.0, 2.0, 1.0, 5.0, 1.0, 6.0, 1.0]
    np.testing.assert_allclose(said["lines"][1]["pairs"], [10, 0, 10, 1, 10, 1, 10, 2], atol=1e-6)
    assert said["lines"][0]["colour"] == "rgba(255,255,255,1.00)"


def test_boxes_and_the_end_of_all_are_told_and_texts_are_not(make):
    box, text, clear = (make.line_marker([]) for _ in range(3))
    box.type, box.scale.x, box.scale.y = 1, 4.5, 1.8
    text.type, clear.action = 9, 3
    said = markers_json("actors", markers(make, clear, box, text))
    assert said["clear"] and len(said["boxes"]) == 1 and not said["lines"]
    assert said["boxes"][0]["size"] == [4.5, 1.8]


def test_a_map_of_a_whole_town_is_thinned(make):
    points = [(float(i), 0.0) for i in range(100_000)]
    said = markers_json("map", markers(make, make.line_marker(points)))
    assert 5_000 < len(said["lines"][0]["pairs"]) // 2 <= 20_000


def test_diagnostics_are_the_worst_first_whichever_way_a_level_is_told(make):
    (good,) = make.diagnostics(T0_NS).status
    (bad,) = make.diagnostics(T0_NS, level=2, message="no camera").status
    bad.level = b"\x02"  # as rclpy has it
    said = diagnostics_json({"a": good, "b": bad, "c": make.diagnostics(T0_NS, level=9).status[0]})
    assert [row["level"] for row in said["rows"]] == ["error", "stale", "ok"]
    assert said["rows"][0]["message"] == "no camera" and said["rows"][0]["values"] == {"rate_hz": "10.0"}
