"""Traffic over gRPC: our reacting actors, and recordings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.generated import traffic_pb2
from alpamayo_ros.sim.protocol.server import serve
from alpamayo_ros.sim.protocol.service import OUR_VERSION
from alpamayo_ros.sim.protocol.traffic import (
    TRAFFIC,
    LoggedObject,
    TrafficClient,
    TrafficHandler,
    TrafficRollout,
    TrafficServicer,
    rollout_message,
    rollout_of,
)
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_ID, EGO_SIZE_XYZ_M, FORCE_GT_US, Scene, Track
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.served_traffic import ReactiveTraffic, ReplayedTraffic

SCENE_ID = "lead_braking-9"


@contextmanager
def client_of(handler: TrafficHandler) -> Iterator[TrafficClient]:
    servicer = TrafficServicer(handler)
    with serve(servicer.register) as server, Connection(server.address, service=TRAFFIC) as connection:
        yield TrafficClient(connection)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(SCENE_ID)


@pytest.fixture
def reactive(scene: Scene) -> Iterator[TrafficClient]:
    with client_of(ReactiveTraffic(make_scene)) as client:
        yield client


def box_of(local_from_rig: np.ndarray) -> np.ndarray:
    poses = np.array(local_from_rig)
    poses[..., :3, 3] += poses[..., :3, :3] @ np.array(EGO_BOX_IN_RIG_M)
    return poses


def rollout_in(scene: Scene, session_uuid: str = "a") -> TrafficRollout:
    """The session that AlpaSim's runtime would open: the recorded tracks of all, the ego's first."""
    drive = scene.reference
    objects = {
        EGO_ID: LoggedObject(EGO_SIZE_XYZ_M, "", False, Track(drive.stamps_us, box_of(drive.local_from_rig)))
    }
    for actor_id, spec in scene.actors.items():
        objects[actor_id] = LoggedObject(spec.size_xyz_m, "automobile", spec.is_static, spec.track)
    return TrafficRollout(session_uuid, scene.scene_id, 7, objects, scene.start_us + FORCE_GT_US + 100_000)


def ego_at(scene: Scene, step: int, *, ahead_m: float = 0.0) -> dict[str, Track]:
    drive = scene.reference
    pose = box_of(drive.local_from_rig[step : step + 1])
    pose[0, :3, 3] += ahead_m * pose[0, :3, 0]
    return {EGO_ID: Track(drive.stamps_us[step : step + 1], pose)}


def test_actors_keep_to_their_tracks_where_the_ego_follows_the_reference(
    scene: Scene, reactive: TrafficClient
) -> None:
    reactive.start_session(rollout_in(scene))
    for step in range(1, 121):
        now_us = int(scene.reference.stamps_us[step])
        others = reactive.simulate("a", now_us, ego_at(scene, step))
        assert set(others) == set(scene.actors)
        for actor_id, spec in scene.actors.items():
            wanted = spec.track.local_from_box[min(step, len(spec.track.stamps_us) - 1), :3, 3]
            (got,) = others[actor_id].local_from_box
            assert others[actor_id].stamps_us.tolist() == [now_us]
            assert np.linalg.norm(got[:3, 3] - wanted) < 0.3, (actor_id, step)
    reactive.close_session("a")


def test_actors_react_to_an_ego_that_stops(scene: Scene, reactive: TrafficClient) -> None:
    reactive.start_session(rollout_in(scene))
    moved: dict[str, float] = {}
    for step in range(1, 150):
        stopped = {EGO_ID: Track(scene.reference.stamps_us[step : step + 1], box_of(start(scene))[None])}
        others = reactive.simulate("a", int(scene.reference.stamps_us[step]), stopped)
        moved = {
            actor_id: float(
                np.linalg.norm(
                    others[actor_id].local_from_box[0, :3, 3] - spec.track.local_from_box[step, :3, 3]
                )
            )
            for actor_id, spec in scene.actors.items()
            if not spec.is_static
        }
    assert max(moved.values()) > 5.0, "somebody waits behind an ego that does not drive"


def start(scene: Scene) -> np.ndarray:
    return np.asarray(scene.reference.local_from_rig[0])


def test_the_same_questions_get_the_same_answers_in_coarser_steps_too(
    scene: Scene, reactive: TrafficClient
) -> None:
    ends = []
    for name, stride in (("a", 1), ("b", 1), ("c", 5)):
        reactive.start_session(rollout_in(scene, name))
        for step in range(stride, 31, stride):
            others = reactive.simulate(name, int(scene.reference.stamps_us[step]), ego_at(scene, step))
        ends.append(np.stack([others[i].local_from_box[0, :3, 3] for i in sorted(others)]))
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_allclose(ends[0], ends[2], atol=0.3)


def test_what_does_not_go_on_is_refused(scene: Scene, reactive: TrafficClient) -> None:
    rollout = rollout_in(scene)
    reactive.start_session(rollout)
    now_us = int(scene.reference.stamps_us[5])
    reactive.simulate("a", now_us, ego_at(scene, 5))
    with pytest.raises(ServiceError, match="time_query_us: expected"):
        reactive.simulate("a", now_us - 1, ego_at(scene, 5))
    with pytest.raises(ServiceError, match="time_query_us: expected"):
        reactive.simulate("a", now_us + 10**12, ego_at(scene, 5))
    with pytest.raises(ServiceError, match="expected EGO alone, got none"):
        reactive.simulate("a", now_us, {})
    with pytest.raises(ServiceError, match="expected EGO up to time_query_us"):
        reactive.simulate("a", now_us + 3_000_000, ego_at(scene, 6))
    with pytest.raises(ServiceError) as caught:
        reactive.simulate("nobody", now_us, ego_at(scene, 5))
    assert caught.value.code == grpc.StatusCode.NOT_FOUND

    def refused(**changes: object) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            reactive.start_session(replace(rollout, session_uuid="x", **changes))
        return caught.value

    unknown = refused(scene_id="moon-1")
    assert unknown.code == grpc.StatusCode.NOT_FOUND and "expected a family" in unknown.details
    stranger = refused(objects={**rollout.objects, "ufo": rollout.objects[EGO_ID]})
    assert stranger.code == grpc.StatusCode.NOT_FOUND and "'ufo'" in stranger.details
    without = {k: v for k, v in rollout.objects.items() if k != EGO_ID}
    assert "expected EGO among them" in refused(objects=without).details
    late = rollout.objects[EGO_ID].track
    later = LoggedObject(EGO_SIZE_XYZ_M, "", False, Track(late.stamps_us[3:], late.local_from_box[3:]))
    assert "expected a trajectory from the scene's start" in refused(objects={EGO_ID: later}).details


def test_messages_that_are_wrong_are_refused_by_the_object(scene: Scene, reactive: TrafficClient) -> None:
    good = rollout_message(rollout_in(scene))

    def refused(change: str) -> str:
        message = traffic_pb2.TrafficSessionRequest()
        message.CopyFrom(good)
        ego = message.logged_object_trajectories[0]
        if change == "twice":
            message.logged_object_trajectories.add().CopyFrom(ego)
        elif change == "falling":
            ego.trajectory.poses[2].timestamp_us = ego.trajectory.poses[1].timestamp_us
        elif change == "nan":
            ego.trajectory.poses[2].pose.vec.z = float("nan")
        elif change == "zero":
            ego.trajectory.poses[2].pose.quat.Clear()
        elif change == "flat":
            ego.aabb.size_z = 0.0
        elif change == "empty":
            ego.trajectory.Clear()
        elif change == "nameless":
            ego.object_id = ""
        with pytest.raises(ServiceError) as caught:
            reactive.connection.call("start_session", message)
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
        return caught.value.details

    assert "logged object 'EGO': expected each object once" in refused("twice")
    assert "logged object 'EGO': trajectory[2]: expected rising stamps" in refused("falling")
    assert "logged object 'EGO': trajectory[2]: expected finite" in refused("nan")
    assert "quaternion of unit length" in refused("zero")
    assert "logged object 'EGO': aabb: expected positive sizes" in refused("flat")
    assert "logged object 'EGO': trajectory: expected at least one pose" in refused("empty")
    assert "object_id: expected an id" in refused("nameless")


def test_recordings_are_replayed(golden_dir: Path) -> None:
    log = golden_dir / "alpasim" / "rollout.asl"
    entries = list(read_entries(log))
    (message,) = (e.traffic_session_request for e in entries if e.HasField("traffic_session_request"))
    logged = [e.actor_poses for e in entries if e.HasField("actor_poses")]
    rollout = rollout_of(message)
    assert list(rollout.objects) == ["EGO", "lead", "oncoming", "parked"]
    assert rollout_message(rollout).handover_time_us == message.handover_time_us
    with client_of(ReplayedTraffic()) as client:
        assert client.version()[0].version_id == OUR_VERSION
        assert client.scene_ids() == ("*",)
        client.connection.call("start_session", message)
        for step in logged:
            got = client.simulate(message.session_uuid, step.timestamp_us, {})
            wanted = {p.actor_id: p.actor_pose.vec for p in step.actor_poses if p.actor_id != EGO_ID}
            assert set(got) == set(wanted)
            for actor_id, track in got.items():
                at = wanted[actor_id]
                np.testing.assert_allclose(
                    track.local_from_box[0, :3, 3], (at.x, at.y, at.z), atol=2e-3, err_msg=actor_id
                )
        later_us = int(rollout.objects["lead"].track.stamps_us[-1]) + 1
        assert set(client.simulate(message.session_uuid, later_us, {})) == {"parked"}
        client.close_session(message.session_uuid)


def test_our_scenes_are_listed(reactive: TrafficClient) -> None:
    listed = reactive.scene_ids()
    assert len(listed) == 2000 and "cut_in-8" in listed
    assert reactive.version()[1] == 0
