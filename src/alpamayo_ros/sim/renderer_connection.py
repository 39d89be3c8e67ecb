"""A connection to a renderer: at an address, or to one of our own that runs beside and is kept running."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from alpamayo_ros.sim.protocol.channel import CallPolicy, ClientTls, Connection
from alpamayo_ros.sim.protocol.sensorsim import SENSORSIM, SensorsimClient
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.render.process import RendererProcess
from alpamayo_ros.types import InvalidInput

MAX_RESTARTS = 5
"""How often a renderer of our own is started anew; one that goes on dying has a reason."""

_LOOK_S = 0.1

_log = logging.getLogger(__name__)


class OwnRenderer:
    """A renderer of our own in a child process; started anew at the same address when it dies.

    Args:
        warn: told when it died, with the last lines that it printed.

    Raises:
        RendererUnavailable: if it does not start.
    """

    def __init__(self, *, warn: Callable[[str], None] = _log.warning) -> None:
        self._warn = warn
        self._child = RendererProcess()
        self._on_lost: Callable[[str], None] = lambda reason: None
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="renderer watch", daemon=True)
        self._watcher.start()

    @property
    def address(self) -> str:
        """HOST:PORT, the same for all children."""
        return self._child.address

    @property
    def pid(self) -> int:
        """Process id of the present child."""
        return self._child.pid

    def on_lost(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called, in another thread, with the reason when it is given up."""
        self._on_lost = tell

    def stop(self) -> None:
        """End the child."""
        self._stop.set()
        self._watcher.join()
        self._child.stop()

    def __enter__(self) -> OwnRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _watch(self) -> None:
        restarts = 0
        while not self._stop.wait(_LOOK_S):
            if self._child.alive:
                continue
            self._child.stop()  # collects what it still had to say
            died = f"the renderer that was started here (process {self._child.pid}) has ended; it said:\n"
            died += self._child.log_tail()
            if restarts == MAX_RESTARTS:
                self._on_lost(f"{died}\nIt was started anew {restarts} times already.")
                return
            restarts += 1
            self._warn(f"{died}\nStarting it anew.")
            port = int(self._child.address.rpartition(":")[2])
            try:
                self._child = RendererProcess(port=port)
            except (RendererUnavailable, InvalidInput) as error:
                self._on_lost(f"{died}\nStarting it anew failed: {error}")
                return


@contextmanager
def open_connection(
    address: str,
    *,
    policy: CallPolicy | None = None,
    tls: ClientTls | None = None,
    warn: Callable[[str], None] = _log.warning,
) -> Iterator[Connection]:
    """Yield a connection to a renderer at HOST:PORT, or for "" to one of our own that ends with the block.

    Nothing is asked of it yet.

    Raises:
        InvalidInput: for what is no address, or TLS to a renderer of our own.
        RendererUnavailable: if one of our own does not start.
    """
    if address:
        with Connection(address, service=SENSORSIM, policy=policy, tls=tls) as connection:
            yield connection
        return
    if tls is not None:
        raise InvalidInput("renderer: expected HOST:PORT for TLS, got none: one of our own is asked plainly")
    with (
        OwnRenderer(warn=warn) as own,
        Connection(own.address, service=SENSORSIM, policy=policy) as connection,
    ):
        own.on_lost(connection.fail)
        yield connection


@contextmanager
def connect(
    address: str,
    *,
    policy: CallPolicy | None = None,
    tls: ClientTls | None = None,
    warn: Callable[[str], None] = _log.warning,
) -> Iterator[SensorsimClient]:
    """Yield a client of a renderer that answers, see open_connection.

    Raises:
        InvalidInput, RendererUnavailable: as open_connection does.
        ServiceError: if nothing answers.
    """
    with open_connection(address, policy=policy, tls=tls, warn=warn) as connection:
        client = SensorsimClient(connection, warn=warn)
        client.version()
        yield client
