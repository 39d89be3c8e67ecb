"""The simulation bridge: owns clock and world, is the vehicle on the topics, and drives by the plans it gets.

Threads: the executor receives plans and answers; one drives, step by step; one waits for images. With
`planner` set, a planner node of ours runs on the same executor, its topics and sensing as real as any.

In mode alpasim the bridge is another node, see nodes/alpasim_driver.py; `main` runs either.
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

import grpc
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.diagnostics import Level, Status, to_message
from alpamayo_ros.ros.driver_parameters import MODE
from alpamayo_ros.ros.parameters import declare, values
from alpamayo_ros.ros.qos import output_qos, overridable
from alpamayo_ros.ros.runner import run_nodes
from alpamayo_ros.ros.sim_hosted import HostedPlanner
from alpamayo_ros.ros.sim_outputs import MountedCamera, SimOutputs
from alpamayo_ros.ros.sim_parameters import PARAMETERS, BridgeSettings
from alpamayo_ros.ros.sim_planner_watch import PlannerWatch
from alpamayo_ros.ros.sim_plans import Interrupted, PlanInbox
from alpamayo_ros.ros.sim_results import ResultsFolder, summary, timing
from alpamayo_ros.ros.sim_rollout import FAILURES, PlannerGone, StepRules, TopicRollout
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sim.observations import observe
from alpamayo_ros.sim.protocol.channel import ServiceError
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.renderer_link import LinkImages, RendererLink, link_to_renderer
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.types import InvalidInput

__all__ = ["PARAMETERS", "SimBridgeNode", "main"]

_REPORT_PERIOD_S = 1.0
_LOOK_S = 0.1
_SAY_S = 5.0
_LAST_WORD_S = 0.5
_JUMP_S = 0.1
"""How long listeners have to notice that time begins anew, before the first images of it come."""

Link = Callable[..., AbstractContextManager[RendererLink]]


class RolloutsFailed(RuntimeError):
    """Some rollouts did not come to an end of their own; the message names them."""


_ENDINGS: tuple[type[Exception], ...] = (RolloutsFailed, *FAILURES)


def _is_final(error: Exception) -> bool:
    """Return whether no other scene can be driven either: planner or renderer have gone."""
    gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
    return isinstance(error, PlannerGone) or (isinstance(error, ServiceError) and error.code in gone)


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
        self._link = partial(link, self.settings, tls=self.settings.tls())
        self._rig = load_rig(self.settings.rig)
        self._results = ResultsFolder(
            self.settings.out,
            planner=self.settings.planner or "topics",
            rollout_index=self.settings.rollout_index,
        )
        self.hosted = HostedPlanner(self.settings.planner) if self.settings.planner else None
        self.outputs = SimOutputs(self, self._rig)
        self.inbox = PlanInbox()
        self.create_subscription(
            PlanMsg, "plan", self.inbox.put, output_qos(), qos_overriding_options=overridable()
        )
        self.create_subscription(PlanMsg, "debug/rejected_plan", self.inbox.put_rejected, output_qos())
        self._watch = PlannerWatch(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self.create_timer(_REPORT_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.records: list[RolloutRecord] = []
        self.error: Exception | None = None
        self._failed: list[str] = []
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

    @property
    def time_us(self) -> int:
        """The simulated time; 0 before the first rollout."""
        return 0 if self._rollout is None else self._rollout.loop.time_us

    def moving(self) -> AbstractContextManager[None]:
        """Keep the hosted planner from looking at the world while it moves."""
        return nullcontext() if self.hosted is None else self.hosted.moving()

    def think_ahead(self, loop: ClosedLoop) -> None:
        """Let a hosted planner begin before the images are there."""
        if self.hosted is not None:
            self.hosted.think_ahead(observe(loop.history(16), None, instruction=loop.instruction()))

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
        if self.hosted is not None:
            self.hosted.close()
        super().destroy_node()

    # The driving thread.

    def _run(self) -> None:
        try:
            self._drive_all()
        except Interrupted:
            pass
        except _ENDINGS as error:
            if not self._stop.is_set():  # else it is how what was cut short fails
                self.get_logger().error(str(error))
                self.error = error
        except Exception as error:  # a bug: the process must end all the same, and say so
            self.get_logger().error(traceback.format_exc())
            self.error = error
        self._phase = "done"
        self._report()
        # What it ended by must be on the wire before the process ends.
        self._diagnostics.wait_for_all_acked(Duration(seconds=_LAST_WORD_S))
        self._ended.set()

    def _drive_all(self) -> None:
        self._phase = "waiting for the renderer"
        with self._link(warn=self._say) as renderer:
            self._renderer = renderer
            self.get_logger().info(f"renderer: {renderer.description}")
            scene_ids = renderer.scene_ids(self.settings.scenarios)
            for scene_id in scene_ids:
                self._phase = "waiting for the planner"
                self._await_planner()
                error = self._drive(renderer, scene_id)
                if error is None:
                    continue
                self._failed.append(f"{scene_id}: {error}")
                if _is_final(error):
                    break
        if self._failed:
            raise RolloutsFailed(
                f"{len(self._failed)} of {len(scene_ids)} rollouts failed, {len(self.records)} were begun: "
                + "; ".join(self._failed)
            )

    def _drive(self, renderer: RendererLink, scene_id: str) -> Exception | None:
        """Drive one scene to its end; returns what failed."""
        self._phase = f"driving {scene_id}"
        self.get_logger().info(self._phase)
        try:
            rollout, images = self._begin(renderer, scene_id)
        except FAILURES as error:
            if self._stop.is_set():
                raise Interrupted from error
            self.get_logger().error(f"{scene_id}: {error}")
            self._results.keep_failure(scene_id, error)
            return error
        self._pause(_JUMP_S)
        record = rollout.run()
        self.records.append(record)
        if rollout.failure is None:
            self.get_logger().info(summary(record, rollout))
        else:
            self.get_logger().error(summary(record, rollout))
        self._results.keep(record, exchanges=images.exchanges, timing=timing(record, rollout))
        if record.end_reason == "interrupted":
            raise Interrupted
        return rollout.failure

    def _begin(self, renderer: RendererLink, scene_id: str) -> tuple[TopicRollout, LinkImages]:
        """Make a scene's world and cameras and put the vehicle at its start."""
        settings = self.settings
        world = renderer.world(scene_id)
        cameras = renderer.cameras(scene_id, self._rig.camera_ids)
        loop = ClosedLoop(world, rollout_index=settings.rollout_index, planner=settings.planner or "topics")
        if self.hosted is not None:
            self.hosted.begin(world)
        mounted = [
            MountedCamera(camera_id, camera.model, camera.rig_from_camera)
            for camera_id, camera in cameras.items()
        ]
        self.outputs.mount(mounted, time_us=loop.time_us)
        self.outputs.instruct("")
        self.outputs.state(loop.ego)
        images = renderer.images(scene_id, cameras, warn=self._say)
        self._rollout = TopicRollout(
            loop,
            images=images,
            outputs=self.outputs,
            inbox=self.inbox,
            planners=self,
            rules=StepRules(
                plan_timeout_s=settings.plan_timeout_s,
                max_missed_plans=settings.max_missed_plans,
                realtime_factor=settings.realtime_factor,
            ),
            stop=self._stop,
            warn=self._say,
        )
        return self._rollout, images

    def _say(self, text: str) -> None:
        self.get_logger().warning(text)

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
        facts: dict[str, Any] = {
            "phase": self._phase,
            "rollouts": len(self.records),
            "rollouts_failed": len(self._failed),
        }
        facts.update({f"plans_{name}": count for name, count in sorted(self.inbox.counts.items())})
        stamp_ns = 0
        if rollout is not None:
            stamp_ns = rollout.loop.time_us * 1000
            facts["simulated_s"] = f"{(rollout.loop.time_us - rollout.loop.scene.start_us) / 1e6:.1f}"
            facts["plans_missed"] = rollout.missed
            facts["plans_held"] = rollout.held
            facts["last_refusal"] = rollout.refusals[-1] if rollout.refusals else ""
            facts.update({f"{stage}_ms": f"{ms:.1f}" for stage, ms in rollout.stages.mean_ms.items()})
        level, message = Level.OK, self._phase
        if self.error is not None:
            level, message = Level.ERROR, str(self.error)
        elif self._failed:
            level, message = Level.WARN, f"{self._phase}; failed: {self._failed[-1]}"
        status = Status("simulation", level, message, facts)
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
    """Return the bridge of parameter `mode`, and with it the planner that it hosts, if it does.

    `kwargs` are of both nodes.
    """
    if _mode(**kwargs) == "alpasim":
        from alpamayo_ros.nodes.alpasim_driver import AlpasimDriverNode

        return [AlpasimDriverNode(**kwargs)]
    bridge = make_bridge(**kwargs)
    if bridge.hosted is None:
        return [bridge]
    kwargs.pop("parameter_overrides", None)
    try:
        return [bridge, hosted_planner(bridge, **kwargs)]
    except BaseException:
        bridge.destroy_node()
        raise


def _mode(**kwargs: Any) -> str:
    """Return the bridge's mode, wherever it is set: only a node knows its parameter files and overrides."""
    node = Node("sim_bridge", enable_rosout=False, start_parameter_services=False, **kwargs)
    try:
        declare(node, [MODE])
        return str(values(node, [MODE])[MODE.name])
    finally:
        node.destroy_node()


def main(args: Sequence[str] | None = None) -> int:
    """Run the bridge that the parameters say; returns the process's exit code."""
    if args is None:
        # A second SIGINT, as some launchers send, must not kill an interpreter that is on its way out.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return run_nodes([simulation_nodes], args, start=lambda nodes: nodes[0].start())


if __name__ == "__main__":
    sys.exit(main())
