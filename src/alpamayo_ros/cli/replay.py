"""Play a bag through the planner over real topics, record everything, and sum up the result."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.ros.replay import Progress, ReplayOptions, ReplayResult

_TUNED = {
    "max_reasoning_tokens": int,
    "num_samples": int,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "flow_steps": int,
    "guidance_weight": float,
    "noise_temperature": float,
    "seed": int,
    "max_plan_age": float,
    "dtype": str,
}
"""Parameters of the planner that have a flag of their own."""

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo replay` takes."""
    parser.add_argument("bag", metavar="BAG", type=Path, help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument(
        "--rig", default="default", help="rig file, or a name in config/rigs (default: default)"
    )
    parser.add_argument("--checkpoint", required=True, help="Alpamayo's checkpoint: a folder or a hub id")
    parser.add_argument("--backbone", help="folder or hub id, if not the one that the checkpoint names")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, or auto (default: auto)")
    parser.add_argument(
        "--out", type=Path, default=Path("replay"), metavar="DIR", help="results (default: replay)"
    )
    playing = parser.add_argument_group("playing")
    playing.add_argument(
        "--rate",
        type=_rate,
        metavar="R|auto",
        help="bag seconds a wall second; auto (the default) is real time for a planner that keeps up, "
        "and as slow as it takes for one that does not",
    )
    playing.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds of the bag to skip")
    playing.add_argument("--odometry", metavar="TOPIC", help="if not the rig's, or the bag's only one")
    planner = parser.add_argument_group("planner (see `alpamayo parameters`)")
    planner.add_argument("--params-file", type=Path, help="YAML as for `ros2 run … --params-file`")
    planner.add_argument(
        "--param", action="append", default=[], metavar="NAME:=VALUE", help="any other parameter"
    )
    for name, kind in _TUNED.items():
        planner.add_argument(f"--{name.replace('_', '-')}", type=kind)
    graph = parser.add_argument_group("ROS graph")
    graph.add_argument("--domain-id", type=int, help="ROS domain (default: a free one, of this replay's own)")
    graph.add_argument("--any-host", action="store_true", help="let the graph reach other machines")
    graph.add_argument(
        "--load-timeout", type=float, default=900.0, metavar="S", help="for the model (default: 900)"
    )
    graph.add_argument("--log-level", default="info", choices=("debug", "info", "warn", "error", "fatal"))


def _rate(text: str) -> float | None:
    return None if text == "auto" else float(text)


def run(arguments: argparse.Namespace) -> int:
    """Replay, write summary.json and summary.png, and return the exit code."""
    from alpamayo_ros.ros.replay import ReplayFailed, replay
    from alpamayo_ros.sensing.rig import load_rig

    options = _options(arguments)
    rig = load_rig(options.rig)
    display = _Display()
    try:
        with display:
            result = replay(options, rig, progress=display.update)
    except ReplayFailed as error:
        print(f"alpamayo replay: {error}", file=sys.stderr)
        return EXIT_FAILED
    summary = _write_results(options, result, checkpoint=arguments.checkpoint)
    print(_describe(summary, options.out))
    if result.interrupted:
        return EXIT_INTERRUPTED
    return 0


def _options(arguments: argparse.Namespace) -> ReplayOptions:
    from alpamayo_ros.ros.replay import ReplayOptions

    parameters: dict[str, Any] = {"checkpoint": _local(arguments.checkpoint)}
    if arguments.backbone:
        parameters["backbone"] = _local(arguments.backbone)
    if arguments.device:
        parameters["device"] = arguments.device
    parameters.update({n: getattr(arguments, n) for n in _TUNED if getattr(arguments, n) is not None})
    for text in arguments.param:
        name, separator, value = text.partition(":=")
        if not separator or not name:
            raise InvalidInput(f"--param: expected NAME:=VALUE, got {text!r}")
        parameters[name] = yaml.safe_load(value)
    if arguments.params_file is not None and not arguments.params_file.is_file():
        raise InvalidInput(f"--params-file: expected a YAML file, got {arguments.params_file}")
    if arguments.domain_id is not None and not 0 <= arguments.domain_id <= 232:
        raise InvalidInput(f"--domain-id: expected 0 ... 232, got {arguments.domain_id}")
    return ReplayOptions(
        bag=arguments.bag,
        rig=_local(arguments.rig),
        out=arguments.out,
        parameters=parameters,
        rate=arguments.rate,
        start_offset_s=arguments.start,
        odometry=arguments.odometry,
        params_file=arguments.params_file,
        domain_id=arguments.domain_id,
        any_host=arguments.any_host,
        load_timeout_s=arguments.load_timeout,
        log_level=arguments.log_level,
    )


def _local(name_or_path: str) -> str:
    """Return an absolute path for what is one, and a name or hub id as it is."""
    path = Path(name_or_path).expanduser()
    return str(path.resolve()) if path.exists() else name_or_path


def _write_results(options: ReplayOptions, result: ReplayResult, *, checkpoint: str) -> dict[str, Any]:
    from alpamayo_ros.bags.report import draw_report
    from alpamayo_ros.bags.run import read_run
    from alpamayo_ros.bags.summary import summarise, write_summary
    from alpamayo_ros.sensing.rig import load_rig

    recorded = read_run(result.bag, plan_topic=result.plan_topic, odometry_topic=result.odometry_topic)
    extra = {
        "bag": str(options.bag),
        "rig": options.rig,
        "checkpoint": checkpoint,
        "rate": "auto" if options.rate is None else options.rate,
        "mean_rate": round(result.bag_s / result.play_s, 3),
        "wall_s": round(result.wall_s, 3),
        "interrupted": result.interrupted,
        "planner_idle_at_end": result.drained,
        "player_late_s": round(result.late_s, 3),
        "recorder_dropped": result.dropped,
        "not_played": result.skipped,
    }
    summary = summarise(recorded, sent=result.sent, bag_s=result.bag_s, extra=extra)
    write_summary(options.out / "summary.json", summary)
    draw_report(options.out / "summary.png", recorded, load_rig(options.rig), summary=summary)
    return summary


def _describe(summary: dict[str, Any], out: Path) -> str:
    publish = summary["latency_ms"]["publish"]
    latency = f", {publish['p50']:.0f} ms of bag time after t0 (p99 {publish['p99']:.0f})" if publish else ""
    plans = ", ".join(f"{n} {status}" for status, n in summary["plans"].items()) or "none"
    refused = ", ".join(f"{n} {reason}" for reason, n in summary["refusals"].items()) or "none"
    failed = ", ".join(f"{n} {check}" for check, n in summary["rejected_for"].items()) or "none"
    monitor = ", ".join(f"{n} {verdict}" for verdict, n in summary["monitor"].items())
    lines = [
        f"model        {summary['model'] or 'unknown'}",
        f"plans        {plans}{latency}",
        f"gate         {summary['stops']} stops sent meanwhile; checks that failed: {failed}",
        f"monitor      {monitor}",
        f"played       {summary['bag_s']:.1f} s at {summary['mean_rate']:.2f} x real time",
        f"refusals     {refused}",
        f"results      {out}/summary.json, summary.png, bag/, planner.log",
    ]
    if summary["random_weights"]:
        lines.append("The weights are RANDOM: plans and reasoning mean nothing; everything else is real.")
    return "\n".join(lines)


class _Display:
    """A progress bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.1f}/{task.total:.1f} s  {task.fields[counts]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0, counts="")
        self._phase = ""

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, progress: Progress) -> None:
        """Show where the replay stands."""
        counts = f"{progress.plans} plans, {progress.refusals} refused"
        if progress.phase == "loading":
            counts = progress.detail
        self._bar.update(
            self._task,
            description=progress.phase,
            completed=progress.done_s,
            total=progress.total_s,
            counts=counts,
        )
        if progress.phase != self._phase:
            self._phase = progress.phase
            if not self._console.is_terminal:
                print(f"{progress.phase} ...", flush=True)
