"""From parameters to a driver that answers: loads the model, warms it up, opens the port. No rclpy."""

from __future__ import annotations

from collections.abc import Callable

from alpamayo_ros.interpreter import settle_collector
from alpamayo_ros.ros.driver_parameters import DriverOptions
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.events import DriverWatcher
from alpamayo_ros.sim.driver.planners import ConstantPlanners, DriverPlanners
from alpamayo_ros.sim.driver.server import serve_driver
from alpamayo_ros.sim.protocol.server import RunningServer
from alpamayo_ros.types import camera_name


def load(options: DriverOptions, rig: Rig, *, say: Callable[[str], None]) -> DriverPlanners:
    """Return what plans, warm; minutes go by for a large model.

    Raises:
        InvalidInput: for a checkpoint that cannot be used.
    """
    if options.planner:
        return ConstantPlanners()
    from alpamayo_ros.model.serving import load_planners  # brings torch

    say(f"loading {options.checkpoint}")
    planners = load_planners(
        options.checkpoint,
        options.sampling,
        backbone=options.backbone or None,
        device=options.device,
        dtype=options.dtype,
        cpu_threads=options.cpu_threads,
        speed=options.speed,
    )
    say(f"warming up on {planners.device}")
    planners.warm_up(rig.camera_ids)
    settle_collector()
    return planners


def open_port(
    options: DriverOptions, planners: DriverPlanners, rig: Rig, *, watcher: DriverWatcher | None = None
) -> tuple[Driver, RunningServer]:
    """Return a driver and its server, which answers from now on; stopping the server ends both.

    Raises:
        InvalidInput: for settings that the model cannot do, or an address that cannot be had.
    """
    tls = options.tls()
    driver = Driver(planners, rig, options.driver, watcher=watcher)
    return driver, serve_driver(driver, host=options.host, port=options.port, tls=tls)


def description(driver: Driver, server: RunningServer) -> str:
    """Return one line: where it listens, what drives, and by which cameras."""
    names = {camera_id: name for name, camera_id in driver.settings.camera_ids().items()}
    cameras = ", ".join(f"{names[i]} as {camera_name(i)}" for i in driver.rig.camera_ids)
    navigation = "on" if driver.navigates else "off"
    return (
        f"AlpaSim driver on {server.address}, model {driver.planners.model_id}, cameras {cameras}, "
        f"navigation {navigation}"
    )
