"""A drive without clock, topics or processes: what the watchdog's state machine is asked and told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from plan_making import T0_NS, motion_of, plan_of, smooth

from alpamayo_ros.safety.prediction import Followed
from alpamayo_ros.safety.watchdog import HeardEngagement, HeardPlan, Watchdog, WatchdogSettings, WatchdogStop

MS = 1_000_000
SPEED = 10.0
PLAN = plan_of([motion_of(SPEED, *smooth(0.0, 0.02))])
POSE = np.eye(4)


class Drive:
    """A vehicle at 10 m/s on a bend, a planner that sends plans, and a watchdog that is asked every 20 ms."""

    def __init__(self, **options: float) -> None:
        self.watchdog = Watchdog(WatchdogSettings(**options))  # type: ignore[arg-type]
        self.ms = 0
        self.stops: list[tuple[int, WatchdogStop]] = []
        self.odometry = True
        self.path = Followed(PLAN, POSE)
        self.last_pose = POSE

    @property
    def steady_ns(self) -> int:
        return 5_000_000_000_000 + self.ms * MS

    @property
    def now_ns(self) -> int:
        return T0_NS + self.ms * MS

    @property
    def acting(self) -> bool:
        return self.watchdog.state(steady_ns=self.steady_ns).acting

    def says(self, *, engaged: bool, active: bool, anew: bool = False, reason: str = "test") -> None:
        said = HeardEngagement(engaged=engaged, active=active, reason=reason, anew=anew)
        self.watchdog.engagement(said, steady_ns=self.steady_ns)

    def plan(self, *, valid: bool = True, drivable: bool = True, engaged: bool = False) -> None:
        here = self.path.state_at(self.now_ns)
        plan = replace(PLAN, t0_ns=self.now_ns)
        self.last_pose = here.odom_from_rig
        heard = HeardPlan(plan, here.odom_from_rig, "odom", valid, drivable, engaged, decided_ns=self.now_ns)
        self.watchdog.plan(heard, steady_ns=self.steady_ns)

    def run(self, ms: int, *, plans: bool = False, engaged: bool = False) -> None:
        """Let time pass, with odometry every 20 ms and, if so, a plan every 100 ms."""
        for _ in range(ms // 20):
            self.ms += 20
            if self.odometry:
                self.watchdog.odometry(self.path.state_at(self.now_ns), "odom")
            if plans and self.ms % 100 == 0:
                self.plan(engaged=engaged)
            stop = self.watchdog.stop(now_ns=self.now_ns, steady_ns=self.steady_ns)
            if stop is not None:
                self.stops.append((self.ms, stop))


def driving(*, engaged: bool = True, **options: float) -> Drive:
    """Return a drive of one second, without a stop so far."""
    drive = Drive(**options)
    drive.says(engaged=False, active=False, anew=True)
    drive.says(engaged=False, active=True)
    drive.run(500, plans=True)
    if engaged:
        drive.says(engaged=True, active=True)
    drive.run(500, plans=True, engaged=engaged)
    assert not drive.stops
    return drive
