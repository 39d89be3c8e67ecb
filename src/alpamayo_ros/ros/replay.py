"""Replay a bag through the planner: player and recorder here, the planner in a child process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from alpamayo_ros.bags.pacing import Pacer
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.ros.domains import use_domain
from alpamayo_ros.ros.planner_process import PlannerProcess
from alpamayo_ros.ros.replay_files import BAG_FOLDER, LOG_NAME, NAMESPACE, check_inputs, prepare_output
from alpamayo_ros.ros.runner import StopSignals, apply_shared_memory_profile, ros_arguments
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import HISTORY_INTERVAL_S, NUM_HISTORY_POSES

if TYPE_CHECKING:
    from alpamayo_ros.ros.planner_monitor import PlannerMonitor

ParameterValue: TypeAlias = bool | int | float | str

PLANNER_OUTPUTS = (
    "plan",
    "path",
    "reasoning",
    "markers",
    "trajectory",
    "engaged",
    "debug/rejected_plan",
    "planner/debug/stage_times",
)
"""Topics that the planner publishes: those that a bag already has would mix with the new ones."""

_NOT_PLAYED = ("/clock", "/rosout", "/parameter_events", "/diagnostics")
_HOLD_S = 1e6
_FULL_RATE = 1.0
HISTORY_SPAN_NS = round((NUM_HISTORY_POSES - 1) * HISTORY_INTERVAL_S * 1e9)
"""Odometry that a first plan needs."""
_SETTLE_S = 0.5


class ReplayFailed(RuntimeError):
    """The planner did not start, or died; the message says what it said last."""


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and how.

    Attributes:
        bag: recording to play.
        rig: name or path, handed on to the planner.
        out: folder for the results.
        parameters: of the planner, by name.
        rate: bag seconds a wall second; None is real time, or as fast as the planner keeps up with.
        start_offset_s: seconds of the bag to skip.
        odometry: topic of the odometry; None takes the rig's, or the bag's only one.
        params_file: parameters of the planner as YAML.
        domain_id: ROS domain; None picks a free one.
        any_host: let the graph reach other machines.
        load_timeout_s: longest wait for the planner to become active.
        drain_timeout_s: longest wait for the last plan.
        log_level: of all nodes.
    """

    bag: Path
    rig: str
    out: Path
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    rate: float | None = None
    start_offset_s: float = 0.0
    odometry: str | None = None
    params_file: Path | None = None
    domain_id: int | None = None
    any_host: bool = False
    load_timeout_s: float = 900.0
    drain_timeout_s: float = 60.0
    log_level: str = "info"


@dataclass(frozen=True)
class Progress:
    """Where a replay stands.

    Attributes:
        phase: "loading", "playing" or "finishing".
        done_s: of the bag.
        total_s: of the bag.
        plans: published so far.
        refusals: so far.
        detail: what the planner says.
    """

    phase: str
    done_s: float
    total_s: float
    plans: int
    refusals: int
    detail: str


@dataclass(frozen=True)
class ReplayResult:
    """What became of a replay; the rest is in the recorded bag.

    Attributes:
        bag: the recording.
        plan_topic: absolute name.
        odometry_topic: absolute name.
        sent: input topic -> messages published.
        dropped: topic -> messages that the recorder had to drop.
        skipped: topic -> why it was not played.
        bag_s: length of what was played.
        wall_s: playing and finishing.
        play_s: of this, playing.
        interrupted: ended by a signal.
        drained: whether the planner was seen idle at the end.
        late_s: how late the tardiest message was.
    """

    bag: Path
    plan_topic: str
    odometry_topic: str
    sent: dict[str, int]
    dropped: dict[str, int]
    skipped: dict[str, str]
    bag_s: float
    wall_s: float
    play_s: float
    interrupted: bool
    drained: bool
    late_s: float


