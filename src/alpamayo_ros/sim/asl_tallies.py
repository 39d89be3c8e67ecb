"""Counts of a log's entries by theme: cameras, actors, drives, controller. Each keeps figures, no entries."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from alpamayo_ros.sensing.images import compressed_size
from alpamayo_ros.sim.protocol.generated import (
    common_pb2,
    controller_pb2,
    egodriver_pb2,
    logging_pb2,
    sensorsim_pb2,
)
from alpamayo_ros.types import InvalidInput

MOVED_M = 0.05
"""An actor that is never farther from its first place than this is static."""
DEBUG_KINDS = ("json", "pickle", "other", "none")
PLAN_FAULTS = ("empty", "stamps repeat or fall", "not finite", "begins after now", "begins before now")
"""What AlpaSim's controller refuses, or (numbers that are not finite) lets through, or has to resample."""


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some numbers."""

    least: float
    median: float
    greatest: float


def spread(values: list[float]) -> Spread | None:
    """Return the spread of numbers, None of none."""
    if not values:
        return None
    return Spread(float(np.min(values)), float(np.median(values)), float(np.max(values)))


@dataclass(frozen=True)
class CameraSummary:
    """One camera. Sizes are "WIDTHxHEIGHT" -> how many.

    Attributes:
        logical_id: its name on the wire.
        model: which parameters its intrinsics are given by, "" where no entry tells.
        native_size: of the intrinsics, "" where no entry tells.
        requests: pictures asked of the renderer; `requested_sizes` of them.
        images: pictures sent to the driver; `image_sizes` as they say themselves.
        broken_images: what is no JPEG or PNG from its beginning to its end.
        image_bytes: of all images.
        rate_hz: of the images, or of the requests where there are none; None below two instants.
    """

    logical_id: str
    model: str
    native_size: str
    requests: int
    requested_sizes: dict[str, int]
    images: int
    image_sizes: dict[str, int]
    broken_images: int
    image_bytes: int
    rate_hz: float | None


class CameraTally:
    """Counts one camera's requests and images."""

    def __init__(self) -> None:
        self._spec: sensorsim_pb2.CameraSpec | None = None
        self._requested: Counter[str] = Counter()
        self._decoded: Counter[str] = Counter()
        self._broken = self._bytes = 0
        self._requested_us: set[int] = set()
        self._image_us: set[int] = set()

    def define(self, spec: sensorsim_pb2.CameraSpec) -> None:
        """Take the camera's intrinsics; the first ones count."""
        if self._spec is None and spec.WhichOneof("camera_param") is not None:
            self._spec = spec

    def add_request(self, request: sensorsim_pb2.RGBRenderRequest) -> None:
        """Count a picture that was asked for."""
        self.define(request.camera_intrinsics)
        self._requested[f"{request.resolution_w}x{request.resolution_h}"] += 1
        self._requested_us.add(request.frame_end_us)

    def add_image(self, image: egodriver_pb2.RolloutCameraImage.CameraImage) -> None:
        """Count a picture that the driver was sent, by its header: decoding a log's would take a minute."""
        self._bytes += len(image.image_bytes)
        self._image_us.add(image.frame_end_us)
        try:
            height, width = compressed_size(image.image_bytes)
        except InvalidInput:
            self._broken += 1
        else:
            self._decoded[f"{width}x{height}"] += 1

    def summary(self, logical_id: str) -> CameraSummary:
        """Return the counts."""
        spec, stamps = self._spec, self._image_us or self._requested_us
        seconds = (max(stamps) - min(stamps)) / 1e6 if stamps else 0.0
        kind = "" if spec is None else str(spec.WhichOneof("camera_param"))
        return CameraSummary(
            logical_id,
            model=kind.removesuffix("_param").replace("_", " "),
            native_size="" if spec is None else f"{spec.resolution_w}x{spec.resolution_h}",
            requests=self._requested.total(),
            requested_sizes=dict(self._requested.most_common()),
            images=self._decoded.total() + self._broken,
            image_sizes=dict(self._decoded.most_common()),
            broken_images=self._broken,
            image_bytes=self._bytes,
            rate_hz=(len(stamps) - 1) / seconds if seconds > 0 else None,
        )


