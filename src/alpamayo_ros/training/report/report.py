"""Makes a report: judges a planner on held-out samples and rollouts, and writes what was found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.evaluation.baselines import ConstantTurnPlanner
from alpamayo_ros.evaluation.machine import machine
from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.report import charts, figures
from alpamayo_ros.training.report.baselines import plan_of_labels
from alpamayo_ros.training.report.draw import Drawn, consecutive, draw_samples
from alpamayo_ros.training.report.foresight import foresight
from alpamayo_ros.training.report.instructions import (
    as_before,
    follow,
    junction_samples,
)
from alpamayo_ros.training.report.judging import Judged, blindfolded, judge_all, seeing
from alpamayo_ros.training.report.junctions import obedience
from alpamayo_ros.training.report.latency import WARM_UP, latency
from alpamayo_ros.training.report.page import markdown
from alpamayo_ros.training.report.rollouts import (
    Crossed,
    Failure,
    Rollout,
    closed_loop,
    crossings_of,
    event_step,
    find_rollouts,
    has_failed,
    what_happened,
)
from alpamayo_ros.types import InvalidInput, Planner

REPORT_JSON, REPORT_MD, SAMPLES_FILE = "report.json", "report.md", "samples.jsonl"
POLICY, BLANKED = "policy", "blanked"
CONSTANT_VELOCITY, CONSTANT_TURN, LABELS = "constant_velocity", "constant_turn_rate", "labels"

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class ReportSettings:
    """How much a report looks at.

    Attributes:
        samples: drawn evenly over the episodes.
        junction_samples: of those that show whether the instruction is obeyed; 0 for none.
        timed: plans whose time is measured; 0 for none.
        seed: of what is drawn.
        failures: pictures of failed rollouts at the most.

    Raises:
        InvalidInput: for numbers below these.
    """

    samples: int = 400
    junction_samples: int = 120
    timed: int = 50
    seed: int = 0
    failures: int = 40

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("junction_samples", 0), ("timed", 0), ("failures", 0)):
            if getattr(self, name) < least:
                raise InvalidInput(f"{name}: expected at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Contestant:
    """What a report is about.

    Attributes:
        start: makes the planner that draws K plans; each call gives one that begins anew with the same
            seeds, so that what it does with and without pictures differs by the pictures alone.
        start_timed: makes the planner whose time is measured: one plan, as it drives.
        about: what is said of it at the head of the report: name, settings, threads.
    """

    start: Callable[[], Planner]
    start_timed: Callable[[], Planner]
    about: Mapping[str, object]


def make_report(
    contestant: Contestant,
    samples: EpisodeSamples,
    out: Path,
    *,
    settings: ReportSettings,
    rollouts: Path | None = None,
    progress: Progress = lambda what, done, of: None,
) -> dict[str, Any]:
    """Write report.json, report.md, samples.jsonl and pictures into a folder; return report.json's content.

    Args:
        contestant: a planner and how it is made.
        samples: held-out ones.
        out: made if need be; a report in it is replaced.
        settings: how much is looked at.
        rollouts: a folder of rollouts of the same policy; None for no figures of closed loop.
        progress: told how far it is.

    Raises:
        InvalidInput: for a plan that is not finite, or rollouts that are none.
        DataSetError: for a sample that cannot be read.
    """
    found = None if rollouts is None else find_rollouts(rollouts)
    out.mkdir(parents=True, exist_ok=True)
    drawn = draw_samples(samples, settings.samples, seed=settings.seed)
    judged = _judge(contestant, samples, drawn, progress)
    report: dict[str, Any] = {
        "about": dict(contestant.about),
        "data": _data(samples, drawn, settings),
        "open_loop": {
            name: figures.open_loop(judged[name], judged[CONSTANT_VELOCITY])
            for name in (POLICY, CONSTANT_VELOCITY, CONSTANT_TURN, BLANKED)
        },
        "reasoning": {
            **{name: figures.reasoning(judged[name]) for name in (POLICY, BLANKED, LABELS)},
            "majority": figures.majority_guess(judged[POLICY]),
        },
    }
    charts.open_loop_chart(out / "open_loop.png", report["open_loop"][POLICY])
    if report["reasoning"][POLICY]["confusion"]:
        names = {POLICY: "with its cameras", BLANKED: "with blank cameras"}
        tables = {title: report["reasoning"][name]["confusion"] for name, title in names.items()}
        charts.confusion_chart(out / "components.png", tables)
    report["instruction"] = _instructions(contestant, samples, out, settings, progress)
    if settings.timed:
        report["latency"] = _latency(contestant, samples, settings, progress)
    if found is not None:
        report["closed_loop"] = _closed_loop(found, out, settings, progress)
    _write_samples(out / SAMPLES_FILE, {name: judged[name] for name in (POLICY, BLANKED)})
    write_json(out / REPORT_JSON, report)
    (out / REPORT_MD).write_text(markdown(report), "utf-8")
    return report


def _judge(
    contestant: Contestant, samples: EpisodeSamples, drawn: Sequence[Drawn], progress: Progress
) -> dict[str, tuple[Judged, ...]]:
    """Return the drawn samples as each planner's plans come out, by name."""
    plannings = {
        POLICY: (seeing(contestant.start()), "plans"),
        BLANKED: (blindfolded(contestant.start()), "plans with blank cameras"),
        CONSTANT_VELOCITY: (seeing(ConstantVelocityPlanner()), "constant velocity"),
        CONSTANT_TURN: (seeing(ConstantTurnPlanner()), "constant turn rate"),
        LABELS: (plan_of_labels, "the labels themselves"),
    }
    judged = {}
    for name, (planning, what) in plannings.items():
        step = _counting(progress, what, len(drawn))
        judged[name] = judge_all(planning, samples, drawn, progress=step)
    return judged


