"""A planner node with a real checkpoint in a world that can be disturbed, and the judgement of one fault."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from calm_checkpoint import CALM
from diagnostic_msgs.msg import DiagnosticArray
from invariants import Heard, plan_problems, silences
from news import news_of, text_of
from planner_harness import destroyed_in_time, graph, wait_for
from rclpy.parameter import Parameter
from world import RIG, STALL_S, FaultWorld

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.nodes.planner import PlannerNode
from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.ros.planner_backend import AlpamayoBackend, PlannerBackend
from alpamayo_ros.types import Observation, Plan

RECOVERY_S = 2.0
SETTLE_S = 0.5
TRIES = 3
STRICT = "ALPAMAYO_RELIABILITY" in os.environ
"""`make reliability`, which says how long all took, excuses nothing but a machine that stood still.
`make test` also runs where something else runs beside it: what came late once is tried again."""
GRACE_S = 0.3 if STRICT else 1.5
"""What a machine may add to each time."""

Spoil = Callable[[Callable[[], Plan], Observation], Plan]
"""Gets the model's own way to a plan, and the observation."""


class Spoilable(PlannerBackend):
    """A backend whose plans a test can spoil."""

    def __init__(self, inner: PlannerBackend) -> None:
        super().__init__(self, model_id=inner.model_id, device=inner.device)
        self.inner = inner
        self.spoil: Spoil | None = None
        self.released = threading.Event()

    def plan(self, observation: Observation) -> Plan:
        def honest() -> Plan:
            return self.inner.planner.plan(observation)

        return honest() if self.spoil is None else self.spoil(honest, observation)

    def __getattribute__(self, name: str) -> Any:
        if name in ("prepare_frame", "set_options", "check_instruction", "options", "identity"):
            return getattr(object.__getattribute__(self, "inner"), name)
        return object.__getattribute__(self, name)

    def close(self) -> None:
        """The model is shared by many nodes."""
        self.released.set()


@dataclass
class Bench:
    """What a fault may touch."""

    world: FaultWorld
    node: PlannerNode
    backend: Spoilable
    sim_time: bool
    folder: Path
    executor: Any
    options: dict[str, Any]
    heard: list[Heard] = field(default_factory=list)
    diagnostics: list[tuple[float, dict[str, tuple[int, str, dict[str, str]]]]] = field(default_factory=list)

    def valid_since(self, since_s: float, *, t0_ns: int = 0) -> list[Heard]:
        return [
            h
            for h in list(self.heard)
            if h.is_valid and h.sent_s >= since_s and h.published.plan.t0_ns >= t0_ns
        ]

    def status(self, name: str) -> tuple[int, str, dict[str, str]]:
        for _, statuses in reversed(self.diagnostics):
            if name in statuses:
                return statuses[name]
        return 0, "", {}

    def set(self, **values: Any) -> list[Any]:
        """Set parameters of the planner, as a tool does."""
        return self.node.set_parameters([Parameter(name, value=value) for name, value in values.items()])


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: of the row in the table.
        inject: makes the fault for as long as the context lasts.
        lasts_s: how long that is.
        status: name of the diagnostics status that must say so.
        says: regular expression over "message | key=value ..." of that status.
        stops: whether the planner must have stopped the vehicle; None where either is right.
        pose_tolerance_m: how far poses may be from the truth meanwhile: a jump of odometry moves them.
        sim_time: whether it is one of simulated time.
    """

    name: str
    inject: Callable[[Bench], AbstractContextManager[object]]
    lasts_s: float
    status: str
    says: str
    stops: bool | None = None
    pose_tolerance_m: float = 0.3
    sim_time: bool = False

    @property
    def keeps_odometry(self) -> bool:
        """Whether odometry goes on meanwhile, in time and of this vehicle."""
        return self.pose_tolerance_m < 2.0 and not self.sim_time


@dataclass(frozen=True)
class Verdict:
    """What became of a fault; the table's row.

    Attributes:
        problems: what must never be, whatever the machine does: a bad plan, a bad stop, a wrong status.
        late: what came too late: a message, a recovery, a report.
        stalled_s: the longest that the machine kept the vehicle's thread from running meanwhile.
        tries: how often it was injected until the machine did not stall.
    """

    fault: Fault
    valid_plans: int
    stops: int
    oldest_s: float
    first_stop_s: float | None
    recovered_s: float | None
    allowed_s: float
    said: str
    problems: tuple[str, ...]
    late: tuple[str, ...] = ()
    stalled_s: float = 0.0
    tries: int = 1

    @property
    def excused(self) -> bool:
        """Whether all that is wrong is that something came late, while the machine itself stood still."""
        return bool(self.late) and not self.problems and self.stalled_s > STALL_S


@contextmanager
def running_bench(
    tmp_path: Path, model: Any, *, sim_time: bool = False, **parameters: Any
) -> Iterator[Bench]:
    """Run a planner with the calm checkpoint until the block ends; it is planning when it begins."""
    rig = tmp_path / "rig.yaml"
    rig.write_text(RIG)
    values = {"rig": str(rig), "use_sim_time": sim_time, **CALM, **parameters}
    with ExitStack() as stack:
        corner, _ = stack.enter_context(graph(sim_time=sim_time))
        made: list[Spoilable] = []

        def load(settings: Any, options: Any) -> PlannerBackend:
            made.append(Spoilable(AlpamayoBackend(model, options)))
            return made[-1]

        node = PlannerNode(
            load=load,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
            **corner.options,
        )
        stack.enter_context(destroyed_in_time(node, corner))
        corner.executor.add_node(node)
        world = FaultWorld(corner, sim_time=sim_time)
        bench = Bench(world, node, None, sim_time, tmp_path, corner.executor, corner.options)  # type: ignore[arg-type]
        _listen(bench)
        stack.callback(world.node.destroy_node)
        stack.callback(world.stop)
        world.start()
        started = corner.executor.create_task(_start(node))
        wait_for(started.done, "configuring and activating")
        bench.backend = made[-1]
        wait_for(world.connected, "subscriptions")
        hear_no_more_than_the_bench(bench)
        wait_for(lambda: len(bench.valid_since(0)) >= 5, "valid plans", timeout_s=30)
        yield bench


def hear_no_more_than_the_bench(bench: Bench) -> None:
    """Take the harness's own ears away: they keep every message for good, and cost as much as the planner."""
    (world,) = (node for node in bench.executor.get_nodes() if node.get_name() == "world")

    def silence() -> None:
        for subscription in list(world.subscriptions):
            world.destroy_subscription(subscription)

    done = bench.executor.create_task(silence)
    wait_for(done.done, "the harness's subscriptions to end")