@dataclass(frozen=True)
class ActorSummary:
    """One road user, the ego too.

    Attributes:
        actor_id, label: as in the log; label "" where it has none.
        size_xyz_m: its box, None where the log does not define it.
        steps: instants at which it has a pose.
        moving: whether it left its first place by more than MOVED_M; None without a pose.
        travelled_m: length of its way over all steps.
    """

    actor_id: str
    label: str
    size_xyz_m: tuple[float, float, float] | None
    steps: int
    moving: bool | None
    travelled_m: float


class ActorTally:
    """Follows one actor's poses."""

    def __init__(self) -> None:
        self._first: tuple[float, float, float] | None = None
        self._last = (0.0, 0.0, 0.0)
        self._steps, self._travelled_m, self._farthest_m = 0, 0.0, 0.0

    def add(self, pose: common_pb2.Pose) -> None:
        """Take the next pose."""
        here = (pose.vec.x, pose.vec.y, pose.vec.z)
        if self._first is None:
            self._first = self._last = here
        self._travelled_m += math.dist(here, self._last)
        self._farthest_m = max(self._farthest_m, math.dist(here, self._first))
        self._last = here
        self._steps += 1

    def summary(
        self, actor_id: str, definition: logging_pb2.RolloutMetadata.ActorDefinitions.ActorAABB | None
    ) -> ActorSummary:
        """Return what the actor is and did."""
        box = None if definition is None else definition.aabb
        return ActorSummary(
            actor_id,
            label="" if definition is None else definition.actor_label,
            size_xyz_m=None if box is None else (box.size_x, box.size_y, box.size_z),
            steps=self._steps,
            moving=self._farthest_m > MOVED_M if self._steps else None,
            travelled_m=self._travelled_m,
        )


@dataclass(frozen=True)
class DriveSummary:
    """The driver's answers.

    Attributes:
        requests, answers: of drive().
        horizon_s: how far beyond time_now the plans reach.
        points: poses a plan.
        samples: sampled trajectories an answer.
        sample_horizon_s: how far beyond time_now those reach; AlpaSim wants 5 s or the rollout's end.
        faults: PLAN_FAULTS -> answers that have them.
        terminations: answers that asked to end the session.
        debug_info: DEBUG_KINDS -> answers whose debug info is of that kind. Pickles are not opened.
        reasoning: texts of JSON debug info -> answers that gave them, in order of appearance.
        sources: what made the plans by that JSON ("plan", "stop", ...) -> answers.
        routes: route messages; route_points: finite waypoints of each; None without a message.
        egomotion_batches, egomotion_poses: of the ego's poses sent to the driver.
        ground_truths: recordings sent to the driver (off by default in AlpaSim).
    """

    requests: int
    answers: int
    horizon_s: Spread | None
    points: Spread | None
    samples: Spread | None
    sample_horizon_s: Spread | None
    faults: dict[str, int]
    terminations: int
    debug_info: dict[str, int]
    reasoning: dict[str, int]
    sources: dict[str, int]
    routes: int
    route_points: Spread | None
    egomotion_batches: int
    egomotion_poses: int
    ground_truths: int


class DriveTally:
    """Follows the talk with the driver."""

    def __init__(self) -> None:
        self._now_us: int | None = None
        self._requests = self._terminations = self._egomotion_batches = self._egomotion_poses = 0
        self.ground_truths = 0
        self._horizons: list[float] = []
        self._sample_horizons: list[float] = []
        self._points: list[float] = []
        self._samples: list[float] = []
        self._route_points: list[float] = []
        self._faults: Counter[str] = Counter()
        self._debug: Counter[str] = Counter()
        self._reasoning: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()

    def add_request(self, request: egodriver_pb2.DriveRequest) -> None:
        """Take a question; the next answer is to it."""
        self._requests += 1
        self._now_us = request.time_now_us

    def add_route(self, request: egodriver_pb2.RouteRequest) -> None:
        """Take a route; its padding with NaN does not count."""
        self._route_points.append(sum(math.isfinite(point.x) for point in request.route.waypoints))

    def add_egomotion(self, batch: egodriver_pb2.RolloutEgoTrajectory) -> None:
        """Take a batch of the ego's poses."""
        self._egomotion_batches += 1
        self._egomotion_poses += len(batch.trajectory.poses)

    def add_answer(self, answer: egodriver_pb2.DriveResponse) -> None:
        """Take an answer."""
        poses = answer.trajectory.poses
        stamps = [pose.timestamp_us for pose in poses]
        now_us = self._now_us if self._now_us is not None else (stamps[0] if stamps else 0)
        self._points.append(len(stamps))
        self._faults.update(_faults(answer.trajectory, now_us))
        if stamps:
            self._horizons.append((stamps[-1] - now_us) / 1e6)
        sampled = answer.debug_info.sampled_trajectories
        self._samples.append(len(sampled))
        self._sample_horizons += [
            (each.poses[-1].timestamp_us - now_us) / 1e6 for each in sampled if each.poses
        ]
        self._terminations += answer.terminate_session
        kind, told = debug_info(answer.debug_info.unstructured_debug_info)
        self._debug[kind] += 1
        for name, counter in (("reasoning_text", self._reasoning), ("source", self._sources)):
            if text := told.get(name):
                counter[str(text)] += 1

    def summary(self) -> DriveSummary:
        """Return the figures."""
        return DriveSummary(
            requests=self._requests,
            answers=len(self._points),
            horizon_s=spread(self._horizons),
            points=spread(self._points),
            samples=spread(self._samples),
            sample_horizon_s=spread(self._sample_horizons),
            faults={name: self._faults[name] for name in PLAN_FAULTS if self._faults[name]},
            terminations=self._terminations,
            debug_info={kind: self._debug[kind] for kind in DEBUG_KINDS if self._debug[kind]},
            reasoning=dict(self._reasoning),
            sources=dict(self._sources),
            routes=len(self._route_points),
            route_points=spread(self._route_points),
            egomotion_batches=self._egomotion_batches,
            egomotion_poses=self._egomotion_poses,
            ground_truths=self.ground_truths,
        )


