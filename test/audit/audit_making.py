"""Decisions as a planner makes them, of a vehicle that drives straight on, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpamayo_ros.audit.decision import Decision, OdometryWindow, Outcome
from alpamayo_ros.audit.identity import ModelIdentity
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.sensing.ego_history import EgoHistory, History
from alpamayo_ros.types import Observation, Plan, PlanOptions

T0_NS = 1_700_000_000 * 10**9
SPEED_MPS = 8.0
PERIOD_NS = 10**8
RIG = "name: audit\nrig_frame: base_link\ncameras:\n  - {role: front_wide, topic: /front, transport: raw}\n"


def session(**changes: Any) -> AuditSession:
    """The first record of a log."""
    values: dict[str, Any] = {
        "rig_frame": "base_link",
        "rig_path": "/rigs/audit.yaml",
        "rig_texts": {"": RIG},
        "odometry_topic": "/odometry",
        "camera_topics": {1: "/front"},
        "model": ModelIdentity(model_id="made", kind="made"),
        "parameters": {"seed": 5, "instruction": "", "frame_ids": ["a", "b"]},
        "started_ns": T0_NS,
        "software": "test",
    }
    return AuditSession(**{**values, **changes})


def odometry(t0_ns: int) -> OdometryWindow:
    """Poses every 60 ms along the x axis of odom, over all of the history; few are of its very times."""
    stamps_ns = t0_ns + np.arange(-27, 2, dtype=np.int64) * 60_000_000 + 5_000_000
    poses = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
    poses[:, 0, 3] = (stamps_ns - T0_NS) / 1e9 * SPEED_MPS
    return OdometryWindow(stamps_ns, poses)


def observation(t0_ns: int) -> Observation:
    """What is seen at t0: a grey that changes, and the history that the odometry gives."""
    window, ego = odometry(t0_ns), EgoHistory()
    for stamp_ns, pose in zip(window.stamps_ns.tolist(), window.odom_from_rig, strict=True):
        ego.add(stamp_ns, pose)
    history = ego.at(t0_ns)
    assert isinstance(history, History)
    stamps_ns = t0_ns + np.array([[-3, -2, -1, 0]], dtype=np.int64) * PERIOD_NS
    frames = np.zeros((1, 4, 3, 8, 8), np.uint8)
    frames[:] = (stamps_ns[0] // PERIOD_NS % 251).astype(np.uint8)[None, :, None, None, None]
    return Observation(
        t0_ns=t0_ns,
        camera_ids=(1,),
        frames=frames,
        frame_stamps_ns=stamps_ns,
        history_xyz_in_rig_t0=history.xyz_in_rig_t0,
        history_rot_in_rig_t0=history.rot_in_rig_t0,
        rig_pose_in_odom_at_t0=history.rig_pose_in_odom_at_t0,
    )


def plan(t0_ns: int, *, reasoning: str = "Keep lane since the road is clear.") -> Plan:
    """Straight on at the speed that it has."""
    xyz = np.zeros((1, 64, 3), np.float32)
    xyz[0, :, 0] = SPEED_MPS * 0.1 * np.arange(1, 65)
    return Plan(
        t0_ns=t0_ns,
        xyz_in_rig_t0=xyz,
        rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (1, 64, 1, 1)),
        accel_mps2=np.zeros((1, 64), np.float32),
        curvature_per_m=np.zeros((1, 64), np.float32),
        speed_mps=np.full((1, 65), SPEED_MPS, np.float32),
        normalised_action=np.zeros((1, 64, 2), np.float32),
        reasoning=(reasoning,),
        reasoning_complete=(True,),
        meta_action=("",),
        token_ids=((1, 2, 3),),
        sections=(None,),
        seed=5,
    )


def valid(number: int) -> Decision:
    """The decision of the plan that begins `number` periods after T0_NS: it passed and drives."""
    t0_ns = T0_NS + number * PERIOD_NS
    supervisor, seen, now_ns = Supervisor(), observation(t0_ns), t0_ns + 50_000_000
    judgement = supervisor.judge(plan(t0_ns), seen, odometry_speed_mps=SPEED_MPS, now_ns=now_ns)
    assert judgement.drives, judgement.refusal
    return Decision(
        outcome=Outcome.VALID,
        decided_ns=now_ns,
        observation=seen,
        odometry=odometry(t0_ns),
        options=PlanOptions(seed=5),
        judgement=judgement,
        settings=supervisor.settings,
        latency_ms=50.0,
        published_ns=now_ns + 1_000_000,
    )
