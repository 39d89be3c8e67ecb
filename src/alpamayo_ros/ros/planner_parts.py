"""What a configured planner node consists of: made by configure, ended by cleanup, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rclpy.lifecycle import LifecycleNode

from alpamayo_ros.ros.audit_log import PlannerAudit
from alpamayo_ros.ros.diagnostics import PlanStatistics
from alpamayo_ros.ros.engagement import Engagement
from alpamayo_ros.ros.inference import InferenceWorker, PlanOutcome
from alpamayo_ros.ros.plan_desk import PlanDesk, Refuse
from alpamayo_ros.ros.plan_outputs import PlanOutputs
from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.ros.planner_inputs import PlannerInputs
from alpamayo_ros.ros.planner_parameters import PlannerSettings
from alpamayo_ros.ros.planner_safety import Frames, SafetyStage, StopRhythm
from alpamayo_ros.ros.safety_parameters import safety_settings
from alpamayo_ros.ros.sensor_feed import FeedListener, SensorFeed
from alpamayo_ros.safety.supervisor import SafetySettings
from alpamayo_ros.sensing.ego_motion import EgoMotion, TwistUse
from alpamayo_ros.sensing.rig import Rig, find_rig_file
from alpamayo_ros.sensing.timing import TimingConfig

_CLOSE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Prepared:
    """What the slow part of configuring makes."""

    settings: PlannerSettings
    timing: TimingConfig
    rig: Rig
    backend: PlannerBackend


@dataclass(frozen=True)
class PartsListener:
    """What the parts tell the node, and what they need of it.

    Attributes:
        feed: told of observations and of what is refused; in decode threads.
        planned: told of each inference's outcome; in the inference thread.
        instruct: told of each navigation text.
        missed: told of missed deadlines of `plan`.
        is_active: whether sensor data is wanted.
        now_ns: the clock of the messages.
        refuse: counts and logs a refusal, by its slug.
    """

    feed: FeedListener
    planned: Callable[[PlanOutcome], None]
    instruct: Callable[[str], None]
    missed: Callable[[int], None]
    is_active: Callable[[], bool]
    now_ns: Callable[[], int]
    refuse: Refuse


class PlannerParts:
    """Backend, inference, inputs, outputs, safety stage and audit log of a configured node.

    Args:
        node: to publish and subscribe with.
        prepared: settings, rig and model.
        values: all parameter values.
        listener: what the parts tell the node.
        engagement: whether the planner is engaged.
        statistics: what is counted.

    Raises:
        InvalidInput: for what cannot be made; whatever was made by then has been ended, the backend too.
    """

    def __init__(
        self,
        node: LifecycleNode,
        prepared: Prepared,
        *,
        values: Mapping[str, Any],
        listener: PartsListener,
        engagement: Engagement,
        statistics: PlanStatistics,
    ) -> None:
        self.settings = prepared.settings
        self.backend = prepared.backend
        self.worker = InferenceWorker(
            prepared.backend,
            on_plan=listener.planned,
            max_failures=prepared.settings.max_inference_failures,
        )
        self._made: list[Callable[[], object]] = []
        try:
            self._make(node, prepared, values, listener, engagement, statistics)
        except Exception:
            self.close()
            raise

    def _make(
        self,
        node: LifecycleNode,
        prepared: Prepared,
        values: Mapping[str, Any],
        listener: PartsListener,
        engagement: Engagement,
        statistics: PlanStatistics,
    ) -> None:
        self.outputs = PlanOutputs(node, self.settings, missed=listener.missed)
        self._made.append(self.outputs.destroy)
        self.feed = SensorFeed(
            prepared.rig,
            timing=prepared.timing,
            prepare_frame=prepared.backend.prepare_frame,
            decode_threads=self.settings.decode_threads,
            now_ns=listener.now_ns,
            listener=self._seeing(listener.feed),
        )
        self._made.append(self.feed.close)
        motion = EgoMotion(
            twist=TwistUse(self.settings.odometry_twist),
            span_ms=prepared.timing.odometry_buffer_ms + 1e3 * self.settings.max_plan_age,
            max_gap_ms=prepared.timing.odometry_max_gap_ms,
        )
        self.inputs = PlannerInputs(
            node, self.feed, is_active=listener.is_active, instruct=listener.instruct, motion=motion
        )
        self._made.append(self.inputs.destroy)
        self.audit = _begin_audit(node, prepared, values, now_ns=listener.now_ns())
        if self.audit is not None:
            self._made.append(self.audit.close)
        safety = None
        if self.settings.safety_gate:
            safety = SafetyStage(safety_settings(values), rhythm=stop_rhythm(values), motion=motion)
        self.desk = PlanDesk(
            self.settings,
            outputs=self.outputs,
            safety=safety,
            engagement=engagement,
            statistics=statistics,
            frames=self._frames,
            now_ns=listener.now_ns,
            refuse=listener.refuse,
            audit=self.audit,
        )

    def _seeing(self, feed: FeedListener) -> FeedListener:
        """Return the listener, with frames told to the inference too where they are encoded on arrival."""
        wanted = self.settings.encode_on_arrival
        able = self.backend.encodes_ahead
        self.encodes_on_arrival = able is not None and (able if wanted == "auto" else wanted == "on")
        return replace(feed, decoded=self.worker.look_ahead) if self.encodes_on_arrival else feed

    def restart(self) -> None:
        """Forget everything that is on its way: frames, poses, observations, plans."""
        self.worker.clear()
        self.feed.clear()
        self.inputs.restart()
        self.desk.clear()

    def restart_after_feed(self) -> None:
        """Forget what belongs to frames and poses that the feed itself has forgotten."""
        self.worker.clear()
        self.inputs.restart_motion()
        self.desk.clear()

    def beat(self) -> None:
        """Say that the planner lives, and stop the vehicle if there is no plan for it."""
        self.outputs.assert_liveliness()
        self.desk.tick()

    def change(
        self, safety: SafetySettings, values: Mapping[str, Any], *, changed: Mapping[str, Any]
    ) -> None:
        """Take parameters that were changed while the node is configured."""
        if self.desk.safety is not None:
            self.desk.safety.supervisor.settings = safety
            self.desk.safety.rhythm = stop_rhythm(values)
        self.desk.event("parameters", **changed)

    def close(self) -> bool:
        """End everything; returns False if a plan is still being computed: the model is freed after it."""
        while self._made:
            self._made.pop()()
        return self.worker.close(timeout_s=_CLOSE_TIMEOUT_S)

    def _frames(self) -> Frames:
        return Frames(self.feed.rig.rig_frame, self.inputs.odometry_frame)


def stop_rhythm(values: Mapping[str, Any]) -> StopRhythm:
    """Return how often stops go out, of a node's parameter values."""
    return StopRhythm(round(values["fallback_period_ms"] * 1e6))


def _begin_audit(
    node: LifecycleNode, prepared: Prepared, values: Mapping[str, Any], *, now_ns: int
) -> PlannerAudit | None:
    folder = prepared.settings.audit_log
    if not folder:
        return None
    from alpamayo_ros.ros.audit_log import planner_session

    session = planner_session(
        rig=prepared.rig,
        rig_file=find_rig_file(prepared.settings.rig),
        identity=prepared.backend.identity(),
        parameters=values,
        resolve=node.resolve_topic_name,
        now_ns=now_ns,
    )
    return PlannerAudit(folder, session)
