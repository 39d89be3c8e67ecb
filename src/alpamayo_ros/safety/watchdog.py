"""The watchdog: stops the vehicle when the planner, which otherwise does that itself, has died.

It hears what the planner says and how the vehicle moves, and knows nothing else. It runs in a process of its
own. It has no clock: whoever calls says what time it is, by two clocks. `steady_ns` measures silence; nobody
sets it, and under simulated time it is that time. `now_ns` is the clock of the plans' and odometry's stamps.

It stops the vehicle when a planner that was active

- has sent no plan for `timeout_ms`; or
- is lost (its liveliness, or its publisher) or started anew, while engaged; while it is not engaged nobody
  relies on it, and the timeout tells a planner that died from one that was shut down; or
- says that it is not active any more, while engaged.

The stop ends with the first plan to drive of a planner that is active: it has a hysteresis of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.safety.fallback import StopSettings, ValidPath, VehicleState, stop_plan
from alpamayo_ros.safety.limits import require_positive
from alpamayo_ros.safety.prediction import Followed
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.types import Plan

MODEL = "watchdog"
"""Of the watchdog's plans, in Plan.model."""

_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class WatchdogSettings:
    """When and how to stop.

    Attributes:
        timeout_ms: longest silence of an active planner.
        period_ms: time between two stops while the watchdog acts.
        max_odometry_age_ms: a stop begins from a measured state that is no older; else from where a vehicle
            would be that has followed what was published last.
        stop: how to stop.

    Raises:
        InvalidInput: for what is no number above zero.
    """

    timeout_ms: float = 1000.0
    period_ms: float = 100.0
    max_odometry_age_ms: float = 250.0
    stop: StopSettings = field(default_factory=StopSettings)

    def __post_init__(self) -> None:
        for name in ("timeout_ms", "period_ms", "max_odometry_age_ms"):
            require_positive(name, getattr(self, name))


@dataclass(frozen=True, eq=False)
class HeardPlan:
    """A plan of the planner's.

    Attributes:
        plan: the plan.
        odom_from_rig_t0: float64 [4, 4], pose of the rig at its t0.
        odometry_frame: the frame of that pose; "" where nobody knows where the vehicle is.
        valid: whether it is VALID: a stop is made along its path.
        drivable: whether it may be driven, i.e. is VALID or FALLBACK.
        engaged: what it says.
        decided_ns: t0 of the newest observation that the planner has decided about.
    """

    plan: Plan
    odom_from_rig_t0: Matrix4
    odometry_frame: str
    valid: bool
    drivable: bool
    engaged: bool
    decided_ns: int = 0


@dataclass(frozen=True)
class HeardEngagement:
    """What the planner says about itself.

    Attributes:
        engaged: whether the driver has engaged it.
        active: whether it keeps sending plans or stops.
        reason: what led to it, for people.
        anew: whether it is the first word heard of a planner that was started after the one before.
    """

    engaged: bool
    active: bool
    reason: str
    anew: bool = False


@dataclass(frozen=True, eq=False)
class WatchdogStop:
    """A stop to publish now.

    Attributes:
        plan: of one candidate, begins at the vehicle; its t0 is the time of the state that it begins from.
        odom_from_rig: float64 [4, 4], pose at that time; None where nobody has ever said where the vehicle
            is: then the plan is to stand.
        odometry_frame: the frame of that pose, "" for None.
        reason: what was lost and for how long, and from what the stop begins if not from odometry.
        engaged: whether the planner was engaged when it was lost.
        decided_ns: t0 of the newest observation that the planner has decided about, 0 before there was one.
    """

    plan: Plan
    odom_from_rig: Matrix4 | None
    odometry_frame: str
    reason: str
    engaged: bool
    decided_ns: int


