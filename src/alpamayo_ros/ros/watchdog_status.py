"""What the watchdog says on /diagnostics: one status."""

from __future__ import annotations

from alpamayo_ros.ros.diagnostics import Level, Status
from alpamayo_ros.ros.watchdog_inputs import PlannerVoice, VehicleMotion
from alpamayo_ros.safety.watchdog import WatchdogSettings, WatchdogState

NAME = "watchdog"


def watchdog_status(
    state: WatchdogState,
    *,
    settings: WatchdogSettings,
    voice: PlannerVoice,
    motion: VehicleMotion,
    now_ns: int,
) -> Status:
    """Return the watchdog's status: whether it stops the vehicle, could not do so well, or is content."""
    age_ms = motion.statistics.age_ms(now_ns)
    level, message = _verdict(state, settings=settings, voice=voice, motion=motion, age_ms=age_ms)
    return Status(
        NAME,
        level,
        message,
        {
            "acting": state.acting,
            "guarding": state.guarding,
            "engaged": state.engaged,
            "failure": state.failure,
            "silent_ms": "" if state.silent_ms is None else f"{state.silent_ms:.0f}",
            "takeovers": state.takeovers,
            "stops": state.stops,
            "publishers": voice.publishers,
            "plans_received": voice.statistics["received"],
            "plans_rejected": voice.statistics["rejected"],
            "deadlines_missed": voice.statistics["deadlines_missed"],
            "liveliness_lost": voice.statistics["liveliness_lost"],
            "odometry_received": motion.statistics["received"],
            "odometry_rejected": motion.statistics["rejected"],
            "odometry_age_ms": "" if age_ms is None else f"{age_ms:.0f}",
        },
    )


def _verdict(
    state: WatchdogState,
    *,
    settings: WatchdogSettings,
    voice: PlannerVoice,
    motion: VehicleMotion,
    age_ms: float | None,
) -> tuple[Level, str]:
    if state.acting:
        relied = "engaged" if state.engaged else "not engaged"
        return (
            Level.ERROR,
            f"stopping the vehicle: {state.failure} ({relied}); start and activate the planner again",
        )
    if state.silent_ms is None:
        return (
            Level.WARN,
            "nothing to guard: no active planner was heard yet; is it active, and in this namespace?",
        )
    if not state.guarding:
        return Level.OK, "nothing to guard: the planner is not active"
    if voice.statistics.problem:
        return Level.WARN, f"a plan was refused: {voice.statistics.problem}; is the planner of this version?"
    if motion.statistics.problem:
        return Level.WARN, f"odometry is refused: {motion.statistics.problem}"
    if age_ms is None or abs(age_ms) > settings.max_odometry_age_ms:
        old = "no odometry" if age_ms is None else f"odometry is {age_ms:.0f} ms old"
        return (
            Level.WARN,
            f"{old} (expected at most {settings.max_odometry_age_ms:g} ms): a stop would begin where the "
            "last plan leads; check the odometry's topic and its clock",
        )
    if voice.allowed_silence_ms is not None and voice.allowed_silence_ms > settings.timeout_ms:
        return (
            Level.WARN,
            f"the planner may be silent for {voice.allowed_silence_ms:g} ms, the watchdog acts after "
            f"{settings.timeout_ms:g} ms; raise timeout_ms",
        )
    return Level.OK, f"guarding the planner, {'engaged' if state.engaged else 'not engaged'}"
