"""Summarise a log of AlpaSim's (rollout.asl): what was asked of whom, what was driven, what went wrong.

A log that a crash cut off is summarised as far as it goes; the exit code is then 1. Pickles are never opened.
`alpamayo asl replay` replays one into a driver.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpamayo_ros.sim.asl_summary import Incidents, LogSummary, Session
    from alpamayo_ros.sim.asl_tallies import (
        ActorSummary,
        CameraSummary,
        ControllerSummary,
        DriveSummary,
        Spread,
    )

EXIT_BROKEN = 1
TEXTS_SHOWN, ACTORS_SHOWN = 5, 30
"""Reasoning texts and actors; --json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo asl` takes."""
    parser.add_argument("log", type=Path, metavar="FILE", help="rollout.asl, of AlpaSim or of `alpamayo sim`")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read the log, print its summary, and return the exit code."""
    from alpamayo_ros.sim.asl_summary import summarise_log

    summary = summarise_log(arguments.log)
    print(
        json.dumps(summary.as_dict(), indent=2, ensure_ascii=False) if arguments.json else describe(summary)
    )
    if summary.broken:
        print(f"alpamayo asl: {summary.broken}", file=sys.stderr)
        return EXIT_BROKEN
    return 0


def describe(summary: LogSummary) -> str:
    """Return a summary for a terminal."""
    count = sum(each.count for each in summary.entries.values())
    head = f"{summary.path}: {count} entries, {_size(summary.size_bytes)}"
    if summary.first_us is not None:
        start = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(summary.first_us // 1_000_000))
        head += f", {summary.duration_s:.1f} s from {start}"
    if summary.broken:
        head += ", CUT OFF" if summary.cut_off else ", BROKEN"
    width = max(len(kind) for kind in summary.entries)
    lines = [
        head,
        *_session(summary.session),
        _row("steps", _steps(summary)),
        *_rows("entries", (_entries(k, c.count, c.size_bytes, width) for k, c in summary.entries.items())),
        *_rows("cameras", map(_camera, summary.cameras)),
        *_rows("actors", _actors(summary.actors)),
        *_drives(summary.drives),
        *_controller(summary.controller),
        *_rows("incidents", _incidents(summary.incidents)),
        *_rows("unknown fields", (f"{n} x {path}" for path, n in summary.unknown_fields.items())),
    ]
    if summary.broken:
        lines.append(_row("broken", summary.broken))
    return "\n".join(lines)


def _row(name: str, text: str) -> str:
    return f"{name:<15} {text}"


def _rows(name: str, texts: Iterable[str]) -> list[str]:
    """Return rows of which the first has the name; "none" for no text."""
    return [_row(name if index == 0 else "", text) for index, text in enumerate(list(texts) or ["none"])]


def _session(session: Session | None) -> list[str]:
    if session is None:
        return [_row("scene", "unknown: the log has no metadata")]
    recording = f", recording {session.recording}" if session.recording else ""
    used = [f"{name} {text}" for name, text in session.versions.items() if not text.startswith("<skip>")]
    skipped = [name for name, text in session.versions.items() if text.startswith("<skip>")]
    versions = [*used, *([f"without {', '.join(skipped)}"] if skipped else [])]
    return [
        _row("scene", f"{session.scene_id}, rollout {session.rollout_index}{recording}"),
        _row("session", session.session_uuid or "none"),
        *_rows("versions", versions),
    ]


def _steps(summary: LogSummary) -> str:
    if summary.session is None:
        return f"{summary.steps} instants with poses"
    session = summary.session
    return (
        f"{summary.drives.requests} driven of {session.planned_steps} planned, {session.step_s * 1e3:g} ms "
        f"each; {summary.steps} instants with poses; the planner takes over at {session.handover_s:.1f} s"
    )


def _entries(kind: str, count: int, size_bytes: int, width: int) -> str:
    return f"{kind:<{width}} {count:6d}  {_size(size_bytes):>9}"


def _camera(camera: CameraSummary) -> str:
    lens = f"{camera.model} {camera.native_size}" if camera.model else "unknown lens"
    rate = "" if camera.rate_hz is None else f", {camera.rate_hz:.2f} Hz"
    broken = f", {camera.broken_images} BROKEN" if camera.broken_images else ""
    asked, sent = _sized(camera.requests, camera.requested_sizes), _sized(camera.images, camera.image_sizes)
    name = camera.logical_id or "(no name)"
    return f"{name:<25} {lens}; {asked} asked, {sent} sent{broken}{rate}, {_size(camera.image_bytes)}"


def _sized(total: int, sizes: dict[str, int]) -> str:
    """Return like "31 of 1900x1080", or each size's share where they differ."""
    if len(sizes) == 1 and total == next(iter(sizes.values())):
        return f"{total} of {next(iter(sizes))}"
    shares = ", ".join(f"{count} of {size}" for size, count in sizes.items())
    return f"{total} ({shares})" if shares else str(total)


def _actors(actors: tuple[ActorSummary, ...]) -> list[str]:
    width = max((len(actor.actor_id) for actor in actors[:ACTORS_SHOWN]), default=0)
    lines = []
    for actor in actors[:ACTORS_SHOWN]:
        size = (
            "size unknown"
            if actor.size_xyz_m is None
            else "{:.2f} x {:.2f} x {:.2f} m".format(*actor.size_xyz_m)
        )
        motion = {True: f"moves {actor.travelled_m:.1f} m", False: "static", None: "never seen"}[actor.moving]
        label = f"{actor.label}, " if actor.label else ""
        lines.append(f"{actor.actor_id:<{width}}  {size:<20}  {label}{motion}, {actor.steps} poses")
    if len(actors) > ACTORS_SHOWN:
        lines.append(f"and {len(actors) - ACTORS_SHOWN} others (--json has all)")
    return lines


def _drives(drives: DriveSummary) -> list[str]:
    answered = f"{drives.answers} answered" if drives.answers != drives.requests else "all answered"
    ended = f", {drives.terminations} asked to end the session" if drives.terminations else ""
    lines = [_row("drives", f"{drives.requests}, {answered}{ended}" if drives.requests else "none")]
    if drives.answers:
        reach = _spread(drives.horizon_s, " s") or "nowhere"
        samples = f"sampled trajectories: {_spread(drives.samples)} an answer"
        if drives.sample_horizon_s is not None:
            samples += f", reaching {_spread(drives.sample_horizon_s, ' s')}"
        lines += [
            _row("", f"plans reach {reach}, {_spread(drives.points)} points each"),
            _row("", samples),
            *(_row("", f"{count} plans: {fault}") for fault, count in drives.faults.items()),
        ]
        sources = ", ".join(f"{count} {source}" for source, count in drives.sources.items())
        lines += [_row("", f"sources: {sources}")] if sources else []
        lines += _rows("reasoning", _reasoning(drives))
    points = _spread(drives.route_points)
    lines.append(_row("route", f"{drives.routes} times, {points} points" if drives.routes else "never sent"))
    truths = f"; {drives.ground_truths} recordings shown to it" if drives.ground_truths else ""
    lines.append(
        _row("egomotion", f"{drives.egomotion_batches} times, {drives.egomotion_poses} poses{truths}")
    )
    return lines


def _reasoning(drives: DriveSummary) -> list[str]:
    texts = [f"{count:4d} x {text}" for text, count in drives.reasoning.items()]
    if len(texts) > TEXTS_SHOWN:
        texts = [*texts[:TEXTS_SHOWN], f"and {len(texts) - TEXTS_SHOWN} other texts (--json has all)"]
    notes = {
        "pickle": "pickles, which are never opened",
        "other": "debug info of another kind than JSON",
        "none": "without debug info",
    }
    return texts + [
        f"{drives.debug_info[kind]} {note}" for kind, note in notes.items() if kind in drives.debug_info
    ]


def _controller(controller: ControllerSummary) -> list[str]:
    if not controller.requests and not controller.answers:
        return [_row("controller", "never asked")]
    answered = "all answered"
    if controller.answers != controller.requests:
        answered = f"{controller.answers} answered"
    speed, step = _spread(controller.speed_mps, " m/s"), _spread(controller.step_s, " s")
    return [_row("controller", f"{controller.requests} steps of {step}, {answered}, at {speed}")]


def _incidents(incidents: Incidents) -> list[str]:
    if incidents.why_unknown:
        return [f"unknown: {incidents.why_unknown}"]
    at = "" if incidents.event_s is None else f" at {incidents.event_s:.1f} s"
    collision = "collision: unknown"
    if incidents.collision:
        fault = "at fault" if incidents.at_fault else "not at fault"
        collision = f"collision: {incidents.collision} with {incidents.collision_with}{at}, {fault}"
    elif incidents.collision == "":
        collision = "collision: none"
        if incidents.min_distance_to_obstacle_m is not None:
            collision += f" (nearest {incidents.min_distance_to_obstacle_m:.2f} m)"
    off_road = {True: f"yes{at}", False: "none", None: "unknown (no map in the log)"}[incidents.off_road]
    left = f"never 4 m away (at most {incidents.farthest_from_recording_m:.2f} m)"
    if incidents.left_recording:
        left = f"4 m away at {incidents.left_recording_s:.1f} s"
    score = "unknown" if incidents.scene_score is None else f"{incidents.scene_score:.3f}"
    if incidents.scene_score and incidents.unknown_incidents:
        score += f" if without {' and '.join(incidents.unknown_incidents)}"
    progress, way_m = incidents.progress, incidents.dist_traveled_m
    return [
        collision,
        f"off-road: {off_road}",
        f"recorded drive: {left}; progress {progress:.3f}, {way_m:.1f} m driven",
        f"scene score: {score}",
    ]


def _spread(spread: Spread | None, unit: str = "") -> str:
    """Return like "6.4 s" or "5 ... 6.4 ... 7 s" (least, median, greatest); "" for nothing."""
    if spread is None:
        return ""
    texts = [f"{value:.4g}" for value in (spread.least, spread.median, spread.greatest)]
    return (texts[0] if texts[0] == texts[2] else " ... ".join(texts)) + unit


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.2f} {unit}"
    return f"{size_bytes} B"
