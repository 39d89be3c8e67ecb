"""The planner node's diagnostics: one status each for what can go wrong, with what to do about it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from alpamayo_ros.ros.diagnostics import InputStatistics, Level, PlanStatistics, Status
from alpamayo_ros.ros.planner_parts import PlannerParts
from alpamayo_ros.ros.sensor_feed import SensorFeed
from alpamayo_ros.safety.arbiter import Mode
from alpamayo_ros.sensing.rig import CameraConfig

_STALE_MS = 1000.0
_HANGS_MS = 10_000.0
_BLIND_MS = 400.0
_MOVING_MPS = 1.0


@dataclass(frozen=True)
class PlannerView:
    """What the diagnostics are made of.

    Attributes:
        state: lifecycle state, or "configuring" while a checkpoint loads.
        failure: why the last transition failed, "" if it did not.
        statistics: what was counted.
        parts: of the configured node, None before.
        engaged, engagement: whether the planner is engaged, and what led to it.
        now_ns: of the messages' clock.
        clock_stands_s: for how long, by wall time, that clock has not moved.
        recommended: which sampling parameters are the checkpoint's own.
        watched: whether somebody else publishes on `plan` too, as the watchdog does when the planner dies.
    """

    state: str
    failure: str
    statistics: PlanStatistics
    parts: PlannerParts | None
    engaged: bool
    engagement: str
    now_ns: int
    clock_stands_s: float = 0.0
    recommended: str = ""
    watched: bool = False

    @property
    def active(self) -> bool:
        """Whether the planner is active."""
        return self.state == "active"


class ClockWatch:
    """Watches whether the node's clock runs."""

    def __init__(self) -> None:
        self._seen_ns, self._since_s = 0, time.monotonic()

    def stands_s(self, now_ns: int) -> float:
        """Return for how long, by wall time, the node's clock has not moved from `now_ns`."""
        wall_s = time.monotonic()
        if now_ns != self._seen_ns:
            self._seen_ns, self._since_s = now_ns, wall_s
        return wall_s - self._since_s


def planner_statuses(view: PlannerView) -> list[Status]:
    """Return one status each for inference, model, gate, monitor, engagement, audit, odometry and cameras."""
    statuses = [_inference(view), _model(view), _gate(view), _monitor(view), _engagement(view), _audit(view)]
    if view.parts is not None:
        statuses.append(_odometry(view, view.parts))
        for camera in view.parts.feed.rig.cameras:
            statuses.append(_camera(view, view.parts.feed, camera))
    return statuses


def blind_cameras(feed: SensorFeed, *, speed_mps: float) -> dict[str, str]:
    """Return the cameras, by name, that deliver but do not see, and what they show instead."""
    blind = {}
    for camera in feed.rig.cameras:
        health = feed.sights[camera.camera_id].health
        if health.black_ms >= _BLIND_MS:
            blind[camera.name] = f"its frames have been black for {health.black_ms:.0f} ms"
        elif health.same_ms >= _BLIND_MS and abs(speed_mps) > _MOVING_MPS:
            blind[camera.name] = (
                f"its frames have been the same for {health.same_ms:.0f} ms, at {abs(speed_mps):.1f} m/s"
            )
    return blind


def _inference(view: PlannerView) -> Status:
    parts, statistics = view.parts, view.statistics
    values: dict[str, object] = {"state": view.state, **statistics.values()}
    values["busy"] = parts is not None and parts.worker.busy
    level, message = Level.OK, view.state
    if parts is not None:
        health, running_ms = parts.worker.health.view, parts.worker.running_for_ms
        values |= {
            "failures_in_row": health.failures_in_row,
            "out_of_memory": health.out_of_memory,
            "running_for_ms": running_ms,
        }
        if view.active:
            level, message = _inference_health(view, parts)
    return Status("inference", level, message, values)


