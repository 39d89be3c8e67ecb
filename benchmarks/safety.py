"""The safety gate, the monitor and the fallback: what they let pass, find, and cost.

    python benchmarks/safety.py [--scenarios all | --pairs]

Gate: all plans that the expert drives in these scenes, judged with the speed that the vehicle really had.
Monitor: the sentence-trajectory pairs of test/safety; the expert's own sentences and plans; and the same
plans mirrored, their sentences not. Times are CPU times of one thread (a busy machine hardly matters), for
six candidates.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "test" / "safety"
sys.path.insert(0, str(TESTS))

from monitor_pairs import DEVELOPMENT, HELD_OUT, read_pairs  # noqa: E402
from plan_making import T0_NS, make_observation, motion_of, plan_of, smooth  # noqa: E402
from recorded_expert import RecordingSource  # noqa: E402

from alpamayo_ros.safety.fallback import ValidPath, VehicleState, stop_plan  # noqa: E402
from alpamayo_ros.safety.gate import PlanGate  # noqa: E402
from alpamayo_ros.safety.monitor import Agreement, Monitor, judge_reasoning  # noqa: E402
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout  # noqa: E402
from alpamayo_ros.sim.scenarios import parse_scenarios  # noqa: E402
from alpamayo_ros.types import Observation, Plan  # noqa: E402


def driven(scenarios: str) -> Iterator[tuple[str, Observation, Plan, float]]:
    """Yield scene, observation, plan and the vehicle's speed of every step that the expert drives."""
    for scene_id in parse_scenarios(scenarios):
        source = RecordingSource()
        record = drive_rollout(Job(scene_id), source)
        speeds = {state.time_us: state.speed_mps for state in record.ego}
        for observation, plan in source.plans:
            yield scene_id, observation, plan, speeds[observation.t0_ns // 1000]


def mirrored(observation: Observation, plan: Plan) -> tuple[Observation, Plan]:
    """Return history and plan with left and right exchanged; the texts stay."""
    flip = np.array([1, -1, 1], np.float32)
    turn = np.outer(flip, flip)
    return (
        replace(
            observation,
            history_xyz_in_rig_t0=observation.history_xyz_in_rig_t0 * flip,
            history_rot_in_rig_t0=observation.history_rot_in_rig_t0 * turn,
        ),
        replace(
            plan,
            xyz_in_rig_t0=plan.xyz_in_rig_t0 * flip,
            rot_in_rig_t0=plan.rot_in_rig_t0 * turn,
            curvature_per_m=-plan.curvature_per_m,
        ),
    )


def pairs_table(paths: Sequence[Path]) -> None:
    """Print how the monitor does on the pairs of these files."""
    observation = make_observation(10.0)
    names = {Agreement.AGREES: "agrees", Agreement.CONTRADICTS: "contradicts", Agreement.SILENT: "silent"}
    pairs = [
        (pair.expected, names[judge_reasoning(pair.plan(), observation).agreement])
        for path in paths
        for pair in read_pairs(path)
    ]
    counts = Counter(pairs)
    right = counts["contradicts", "contradicts"]
    precision = right / sum(found == "contradicts" for _, found in pairs)
    recall = right / sum(expected == "contradicts" for expected, _ in pairs)
    print(f"{' and '.join(path.stem for path in paths)}: {len(pairs)} pairs")
    print(
        f"    contradictions: precision {precision:.3f}, recall {recall:.3f}; "
        f"all three right {sum(a == b for a, b in pairs) / len(pairs):.3f}"
    )
    for (expected, found), count in sorted(counts.items()):
        print(f"    expected {expected:12s} found {found:12s} {count}")


def cost(name: str, call: Callable[[], object], repeats: int = 300) -> None:
    """Print the median and the 99th percentile of a call's CPU time."""
    times_ms = []
    for _ in range(repeats):
        started = time.thread_time()
        call()
        times_ms.append((time.thread_time() - started) * 1e3)
    print(f"{name:30s} median {np.median(times_ms):.2f} ms, p99 {np.percentile(times_ms, 99):.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenarios", default="all", help="as of `alpamayo sim`")
    parser.add_argument("--pairs", action="store_true", help="the monitor's pairs alone: seconds")
    options = parser.parse_args()

    for paths in ([DEVELOPMENT], [HELD_OUT], [DEVELOPMENT, HELD_OUT]):
        pairs_table(paths)
    if options.pairs:
        return

    gate, passed, said = PlanGate(), Counter[bool](), Counter[Agreement]()
    sided: dict[str, Counter[tuple[Agreement, Agreement]]] = {"nudge": Counter(), "turn": Counter()}
    monitors: dict[str, tuple[Monitor, Monitor]] = {}
    most: dict[str, tuple[float, str]] = {}
    for scene_id, observation, plan, speed_mps in driven(options.scenarios):
        decision = gate.judge(plan, observation, odometry_speed_mps=speed_mps, now_ns=plan.t0_ns)
        verdict = decision.verdicts[plan.chosen]
        passed[verdict.passed] += 1
        if not verdict.passed:
            print(f"refused: {scene_id} {verdict.reason}")
        for check in verdict.checks:
            if check.limit > 0:
                share = check.value / check.limit
                most[check.name] = max(most.get(check.name, (0.0, "")), (share, str(check)))
        as_is, as_in_mirror = monitors.setdefault(scene_id, (Monitor(), Monitor()))
        found = as_is.judge(plan, observation)
        seen_observation, seen_plan = mirrored(observation, plan)
        seen = as_in_mirror.judge(seen_plan, seen_observation)
        said[found.agreement] += 1
        for kind, tally in sided.items():
            if len(found.intents) == 1 and str(found.intents[0]).startswith(kind):
                tally[found.agreement, seen.agreement] += 1
    print(f"gate: {passed[True]} of {sum(passed.values())} plans of the expert pass")
    for name, (share, text) in sorted(most.items(), key=lambda item: -item[1][0]):
        print(
            f"    {share:6.1%} of the limit at most  {text.replace(name + ': expected', 'expected')} ({name})"
        )
    print("monitor on these: " + ", ".join(f"{key.value} {said[key]}" for key in Agreement))
    for kind, tally in sided.items():
        for name, column in (("as they are", 0), ("mirrored", 1)):
            counts = Counter[Agreement]()
            for pair, count in tally.items():
                counts[pair[column]] += count
            print(f"    {kind}, {name}: " + ", ".join(f"{key.value} {counts[key]}" for key in Agreement))

    rng = np.random.default_rng(0)
    accels, bends = rng.uniform(-3, 1, 6), rng.uniform(-0.02, 0.02, 6)
    motions = [motion_of(12.0, *smooth(a, k)) for a, k in zip(accels, bends, strict=True)]
    text = "Slow down to give way to the oncoming car, and nudge to the left around the construction cones."
    plan, observation = plan_of(motions, [text] * 6), make_observation(12.0)
    path = ValidPath.of(plan, np.eye(4))
    state = VehicleState(T0_NS, np.eye(4), 12.0)
    cost("gate", lambda: gate.judge(plan, observation, odometry_speed_mps=12.0, now_ns=T0_NS))
    cost("monitor", lambda: judge_reasoning(plan, observation))
    cost("fallback", lambda: stop_plan(state, path))


if __name__ == "__main__":
    main()
