"""What a session is told: in any order, with what does not belong refused by name or ignored and counted."""

from __future__ import annotations

import random
from dataclasses import replace

import cv2
import numpy as np
import pytest
from driver_factory import (
    START_US,
    STEP_US,
    drive_session,
    egomotion,
    frame,
    picture,
    pose_at,
    route,
    shade,
    sim_rig,
)

from alpamayo_ros.sensing.rig import ModelCamera, Rig, nominal_model
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.driver.inputs import Lacking, SessionInputs
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.protocol.convert import RigMotion, camera_model
from alpamayo_ros.sim.protocol.egodriver_messages import CameraFrame, DriveSession, Egomotion
from alpamayo_ros.types import InvalidInput, Observation

NOW_US = START_US + 2_000_000


def inputs(
    settings: DriverSettings | None = None, *, session: DriveSession | None = None, rig: Rig | None = None
):
    told: list[str] = []
    made = SessionInputs(
        session or drive_session(),
        rig=rig or sim_rig(),
        settings=settings or DriverSettings(),
        prepare_frame=None,
        ignored=told.append,
    )
    return made, told


def test_the_order_of_arrival_does_not_matter() -> None:
    calls = [frame(i, NOW_US - k * STEP_US) for i in (0, 1, 2, 6) for k in range(5)]
    poses = [egomotion(NOW_US - k * STEP_US) for k in range(20)]
    seen: list[Observation] = []
    for seed in range(5):
        made, _ = inputs()
        order = [*calls, *poses]
        random.Random(seed).shuffle(order)
        for each in order:
            made.add_frame(each) if isinstance(each, CameraFrame) else made.add_egomotion(each)
        observation = made.observe(NOW_US, instruction="Continue straight")
        assert isinstance(observation, Observation)
        seen.append(observation)
    for other in seen[1:]:
        np.testing.assert_array_equal(other.frames, seen[0].frames)
        np.testing.assert_array_equal(other.frame_stamps_ns, seen[0].frame_stamps_ns)
        np.testing.assert_array_equal(other.history_xyz_in_rig_t0, seen[0].history_xyz_in_rig_t0)
    assert seen[0].t0_ns == NOW_US * 1000 and seen[0].instruction == "Continue straight"


def test_pictures_and_poses_of_later_than_now_are_not_seen() -> None:
    made, _ = inputs()
    for camera_id in (0, 1, 2, 6):
        for k in range(-2, 4):
            made.add_frame(frame(camera_id, NOW_US - k * STEP_US))
    made.add_egomotion(egomotion(*range(START_US, NOW_US + 300_000, STEP_US)))
    observation = made.observe(NOW_US, instruction="")
    assert isinstance(observation, Observation)
    assert observation.t0_ns == NOW_US * 1000 and observation.instruction is None
    assert shade(observation.frames_of(1)[3]) == 0  # 20 steps after the start
    np.testing.assert_allclose(made.ego_at(NOW_US).local_from_rig, pose_at(NOW_US))


def test_cameras_that_the_rig_does_not_use_are_ignored_and_named() -> None:
    made, told = inputs()
    assert made.add_frame(frame(3, NOW_US)) is None
    assert made.add_frame(replace(frame(1, NOW_US), logical_id="dashcam")) is None
    assert made.add_frame(frame(4, NOW_US, b"not even a picture")) is None
    assert told == [LOGICAL_IDS[3], "dashcam", LOGICAL_IDS[4]]
    assert made.add_frame(frame(1, NOW_US)) == 1
    assert made.add_frame(frame(1, NOW_US)) is None, "the same again is of no use"


def test_cameras_may_be_called_otherwise() -> None:
    session = drive_session()
    cameras = {("wide" if name == LOGICAL_IDS[1] else name): c for name, c in session.cameras.items()}
    made, told = inputs(DriverSettings(cameras={"wide": 1}), session=replace(session, cameras=cameras))
    assert made.add_frame(replace(frame(1, NOW_US), logical_id="wide")) == 1
    assert made.add_frame(frame(1, NOW_US)) is None
    assert told == [LOGICAL_IDS[1]], "the usual name means another camera now, if any"


