"""A driver for AlpaSim: sessions that share a model and nothing else."""

from __future__ import annotations

import logging
import threading

from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sim.driver.events import DriverWatcher, SessionWatcher
from alpamayo_ros.sim.driver.inputs import SessionInputs
from alpamayo_ros.sim.driver.planners import DriverPlanners, OneThread
from alpamayo_ros.sim.driver.safety import SessionSafety
from alpamayo_ros.sim.driver.session import DrivingSession
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.driver.statistics import DriverStatistics
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession
from alpamayo_ros.sim.protocol.server import Busy
from alpamayo_ros.types import InvalidInput

_log = logging.getLogger(__name__)


class Driver:
    """A DriverHandler (see sim/protocol/egodriver.py).

    Args:
        planners: what plans.
        rig: the cameras that it looks at.
        settings: how to drive.
        watcher: told of sessions and what happens in them; None for nobody.

    Attributes:
        statistics: counts.
        navigates: whether routes become navigation text.

    Raises:
        InvalidInput: for navigation "on" with a model that takes no navigation text.
    """

    def __init__(
        self,
        planners: DriverPlanners,
        rig: Rig,
        settings: DriverSettings | None = None,
        *,
        watcher: DriverWatcher | None = None,
    ) -> None:
        self.planners, self.rig = planners, rig
        self.settings = settings or DriverSettings()
        self.statistics = DriverStatistics()
        self._watcher = watcher
        if self.settings.navigation == "on" and not planners.takes_instruction:
            raise InvalidInput(
                f"navigation: expected a model that takes navigation text, got {planners.model_id}"
            )
        self.navigates = self.settings.navigation != "off" and planners.takes_instruction
        self._thread = OneThread()
        self._places = threading.Semaphore(self.settings.max_sessions)

    def start(self, session: DriveSession) -> DrivingSession:
        """Begin a session.

        Raises:
            Busy: where there are as many as there may be.
            InvalidInput: for a vehicle without a camera that the rig uses.
        """
        if not self._places.acquire(blocking=False):
            limit = self.settings.max_sessions
            busy = Busy(f"start_session: expected at most {limit} sessions at a time, got one more")
            self.statistics.refused("session_busy", str(busy))
            raise busy
        try:
            return self._start(session)
        except BaseException:
            self._places.release()
            raise

    def _start(self, session: DriveSession) -> DrivingSession:
        try:
            inputs = SessionInputs(
                session,
                rig=self.rig,
                settings=self.settings,
                prepare_frame=self.planners.prepare_frame,
                ignored=self.statistics.ignored,
            )
        except InvalidInput as error:
            self.statistics.refused("session", str(error))
            raise
        seed = session.random_seed if self.settings.seed is None else self.settings.seed
        try:
            planner = self.planners.start(session, seed=seed)
        except InvalidInput as error:
            self.statistics.refused("session_busy" if isinstance(error, Busy) else "session", str(error))
            raise
        self.statistics.opened()
        return DrivingSession(
            inputs,
            planner,
            thread=self._thread,
            safety=SessionSafety(self.settings.safety, gate=self.settings.safety_gate),
            settings=self.settings,
            navigate=self.navigates,
            num_samples=self.planners.num_samples,
            statistics=self.statistics,
            watcher=self._watch(session),
            on_close=self._closed,
        )

    def _watch(self, session: DriveSession) -> SessionWatcher | None:
        if self._watcher is None:
            return None
        try:
            return self._watcher.opened(session)
        except Exception as error:
            self.statistics.refused("watcher", f"{type(error).__name__}: {error}")
            _log.exception("while telling the watcher")
            return None

    def _closed(self) -> None:
        self.statistics.closed()
        self._places.release()

    def close(self) -> None:
        """End the thread that plans, after the plan that it is at; the server is to be stopped before."""
        self._thread.close()
