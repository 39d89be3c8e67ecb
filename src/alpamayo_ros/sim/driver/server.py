"""Serves a driver: its port, and the end of sessions that nobody calls any more."""

from __future__ import annotations

import threading

from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.memory import give_back_memory
from alpamayo_ros.sim.driver.settings import DEFAULT_PORT
from alpamayo_ros.sim.protocol.egodriver import DriverSession, EgodriverServicer
from alpamayo_ros.sim.protocol.server import RunningServer, ServerTls, serve
from alpamayo_ros.sim.protocol.service import OUR_VERSION, Sessions

_LONGEST_LOOK_S = 10.0
_SPARE_WORKERS = 16


def serve_driver(
    driver: Driver,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    tls: ServerTls | None = None,
    version_id: str = "",
) -> RunningServer:
    """Serve EgodriverService and return at once; `stop` ends it, its sessions and the driver's thread.

    Args:
        driver: to be called; it is warm.
        host: address to listen at.
        port: 0 takes a free one.
        tls: None is plain.
        version_id: what get_version says; ours with the model's name by default. AlpaSim wants the same of
            all drivers that it is given.

    Raises:
        InvalidInput: if the address cannot be had.
    """
    servicer = EgodriverServicer(
        driver,
        version_id=version_id or f"{OUR_VERSION}/{driver.planners.model_id}",
        idle_s=driver.settings.idle_s,
        on_expire=driver.statistics.expired,
    )
    reaper = _Reaper(driver, servicer.sessions, every_s=min(driver.settings.idle_s / 4, _LONGEST_LOOK_S))

    def on_stop() -> None:
        reaper.stop()
        driver.close()  # first: what waits for the model is dropped, so that sessions can be closed
        servicer.sessions.close_all()

    # Each session may wait for the model with one call while pictures of others come in.
    workers = driver.settings.max_sessions + _SPARE_WORKERS
    try:
        server = serve(servicer.register, host=host, port=port, tls=tls, workers=workers, on_stop=on_stop)
    except BaseException:
        driver.close()
        raise
    reaper.start()
    return server


class _Reaper:
    """Looks for idle sessions every now and then, and gives back memory once some have ended."""

    def __init__(self, driver: Driver, sessions: Sessions[DriverSession], *, every_s: float) -> None:
        self._driver, self._sessions, self._every_s = driver, sessions, every_s
        self._ended = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idle-sessions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._sessions.expire()
            counts = self._driver.statistics.snapshot()
            ended = counts.sessions_started - counts.sessions_open
            if ended != self._ended:
                self._ended = ended
                give_back_memory()
