"""Replays over gRPC: the runtime's order, drivers that break it on the wire, sessions held to one alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_driver import ScriptedDriver, serving

from alpamayo_ros.sim.protocol.asl import read_entries, write_entries
from alpamayo_ros.sim.protocol.channel import ServiceError
from alpamayo_ros.sim.protocol.generated import egodriver_pb2, logging_pb2
from alpamayo_ros.sim.replay.answers_log import write_answers
from alpamayo_ros.sim.replay.calls import DriverLog, read_driver_log
from alpamayo_ros.sim.replay.run import replay_log
from alpamayo_ros.sim.replay.session import ReplayOptions, call_order
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> Path:
    return golden_dir / "alpasim" / "rollout.asl"


@pytest.fixture(scope="module")
def log(recorded: Path) -> DriverLog:
    return read_driver_log(recorded)


@pytest.fixture
def driver() -> ScriptedDriver:
    return ScriptedDriver()


@pytest.fixture
def address(driver: ScriptedDriver) -> Iterator[str]:
    with serving(driver) as address:
        yield address


def rules(report: Any) -> set[str]:
    return {finding.rule for finding in report.findings}


def replayed(driver: ScriptedDriver) -> list[list[str]]:
    """Return the calls of each session that was told pictures, in the order in which they came."""
    return [order for order in driver.orders.values() if len(order) > 10]


# The log.


def test_steps_hold_what_was_told_before_each_drive(log: DriverLog) -> None:
    assert log.drives == 30 and len(log.steps) == 31 and log.cut_off == ""
    for step in log.steps[:-1]:
        assert step.request is not None and step.newest_rig is not None
        assert step.newest_rig.timestamp_us == step.request.time_now_us
        assert Counter(call.method for call in step.told) == {
            "submit_image_observation": 4,
            "submit_egomotion_observation": 1,
            "submit_route": 1,
        }
    last = log.steps[-1]
    assert last.request is None and {call.method for call in last.told} == {"submit_image_observation"}


@pytest.mark.parametrize(
    ("what", "method"), [("images", "submit_image_observation"), ("route", "submit_route")]
)
def test_what_is_left_out_is_not_told(recorded: Path, what: str, method: str) -> None:
    log = read_driver_log(recorded, without=[what])
    assert log.drives == 30 and method not in {call.method for step in log.steps for call in step.told}


def test_a_log_that_is_cut_off_is_replayed_as_far_as_it_goes(recorded: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.asl"
    cut.write_bytes(recorded.read_bytes()[:-500_000])
    log = read_driver_log(cut)
    assert 0 < log.drives < 30 and "got the last" in log.cut_off


def test_the_newest_pose_is_none_of_the_future(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "early.asl"
    entries = list(read_entries(recorded))
    for entry in entries:
        if entry.WhichOneof("log_entry") == "driver_ego_trajectory":
            poses = entry.driver_ego_trajectory.trajectory.poses
            poses.add(pose=poses[-1].pose, timestamp_us=poses[-1].timestamp_us + 50_000)
    write_entries(path, entries)
    for step in read_driver_log(path).steps[:-1]:
        assert step.request is not None and step.newest_rig is not None
        assert step.newest_rig.timestamp_us == step.request.time_now_us


@pytest.mark.parametrize("kind", ["driver_session_request", "driver_request"])
def test_a_log_without_a_driver_is_refused(recorded: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bare.asl"
    write_entries(path, (e for e in read_entries(recorded) if e.WhichOneof("log_entry") != kind))
    with pytest.raises(InvalidInput, match=f"expected a {kind}"):
        read_driver_log(path)


def test_two_sessions_in_a_log_are_refused(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.asl"
    entries = list(read_entries(recorded))
    write_entries(path, entries + entries)
    with pytest.raises(InvalidInput, match="one driver_session_request"):
        read_driver_log(path)


def test_unknown_things_to_leave_out_are_refused(recorded: Path) -> None:
    with pytest.raises(InvalidInput, match="without: expected images"):
        read_driver_log(recorded, without=["egomotion"])


# The order of calls.


def test_calls_come_in_the_runtimes_order(log: DriverLog, driver: ScriptedDriver, address: str) -> None:
    report = replay_log(log, address)
    assert report.passes(strict=True), report.findings
    assert (report.version, report.answers, report.drives) == ("scripted", 30, 30)
    (order,) = replayed(driver)
    assert order[0] == "start_session" and order[-1] == "close_session"
    steps = " ".join(order[1:-1]).split(" drive ")
    assert len(steps) == 31
    cameras = ["camera_cross_left_120fov", "camera_cross_right_120fov"]
    cameras += ["camera_front_tele_30fov", "camera_front_wide_120fov"]
    for step in steps[:-1]:
        assert sorted(step.split()) == [*cameras, "submit_egomotion_observation", "submit_route"]
    assert sorted(steps[-1].split()) == cameras


def test_drive_waits_for_all_that_is_told(log: DriverLog, driver: ScriptedDriver, address: str) -> None:
    taken: list[int] = []
    driver.on_route = lambda: time.sleep(0.02)
    driver.spoil = lambda answer: taken.append(driver.told["route taken"])
    assert replay_log(log, address).passes()
    assert taken == list(range(1, 31))


def test_the_order_of_a_steps_calls_is_drawn(log: DriverLog) -> None:
    def orders(shuffle_seed: int, session: int) -> list[list[int]]:
        return [
            [step.told.index(call) for call in call_order(step, shuffle_seed=shuffle_seed, session=session)]
            for step in log.steps
        ]

    drawn = orders(0, 0)
    assert drawn == orders(0, 0) and drawn != orders(0, 1) and drawn != orders(1, 0)
    assert all(sorted(order) == list(range(len(order))) for order in drawn)
    assert {order[0] for order in drawn} == set(range(6)), "any of a step's calls may be the first"


def test_sessions_at_once_have_ids_of_their_own(log: DriverLog, driver: ScriptedDriver, address: str) -> None:
    report = replay_log(log, address, sessions=3, repeat=2, options=ReplayOptions(random_seed=7))
    assert report.passes(strict=True), report.findings
    assert len(replayed(driver)) == 6 and driver.most_at_once == 3
    assert [record.number for record in report.records] == list(range(6))
    assert report.answers == report.drives == 180 and report.latency is not None
    assert report.latency.count == 180 and report.latency.p50_ms <= report.latency.max_ms
    assert driver.seeds[-1] == 7


def test_the_recorded_seed_is_kept(log: DriverLog, driver: ScriptedDriver, address: str) -> None:
    replay_log(log, address)
    assert driver.seeds[-1] == log.session.random_seed != 0


def test_ground_truth_is_told_where_the_log_has_it(
    recorded: Path, tmp_path: Path, driver: ScriptedDriver, address: str
) -> None:
    path = tmp_path / "truth.asl"
    entries = list(read_entries(recorded))
    truth = egodriver_pb2.GroundTruthRequest(ground_truth=egodriver_pb2.GroundTruth(timestamp_us=1))
    first = [e.WhichOneof("log_entry") for e in entries].index("driver_camera_image")
    entries.insert(first, logging_pb2.LogEntry(ground_truth_request=truth))
    write_entries(path, entries)
    assert replay_log(read_driver_log(path), address).passes(strict=True)
    assert driver.told["submit_recording_ground_truth"] == 1
    without = read_driver_log(path, without=["ground-truth"])
    assert replay_log(without, address).passes(strict=True)
    assert driver.told["submit_recording_ground_truth"] == 1


# Drivers that break a rule on the wire.


@pytest.mark.parametrize(
    ("method", "rule", "times"),
    [
        ("get_version", "version", 1),
        ("start_session", "start_session", 2),
        ("submit_image_observation", "told", 248),
        ("submit_egomotion_observation", "told", 60),
        ("submit_route", "told", 60),
        ("drive", "answered", 60),
        ("close_session", "close_session", 2),
    ],
)
def test_a_method_that_fails_is_a_finding(
    log: DriverLog, driver: ScriptedDriver, address: str, method: str, rule: str, times: int
) -> None:
    driver.refuse = {method}
    report = replay_log(log, address, sessions=2)
    found = [finding for finding in report.findings if finding.rule == rule]
    assert len(found) == times and not report.passes()
    assert all("INTERNAL" in finding.got and "broken on purpose" in finding.got for finding in found)
    assert report.broken()[rule] == (times, found[0])


def test_a_finding_says_in_which_step_of_which_session(
    log: DriverLog, driver: ScriptedDriver, address: str
) -> None:
    wrong_us = log.steps[11].request.time_now_us  # type: ignore[union-attr]

    def spoil(answer: egodriver_pb2.DriveResponse) -> None:
        if answer.trajectory.poses[0].timestamp_us == wrong_us:
            answer.trajectory.poses[4].pose.vec.x = float("nan")

    driver.spoil = spoil
    report = replay_log(log, address, sessions=2)
    assert [(f.rule, f.session, f.step, f.now_us) for f in report.findings] == [
        ("finite", 0, 11, wrong_us),
        ("finite", 1, 11, wrong_us),
    ]


def test_a_driver_that_answers_mistakes_is_warned_of(
    log: DriverLog, driver: ScriptedDriver, address: str
) -> None:
    driver.lenient = True
    report = replay_log(log, address)
    assert rules(report) == {"repeated_start", "unknown_session"}
    assert report.passes() and not report.passes(strict=True)


def test_a_driver_that_hangs_is_given_up_where_there_is_a_deadline(
    log: DriverLog, driver: ScriptedDriver, address: str
) -> None:
    go_on = threading.Event()

    def hang(answer: egodriver_pb2.DriveResponse) -> None:
        go_on.wait(20)

    driver.spoil = hang
    short = DriverLog(log.path, log.session, log.steps[:2])
    report = replay_log(short, address, options=ReplayOptions(timeout_s=0.3))
    go_on.set()
    assert rules(report) == {"answered"} and report.answers == 0 and report.latency is None
    assert "DEADLINE_EXCEEDED" in report.findings[0].got


def test_an_answer_over_4_mb_is_a_finding(log: DriverLog, driver: ScriptedDriver, address: str) -> None:
    def spoil(answer: egodriver_pb2.DriveResponse) -> None:
        answer.debug_info.unstructured_debug_info = b'{"text": "' + b"x" * 2**22 + b'"}'

    driver.spoil = spoil
    short = DriverLog(log.path, log.session, log.steps[:2])
    assert rules(replay_log(short, address)) == {"size"}


def test_nobody_who_listens_is_said_so(log: DriverLog, address: str) -> None:
    with serving(ScriptedDriver()) as gone:
        pass
    with pytest.raises(ServiceError, match="nothing answers at"):
        replay_log(log, gone, connect_timeout_s=0.2)


@pytest.mark.parametrize("name", ["sessions", "repeat"])
def test_numbers_below_one_are_refused(log: DriverLog, name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: expected at least 1, got 0"):
        replay_log(log, "127.0.0.1:1", **{name: 0})  # type: ignore[arg-type]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidInput, match="random_seed: expected 0"):
        ReplayOptions(random_seed=-1)
    with pytest.raises(InvalidInput, match="timeout_s: expected a positive"):
        ReplayOptions(timeout_s=0.0)


# Sessions held to one that was alone.


def test_the_same_answers_pass(log: DriverLog, address: str) -> None:
    report = replay_log(log, address, sessions=4, compare=True)
    assert report.compared and report.passes(strict=True), report.findings


STEPS = itertools.count(1)
"""No two answers differ by the same, or by less than a float32 position can hold."""


def move(answer: egodriver_pb2.DriveResponse) -> None:
    answer.trajectory.poses[30].pose.vec.x += 1e-3 * next(STEPS)


def move_a_sample(answer: egodriver_pb2.DriveResponse) -> None:
    answer.debug_info.sampled_trajectories[1].poses[30].pose.vec.x += 1e-3 * next(STEPS)


def think_otherwise(answer: egodriver_pb2.DriveResponse) -> None:
    answer.debug_info.unstructured_debug_info = b'{"reasoning_text": "%f"}' % next(STEPS)


def take_another_time(answer: egodriver_pb2.DriveResponse) -> None:
    answer.debug_info.unstructured_debug_info = b'{"reasoning_text": "", "ms": %f}' % next(STEPS)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (move, "trajectory"),
        (move_a_sample, "samples"),
        (think_otherwise, "reasoning"),
        (take_another_time, ""),
    ],
)
def test_other_answers_than_alone_are_findings(
    log: DriverLog, driver: ScriptedDriver, address: str, spoil: Any, what: str
) -> None:
    driver.spoil = spoil
    report = replay_log(log, address, sessions=2, compare=True)
    if not what:
        assert report.passes(strict=True), report.findings
        return
    assert rules(report) == {"same_answers"} and len(report.findings) >= 58
    assert {finding.got for finding in report.findings} == {f"other {what}"}


def test_nothing_to_compare_with_is_a_finding(log: DriverLog, driver: ScriptedDriver, address: str) -> None:
    driver.refuse = {"drive"}
    report = replay_log(log, address, compare=True)
    assert rules(report) == {"answered", "same_answers", "unknown_session"}
    assert "0 of 30 answers in a session driven alone" in report.broken()["same_answers"][1].got


# The log with the answers.


def test_answers_take_the_place_of_the_recorded_ones(
    recorded: Path, tmp_path: Path, log: DriverLog, address: str
) -> None:
    out = tmp_path / "answers.asl"
    report = replay_log(log, address, options=ReplayOptions(random_seed=5))
    record = report.records[0]
    del record.answers[3]
    write_answers(out, recorded=recorded, record=record, random_seed=5)
    kinds = [entry.WhichOneof("log_entry") for entry in read_entries(recorded)]
    written = list(read_entries(out))
    answers = [e.driver_return for e in written if e.WhichOneof("log_entry") == "driver_return"]
    assert answers == [record.answers[step] for step in range(30) if step != 3]
    third = [index for index, kind in enumerate(kinds) if kind == "driver_return"][3]
    assert [e.WhichOneof("log_entry") for e in written] == kinds[:third] + kinds[third + 1 :]
    (session,) = (e for e in written if e.WhichOneof("log_entry") == "driver_session_request")
    assert session.driver_session_request.random_seed == 5


def test_the_replayed_log_is_never_written_over(
    recorded: Path, tmp_path: Path, log: DriverLog, address: str
) -> None:
    record = replay_log(log, address).records[0]
    with pytest.raises(InvalidInput, match="out: expected another file"):
        write_answers(recorded, recorded=recorded, record=record, random_seed=None)
    with pytest.raises(InvalidInput, match="out: expected a file that can be written"):
        write_answers(tmp_path / "no" / "x.asl", recorded=recorded, record=record, random_seed=None)