def debug_info(data: bytes) -> tuple[str, dict[str, object]]:
    """Return what a driver's debug info is (of DEBUG_KINDS) and, of a JSON object, what it says.

    AlpaSim's own drivers send a pickle. Opening one runs whatever its writer wished, so it is told by its
    first bytes (protocols 2 to 5) and left closed.
    """
    if not data:
        return "none", {}
    if data[0] == 0x80 and len(data) > 1 and 2 <= data[1] <= 5 and data[-1:] == b".":
        return "pickle", {}
    try:
        told = json.loads(data)
    except ValueError:
        return "other", {}
    return "json", told if isinstance(told, dict) else {}


def _faults(plan: common_pb2.Trajectory, now_us: int) -> list[str]:
    """Return which of PLAN_FAULTS a plan has."""
    if not plan.poses:
        return ["empty"]
    stamps = [pose.timestamp_us for pose in plan.poses]
    numbers = [
        (v.x, v.y, v.z, q.w, q.x, q.y, q.z)
        for v, q in ((pose.pose.vec, pose.pose.quat) for pose in plan.poses)
    ]
    found = (
        ("stamps repeat or fall", any(after <= before for before, after in pairwise(stamps))),
        ("not finite", not bool(np.isfinite(numbers).all())),
        ("begins after now", stamps[0] > now_us),
        ("begins before now", stamps[0] < now_us),
    )
    return [name for name, is_so in found if is_so]


@dataclass(frozen=True)
class ControllerSummary:
    """The controller's steps.

    Attributes:
        requests, answers: of run_controller_and_vehicle().
        step_s: from a request's state to the instant that it asks for.
        speed_mps: of the rig, in the requests.
        states: poses an answer.
    """

    requests: int
    answers: int
    step_s: Spread | None
    speed_mps: Spread | None
    states: Spread | None


class ControllerTally:
    """Follows the talk with the controller."""

    def __init__(self) -> None:
        self._steps_s: list[float] = []
        self._speeds: list[float] = []
        self._states: list[float] = []

    def add_request(self, request: controller_pb2.RunControllerAndVehicleModelRequest) -> None:
        """Take a step that was asked for."""
        velocity = request.state.state.linear_velocity
        self._steps_s.append((request.future_time_us - request.state.timestamp_us) / 1e6)
        self._speeds.append(math.hypot(velocity.x, velocity.y))

    def add_answer(self, answer: controller_pb2.RunControllerAndVehicleModelResponse) -> None:
        """Take an answer; older controllers fill the single fields, newer ones the list."""
        self._states.append(len(answer.states) or int(answer.HasField("pose_local_to_rig")))

    def summary(self) -> ControllerSummary:
        """Return the figures."""
        return ControllerSummary(
            requests=len(self._steps_s),
            answers=len(self._states),
            step_s=spread(self._steps_s),
            speed_mps=spread(self._speeds),
            states=spread(self._states),
        )
