"""Drive simulated scenes in closed loop and score the planner, or score a log of AlpaSim's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.sim.scene import scene_id_of
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.rollout_driver import PlannerSource
    from alpamayo_ros.sim.run import Outcome, RunOptions, RunResult

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo sim` takes."""
    parser.add_argument(
        "--scenarios",
        default="all",
        metavar="WHICH",
        help="all (seeds 0-99, each family five times; the default), a family, seeds A-B, or a list A,B,...",
    )
    parser.add_argument("--rollouts", type=int, default=1, metavar="N", help="of each scene (default: 1)")
    parser.add_argument(
        "--planner",
        default="expert",
        metavar="WHAT",
        help="expert (knows the world; the default), constant (velocity), or a checkpoint's folder",
    )
    parser.add_argument("--out", type=Path, default=Path("sim"), metavar="DIR", help="results (default: sim)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument("--no-report", action="store_true", help="leave out report.html")
    parser.add_argument(
        "--video", metavar="SCENE", help="also film a rollout: this scene's, or the worst of all for `worst`"
    )
    parser.add_argument(
        "--renderer",
        default="",
        metavar="HOST:PORT",
        help="who serves the pictures (default: a renderer of our own, where pictures are needed)",
    )
    parser.add_argument(
        "--asl", type=Path, metavar="LOG", help="score this rollout.asl instead of driving; no map is known"
    )


def run(arguments: argparse.Namespace) -> int:
    """Drive or read, score, write, print; return the exit code."""
    if arguments.asl is not None:
        return _score_log(arguments.asl, arguments.out)
    options = _options(arguments)
    source = _source(arguments.planner)
    video_of = _video_of(arguments.video, options)
    result = _drive(options, source)
    print(describe(result.summary))
    made = _report(arguments, options, result, video_of=video_of)
    print(f"results        {options.out}/scores.json, rollouts/{''.join(f', {path.name}' for path in made)}")
    if result.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if result.summary["failed"] else 0


def _score_log(log: Path, out: Path) -> int:
    from alpamayo_ros.sim.asl_score import score_log
    from alpamayo_ros.sim.run import write_json
    from alpamayo_ros.sim.scoring import aggregate

    score = score_log(log)
    summary: dict[str, Any] = {"planner": score.planner, **aggregate([score]), "rollouts": [score.as_dict()]}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "scores.json", summary)
    print(describe(summary))
    for name, value in score.metrics.items():
        print(f"  {name:<34} {_said(value)}")
    print(f"results        {out}/scores.json")
    return 0


def _options(arguments: argparse.Namespace) -> RunOptions:
    from alpamayo_ros.sim.run import RunOptions
    from alpamayo_ros.sim.scenarios import parse_scenarios

    return RunOptions(
        scene_ids=parse_scenarios(arguments.scenarios),
        out=arguments.out,
        rollouts=arguments.rollouts,
        jobs=arguments.jobs,
        renderer=arguments.renderer,
    )


def _source(planner: str) -> PlannerSource:
    from alpamayo_ros.sim.planner_sources import SOURCES

    if planner in SOURCES:
        return SOURCES[planner]
    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource

    return CheckpointSource(Path(planner))


def _drive(options: RunOptions, source: PlannerSource) -> RunResult:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from alpamayo_ros.sim.run import run as run_rollouts

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("driving", total=len(options.work))

        def told(outcome: Outcome) -> None:
            bar.update(task, advance=1, description=outcome.job.scene_id)
            score = outcome.score
            if score.scene_score is None or score.scene_score < 1.0:
                bar.console.print(_line(score))

        return run_rollouts(options, source, progress=told)


def _video_of(asked: str | None, options: RunOptions) -> str:
    """Return the scene to film, "worst", or "" for none; refuse before anything is driven what cannot be."""
    if not asked:
        return ""
    from alpamayo_ros.sim.report import WORST, drawing_problem

    if asked != WORST and scene_id_of(asked) not in options.scene_ids:
        raise InvalidInput(f"--video: expected {WORST} or one of the scenes that are driven, got {asked!r}")
    problem = drawing_problem()
    if problem:
        raise InvalidInput(f"--video: expected a machine that can draw, got: {problem}")
    return asked if asked == WORST else scene_id_of(asked)


def _report(
    arguments: argparse.Namespace, options: RunOptions, result: RunResult, *, video_of: str
) -> list[Path]:
    """Write what people look at, unless --no-report; of an interrupted run what there is, without a film."""
    if arguments.no_report and not video_of:
        return []
    from rich.console import Console

    from alpamayo_ros.sim.report import ReportOptions, show_results

    done, asked = len(result.outcomes), len(options.work)
    if not done:
        return []
    notice = f"Interrupted after {done} of {asked} rollouts." if result.interrupted else ""
    console = Console(stderr=True)
    with console.status("report") as status:
        made = show_results(
            options.out,
            [outcome.record for outcome in result.outcomes],
            [outcome.score for outcome in result.outcomes],
            summary=result.summary,
            video_of="" if result.interrupted else video_of,
            options=ReportOptions(command=f"alpamayo sim --planner {arguments.planner}", notice=notice),
            progress=lambda text: status.update(f"report: {text}"),
        )
    return list(made)


def _line(score: Any) -> str:
    worth = "unknown" if score.scene_score is None else f"{score.scene_score:.3f}"
    why = score.error or score.failure_reason or score.end_reason
    whom = f" with {score.collision_with}" if score.collision_with else ""
    when = "" if score.event_time_s is None else f" at {score.event_time_s:.1f} s"
    return f"{score.name:<22} {worth}  {why}{whom}{when}"


def describe(summary: dict[str, Any]) -> str:
    """Return a run's figures for a terminal."""
    score, km = summary["scene_score"], summary["alpasim_score_km"]
    mean = "unknown"
    if score["mean"] is not None:
        low, high = score["ci95"]
        mean = f"{score['mean']:.3f} (95 %: {low:.3f} ... {high:.3f}), {score['n']} rollouts"
    lines = [
        f"planner        {summary['planner']}",
        f"scene score    {mean}",
        f"AlpaSim score  {km['text']} between incidents",
        f"incidents      {_said(summary['at_fault'])} at fault, {_said(summary['offroad'])} off-road, "
        f"{_said(summary['red_light_runs'])} red lights, {_said(summary['stop_sign_runs'])} stop signs run",
        f"speed          {_said(summary['speed_rel_to_reference'])} of the reference drive's",
    ]
    if summary["failed"]:
        lines.append(f"failed         {', '.join(summary['failed'])}")
    return "\n".join(lines)


def _said(value: object) -> str:
    return "unknown" if value is None else str(value)
