"""A session's answers: a plan where there can be one, and something that can be driven where there cannot."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from driver_factory import (
    SPEED_MPS,
    START_US,
    STEP_US,
    Drive,
    ScriptedPlanner,
    check,
    drive_session,
    egomotion,
    frame,
    info,
    pose_at,
    route,
    shade,
    sim_rig,
)

from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import Guidance
from alpamayo_ros.sim.driver.planners import ConstantPlanners
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession, Egomotion
from alpamayo_ros.sim.protocol.server import Busy, Unwanted
from alpamayo_ros.types import InvalidInput

drives: list[Drive] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while drives:
        drives.pop().close()


def begin(*args: object, **kwargs: object) -> Drive:
    drives.append(Drive(*args, **kwargs))  # type: ignore[arg-type]
    return drives[-1]


def test_from_the_first_drive_on_every_answer_can_be_driven_and_plans_come_with_the_history() -> None:
    drive = begin(history_s=0.2)
    sources = []
    for _ in range(25):
        now_us = drive.now_us
        answer = drive.step()
        check(answer, now_us)
        sources.append(info(answer)["source"])
    # 0.2 s of history at the first drive: 1.5 s are there after 13 more steps.
    assert sources == ["warm_up"] * 13 + ["plan"] * 12
    assert drive.driver.statistics.snapshot().drives == {"warm_up": 13, "plan": 12}


def test_a_plan_is_made_of_the_four_newest_pictures_and_the_poses_up_to_now() -> None:
    drive = begin()
    for _ in range(6):
        drive.step()
    seen = drive.planner.observations[-1]
    assert seen.t0_ns == (drive.now_us - STEP_US) * 1000 and seen.camera_ids == (0, 1, 2, 6)
    steps = [[shade(seen.frames_of(i)[t]) for t in range(4)] for i in seen.camera_ids]
    assert steps == [[17, 18, 19, 0]] * 4
    np.testing.assert_allclose(seen.rig_pose_in_odom_at_t0, pose_at(drive.now_us - STEP_US))
    assert seen.history_xyz_in_rig_t0[0, 0] == pytest.approx(-12.0, abs=0.1)


def test_in_a_warm_up_the_speed_is_that_of_the_poses_and_who_stands_stands() -> None:
    drive = begin(history_s=0.2)
    _, poses = drive.step().trajectory
    assert np.linalg.norm(poses[10, :3, 3] - poses[0, :3, 3]) == pytest.approx(8.0, abs=0.05)
    standing = begin(history_s=0.0)
    standing.session.add_egomotion(Egomotion(np.array([START_US + STEP_US]), pose_at(START_US)[None]))
    standing.now_us += STEP_US
    _, poses = standing.ask().trajectory
    np.testing.assert_allclose(poses, np.tile(pose_at(START_US), (65, 1, 1)))


def test_missing_pictures_hold_the_last_plan_for_a_second_and_then_stop() -> None:
    drive = begin()
    for _ in range(5):
        drive.step()
    sources = []
    for _ in range(14):
        now_us = drive.now_us
        answer = drive.step(cameras=(0, 2, 6))
        check(answer, now_us)
        sources.append(info(answer)["source"])
    assert sources == ["held_plan"] * 10 + ["stop"] * 4
    assert str(info(answer)["reason"]).endswith(
        "cross_left 0, front_wide 1400, cross_right 0, front_tele 0 ms ago"
    )
    stamps_us, poses = answer.trajectory
    speeds = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / np.diff(stamps_us) * 1e6
    assert speeds[0] == pytest.approx(8.0, abs=0.3) and speeds[-1] == 0.0
    again = [info(drive.step()) for _ in range(7)]
    assert [told["source"] for told in again] == ["stop"] * 5 + ["plan"] * 2, "three valid ones in a row"
    assert str(again[4]["reason"]).startswith("valid again, 2 in a row so far, after: observation at t0")
    assert drive.driver.statistics.snapshot().waited == 2


def test_a_camera_that_never_sends_is_no_warm_up_for_ever() -> None:
    drive = begin(history_s=0.2)
    sources = [info(drive.step(cameras=(0, 1, 2)))["source"] for _ in range(25)]
    assert sources == ["warm_up"] * 21 + ["stop"] * 4
    last = drive.driver.statistics.snapshot().last_problem
    assert last == "stop: expected frames of every camera, got none of front_tele"


def test_late_pictures_give_a_plan_of_an_older_t0_from_now_on() -> None:
    drive = begin()
    for _ in range(5):
        drive.step()
    for camera_id in (0, 1, 2, 6):  # of 60 ms before
        drive.session.add_frame(frame(camera_id, drive.now_us - 60_000))
    drive.session.add_egomotion(egomotion(drive.now_us))
    answer = drive.ask()
    check(answer, drive.now_us)
    assert info(answer)["source"] == "plan"
    assert info(answer)["t0_us"] == drive.now_us - 60_000
    stamps_us, poses = answer.trajectory
    assert stamps_us[1] == drive.now_us + 40_000
    ahead = np.linalg.norm(poses[1, :3, 3] - poses[0, :3, 3])
    assert ahead == pytest.approx(SPEED_MPS * 0.04, abs=0.02)


def test_every_answer_has_as_many_samples_from_the_first_on() -> None:
    drive = begin(ScriptedPlanner(num_samples=4), history_s=0.2)
    sources = set()
    for index in range(40):
        now_us = drive.now_us
        answer = drive.step(cameras=(0, 1, 2, 6) if index < 20 else ())
        check(answer, now_us)
        assert len(answer.samples) == 4
        sources.add(info(answer)["source"])
    assert sources == {"warm_up", "plan", "held_plan", "stop"}


def test_navigation_is_told_in_the_prompt_where_it_is_wanted_and_the_route_is_new() -> None:
    drive = begin()
    for _ in range(4):
        drive.step()
    drive.step(turn=True)
    assert [o.instruction for o in drive.planner.observations] == ["Continue straight", "Turn left in 30m"]
    off = begin(settings=DriverSettings(navigation="off"))
    for _ in range(5):
        answer = off.step(turn=True)
    assert [o.instruction for o in off.planner.observations] == [None, None]
    assert info(answer)["command_name"] == "LEFT", "what the route says is known all the same"
    old = begin()
    old.session.set_route(route(old.now_us - 1_100_000))
    for _ in range(4):
        for camera_id in (0, 1, 2, 6):
            old.session.add_frame(frame(camera_id, old.now_us))
        old.session.add_egomotion(egomotion(old.now_us))
        answer = old.ask()
        old.now_us += STEP_US
    assert old.planner.observations[-1].instruction is None and info(answer)["command_name"] == "UNKNOWN"


def test_a_model_without_navigation_gets_no_text_and_cannot_be_made_to() -> None:
    driver = Driver(ConstantPlanners(), sim_rig())
    assert not driver.navigates
    driver.close()
    with pytest.raises(InvalidInput, match="expected a model that takes navigation text, got constant"):
        Driver(ConstantPlanners(), sim_rig(), DriverSettings(navigation="on"))


def test_the_same_question_gets_the_same_answer_and_time_does_not_go_back() -> None:
    drive = begin()
    drive.tell()
    answer = drive.ask()
    assert drive.ask() is answer and len(drive.planner.observations) <= 1
    drive.now_us -= STEP_US
    with pytest.raises(InvalidInput, match=r"time_now_us: expected .* or later"):
        drive.ask()


def test_without_a_pose_there_is_no_answer() -> None:
    driver = Driver(ConstantPlanners(), sim_rig())
    session = driver.start(drive_session())
    with pytest.raises(InvalidInput, match="egomotion: expected a pose at or before"):
        session.drive(START_US, START_US, still_wanted=lambda: True)
    session.add_egomotion(egomotion(START_US))
    check(session.drive(START_US, START_US, still_wanted=lambda: True), START_US)
    session.close()
    driver.close()


def test_whose_client_has_gone_is_not_planned_for() -> None:
    drive = begin()
    for _ in range(4):
        drive.step()
    drive.tell()
    planned = len(drive.planner.observations)
    with pytest.raises(Unwanted):
        drive.session.drive(drive.now_us, drive.now_us, still_wanted=lambda: False)
    assert len(drive.planner.observations) == planned
    assert info(drive.ask())["source"] == "plan"


def test_seeds_are_the_sessions_or_fixed() -> None:
    drive = begin()
    fixed = begin(settings=DriverSettings(seed=99))
    assert drive.planners.seeds == (7,) and fixed.planners.seeds == (99,)


def test_there_is_room_for_so_many_sessions_and_closing_one_makes_room() -> None:
    drive = begin(settings=DriverSettings(max_sessions=2))
    second = drive.driver.start(drive_session("2"))
    with pytest.raises(Busy, match="expected at most 2 sessions"):
        drive.driver.start(drive_session("3"))
    assert drive.driver.statistics.snapshot().refused == {"session_busy": 1}
    second.close()
    third = drive.driver.start(drive_session("3"))
    assert drive.driver.statistics.sessions_open == 2
    third.close()
    assert drive.planner.closed == 2


class Watcher:
    """Writes down what it is told; breaks where it is told to."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.told: list[str] = []
        self.outcomes: list[DriveOutcome] = []
        self.breaks = breaks

    def opened(self, session: DriveSession) -> Watcher:
        self.told.append("opened")
        return self

    def _note(self, what: str) -> None:
        self.told.append(what)
        if self.breaks:
            raise RuntimeError(what)

    def frame(self, camera_id: int, stamp_us: int, image_bytes: bytes) -> None:
        self._note(f"frame {camera_id}")

    def egomotion(self, egomotion: Egomotion) -> None:
        self._note("egomotion")

    def route(self, time_us: int, guidance: Guidance) -> None:
        self._note(f"route {guidance.maneuver}")

    def driving(self, now_us: int) -> None:
        self._note("driving")

    def drove(self, outcome: DriveOutcome) -> None:
        self.outcomes.append(outcome)
        self._note(f"drove {outcome.source}")

    def close(self) -> None:
        self._note("close")


@pytest.mark.parametrize("breaks", [False, True])
def test_a_watcher_is_told_of_everything_and_what_it_breaks_is_its_own(breaks: bool) -> None:
    watcher = Watcher(breaks=breaks)
    drive = Drive(watcher=watcher)
    answer = drive.step()
    check(answer, drive.now_us - STEP_US)
    drive.close()
    frames = [f"frame {camera_id}" for camera_id in (0, 1, 2, 6)]
    step = [*frames, "egomotion", "route straight", "driving", "drove warm_up"]
    assert watcher.told == ["opened", "egomotion", *step, "close"]
    assert watcher.outcomes[0].total_ms > 0.0
    refused = drive.driver.statistics.snapshot().refused
    assert refused == ({"watcher": len(watcher.told) - 1} if breaks else {})
