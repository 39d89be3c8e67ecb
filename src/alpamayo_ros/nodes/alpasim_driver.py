"""The simulation bridge in mode alpasim: the driver that AlpaSim calls, its sessions mirrored into ROS.

Threads: the executor reports and, through topics, receives plans; one loads the model and opens the port;
the server's answer AlpaSim; one plans; one publishes the mirror.
"""

from __future__ import annotations

import threading
import traceback
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

from alpamayo_ros.ros.diagnostics import to_message
from alpamayo_ros.ros.driver_backend import description, load, open_port
from alpamayo_ros.ros.driver_mirror import DriverMirror
from alpamayo_ros.ros.driver_parameters import PARAMETERS, DriverOptions
from alpamayo_ros.ros.driver_status import Troubles, driver_status, model_status
from alpamayo_ros.ros.driver_topics import TopicPlanners
from alpamayo_ros.ros.parameters import declare, values
from alpamayo_ros.ros.qos import output_qos
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.events import DriverWatcher
from alpamayo_ros.sim.driver.planners import DriverPlanners
from alpamayo_ros.sim.protocol.server import RunningServer
from alpamayo_ros.types import InvalidInput

__all__ = ["PARAMETERS", "AlpasimDriverNode"]

_REPORT_PERIOD_S = 1.0
_LAST_WORD_S = 0.5


class AlpasimDriverNode(Node):
    """See the module; parameters in ros/driver_parameters.py.

    start() loads the model and opens the port, off the executor. The process ends if that fails.

    Args:
        kwargs: as of rclpy's Node.

    Attributes:
        error: what went wrong, once `done`.

    Raises:
        InvalidInput: for parameters that cannot be used.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim_bridge", **kwargs)
        try:
            self._set_up()
        except BaseException:
            super().destroy_node()  # rclpy keeps a list of nodes, refused ones too
            raise

    def _set_up(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        declare(self, PARAMETERS)
        self.options = DriverOptions.from_values(values(self, PARAMETERS))
        self.options.tls()  # refused now, not after the model was loaded
        self._rig = load_rig(self.options.rig)
        self.error: Exception | None = None
        self._phase = "starting"
        self._troubles = Troubles()
        self._planners: DriverPlanners | None = None
        self._driver: Driver | None = None
        self._server: RunningServer | None = None
        options = self.options
        self._mirror: DriverMirror | None = None
        self._topics: TopicPlanners | None = None
        if options.through_topics:
            self._topics = TopicPlanners(
                self,
                self._rig,
                options.driver,
                num_samples=options.sampling.num_samples,
                plan_timeout_s=options.plan_timeout_s,
            )
        elif options.mirror:
            self._mirror = DriverMirror(self, self._rig, options.driver, images=options.mirror_images)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self.create_timer(_REPORT_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)

    @property
    def done(self) -> bool:
        """Whether the port could not be opened; else it drives until it is stopped."""
        return self._ended.is_set()

    @property
    def address(self) -> str:
        """HOST:PORT once the port is open, "" before."""
        return "" if self._server is None else self._server.address

    @property
    def driver(self) -> Driver | None:
        """What drives, once the port is open."""
        return self._driver

    def start(self) -> None:
        """Load the model and open the port, in a thread of its own."""
        self._thread.start()

    def destroy_node(self) -> None:
        """Close the port, end all sessions and take the node off the graph."""
        with self._lock:
            self._stopping.set()
            server = self._server
        if self._topics is not None:
            self._topics.interrupt()
        if server is not None:
            server.stop()
        # A model that is being loaded cannot be interrupted; the process ends without it.
        if self._mirror is not None:
            self._mirror.close()
        close = getattr(self._planners, "close", None)
        if close is not None:
            close()
        super().destroy_node()

    # The thread that loads.

    def _run(self) -> None:
        try:
            self._open()
        except Exception as error:
            if not isinstance(error, InvalidInput):
                self.get_logger().error(traceback.format_exc())
            self._fail(error)

    def _open(self) -> None:
        self._planners = self._load()
        with self._lock:
            if self._stopping.is_set():
                return
            watcher: DriverWatcher | None = self._topics or self._mirror
            self._driver, self._server = open_port(self.options, self._planners, self._rig, watcher=watcher)
        self._phase = "driving"
        self.get_logger().info(description(self._driver, self._server))

    def _load(self) -> DriverPlanners:
        """Return what plans, ready to."""
        if self._topics is None:
            return load(self.options, self._rig, say=self._say)
        self._say("waiting for the planner")
        self._topics.await_planner(timeout_s=self.options.planner_timeout_s, stop=self._stopping)
        return self._topics

    def _say(self, text: str) -> None:
        self._phase = text
        self.get_logger().info(text)

    def _fail(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self.get_logger().error(str(error))
        self.error = error
        self._phase = "failed"
        self._report()
        # What it ended by must be on the wire before the process ends.
        self._diagnostics.wait_for_all_acked(Duration(seconds=_LAST_WORD_S))
        self._ended.set()

    # The executor.

    def _report(self) -> None:
        counts = None if self._driver is None else self._driver.statistics.snapshot()
        statuses = [
            driver_status(
                phase=self._phase,
                address=self.address,
                counts=counts,
                troubled=self._troubles.look(counts),
                mirror=self._mirror,
                error=self.error,
            ),
            model_status(self._planners, navigates=self._driver is not None and self._driver.navigates),
        ]
        self._diagnostics.publish(to_message(statuses, stamp_ns=self.get_clock().now().nanoseconds))
