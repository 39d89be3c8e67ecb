"""Markers, and Autoware's trajectory."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from alpamayo_ros.ros import autoware
from alpamayo_ros.ros.conversions import pose_to_matrix, stamp_to_ns
from alpamayo_ros.ros.markers import delete_all, plan_to_markers
from alpamayo_ros.ros.plan_conversions import PlanStatus
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.viz.footprint import Footprint

CAR = Footprint(length_m=4.9, width_m=1.9, rear_overhang_m=1.0)


@pytest.fixture
def pose() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # heading along odom's y
    matrix[:3, 3] = [100.0, 200.0, 5.0]
    return matrix


def test_markers_show_the_plan_where_it_is(make_plan, pose):
    plan = make_plan(samples=3, speed_mps=np.full((3, 65), 15.0, np.float32))
    array = plan_to_markers(plan, pose, odometry_frame="odom", footprint=CAR, lifetime_ns=1_500_000_000)
    by_name = {(m.ns, m.id): m for m in array.markers}
    assert set(by_name) == {
        ("candidates", 0),
        ("candidates", 1),
        ("path", 0),
        ("ribbon", 0),
        ("footprint", 0),
        ("footprints", 0),
        ("reasoning", 0),
    }
    for marker in array.markers:
        assert marker.header.frame_id == "odom"
        assert stamp_to_ns(marker.header.stamp) == plan.t0_ns
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 500_000_000)
    path = by_name["path", 0]
    assert path.type == Marker.LINE_STRIP
    expected = (pose[:3, :3] @ plan.xyz_in_rig_t0[2].T).T + pose[:3, 3]
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in path.points], expected, atol=1e-5)
    assert len(path.colors) == 64
    assert path.colors[0].g == pytest.approx(0.8)
    line = by_name["candidates", 1]
    moved = [pose_to_matrix(line.pose) @ (p.x, p.y, p.z, 1) for p in line.points]
    expected = (pose[:3, :3] @ plan.xyz_in_rig_t0[1].T).T + pose[:3, 3]
    np.testing.assert_allclose(np.array(moved)[:, :3], expected, atol=1e-5)
    corners = [
        pose_to_matrix(by_name["footprint", 0].pose) @ (p.x, p.y, p.z, 1)
        for p in by_name["footprint", 0].points
    ]
    np.testing.assert_allclose(np.array(corners)[0, :2], (100 - 0.95, 200 - 1.0))
    np.testing.assert_allclose(np.array(corners)[2, :2], (100 + 0.95, 200 + 3.9))
    assert by_name["reasoning", 0].text == plan.reasoning[2]
    assert by_name["reasoning", 0].pose.position.z == 8.0


@pytest.mark.parametrize("sizes", [(0.0, 1.9, 0.0), (4.9, -1.0, 1.0), (4.9, 1.9, 5.0), (4.9, 1.9, -0.1)])
def test_a_vehicle_that_cannot_be_is_refused(sizes):
    with pytest.raises(InvalidInput, match="footprint: expected positive length and width"):
        Footprint(*sizes)


def test_the_ribbon_is_as_wide_as_the_vehicle_and_footprints_mark_the_seconds(make_plan, pose):
    length = np.arange(1, 65) * 0.5
    xyz = np.zeros((1, 64, 3), np.float32)
    xyz[0, :, 0] = length
    plan = make_plan(
        samples=1,
        xyz_in_rig_t0=xyz,
        rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (1, 64, 1, 1)),
        speed_mps=np.linspace(0.0, 15.0, 65, dtype=np.float32)[None],
    )
    array = plan_to_markers(plan, pose, odometry_frame="odom", footprint=CAR, lifetime_ns=10**9)
    by_name = {m.ns: m for m in array.markers}
    ribbon = by_name["ribbon"]
    assert ribbon.type == Marker.TRIANGLE_LIST
    assert len(ribbon.points) == len(ribbon.colors) == 6 * 63
    corners = np.array([(p.x, p.y, p.z) for p in ribbon.points])
    # The vehicle heads along odom's y: the ribbon is 1.9 m wide in x, and as long as the plan in y.
    assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx((100 - 0.95, 100 + 0.95))
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((200.5, 232.0))
    a, b, c = corners[0], corners[1], corners[2]
    assert np.cross(b - a, c - a)[2] > 0  # its upper side is the front
    assert ribbon.colors[0].r > ribbon.colors[-1].r and ribbon.colors[-1].g > ribbon.colors[0].g
    boxes = by_name["footprints"]
    assert boxes.type == Marker.LINE_LIST
    assert len(boxes.points) == 6 * 8
    assert {round(p.x, 3) for p in boxes.points[:8]} == {5.0 - 1.0, 5.0 + 3.9}


def test_all_markers_can_be_taken_away():
    (marker,) = delete_all().markers
    assert marker.action == Marker.DELETEALL


def test_autoware_is_asked_for_only_where_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "autoware_planning_msgs", None)
    with pytest.raises(InvalidInput, match="publish_trajectory: expected the package autoware_planning_msgs"):
        autoware.load_messages()


class Point:
    """autoware_planning_msgs/TrajectoryPoint by its definition."""

    def __init__(self) -> None:
        self.time_from_start, self.pose = Duration(), Pose()
        self.longitudinal_velocity_mps = self.lateral_velocity_mps = self.acceleration_mps2 = 0.0
        self.heading_rate_rps = self.front_wheel_angle_rad = self.rear_wheel_angle_rad = 0.0


def test_the_trajectory_is_what_is_left_of_the_plan(make_plan, pose, monkeypatch):
    messages = ModuleType("autoware_planning_msgs.msg")
    messages.Trajectory = lambda: SimpleNamespace(header=Header(), points=[])
    messages.TrajectoryPoint = Point
    monkeypatch.setitem(sys.modules, "autoware_planning_msgs", ModuleType("autoware_planning_msgs"))
    monkeypatch.setitem(sys.modules, "autoware_planning_msgs.msg", messages)
    assert autoware.load_messages() is messages
    plan = make_plan()
    now_ns = plan.t0_ns + 350_000_000
    trajectory = autoware.trajectory_to_msg(
        plan, pose, messages=messages, odometry_frame="map", now_ns=now_ns
    )
    assert stamp_to_ns(trajectory.header.stamp) == plan.t0_ns
    assert trajectory.header.frame_id == "map"
    assert len(trajectory.points) == 61
    first = trajectory.points[0]
    assert stamp_to_ns(first.time_from_start) == 400_000_000
    expected = pose[:3, :3] @ plan.xyz_in_rig_t0[1, 3] + pose[:3, 3]
    position = first.pose.position
    np.testing.assert_allclose((position.x, position.y, position.z), expected, atol=1e-5)
    assert first.longitudinal_velocity_mps == plan.speed_mps[1, 4]
    assert first.acceleration_mps2 == plan.accel_mps2[1, 3]
    assert first.heading_rate_rps == pytest.approx(plan.curvature_per_m[1, 3] * plan.speed_mps[1, 4])


def test_a_stop_is_red_and_says_why_and_what_nobody_checked_is_blue(make_plan):
    plan = make_plan()
    options = {"odometry_frame": "odom", "footprint": CAR, "lifetime_ns": 10**9}

    def path_and_text(**said):
        array = plan_to_markers(plan, np.eye(4), **options, **said)
        return [next(m for m in array.markers if m.ns == name) for name in ("path", "reasoning")]

    path, text = path_and_text(status=PlanStatus.FALLBACK, reason="no valid plan for 1100 ms")
    assert path.color.r > 0.9 and path.color.g < 0.3 and not path.colors
    assert text.text == "Stopping: no valid plan for 1100 ms"
    path, text = path_and_text(status=PlanStatus.UNCHECKED)
    assert path.color.b > path.color.g > path.color.r and not path.colors
    path, text = path_and_text(status=PlanStatus.VALID)
    assert len(path.colors) == 64 and text.text == plan.reasoning[plan.chosen]
