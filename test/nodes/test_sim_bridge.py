"""The simulation bridge in closed loop over real topics, in recorded and in procedural scenes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sensorsim_fakes
import usdz_factory
from planner_harness import Graph, ScriptedPlanner, straight_plan, wait_for
from rclpy.node import Node
from sim_harness import CAMERAS, Listener, corner_of_the_graph, destroyed, driving, finished, renderer

from alpamayo_ros.ros.conversions import pose_to_matrix, stamp_to_ns, transform_to_matrix
from alpamayo_ros.ros.sim_graph import corners
from alpamayo_ros.sim.cameras import LOGICAL_IDS, default_cameras
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.convert import version_message
from alpamayo_ros.sim.protocol.server import ServerTls
from alpamayo_ros.sim.scene import FORCE_GT_US, START_US, STEP_US

SCENE = sensorsim_fakes.FOREIGN_SCENE
STEP_NS, WARM_UP = STEP_US * 1000, FORCE_GT_US // STEP_US


def short_drive(seconds: float = 4.0, **options: Any) -> list[Any]:
    return [sensorsim_fakes.drive_message(seconds=seconds, **options)]


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


def vehicle_topics_agree(heard: Listener, record: Any) -> None:
    """Check that what the vehicle said is the rollout, each thing at the time of its step."""
    steps_ns = [state.time_us * 1000 for state in record.ego]
    clock = [stamp_to_ns(message.clock) for message in heard.received["clock"]]
    assert clock == [steps_ns[0], *steps_ns]  # its start is said once before the first step
    assert heard.stamps_ns("odometry") == clock
    for message, state in zip(heard.received["odometry"][1:], record.ego, strict=True):
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        np.testing.assert_allclose(pose_to_matrix(message.pose.pose), state.local_from_rig, atol=1e-9)
        assert message.twist.twist.linear.x == state.speed_mps
    for message, odometry in zip(heard.received["tf"], heard.received["odometry"], strict=True):
        (transform,) = message.transforms
        assert transform.header == odometry.header
        assert transform.child_frame_id == "base_link"
        np.testing.assert_allclose(
            transform_to_matrix(transform.transform), pose_to_matrix(odometry.pose.pose), atol=1e-12
        )
    mounts = {t.child_frame_id: t for t in heard.received["tf_static"][-1].transforms}
    for camera in default_cameras():
        name = next((n for n in CAMERAS if n in camera.logical_id and "rear" not in camera.logical_id), None)
        if name is None:
            continue
        mount = mounts[f"{name}_optical_frame"]
        assert mount.header.frame_id == "base_link"
        np.testing.assert_allclose(transform_to_matrix(mount.transform), camera.rig_from_camera, atol=1e-6)
        images, infos = heard.received[f"{name}/image"], heard.received[f"{name}/info"]
        assert heard.stamps_ns(f"{name}/image") == heard.stamps_ns(f"{name}/info") == steps_ns[:-1]
        assert {m.format for m in images} == {"jpeg"}
        assert {m.header.frame_id for m in [*images, *infos]} == {f"{name}_optical_frame"}
        assert {(m.width, m.height) for m in infos} == {(96, 64)}
    planned = set(heard.stamps_ns("plan"))
    assert planned >= {drive.time_us * 1000 for drive in record.drives[WARM_UP:]}
    assert planned <= set(steps_ns)


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


@pytest.mark.long
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


def test_the_tracks_of_a_usdz_are_replayed_and_scored(corner, tmp_path):
    graph, _ = corner
    members = usdz_factory.example()
    tracks = members["sequence_tracks.json"]["clip"]["tracks_data"]
    tracks["tracks_poses"][1][0][0] = 40.0  # the truck stands on the way
    file = usdz_factory.write(tmp_path / "scene.usdz", members)
    with (
        renderer(scene_ids=("clipgt-7",)) as told,
        driving(graph, told.address, scenarios="all", usdz=str(file), out=str(tmp_path / "out")) as bridge,
    ):
        finished(bridge)
    assert bridge.error is None
    (record,) = bridge.records
    assert record.scene.start_us == usdz_factory.START_US + 41_000
    assert set(record.actors) == {"12", "x"}
    # The truck does not move, so it is the renderer's; the car is seen for 0.1 s, then hidden underground.
    assert {o.track_id for request in told.requests for o in request.dynamic_objects} == {"12"}
    heights = [r.dynamic_objects[0].pose_pair.end_pose.vec.z for r in told.requests]
    assert heights[0] == pytest.approx(3.0)
    assert heights[-1] < -90
    (score,) = json.loads((tmp_path / "out" / "scores.json").read_text())["rollouts"]
    assert (score["collision_any"], score["collision_with"]) == (1.0, "x")
    assert record.end_reason == "collision"
    assert score["offroad"] is None


def test_the_file_of_another_scene_is_refused(corner, tmp_path):
    graph, _ = corner
    file = usdz_factory.write(tmp_path / "scene.usdz", usdz_factory.example())
    with renderer() as told, driving(graph, told.address, scenarios=SCENE, usdz=str(file)) as bridge:
        finished(bridge)
    assert "expected the file of scene 'clipgt-0001', got 'clipgt-7'" in str(bridge.error)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not there")
def test_a_renderer_is_asked_by_tls_where_its_authority_is_named(corner, tmp_path):
    graph, _ = corner
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    tls = ServerTls.from_files(key=key, certificate=certificate)
    with renderer(tls=tls, drives=short_drive(3.0)) as told:
        address = told.address.replace("127.0.0.1", "localhost")
        with driving(graph, address, scenarios=SCENE, renderer_ca=str(certificate)) as bridge:
            finished(bridge)
        assert bridge.error is None
        assert bridge.records[0].end_reason == "goal"
        with driving(graph, address, scenarios=SCENE, renderer_timeout_s=0.5) as bridge:
            finished(bridge)
        assert "renderer" in str(bridge.error)


def test_several_rollouts_at_once_have_a_clock_each(tmp_path):
    starts_us = (1_600_000_000_000_000, 1_650_000_000_000_000)
    with ExitStack() as stack:
        everything, _ = stack.enter_context(corner_of_the_graph())
        heard, bridges = [], []
        for index, place in enumerate(corners(everything.name, 2)):
            graph = Graph(place.namespace.strip("/"), everything.context, everything.executor)
            assert set(graph.remaps) == {f"{source}:={target}" for source, target in place.remaps.items()}
            node = Node("listener", **graph.options)
            heard.append(Listener(node))
            stack.enter_context(destroyed(graph, [node]))
            told = stack.enter_context(renderer(drives=short_drive(stamp_us=starts_us[index])))
            bridges.append(
                stack.enter_context(
                    driving(graph, told.address, scenarios=SCENE, rollout_index=index, out=str(tmp_path))
                )
            )
        for bridge in bridges:
            finished(bridge)
            assert bridge.error is None
        for index, (bridge, listener) in enumerate(zip(bridges, heard, strict=True)):
            (record,) = bridge.records
            assert (record.end_reason, record.rollout_index) == ("goal", index)
            assert record.scene.start_us == starts_us[index]
            vehicle_topics_agree(listener, record)
    assert {path.name for path in (tmp_path / "rollouts").iterdir()} == {SCENE, f"{SCENE}_1"}


@pytest.mark.long
def test_a_log_s_scene_of_a_renderer_by_another_name_is_a_recorded_one(corner, golden_dir, tmp_path):
    from alpamayo_ros.sim.protocol.generated import sensorsim_pb2_grpc
    from alpamayo_ros.sim.protocol.server import serve
    from alpamayo_ros.sim.render.render_thread import shared_thread
    from alpamayo_ros.sim.render.scene_store import SceneStore
    from alpamayo_ros.sim.render.server import SensorsimServicer
    from alpamayo_ros.sim.scene_from_asl import scene_from_asl
    from alpamayo_ros.sim.scenes import make_scene

    class Foreign(SensorsimServicer):
        def __init__(self, store: Any) -> None:
            super().__init__(store)
            self.requests: list[Any] = []

        def get_version(self, request: Any, context: Any) -> Any:
            return version_message("somebodys-renderer-3.1", git_hash="")

        def batch_render_rgb(self, request: Any, context: Any) -> Any:
            self.requests += [item.request for item in request.items]
            return super().batch_render_rgb(request, context)

    graph, _ = corner
    log = scene_from_asl(golden_dir / "alpasim" / "rollout.asl")
    servicer = Foreign(SceneStore(shared_thread(), make_scene, fixed={log.scene.scene_id: log}))
    running = serve(
        lambda server: sensorsim_pb2_grpc.add_SensorsimServiceServicer_to_server(servicer, server),
        on_stop=servicer.close,
    )
    with (
        running,
        driving(
            graph, f"127.0.0.1:{running.port}", scenarios=log.scene.scene_id, out=str(tmp_path)
        ) as bridge,
    ):
        finished(bridge, timeout_s=200)
    assert bridge.error is None
    (record,) = bridge.records
    reference = log.scene.reference
    assert record.scene.start_us == reference.stamps_us[0]
    np.testing.assert_allclose(record.ego[0].local_from_rig, reference.local_from_rig[0], atol=1e-5)
    assert servicer.requests
    assert not any(request.dynamic_objects for request in servicer.requests)
    (score,) = json.loads((tmp_path / "scores.json").read_text())["rollouts"]
    assert 0 < score["progress"] <= 1
    assert score["dist_to_gt_trajectory"] is not None
    assert {score[name] for name in ("scene_score", "collision_any", "offroad", "strict_offroad")} == {None}
