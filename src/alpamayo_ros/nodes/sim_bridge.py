"""The simulation bridge: owns clock and world, is the vehicle on the topics, and drives by the plans it gets.

Threads: the executor receives plans and answers; one drives, step by step; one waits for images. With
`planner` set, a planner node of ours runs on the same executor, its topics and sensing as real as any.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.diagnostics import Level, Status, to_message
from alpamayo_ros.ros.parameters import declare, values
from alpamayo_ros.ros.qos import output_qos, overridable
from alpamayo_ros.ros.runner import run_nodes
from alpamayo_ros.ros.sim_hosted import HostedPlanner
from alpamayo_ros.ros.sim_outputs import MountedCamera, SimOutputs
from alpamayo_ros.ros.sim_parameters import PARAMETERS, BridgeSettings
from alpamayo_ros.ros.sim_planner_watch import PlannerWatch
from alpamayo_ros.ros.sim_plans import Interrupted, PlanInbox
from alpamayo_ros.ros.sim_results import ResultsFolder, summary
from alpamayo_ros.ros.sim_rollout import StepRules, TopicRollout
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.renderer_link import RendererLink, link_to_renderer
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.types import InvalidInput

__all__ = ["PARAMETERS", "SimBridgeNode", "main"]

_REPORT_PERIOD_S = 1.0
_LOOK_S = 0.1
_SAY_S = 5.0
_JUMP_S = 0.1
"""How long listeners have to notice that time begins anew, before the first images of it come."""

Link = Callable[[BridgeSettings], AbstractContextManager[RendererLink]]


class RolloutsFailed(RuntimeError):
    """Some rollouts did not come to an end of their own; the message names them."""


class SimBridgeNode(Node):
    """See the module; parameters in ros/sim_parameters.py.

    Rollouts begin with start() and need the node to be spun. The process ends when all are over.

    Args:
        link: connects to a renderer; for tests.
        kwargs: as of rclpy's Node.

    Attributes:
        records: of the rollouts that are over.
        error: what went wrong, once `done`.

    Raises:
        InvalidInput: for parameters that cannot be used.
    """

    def __init__(self, *, link: Link = link_to_renderer, **kwargs: Any) -> None:
        super().__init__("sim_bridge", **kwargs)
        try:
            self._set_up(link)
        except BaseException:
            super().destroy_node()  # rclpy keeps a list of nodes, refused ones too
            raise

    def _set_up(self, link: Link) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        declare(self, PARAMETERS)
        self.settings = BridgeSettings.from_values(values(self, PARAMETERS))
        self._link = partial(link, self.settings)
        self._rig = load_rig(self.settings.rig)
        self._results = ResultsFolder(self.settings.out)
        self.hosted = HostedPlanner(self.settings.planner) if self.settings.planner else None
        self.outputs = SimOutputs(self, self._rig)
        self.inbox = PlanInbox()
        self.create_subscription(
            PlanMsg, "plan", self.inbox.put, output_qos(), qos_overriding_options=overridable()
        )
        self._watch = PlannerWatch(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self.create_timer(_REPORT_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.records: list[RolloutRecord] = []
        self.error: Exception | None = None
        self._phase = "starting"
        self._rollout: TopicRollout | None = None
        self._renderer: RendererLink | None = None
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)

    @property
    def done(self) -> bool:
        """Whether all rollouts are over, or driving failed."""
        return self._ended.is_set()

    @property
    def gone(self) -> bool:
        """Whether nobody publishes plans any more."""
        return not self._watch.publishes

    def moving(self) -> AbstractContextManager[None]:
        """Keep the hosted planner from looking at the world while it moves."""
        return nullcontext() if self.hosted is None else self.hosted.moving()

    def start(self) -> None:
        """Begin the rollouts in a thread of their own."""
        self._thread.start()

    def stop(self) -> None:
        """End the rollout that is on and begin no other; returns when nothing runs any more."""
        self._stop.set()
        self.inbox.interrupt()
        renderer = self._renderer
        if renderer is not None:
            renderer.cancel()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def destroy_node(self) -> None:
        """Stop, and take the node off the graph."""
        self.stop()
        super().destroy_node()

    # The driving thread.

    def _run(self) -> None:
        try:
            self._drive_all()
        except Interrupted:
            pass
        except InvalidInput as error:
            if not self._stop.is_set():
                self.error = error
        except Exception as error:  # a bug: the process must end all the same, and say so
            self.get_logger().error(traceback.format_exc())
            self.error = error
        self._phase = "done"
        self._ended.set()

    def _drive_all(self) -> None:
        self._phase = "waiting for the renderer"
        failed: list[str] = []
        with self._link() as renderer:
            self._renderer = renderer
            self.get_logger().info(f"renderer: {renderer.description}")
            self._phase = "waiting for the planner"
            self._await_planner()
            for scene_id in renderer.scene_ids(self.settings.scenarios):
                self._pause(0.0)
                record = self._drive(renderer, scene_id)
                self.records.append(record)
                if record.end_reason == "failed":
                    failed.append(f"{scene_id}: {record.error}")
        if failed:
            raise RolloutsFailed(f"{len(failed)} of {len(self.records)} rollouts failed: {'; '.join(failed)}")

    def _drive(self, renderer: RendererLink, scene_id: str) -> RolloutRecord:
        world = renderer.world(scene_id)
        cameras = renderer.cameras(scene_id, self._rig.camera_ids)
        name = self.settings.planner or "topics"
        loop = ClosedLoop(world, rollout_index=self.settings.rollout_index, planner=name)
        if self.hosted is not None:
            self.hosted.begin(world)
        mounted = [
            MountedCamera(
                camera_id=camera_id,
                model=camera.model.scaled_to(self.settings.image_width, self.settings.image_height),
                rig_from_camera=camera.rig_from_camera,
            )
            for camera_id, camera in cameras.items()
        ]
        for problem in self.outputs.mount(mounted, time_us=loop.time_us):
            self.get_logger().warning(problem)
        self._phase = f"driving {scene_id}"
        self.get_logger().info(self._phase)
        self.outputs.instruct("")
        self.outputs.state(loop.ego)
        self._pause(_JUMP_S)
        settings = self.settings
        rollout = self._rollout = TopicRollout(
            loop,
            images=renderer.images(scene_id, cameras, warn=self.get_logger().warning),
            outputs=self.outputs,
            inbox=self.inbox,
            planners=self,
            rules=StepRules(
                plan_timeout_s=settings.plan_timeout_s,
                max_missed_plans=settings.max_missed_plans,
                realtime_factor=settings.realtime_factor,
            ),
            stop=self._stop,
        )
        record = rollout.run()
        self.get_logger().info(summary(record, rollout))
        self._results.keep(record)
        if record.end_reason == "interrupted":
            raise Interrupted
        return record

    def _await_planner(self) -> None:
        """Wait until the planner is active and listens; raises InvalidInput where it fails or is late."""
        waited_s, said_s = 0.0, 0.0
        while True:
            missing = self._missing()
            if not missing:
                return
            if self._watch.failure:
                raise InvalidInput(f"planner: expected it to become active, got: {self._watch.failure}")
            if waited_s > self.settings.planner_timeout_s:
                raise InvalidInput(
                    f"planner: expected {missing} within {self.settings.planner_timeout_s:g} s, got nothing"
                )
            if waited_s - said_s >= _SAY_S:
                said_s = waited_s
                self.get_logger().info(f"waiting for {missing}")
            self._pause(_LOOK_S)
            waited_s += _LOOK_S

    def _missing(self) -> str:
        """Return what is not there yet of what a rollout needs, "" for nothing."""
        if not self._watch.is_active:
            state = self._watch.state
            return f"{self.get_namespace().rstrip('/')}/planner to be active" + (state and f", it is {state}")
        deaf = self.outputs.lacking_listeners
        return f"a subscriber of {', '.join(deaf)}" if deaf else ""

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted

    # The executor.

    def _report(self) -> None:
        rollout = self._rollout
        facts: dict[str, Any] = {"phase": self._phase, "rollouts": len(self.records)}
        facts.update({f"plans_{name}": count for name, count in sorted(self.inbox.counts.items())})
        stamp_ns = 0
        if rollout is not None:
            stamp_ns = rollout.loop.time_us * 1000
            facts["simulated_s"] = f"{(rollout.loop.time_us - rollout.loop.scene.start_us) / 1e6:.1f}"
            facts["plans_missed"] = rollout.missed
            facts.update({f"{stage}_ms": f"{ms:.1f}" for stage, ms in rollout.stages.mean_ms.items()})
        level = Level.ERROR if self.error is not None else Level.OK
        status = Status("simulation", level, str(self.error or self._phase), facts)
        self._diagnostics.publish(to_message([status], stamp_ns=stamp_ns))


def hosted_planner(bridge: SimBridgeNode, **kwargs: Any) -> Any:
    """Return the planner node for a bridge that hosts one: the real node, with the bridge's planner inside.

    Its sensors are reliable, as a lost image would be a lost step.
    """
    from alpamayo_ros.nodes.planner import PlannerNode

    assert bridge.hosted is not None
    rig = load_rig(bridge.settings.rig)
    topics = [*(camera.topic for camera in rig.cameras), rig.odometry_topic]
    overrides = {
        "use_sim_time": True,
        "autostart": True,
        "rig": bridge.settings.rig,
        **{
            f"qos_overrides.{bridge.resolve_topic_name(topic)}.subscription.reliability": "reliable"
            for topic in topics
        },
    }
    return PlannerNode(
        load=bridge.hosted.load,
        parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
        **kwargs,
    )


def simulation_nodes(
    *, make_bridge: Callable[..., SimBridgeNode] = SimBridgeNode, **kwargs: Any
) -> list[Any]:
    """Return the bridge, and with it the planner that it hosts, if it does; `kwargs` are of both nodes."""
    bridge = make_bridge(**kwargs)
    if bridge.hosted is None:
        return [bridge]
    kwargs.pop("parameter_overrides", None)
    try:
        return [bridge, hosted_planner(bridge, **kwargs)]
    except BaseException:
        bridge.destroy_node()
        raise


def main(args: Sequence[str] | None = None) -> int:
    """Drive what the parameters say; returns the process's exit code."""
    if args is None:
        # A second SIGINT, as some launchers send, must not kill an interpreter that is on its way out.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return run_nodes([simulation_nodes], args, start=lambda nodes: nodes[0].start())


if __name__ == "__main__":
    sys.exit(main())
