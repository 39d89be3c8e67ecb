"""A drive along an arc with cameras and odometry, as events in the order of their arrival."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.sensing.timing import ObservationRefused
from alpamayo_ros.types import Observation

S = 1_000_000_000
MS = 1_000_000
START_NS = 1_700_000_000 * S


def make_rig(ids: Iterable[int] = (0, 1, 2, 6), **kwargs: object) -> Rig:
    cameras = tuple(CameraConfig(camera_id=i, topic=f"/camera_{i}") for i in ids)
    return Rig(name="test", cameras=cameras, **kwargs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Arc:
    """Constant speed and yaw rate, in a plane that is banked and climbs."""

    speed_mps: float = 12.0
    yaw_rate_rps: float = 0.25
    roll_rad: float = 0.05
    pitch_rad: float = -0.08

    def pose(self, time_s: float) -> np.ndarray:
        """Return the rig's pose in the odometry frame, by the closed form of the arc."""
        angle = self.yaw_rate_rps * time_s
        if abs(self.yaw_rate_rps) < 1e-9:
            xy = np.array([self.speed_mps * time_s, 0.0])
        else:
            xy = self.speed_mps / self.yaw_rate_rps * np.array([np.sin(angle), 1 - np.cos(angle)])
        tilt = Rotation.from_euler("xyz", [self.roll_rad, self.pitch_rad, 0.4]).as_matrix()
        matrix = np.eye(4)
        matrix[:3, :3] = tilt @ Rotation.from_euler("z", angle).as_matrix()
        matrix[:3, 3] = tilt @ [*xy, 0.0] + [100.0, -50.0, 7.0]
        return matrix


def frame_of(camera_id: int, stamp_ns: int, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    """Return a frame whose pixels tell which it is."""
    rng = np.random.default_rng([camera_id, stamp_ns % 2**32])
    return rng.integers(0, 256, (3, *size), dtype=np.uint8)


@dataclass(order=True)
class Event:
    arrival_ns: int
    stamp_ns: int
    source: str = field(compare=False)
    camera_id: int = field(default=-1, compare=False)


def ticks(rate_hz: float, seconds: float, *, phase_ms: float = 0.0, round_ms: float = 0.0) -> list[int]:
    """Return stamps at a rate, rounded to a multiple of `round_ms` if given."""
    times_s = np.arange(int(seconds * rate_hz) + 1) / rate_hz + phase_ms / 1e3
    stamps = START_NS + np.round(times_s * S).astype(np.int64)
    if round_ms:
        unit = round(round_ms * MS)
        stamps = (stamps + unit // 2) // unit * unit
    return [int(s) for s in stamps]


def camera_events(camera_id: int, stamps: Iterable[int], delay_ms: float = 20.0) -> list[Event]:
    return [Event(s + round(delay_ms * MS), s, "camera", camera_id) for s in stamps]


def odometry_events(stamps: Iterable[int], delay_ms: float = 5.0) -> list[Event]:
    return [Event(s + round(delay_ms * MS), s, "odometry") for s in stamps]


@dataclass
class Drive:
    """What came of feeding events to an assembler."""

    observations: list[Observation] = field(default_factory=list)
    taken_at_ns: list[int] = field(default_factory=list)
    refusals: list[ObservationRefused] = field(default_factory=list)

    @property
    def reasons(self) -> set[str]:
        return {refusal.reason for refusal in self.refusals}


def feed(assembler: ObservationAssembler, events: Iterable[Event], arc: Arc | None = None) -> Drive:
    """Feed events in order of arrival, taking after each one as often as something comes of it."""
    arc, drive = arc or Arc(), Drive()
    last_ns = 0
    for event in sorted(events):
        last_ns = event.arrival_ns
        if event.source == "odometry":
            pose = arc.pose((event.stamp_ns - START_NS) / S)
            assembler.add_odometry(event.stamp_ns, pose, child_frame="base_link")
        else:
            assembler.add_frame(event.camera_id, event.stamp_ns, frame_of(event.camera_id, event.stamp_ns))
        take_all(assembler, event.arrival_ns, drive)
    for later_ms in range(50, 700, 50):  # a timer goes on when nothing arrives
        take_all(assembler, last_ns + later_ms * MS, drive)
    return drive


def take_all(assembler: ObservationAssembler, now_ns: int, drive: Drive) -> None:
    while True:
        try:
            observation = assembler.take(now_ns)
        except ObservationRefused as refusal:
            drive.refusals.append(refusal)
            continue
        if observation is None:
            return
        drive.observations.append(observation)
        drive.taken_at_ns.append(now_ns)


def steady(
    seconds: float = 3.0, *, ids=(0, 1, 2, 6), rate_hz: float = 10.0, odometry_hz: float = 50.0, **kwargs
):
    events = odometry_events(ticks(odometry_hz, seconds))
    for camera_id in ids:
        events += camera_events(camera_id, ticks(rate_hz, seconds, **kwargs))
    return events
