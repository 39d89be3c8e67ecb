"""What can happen to the processes, one row each, and the judgement of what planner and watchdog did then."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from bench import GRACE_S, RECOVERY_S, SETTLE_S, STRICT, TRIES
from invariants import Heard, plan_problems, silences
from planner_harness import wait_for
from processes import START_S, ProcessBench, of_watchdog
from world import STALL_S

HEARTBEAT_S = 0.5
"""The planner's lease of liveliness (`heartbeat_ms`), by whose end the watchdog knows that it is gone."""
_NOTICED_S = HEARTBEAT_S + 0.1
_GOES_ON_S = 2.0


@dataclass(frozen=True)
class ProcessFault:
    """One thing that happens to a process.

    Attributes:
        name: of the row.
        inject: makes it happen; returns what is wrong with how the process took it.
        mend: ends it; the planner that is there then must drive again.
        says: what the watchdog's stops say as their reason; "" where it must not step in.
        lasts_s: seconds between the two.
        restarts: whether the planner that drives afterwards is another one, which nobody has engaged.
        prepare: done before, with processes that are well and must be so again.
        in_inference: whether it begins just after a plan has gone out, not whenever it may.
    """

    name: str
    inject: Callable[[ProcessBench], list[str]]
    mend: Callable[[ProcessBench], None]
    says: tuple[str, ...]
    lasts_s: float = 2.5
    restarts: bool = True
    prepare: Callable[[ProcessBench], None] | None = None
    in_inference: bool = False


@dataclass(frozen=True)
class Late:
    """What came too late, and the time (wall, s) in which a machine that stalled excuses that."""

    what: str
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class ProcessVerdict:
    """What became of a fault.

    Attributes:
        valid_plans: the planner's VALID plans, from the fault's beginning until it was over.
        stops: the watchdog's stops meanwhile.
        oldest_s: age of the oldest of those plans when it was published.
        first_stop_s: the watchdog's first stop, counted from the fault's beginning.
        valid_again_s: the planner's first VALID plan, from when it was active again.
        said: the reason in the watchdog's stops.
        problems: what must never be.
        late: what came too late while the machine did not stall.
        excused: what came too late while it did.
        tries: how often it was made to happen until the machine did not stall.
    """

    fault: ProcessFault
    valid_plans: int
    stops: int
    oldest_s: float
    first_stop_s: float | None
    valid_again_s: float | None
    said: str
    problems: tuple[str, ...]
    late: tuple[str, ...]
    excused: tuple[str, ...]
    tries: int = 1


@dataclass
class _Course:
    """The times (wall, s) of one try, and what is wrong with it."""

    began_s: float
    ended_s: float = 0.0
    active_s: float = 0.0
    over_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)


def try_process_fault(bench: ProcessBench, fault: ProcessFault) -> ProcessVerdict:
    """Let it happen to processes that are well, and again where only the machine is to blame.

    That is as test/faults/bench.py has it: what came late while the machine stood still says nothing, and in
    `make test`, beside which other things run, what came late once is tried again.
    """
    for tries in range(1, TRIES + 1):
        verdict = replace(_try_once(bench, fault), tries=tries)
        if verdict.problems or not (verdict.excused or (verdict.late and not STRICT)):
            break
    return verdict


def _try_once(bench: ProcessBench, fault: ProcessFault) -> ProcessVerdict:
    bench.drive_engaged()
    if fault.prepare is not None:
        fault.prepare(bench)
    time.sleep(SETTLE_S)
    slack_s = _slack_s(bench, time.time())
    if fault.in_inference:
        seen = len(bench.heard)
        wait_for(lambda: len(bench.heard) > seen, "a plan that has gone out")
    course = _Course(began_s=time.time())
    course.problems += fault.inject(bench)
    time.sleep(max(0.0, fault.lasts_s - (time.time() - course.began_s)))
    course.ended_s, ended_ns = time.time(), bench.world.now_ns
    fault.mend(bench)
    course.active_s = course.ended_s
    if fault.restarts:
        wait_for(lambda: bench.active_since(course.ended_s), "an active planner", timeout_s=START_S)
        course.active_s = bench.active_since(course.ended_s) or course.ended_s
    again = _valid_again(bench, since_s=course.active_s, t0_ns=ended_ns, limit_s=RECOVERY_S + slack_s + 10.0)
    time.sleep(SETTLE_S)
    course.over_s = time.time()
    messages = bench.since(course.began_s - SETTLE_S)
    _judge_messages(bench, course, messages)
    _judge_times(course, messages, again=again, slack_s=slack_s)
    stops = [h for h in messages if of_watchdog(h) and h.sent_s >= course.began_s]
    first_stop_s = stops[0].sent_s - course.began_s if stops else None
    if fault.says:
        _judge_cover(bench, fault, course, stops)
    elif stops:
        course.problems.append(f"expected no stop, got one: {stops[0].published.status_reason}")
    _judge_hand_over(fault, course, messages, slack_s=slack_s)
    plans = [h for h in messages if h.is_valid and h.sent_s >= course.began_s]
    excused = [late for late in course.late if bench.stalled_s(late.begin_s, late.end_s) > STALL_S]
    return ProcessVerdict(
        fault,
        valid_plans=len(plans),
        stops=len(stops),
        oldest_s=max((h.age_s for h in plans), default=0.0),
        first_stop_s=first_stop_s,
        valid_again_s=None if again is None else again.sent_s - course.active_s,
        said=stops[0].published.status_reason if stops else "",
        problems=tuple(sorted(set(course.problems))),
        late=tuple(sorted({late.what for late in course.late if late not in excused})),
        excused=tuple(sorted({late.what for late in excused})),
    )


