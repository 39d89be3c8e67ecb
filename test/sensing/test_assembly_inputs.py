"""What an assembler is given: other body frames, jumps of the clock, bad input, several threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sensing_events import (
    MS,
    START_NS,
    Arc,
    Drive,
    S,
    feed,
    frame_of,
    make_rig,
    steady,
    take_all,
    ticks,
)

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sensing.stamped_buffer import Added
from alpamayo_ros.sensing.timing import BackwardJump, ObservationRefused, TimingConfig
from alpamayo_ros.types import InvalidInput

# --- odometry of other body frames ---------------------------------------------------------------


def rig_from_imu() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [5, -3, 90], degrees=True).as_matrix()
    matrix[:3, 3] = [1.2, -0.4, 0.9]
    return matrix


@pytest.mark.parametrize("said_by", ["rig file", "tf"])
def test_odometry_of_another_body_frame_is_brought_to_the_rig(said_by: str) -> None:
    expected = feed(ObservationAssembler(make_rig()), steady()).observations[-1]
    poses = {"imu_link": rig_from_imu()}
    assembler = ObservationAssembler(make_rig(rig_from_child=poses) if said_by == "rig file" else make_rig())
    if said_by == "tf":
        assembler.set_rig_from_child("imu_link", rig_from_imu())
    drive = Drive()
    for event in sorted(steady()):
        if event.source == "odometry":
            imu_in_odom = Arc().pose((event.stamp_ns - START_NS) / S) @ rig_from_imu()
            assembler.add_odometry(event.stamp_ns, imu_in_odom, child_frame="/imu_link")
        else:
            assembler.add_frame(event.camera_id, event.stamp_ns, frame_of(event.camera_id, event.stamp_ns))
        take_all(assembler, event.arrival_ns, drive)
    result = drive.observations[-1]
    np.testing.assert_allclose(result.history_xyz_in_rig_t0, expected.history_xyz_in_rig_t0, atol=1e-4)
    np.testing.assert_allclose(result.history_rot_in_rig_t0, expected.history_rot_in_rig_t0, atol=1e-6)
    np.testing.assert_allclose(result.rig_pose_in_odom_at_t0, expected.rig_pose_in_odom_at_t0, atol=1e-9)


@pytest.mark.parametrize("child", ["imu_link", "", "/"])
def test_odometry_of_an_unknown_body_frame_is_refused(rig: Rig, child: str) -> None:
    assembler = ObservationAssembler(rig)
    with pytest.raises(
        ObservationRefused, match="expected poses of one of the body frames base_link, got"
    ) as info:
        assembler.add_odometry(START_NS, np.eye(4), child_frame=child)
    assert info.value.reason == f"odometry_frame/{child.strip('/') or 'unnamed'}"
    assert info.value.t0_ns == START_NS
    assert assembler.odometry_statistics().rejected == 1


def test_the_rig_file_goes_before_tf() -> None:
    assembler = ObservationAssembler(make_rig(rig_from_child={"imu_link": rig_from_imu()}))
    assembler.set_rig_from_child("imu_link", np.eye(4))
    events = sorted(steady(2.0))
    drive = Drive()
    for event in events:
        if event.source == "odometry":
            assembler.add_odometry(event.stamp_ns, rig_from_imu(), child_frame="imu_link")
        else:
            assembler.add_frame(event.camera_id, event.stamp_ns, frame_of(event.camera_id, event.stamp_ns))
        take_all(assembler, event.arrival_ns, drive)
    np.testing.assert_allclose(drive.observations[-1].rig_pose_in_odom_at_t0, np.eye(4), atol=1e-12)


# --- jumps, order, bad input ---------------------------------------------------------------------


@pytest.mark.parametrize("source", ["camera", "odometry"])
def test_a_backward_jump_clears_everything_and_is_reported(rig: Rig, source: str) -> None:
    jumps: list[BackwardJump] = []
    assembler = ObservationAssembler(rig, on_backward_jump=jumps.append)
    assembler.set_instruction("Turn left in 30m")
    feed(assembler, steady(3.0))
    epoch = assembler.epoch
    assert assembler.newest() is not None
    if source == "camera":
        assembler.add_frame(6, START_NS, frame_of(6, START_NS))
    else:
        assembler.add_odometry(START_NS, Arc().pose(0.0), child_frame="base_link")
    name = {"camera": "front_tele", "odometry": "odometry"}[source]
    assert jumps == [BackwardJump(source=name, from_ns=START_NS + 3 * S, to_ns=START_NS)]
    assert (assembler.epoch, assembler.backward_jumps) == (epoch + 1, 1)
    assert assembler.newest() is None
    assert len([line for line in assembler.waiting_for() if "nothing yet" in line]) == 4
    assert assembler.add_frame(0, START_NS + 3 * S, frame_of(0, 1), epoch=epoch) is None, (
        "decoded before the jump"
    )
    assert assembler.camera_statistics(0).stale == 1
    # The second round begins like the first one: it waits for 1.5 s, then it goes on.
    drive = feed(assembler, [e for e in steady(3.0) if e.stamp_ns > START_NS])
    assert drive.refusals == []
    assert drive.observations[0].t0_ns in (START_NS + 1.5 * S, START_NS + 1.6 * S)
    assert drive.observations[0].instruction == "Turn left in 30m"
    assert len(jumps) == 1


def test_a_bag_that_loops_goes_on_after_the_start_of_each_round(rig: Rig) -> None:
    assembler, drives = ObservationAssembler(rig), []
    for _ in range(3):
        drives.append(feed(assembler, steady(3.0)))
    assert [len(d.observations) for d in drives] == [16, 16, 16]
    assert not any(d.refusals for d in drives)
    assert assembler.backward_jumps == 2
    for drive in drives:
        speeds = np.linalg.norm(np.diff(drive.observations[0].history_xyz_in_rig_t0, axis=0), axis=1) / 0.1
        np.testing.assert_allclose(speeds, Arc().speed_mps, rtol=1e-3)


def test_duplicates_and_late_frames_are_counted(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    first, other = frame_of(1, 1), frame_of(1, 2)
    assert assembler.add_frame(1, START_NS + S, first) is Added.KEPT
    assert assembler.add_frame(1, START_NS + S, other) is Added.DUPLICATE
    assert assembler.add_frame(1, START_NS + S - 100 * MS, other) is Added.KEPT
    statistics = assembler.camera_statistics(1)
    assert (statistics.received, statistics.duplicates, statistics.out_of_order) == (2, 1, 1)
    assert statistics.newest_ns == START_NS + S
    for stamp_ns in ticks(10, 1, phase_ms=1100):
        assembler.add_frame(1, stamp_ns, first)
    assert assembler.camera_statistics(1).rate_hz == pytest.approx(10.0)


def test_bad_inputs_are_refused_and_counted(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    frame, pose = frame_of(1, 1), np.eye(4)
    with pytest.raises(InvalidInput, match=r"expected one of 0 cross_left, .* got 4"):
        assembler.add_frame(4, START_NS, frame)
    for stamp in (0, -5, 1.5, None, True):
        with pytest.raises(InvalidInput, match="stamp of front_wide: expected a positive stamp in ns, got"):
            assembler.add_frame(1, stamp, frame)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="expected dtype uint8, got float32"):
        assembler.add_frame(1, START_NS, frame.astype(np.float32))
    with pytest.raises(InvalidInput, match=r"expected shape \[3, any, any\], got \[4, 6, 3\]"):
        assembler.add_frame(1, START_NS, frame.transpose(1, 2, 0))
    assert assembler.camera_statistics(1).rejected == 7
    skewed, flipped, shifted, infinite = pose.copy(), pose.copy(), pose.copy(), pose.copy()
    skewed[0, 1], flipped[2, 2], shifted[3, 0], infinite[0, 3] = 0.5, -1, 1, np.inf
    for bad, message in (
        (skewed, "off orthonormal"), (flipped, "reflection"), (shifted, "last row"), (infinite, "finite"),
        (np.eye(3), "shape"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=message):
            assembler.add_odometry(START_NS, bad, child_frame="base_link")
    assert assembler.odometry_statistics().rejected == 5
    assert assembler.odometry_statistics().received == 0
    with pytest.raises(InvalidInput, match="rig_from_child of imu"):
        assembler.set_rig_from_child("imu", skewed)


def test_an_instruction_is_stripped_and_cleared(rig: Rig) -> None:
    for given, expected in (("  Turn left in 30m\n", "Turn left in 30m"), ("  ", None), (None, None)):
        assembler = ObservationAssembler(rig)
        assembler.set_instruction("old")
        assembler.set_instruction(given)
        assert feed(assembler, steady(2.0)).observations[-1].instruction == expected


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sync_tolerance_ms", -1, "expected a finite number, zero or more, got -1"),
        ("odometry_wait_ms", float("nan"), "got nan"),
        ("odometry_wait_ms", "120", "got '120'"),
        ("sync_tolerance_ms", 100, "expected less than 100 ms, got 100"),
        ("odometry_max_gap_ms", 0, "expected a positive number, got 0"),
        ("frame_buffer_ms", 500, "expected at least 850 ms, .* got 500"),
        ("odometry_buffer_ms", 1500, "expected at least 2250 ms"),
        ("odometry_wait_ms", 900, "frame_buffer_ms: expected at least 1250 ms"),
    ],
)
def test_timing_that_cannot_work_is_refused(field: str, value, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TimingConfig(**{field: value})


def test_threads_may_add_and_take_at_once(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    taken: list[int] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run(work) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    def camera(camera_id: int) -> None:
        for stamp_ns in ticks(30, 6):
            assembler.add_frame(camera_id, stamp_ns, frame_of(camera_id, stamp_ns))

    def odometry() -> None:
        for stamp_ns in ticks(100, 6):
            assembler.add_odometry(stamp_ns, Arc().pose((stamp_ns - START_NS) / S), child_frame="base_link")

    def take() -> None:
        while not done.is_set():
            try:
                observation = assembler.take(START_NS)
            except ObservationRefused:
                continue
            if observation is not None:
                taken.append(observation.t0_ns)
            assembler.waiting_for()

    taker = threading.Thread(target=run, args=(take,))
    adders = [threading.Thread(target=run, args=(lambda i=i: camera(i),)) for i in rig.camera_ids]
    adders.append(threading.Thread(target=run, args=(odometry,)))
    for thread in (taker, *adders):
        thread.start()
    for thread in adders:
        thread.join()
    done.set()
    taker.join()
    take_rest = Drive()
    take_all(assembler, START_NS, take_rest)
    assert errors == []
    assert taken == sorted(set(taken))
    assert [*taken, *(o.t0_ns for o in take_rest.observations)][-1] == ticks(30, 6)[-1]


def test_bringing_a_pose_to_the_rig_and_back_is_the_identity() -> None:
    np.testing.assert_allclose(invert(rig_from_imu()) @ rig_from_imu(), np.eye(4), atol=1e-12)
