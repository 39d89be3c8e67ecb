"""Observation assembly under any mix of rates, jitter, drops, disorder and jumps that hypothesis finds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sensing_events import (
    MS,
    START_NS,
    Arc,
    Drive,
    Event,
    S,
    camera_events,
    feed,
    make_rig,
    odometry_events,
    ticks,
)

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.timing import TimingConfig

SECONDS = 3.0
TOLERANCE_NS = 50 * MS
SLOTS_NS = np.array([-300, -200, -100, 0]) * MS

seeds = st.integers(0, 2**32 - 1)
odometry_rates = st.one_of(st.sampled_from([5.0, 10.0, 50.0, 100.0, 200.0]), st.floats(5.0, 200.0))
rates = st.one_of(st.sampled_from([9.0, 9.7, 10.0, 15.0, 20.0, 30.0, 60.0]), st.floats(9.0, 60.0))
fast_rates = st.one_of(st.sampled_from([10.0, 20.0, 30.0, 60.0]), st.floats(10.0, 60.0))
arcs = st.builds(
    Arc,
    speed_mps=st.floats(0.0, 35.0),
    yaw_rate_rps=st.floats(-0.5, 0.5),
    roll_rad=st.floats(-0.2, 0.2),
    pitch_rad=st.floats(-0.2, 0.2),
)


def wait_for(odometry_hz: float) -> TimingConfig:
    """The advice of the documentation: a period of the odometry, and its delay."""
    return TimingConfig(odometry_wait_ms=max(120.0, 1e3 / odometry_hz + 40.0))


def jittered(stamps: list[int], rng: np.random.Generator, jitter_ms: float) -> list[int]:
    return [s + int(rng.uniform(-jitter_ms, jitter_ms) * MS) for s in stamps]


def check_observations(drive: Drive, events: list[Event], arc: Arc, odometry_hz: float) -> None:
    """Check every observation against the contract, from the events alone."""
    stamps = {i: {e.stamp_ns for e in events if e.camera_id == i} for i in {e.camera_id for e in events}}
    reference = 1
    t0s = [o.t0_ns for o in drive.observations]
    assert t0s == sorted(set(t0s))
    for observation in drive.observations:
        t0_ns = observation.t0_ns
        assert t0_ns in stamps[reference]
        for camera_id, chosen in zip(observation.camera_ids, observation.frame_stamps_ns, strict=True):
            assert set(chosen.tolist()) <= stamps[camera_id]
            assert np.abs(chosen - (t0_ns + SLOTS_NS)).max() <= TOLERANCE_NS
        # Between samples the arc is cut short by at most a*T^2/8, here and at t0.
        lateral = abs(arc.speed_mps * arc.yaw_rate_rps)
        bound_m = 2 * lateral / 8 / odometry_hz**2 * 1.3 + 5e-4
        inverse = np.linalg.inv(arc.pose((t0_ns - START_NS) / S))
        for i in range(16):
            true = inverse @ arc.pose((t0_ns - START_NS) / S - (15 - i) * 0.1)
            assert np.abs(observation.history_xyz_in_rig_t0[i] - true[:3, 3]).max() <= bound_m
            assert np.abs(observation.history_rot_in_rig_t0[i] - true[:3, :3]).max() <= 1e-4


@settings(max_examples=25, deadline=None)
@given(
    rate=rates, odometry_hz=odometry_rates, arc=arcs, round_ms=st.sampled_from([0.0, 1.0, 10.0]), seed=seeds
)
def test_cameras_in_step_are_never_refused(rate, odometry_hz, arc, round_ms, seed) -> None:
    """One trigger for all cameras at 9 to 60 Hz, rounded stamps, each camera with its own delay."""
    rng = np.random.default_rng(seed)
    phase_ms = rng.uniform(0, 100)
    events = odometry_events(ticks(odometry_hz, SECONDS), delay_ms=rng.uniform(0, 30))
    for camera_id in (0, 1, 2, 6):
        stamps = ticks(rate, SECONDS - 0.3, phase_ms=phase_ms, round_ms=round_ms)
        events += camera_events(camera_id, stamps, delay_ms=rng.uniform(0, 80))
    drive = feed(ObservationAssembler(make_rig(), wait_for(odometry_hz)), events, arc)
    assert drive.refusals == []
    expected = {s for s in stamps if s >= START_NS + 1.5 * S and s >= stamps[0] + 0.36 * S}
    taken = {o.t0_ns for o in drive.observations}
    assert taken <= expected
    if odometry_hz >= rate:  # slower odometry completes several t0s at once, of which the newest is taken
        assert taken == expected
    assert len(taken) >= min(odometry_hz, rate) - 1
    check_observations(drive, events, arc, odometry_hz)


@pytest.mark.parametrize("offset_ms", [-25.0, 0.0, 25.0])
def test_9_7_hz_with_stamps_rounded_to_10_ms_is_never_refused(offset_ms: float) -> None:
    """Whatever the phase of the rounding: as in bags whose export rounded the stamps."""
    for phase_ms in np.arange(30.0, 133.0, 5.0):
        events = odometry_events(ticks(50, 6))
        for camera_id in (0, 1, 2, 6):
            phase = phase_ms + (offset_ms if camera_id == 0 else 0.0)
            events += camera_events(camera_id, ticks(9.7, 5.7, phase_ms=phase, round_ms=10))
        drive = feed(ObservationAssembler(make_rig()), events)
        assert drive.refusals == []
        assert len(drive.observations) >= 39


@settings(max_examples=25, deadline=None)
@given(
    reference_hz=fast_rates,
    other_hz=st.tuples(fast_rates, fast_rates),
    odometry_hz=odometry_rates,
    seed=seeds,
)
def test_free_running_cameras_from_10_hz_on_are_never_refused(
    reference_hz, other_hz, odometry_hz, seed
) -> None:
    rng = np.random.default_rng(seed)
    events = odometry_events(ticks(odometry_hz, SECONDS))
    for camera_id, rate in zip((1, 0, 6), (reference_hz, *other_hz), strict=True):
        # The others go on a little longer, so that each frame of the reference has its partners.
        stamps = ticks(rate, SECONDS - (0.4 if camera_id == 1 else 0.2), phase_ms=rng.uniform(0, 100))
        events += camera_events(camera_id, stamps, delay_ms=rng.uniform(0, 80))
    drive = feed(ObservationAssembler(make_rig((0, 1, 6)), wait_for(odometry_hz)), events)
    assert drive.refusals == []
    # One arrival may complete several t0s, of which the newest is taken.
    assert len(drive.observations) >= min(10.0, odometry_hz) - 2
    check_observations(drive, events, Arc(), odometry_hz)


@settings(max_examples=15, deadline=None)
@given(reference_hz=st.floats(20.0, 60.0), slow_hz=st.floats(9.0, 10.0), phase_ms=st.floats(0.0, 111.0))
def test_a_slow_camera_beside_a_fast_reference_is_never_refused(reference_hz, slow_hz, phase_ms) -> None:
    events = odometry_events(ticks(50, SECONDS)) + camera_events(1, ticks(reference_hz, SECONDS - 0.4))
    events += camera_events(0, ticks(slow_hz, SECONDS - 0.2, phase_ms=phase_ms))
    drive = feed(ObservationAssembler(make_rig((0, 1))), events)
    assert drive.refusals == []
    assert len(drive.observations) >= 10
    check_observations(drive, events, Arc(), 50.0)


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(9.5, 60.0), odometry_hz=st.floats(10.0, 200.0), seed=seeds)
@example(rate=20.0, odometry_hz=41.0, seed=1002)  # the frame two after the missing one arrives before it
def test_jitter_disorder_and_duplicates_are_never_refused(rate, odometry_hz, seed) -> None:
    rng = np.random.default_rng(seed)
    jitter_ms = min(15.0, 200.0 / rate)
    events: list[Event] = []
    for stamp in jittered(ticks(odometry_hz, SECONDS), rng, min(5.0, 200.0 / odometry_hz)):
        events.append(Event(stamp + int(rng.uniform(0, 30) * MS), stamp, "odometry"))
    for camera_id in (0, 1, 2, 6):
        for stamp in jittered(ticks(rate, SECONDS - 0.3), rng, jitter_ms):
            for _ in range(1 + (rng.random() < 0.1)):
                # Decoding in several threads: a frame may overtake its predecessor.
                events.append(Event(stamp + int(rng.uniform(10, 110) * MS), stamp, "camera", camera_id))
    assembler = ObservationAssembler(make_rig(), TimingConfig(odometry_wait_ms=180))
    drive = feed(assembler, events)
    assert drive.refusals == []
    assert assembler.backward_jumps == 0
    assert len(drive.observations) >= 8
    duplicates = sum(assembler.camera_statistics(i).duplicates for i in (0, 1, 2, 6))
    assert duplicates == len(events) - len({(e.source, e.camera_id, e.stamp_ns) for e in events})
    t0s = [o.t0_ns for o in drive.observations]
    assert t0s == sorted(set(t0s))


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(9.5, 30.0), drop=st.floats(0.01, 0.4), seed=seeds)
@example(rate=24.0, drop=0.375, seed=49)  # five frames near, two instants with the same one alone
def test_every_t0_is_taken_refused_once_or_older_than_one_taken(rate, drop, seed) -> None:
    rng = np.random.default_rng(seed)
    events = odometry_events(ticks(50, SECONDS))
    for camera_id in (0, 1, 2):
        stamps = [s for s in ticks(rate, SECONDS - 0.4) if rng.random() >= drop]
        if len(stamps) < 2:
            return
        events += camera_events(camera_id, stamps)
    by_camera = {i: sorted(e.stamp_ns for e in events if e.camera_id == i) for i in (0, 1, 2)}
    drive = feed(ObservationAssembler(make_rig((0, 1, 2))), events)
    check_observations(drive, events, Arc(), 50.0)
    refused = [r.t0_ns for r in drive.refusals]
    taken = [o.t0_ns for o in drive.observations]
    assert len(refused) == len(set(refused))
    assert not set(refused) & set(taken)
    begin_ns = max(START_NS + 1.5 * S, max(s[0] for s in by_camera.values()) + 0.4 * S)
    for t0_ns in by_camera[1]:
        if t0_ns < begin_ns or t0_ns in taken or t0_ns in refused:
            continue
        assert t0_ns < max(taken, default=0) or rate > 10, "a t0 was lost without a word"
    for refusal in drive.refusals:
        kind, _, name = refusal.reason.partition("/")
        camera_id = {"cross_left": 0, "front_wide": 1, "cross_right": 2}[name]
        if kind == "camera_too_slow":
            continue
        stamps = np.array(by_camera[camera_id])
        near = [stamps[np.abs(stamps - refusal.t0_ns - slot) <= TOLERANCE_NS] for slot in SLOTS_NS]
        # Four frames near enough are not enough: each instant needs one that no other instant takes.
        own = [frames for frames in product(*near) if len(set(frames)) == len(SLOTS_NS)]
        assert not own, f"{refusal} for no reason"


@settings(max_examples=15, deadline=None)
@given(
    rounds=st.lists(st.tuples(st.floats(0.8, 3.0), st.floats(-2.0, 0.0)), min_size=2, max_size=4),
    rate=st.sampled_from([9.7, 10.0, 20.0]),
)
def test_after_any_backward_jump_no_history_spans_it(rounds, rate) -> None:
    """Each round plays a drive of its own; a round that begins long before the last one's end is a jump."""
    assembler = ObservationAssembler(make_rig((0, 1)))
    jumps = 0
    end_ns: int | None = None
    for number, (seconds, shift_s) in enumerate(rounds):
        shift_ns = int(shift_s * S)
        begin_ns = START_NS + shift_ns
        if end_ns is not None:
            if begin_ns >= end_ns - 400 * MS:
                return  # hardly a jump
            jumps += 1
        arc = Arc(speed_mps=5.0 + number, yaw_rate_rps=0.1 * number)
        events = odometry_events(ticks(50, seconds))
        for camera_id in (0, 1):
            events += camera_events(camera_id, ticks(rate, seconds - 0.1))
        for event in events:
            event.stamp_ns += shift_ns
            event.arrival_ns += shift_ns + number * 100 * S
        drive = feed(assembler, events, arc)
        assert drive.refusals == []
        end_ns = begin_ns + int(seconds * S)
        for observation in drive.observations:
            speeds = np.linalg.norm(np.diff(observation.history_xyz_in_rig_t0, axis=0), axis=1) / 0.1
            np.testing.assert_allclose(speeds, arc.speed_mps, rtol=1e-2)
        assert assembler.backward_jumps == jumps