def _judge_messages(bench: ProcessBench, course: _Course, messages: Sequence[Heard]) -> None:
    """Judge what each message says; that a stop came late is the machine's affair, that a plan did is not."""
    for message in messages:
        who = "watchdog" if of_watchdog(message) else "planner"
        for problem in plan_problems(message, bench.world.true_pose):
            if message.is_stop and "old when it was published" in problem:
                course.late.append(Late(f"{who}: {problem}", message.sent_s - message.age_s, message.sent_s))
            else:
                course.problems.append(f"{who}: {problem}")


def _judge_times(course: _Course, messages: Sequence[Heard], *, again: Heard | None, slack_s: float) -> None:
    """Judge what holds of every fault: there is always something to follow, and soon a VALID plan again."""
    for before, after in pairwise(messages):
        for silence in silences((before, after), slack_s=slack_s):
            course.late.append(Late(silence, before.sent_s, after.sent_s))
    valid_again_s = None if again is None else again.sent_s - course.active_s
    if valid_again_s is None or valid_again_s > RECOVERY_S + slack_s:
        what = f"VALID again after {valid_again_s} s, expected within {RECOVERY_S + slack_s:.2f} s"
        course.late.append(Late(what, course.active_s, course.over_s))


def _judge_cover(bench: ProcessBench, fault: ProcessFault, course: _Course, stops: Sequence[Heard]) -> None:
    """Judge the watchdog's stops: soon enough, with the reason, engaged as the planner was."""
    if not stops:
        course.problems.append("expected the watchdog to stop the vehicle, got no stop")
        return
    limit_s = _NOTICED_S + GRACE_S
    if stops[0].sent_s - course.began_s > limit_s:
        what = f"first stop after {stops[0].sent_s - course.began_s:.2f} s, expected within {limit_s:.2f} s"
        course.late.append(Late(what, course.began_s, stops[0].sent_s))
    starts_s = [at_s for at_s in bench.starts_s if at_s > course.began_s]
    for stop in stops:
        reason = stop.published.status_reason
        if not any(says in reason for says in fault.says):
            course.problems.append(f"a stop's reason: expected one of {fault.says}, got {reason!r}")
        if not stop.published.engaged:
            course.problems.append("a stop of the watchdog says that nobody relies on it")
        if stop.is_predicted and stop.sent_s < min(starts_s, default=course.ended_s):
            what = "odometry came so late that a stop had to be predicted"
            course.late.append(Late(what, stop.sent_s - 1.0, stop.sent_s))
    reports = [r for r in bench.watchdog_says(course.began_s) if r[2].get("acting") == "true"]
    if not any(level == 2 and says in message for level, message, _ in reports for says in fault.says):
        got = reports[0][:2] if reports else "no report of it"
        what = f"/diagnostics: expected an ERROR with the reason, got {got}"
        course.late.append(Late(what, course.began_s, course.ended_s))


def _judge_hand_over(
    fault: ProcessFault, course: _Course, messages: Sequence[Heard], *, slack_s: float
) -> None:
    """Judge who drives once the planner is there again, and on whose word."""
    own = [h for h in messages if not of_watchdog(h) and h.sent_s >= course.active_s]
    if not own:
        return  # that there was no VALID plan is said already
    heard_s = own[0].sent_s + 0.1 + slack_s  # of a stop that was on its way
    overlap = [h for h in messages if of_watchdog(h) and h.sent_s > heard_s]
    if overlap:
        overlap_s = overlap[-1].sent_s - own[0].sent_s
        what = f"the watchdog stops on, {overlap_s:.2f} s after the planner's first word"
        course.late.append(Late(what, own[0].sent_s, overlap[-1].sent_s))
    if any(h.published.engaged == fault.restarts for h in own):
        course.problems.append(f"engaged: expected {not fault.restarts} of this planner's plans")