def replay(options: ReplayOptions, rig: Rig, *, progress: Callable[[Progress], None]) -> ReplayResult:
    """Play `options.bag` to the planner and record everything into `options.out`/bag.

    Changes this process's environment (ROS domain, discovery range, FastDDS profile) and initialises
    rclpy for the time of the replay.

    Raises:
        InvalidInput: for a bag, rig or parameters that cannot be used.
        ReplayFailed: where the planner does not become active, or dies.
    """
    with BagReader(options.bag) as bag:
        odometry = check_inputs(bag, rig, odometry=options.odometry)
        topics = list(bag.topics)
    prepare_output(options.out)
    use_domain(options.domain_id, any_host=options.any_host)
    apply_shared_memory_profile()
    with (
        StopSignals() as stop,
        PlannerProcess(
            _planner_arguments(options, rig, odometry),
            environment=os.environ,
            log_path=options.out / LOG_NAME,
        ) as planner,
    ):
        return _Session(options, rig, odometry, topics, planner=planner, stop=stop, progress=progress).run()


def _planner_arguments(options: ReplayOptions, rig: Rig, odometry: str) -> list[str]:
    arguments = ["--namespace", NAMESPACE, "--use-sim-time", "--log-level", options.log_level]
    arguments += ["--rig", options.rig, "--remap", f"{rig.odometry_topic}:={odometry}"]
    if options.params_file is not None:
        arguments += ["--params-file", str(options.params_file)]
    for name, value in options.parameters.items():
        text = (
            f"'{value}'"
            if isinstance(value, str)
            else str(value).lower()
            if isinstance(value, bool)
            else value
        )
        arguments += ["--param", f"planner:{name}:={text}"]
    return arguments


