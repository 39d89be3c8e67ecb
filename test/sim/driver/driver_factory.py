"""A drive to tell a driver of, planners that are scripted, and golden's recorded session step by step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.sensing.rigid import Matrix4, compose
from alpamayo_ros.sim.cameras import LOGICAL_IDS, default_cameras
from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.planners import DriverPlanners
from alpamayo_ros.sim.driver.session import DrivingSession
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.convert import camera_spec
from alpamayo_ros.sim.protocol.egodriver_messages import (
    CameraFrame,
    DriveAnswer,
    DriveSession,
    Egomotion,
    Route,
    egomotion_of,
    frame_of,
    route_of,
    session_of,
)
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.trajectories import require_trajectory
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, PrepareFrame, UInt8Array

STEP_US = 100_000
START_US = 1_700_000_000_000_000
SPEED_MPS = 8.0
YAW_RATE_RADPS = 0.1
CAMERA_IDS = (0, 1, 2, 6)


def pose_at(time_us: int) -> Matrix4:
    """Return where the rig is on its circle, [4, 4] in local, of 8 m/s and 0.1 rad/s."""
    angle = YAW_RATE_RADPS * (time_us - START_US) / 1e6
    radius = SPEED_MPS / YAW_RATE_RADPS
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return compose(rotation, [radius * s, radius * (1 - c), 0.5])


def egomotion(*stamps_us: int) -> Egomotion:
    """Return the poses at stamps."""
    return Egomotion(np.array(stamps_us, np.int64), np.stack([pose_at(stamp) for stamp in stamps_us]))


def picture(value: int = 90, *, width: int = 64, height: int = 36, suffix: str = ".jpg") -> bytes:
    """Return an encoded image of one grey."""
    encoded = cv2.imencode(suffix, np.full((height, width, 3), value, np.uint8))[1]
    return bytes(encoded.tobytes())


def frame(camera_id: int, time_us: int, image: bytes | None = None) -> CameraFrame:
    """Return a picture of a camera; its grey tells its time: 10 a step, as read by `shade`."""
    grey = 10 + 10 * (((time_us - START_US) // STEP_US) % 20)
    image = picture(grey) if image is None else image
    return CameraFrame(LOGICAL_IDS[camera_id], time_us - 30_000, time_us, image)


def shade(pixels: UInt8Array) -> int:
    """Return the step that a picture of `frame` is of."""
    return round((float(pixels.mean()) - 10) / 10)


def route(time_us: int, *, turn_at_m: float | None = None) -> Route:
    """Return AlpaSim's 20 points: straight on, or left at a corner."""
    along = np.arange(20) * 80.0 / 19.0
    corner = np.inf if turn_at_m is None else turn_at_m
    points = np.zeros((20, 3))
    points[:, 0], points[:, 1] = np.minimum(along, corner), np.maximum(along - corner, 0.0)
    return Route(time_us, points)


def drive_session(uuid: str = "0a1b2c3d-e665-11f1-b417-02fc00000001", *, seed: int = 7) -> DriveSession:
    """Return a session of the simulator's seven cameras."""
    cameras = {
        camera.logical_id: AvailableCamera(
            camera.logical_id, camera_spec(camera.model, camera.logical_id), camera.rig_from_camera
        )
        for camera in default_cameras()
    }
    return DriveSession(uuid, seed, "a-scene", cameras)


class ScriptedPlanner:
    """Constant velocity, changed by `edit`; remembers what it saw. `edit` may raise."""

    def __init__(self, edit: Callable[[Plan], Plan] = lambda plan: plan, *, num_samples: int = 1) -> None:
        self.edit, self.num_samples = edit, num_samples
        self.observations: list[Observation] = []
        self.closed = 0

    def plan(self, observation: Observation) -> Plan:
        self.observations.append(observation)
        plan = ConstantVelocityPlanner().plan(observation)
        return self.edit(repeat(plan, self.num_samples))

    def close(self) -> None:
        self.closed += 1


def repeat(plan: Plan, count: int) -> Plan:
    """Return a plan of `count` equal samples with reasoning of their own."""
    arrays = {
        name: np.repeat(getattr(plan, name), count, axis=0)
        for name in (
            "xyz_in_rig_t0",
            "rot_in_rig_t0",
            "accel_mps2",
            "curvature_per_m",
            "speed_mps",
            "normalised_action",
        )
    }
    texts = {
        name: getattr(plan, name) * count
        for name in ("reasoning_complete", "meta_action", "token_ids", "sections")
    }
    return replace(plan, **arrays, **texts, reasoning=tuple(f"Sample {k}." for k in range(count)))


@dataclass(eq=False)
class ScriptedPlanners:
    """DriverPlanners around one scripted planner for all."""

    planner: ScriptedPlanner
    model_id: str = "scripted"
    takes_instruction: bool = True
    prepare_frame: PrepareFrame | None = None
    seeds: tuple[int, ...] = ()

    @property
    def num_samples(self) -> int:
        return self.planner.num_samples

    def start(self, session: DriveSession, *, seed: int) -> Planner:
        self.seeds = (*self.seeds, seed)
        return self.planner