def _inference_health(view: PlannerView, parts: PlannerParts) -> tuple[Level, str]:
    health, running_ms = parts.worker.health.view, parts.worker.running_for_ms
    if health.failed:
        return Level.ERROR, (
            f"{health.failures_in_row} plans in a row have failed, the last with {health.last_error}: it is "
            "tried once a second; read the log, free the GPU's memory, or clean up and configure it again"
        )
    if running_ms > _HANGS_MS:
        return Level.ERROR, (
            f"the model has been computing for {running_ms / 1e3:.0f} s: if it does not end, restart it"
        )
    if view.clock_stands_s > 1.0:
        return Level.WARN, (
            f"the clock has stood for {view.clock_stands_s:.0f} s: check who publishes /clock, or set "
            "use_sim_time to false"
        )
    waiting = parts.feed.assembler.waiting_for()
    if waiting:
        return Level.WARN, "waiting for " + "; ".join(waiting) + ": check that these topics are published"
    if view.statistics.complaint:
        return Level.WARN, view.statistics.complaint
    p50_ms, period_ms = view.statistics.latency_ms(50), parts.settings.plan_period_ms
    if p50_ms > period_ms:
        return Level.WARN, (
            f"plans take {p50_ms:.0f} ms (expected within plan_period_ms, {period_ms:g}): lower num_samples, "
            "flow_steps or max_reasoning_tokens, or raise plan_period_ms"
        )
    return Level.OK, view.state


def _model(view: PlannerView) -> Status:
    backend = None if view.parts is None else view.parts.backend
    level, message = Level.OK, "loaded"
    if view.failure:
        level = Level.ERROR
        message = f"{view.failure}: mend the parameter that it names, then configure the planner again"
    elif view.state == "configuring":
        message = "loading"
    elif backend is None:
        message = "not loaded"
    values: dict[str, object] = {
        "loaded": backend is not None,
        "model": "" if backend is None else backend.model_id,
        "device": "" if backend is None else backend.device,
    }
    if backend is not None:
        values |= backend.memory_mib()
        values["sampling_by_checkpoint"] = view.recommended
        values |= _encoding(view.parts)
    return Status("model", level, message, values)


def _encoding(parts: PlannerParts | None) -> dict[str, object]:
    if parts is None or parts.backend.encodes_ahead is None:
        return {}
    values = {"encode_on_arrival": parts.encodes_on_arrival, **parts.backend.cache_values()}
    if parts.worker.frames_failed:
        values |= {"frames_failed": parts.worker.frames_failed, "frame_error": parts.worker.frame_error}
    return values


def _gate(view: PlannerView) -> Status:
    safety = None if view.parts is None else view.parts.desk.safety
    counts = {f"failed/{name}": number for name, number in view.statistics.of("gate/").items()}
    keys = ("plans_valid", "plans_rejected", "plans_waiting", "stops")
    values: dict[str, object] = {**{key: view.statistics[key] for key in keys}, **counts}
    if view.parts is None:
        return Status("gate", Level.OK, "not configured", values)
    if safety is None:
        message = "switched off: no plan is checked or valid; set safety_gate to true to drive"
        return Status("gate", Level.WARN, message, values)
    state = safety.supervisor.state
    since_s = max(0.0, (view.now_ns - state.since_ns) / 1e9) if state.since_ns else 0.0
    values |= {"mode": state.mode.value, "since_s": since_s, "fallbacks": state.fallbacks}
    values["reason"] = state.reason
    if not view.active:
        return Status("gate", Level.OK, "not active", values)
    if state.mode is Mode.VALID:
        return Status("gate", Level.OK, "valid plans", values)
    level = Level.ERROR if view.engaged else Level.WARN
    message = f"stopping: {state.reason}: see the status of what it names"
    return Status("gate", level, message, values)


def _monitor(view: PlannerView) -> Status:
    values: dict[str, object] = {
        verdict: view.statistics[f"monitor/{verdict}"] for verdict in ("agrees", "contradicts", "silent")
    }
    values["last_contradiction"] = view.statistics.last_contradiction
    contradiction = view.statistics.contradiction
    if view.active and contradiction:
        message = f"{contradiction}: set monitor_rejects to true to refuse such plans"
        return Status("monitor", Level.WARN, message, values)
    return Status("monitor", Level.OK, "no contradiction", values)


