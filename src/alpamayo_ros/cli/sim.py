"""Drive simulated scenes in closed loop and score the planner, or score a log of AlpaSim's."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.cli import export_usdz
from alpamayo_ros.cli.renderer_option import renderer_address
from alpamayo_ros.sim.scene import scene_id_of
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.protocol.channel import ClientTls
    from alpamayo_ros.sim.rollout_driver import RolloutSource
    from alpamayo_ros.sim.run import RunResult
    from alpamayo_ros.sim.scoring import RolloutScore
    from alpamayo_ros.sim.workers import Outcome, RunOptions

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
_DRIVER_ANSWERS_WITHIN_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo sim` takes."""
    parser.add_argument(
        "--scenarios",
        default="all",
        metavar="WHICH",
        help="all (seeds 0-99, each family five times; the default), a family (its five), a seed, seeds A-B, "
        "FAMILY-SEED, or several of these by comma",
    )
    parser.add_argument("--rollouts", type=int, default=1, metavar="N", help="of each scene (default: 1)")
    parser.add_argument(
        "--planner",
        default="expert",
        metavar="WHAT",
        help="expert (knows the world; the default), constant (velocity), pisco (the checkpoint that ships), "
        "or a checkpoint's folder or hub id",
    )
    parser.add_argument(
        "--driver",
        default="",
        metavar="HOST:PORT",
        help="an AlpaSim driver to drive instead of a planner, such as `alpamayo alpasim-driver`",
    )
    parser.add_argument(
        "--backbone",
        metavar="DIR",
        help="folder or hub id of the checkpoint's backbone (default: its config's)",
    )
    parser.add_argument(
        "--plan-options",
        default="",
        metavar="NAME=VALUE,…",
        help="how a checkpoint's plans are drawn: num_samples (the medoid is driven), noise_temperature, "
        "temperature, top_k, ... (default: as its plan_options.json recommends)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of what a checkpoint draws (default: 0)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/sim"), metavar="DIR", help="results (default: out/sim)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument(
        "--no-report", action="store_true", help="leave out report.html (--video makes it all the same)"
    )
    parser.add_argument(
        "--video",
        nargs="?",
        const="worst",
        metavar="SCENE",
        help="also film a rollout: this scene's, or without SCENE the worst of all",
    )
    parser.add_argument(
        "--renderer",
        default="",
        metavar="HOST:PORT",
        help="who serves the pictures (default: a renderer of our own, where pictures are needed)",
    )
    tls = parser.add_argument_group("TLS to the renderer (PEM files; without them the connection is plain)")
    tls.add_argument("--renderer-ca", type=Path, metavar="FILE", help="who signed its certificate")
    tls.add_argument(
        "--renderer-cert", type=Path, metavar="FILE", help="our certificate, where it asks for one"
    )
    tls.add_argument("--renderer-key", type=Path, metavar="FILE", help="our private key")
    parser.add_argument(
        "--asl",
        type=Path,
        metavar="LOG",
        help="score this rollout.asl instead of driving; of a log of another's making no map is known",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="instead of driving")
    export = commands.add_parser("export-usdz", help="write scenes as .usdz files that AlpaSim reads")
    export_usdz.add_arguments(export)