def test_a_vehicle_without_a_camera_of_the_rig_is_refused_by_name() -> None:
    session = drive_session()
    cameras = {name: camera for name, camera in session.cameras.items() if "tele_30" not in name}
    with pytest.raises(InvalidInput, match="got none called camera_front_tele_30fov, but camera_cross_left"):
        inputs(session=replace(session, cameras=cameras))
    inputs(session=replace(session, cameras={}))  # a client that does not say


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (b"\xff\xd8\xff\xe0 and so on", "expected a JPEG or PNG"),
        (picture()[:-40], "expected"),
        (b"GIF89a" + bytes(50), "expected a JPEG or PNG"),
        (picture(width=400, height=300), r"expected at most 100000 pixels, got 400x300"),
        (picture() + bytes(60_000), "expected at most 50000 bytes, got 6"),
    ],
)
def test_a_picture_that_is_none_or_too_large_is_refused_and_disturbs_nothing(
    image: bytes, problem: str
) -> None:
    made, _ = inputs(DriverSettings(max_image_pixels=100_000, max_image_bytes=50_000))
    for k in range(4):
        for camera_id in (0, 1, 2, 6):
            made.add_frame(frame(camera_id, NOW_US - k * STEP_US))
    made.add_egomotion(egomotion(*range(START_US, NOW_US + 1, STEP_US)))
    with pytest.raises(InvalidInput, match=problem) as refused:
        made.add_frame(frame(1, NOW_US + STEP_US, image))
    assert LOGICAL_IDS[1] in str(refused.value)
    assert isinstance(made.observe(NOW_US, instruction=""), Observation)


def test_a_huge_picture_is_refused_by_its_header_before_memory_is_taken() -> None:
    header = picture(suffix=".png")
    huge = header[:16] + (50_000).to_bytes(4, "big") * 2 + header[24:]
    made, _ = inputs()
    with pytest.raises(InvalidInput, match="expected at most 40000000 pixels, got 50000x50000"):
        made.add_frame(frame(1, NOW_US, huge))


def test_frames_that_change_size_are_told_not_mixed() -> None:
    made, _ = inputs()
    for camera_id in (0, 1, 2, 6):
        for k in range(4):
            width = 32 if camera_id == 2 and k == 0 else 64
            made.add_frame(frame(camera_id, NOW_US - k * STEP_US, picture(width=width)))
    made.add_egomotion(egomotion(*range(START_US, NOW_US + 1, STEP_US)))
    lacking = made.observe(NOW_US, instruction="")
    assert isinstance(lacking, Lacking) and not lacking.starting
    assert "cross_right: expected four frames of one size" in lacking.reason


def test_a_rig_may_warp_with_the_lens_of_the_session() -> None:
    rig = sim_rig()
    target = ModelCamera(nominal_model(1, width=96, height=54))
    cameras = tuple(
        replace(camera, model_camera=target, intrinsics=None) if camera.camera_id == 1 else camera
        for camera in rig.cameras
    )
    made, _ = inputs(rig=replace(rig, cameras=cameras))
    lens = camera_model(drive_session().cameras[LOGICAL_IDS[1]].intrinsics).scaled_to(192, 108)
    pixels = np.zeros((108, 192, 3), np.uint8)
    (u, v), _ = lens.project(np.array([[0.3, 0.1, 1.0]]))[0][0], None
    cv2.circle(pixels, (round(float(u)), round(float(v))), 4, (255, 255, 255), -1)
    for camera_id in (0, 1, 2, 6):
        for k in range(4):
            image = bytes(cv2.imencode(".png", pixels)[1].tobytes()) if camera_id == 1 else None
            made.add_frame(frame(camera_id, NOW_US - k * STEP_US, image))
    made.add_egomotion(egomotion(*range(START_US, NOW_US + 1, STEP_US)))
    observation = made.observe(NOW_US, instruction="")
    assert isinstance(observation, Observation)
    warped = observation.frames_of(1)[3]
    assert warped.shape == (3, 54, 96)
    bright = np.argwhere(warped[0] > 128).mean(axis=0)
    expected = target.model.project(np.array([[0.3, 0.1, 1.0]]))[0][0]
    np.testing.assert_allclose(bright[::-1], expected, atol=1.0)


def test_speed_comes_from_the_poses_and_a_pose_in_between_is_interpolated() -> None:
    made, _ = inputs()
    made.add_egomotion(egomotion(*range(START_US, NOW_US + 1, STEP_US)))
    ego = made.ego_at(NOW_US)
    assert ego.speed_mps == pytest.approx(8.0, abs=0.02) and ego.yaw_rate_radps == pytest.approx(0.1)
    between = made.ego_at(NOW_US - 40_000)
    np.testing.assert_allclose(between.local_from_rig, pose_at(NOW_US - 40_000), atol=2e-3)
    held = made.ego_at(NOW_US + 50_000)
    np.testing.assert_allclose(held.local_from_rig, pose_at(NOW_US))
    with pytest.raises(InvalidInput, match="expected a pose at or before"):
        made.ego_at(START_US - 1)


def test_of_two_poses_with_one_stamp_the_first_stays_and_older_ones_may_come_late() -> None:
    made, _ = inputs()
    made.add_egomotion(egomotion(NOW_US))
    made.add_egomotion(Egomotion(np.array([NOW_US]), pose_at(NOW_US + 500_000)[None]))
    made.add_egomotion(egomotion(NOW_US - 2 * STEP_US, NOW_US - STEP_US))
    np.testing.assert_allclose(made.ego_at(NOW_US).local_from_rig, pose_at(NOW_US))
    assert made.ego_at(NOW_US).speed_mps == pytest.approx(8.0, abs=0.02)


