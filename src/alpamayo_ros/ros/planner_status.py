"""The planner node's diagnostics."""

from __future__ import annotations

from alpamayo_ros.ros.diagnostics import InputStatistics, Level, PlanStatistics, Status
from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.ros.sensor_feed import SensorFeed

_STALE_MS = 1000.0


def planner_statuses(
    *,
    state: str,
    failure: str,
    statistics: PlanStatistics,
    feed: SensorFeed | None,
    odometry: InputStatistics | None,
    backend: PlannerBackend | None,
    busy: bool,
    now_ns: int,
) -> list[Status]:
    """Return one status each for inference, model, odometry and every camera.

    `state` is the lifecycle state, or "configuring" while a checkpoint loads; `failure` says why the last
    transition failed ("" if it did not); `feed`, `odometry` and `backend` are None before the node is
    configured; `busy` says whether the model is running; `now_ns` is of the messages' clock.
    """
    active = state == "active"
    statuses = [_inference(state, statistics, feed, busy=busy), _model(state, failure, backend)]
    if odometry is not None:
        statuses.append(_odometry(odometry, active=active, now_ns=now_ns))
    if feed is not None:
        for camera in feed.rig.cameras:
            camera_statistics = feed.cameras[camera.camera_id]
            statuses.append(_camera(camera.name, camera_statistics, active=active, now_ns=now_ns))
    return statuses


def _inference(state: str, statistics: PlanStatistics, feed: SensorFeed | None, *, busy: bool) -> Status:
    waiting = feed.assembler.waiting_for() if feed is not None and state == "active" else []
    level, message = Level.OK, state
    if waiting:
        level, message = Level.WARN, "waiting for " + "; ".join(waiting)
    elif state == "active" and statistics.complaint:
        level, message = Level.WARN, statistics.complaint
    return Status("inference", level, message, {"state": state, **statistics.values(), "busy": busy})


def _model(state: str, failure: str, backend: PlannerBackend | None) -> Status:
    level, message = Level.OK, "loaded"
    if failure:
        level, message = Level.ERROR, failure
    elif state == "configuring":
        message = "loading"
    elif backend is None:
        message = "not loaded"
    values = {
        "loaded": backend is not None,
        "model": "" if backend is None else backend.model_id,
        "device": "" if backend is None else backend.device,
    }
    return Status("model", level, message, values)


def _odometry(statistics: InputStatistics, *, active: bool, now_ns: int) -> Status:
    level, message = _health("odometry", statistics, active=active, now_ns=now_ns)
    values = {
        "received": statistics["received"],
        "rejected": statistics["rejected"],
        "rate_hz": statistics.rate_hz,
        "age_ms": _age(statistics, now_ns),
    }
    return Status("odometry", level, message, values)


def _camera(name: str, statistics: InputStatistics, *, active: bool, now_ns: int) -> Status:
    level, message = _health(f"camera {name}", statistics, active=active, now_ns=now_ns)
    values = {
        "received": statistics["received"],
        "decoded": statistics["decoded"],
        "decode_errors": statistics["decode_errors"],
        "dropped": statistics["dropped"],
        "rate_hz": statistics.rate_hz,
        "age_ms": _age(statistics, now_ns),
    }
    return Status(f"cameras/{name}", level, message, values)


def _health(what: str, statistics: InputStatistics, *, active: bool, now_ns: int) -> tuple[Level, str]:
    age_ms = statistics.age_ms(now_ns)
    if not active:
        return Level.OK, "not listening"
    if statistics.problem:
        return Level.ERROR, statistics.problem
    if age_ms is None:
        return Level.WARN, f"{what}: no message yet"
    if age_ms > _STALE_MS:
        return Level.WARN, f"{what}: newest message is {age_ms / 1e3:.1f} s old"
    return Level.OK, "ok"


def _age(statistics: InputStatistics, now_ns: int) -> str:
    age_ms = statistics.age_ms(now_ns)
    return "" if age_ms is None else f"{age_ms:.1f}"
