"""Frames that are decoded only where a plan can use them: the same observations, with less decoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

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
    frame_of,
    make_rig,
    odometry_events,
    take_all,
    ticks,
)

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.frame_demand import Rhythm, stands_for
from alpamayo_ros.sensing.stamped_buffer import Added, StampedBuffer
from alpamayo_ros.sensing.timing import ObservationRefused, TimingConfig
from alpamayo_ros.types import InvalidInput

SECONDS = 3.0
rates = st.one_of(st.sampled_from([9.7, 10.0, 15.0, 20.0, 25.0, 29.97, 30.0, 60.0]), st.floats(9.5, 60.0))
seeds = st.integers(0, 2**32 - 1)


def every_100_ms(**changes: float) -> TimingConfig:
    return TimingConfig(t0_interval_ms=100, **changes)


@dataclass
class Decoder:
    """Decodes what an assembler demands, and remembers what that was."""

    assembler: ObservationAssembler
    decoded: list[tuple[int, int]] = field(default_factory=list)
    late: int = 0

    def work(self, *, late: bool = False) -> bool:
        demands = self.assembler.demands()
        for demand in demands:
            assert demand.payload == (demand.camera_id, demand.stamp_ns)
            self.decoded.append((demand.camera_id, demand.stamp_ns))
            self.late += late
            frame = frame_of(demand.camera_id, demand.stamp_ns)
            added = self.assembler.add_frame(demand.camera_id, demand.stamp_ns, frame, epoch=demand.epoch)
            assert added is Added.KEPT
        return bool(demands)


def feed_announced(
    assembler: ObservationAssembler, events: Iterable[Event], arc: Arc | None = None
) -> tuple[Drive, Decoder]:
    """Feed events as `feed` does, but announce frames and decode those that are demanded, at once."""
    arc, drive, decoder = arc or Arc(), Drive(), Decoder(assembler)

    def take(now_ns: int) -> None:
        take_all(assembler, now_ns, drive)
        while decoder.work(late=True):
            take_all(assembler, now_ns, drive)

    last_ns = 0
    for event in sorted(events):
        last_ns = event.arrival_ns
        if event.source == "odometry":
            pose = arc.pose((event.stamp_ns - START_NS) / S)
            assembler.add_odometry(event.stamp_ns, pose, child_frame="base_link")
        else:
            assembler.announce(event.camera_id, event.stamp_ns, (event.camera_id, event.stamp_ns))
            decoder.work()
        take(event.arrival_ns)
    for later_ms in range(50, 700, 50):
        take(last_ns + later_ms * MS)
    return drive, decoder


def assert_same(one: Drive, other: Drive) -> None:
    assert [o.t0_ns for o in one.observations] == [o.t0_ns for o in other.observations]
    assert [(r.reason, r.t0_ns) for r in one.refusals] == [(r.reason, r.t0_ns) for r in other.refusals]
    for a, b in zip(one.observations, other.observations, strict=True):
        np.testing.assert_array_equal(a.frame_stamps_ns, b.frame_stamps_ns)
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.history_xyz_in_rig_t0, b.history_xyz_in_rig_t0)


@settings(max_examples=10, deadline=None)
@given(
    camera_hz=st.tuples(rates, rates),
    in_step=st.booleans(),
    jitter_ms=st.sampled_from([0.0, 2.0, 12.0]),
    drop=st.sampled_from([0.0, 0.0, 0.1]),
    interval_ms=st.sampled_from([0.0, 50.0, 100.0, 200.0]),
    seed=seeds,
)
@example((30.0, 30.0), True, 2.0, 0.0, 100.0, 0)
@example((10.0, 30.0), False, 12.0, 0.1, 100.0, 1)
def test_observations_are_those_of_decoding_everything(
    camera_hz, in_step, jitter_ms, drop, interval_ms, seed
) -> None:
    """Any rates, phases, jitter, disorder and drops: the same t0s, frames and refusals at the same time."""
    rng = np.random.default_rng(seed)
    events = odometry_events(ticks(50, SECONDS))
    phase_ms = rng.uniform(0, 100)
    for camera_id, rate in zip((1, 0), camera_hz, strict=True):
        phase_ms = phase_ms if in_step else rng.uniform(0, 100)
        for stamp in ticks(camera_hz[0] if in_step else rate, SECONDS - 0.3, phase_ms=phase_ms):
            stamp += int(rng.uniform(-jitter_ms, jitter_ms) * MS)
            if rng.random() >= drop:
                events.append(Event(stamp + int(rng.uniform(5, 60) * MS), stamp, "camera", camera_id))
    timing = TimingConfig(t0_interval_ms=interval_ms)
    plain = feed(ObservationAssembler(make_rig((0, 1)), timing), events)
    announced, decoder = feed_announced(ObservationAssembler(make_rig((0, 1)), timing), events)
    assert_same(plain, announced)
    assert plain.taken_at_ns == announced.taken_at_ns
    assert len(set(decoder.decoded)) == len(decoder.decoded), "nothing is decoded twice"


@pytest.mark.parametrize("rate", [20.0, 29.97, 30.0, 60.0])
@pytest.mark.parametrize("phase_ms", [0.0, 11.0])
def test_of_fast_cameras_only_frames_on_the_rhythm_are_decoded(rate: float, phase_ms: float) -> None:
    """Ten a second, all used, none late; the first frames, of which the rate is not known yet, are more."""
    events = odometry_events(ticks(100, 6))
    for camera_id in (0, 1, 2, 6):
        events += camera_events(camera_id, ticks(rate, 5.7, phase_ms=phase_ms if camera_id == 0 else 0))
    drive, decoder = feed_announced(ObservationAssembler(make_rig(), every_100_ms()), events)
    assert drive.refusals == []
    steps_ms = np.diff([o.t0_ns for o in drive.observations]) / MS
    assert len(steps_ms) >= 40 and np.abs(steps_ms - 100).max() <= 1.0
    used = {
        (camera_id, int(stamp))
        for o in drive.observations
        for camera_id, stamps in zip(o.camera_ids, o.frame_stamps_ns, strict=True)
        for stamp in stamps
    }
    begun_ns = min(s for _, s in used)
    decoded = {(i, s) for i, s in decoder.decoded if s >= begun_ns}
    assert decoder.late == 0
    assert used <= decoded
    assert len(decoded - used) <= 4, "beyond the last t0, perhaps"


def test_cameras_of_10_hz_are_decoded_all_and_give_every_t0() -> None:
    """Jitter of 15 ms and drifting clocks do not cost a t0."""
    rng = np.random.default_rng(3)
    events = odometry_events(ticks(100, 6))
    stamps = [s + int(rng.uniform(-15, 15) * MS) for s in ticks(9.9, 5.5)]
    for camera_id in (0, 1):
        events += camera_events(camera_id, stamps)
    every = feed(ObservationAssembler(make_rig((0, 1))), events)
    drive, decoder = feed_announced(ObservationAssembler(make_rig((0, 1)), every_100_ms()), events)
    assert_same(every, drive)
    assert decoder.late == 0
    assert len(decoder.decoded) == 2 * len(stamps)


@pytest.mark.parametrize("slow_hz", [9.0, 9.5, 10.0])
def test_cameras_out_of_step_with_the_rhythm_do_not_stop_it(slow_hz: float) -> None:
    for phase_ms in range(0, 110, 30):
        events = odometry_events(ticks(50, 4)) + camera_events(1, ticks(30.0, 3.6))
        events += camera_events(0, ticks(slow_hz, 3.8, phase_ms=phase_ms))
        drive, _ = feed_announced(ObservationAssembler(make_rig((0, 1)), every_100_ms()), events)
        assert drive.refusals == []
        steps_ms = np.diff([o.t0_ns for o in drive.observations]) / MS
        assert len(steps_ms) >= 12 and steps_ms.max() <= 250


def started(assembler: ObservationAssembler, *, until_s: float = 2.0) -> Decoder:
    """Feed two cameras of 30 Hz and odometry; everything that is demanded is decoded."""
    decoder = Decoder(assembler)
    for stamp_ns in ticks(100, until_s + 0.1):
        pose = Arc().pose((stamp_ns - START_NS) / S)
        assembler.add_odometry(stamp_ns, pose, child_frame="base_link")
    for stamp_ns in ticks(30, until_s):
        for camera_id in (0, 1):
            assembler.announce(camera_id, stamp_ns, (camera_id, stamp_ns))
        decoder.work()
    return decoder


def test_a_frame_that_cannot_be_decoded_gives_way_to_its_neighbour() -> None:
    """The chosen frames are those of a camera that never sent the bad one; its neighbour is decoded late."""
    bad_ns = ticks(30, 2.0)[-4]
    assembler, drive = ObservationAssembler(make_rig((0, 1)), every_100_ms()), Drive()
    decoder = Decoder(assembler)
    for stamp_ns in ticks(100, 2.1):
        pose = Arc().pose((stamp_ns - START_NS) / S)
        assembler.add_odometry(stamp_ns, pose, child_frame="base_link")
    for stamp_ns in ticks(30, 2.0):
        assembler.announce(1, stamp_ns, (1, stamp_ns))
        decoder.work()
        assembler.announce(0, stamp_ns, (0, stamp_ns))
        if stamp_ns == bad_ns:
            assert [d.stamp_ns for d in assembler.demands()] == [bad_ns]
        decoder.work()
        take_all(assembler, stamp_ns, drive)
    assert drive.observations[-1].t0_ns < bad_ns, "it is being decoded"
    assembler.withdraw(0, bad_ns)
    assert assembler.take(START_NS + 2 * S) is None
    assert decoder.work(late=True)
    observation = assembler.take(START_NS + 2 * S)
    assert observation is not None and observation.t0_ns == ticks(30, 2.0)[-1]
    assert decoder.late == 1
    assert bad_ns not in observation.frame_stamps_ns[0]
    assert decoder.decoded[-1] in {(0, int(s)) for s in observation.frame_stamps_ns[0]}


def test_frames_that_are_never_decoded_are_refused_by_name_and_the_next_go_on() -> None:
    assembler = ObservationAssembler(make_rig((0, 1)), every_100_ms())
    for stamp_ns in ticks(100, 2.1):
        pose = Arc().pose((stamp_ns - START_NS) / S)
        assembler.add_odometry(stamp_ns, pose, child_frame="base_link")
    for stamp_ns in ticks(30, 2.0):
        for camera_id in (0, 1):
            assembler.announce(camera_id, stamp_ns, None)
    now_ns = START_NS + 2 * S
    assert assembler.take(now_ns) is None
    assert assembler.demands(), "and nothing comes of it"
    with pytest.raises(ObservationRefused) as refused:
        assembler.take(now_ns + 501 * MS)
    assert refused.value.reason == "camera_undecoded/cross_left"
    assert "expected its frames decoded within 500 ms" in str(refused.value)


def test_what_was_announced_before_a_clear_is_nobodys() -> None:
    assembler = ObservationAssembler(make_rig((0, 1)), every_100_ms())
    epoch = assembler.epoch
    assert assembler.announce(1, START_NS, "x", epoch=epoch) is Added.KEPT
    assembler.clear()
    assert assembler.demands() == []
    assert assembler.announce(1, START_NS + 1, "y", epoch=epoch) is None
    assert assembler.announce(0, START_NS, "z") is Added.KEPT
    assert assembler.announce(0, START_NS - S, "jump") is Added.KEPT, "a clock that was set back"
    assert [(d.payload, d.epoch) for d in assembler.demands()] == [("jump", assembler.epoch)]
    assert assembler.add_frame(1, START_NS, frame_of(1, START_NS), epoch=epoch) is None
    assembler.withdraw(1, START_NS, epoch=epoch)
    assert assembler.camera_statistics(1).stale == 2


def test_a_message_that_comes_twice_is_decoded_once() -> None:
    assembler = ObservationAssembler(make_rig((0, 1)), every_100_ms())
    assert assembler.announce(1, START_NS, "first") is Added.KEPT
    assert assembler.announce(1, START_NS, "second") is Added.DUPLICATE
    assert [d.payload for d in assembler.demands()] == ["first"]
    assembler.add_frame(1, START_NS, frame_of(1, START_NS))
    assert assembler.announce(1, START_NS, "third") is Added.DUPLICATE
    assert assembler.demands() == []
    statistics = assembler.camera_statistics(1)
    assert (statistics.received, statistics.duplicates) == (1, 2)


def test_without_a_rhythm_every_frame_is_decoded_on_arrival() -> None:
    decoder = started(ObservationAssembler(make_rig((0, 1))))
    assert len(decoder.decoded) == 2 * len(ticks(30, 2.0))


def test_announce_checks_what_add_frame_checks() -> None:
    assembler = ObservationAssembler(make_rig((0, 1)))
    with pytest.raises(InvalidInput, match="expected a positive stamp in ns, got 0"):
        assembler.announce(1, 0, None)
    with pytest.raises(InvalidInput):
        assembler.announce(5, START_NS, None)
    assert assembler.camera_statistics(1).rejected == 1


def test_a_rhythm_needs_an_interval() -> None:
    with pytest.raises(InvalidInput, match="rhythm: expected a positive interval, got 0"):
        Rhythm(START_NS, 0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8, unique=True), st.integers(0, 1000))
def test_of_several_stamps_one_stands_for_an_instant_or_none_yet(stamps, instant) -> None:
    buffer: StampedBuffer[None] = StampedBuffer(10_000)
    for stamp in stamps:
        buffer.add(stamp, None)
    standing = [s for s in stamps if stands_for(buffer, s, instant)]
    nearest = min(abs(s - instant) for s in stamps)
    assert len(standing) <= 1
    assert all(abs(s - instant) == nearest for s in standing)
    if max(stamps) >= instant or len(stamps) < 4:
        assert standing == [min(stamps, key=lambda s: (abs(s - instant), s))]


def test_who_is_waited_for_is_known() -> None:
    """Without odometry up to t0 it is odometry that a message is looked at for, and no camera's."""
    assembler = ObservationAssembler(make_rig((0, 1)), every_100_ms())
    assert assembler.waits_on(None) and assembler.waits_on(0), "nothing is known yet"
    started(assembler, until_s=2.0)
    observation = assembler.take(START_NS + 2 * S)
    assert observation is not None
    assert not assembler.waits_on(None) and not assembler.waits_on(1)
    newest_ns = ticks(30, 2.2)[-3]
    for camera_id in (0, 1):
        for stamp_ns in [s for s in ticks(30, 2.2) if 0 < s - observation.t0_ns <= 200 * MS]:
            assembler.announce(camera_id, stamp_ns, (camera_id, stamp_ns))
    Decoder(assembler).work()
    assert assembler.take(newest_ns) is not None, "odometry goes on to 2.1 s"
    assert assembler.take(newest_ns) is None
    assert assembler.waits_on(None) and not assembler.waits_on(1)