def test_the_newest_route_by_now_counts_for_a_second() -> None:
    made, _ = inputs()
    assert made.guidance_at(NOW_US) is None
    made.add_route(route(NOW_US, turn_at_m=40.0))
    made.add_route(route(NOW_US - STEP_US))
    made.add_route(route(NOW_US + STEP_US))
    guidance = made.guidance_at(NOW_US)
    assert guidance is not None and guidance.maneuver == "left"
    assert made.guidance_at(NOW_US - 1).instruction == "Continue straight"  # type: ignore[union-attr]
    assert made.guidance_at(NOW_US + STEP_US + 1_000_001) is None


def test_memory_does_not_grow_with_what_was_told() -> None:
    made, _ = inputs()
    kept = []
    for k in range(40):
        for camera_id in (0, 1, 2, 6):
            made.add_frame(frame(camera_id, NOW_US + k * STEP_US))
        made.add_egomotion(egomotion(NOW_US + k * STEP_US))
        made.add_route(route(NOW_US + k * STEP_US))
        kept.append(sum(len(buffer) for buffer in made._frames.values()))
    assert max(kept) == kept[-1] == 4 * 7
    assert len(made._routes) == 16


def test_pictures_that_come_again_or_from_long_ago_are_counted_and_change_nothing() -> None:
    made, ignored = inputs()
    for stamp_us in (NOW_US, NOW_US, NOW_US - 1_000_000):
        made.add_frame(frame(1, stamp_us))
    assert ignored == [f"{LOGICAL_IDS[1]}, again", f"{LOGICAL_IDS[1]}, too old"]


@pytest.mark.parametrize("stamp_us", [2**63 - 1, 2**62])
def test_stamps_that_no_clock_gives_are_refused(stamp_us: int) -> None:
    made, _ = inputs()
    made.add_egomotion(egomotion(NOW_US))
    with pytest.raises(InvalidInput, match=f"frame_end_us: expected a stamp in us .* got {stamp_us}"):
        made.add_frame(frame(1, stamp_us, picture()))
    with pytest.raises(InvalidInput, match=f"timestamp_us: expected a stamp in us .* got {stamp_us}"):
        made.add_egomotion(Egomotion(np.array([stamp_us]), pose_at(NOW_US)[None]))
    with pytest.raises(InvalidInput, match=f"time_now_us: expected a stamp in us .* got {stamp_us}"):
        made.ego_at(stamp_us)
    np.testing.assert_array_equal(made.ego_at(NOW_US).local_from_rig, pose_at(NOW_US))


def test_the_speed_is_the_clients_and_the_poses_while_that_is_zero() -> None:
    made, _ = inputs()
    stamps = range(START_US, NOW_US + 1, STEP_US)
    for stamp in stamps:  # the recording is followed for a second, and nothing is said of velocities
        told = RigMotion() if stamp < START_US + 1_000_000 else RigMotion((8.4, 0.0, 0.0), (0.0, 0.0, 0.2))
        made.add_egomotion(Egomotion(np.array([stamp]), pose_at(stamp)[None], (told,)))
    followed, driven = made.motion_at(START_US + 500_000), made.motion_at(NOW_US)
    assert followed is not None and driven is not None
    assert followed.speed_mps == pytest.approx(8.0, abs=0.01) and not followed.measured
    assert (driven.speed_mps, driven.yaw_rate_radps, driven.measured) == (8.4, 0.2, True)
    assert made.motion_at(NOW_US + 1) is None
    later = made.state_at(made.ego_at(NOW_US + 300_000))  # the newest pose and motion are held
    np.testing.assert_array_equal(later.odom_from_rig, pose_at(NOW_US))
    assert (later.stamp_ns, later.speed_mps) == ((NOW_US + 300_000) * 1000, 8.4)


def test_a_recording_may_begin_at_0() -> None:
    made, ignored = inputs()
    made.add_egomotion(egomotion(0, STEP_US, 2 * STEP_US))
    made.add_egomotion(egomotion(0))
    assert (
        made.add_frame(frame(1, 0, picture())) is None and made.add_frame(frame(1, STEP_US, picture())) == 1
    )
    np.testing.assert_array_equal(made.ego_at(2 * STEP_US).local_from_rig, pose_at(2 * STEP_US))
    assert ignored == ["egomotion, at 0 us"] * 2 + [f"{LOGICAL_IDS[1]}, at 0 us"]
    with pytest.raises(InvalidInput, match="time_now_us: expected a stamp in us from 1"):
        made.ego_at(0)