class _Session:
    """One replay: waits for the planner, plays, waits for the last plan."""

    def __init__(
        self,
        options: ReplayOptions,
        rig: Rig,
        odometry: str,
        topics: list[str],
        *,
        planner: PlannerProcess,
        stop: StopSignals,
        progress: Callable[[Progress], None],
    ) -> None:
        self._options = options
        self._rig = rig
        self._odometry = odometry
        outputs = {f"{NAMESPACE}/{name}" for name in PLANNER_OUTPUTS}
        self._excluded = [t for t in topics if t in outputs or t in _NOT_PLAYED] or list(_NOT_PLAYED)
        self._planner = planner
        self._stop = stop
        self._progress = progress
        self._pacer = Pacer(max_rate=_FULL_RATE) if options.rate is None else None

    def run(self) -> ReplayResult:
        import rclpy
        from rclpy.parameter import Parameter
        from rclpy.signals import SignalHandlerOptions

        from alpamayo_ros.nodes.player import PlayerNode
        from alpamayo_ros.nodes.recorder import RecorderNode
        from alpamayo_ros.ros.executors import new_executor
        from alpamayo_ros.ros.planner_monitor import PlannerMonitor

        options = self._options
        needed = [*(camera.topic for camera in self._rig.cameras), self._odometry]
        # Our own nodes' chatter would tear the progress bar.
        level = "warn" if options.log_level == "info" else options.log_level
        ros = ros_arguments(namespace=NAMESPACE, log_level=level)
        rclpy.init(args=ros, signal_handler_options=SignalHandlerOptions.NO)
        nodes: list[Any] = []
        try:
            self._executor = new_executor()

            def add(node: Any) -> Any:
                nodes.append(node)
                self._executor.add_node(node)
                return node

            def parameters(**values: Any) -> list[Any]:
                return [Parameter(name, value=value) for name, value in values.items()]

            pacer = self._pacer
            self._monitor: PlannerMonitor = add(
                PlannerMonitor(
                    on_plan=None if pacer is None else lambda at_s, took_s: pacer.planned(at_s, took_s=took_s)
                )
            )
            player: PlayerNode = add(
                PlayerNode(
                    parameter_overrides=parameters(
                        bag=str(options.bag),
                        rate=_FULL_RATE if options.rate is None else options.rate,
                        start_offset_s=options.start_offset_s,
                        exclude=self._excluded,
                        wait_for_subscribers=needed,
                        hold_s=_HOLD_S,
                    )
                )
            )
            self._player = player
            self._recorder: RecorderNode = add(
                RecorderNode(
                    now_ns=player.timeline.now_ns,
                    parameter_overrides=parameters(output=str(options.out / BAG_FOLDER)),
                )
            )
            self._load()
            self._began_s = self._played_s = time.monotonic()
            drained = self._play() and self._drain()
            player.stop()
            self._spin_for(_SETTLE_S, "finishing")
            result = ReplayResult(
                bag=options.out / BAG_FOLDER,
                plan_topic=f"{NAMESPACE}/plan",
                odometry_topic=self._odometry,
                sent=dict(player.published),
                dropped=dict(self._recorder.dropped),
                skipped=dict(player.skipped),
                bag_s=(player.end_ns - player.start_ns) * 1e-9,
                wall_s=time.monotonic() - self._began_s,
                play_s=self._played_s,
                interrupted=bool(self._stop),
                drained=drained,
                late_s=player.latest_s,
            )
        finally:
            for node in reversed(nodes):
                node.destroy_node()
            rclpy.try_shutdown()
        if self._recorder.error is not None:
            raise self._recorder.error
        return result

    def _load(self) -> None:
        """Wait until the planner is active and everything that plays is recorded."""
        deadline_s = time.monotonic() + self._options.load_timeout_s
        while not self._stop:
            self._spin_once("loading")
            if self._monitor.failure:
                raise ReplayFailed(f"the planner refused to start: {self._monitor.failure}")
            planners = self._monitor.planners
            if planners > 1:
                raise ReplayFailed(
                    f"ROS domain {os.environ['ROS_DOMAIN_ID']}: expected this replay's planner alone, "
                    f"got {planners}; end the others, or choose another --domain-id"
                )
            if self._monitor.state == "active" and self._recorder.recorded_topics >= self._player.topics:
                return
            if time.monotonic() > deadline_s:
                raise ReplayFailed(
                    f"the planner: expected it active within {self._options.load_timeout_s:g} s, got "
                    f"{self._monitor.state or 'no sign of life'}; its last words:\n{self._planner.tail()}"
                )

    def _play(self) -> bool:
        """Play the bag; False if told to stop."""
        player = self._player
        player.play()
        first_plan_ns = player.start_ns + HISTORY_SPAN_NS
        while not player.finished.is_set() and not self._stop:
            self._spin_once("playing")
            if self._pacer is not None and player.timeline.now_ns() >= first_plan_ns:
                self._pacer.expect_plans(time.monotonic())
                player.timeline.set_rate(self._pacer.rate(time.monotonic()))
        self._played_s = time.monotonic() - self._began_s
        if self._player.error is not None:
            raise self._player.error
        return not self._stop

    def _drain(self) -> bool:
        """Wait until the planner has reported twice that it is idle and knows nothing new."""
        self._monitor.watch_for_rest()
        deadline_s = time.monotonic() + self._options.drain_timeout_s
        while not self._stop and time.monotonic() < deadline_s:
            if self._monitor.rests:
                return True
            self._spin_once("finishing")
            if self._pacer is not None:
                # The last plan must not grow old either; after it, waits of the planner shall end.
                now_s = time.monotonic()
                overdue = self._pacer.overdue(now_s)
                self._player.timeline.set_rate(_FULL_RATE if overdue else self._pacer.rate(now_s))
        return False

    def _spin_for(self, seconds: float, phase: str) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._spin_once(phase)

    def _spin_once(self, phase: str) -> None:
        self._executor.spin_once(timeout_sec=0.05)
        code = self._planner.exit_code
        if code is not None and not self._stop:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise ReplayFailed(f"the planner died ({how}); its last words:\n{self._planner.tail()}")
        if self._recorder.error is not None:
            raise self._recorder.error
        player = self._player
        total_s = (player.end_ns - player.start_ns) * 1e-9
        self._progress(
            Progress(
                phase=phase,
                done_s=min(max((player.timeline.now_ns() - player.start_ns) * 1e-9, 0.0), total_s),
                total_s=total_s,
                plans=self._monitor.plans,
                refusals=self._monitor.refusals,
                detail=self._monitor.detail,
            )
        )
