"""A log's driver calls, step by step, as AlpaSim's runtime made them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.sim.protocol.asl import BrokenLog, read_entries
from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2, logging_pb2
from alpamayo_ros.types import InvalidInput

OBSERVATIONS: dict[str, tuple[str, str]] = {
    "driver_camera_image": ("images", "submit_image_observation"),
    "driver_ego_trajectory": ("egomotion", "submit_egomotion_observation"),
    "route_request": ("route", "submit_route"),
    "ground_truth_request": ("ground-truth", "submit_recording_ground_truth"),
}
"""Entry of a log -> what it tells, and the rpc that tells it."""

OPTIONAL = ("images", "route", "ground-truth")
"""What a replay may leave out."""


@dataclass(frozen=True)
class Call:
    """One rpc by its name, and its message as recorded."""

    method: str
    message: Any


@dataclass(frozen=True)
class Step:
    """What was told before a drive() and the drive itself.

    Attributes:
        number: from 0.
        told: calls that may be made at once, in any order.
        request: of drive(); None behind the last one, where AlpaSim only tells pictures.
        newest_rig: the newest pose of the rig in local that has been told by then, stamped at time_now or
            before; None where there is none.
    """

    number: int
    told: tuple[Call, ...]
    request: egodriver_pb2.DriveRequest | None
    newest_rig: common_pb2.PoseAtTime | None


@dataclass(frozen=True)
class DriverLog:
    """The driver's part of a log, all of it in memory.

    Attributes:
        path: of the log.
        session: the request that begins it, as recorded.
        steps: in order; only the last may be without a drive().
        cut_off: where the log ends too early, as a crash leaves it; "" for a whole one.
    """

    path: Path
    session: egodriver_pb2.DriveSessionRequest
    steps: tuple[Step, ...]
    cut_off: str = ""

    @property
    def drives(self) -> int:
        """Return how many drive() there are."""
        return sum(step.request is not None for step in self.steps)


def read_driver_log(path: Path, *, without: Collection[str] = ()) -> DriverLog:
    """Read a log's driver calls; of one that a crash cut off, what is whole.

    Args:
        path: of a rollout.asl.
        without: of OPTIONAL, what to leave out.

    Raises:
        InvalidInput: for what is no log, or one without a driver's session or any drive().
    """
    unknown = sorted(set(without) - set(OPTIONAL))
    if unknown:
        raise InvalidInput(f"without: expected {', '.join(OPTIONAL)}, got {', '.join(unknown)}")
    calls = _Calls(set(without))
    cut_off = ""
    try:
        for entry in read_entries(path):
            calls.add(entry)
    except BrokenLog as error:
        if not error.cut_off:
            raise
        cut_off = str(error)
    if calls.session is None:
        raise InvalidInput(f"log {path}: expected a driver_session_request, got none")
    log = DriverLog(path, calls.session, calls.finished(), cut_off)
    if not log.drives:
        raise InvalidInput(f"log {path}: expected a driver_request or more, got none")
    return log


class _Calls:
    """Sorts entries into steps."""

    def __init__(self, without: set[str]) -> None:
        self.session: egodriver_pb2.DriveSessionRequest | None = None
        self._without = without
        self._steps: list[Step] = []
        self._told: list[Call] = []
        self._poses: list[common_pb2.PoseAtTime] = []

    def add(self, entry: logging_pb2.LogEntry) -> None:
        kind = entry.WhichOneof("log_entry")
        if kind == "driver_session_request":
            if self.session is not None:
                raise InvalidInput("log: expected one driver_session_request, got another")
            self.session = entry.driver_session_request
        elif kind == "driver_request":
            self._end_step(entry.driver_request)
        elif kind in OBSERVATIONS:
            what, method = OBSERVATIONS[kind]
            if what not in self._without:
                self._told.append(Call(method, getattr(entry, kind)))
            if kind == "driver_ego_trajectory":
                self._poses += entry.driver_ego_trajectory.trajectory.poses

    def finished(self) -> tuple[Step, ...]:
        if self._told:
            self._end_step(None)
        return tuple(self._steps)

    def _end_step(self, request: egodriver_pb2.DriveRequest | None) -> None:
        newest = None
        if request is not None:
            past = [pose for pose in self._poses if pose.timestamp_us <= request.time_now_us]
            newest = max(past, key=lambda pose: pose.timestamp_us, default=None)
            self._poses = [pose for pose in self._poses if pose.timestamp_us > request.time_now_us]
            if newest is not None:
                self._poses.append(newest)
        self._steps.append(Step(len(self._steps), tuple(self._told), request, newest))
        self._told = []
