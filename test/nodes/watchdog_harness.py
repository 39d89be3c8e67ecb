"""A watchdog node, a vehicle that drives, and a planner in a process of its own that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nav_msgs.msg import Path as PathMsg
from planner_harness import DOMAIN_ID, RIG, Graph, World, graph, wait_for
from rclpy.parameter import Parameter
from scripted_planner import pose

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.nodes.watchdog import WatchdogNode
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.safety.watchdog import MODEL

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
_PERIOD_NS = 20_000_000


class Observer:
    """Hears what a controller would hear, each message with the time at which it came."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plans: list[tuple[float, PlanMsg]] = []
        self.paths: list[PathMsg] = []
        world.node.create_subscription(
            PlanMsg, "plan", lambda m: self.plans.append((time.monotonic(), m)), 50
        )
        world.node.create_subscription(PathMsg, "path", self.paths.append, 50)

    def _on_plan(self, msg: PlanMsg) -> None:
        self.plans.append((time.monotonic(), msg))

    def of_watchdog(self) -> list[tuple[float, PlanMsg]]:
        """Return the watchdog's stops."""
        return [(at, msg) for at, msg in self.plans if msg.model == MODEL]

    def of_planner(self) -> list[tuple[float, PlanMsg]]:
        """Return the planner's plans and stops."""
        return [(at, msg) for at, msg in self.plans if msg.model != MODEL]

    def status(self) -> dict[str, str]:
        """Return the watchdog's newest diagnostics."""
        return self.world.diagnostics("alpamayo/watchdog")


class Traffic:
    """Odometry at 50 Hz, and both cameras at 10 Hz if asked for, by the system's clock, from a thread."""

    def __init__(self, world: World, *, cameras: bool = False) -> None:
        self.world = world
        self.odometry = True
        self._cameras = cameras
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self.world.pose = pose  # type: ignore[method-assign]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        begun_ns, number = time.time_ns(), 0
        while not self._stop.is_set():
            # Sensors keep their rhythm, however late this thread is.
            stamp_ns = begun_ns + number * _PERIOD_NS
            if self._stop.wait(max(0.0, (stamp_ns - time.time_ns()) / 1e9)):
                break
            if self.odometry:
                self.world.publish_odometry(stamp_ns)
            if self._cameras and number % 5 == 0:
                self.world.publish_cameras(stamp_ns)
            number += 1


def rig_file(folder: Path) -> Path:
    """Write the rig and return its file."""
    file = folder / "rig.yaml"
    file.write_text(RIG)
    return file


@contextmanager
def watched(tmp_path: Path, **parameters: Any) -> Iterator[tuple[Observer, Graph, WatchdogNode]]:
    """Run a watchdog node in this process, on a graph of its own, until the block ends."""
    values = {"rig": str(rig_file(tmp_path)), **parameters}
    overrides = [Parameter(k, value=v) for k, v in values.items()]
    with graph(sim_time=bool(parameters.get("use_sim_time"))) as (corner, world):
        node = WatchdogNode(parameter_overrides=overrides, **corner.options)
        observer = Observer(world)
        corner.executor.add_node(node)
        try:
            yield observer, corner, node
        finally:
            corner.executor.remove_node(node)
            corner.run(node.destroy_node, "the end of the node")


@contextmanager
def child(corner: Graph, command: list[str], **parameters: object) -> Iterator[subprocess.Popen]:
    """Run a Python process on the graph's corner; it is killed at the end."""
    arguments = ["-r", f"__ns:=/{corner.name}"]
    for remap in corner.remaps:
        arguments += ["-r", remap]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
    with python([*command, "--ros-args", *arguments]) as process:
        yield process


@contextmanager
def python(command: list[str]) -> Iterator[subprocess.Popen]:
    """Run a Python process in the tests' domain; it is killed at the end."""
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(DOMAIN_ID),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), str(HERE), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        try:
            output, _ = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            output = "a child of its own still holds its output"
        print(f"{command}:\n{output}")  # shown if the test fails


@contextmanager
def scripted_planner(corner: Graph, **parameters: object) -> Iterator[ScriptedProcess]:
    """Run the planner of scripted_planner.py, which does what it is told."""
    with child(corner, [str(HERE / "scripted_planner.py")], **parameters) as process:
        yield ScriptedProcess(process)


class ScriptedProcess:
    """A planner that says what the test wants it to say."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def tell(self, *words: str) -> None:
        """Send it a command, see scripted_planner.py, and wait until it is done."""
        assert self.process.stdin is not None and self.process.stdout is not None
        for word in words:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
            assert answer == word, f"{answer}\n{self.process.stdout.read() if not answer else ''}"

    def kill(self) -> float:
        """Kill it as the kernel would, and return when."""
        killed = time.monotonic()
        self.process.kill()
        self.process.wait()
        return killed


def after(plans: list[tuple[float, PlanMsg]], moment: float) -> list[PlanMsg]:
    """Return the messages that came after a moment."""
    return [msg for at, msg in plans if at > moment]


def until(condition: Callable[[], Any], what: str, timeout_s: float = 20) -> None:
    """Wait for something that takes a while."""
    wait_for(condition, what, timeout_s=timeout_s)


def t0_ns(msg: PlanMsg) -> int:
    """Return a plan's t0."""
    return stamp_to_ns(msg.header.stamp)