async def _start(node: PlannerNode) -> None:
    assert await node.change_state(1)
    assert await node.change_state(3)


def _listen(bench: Bench) -> None:
    node = bench.world.node

    def on_plan(message: PlanMsg, info: Any) -> None:
        sent_s = info["source_timestamp"] / 1e9
        if time.time() - sent_s > STALL_S:  # this executor, which is the planner's too, was kept from running
            bench.world.stalls.append((time.time(), time.time() - sent_s))
        published = plan_from_msg(message)
        now_s = sent_s
        if bench.sim_time:  # back to when it was sent, by the clock as it runs
            now_s = bench.world.now_ns / 1e9 - (time.time() - sent_s) * bench.world.disturb.clock_rate
        bench.heard.append(Heard(published, sent_s, now_s - published.plan.t0_ns / 1e9))

    def on_diagnostics(array: DiagnosticArray) -> None:
        statuses = {
            s.name.removeprefix("alpamayo/"): (ord(s.level), s.message, {v.key: v.value for v in s.values})
            for s in array.status
        }
        bench.diagnostics.append((time.time(), statuses))

    node.create_subscription(PlanMsg, "plan", on_plan, 100)
    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 100)


def try_fault(bench: Bench, fault: Fault) -> Verdict:
    """Inject a fault into a planner that is well, and judge what it did until it was well again.

    What comes late while the machine stalls says nothing of the planner: then it is tried again.
    """
    for tries in range(1, TRIES + 1):
        if tries > 1:
            wait_for(
                lambda: bench.valid_since(time.time() - 1.0), "valid plans before another try", timeout_s=30
            )
        verdict = _try_once(bench, fault)
        if not (verdict.excused or (verdict.late and not verdict.problems and not STRICT)):
            break
    if not verdict.excused:
        verdict = replace(verdict, problems=verdict.problems + verdict.late)
    return replace(verdict, tries=tries)


