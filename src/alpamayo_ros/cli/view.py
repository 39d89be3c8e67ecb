"""Show the live graph, or a recording, in Foxglove or, with --web, on a page of our own in any browser."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.ros.diagnostics import Status
    from alpamayo_ros.view.foxglove_server import FoxgloveServer
    from alpamayo_ros.view.source import Source
    from alpamayo_ros.view.web import WebView

_LINE_PERIOD_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo view` takes."""
    parser.add_argument(
        "bag", nargs="?", metavar="BAG", help="recording to show (rosbag2 or MCAP); without it the live graph"
    )
    parser.add_argument(
        "--web", action="store_true", help="serve the web page instead of Foxglove's websocket"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: 127.0.0.1; any other lets the network look)",
    )
    parser.add_argument("--port", type=int, help="default: 8765 for Foxglove, 8080 with --web")
    parser.add_argument("--namespace", default="alpamayo", help="of our nodes (default: alpamayo)")
    recording = parser.add_argument_group("recording")
    recording.add_argument("--rate", type=float, help="bag seconds a wall second (default: 1)")
    recording.add_argument("--loop", action="store_true", help="start again at the end")
    recording.add_argument("--paused", action="store_true", help="wait to be played")
    foxglove = parser.add_argument_group("Foxglove")
    foxglove.add_argument(
        "--backlog", type=int, metavar="N", help="messages that may wait for one client (default: 256)"
    )
    web = parser.add_argument_group("web page")
    web.add_argument("--rig", help="rig file, or a name in config/rigs, that names cameras and odometry")
    web.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name by which pages may come"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit code."""
    for flag, value in (
        ("--rate", arguments.rate),
        ("--loop", arguments.loop),
        ("--paused", arguments.paused),
    ):
        if value and arguments.bag is None:
            raise InvalidInput(f"{flag}: expected a BAG to play, got none")
    for flag, value, web in (
        ("--rig", arguments.rig, True),
        ("--allow-host", arguments.allow_host, True),
        ("--backlog", arguments.backlog, False),
    ):
        if value and arguments.web is not web:
            raise InvalidInput(f"{flag}: expected {'with' if web else 'without'} --web")
    return _recorded(arguments) if arguments.bag is not None else _live(arguments)


def _recorded(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.ros.runner import SPIN_TIMEOUT_S, StopSignals
    from alpamayo_ros.view.playback import Playback

    rate = 1.0 if arguments.rate is None else arguments.rate
    playback = Playback(arguments.bag, rate=rate, loop=arguments.loop, paused=arguments.paused)
    for topic, why in playback.ignored.items():
        print(f"warning: {topic} is not shown: {why}", file=sys.stderr)
    try:
        with StopSignals() as stop:
            server = _open(playback, arguments, title=Path(arguments.bag).name)
            try:
                with _StatusLine(server):
                    while not stop and playback.error is None:
                        threading.Event().wait(SPIN_TIMEOUT_S)
            finally:
                server.close()
    finally:
        playback.close()
    if playback.error is not None:
        print(f"alpamayo view: {playback.error}", file=sys.stderr)
        return 1
    return 0


def _live(arguments: argparse.Namespace) -> int:
    from alpamayo_ros.ros.runner import ros_arguments, run_node

    def make() -> Any:
        from alpamayo_ros.ros.view_graph import ViewNode

        return ViewNode()

    def start(node: Any) -> None:
        server = _open(node, arguments, title="live graph")
        line = _StatusLine(server)

        def close() -> None:
            line.__exit__()
            server.close()

        node.on_destroy = close
        node.status_of = lambda: _status(server)
        line.__enter__()

    return run_node(make, ros_arguments(namespace=arguments.namespace), start=start)


def _open(source: Source, arguments: argparse.Namespace, *, title: str) -> FoxgloveServer | WebView:
    """Start the server that is asked for, and say where it is."""
    from alpamayo_ros.view import foxglove_server, web_server
    from alpamayo_ros.view.source import exposure_warning

    host = arguments.host
    port = arguments.port
    if port is None:
        port = web_server.PORT if arguments.web else foxglove_server.PORT
    server: FoxgloveServer | WebView
    if arguments.web:
        from alpamayo_ros.sensing.rig import load_rig
        from alpamayo_ros.view.web import WebView

        server = WebView(
            source,
            host=host,
            port=port,
            title=f"Alpamayo – {title}",
            namespace=arguments.namespace,
            rig=None if arguments.rig is None else load_rig(arguments.rig),
            allowed_hosts=arguments.allow_host,
        )
    else:
        server = foxglove_server.FoxgloveServer(
            source,
            host=host,
            port=port,
            name=f"alpamayo: {title}",
            backlog=foxglove_server.BACKLOG if arguments.backlog is None else arguments.backlog,
        )
    place = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
    if arguments.web:
        print(f"open http://{place}/ in a browser", flush=True)
    else:
        print(f"open ws://{place} in Foxglove; layout: {_layout()}", flush=True)
    warning = exposure_warning(host, server.port)
    if warning:
        print(warning, file=sys.stderr, flush=True)
    return server


def _layout() -> Path:
    from alpamayo_ros.ros.runner import shared_file

    return shared_file("config/foxglove/alpamayo.json")


def _status(server: FoxgloveServer | WebView) -> Status:
    """Return what /diagnostics is told of a server."""
    from dataclasses import asdict

    from alpamayo_ros.ros.diagnostics import Level, Status
    from alpamayo_ros.view.foxglove_server import FoxgloveStatistics

    done = server.statistics
    values: dict[str, object] = dict(asdict(done))
    level, message = Level.OK, describe(server)
    if isinstance(done, FoxgloveStatistics):
        level = Level.WARN if done.overfull else Level.OK
    return Status("viewer", level, message, values)


def describe(server: FoxgloveServer | WebView) -> str:
    """Return one line on what a server does."""
    from alpamayo_ros.view.foxglove_server import FoxgloveStatistics

    done = server.statistics
    if isinstance(done, FoxgloveStatistics):
        slow = f"; a client was too slow {done.overfull} times" if done.overfull else ""
        return (
            f"{done.clients} clients read {done.subscribed} of {done.topics} topics, "
            f"{done.messages} messages{slow}"
        )
    slow = f"; {done.replaced + done.dropped} skipped for slow pages" if done.replaced + done.dropped else ""
    return f"{done.clients} pages, {done.sent} messages{slow}"


class _StatusLine:
    """Keeps a line on a terminal up to date; silent elsewhere."""

    def __init__(self, server: FoxgloveServer | WebView) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status line", daemon=True)

    def __enter__(self) -> _StatusLine:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            print(file=sys.stderr)

    def _run(self) -> None:
        while not self._stop.wait(_LINE_PERIOD_S):
            print(f"\r{describe(self._server)}\x1b[K", end="", file=sys.stderr, flush=True)
