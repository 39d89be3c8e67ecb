"""The simulation bridge in closed loop over real topics, in recorded and in procedural scenes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sensorsim_fakes
from planner_harness import ScriptedPlanner, straight_plan, wait_for
from sim_harness import (
    corner_of_the_graph,
    driving,
    finished,
    renderer,
    short_drive,
    vehicle_topics_agree,
)

from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.scene import FORCE_GT_US, START_US, STEP_US

SCENE = sensorsim_fakes.FOREIGN_SCENE
STEP_NS, WARM_UP = STEP_US * 1000, FORCE_GT_US // STEP_US


@pytest.fixture
def corner() -> Iterator[Any]:
    with corner_of_the_graph() as pair:
        yield pair


def test_a_foreign_renderer_s_scene_is_driven_and_only_what_is_known_is_scored(corner, tmp_path):
    graph, heard = corner
    with (
        renderer(drives=short_drive()) as told,
        driving(graph, told.address, scenarios=SCENE, out=str(tmp_path)) as bridge,
    ):
        finished(bridge)
    assert bridge.error is None
    (record,) = bridge.records
    assert record.end_reason == "goal"
    assert {drive.source for drive in record.drives[WARM_UP:]} == {"plan"}
    assert len(told.requests) == 4 * len(record.drives)
    assert not any(request.dynamic_objects for request in told.requests)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["scene_score"]["n"] == 0
    assert scores["scene_score"]["mean"] is None
    (score,) = scores["rollouts"]
    assert score["progress"] == pytest.approx(1.0, abs=0.05)
    assert score["dist_to_gt_trajectory"] < 0.2
    unknown = (
        "scene_score",
        "collision_any",
        "collision_at_fault",
        "offroad",
        "strict_offroad",
        "wrong_lane",
    )
    assert {score[name] for name in unknown} == {None}
    assert scores["timing"]["rollouts"][f"{SCENE}#0"]["steps"] == len(record.drives) - WARM_UP
    kinds = [
        entry.WhichOneof("log_entry") for entry in read_entries(tmp_path / f"rollouts/{SCENE}/rollout.asl")
    ]
    assert kinds.count("render_request") == kinds.count("driver_camera_image") == len(told.requests)
    assert kinds.count("driver_return") == len(record.drives) - WARM_UP
    vehicle_topics_agree(heard, record)


def test_a_procedural_scene_is_driven_by_the_expert(corner, tmp_path):
    graph, heard = corner
    with (
        renderer(version_id="alpamayo_ros-test", scene_ids=()) as told,
        driving(graph, told.address, scenarios="8", hosted="expert", out=str(tmp_path)) as bridge,
    ):
        finished(bridge)
        wait_for(lambda: heard.simulation.get("phase") == "done", "the last word")
    (record,) = bridge.records
    assert record.scene.scene_id == "cut_in-8"
    assert record.end_reason in ("goal", "time")
    assert record.planner == "expert"
    (score,) = json.loads((tmp_path / "scores.json").read_text())["rollouts"]
    assert score["scene_score"] == 1.0
    assert score["collision_any"] == score["strict_offroad"] == 0
    moving = {i for i, actor in record.scene.actors.items() if not actor.is_static}
    assert moving
    for request in told.requests:
        assert request.scene_id == "cut_in-8"
        assert {o.track_id for o in request.dynamic_objects} == moving
        assert (request.resolution_w, request.resolution_h) == (96, 64)
    assert {r.camera_intrinsics.logical_id for r in told.requests} == {LOGICAL_IDS[i] for i in (0, 1, 2, 6)}
    assert any(drive.reasoning for drive in record.drives)
    boxes = {m.ns for array in heard.received["actors"] for m in array.markers}
    assert {"ego", "actors"} <= boxes
    assert {"route", "lanes", "edges"} <= {m.ns for m in heard.received["map"][-1].markers}
    vehicle_topics_agree(heard, record)
    said = {message.data for message in heard.received["instruction"]}
    assert said == {"", *(drive.instruction for drive in record.drives)}
    assert heard.simulation["level"] == "0"
    assert float(heard.simulation["plan_ms"]) > 0


def test_leaving_the_road_ends_a_rollout(corner):
    graph, _ = corner
    with (
        renderer(version_id="alpamayo_ros-test", scene_ids=()) as told,
        driving(graph, told.address, scenarios="curve-1") as bridge,
    ):
        finished(bridge)
    (record,) = bridge.records
    assert record.end_reason == "off_road"
    assert bridge.error is None
    assert record.ego[-1].time_us < START_US + 21_000_000


def test_a_step_without_a_plan_in_time_is_a_stop_and_the_next_plan_is_driven(corner):
    graph, heard = corner
    planner = ScriptedPlanner()
    silent_ns: list[int] = []

    def think(observation: Any) -> Any:
        if len(planner.observations) == 25:
            silent_ns.append(observation.t0_ns)
            raise RuntimeError("no idea")
        return straight_plan(observation, speed_mps=10.0)

    planner.plan_of = think
    with (
        renderer(drives=short_drive()) as told,
        driving(graph, told.address, planner=planner, scenarios=SCENE, plan_timeout_s=1.5) as bridge,
    ):
        finished(bridge)
    (record,) = bridge.records
    assert record.end_reason == "goal"
    stops = [drive for drive in record.drives if drive.source == "stop"]
    assert [drive.time_us * 1000 for drive in stops] == silent_ns
    assert stops[0].reason == "no plan within 1.5 s"
    slowed = next(i for i, drive in enumerate(record.drives) if drive.source == "stop")
    assert record.ego[slowed + 1].speed_mps < record.ego[slowed].speed_mps
    assert heard.said("stopping, as there is no plan to drive by: no plan within 1.5 s")


def test_a_planner_sees_the_vehicle_as_it_is(corner):
    graph, _ = corner
    planner = ScriptedPlanner()
    planner.plan_of = lambda observation: straight_plan(observation, speed_mps=10.0)
    with (
        renderer(drives=short_drive()) as told,
        driving(graph, told.address, planner=planner, scenarios=SCENE) as bridge,
    ):
        finished(bridge)
    (record,) = bridge.records
    states = {state.time_us * 1000: state for state in record.ego}
    assert len(planner.observations) >= len(record.drives) - WARM_UP
    for seen in planner.observations:
        np.testing.assert_allclose(seen.rig_pose_in_odom_at_t0, states[seen.t0_ns].local_from_rig, atol=1e-6)
        assert seen.camera_ids == (0, 1, 2, 6)
        np.testing.assert_array_equal(
            seen.frame_stamps_ns, np.tile(seen.t0_ns - STEP_NS * np.arange(3, -1, -1), (4, 1))
        )
        past = states[seen.t0_ns - 15 * STEP_NS].local_from_rig
        moved = (
            states[seen.t0_ns].local_from_rig[:3, :3].T @ (past - states[seen.t0_ns].local_from_rig)[:3, 3]
        )
        np.testing.assert_allclose(seen.history_xyz_in_rig_t0[0], moved, atol=1e-3)
    latencies = [drive.latency_ms for drive in record.drives if drive.source == "plan"]
    assert latencies and min(latencies) > 0


def speed_of(observation: Any) -> float:
    return 10.0 * float(np.linalg.norm(observation.history_xyz_in_rig_t0[-2]))


def slowing_down(observation: Any) -> Any:
    """Return a plan that comes to a stand at 2 m/s²."""
    v0 = speed_of(observation)
    times_s = np.minimum(0.1 * np.arange(65), v0 / 2.0)
    plan = straight_plan(observation)
    plan.xyz_in_rig_t0[0, :, 0] = (v0 * times_s - times_s**2)[1:]
    plan.speed_mps[0] = v0 - 2.0 * times_s
    return plan


@pytest.mark.long
def test_a_rollout_that_goes_nowhere_ends_by_time(corner):
    graph, _ = corner
    planner = ScriptedPlanner()
    planner.plan_of = slowing_down
    with (
        renderer(drives=short_drive(seconds=22.0)) as told,
        driving(graph, told.address, planner=planner, scenarios=SCENE) as bridge,
    ):
        finished(bridge)
    (record,) = bridge.records
    assert (record.end_reason, len(record.drives)) == ("time", 217)
    assert record.ego[-1].speed_mps == pytest.approx(0.0, abs=0.1)
    assert all(drive.source == "plan" for drive in record.drives[WARM_UP:])


def test_a_plan_that_is_rejected_is_passed_over_and_then_the_planner_stops(corner):
    """While the last valid plan holds, the vehicle drives on by it; then by the planner's own stop."""
    graph, _ = corner
    planner = ScriptedPlanner()

    def now_and_then(observation: Any) -> Any:
        plan = straight_plan(observation, speed_mps=speed_of(observation))
        if 5 < len(planner.observations) <= 8 or len(planner.observations) > 30:
            plan.xyz_in_rig_t0[:, :, 0] += 10.0
        return plan

    planner.plan_of = now_and_then
    with (
        renderer(drives=short_drive(seconds=12.0)) as told,
        driving(graph, told.address, planner=planner, scenarios=SCENE, max_missed_plans=20) as bridge,
    ):
        finished(bridge)
        rollout = bridge._rollout
        assert rollout.held >= 3 + 9  # three in a row, and as long as the last valid plan is young enough
    (record,) = bridge.records
    held = [drive for drive in record.drives if drive.source == "plan" and drive.reason]
    assert all("first_waypoint" in drive.reason for drive in held) and len(held) == rollout.held
    stops = [drive for drive in record.drives if drive.source == "stop"]
    assert len(stops) >= 19 and all("first_waypoint" in drive.reason for drive in stops)
    speeds = [state.speed_mps for state in record.ego[-15:]]
    assert speeds[-1] < speeds[0] - 1.0
    assert record.end_reason == "failed" and "20 steps in a row without one" in record.error


def test_pace_is_kept_where_asked_for(corner):
    graph, _ = corner
    with (
        renderer(drives=short_drive(3.0)) as told,
        driving(graph, told.address, scenarios=SCENE, realtime_factor=1.5) as bridge,
    ):
        took_s = finished(bridge)
    assert took_s >= 0.95 * (len(bridge.records[0].drives) - 1) * 0.1 / 1.5


def test_scenes_follow_each_other_and_time_begins_anew(corner, tmp_path: Path):
    graph, heard = corner
    with (
        renderer(drives=short_drive(3.0), scene_ids=("a/1", "b")) as told,
        driving(graph, told.address, scenarios="all", out=str(tmp_path)) as bridge,
    ):
        finished(bridge)
    assert bridge.error is None
    assert [record.scene.scene_id for record in bridge.records] == ["a/1", "b"]
    assert [record.end_reason for record in bridge.records] == ["goal", "goal"]
    assert {path.name for path in (tmp_path / "rollouts").iterdir()} == {"a_1", "b"}
    clock = np.array([stamp_to_ns(message.clock) for message in heard.received["clock"]])
    assert (np.diff(clock) < 0).sum() == 1
