"""Drives, plans and policies whose worth is known."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.bags.synthetic.bag import ODOMETRY_TOPIC, SyntheticDrive, write_synthetic_bag
from alpamayo_ros.evaluation.row import Truth, sightless
from alpamayo_ros.evaluation.track import DriveTrack
from alpamayo_ros.sensing.rig import Rig, load_rig
from alpamayo_ros.sensing.timing import TimingConfig
from alpamayo_ros.sim.planners.motion import Motion, make_plan, speed_from_history
from alpamayo_ros.types import NUM_WAYPOINTS, Observation, Plan, PrepareFrame, StageTimes

T0_NS = 1_700_000_000_000_000_000


def small_rig(*names: str) -> Rig:
    """The default rig with some of its cameras; odometry on /odom."""
    rig = load_rig("default")
    cameras = tuple(camera for camera in rig.cameras if camera.name in (names or ("front_wide",)))
    return replace(rig, cameras=cameras, odometry_topic=ODOMETRY_TOPIC, reference_camera_id=-1)


def write_small_bag(path: Path, *, seconds: float = 12.0, rig: Rig | None = None, seed: int = 0) -> Path:
    """A synthetic drive with tiny pictures."""
    drive = SyntheticDrive(seconds=seconds, width=96, height=54, seed=seed)
    write_synthetic_bag(path, rig or small_rig(), drive=drive)
    return path


def rig_file(path: Path) -> Path:
    """The small rig as a file."""
    path.write_text(
        "name: one\nodometry: {topic: /odom}\ncameras:\n"
        "  - {role: front_wide, topic: /camera/front_wide/image/compressed, transport: compressed}\n"
    )
    return path


def circle_track(
    *, radius_m: float, speed_mps: float, seconds: float = 20.0, step_s: float = 0.02
) -> DriveTrack:
    """A drive on a circle to the left (to the right for a negative radius), from the origin along x."""
    times = np.arange(0.0, seconds, step_s)
    yaw = speed_mps * times / radius_m
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("z", yaw[:, None]).as_matrix()
    poses[:, 0, 3], poses[:, 1, 3] = radius_m * np.sin(yaw), radius_m * (1 - np.cos(yaw))
    stamps = T0_NS + np.round(times * 1e9).astype(np.int64)
    return DriveTrack(stamps, poses, timing=TimingConfig())


def truth_of(
    track: DriveTrack, time_s: float, *, manoeuvre: str = "straight", instruction: str = ""
) -> Truth:
    """What is known of a track's instant."""
    t0_ns = T0_NS + round(time_s * 1e9)
    history = track.history(t0_ns)
    pose = history.rig_pose_in_odom_at_t0
    observation = sightless(
        t0_ns,
        history.xyz_in_rig_t0,
        history.rot_in_rig_t0,
        odom_from_rig_t0=pose,
        instruction=instruction or None,
    )
    way = track.way_after(t0_ns, pose, until_ns=t0_ns + 10_000_000_000)
    return Truth(observation, track.known_future(t0_ns, pose), way, manoeuvre, "5-10 m/s")


def plan_of(truth: Truth, *, left_m: float = 0.0, text: str = "Keep lane.", candidates: int = 1) -> Plan:
    """The drive's own 6.4 s as a plan, each candidate a metre further to the left of the one before."""
    xyz = np.repeat(truth.driven.xyz_in_rig_t0[None], candidates, axis=0)
    normal = truth.driven.rot_in_rig_t0[:, :, 1]
    shift = left_m + np.arange(candidates, dtype=np.float32)
    xyz = xyz + shift[:, None, None] * normal
    still = Motion(np.zeros(NUM_WAYPOINTS), np.zeros(NUM_WAYPOINTS + 1), np.zeros(NUM_WAYPOINTS + 1))
    made = make_plan(
        [still] * candidates, t0_ns=truth.observation.t0_ns, reasoning=[text] * candidates, model="test"
    )
    rot = np.repeat(truth.driven.rot_in_rig_t0[None], candidates, axis=0)
    return replace(made, xyz_in_rig_t0=xyz.astype(np.float32), rot_in_rig_t0=rot)


@dataclass(frozen=True)
class StubPolicy:
    """Goes on at 0.9, 1.0 and 1.1 of its speed; the same observation gives the same plan.

    Attributes:
        dies_at: kills its own process when it is asked for so many plans; 0 for never.
        log: a line a plan is added there.
    """

    log: Path
    dies_at: int = 0

    def start(self, *, jobs: int) -> Callable[[Observation], Plan]:
        count = 0

        def plan(observation: Observation) -> Plan:
            nonlocal count
            count += 1
            if count == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with self.log.open("a") as file:
                file.write(f"{observation.t0_ns} {observation.frames_of(1).shape[-1]}\n")
            speed = speed_from_history(observation.history_xyz_in_rig_t0)
            motions = [
                Motion(
                    np.zeros(NUM_WAYPOINTS),
                    np.zeros(NUM_WAYPOINTS + 1),
                    np.full(NUM_WAYPOINTS + 1, speed * share),
                )
                for share in (0.9, 1.0, 1.1)
            ]
            texts = ("Keep speed, the road is clear.",) * 3
            made = make_plan(motions, t0_ns=observation.t0_ns, reasoning=texts, model="stub", chosen=1)
            return replace(made, times=StageTimes(vision_ms=2.0, total_ms=5.0, tokens=7))

        return plan

    def prepare_frame(self) -> PrepareFrame | None:
        return lambda frame: np.ascontiguousarray(frame[:, ::2, ::2])