def run(arguments: argparse.Namespace) -> int:
    """Drive or read, score, write, print; return the exit code."""
    from alpamayo_ros.sim.workers import CannotStart

    if arguments.command == "export-usdz":
        _require_no_driving(arguments, beside="export-usdz", heeded=("command", *export_usdz.HEEDED))
        return export_usdz.run(arguments)
    if arguments.asl is not None:
        _require_no_driving(arguments, beside="--asl", heeded=("asl", "out", "no_report"))
        return _score_log(arguments.asl, arguments.out, no_report=arguments.no_report)
    options = _options(arguments)
    try:
        source, notice = _source(arguments)
        video_of = _video_of(arguments.video, options)
        result = _drive(options, source)
    except CannotStart as error:
        print(f"alpamayo sim: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(describe(result.summary))
    try:
        made = _report(arguments, options, result, video_of=video_of, notice=notice)
    except KeyboardInterrupt:
        print(f"results        {options.out}/scores.json, rollouts/; the report was interrupted")
        return EXIT_INTERRUPTED
    print(f"results        {options.out}/scores.json, rollouts/{''.join(f', {path.name}' for path in made)}")
    if notice:
        print(notice)
    if result.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if result.summary["failed"] else 0


def _require_no_driving(arguments: argparse.Namespace, *, beside: str, heeded: tuple[str, ...]) -> None:
    """Raise InvalidInput for options that only driving heeds, given beside something else."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = [
        "--" + name.replace("_", "-")
        for name, value in vars(arguments).items()
        if name not in heeded and value != parser.get_default(name)
    ]
    if given:
        raise InvalidInput(f"{beside}: expected no options for driving beside it, got {', '.join(given)}")


def _score_log(log: Path, out: Path, *, no_report: bool) -> int:
    from alpamayo_ros.sim.asl_score import score_log
    from alpamayo_ros.sim.json_file import write_json
    from alpamayo_ros.sim.run import prepare_folder
    from alpamayo_ros.sim.scoring import aggregate

    score = score_log(log)
    summary: dict[str, Any] = {"planner": score.planner, **aggregate([score]), "rollouts": [score.as_dict()]}
    prepare_folder(out)
    write_json(out / "scores.json", summary)
    print(describe(summary))
    for name, value in score.metrics.items():
        print(f"  {name:<34} {_said(value)}")
    made = [] if no_report else _report_log(log, out, score, summary)
    print(f"results        {out}/scores.json{''.join(f', {path.name}' for path in made)}")
    return 0


def _report_log(log: Path, out: Path, score: RolloutScore, summary: dict[str, Any]) -> list[Path]:
    """Show a log's rollout: with the pictures that it holds, else, if it is ours, rendered again."""
    from alpamayo_ros.sim.report import ReportOptions, show_results
    from alpamayo_ros.sim.report.logged import read_rollout

    logged = read_rollout(log, score)
    options = ReportOptions(command=f"alpamayo sim --asl {shlex.quote(str(log))}")
    return list(
        show_results(out, [logged.record], [score], summary=summary, images=logged.pictures, options=options)
    )


def _options(arguments: argparse.Namespace) -> RunOptions:
    from alpamayo_ros.sim.scenarios import parse_scenarios
    from alpamayo_ros.sim.workers import RunOptions

    return RunOptions(
        scene_ids=parse_scenarios(arguments.scenarios),
        out=arguments.out,
        rollouts=arguments.rollouts,
        jobs=arguments.jobs,
        seed=arguments.seed,
        renderer=renderer_address(arguments.renderer),
        renderer_tls=_tls(arguments),
    )


def _tls(arguments: argparse.Namespace) -> ClientTls | None:
    """Read the files of the options; None without them."""
    files = (arguments.renderer_ca, arguments.renderer_cert, arguments.renderer_key)
    if not any(files):
        return None
    if not arguments.renderer:
        raise InvalidInput("--renderer-ca, -cert, -key: expected --renderer too, got none")
    from alpamayo_ros.sim.protocol.channel import ClientTls

    authority, certificate, key = files
    return ClientTls.from_files(authority=authority, certificate=certificate, key=key)


def _source(arguments: argparse.Namespace) -> tuple[RolloutSource, str]:
    """Return who makes the planners, and what people must know of them, if anything."""
    from alpamayo_ros.sim.planner_sources import SOURCES

    if arguments.driver:
        return _attached(arguments), ""
    if arguments.planner in SOURCES:
        for name in ("backbone", "plan_options"):
            if getattr(arguments, name):
                option = "--" + name.replace("_", "-")
                raise InvalidInput(f"{option}: expected a checkpoint as planner, got {arguments.planner}")
        return SOURCES[arguments.planner], ""
    from alpamayo_ros.cli.sim_checkpoint import CheckpointSource

    options = None
    if arguments.plan_options:
        from alpamayo_ros.model.plan_options import parse_options, recommended_options

        options = parse_options(arguments.plan_options, recommended_options(arguments.planner))
    source = CheckpointSource(arguments.planner, backbone=arguments.backbone, options=options)
    return source, source.check()


def _attached(arguments: argparse.Namespace) -> RolloutSource:
    """Return the driver at --driver; raises CannotStart where none answers."""
    from alpamayo_ros.sim.attached_driver import AttachedDriver
    from alpamayo_ros.sim.protocol.channel import CallPolicy, ServiceError, require_address
    from alpamayo_ros.sim.workers import CannotStart

    _require_no_planner(arguments)
    policy = CallPolicy(connect_timeout_s=_DRIVER_ANSWERS_WITHIN_S)
    try:
        return AttachedDriver.reach(require_address("--driver", arguments.driver), policy=policy)
    except ServiceError as error:
        raise CannotStart(str(error)) from error


def _require_no_planner(arguments: argparse.Namespace) -> None:
    given = [name for name in ("planner", "backbone") if getattr(arguments, name) not in ("expert", None)]
    if given:
        raise InvalidInput(f"--driver: expected no planner beside it, got --{given[0]}")


def _drive(options: RunOptions, source: RolloutSource) -> RunResult:
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
    arguments: argparse.Namespace, options: RunOptions, result: RunResult, *, video_of: str, notice: str
) -> list[Path]:
    """Write what people look at, unless --no-report; of an interrupted run what there is, without a film."""
    if arguments.no_report and not video_of:
        return []
    from rich.console import Console

    from alpamayo_ros.sim.report import ReportOptions, show_results

    done, asked = len(result.outcomes), len(options.work)
    if not done:
        return []
    if result.interrupted:
        notice = f"Interrupted after {done} of {asked} rollouts. {notice}".strip()
    console = Console(stderr=True)
    with console.status("report") as status:
        made = show_results(
            options.out,
            [outcome.record for outcome in result.outcomes],
            [outcome.score for outcome in result.outcomes],
            summary=result.summary,
            video_of="" if result.interrupted else video_of,
            options=ReportOptions(command=_command(arguments), notice=notice),
            progress=lambda text: status.update(f"report: {text}"),
        )
    return list(made)