def sim_rig() -> Rig:
    return load_rig("sim")


class Drive:
    """A session that is told of the circle, step by step.

    Args:
        planner: a scripted one.
        planners: instead of that one's.
        settings: the driver's.
        history_s: how long the first egomotion reaches back; the first step is at START_US + this.
        watcher: the driver's.
    """

    def __init__(
        self,
        planner: ScriptedPlanner | None = None,
        *,
        settings: DriverSettings | None = None,
        history_s: float = 1.5,
        planners: DriverPlanners | None = None,
        **driver: object,
    ) -> None:
        self.planner = planner or ScriptedPlanner()
        self.planners = ScriptedPlanners(self.planner)
        self.driver = Driver(planners or self.planners, sim_rig(), settings, **driver)  # type: ignore[arg-type]
        self.session: DrivingSession = self.driver.start(drive_session())
        self.now_us = START_US + round(history_s * 1e6)
        self.session.add_egomotion(egomotion(*range(START_US, self.now_us + 1, STEP_US)))

    def tell(self, *, cameras: Iterable[int] = CAMERA_IDS, poses: bool = True, turn: bool = False) -> None:
        """Tell pictures, pose and route of now."""
        for camera_id in cameras:
            self.session.add_frame(frame(camera_id, self.now_us))
        if poses:
            self.session.add_egomotion(egomotion(self.now_us))
        self.session.set_route(route(self.now_us, turn_at_m=30.0 if turn else None))

    def ask(self) -> DriveAnswer:
        """Ask for a trajectory from now on."""
        return self.session.drive(self.now_us, self.now_us + STEP_US, still_wanted=lambda: True)

    def step(self, **told: object) -> DriveAnswer:
        """Tell, ask, and go on by a step."""
        self.tell(**told)  # type: ignore[arg-type]
        answer = self.ask()
        self.now_us += STEP_US
        return answer

    def close(self) -> None:
        self.session.close()
        self.driver.close()


def info(answer: DriveAnswer) -> dict[str, object]:
    """Return an answer's debug info."""
    return dict(json.loads(answer.debug_info))


def check(answer: DriveAnswer, now_us: int) -> None:
    """Check what every answer must be, as AlpaSim's controller and its minADE want it."""
    require_trajectory("answer", *answer.trajectory, now_us=now_us)
    np.testing.assert_allclose(answer.trajectory[1][0], pose_at(now_us), atol=1e-6)
    assert answer.samples
    for stamps_us, poses in answer.samples:
        assert stamps_us[0] == now_us and stamps_us[-1] - now_us >= 5_000_000
        assert np.all(np.diff(stamps_us) > 0) and np.isfinite(poses).all()


def broken(what: str) -> ScriptedPlanner:
    """Return a planner of three samples that fails in one way."""

    def edit(plan: Plan) -> Plan:
        xyz, rot = plan.xyz_in_rig_t0.copy(), plan.rot_in_rig_t0.copy()
        if what == "raises":
            raise RuntimeError("no room")
        if what == "refuses":
            raise InvalidInput("too dark")
        if what == "nan":
            xyz[:, 30] = np.nan
        if what == "nan rotation":
            rot[:, 3] = np.nan
        if what == "skewed":
            rot[:, 3, 0, 0] += 0.5
        if what == "mirrored":
            rot[:, 3, 2] *= -1.0
        if what == "starts elsewhere":
            xyz[:, :, 0] += 10.0
        if what == "reverses":
            xyz[:, :, 0] *= -1.0
        if what == "other t0":
            return replace(plan, t0_ns=plan.t0_ns + 1)
        return replace(plan, xyz_in_rig_t0=xyz, rot_in_rig_t0=rot)

    return ScriptedPlanner(edit, num_samples=3)


@dataclass(frozen=True, eq=False)
class RecordedStep:
    """One step of golden's session: what was told before drive."""

    now_us: int
    query_us: int
    frames: tuple[CameraFrame, ...]
    egomotion: Egomotion
    route: Route


def recorded_session(log: Path) -> tuple[DriveSession, list[RecordedStep]]:
    """Return golden's session and its steps."""
    session: DriveSession | None = None
    steps: list[RecordedStep] = []
    frames: list[CameraFrame] = []
    poses: Egomotion | None = None
    way: Route | None = None
    for entry in read_entries(log):
        kind = entry.WhichOneof("log_entry")
        if kind == "driver_session_request":
            session = session_of(entry.driver_session_request)
        elif kind == "driver_camera_image":
            frames.append(frame_of(entry.driver_camera_image.camera_image))
        elif kind == "driver_ego_trajectory":
            poses = egomotion_of(entry.driver_ego_trajectory)
        elif kind == "route_request":
            way = route_of(entry.route_request.route)
        elif kind == "driver_request":
            assert poses is not None and way is not None
            request = entry.driver_request
            steps.append(RecordedStep(request.time_now_us, request.time_query_us, tuple(frames), poses, way))
            frames = []
    assert session is not None
    return session, steps
