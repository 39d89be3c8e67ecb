"""Our scenes driven by a driver behind AlpaSim's protocol: the same drive as by the planner inside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sim.attached_driver import AttachedDriver, candidates_of, told_by
from alpamayo_ros.sim.cameras import LOGICAL_IDS, default_cameras
from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.planners import ConstantPlanners
from alpamayo_ros.sim.driver.server import serve_driver
from alpamayo_ros.sim.planner_sources import SOURCES
from alpamayo_ros.sim.protocol.convert import camera_spec
from alpamayo_ros.sim.protocol.egodriver_messages import DriveAnswer
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout
from alpamayo_ros.sim.scene import FORCE_GT_US
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.types import InvalidInput


class GreyCameras:
    """The vehicle's cameras, which see nothing."""

    def __init__(self) -> None:
        self.available: Mapping[str, AvailableCamera] = {
            camera.logical_id: AvailableCamera(
                camera.logical_id, camera_spec(camera.model, camera.logical_id), camera.rig_from_camera
            )
            for camera in default_cameras()
        }
        self._image = bytes(cv2.imencode(".jpg", np.full((18, 32, 3), 90, np.uint8))[1].tobytes())

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> Mapping[int, bytes]:
        return dict.fromkeys(camera_ids, self._image)


@pytest.fixture
def driver() -> Iterator[tuple[Driver, str]]:
    made = Driver(ConstantPlanners(), load_rig("sim"))
    with serve_driver(made, port=0) as server:
        yield made, server.address


def test_a_rollout_is_the_one_of_the_planner_inside_the_driver(driver: tuple[Driver, str]) -> None:
    job = Job("curve-1")
    own = drive_rollout(job, SOURCES["constant"])
    attached = AttachedDriver.reach(driver[1])
    assert attached.name.endswith("/constant") and attached.camera_ids == (0, 1, 2, 6)
    record = drive_rollout(job, attached, GreyCameras())
    assert (record.end_reason, record.error, len(record.ego)) == (own.end_reason, "", len(own.ego))
    # The wire holds float32, and local coordinates of some hundred metres.
    ours = np.stack([state.local_from_rig[:3, 3] for state in own.ego])
    theirs = np.stack([state.local_from_rig[:3, 3] for state in record.ego])
    np.testing.assert_allclose(theirs, ours, atol=0.05)
    assert score_rollout(record).scene_score == pytest.approx(score_rollout(own).scene_score, abs=0.01)
    handover = FORCE_GT_US // 100_000
    assert {drive.source for drive in record.drives[:handover]} == {"reference"}
    assert {drive.source for drive in record.drives[handover:]} == {"plan"}
    last = record.drives[-1]
    assert last.candidates.shape == (1, 64, 3) and last.reasoning.startswith("Keep going straight")
    np.testing.assert_allclose(last.candidates[0], last.local_from_rig[1:, :3, 3], atol=1e-4)
    counts = driver[0].statistics.snapshot()
    assert counts.sessions_open == 0 and not counts.refused
    assert counts.frames["front_wide"] == len(record.drives)


def test_a_driver_that_is_not_there_is_said_before_anything_is_driven(
    tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpamayo_ros.cli.sim._DRIVER_ANSWERS_WITHIN_S", 0.3)
    code = main(["sim", "--driver", "127.0.0.1:9", "--scenarios", "0", "--out", str(tmp_path)])
    assert code == 1 and "127.0.0.1:9" in capsys.readouterr().err


def test_a_driver_and_a_planner_are_not_both_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--driver", "127.0.0.1:9", "--planner", "constant"]) == 2
    assert "--driver: expected no planner beside it, got --planner" in capsys.readouterr().err


def test_a_driver_that_goes_ends_the_rollout_as_failed(driver: tuple[Driver, str]) -> None:
    class Going(GreyCameras):
        left = 25

        def render(
            self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
        ) -> Mapping[int, bytes]:
            self.left -= 1
            images = dict(super().render(ego, actors, camera_ids=camera_ids))
            return images if self.left else {1: b"no picture"}

    record = drive_rollout(Job("straight-0"), AttachedDriver.reach(driver[1]), Going())
    assert record.end_reason == "failed" and len(record.drives) == 24
    assert f"camera_image of '{LOGICAL_IDS[1]}'" in record.error
    assert driver[0].statistics.sessions_open == 0


@pytest.mark.parametrize("debug_info", [b"", b"\x80\x04}\x94.", b"[1, 2]", b"{", b"\xff"])
def test_debug_info_of_another_kind_says_nothing(debug_info: bytes) -> None:
    empty = (np.zeros(0, np.int64), np.zeros((0, 4, 4)))
    assert told_by(DriveAnswer(empty, debug_info=debug_info)) == {}
    assert told_by(DriveAnswer(empty, debug_info=json.dumps({"a": 1}).encode())) == {"a": 1}


def test_samples_are_brought_to_64_places_the_last_held() -> None:
    stamps_us = 1_000_000 + 200_000 * np.arange(26, dtype=np.int64)
    poses = np.tile(np.eye(4), (26, 1, 1))
    poses[:, 0, 3] = 2.0 * np.arange(26)
    (places,) = candidates_of([(stamps_us, poses)])
    np.testing.assert_allclose(places[:, 0], np.minimum(0.1 * np.arange(1, 65), 5.0) * 10.0)
    with pytest.raises(InvalidInput, match=r"sampled_trajectories\[1\]: expected poses"):
        candidates_of([(stamps_us, poses), (stamps_us[:0], poses[:0])])