def _command(arguments: argparse.Namespace) -> str:
    who = f"--driver {arguments.driver}" if arguments.driver else f"--planner {arguments.planner}"
    return f"alpamayo sim {who}"


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
        f"AlpaSim score  {km['text']}{'' if km['km'] is None else ' between incidents'}",
        f"incidents      {_said(summary['at_fault'])} at fault, {_said(summary['offroad'])} off-road, "
        f"{_said(summary['red_light_runs'])} red lights, {_said(summary['stop_sign_runs'])} stop signs run",
        f"speed          {_said(summary['speed_rel_to_reference'])} of the reference drive's",
    ]
    if summary["unknown_incidents"]:
        names = ", ".join(summary["unknown_incidents"])
        lines.append(f"unknown        {names}: not in the scene score, which may be lower")
    if summary["unsolved_steps"]:
        lines.append(f"controller     without a solution in {summary['unsolved_steps']} steps: it braked")
    if summary.get("timing", {}).get("rollouts"):
        lines.append(_time(summary["timing"]))
    if summary["failed"]:
        lines.append(f"failed         {', '.join(summary['failed'])}")
    return "\n".join(lines)


def _time(timing: dict[str, Any]) -> str:
    plan = timing["plan_ms"]
    simulated_s = sum(each["simulated_s"] for each in timing["rollouts"].values())
    line = (
        f"time           {timing['wall_s']:.1f} s for {simulated_s:.0f} s of driving ({timing['jobs']} jobs)"
    )
    if plan["mean"] is None:
        return line
    return (
        f"{line}; a plan took {plan['mean']:.1f} ms, 95 % under {plan['p95']:.1f}, at most {plan['max']:.1f}"
    )


def _said(value: object) -> str:
    return "unknown" if value is None else str(value)
