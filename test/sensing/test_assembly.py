"""Observation assembly, one rule of the timing contract after the other."""

from __future__ import annotations

import numpy as np
import pytest
from sensing_events import (
    MS,
    START_NS,
    Arc,
    Drive,
    S,
    camera_events,
    feed,
    frame_of,
    make_rig,
    odometry_events,
    steady,
    take_all,
    ticks,
)

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.frame_stack import stack_frames
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.timing import TimingConfig


def test_steady_inputs_give_every_t0_once_and_nothing_is_refused(rig: Rig) -> None:
    drive = feed(ObservationAssembler(rig), steady())
    assert drive.refusals == []
    # 1.5 s of odometry come first; from then on every frame of the reference camera.
    assert [o.t0_ns for o in drive.observations] == [START_NS + i * S // 10 for i in range(15, 31)]


def test_frames_and_stamps_are_those_of_the_contract(rig: Rig) -> None:
    observation = feed(ObservationAssembler(rig), steady()).observations[-1]
    assert observation.camera_ids == (0, 1, 2, 6)
    for row, camera_id in enumerate(observation.camera_ids):
        expected = [observation.t0_ns - offset * MS for offset in (300, 200, 100, 0)]
        assert observation.frame_stamps_ns[row].tolist() == expected
        for column, stamp_ns in enumerate(expected):
            np.testing.assert_array_equal(observation.frames[row][column], frame_of(camera_id, stamp_ns))


def test_pixels_stay_in_memory_as_their_frames_have_them() -> None:
    planes = [[np.full((3, 2, 4), 10 * c + t, np.uint8) for t in range(4)] for c in range(2)]
    interleaved = [
        [np.ascontiguousarray(f.transpose(1, 2, 0)).transpose(2, 0, 1) for f in row] for row in planes
    ]
    one, other = stack_frames(planes), stack_frames(interleaved)
    assert isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    np.testing.assert_array_equal(one, other)
    assert one.flags.c_contiguous and other.transpose(0, 1, 3, 4, 2).flags.c_contiguous


def test_cameras_of_different_size_give_a_tuple() -> None:
    assembler = ObservationAssembler(make_rig((1, 6)))
    for stamp_ns in ticks(50, 2):
        assembler.add_odometry(stamp_ns, Arc().pose((stamp_ns - START_NS) / S), child_frame="base_link")
    for stamp_ns in ticks(10, 2):
        assembler.add_frame(1, stamp_ns, frame_of(1, stamp_ns, (4, 6)))
        assembler.add_frame(6, stamp_ns, frame_of(6, stamp_ns, (8, 4)))
    observation = assembler.take(0)
    assert observation is not None
    assert [f.shape for f in observation.frames] == [(4, 3, 4, 6), (4, 3, 8, 4)]


def test_a_camera_that_changes_its_size_is_refused_by_name(rig: Rig) -> None:
    assembler, drive = ObservationAssembler(rig), Drive()
    for stamp_ns in ticks(50, 3):
        assembler.add_odometry(stamp_ns, Arc().pose((stamp_ns - START_NS) / S), child_frame="base_link")
    for stamp_ns in ticks(10, 3):
        for camera_id in rig.camera_ids:
            size = (8, 6) if camera_id == 2 and stamp_ns > START_NS + 2 * S else (4, 6)
            assembler.add_frame(camera_id, stamp_ns, frame_of(camera_id, stamp_ns, size))
        take_all(assembler, stamp_ns, drive)
    assert [r.reason for r in drive.refusals] == ["camera_size/cross_right"] * 3
    assert "expected four frames of one size, got 6x4 and 6x8" in str(drive.refusals[0])
    assert drive.observations[-1].t0_ns == START_NS + 3 * S


@pytest.mark.parametrize(
    ("ids", "reference", "expected"),
    [((0, 1, 2, 6), -1, 1), ((0, 2, 6), -1, 0), ((1, 3, 6), 6, 6)],
)
def test_t0_is_a_stamp_of_the_reference_camera(ids, reference: int, expected: int) -> None:
    rig = make_rig(ids, reference_camera_id=reference)
    assert rig.reference_camera_id == expected
    events = odometry_events(ticks(50, 3))
    for camera_id in ids:
        events += camera_events(camera_id, ticks(10, 3, phase_ms=3.0 * camera_id))
    observations = feed(ObservationAssembler(rig), events).observations
    assert observations
    assert {(o.t0_ns - START_NS) // MS % 100 for o in observations} == {3 * expected}


def test_only_the_newest_is_taken_after_a_pause(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    events = sorted(steady(4.0))
    for event in events:
        pose = Arc().pose((event.stamp_ns - START_NS) / S)
        if event.source == "odometry":
            assembler.add_odometry(event.stamp_ns, pose, child_frame="base_link")
        else:
            assembler.add_frame(event.camera_id, event.stamp_ns, frame_of(event.camera_id, event.stamp_ns))
    now_ns = events[-1].arrival_ns
    assert assembler.newest() is None
    observation = assembler.take(now_ns)
    assert observation is not None
    assert observation.t0_ns == START_NS + 4 * S
    assert assembler.take(now_ns) is None
    assert assembler.newest() is observation


def test_the_nearest_frame_is_waited_for_rather_than_the_one_before_it(rig: Rig) -> None:
    """At 30 Hz the frame before lies within the tolerance already, when the reference's arrives first."""
    events = odometry_events(ticks(100, 3))
    for camera_id in rig.camera_ids:
        events += camera_events(camera_id, ticks(30, 3), delay_ms=10 if camera_id == 1 else 40)
    drive = feed(ObservationAssembler(rig), events)
    assert drive.refusals == []
    assert len(drive.observations) > 40
    for observation in drive.observations[:-2]:
        assert (observation.frame_stamps_ns[:, -1] == observation.t0_ns).all()


def test_frames_that_are_nearest_with_equal_distance_are_each_used_once() -> None:
    """A camera half an interval off, with rounded stamps: two instants are equally near to one frame."""
    rig = make_rig((0, 1))
    stamps = [START_NS + ms * MS for ms in range(50, 2500, 100)]
    stamps[17] -= 10 * MS
    events = odometry_events(ticks(50, 2.5)) + camera_events(1, ticks(10, 2.5)) + camera_events(0, stamps)
    drive = feed(ObservationAssembler(rig), events)
    assert drive.reasons <= {
        "camera_missing/cross_left",
        "camera_dropped/cross_left",
        "camera_out_of_step/cross_left",
    }
    for observation in drive.observations:
        assert (np.diff(observation.frame_stamps_ns, axis=1) > 0).all()
        offsets = observation.frame_stamps_ns[0] - observation.t0_ns - np.array([-300, -200, -100, 0]) * MS
        assert np.abs(offsets).max() <= 50 * MS


# --- waiting -------------------------------------------------------------------------------------


def test_at_the_start_it_waits_and_says_for_what(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    lines = assembler.waiting_for()
    assert lines[0] == "cross_left: expected 0.3 s, got nothing yet on /camera_0"
    assert lines[-1] == "odometry: expected 1.5 s, got nothing yet on odometry"
    drive = feed(assembler, steady(1.0))
    assert (drive.observations, drive.refusals) == ([], [])
    assert assembler.waiting_for() == ["odometry: expected 1.5 s, got 1.00 s so far"]
    drive = feed(assembler, [e for e in steady(2.0) if e.stamp_ns > START_NS + S])
    assert (len(drive.observations), drive.refusals) == (6, [])
    assert assembler.waiting_for() == []


def test_an_input_that_never_begins_is_waited_for(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    drive = feed(assembler, steady(3.0, ids=(0, 1, 2)))
    assert (drive.observations, drive.refusals) == ([], [])
    assert assembler.waiting_for() == ["front_tele: expected 0.3 s, got nothing yet on /camera_6"]


def test_a_camera_that_begins_late_is_waited_for(rig: Rig) -> None:
    events = steady(3.0, ids=(0, 1, 2)) + camera_events(6, [s for s in ticks(10, 3) if s >= START_NS + 2 * S])
    drive = feed(ObservationAssembler(rig), events)
    assert drive.refusals == []
    assert drive.observations[0].t0_ns == START_NS + 2.3 * S


def test_the_end_of_odometry_is_waited_for_then_refused_once(rig: Rig) -> None:
    """10 Hz odometry that comes 60 ms late: no t0 waits longer than 120 ms, none is extrapolated."""
    events = [e for e in steady(3.0) if e.source == "camera"] + odometry_events(ticks(10, 3), delay_ms=60)
    drive = feed(ObservationAssembler(rig), events)
    assert drive.refusals == []
    assert len(drive.observations) == 16
    assert all(at - o.t0_ns == 60 * MS for at, o in zip(drive.taken_at_ns, drive.observations, strict=True))

    stopped = [e for e in events if not (e.source == "odometry" and e.stamp_ns > START_NS + 2 * S)]
    drive = feed(ObservationAssembler(rig), stopped)
    assert [r.reason for r in drive.refusals] == ["odometry_late"] * 10
    assert [r.t0_ns for r in drive.refusals] == [START_NS + i * S // 10 for i in range(21, 31)]
    assert "expected a pose at or after t0 within 120 ms, got the newest 100 ms before t0" in str(
        drive.refusals[0]
    )


def test_an_older_t0_is_taken_when_its_odometry_comes_while_a_newer_one_waits(rig: Rig) -> None:
    """Odometry 110 ms late at 10 Hz: when a t0's end arrives, the next t0 is waiting already."""
    cameras = [e for e in steady(3.0) if e.source == "camera"]
    drive = feed(ObservationAssembler(rig), cameras + odometry_events(ticks(10, 3), delay_ms=130))
    assert drive.refusals == []
    assert len(drive.observations) == 16


# --- refusals ------------------------------------------------------------------------------------


def test_a_dropped_frame_is_refused_for_the_four_t0s_it_belongs_to(rig: Rig) -> None:
    lost_ns = START_NS + 2 * S
    events = [e for e in steady(3.5) if not (e.camera_id == 2 and e.stamp_ns == lost_ns)]
    drive = feed(ObservationAssembler(rig), events)
    assert [r.reason for r in drive.refusals] == ["camera_dropped/cross_right"] * 4
    assert [r.t0_ns for r in drive.refusals] == [lost_ns + i * S // 10 for i in range(4)]
    assert (
        "expected a frame of its own within 50 ms of t0 -0.1 s, got the nearest at -100 ms, +100 ms"
        in str(drive.refusals[1])
    )
    assert drive.observations[-1].t0_ns == START_NS + 3.5 * S


def test_a_camera_that_stops_is_refused_by_name(rig: Rig) -> None:
    assembler = ObservationAssembler(rig)
    events = [e for e in steady(4.0) if not (e.camera_id == 6 and e.stamp_ns > START_NS + 2 * S)]
    drive = feed(assembler, events)
    assert drive.reasons == {"camera_missing/front_tele"}
    assert len(drive.refusals) == len({r.t0_ns for r in drive.refusals}) == 20
    assert assembler.waiting_for() == ["front_tele: expected it to go on, got none for 2.0 s"]


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 5.0, 7.0, 8.0, 8.4])
@pytest.mark.parametrize("slow_id", [1, 6])
def test_a_camera_too_slow_for_the_tolerance_is_refused_by_name(
    rig: Rig, rate_hz: float, slow_id: int
) -> None:
    name = {1: "front_wide", 6: "front_tele"}[slow_id]
    events = [e for e in steady(8.0) if e.camera_id != slow_id] + camera_events(slow_id, ticks(rate_hz, 8))
    drive = feed(ObservationAssembler(rig), events)
    late = [r for r in drive.refusals if r.t0_ns > START_NS + 5 * S]
    assert late
    assert {r.reason for r in late} == {f"camera_too_slow/{name}"}
    assert f"got {rate_hz:.2f} Hz: too slow" in str(late[-1])
    assert "expected at least 8.57 Hz, which a tolerance of 50 ms needs" in str(late[-1])
    assert not [o for o in drive.observations if o.t0_ns > START_NS + 5 * S]


@pytest.mark.parametrize("reference_hz", [10.0, 30.0])
def test_free_running_cameras_that_never_meet_are_refused_by_name(reference_hz: float) -> None:
    """At 9.7 Hz and 46 ms off, the frame for t0 - 0.3 s lies 55 ms off, for ever."""
    rig = make_rig((0, 1))
    events = odometry_events(ticks(50, 5))
    events += camera_events(1, ticks(9.7, 5)) + camera_events(0, ticks(9.7, 5, phase_ms=-46))
    drive = feed(ObservationAssembler(rig), events)
    assert drive.observations == []
    assert drive.reasons == {"camera_out_of_step/cross_left"}
    assert "at 9.70 Hz" in str(drive.refusals[0])
    # A wider tolerance is the remedy.
    drive = feed(ObservationAssembler(rig, TimingConfig(sync_tolerance_ms=60)), events)
    assert drive.refusals == []
    assert drive.observations


def test_a_gap_in_odometry_is_refused_while_it_is_in_the_history(rig: Rig) -> None:
    gap = (START_NS + 2 * S, START_NS + 2.26 * S)
    events = [e for e in steady(5.0) if not (e.source == "odometry" and gap[0] < e.stamp_ns < gap[1])]
    drive = feed(ObservationAssembler(rig), events)
    assert drive.reasons == {"odometry_gap"}
    refused = [r.t0_ns for r in drive.refusals]
    assert min(refused) == START_NS + 2.1 * S
    assert max(refused) == START_NS + 3.7 * S
    assert "expected no gap over 250 ms, got one of 260 ms" in str(drive.refusals[-1])
    assert drive.observations[-1].t0_ns == START_NS + 5 * S


def test_a_gap_of_a_quarter_second_is_bridged(rig: Rig) -> None:
    gap = (START_NS + 2 * S, START_NS + 2.24 * S)
    events = [e for e in steady(4.0) if not (e.source == "odometry" and gap[0] < e.stamp_ns < gap[1])]
    drive = feed(ObservationAssembler(rig, TimingConfig(odometry_wait_ms=250)), events)
    assert drive.refusals == []


def test_a_jump_of_the_odometry_is_refused(rig: Rig) -> None:
    assembler, drive = ObservationAssembler(rig), Drive()
    for event in sorted(steady(5.0)):
        if event.source == "odometry":
            pose = Arc().pose((event.stamp_ns - START_NS) / S)
            if event.stamp_ns > START_NS + 2 * S:
                pose[:3, 3] += 40.0
            assembler.add_odometry(event.stamp_ns, pose, child_frame="base_link")
        else:
            assembler.add_frame(event.camera_id, event.stamp_ns, frame_of(event.camera_id, event.stamp_ns))
        take_all(assembler, event.arrival_ns, drive)
    assert drive.reasons == {"odometry_jump"}
    assert "expected motion below 100 m/s" in str(drive.refusals[0])
    assert drive.observations[-1].t0_ns == START_NS + 5 * S


def test_frames_far_behind_odometry_are_refused(rig: Rig) -> None:
    timing = TimingConfig(odometry_buffer_ms=2500)
    cameras = [e for e in steady(8.0) if e.source == "camera"]
    late = [type(e)(e.arrival_ns + 3 * S, e.stamp_ns, e.source, e.camera_id) for e in cameras]
    drive = feed(ObservationAssembler(rig, timing), late + odometry_events(ticks(50, 12)))
    assert drive.reasons == {"frames_behind_odometry"}