@dataclass(frozen=True)
class WatchdogState:
    """How things stand.

    Attributes:
        acting: whether the watchdog stops the vehicle.
        failure: what was lost, "" while it does not act.
        guarding: whether there is an active planner whose silence would be noticed.
        engaged: whether the planner is engaged, or was when it was lost.
        silent_ms: since the planner was heard last, None before it ever was.
        takeovers: how often the watchdog has begun to act.
        stops: how many stops it has made.
    """

    acting: bool
    failure: str
    guarding: bool
    engaged: bool
    silent_ms: float | None
    takeovers: int
    stops: int


class Watchdog:
    """The state machine. Not thread-safe."""

    def __init__(self, settings: WatchdogSettings | None = None) -> None:
        self.settings = settings or WatchdogSettings()
        # What the planner said last; as long as it has said nothing (None), its plans speak for it.
        self._active: bool | None = None
        self._says_engaged = False
        self._heard = False  # a plan or an active engagement, ever
        self._heard_ns = 0  # steady
        self._lost = ""
        self._failure = ""
        self._relied_on = False  # whether it was engaged when it was lost
        self._restarted = False  # since then
        self._next_ns = 0  # steady, of the next stop
        self._takeovers = 0
        self._stops = 0
        self._state: VehicleState | None = None
        self._state_frame = ""
        self._path: ValidPath | None = None
        self._path_frame = ""
        self._followed: Followed | None = None
        self._followed_frame = ""
        self._decided_ns = 0

    # What is heard.

    def plan(self, heard: HeardPlan, *, steady_ns: int) -> None:
        """Take a plan of the planner's (never one of a watchdog's). One to drive ends a stop.

        Where the planner has said that it is not active, its plan was only late, and ends nothing.
        """
        path = ValidPath.of(heard.plan, heard.odom_from_rig_t0) if heard.valid else None
        self._decided_ns = heard.decided_ns
        self._heard, self._heard_ns, self._lost = True, steady_ns, ""
        if path is not None:
            self._path, self._path_frame = path, heard.odometry_frame
        if heard.drivable and heard.odometry_frame:
            self._follow(heard.plan, heard.odom_from_rig_t0, heard.odometry_frame)
        if self._active is None:
            self._says_engaged = heard.engaged
        # A plan that nobody has judged is not to be driven: where somebody relies on one, the stop goes on.
        if self._active is not False and (heard.drivable or not self._relied_on):
            self._failure = ""

    def engagement(self, said: HeardEngagement, *, steady_ns: int) -> None:
        """Take what the planner says about itself."""
        engaged, active = said.engaged, said.active
        was_active, was_engaged = self._active, self._says_engaged
        self._active, self._says_engaged = active, engaged
        if self._failure:
            self._engagement_while_acting(was_active=was_active, anew=said.anew)
        elif self._heard and said.anew and was_active is not False:
            self._fail("the planner was started anew while it was active", steady_ns, relied_on=was_engaged)
            self._restarted = True
        elif active:
            if not was_active:  # what was lost while it was not, is no loss
                self._heard_ns, self._lost = steady_ns, ""
            self._heard = True
        elif self._heard and engaged:
            failure = f"the planner was engaged and is not active any more ({said.reason})"
            self._fail(failure, steady_ns, relied_on=True)

    def _engagement_while_acting(self, *, was_active: bool | None, anew: bool) -> None:
        self._restarted = self._restarted or anew
        if self._restarted:
            return  # it knows nothing of the drive that is being stopped
        if was_active and self._active:
            self._relied_on = self._says_engaged  # it lives, and the driver has taken over or handed over
        if not self._active and not self._relied_on:
            self._failure = ""  # it was shut down, and nobody needs it

    def lost(self, what: str) -> None:
        """Take note that the planner seems to be gone: what was lost, for people."""
        self._lost = what

    def found(self) -> None:
        """Take note that what was lost is there again."""
        self._lost = ""

    def odometry(self, state: VehicleState, frame: str) -> None:
        """Take the newest state of the vehicle, whose pose is in the odometry frame of that name."""
        self._state, self._state_frame = state, frame

    def forget_path(self) -> None:
        """Forget all that has a stamp: the clock went back. What concerns engagement and silence stays."""
        self._state = self._path = self._followed = None
        self._decided_ns = 0

    def begin_silence(self, *, steady_ns: int) -> None:
        """Count silence from now on: simulated time, by which it is measured, has leapt."""
        self._heard_ns = self._next_ns = steady_ns

    # What follows from it.

    def stop(self, *, now_ns: int, steady_ns: int) -> WatchdogStop | None:
        """Return the stop that is to be published now, None where none is due."""
        self._check(steady_ns)
        if not self._failure or steady_ns < self._next_ns:
            return None
        period_ns = round(self.settings.period_ms * _NS_PER_MS)
        self._next_ns = max(self._next_ns + period_ns, steady_ns + period_ns // 2)
        self._stops += 1
        begin, frame, note = self._begin(now_ns)
        silent_s = max(0, steady_ns - self._heard_ns) / 1e9
        reason = f"{self._failure}; no plan for {silent_s:.1f} s{note}"
        if begin is None:
            standing = VehicleState(now_ns, np.eye(4), 0.0)
            plan = replace(stop_plan(standing, None, self.settings.stop), model=MODEL)
            return WatchdogStop(plan, None, "", reason, self._relied_on, self._decided_ns)
        path = self._path
        if path is not None and (frame != self._path_frame or begin.stamp_ns < path.t0_ns):
            path = None  # of another frame, or of a time that odometry has gone back behind
        plan = replace(stop_plan(begin, path, self.settings.stop), model=MODEL)
        self._follow(plan, begin.odom_from_rig, frame)
        return WatchdogStop(plan, begin.odom_from_rig, frame, reason, self._relied_on, self._decided_ns)

    def state(self, *, steady_ns: int) -> WatchdogState:
        """Return how things stand."""
        return WatchdogState(
            acting=bool(self._failure),
            failure=self._failure,
            guarding=self._guarding,
            engaged=self._relied_on if self._failure else self._says_engaged,
            silent_ms=max(0, steady_ns - self._heard_ns) / _NS_PER_MS if self._heard else None,
            takeovers=self._takeovers,
            stops=self._stops,
        )

    @property
    def _guarding(self) -> bool:
        return self._heard and self._active is not False

    def _check(self, steady_ns: int) -> None:
        if self._failure or not self._guarding:
            return
        timeout_ms = self.settings.timeout_ms
        silent = steady_ns - self._heard_ns > timeout_ms * _NS_PER_MS
        if silent or (self._lost and self._says_engaged):
            failure = self._lost or f"the planner is silent (expected a plan within {timeout_ms:g} ms)"
            self._fail(failure, steady_ns, relied_on=self._says_engaged)

    def _fail(self, failure: str, steady_ns: int, *, relied_on: bool) -> None:
        self._failure, self._relied_on, self._restarted = failure, relied_on, False
        self._next_ns = steady_ns
        self._takeovers += 1

    def _follow(self, plan: Plan, odom_from_rig_t0: Matrix4, frame: str) -> None:
        self._followed, self._followed_frame = Followed(plan, odom_from_rig_t0), frame

    def _begin(self, now_ns: int) -> tuple[VehicleState | None, str, str]:
        """Return the state that a stop begins from, its odometry frame, and what there is to say about it."""
        state, limit_ms = self._state, self.settings.max_odometry_age_ms
        if state is None:
            note = "; no odometry: "
        else:
            age_ms = (now_ns - state.stamp_ns) / _NS_PER_MS
            if abs(age_ms) <= limit_ms:
                return state, self._state_frame, ""
            note = f"; odometry is {age_ms:.0f} ms old (expected at most {limit_ms:g} ms): "
        if self._followed is not None and now_ns >= self._followed.plan.t0_ns:
            predicted = self._followed.state_at(now_ns)
            return predicted, self._followed_frame, note + "the stop begins where the last plan leads"
        if state is not None:
            seen = replace(state, stamp_ns=now_ns)
            return seen, self._state_frame, note + "the stop begins where the vehicle was seen last"
        return None, "", note + "the stop is to stand"
