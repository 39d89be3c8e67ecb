"""The planner in operation: transitions again and again, a load that fails, signals at bad moments."""

from __future__ import annotations

import gc
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from nav_msgs.msg import Path as PathMsg
from planner_harness import Graph, ScriptedPlanner, World, active, connected, graph, running, wait_for
from rclpy.parameter import Parameter
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray
from watchdog_harness import child, rig_file

from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.msg import StageTimesStamped

CYCLES = 20
PLANNER = ["-m", "alpamayo_ros.nodes.planner"]
SLOW_PLANNER = [
    "-c",
    """
import sys, time
from planner_harness import ScriptedPlanner
from alpamayo_ros.nodes.planner import PlannerNode
from alpamayo_ros.ros.runner import run_node

class Slow(ScriptedPlanner):
    def plan(self, observation):
        time.sleep(float(sys.argv[1]))
        return super().plan(observation)

sys.exit(run_node(lambda: PlannerNode(planner=Slow()), sys.argv[2:]))
""",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_random_checkpoint(folder, size="tiny", seed=0)
    return folder


def resources() -> dict[str, float]:
    """Return what this process holds: threads, open files, MiB of memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (resident_kib,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    return {
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "memory_mib": resident_kib / 1024,
    }


def drive_once(world: World, *, to_plan: bool) -> None:
    """Go from unconfigured through every state to unconfigured, with a stop or a plan on the way."""
    assert world.transition("configure")
    for plans in (False, to_plan):
        assert world.transition("activate")
        connected(world)
        world.received["plan"].clear()
        world.drive(
            lambda plans=plans: world.plans if plans else world.stops,
            what="a message",
            pause_s=0.1 if plans else 0.03,
            timeout_s=60,
        )
        assert world.transition("deactivate")
    assert world.transition("cleanup")
    assert world.state() == "unconfigured"


@pytest.mark.parametrize("kind", ["scripted", pytest.param("checkpoint", marks=pytest.mark.long)])
def test_transitions_repeated_leave_nothing_behind(tmp_path, checkpoint, kind):
    options: dict[str, Any] = {"device": "cpu"}
    if kind == "checkpoint":
        options["checkpoint"] = str(checkpoint)
    planner = ScriptedPlanner() if kind == "scripted" else None
    with running(tmp_path, planner, **options) as (world, _):
        for _ in range(3):  # what libraries keep for the process is there then
            drive_once(world, to_plan=planner is not None)
        before = resources()
        for cycle in range(CYCLES):
            drive_once(world, to_plan=planner is not None and cycle % 5 == 0)
            for messages in world.received.values():
                messages.clear()
            if planner is not None:
                planner.observations.clear()
        wait_for(
            lambda: all(resources()[name] <= before[name] for name in ("threads", "files")),
            f"as few threads and files as before ({before}, {resources()})",
        )
        after = resources()
        print(f"\n{kind}: after {CYCLES} cycles {before} -> {after}")
        assert after["memory_mib"] - before["memory_mib"] < 20
        assert world.transition("configure")
        assert world.transition("activate")
        connected(world)
        world.drive(lambda: world.plans or (kind == "checkpoint" and world.stops), what="a message")


def test_deactivation_silences_every_topic_at_once(tmp_path):
    heard: dict[str, list[Any]] = defaultdict(list)
    topics = {
        "plan": PlanMsg,
        "debug/rejected_plan": PlanMsg,
        "path": PathMsg,
        "reasoning": String,
        "markers": MarkerArray,
        "planner/debug/stage_times": StageTimesStamped,
    }
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        for topic, message in topics.items():
            world.node.create_subscription(message, topic, heard[topic].append, 100)
        wait_for(lambda: all(node.count_subscribers(topic) for topic in topics), "the subscriptions")
        spoken = set(topics) - {"debug/rejected_plan"}
        for again in range(3):
            for messages in heard.values():
                messages.clear()
            world.drive(
                lambda: all(heard[topic] for topic in spoken),
                what="something on every topic",
                pause_s=0.1,
                timeout_s=60,
            )
            assert world.transition("deactivate")
            time.sleep(0.2)  # what was on its way
            said = {topic: len(messages) for topic, messages in heard.items()}
            for _ in range(15):
                world.tick()
                time.sleep(0.03)
            assert {topic: len(messages) for topic, messages in heard.items()} == said, again
            assert world.transition("activate")
            connected(world)


def test_a_checkpoint_that_comes_later_can_be_configured_then(tmp_path, checkpoint):
    wanted = tmp_path / "mounted_later"
    with running(tmp_path, checkpoint=str(wanted), device="cpu", max_plan_age=30.0) as (world, _):
        for _ in range(2):
            assert not world.transition("configure")
            assert world.state() == "unconfigured"
            wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "2", "an error")
            message = world.diagnostics("alpamayo/model")["message"]
            assert str(wanted) in message and "configure failed" in message
        wanted.symlink_to(checkpoint)
        assert world.transition("configure")
        wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "0", "no error")
        assert world.transition("activate")
        connected(world)
        world.drive(lambda: world.received["plan"], what="a message", timeout_s=60)


def test_a_path_that_is_mended_by_parameter_can_be_configured_then(tmp_path, checkpoint):
    with running(tmp_path, checkpoint=str(tmp_path / "mistyped"), device="cpu") as (world, node):
        assert not world.transition("configure")
        wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "2", "an error")
        (result,) = node.set_parameters([Parameter("checkpoint", value=str(checkpoint))])
        assert result.successful, result.reason
        assert world.transition("configure")
        wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "0", "no error")


# Signals to real processes.


@contextmanager
def planner_process(
    tmp_path: Path, command: list[str], **parameters: object
) -> Iterator[tuple[World, Graph, subprocess.Popen]]:
    values = {"rig": rig_file(tmp_path), "use_sim_time": True, "autostart": True, **parameters}
    with ExitStack() as stack:
        corner, world = stack.enter_context(graph(sim_time=True))
        process = stack.enter_context(child(corner, command, **values))
        yield world, corner, process


def ended(process: subprocess.Popen, signals: list[signal.Signals], *, timeout_s: float = 30) -> str:
    """Send signals a moment apart; the process must end by itself and say so; returns its output."""
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, output
    assert "Traceback" not in output and "Fatal" not in output, output
    return output


def is_busy(world: World) -> bool:
    """Whether a plan was being computed when the planner spoke last."""
    return world.diagnostics("alpamayo/inference").get("busy", "").lower() == "true"


TWICE = [signal.SIGINT, signal.SIGINT]
ONCE = [signal.SIGTERM]
LONG = pytest.mark.long


def test_a_second_sigint_while_it_configures_changes_nothing(tmp_path, checkpoint):
    with planner_process(tmp_path, PLANNER, checkpoint=checkpoint, device="cpu") as (world, _, process):
        wait_for(
            lambda: "loading" in world.diagnostics("alpamayo/model").get("message", ""),
            "loading",
            timeout_s=90,
        )
        ended(process, TWICE)


@pytest.mark.parametrize("signals", [ONCE, pytest.param(TWICE, marks=LONG)], ids=["SIGTERM", "SIGINT twice"])
def test_a_signal_while_a_model_computes_ends_it(tmp_path, checkpoint, signals):
    """A plan of eight candidates takes a second or more, in native code."""
    options = {"checkpoint": checkpoint, "device": "cpu", "num_samples": 8, "max_plan_age": 30.0}
    with planner_process(tmp_path, PLANNER, **options) as (world, _, process):
        wait_for(world.get_state.service_is_ready, "the node", timeout_s=90)
        wait_for(lambda: world.state() == "active", "activation", timeout_s=90)
        connected(world)

        world.drive(lambda: is_busy(world), what="a plan that is computed", pause_s=0.1, timeout_s=60)
        ended(process, signals)


@pytest.mark.parametrize(
    ("signals", "plan_takes_s"),
    [
        pytest.param(TWICE, 1.5, id="SIGINT twice, slow"),
        pytest.param(ONCE, 1.5, id="SIGTERM, slow", marks=LONG),
        pytest.param(TWICE, 3600.0, id="SIGINT twice, hangs", marks=LONG),
        pytest.param(ONCE, 3600.0, id="SIGTERM, hangs", marks=LONG),
    ],
)
def test_a_signal_while_a_plan_is_computed_ends_it(tmp_path, signals, plan_takes_s):
    command = [*SLOW_PLANNER, str(plan_takes_s)]
    with planner_process(tmp_path, command) as (world, _, process):
        wait_for(world.get_state.service_is_ready, "the node", timeout_s=60)
        wait_for(lambda: world.state() == "active", "activation", timeout_s=60)
        connected(world)
        world.drive(lambda: world.stops, what="a stop", timeout_s=60)
        world.drive(lambda: is_busy(world), what="a plan that is computed", pause_s=0.1)
        output = ended(process, signals)
        assert ("a plan is still being computed" in output) == (plan_takes_s > 60)
