"""Planner and watchdog as users start them, a process each; the planner is killed while it drives."""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from planner_harness import World, graph
from scripted_planner import SPEED, pose
from watchdog_harness import Observer, Traffic, after, child, rig_file, t0_ns, until

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.srv import Engage

PLANNER = ["-m", "alpamayo_ros.nodes.planner"]
WATCHDOG = ["-m", "alpamayo_ros.nodes.watchdog"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small model whose flow moves nothing: it keeps the speed and the curvature of the history."""
    from safetensors.torch import load_file, save_file

    from alpamayo_ros.model.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "steady"
    write_random_checkpoint(folder, size="tiny", seed=0)
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    for name in tensors:
        if "action_out_proj" in name:
            tensors[name].zero_()
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def engage(world: World) -> None:
    """Engage the planner as soon as it lets itself be engaged."""
    client = world.node.create_client(Engage, "engage")
    until(lambda: world.call(client, Engage.Request(engage=True)).success, "the planner to be engaged", 60)


def test_the_vehicle_is_stopped_when_the_planner_is_killed(tmp_path, checkpoint):
    rig = rig_file(tmp_path)
    options = {
        "rig": rig,
        "checkpoint": checkpoint,
        "device": "cpu",
        "autostart": True,
        "noise_temperature": 0.0,
        "max_reasoning_tokens": 4,
        "max_plan_age": 3.0,
    }
    with graph(sim_time=False) as (corner, world), Traffic(world, cameras=True):
        observer = Observer(world)
        with child(corner, WATCHDOG, rig=rig, timeout_ms=5000.0) as watchdog:
            with child(corner, PLANNER, **options) as planner:
                until(lambda: any(m.status == PlanMsg.STATUS_VALID for _, m in observer.plans), "plans", 90)
                engage(world)
                until(lambda: guarding(observer), "the watchdog to guard")
                until(lambda: valid_of_late(observer), "a fresh valid plan")
                planner.send_signal(signal.SIGKILL)
                killed = time.monotonic()
                planner.wait()
            until(lambda: after(observer.of_watchdog(), killed), "a stop")
            first_at = next(at for at, _ in observer.of_watchdog() if at > killed)
            print(f"first stop {1e3 * (first_at - killed):.0f} ms after SIGKILL")
            assert first_at - killed < 2.0  # 0.5 s of heartbeat, on a machine that may be busy
            stop_is_good(after(observer.of_watchdog(), killed)[0], observer)

            with child(corner, PLANNER, **options):
                restarted = time.monotonic()
                until(lambda: after(observer.of_planner(), restarted), "the restarted planner", 90)
                assert len(after(observer.of_watchdog(), killed)) >= 10
                until(lambda: observer.status()["acting"] == "false", "the watchdog to yield")
                until(lambda: valid_of_late(observer), "valid plans")
                assert not observer.of_planner()[-1][1].engaged
            watchdog.send_signal(signal.SIGINT)
            output, _ = watchdog.communicate(timeout=20)
            assert watchdog.returncode == 0, output
            assert "the planner drives again" in output


def guarding(observer: Observer) -> bool:
    status = observer.status()
    return (status.get("guarding"), status.get("engaged"), status.get("acting")) == ("true", "true", "false")


def valid_of_late(observer: Observer) -> bool:
    """Return whether the newest message is a valid plan, and the watchdog has had nothing to do of late."""
    at, msg = observer.plans[-1]
    stops = observer.of_watchdog()
    return msg.status == PlanMsg.STATUS_VALID and (not stops or at - stops[-1][0] > 1.0)


def stop_is_good(msg: PlanMsg, observer: Observer) -> None:
    """Check that a stop begins at the vehicle, gets slower, and goes along the last valid path."""
    assert msg.status == PlanMsg.STATUS_FALLBACK
    assert msg.engaged
    assert "liveliness was lost" in msg.status_reason
    stop = plan_from_msg(msg)
    x, y, _ = pose(t0_ns(msg))
    np.testing.assert_allclose(stop.odom_from_rig_t0[:2, 3], (x, y), atol=0.1)
    speed = stop.plan.speed_mps[0]
    assert speed[0] == pytest.approx(SPEED, abs=0.3)
    assert speed[-1] < 0.1
    assert (np.diff(speed) < 1e-3).all()
    valid = [m for _, m in observer.of_planner() if m.status == PlanMsg.STATUS_VALID][-1]
    path = in_odom(valid)
    dense = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(path)])
    off = np.linalg.norm(in_odom(msg)[:, None] - dense[None], axis=-1).min(axis=1)
    # The vehicle has driven on along a bend, where the model did not lead it. The stop leads it back; on the
    # arc that it drives on it would end far from the path.
    length_m = float(np.linalg.norm(np.diff(in_odom(msg), axis=0), axis=1).sum())
    ahead_x, ahead_y, _ = pose(t0_ns(msg) + round(1e9 * length_m / SPEED))
    arc_off = np.linalg.norm(dense[:, :2] - (ahead_x, ahead_y), axis=-1).min()
    assert off[-1] < 0.5 * arc_off
    assert off.max() < 1.5


def in_odom(msg: PlanMsg) -> np.ndarray:
    """Return the waypoints of a plan in the odometry frame, its start first."""
    published = plan_from_msg(msg)
    pose_t0 = published.odom_from_rig_t0
    xyz = np.concatenate([np.zeros((1, 3)), published.plan.xyz_in_rig_t0[published.plan.chosen]])
    return xyz @ pose_t0[:3, :3].T + pose_t0[:3, 3]
