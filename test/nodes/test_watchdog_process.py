"""Planner and watchdog as users start them, a process each; the planner is killed while it drives."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from planner_harness import Graph, World, graph
from rcl_interfaces.srv import GetParameters
from scripted_planner import SPEED, pose
from watchdog_harness import Observer, Traffic, after, child, python, rig_file, t0_ns, until

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


@pytest.mark.long
def test_the_vehicle_is_stopped_along_its_last_path_when_the_planner_is_killed(tmp_path, checkpoint):
    """The shape of the stop; how soon it comes, in make test too, is test/faults/test_processes.py's."""
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


@pytest.mark.long
def test_alpamayo_run_starts_the_watchdog_beside_the_planner_and_lets_it_outlive_it(tmp_path):
    options = ["--rig", str(rig_file(tmp_path)), "--vehicle", "truck", "--no-autostart"]
    with graph(sim_time=False) as (corner, world):
        observer = Observer(world)
        getter = world.node.create_client(GetParameters, "watchdog/get_parameters")
        with run_vehicle(corner, options) as parent:
            until(lambda: "nothing to guard" in observer.status().get("message", ""), "the watchdog", 60)
            until(lambda: ("planner", f"/{corner.name}") in nodes(world), "the planner", 60)
            request = GetParameters.Request(names=["stop.comfort_decel_mps2", "rig"])
            values = world.call(getter, request).values
            assert (values[0].double_value, values[1].string_value) == (2.0, str(tmp_path / "rig.yaml"))

            (first,) = children(parent.pid)
            os.kill(first, signal.SIGKILL)
            until(lambda: children(parent.pid) not in ([], [first]), "another watchdog")
            heard = len(world.received["diagnostics"])
            until(lambda: of_watchdog(world, heard), "its diagnostics", 60)

            (second,) = children(parent.pid)
            try:
                parent.kill()
                parent.wait()
                heard = len(world.received["diagnostics"])
                until(lambda: of_watchdog(world, heard), "the diagnostics of one whose parent is dead")
                os.kill(second, signal.SIGTERM)
                until(lambda: not Path(f"/proc/{second}").exists(), "its end")
            finally:
                if Path(f"/proc/{second}").exists():
                    os.kill(second, signal.SIGKILL)

        with run_vehicle(corner, options) as parent:
            heard = len(world.received["diagnostics"])
            until(lambda: of_watchdog(world, heard), "the watchdog", 60)
            (child_pid,) = children(parent.pid)
            parent.send_signal(signal.SIGTERM)
            output, _ = parent.communicate(timeout=30)
            assert parent.returncode == 0, output
            assert not Path(f"/proc/{child_pid}").exists()


def test_a_watchdog_that_refuses_its_parameters_ends_the_vehicles_process(tmp_path):
    options = ["--rig", str(rig_file(tmp_path)), "--no-autostart", "--param", "watchdog:period_ms:=-1.0"]
    with graph(sim_time=False) as (corner, _), run_vehicle(corner, options) as parent:
        output, _ = parent.communicate(timeout=90)
        assert parent.returncode == 2, output
        assert "parameter period_ms: expected double 20 … 1000" in output


@contextmanager
def run_vehicle(corner: Graph, options: list[str]) -> Iterator[subprocess.Popen]:
    """Run `alpamayo run vehicle` on the graph's corner; it is killed at the end."""
    command = ["-m", "alpamayo_ros.cli.main", "run", "vehicle", "--namespace", corner.name, *options]
    for remap in corner.remaps:
        command += ["--remap", remap]
    with python(command) as process:
        try:
            yield process
        finally:
            for child_pid in children(process.pid) if process.poll() is None else []:
                os.kill(child_pid, signal.SIGKILL)  # it would outlive its parent


def nodes(world: World) -> list[tuple[str, str]]:
    return world.node.get_node_names_and_namespaces()


def children(pid: int) -> list[int]:
    """Return the children of a process, whichever of its threads started them."""
    found = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for child in itertools.chain.from_iterable(found)]


def of_watchdog(world: World, first: int) -> bool:
    """Return whether the watchdog has reported since so many messages."""
    return any(s.name == "alpamayo/watchdog" for m in world.received["diagnostics"][first:] for s in m.status)