def _try_once(bench: Bench, fault: Fault) -> Verdict:
    before_s = time.time()
    time.sleep(SETTLE_S)
    slow_s = _slowness_s(bench, before_s)
    before = text_of(bench.status(fault.status))
    began_s = time.time()
    with fault.inject(bench):
        time.sleep(fault.lasts_s)
        ended_s, ended_ns = time.time(), bench.world.now_ns
    allowed_s = RECOVERY_S + slow_s
    recovered_s = _recovery_s(bench, fault, ended_s, ended_ns, limit_s=allowed_s + 10.0)
    time.sleep(SETTLE_S)
    said = _what_was_said(bench, fault, before, began_s)
    messages = [h for h in list(bench.heard) if h.sent_s >= before_s]
    during = [h for h in messages if h.sent_s >= began_s]
    stops = [h for h in during if h.is_stop]
    late = [] if fault.sim_time else silences(messages, slack_s=slow_s)  # its time is not the wall's
    problems = _problems(bench, fault, messages, stops)
    if fault.sim_time:  # a clock that runs five times as fast makes a second of a fifth
        late += [problem for problem in problems if _is_old_stop(problem)]
        problems = [problem for problem in problems if not _is_old_stop(problem)]
    if fault.keeps_odometry and any(stop.is_predicted for stop in stops):
        late.append("odometry came so late that a stop had to be predicted")
    if fault.stops is False and stops:  # a planner that is starved stops where it need not
        late.append(f"expected no stop, got one: {stops[0].published.status_reason}")
    if recovered_s is None or recovered_s > allowed_s:
        late.append(f"recovered in {recovered_s} s, expected within {allowed_s:.2f} s")
    if not said:
        level, message, _ = bench.status(fault.status)
        late.append(f"/diagnostics: expected {fault.says!r} of {fault.status}, got {level}: {message}")
    return Verdict(
        fault,
        valid_plans=sum(h.is_valid for h in during),
        stops=len(stops),
        oldest_s=max((h.age_s for h in during if h.is_valid), default=0.0),
        first_stop_s=stops[0].sent_s - began_s if stops else None,
        recovered_s=recovered_s,
        allowed_s=allowed_s,
        said=said,
        problems=tuple(problems),
        late=tuple(sorted(set(late))),
        stalled_s=max((stall_s for at_s, stall_s in bench.world.stalls if at_s >= before_s), default=0.0),
    )


def _is_old_stop(problem: str) -> bool:
    return problem.startswith("FALLBACK") and "s old when it was published" in problem


def _problems(bench: Bench, fault: Fault, messages: list[Heard], stops: list[Heard]) -> list[str]:
    problems = []
    for message in messages:
        problems += plan_problems(message, bench.world.true_pose, pose_tolerance_m=fault.pose_tolerance_m)
    if fault.stops is True and not stops:
        problems.append("expected a stop, got none")
    return sorted(set(problems))


def _slowness_s(bench: Bench, since_s: float) -> float:
    """Return by how much plans come slower than every 0.1 s now: what a loaded machine costs, at most 3 s.

    A recovery takes three plans, and 1.5 s of history that must arrive first.
    """
    sent = [h.sent_s for h in bench.valid_since(since_s - 1.0)]
    if len(sent) < 2:
        return 3.0
    period_s = float(np.median(np.diff(sent)))
    worst_s = float(np.max(np.diff(sent)))
    return min(3.0, 4 * max(0.0, period_s - 0.1) + max(0.0, worst_s - 0.2) + GRACE_S)


def _recovery_s(bench: Bench, fault: Fault, ended_s: float, ended_ns: int, *, limit_s: float) -> float | None:
    """Return how long after its end the first valid plan came that was made from what came after it."""
    deadline_s = time.time() + limit_s
    while time.time() < deadline_s:
        found = bench.valid_since(ended_s, t0_ns=0 if fault.sim_time else ended_ns)
        if found:
            return max(0.0, found[0].sent_s - ended_s)
        time.sleep(0.02)
    return None


def _what_was_said(bench: Bench, fault: Fault, before: str, since_s: float) -> str:
    """Return what the status says that it did not say before: counters of earlier faults do not count."""
    deadline_s = time.time() + 2.5  # a report comes every second
    while True:
        for at_s, statuses in list(bench.diagnostics):
            if at_s >= since_s and fault.status in statuses:
                message = statuses[fault.status][1]
                found = news_of(fault.says, before, text_of(statuses[fault.status]))
                if found:
                    return message if re.search(fault.says, message) else found
        if time.time() > deadline_s:
            return ""
        time.sleep(0.05)
