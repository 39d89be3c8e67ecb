"""Record topics to an MCAP bag, and keep the last seconds to be saved on demand. See docs/RECORDING.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from alpamayo_ros.types import InvalidInput

DEFAULT_OUT = "record_%Y%m%dT%H%M%SZ"

_STATUS_PERIOD_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo record` takes."""
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help="to record, '*' and '?' allowed (default: all)"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="TOPIC", help="not to record; may be repeated"
    )
    parser.add_argument(
        "--out", default=DEFAULT_OUT, metavar="DIR", help="folder to make; %%Y, %%m … become the time in UTC"
        " (default: record_TIME)",
    )  # fmt: skip
    parser.add_argument("--split-size", type=int, metavar="MIB", help="begin a new file at this size")
    parser.add_argument("--split-time", type=float, metavar="S", help="begin a new file after this time")
    parser.add_argument("--max-size", type=int, metavar="MIB", help="end at this size")
    parser.add_argument(
        "--compression",
        choices=("zstd", "lz4", "none"),
        help="of chunks (default: zstd); images that are compressed already are stored as they are",
    )
    parser.add_argument("--min-free", type=int, metavar="MIB", help="end when the disk has no more than this")
    parser.add_argument("--queue", type=int, metavar="MIB", help="memory for what waits for the disk")
    ring = parser.add_argument_group("ring buffer, saved by `alpamayo record save`")
    ring.add_argument("--ring", type=float, metavar="S", help="keep the last seconds in memory")
    ring.add_argument("--ring-size", type=int, metavar="MIB", help="memory for the ring (default: 1024)")
    ring.add_argument(
        "--ring-only", action="store_true", help="record nothing else; DIR is the folder for its bags"
    )
    ring.add_argument("--after", type=float, metavar="S", help="seconds that are saved after (default: 5)")
    ring.add_argument(
        "--save-on",
        metavar="WHAT",
        help="what saves by itself: disengagement, watchdog, both by comma, or none (default: both)",
    )
    parser.add_argument("--namespace", default="alpamayo", help="of the recorder (default: alpamayo)")
    parser.add_argument("--use-sim-time", action="store_true", help="stamp with the time of /clock")
    parser.add_argument("--log-level", choices=("debug", "info", "warn", "error", "fatal"), default="info")


def run(arguments: argparse.Namespace) -> int:
    """Record until a signal comes, or the disk or the given size is full; return the exit code."""
    for flag, other in (("ring_size", "ring"), ("ring_only", "ring"), ("after", "ring"), ("save_on", "ring")):
        if getattr(arguments, flag) and arguments.ring is None:
            raise InvalidInput(f"--{flag.replace('_', '-')}: expected --{other} too, got none")
    for topic in (*arguments.topics, *arguments.exclude):
        if not topic.startswith(("/", "*")):
            raise InvalidInput(f"topic: expected an absolute name such as /odom, got {topic!r}")
    from rclpy.parameter import Parameter

    from alpamayo_ros.nodes.recorder import RecorderNode
    from alpamayo_ros.ros.runner import ros_arguments, run_nodes

    ros = ros_arguments(
        namespace=arguments.namespace,
        parameters={"use_sim_time": True} if arguments.use_sim_time else None,
        log_level=arguments.log_level,
    )
    overrides = [Parameter(name, value=value) for name, value in parameters(arguments).items()]
    return run_nodes([lambda: RecorderNode(parameter_overrides=overrides)], ros, start=_show)


def parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the recorder's parameters; a flag that was not given leaves its default."""
    from alpamayo_ros.ros.recorder_parameters import NEVER_RECORDED

    save_on = arguments.save_on and [w.strip() for w in arguments.save_on.split(",")]
    given = {
        "output": arguments.out,
        "topics": arguments.topics or None,
        "exclude": [*NEVER_RECORDED, *arguments.exclude] if arguments.exclude else None,
        "continuous": False if arguments.ring_only else None,
        "compression": arguments.compression,
        "split_mib": arguments.split_size,
        "split_s": arguments.split_time,
        "max_mib": arguments.max_size,
        "min_free_mib": arguments.min_free,
        "queue_mib": arguments.queue,
        "ring_s": arguments.ring,
        "ring_mib": arguments.ring_size,
        "ring_after_s": arguments.after,
        "save_on": [""] if save_on == ["none"] else save_on,
    }
    return {name: value for name, value in given.items() if value is not None}


def _show(nodes: Sequence[Any]) -> None:
    """Keep a line on the terminal that says how it goes."""
    from rclpy.clock import Clock, ClockType

    if not sys.stderr.isatty():
        return
    (recorder,) = nodes

    def show() -> None:
        print(f"\r\x1b[K{line(recorder)}", end="", file=sys.stderr, flush=True)

    recorder.create_timer(_STATUS_PERIOD_S, show, clock=Clock(clock_type=ClockType.STEADY_TIME))


def line(recorder: Any) -> str:
    """Return how a recorder is doing, in one line."""
    parts = [f"{len(recorder.recorded_topics)} topics"]
    if recorder.recording is not None:
        parts.append(f"{recorder.recording.written} messages, {recorder.recording.size / 1e6:.1f} MB")
    if sum(recorder.dropped.values()):
        parts.append(f"{sum(recorder.dropped.values())} DROPPED")
    if recorder.ring is not None and recorder.snapshots is not None:
        parts.append(f"ring {recorder.ring.held_s:.1f} s, {recorder.ring.bytes / 1e6:.1f} MB")
        parts.append("saving" if recorder.snapshots.is_saving else f"{recorder.snapshots.saved} saved")
    return "  ".join(parts)