def _engagement(view: PlannerView) -> Status:
    values = {
        "engaged": view.engaged,
        "active": view.active,
        "watched": view.watched,
        "reason": view.engagement,
    }
    if view.engaged and not view.watched:
        return Status(
            "engagement",
            Level.WARN,
            "engaged without a watchdog: nothing stops the vehicle when this process dies; start the node "
            "watchdog beside it, or launch vehicle.launch.py with watchdog:=true",
            values,
        )
    return Status("engagement", Level.OK, "engaged" if view.engaged else "not engaged", values)


def _audit(view: PlannerView) -> Status:
    audit = None if view.parts is None else view.parts.audit
    if audit is None:
        return Status("audit", Level.OK, "off", {"on": False})
    status = audit.status
    values = {
        "on": True,
        "path": status.path,
        "written": status.written,
        "lost": status.lost,
        "waiting": status.waiting,
        "errors": status.errors,
        "head": status.head,
        "weights": status.weights,
    }
    if status.error:
        return Status("audit", Level.ERROR, status.error, values)
    if status.lost:
        message = f"{status.lost} decisions were lost: give the log a faster disk, or more room"
        return Status("audit", Level.WARN, message, values)
    return Status("audit", Level.OK, "writing", values)


def _odometry(view: PlannerView, parts: PlannerParts) -> Status:
    statistics, assembled = parts.inputs.odometry, parts.feed.assembler.odometry_statistics()
    topic = parts.feed.rig.odometry_topic
    level, message = _health("odometry", topic, statistics, view)
    values = {
        "received": statistics["received"],
        "rejected": statistics["rejected"],
        "duplicates": assembled.duplicates,
        "out_of_order": assembled.out_of_order,
        "too_old": assembled.too_old,
        "rate_hz": statistics.rate_hz,
        "age_ms": _age(statistics, view.now_ns),
        "speed_from": parts.inputs.speed_source,
    }
    return Status("odometry", level, message, values)


def _camera(view: PlannerView, feed: SensorFeed, camera: CameraConfig) -> Status:
    statistics = feed.cameras[camera.camera_id]
    assembled = feed.assembler.camera_statistics(camera.camera_id)
    health = feed.sights[camera.camera_id].health
    level, message = _health(f"camera {camera.name}", camera.topic, statistics, view)
    if level is Level.OK and view.active and view.parts is not None:
        blind = blind_cameras(feed, speed_mps=view.parts.inputs.speed_mps()).get(camera.name)
        if blind:
            level, message = (
                Level.ERROR,
                f"camera {camera.name}: {blind}: check the lens and the camera's driver",
            )
    values = {
        "received": statistics["received"],
        "decoded": statistics["decoded"],
        "decode_errors": statistics["decode_errors"],
        "not_needed": statistics["announced"] - statistics["asked"],
        "dropped": statistics["dropped"],
        "duplicates": assembled.duplicates,
        "out_of_order": assembled.out_of_order,
        "too_old": assembled.too_old,
        "rate_hz": statistics.rate_hz,
        "age_ms": _age(statistics, view.now_ns),
        "brightness": health.brightness,
        "same_ms": health.same_ms,
    }
    return Status(f"cameras/{camera.name}", level, message, values)


def _health(what: str, topic: str, statistics: InputStatistics, view: PlannerView) -> tuple[Level, str]:
    age_ms = statistics.age_ms(view.now_ns)
    if not view.active:
        return Level.OK, "not listening"
    if statistics.problem:
        return Level.ERROR, f"{statistics.problem}: check what is published on {topic}"
    if age_ms is None:
        return Level.WARN, (
            f"{what}: no message yet: check that {topic} is published, with the type and the transport that "
            "the rig file says"
        )
    if age_ms > _STALE_MS:
        return Level.ERROR, (
            f"{what}: newest message is {age_ms / 1e3:.1f} s old: check what publishes {topic}, and that its "
            "clock is the planner's"
        )
    return Level.OK, "ok"


def _age(statistics: InputStatistics, now_ns: int) -> str:
    age_ms = statistics.age_ms(now_ns)
    return "" if age_ms is None else f"{age_ms:.1f}"
