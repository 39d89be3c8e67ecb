"""A vehicle that drives, and planner and watchdog as processes of their own, to be ended and started."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from calm_checkpoint import CALM
from diagnostic_msgs.msg import DiagnosticArray
from invariants import Heard
from planner_harness import Graph, World, graph, wait_for
from watchdog_harness import child
from world import RIG, STALL_S, FaultWorld

from alpamayo_ros.msg import Engagement as EngagementMsg
from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.ros.qos import latched_qos
from alpamayo_ros.safety.watchdog import MODEL
from alpamayo_ros.srv import Engage

PLANNER = ["-m", "alpamayo_ros.nodes.planner"]
WATCHDOG = ["-m", "alpamayo_ros.nodes.watchdog"]
START_S = 120.0
"""For a process to come up, on a machine that does other things too; no measure of anything."""
_END_S = 30.0
_QUIET_S = 1.0


class ProcessBench:
    """A vehicle in this process, a watchdog and a planner each in its own, to be ended and started again.

    Attributes:
        world: the vehicle.
        heard: every message of `plan`, the planner's and the watchdog's.
        engagements: every message of `engaged`, with the wall time at which it was published, s.
        diagnostics: the watchdog's statuses (level, message, values), with the wall time of their arrival, s.
        planner, watchdog: the process, None where there is none.
        starts_s: when a process was started (wall): to come up takes all that the machine has.
    """

    def __init__(
        self, corner: Graph, world: World, *, checkpoint: Path, folder: Path, stack: ExitStack
    ) -> None:
        self.world = FaultWorld(corner, sim_time=False)
        self.heard: list[Heard] = []
        self.engagements: list[tuple[float, EngagementMsg]] = []
        self.diagnostics: list[tuple[float, tuple[int, str, dict[str, str]]]] = []
        self.planner: subprocess.Popen[str] | None = None
        self.watchdog: subprocess.Popen[str] | None = None
        self.starts_s: list[float] = []
        self._corner, self._caller, self._stack = corner, world, stack
        self._rig = folder / "rig.yaml"
        self._rig.write_text(RIG)
        self._checkpoint = checkpoint
        self._engage = world.node.create_client(Engage, "engage")
        self._listen()

    # Processes.

    def start_planner(self) -> None:
        """Start a planner that configures and activates itself, and return at once."""
        options = {
            "rig": self._rig,
            "checkpoint": self._checkpoint,
            "device": "cpu",
            "autostart": True,
            **CALM,
        }
        self.starts_s.append(time.time())
        self.planner = self._stack.enter_context(child(self._corner, PLANNER, **options))

    def start_watchdog(self) -> None:
        """Start a watchdog, and return at once."""
        self.starts_s.append(time.time())
        self.diagnostics.clear()  # what another one said says nothing of this one
        self.watchdog = self._stack.enter_context(child(self._corner, WATCHDOG, rig=self._rig))

    def signal_planner(self, *numbers: signal.Signals) -> None:
        """Send signals to the planner, a moment apart."""
        assert self.planner is not None
        for number in numbers:
            self.planner.send_signal(number)
            time.sleep(0.05)

    def end_of_planner(self) -> tuple[int, str]:
        """Wait for the planner's end; return its exit code and what it printed."""
        assert self.planner is not None
        output, _ = self.planner.communicate(timeout=_END_S)
        code, self.planner = self.planner.returncode, None
        return code, output

    def kill_watchdog(self) -> None:
        """End the watchdog as the kernel would."""
        assert self.watchdog is not None
        self.watchdog.kill()
        self.watchdog.communicate(timeout=_END_S)
        self.watchdog = None

    def drive_engaged(self) -> None:
        """See to it that a planner drives, engaged, and that a watchdog guards it."""
        if self.watchdog is None:
            self.start_watchdog()
        if self.planner is None:
            self.start_planner()
        wait_for(self.world.connected, "a planner that listens", timeout_s=START_S)
        wait_for(lambda: self.valid_since(time.time() - 0.5), "valid plans", timeout_s=START_S)
        wait_for(self._engaged, "the planner to be engaged", timeout_s=START_S)
        wait_for(self.is_well, "a planner that drives and a watchdog that guards", timeout_s=START_S)

    def _engaged(self) -> bool:
        return bool(self._caller.call(self._engage, Engage.Request(engage=True)).success)

    # What is heard.

    def valid_since(self, since_s: float, *, t0_ns: int = 0) -> list[Heard]:
        """Return the VALID plans sent since then, made from what was seen at t0 or later."""
        return [
            h
            for h in self.since(since_s)
            if h.is_valid and h.published.plan.t0_ns >= t0_ns and not of_watchdog(h)
        ]

    def since(self, since_s: float) -> list[Heard]:
        """Return all messages of `plan` sent since then."""
        return [h for h in list(self.heard) if h.sent_s >= since_s]

    def active_since(self, since_s: float) -> float | None:
        """Return when a planner first said since then that it is active; None if none has."""
        return next((at_s for at_s, m in list(self.engagements) if at_s >= since_s and m.active), None)

    def watchdog_says(self, since_s: float) -> list[tuple[int, str, dict[str, str]]]:
        """Return the watchdog's statuses since then."""
        return [status for at_s, status in list(self.diagnostics) if at_s >= since_s]

    def is_well(self) -> bool:
        """Whether an engaged planner drives, and the watchdog guards it and has had nothing to do of late."""
        now_s = time.time()
        recent = self.since(now_s - _QUIET_S)
        says = self.watchdog_says(now_s - 2.5)
        if not recent or not says or any(of_watchdog(h) for h in recent):
            return False
        guards = tuple(says[-1][2].get(key) for key in ("guarding", "engaged", "acting"))
        drives = recent[-1].is_valid and recent[-1].published.engaged
        return drives and guards == ("true", "true", "false")

    def stalled_s(self, begin_s: float, end_s: float) -> float:
        """Return the longest that the machine kept the vehicle from running in that time, 0 for never."""
        return max((s for at_s, s in list(self.world.stalls) if begin_s <= at_s <= end_s + s), default=0.0)

    def _listen(self) -> None:
        def on_plan(message: PlanMsg, info: Any) -> None:
            sent_s = info["source_timestamp"] / 1e9
            if time.time() - sent_s > STALL_S:
                self.world.stalls.append((time.time(), time.time() - sent_s))
            published = plan_from_msg(message)
            self.heard.append(Heard(published, sent_s, sent_s - published.plan.t0_ns / 1e9))

        def on_engagement(message: EngagementMsg, info: Any) -> None:
            self.engagements.append((info["source_timestamp"] / 1e9, message))

        def on_diagnostics(array: DiagnosticArray) -> None:
            for status in array.status:
                if status.name == "alpamayo/watchdog":
                    values = {v.key: v.value for v in status.values}
                    self.diagnostics.append((time.time(), (ord(status.level), status.message, values)))

        node = self.world.node
        node.create_subscription(PlanMsg, "plan", on_plan, 100)
        node.create_subscription(EngagementMsg, "engaged", on_engagement, latched_qos(depth=10))
        node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 100)


def of_watchdog(heard: Heard) -> bool:
    """Whether a message is the watchdog's."""
    return heard.published.plan.model == MODEL


@contextmanager
def process_bench(folder: Path, checkpoint: Path) -> Iterator[ProcessBench]:
    """Run the vehicle until the block ends, and with it whatever processes were started meanwhile."""
    with ExitStack() as stack:
        corner, world = stack.enter_context(graph(sim_time=False))

        def hear_nothing() -> None:  # the harness keeps every message for good
            for subscription in list(world.node.subscriptions):
                world.node.destroy_subscription(subscription)

        corner.run(hear_nothing, "the harness's subscriptions to end")
        bench = ProcessBench(corner, world, checkpoint=checkpoint, folder=folder, stack=stack)
        stack.callback(corner.run, bench.world.node.destroy_node, "the vehicle's end")
        stack.callback(bench.world.stop)
        bench.world.start()
        yield bench