def _slack_s(bench: ProcessBench, now_s: float) -> float:
    """Return what a loaded machine adds to a time, as test/faults/bench.py judges it: at most 3 s."""
    sent = [h.sent_s for h in bench.valid_since(now_s - 1.5)]
    if len(sent) < 2:
        return 3.0
    gaps_s = np.diff(sent)
    late_s = 4 * max(0.0, float(np.median(gaps_s)) - 0.1) + max(0.0, float(np.max(gaps_s)) - 0.2)
    return min(3.0, late_s + GRACE_S)


def _valid_again(bench: ProcessBench, *, since_s: float, t0_ns: int, limit_s: float) -> Heard | None:
    """Wait for the first VALID plan that was made from what came after the fault."""
    deadline_s = time.time() + limit_s
    while time.time() < deadline_s:
        found = bench.valid_since(since_s, t0_ns=t0_ns)
        if found:
            return found[0]
        time.sleep(0.02)
    return None


# What happens.


def _killed(bench: ProcessBench) -> list[str]:
    bench.signal_planner(signal.SIGKILL)
    code, _ = bench.end_of_planner()
    return [] if code == -signal.SIGKILL else [f"exit code: expected {-signal.SIGKILL}, got {code}"]


def _told_to_end(*numbers: signal.Signals) -> Callable[[ProcessBench], list[str]]:
    def inject(bench: ProcessBench) -> list[str]:
        bench.signal_planner(*numbers)
        code, output = bench.end_of_planner()
        problems = [] if code == 0 else [f"exit code: expected 0, got {code}"]
        return problems + (["a traceback was printed"] if "Traceback" in output else [])

    return inject


def _stands(bench: ProcessBench) -> list[str]:
    """Stop the planner, to be done in an inference.

    One that is stopped between its last look at the clock and the plan's going out sends the plan when it
    goes on, too old, whatever it does; against that it is `valid_until` that helps whoever follows plans.
    """
    bench.signal_planner(signal.SIGSTOP)
    return []


def _goes_on(bench: ProcessBench) -> None:
    bench.signal_planner(signal.SIGCONT)


def _without_watchdog(bench: ProcessBench) -> list[str]:
    bench.kill_watchdog()
    return []


def _new_watchdog(bench: ProcessBench) -> None:
    """Start one, and wait until it knows of the drive that it has not seen begin."""
    bench.start_watchdog()
    wait_for(bench.is_well, "a watchdog that guards the engaged planner", timeout_s=START_S)


def _another_watchdog(bench: ProcessBench) -> None:
    bench.kill_watchdog()
    _new_watchdog(bench)


def _killed_twice(bench: ProcessBench) -> list[str]:
    """Kill the planner, and the next one as soon as it says that it is there, before it can drive."""
    problems, since_s = _killed(bench), time.time()
    bench.start_planner()
    wait_for(
        lambda: any(at_s >= since_s for at_s, _ in list(bench.engagements)),
        "its first word",
        timeout_s=START_S,
    )
    return problems + _killed(bench)


_NEW_PLANNER = ProcessBench.start_planner
LOST = ("the planner's liveliness was lost", "the planner's publisher has gone")
SHUT_DOWN = ("the planner was engaged and is not active any more", *LOST)

PROCESS_FAULTS = (
    ProcessFault("planner killed (SIGKILL), started again", _killed, _NEW_PLANNER, LOST),
    ProcessFault("planner killed, and the next one before it drives", _killed_twice, _NEW_PLANNER, LOST),
    ProcessFault("planner told to end (SIGTERM)", _told_to_end(signal.SIGTERM), _NEW_PLANNER, SHUT_DOWN),
    ProcessFault(
        "planner interrupted twice (SIGINT)",
        _told_to_end(signal.SIGINT, signal.SIGINT),
        _NEW_PLANNER,
        SHUT_DOWN,
    ),
    ProcessFault(
        "planner hangs for 2.5 s in an inference (SIGSTOP, SIGCONT)",
        _stands,
        _goes_on,
        LOST,
        restarts=False,
        in_inference=True,
    ),
    ProcessFault(
        "watchdog killed (SIGKILL), started again", _without_watchdog, _new_watchdog, (), restarts=False
    ),
    ProcessFault(
        "planner killed under a watchdog that was started while it drove",
        _killed,
        _NEW_PLANNER,
        LOST,
        prepare=_another_watchdog,
    ),
)
"""The first one runs in `make test`."""
