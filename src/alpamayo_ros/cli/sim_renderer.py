"""Serve camera images of our simulated scenes by AlpaSim's protocol (SensorsimService)."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.sim.protocol.server import ServerTls

_CHECK_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `alpamayo sim-renderer`."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=0, help="port (default: 0, a free one, which is printed)")
    parser.add_argument(
        "--scene-from-asl",
        type=Path,
        action="append",
        default=[],
        metavar="LOG",
        help="also serve a plain scene along an AlpaSim log's drive, under the log's scene id; repeatable",
    )
    parser.add_argument(
        "--cache-scenes", type=int, default=8, metavar="N", help="scenes kept ready (default: 8)"
    )
    tls = parser.add_argument_group("TLS (PEM files; without them the connection is plain)")
    tls.add_argument("--tls-cert", type=Path, metavar="FILE", help="the server's certificate chain")
    tls.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    tls.add_argument(
        "--tls-client-ca", type=Path, metavar="FILE", help="authority that clients must be signed by"
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; 1 if the drawing thread ends before."""
    from alpamayo_ros.sim.render.gpu import RendererUnavailable
    from alpamayo_ros.sim.render.process import READY
    from alpamayo_ros.sim.render.render_thread import RenderThread
    from alpamayo_ros.sim.render.scene_store import SceneStore
    from alpamayo_ros.sim.render.server import serve_store
    from alpamayo_ros.sim.scenes import make_scene

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    tls = _tls(arguments)
    fixed = {}
    for log in arguments.scene_from_asl:
        from alpamayo_ros.sim.scene_from_asl import scene_from_asl

        scene = scene_from_asl(log)
        fixed[scene.scene.scene_id] = scene
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if arguments.until_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()
    try:
        thread = RenderThread()
    except RendererUnavailable as error:
        print(f"alpamayo sim-renderer: {error}", file=sys.stderr)
        return 1
    store = SceneStore(thread, make_scene, fixed=fixed, capacity=arguments.cache_scenes)
    server = serve_store(store, host=arguments.host, port=arguments.port, tls=tls)
    print(f"{READY}{server.address}", flush=True)
    while thread.alive and not stop.wait(_CHECK_S):
        pass
    died = not thread.alive
    server.stop()
    if died:
        print(
            "alpamayo sim-renderer: the drawing thread has ended; nothing more can be drawn", file=sys.stderr
        )
        return 1
    thread.close()
    return 0


def _watch_stdin(stop: threading.Event) -> None:
    """Stop when whoever holds the other end of the standard input is gone."""
    while sys.stdin.buffer.read(4096):
        pass
    stop.set()


def _tls(arguments: argparse.Namespace) -> ServerTls | None:
    """Read the files of the options; None without them."""
    from alpamayo_ros.sim.protocol.server import ServerTls

    if arguments.tls_cert is None and arguments.tls_key is None:
        if arguments.tls_client_ca is not None:
            raise InvalidInput("--tls-client-ca: expected --tls-cert and --tls-key too, got neither")
        return None
    if arguments.tls_cert is None or arguments.tls_key is None:
        raise InvalidInput("--tls-cert, --tls-key: expected both or neither, got one of them")
    return ServerTls.from_files(
        key=arguments.tls_key, certificate=arguments.tls_cert, client_authority=arguments.tls_client_ca
    )