def _instructions(
    contestant: Contestant,
    samples: EpisodeSamples,
    out: Path,
    settings: ReportSettings,
    progress: Progress,
) -> dict[str, Any] | None:
    """Return how the instruction is obeyed; None where no sample shows it."""
    if not settings.junction_samples:
        return None
    chosen = junction_samples(
        samples,
        settings.junction_samples,
        seed=settings.seed,
        progress=lambda scene_id: progress(f"map of {scene_id}", 0, 1),
    )
    if not chosen:
        return None
    step = _counting(progress, "plans at junctions", len(chosen))
    told = follow(contestant.start(), samples, chosen, progress=step)
    step = _counting(progress, "plans at junctions, told otherwise", len(chosen))
    swapped = follow(contestant.start(), samples, chosen, swapped=True, progress=step)
    floor = follow(ConstantVelocityPlanner(), samples, chosen)
    charts.instruction_chart(out / "instructions.png", told, swapped)
    return {
        "samples": len(chosen),
        "scenes": len({each.scene_id for each in chosen}),
        POLICY: obedience(told),
        "swapped": {**obedience(swapped), "as_before": as_before(swapped)},
        CONSTANT_VELOCITY: obedience(floor),
    }


def _latency(
    contestant: Contestant, samples: EpisodeSamples, settings: ReportSettings, progress: Progress
) -> dict[str, object]:
    ticks = consecutive(samples, settings.timed + WARM_UP, seed=settings.seed)
    step = _counting(progress, "plans on time", len(ticks))
    return {**latency(contestant.start_timed(), samples, ticks, progress=step), **machine()}


def _closed_loop(
    found: Sequence[Rollout], out: Path, settings: ReportSettings, progress: Progress
) -> dict[str, object]:
    """Return scores, junctions and failures of rollouts, and draw the failures."""
    crossed: list[Crossed] = []
    failures: list[Failure] = []
    for number, rollout in enumerate(found):
        progress(f"rollout {rollout.score.name}", number, len(found))
        logged = rollout.read()
        if logged is not None and rollout.score.scored:
            crossed += crossings_of(logged.record, rollout.score)
        if not has_failed(rollout.score):
            continue
        if logged is None:
            failures.append(Failure(rollout, what_happened(rollout.score)))
            continue
        record, picture = logged.record, ""
        if sum(bool(each.picture) for each in failures) < settings.failures:
            picture = f"failures/{rollout.folder.name}.png"
            charts.failure_picture(out / picture, logged, rollout.score)
        said = record.drives[event_step(record, rollout.score)].reasoning if record.drives else ""
        what, before = what_happened(rollout.score, record), foresight(record, rollout.score)
        failures.append(Failure(rollout, what, said, picture, before))
    return {
        **closed_loop(found),
        "instruction": {**obedience(crossed), "crossings": [each.as_dict() for each in crossed]},
        "failures": [each.as_dict() for each in failures],
    }


def _data(samples: EpisodeSamples, drawn: Sequence[Drawn], settings: ReportSettings) -> dict[str, object]:
    return {
        "split": samples.split,
        "samples": len(drawn),
        "of": len(samples),
        "episodes": len(samples.entries),
        "scenes": len({each.scene_id for each in drawn}),
        "settings": asdict(settings),
    }


def _write_samples(path: Path, judged: Mapping[str, Sequence[Judged]]) -> None:
    """Write one line a sample and planner, to look for what went wrong where."""
    lines = [
        json.dumps({"planner": name, **asdict(each)}, ensure_ascii=False, allow_nan=False)
        for name, mine in judged.items()
        for each in mine
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _counting(progress: Progress, what: str, of: int) -> Callable[[], None]:
    """Return what counts steps and tells `progress`."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(what, done, of)

    return step
