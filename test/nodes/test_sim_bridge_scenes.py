"""The bridge with scenes from elsewhere, a renderer behind TLS, and several rollouts at once."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import sensorsim_fakes
import usdz_factory
from planner_harness import Graph
from rclpy.node import Node
from sim_harness import (
    Listener,
    corner_of_the_graph,
    destroyed,
    driving,
    finished,
    renderer,
    short_drive,
    vehicle_topics_agree,
)

from alpamayo_ros.ros.sim_graph import corners
from alpamayo_ros.sim.protocol.convert import version_message
from alpamayo_ros.sim.protocol.server import ServerTls

SCENE = sensorsim_fakes.FOREIGN_SCENE


@pytest.fixture
def corner() -> Iterator[Any]:
    with corner_of_the_graph() as pair:
        yield pair


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
