"""Drives one session at a time through the node graph: its inputs go out on topics, a planner node plans.

The topics are those of the simulation bridge in mode renderer, so the planner node is the real one, its
sensing and all.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import numpy as np
from rclpy.node import Node

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.driver_messages import EgoTrack
from alpamayo_ros.ros.driver_session_topics import session_cameras
from alpamayo_ros.ros.plan_conversions import PlanStatus
from alpamayo_ros.ros.qos import output_qos, overridable
from alpamayo_ros.ros.sim_messages import NS_PER_US
from alpamayo_ros.ros.sim_outputs import MountedCamera, SimOutputs
from alpamayo_ros.ros.sim_planner_watch import PlannerWatch
from alpamayo_ros.ros.sim_plans import Interrupted, PlanInbox, require_drivable
from alpamayo_ros.safety.supervisor import Stop
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import ROUTE_AGE_US, Guidance
from alpamayo_ros.sim.driver.planners import PlannerStops
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.images import image_size
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession, Egomotion
from alpamayo_ros.sim.protocol.server import Busy
from alpamayo_ros.types import InvalidInput, Observation, Plan, PrepareFrame

_LOOK_S = 0.1
_POSES_KEPT = 32
_JUMP_S = 0.1
"""How long listeners have to notice that time begins anew, before the first images of it come."""


class TopicPlanners:
    """A DriverPlanners (see sim/driver/planners.py) and a DriverWatcher: both are the node graph.

    Args:
        node: publishes and receives.
        rig: whose cameras' and odometry's topics are used.
        settings: the driver's.
        num_samples: how many samples the planner node draws a plan.
        plan_timeout_s: wall seconds that an answer waits for its plan.
    """

    model_id = "topics"
    takes_instruction = True

    def __init__(
        self, node: Node, rig: Rig, settings: DriverSettings, *, num_samples: int, plan_timeout_s: float
    ) -> None:
        self.settings, self.rig = settings, rig
        self.num_samples, self.plan_timeout_s = num_samples, plan_timeout_s
        self.outputs = SimOutputs(node, rig)
        self.inbox = PlanInbox()
        self._node = node
        self._watch = PlannerWatch(node)
        node.create_subscription(
            PlanMsg, "plan", self.inbox.put, output_qos(), qos_overriding_options=overridable()
        )
        node.create_subscription(PlanMsg, "debug/rejected_plan", self.inbox.put_rejected, output_qos())
        self._lock = threading.Lock()
        self._session: TopicSession | None = None

    @property
    def prepare_frame(self) -> PrepareFrame | None:
        """The planner node looks at the pictures, from the topics; none is kept here."""
        return lambda frame: np.zeros((3, 1, 1), np.uint8)

    @property
    def gone(self) -> bool:
        """Whether nobody publishes plans."""
        return not self._watch.publishes

    def await_planner(self, *, timeout_s: float, stop: threading.Event) -> None:
        """Return once the planner is active and listens; or `stop` is set. Not to be called on the executor.

        Raises:
            InvalidInput: where it fails, or is late.
        """
        deadline_s = time.monotonic() + timeout_s
        while not stop.wait(_LOOK_S):
            deaf = self.outputs.lacking_listeners
            if self._watch.is_active and not deaf:
                return
            if self._watch.failure:
                raise InvalidInput(f"planner: expected it to become active, got: {self._watch.failure}")
            if time.monotonic() > deadline_s:
                missing = f"a subscriber of {', '.join(deaf)}" if deaf else "it to become active"
                raise InvalidInput(f"planner: expected {missing} within {timeout_s:g} s, got nothing")

    def opened(self, session: DriveSession) -> TopicSession:
        """Return what publishes a session's inputs."""
        with self._lock:
            assert self._session is not None  # start() comes first
            self._session.mount(session)
            return self._session

    def start(self, session: DriveSession, *, seed: int) -> TopicSession:
        """Return the planner of the one session; the planner node draws from its own seed.

        Raises:
            Busy: while there is another.
        """
        with self._lock:
            if self._session is not None:
                raise Busy("start_session: expected one session at a time through topics, got another")
            self._session = TopicSession(self)
            return self._session

    def ended(self, session: TopicSession) -> None:
        """Make room for another session."""
        with self._lock:
            if self._session is session:
                self._session = None

    def interrupt(self) -> None:
        """Have whoever waits for a plan wait no longer, now and later."""
        self.inbox.interrupt()


class TopicSession:
    """A Planner and a SessionWatcher: publishes all of a step when its answer is asked for, then waits."""

    def __init__(self, planners: TopicPlanners) -> None:
        self._planners = planners
        self._lock = threading.Lock()
        self._track = EgoTrack()
        self._egomotions: list[Egomotion] = []
        self._images: dict[int, dict[int, bytes]] = defaultdict(dict)
        self._route: tuple[int, Guidance] | None = None
        self._shown_t0_ns = -1
        self._poses: dict[int, Matrix4] = {}
        """The latest poses that were published, by stamp in ns."""
        self._begun = False
        self._ended = False

    def mount(self, session: DriveSession) -> None:
        """Take the cameras of the vehicle; where none are told, no lens and no pose is published."""
        planners = self._planners
        used = {i: n for i, n in planners.settings.camera_ids().items() if n in planners.rig.camera_ids}
        lenses, mounts = session_cameras(session, used)
        self._mounted = [MountedCamera(i, lens, mounts[i]) for i, lens in lenses.items()]

    # The watcher.

    def frame(self, camera_id: int, stamp_us: int, image_bytes: bytes) -> None:
        """Keep a picture until the step is asked for."""
        with self._lock:
            self._images[stamp_us][camera_id] = image_bytes

    def egomotion(self, egomotion: Egomotion) -> None:
        """Keep poses until the step is asked for."""
        with self._lock:
            self._egomotions.append(egomotion)

    def route(self, time_us: int, guidance: Guidance) -> None:
        """Keep what a route says."""
        with self._lock:
            self._route = (time_us, guidance)

    def driving(self, now_us: int) -> None:
        """Publish all of a step: time, odometry and text before the images, which complete an observation."""
        outputs, rig = self._planners.outputs, self._planners.rig
        with self._lock:
            egomotions, self._egomotions = self._egomotions, []
            due = sorted(stamp_us for stamp_us in self._images if stamp_us <= now_us)
            images = {stamp_us: self._images.pop(stamp_us) for stamp_us in due}
            text = self._text(now_us)
        shown = [stamp_us for stamp_us in due if rig.reference_camera_id in images[stamp_us]]
        if shown:
            self._shown_t0_ns = shown[-1] * NS_PER_US
            self._planners.inbox.expect(self._shown_t0_ns)
        states = [state for egomotion in egomotions for state in self._track.add(egomotion)]
        if not self._begun:
            self._begun = True
            # The last session may have been of a later time: buffers are cleared before anything is in them.
            outputs.time(states[0].time_us if states else now_us)
            time.sleep(_JUMP_S)
            outputs.mount(self._mounted, time_us=now_us)
        outputs.instruct(text)
        for state in states:
            outputs.state(state)
            self._poses[state.time_us * NS_PER_US] = state.local_from_rig
        self._poses = dict(list(self._poses.items())[-_POSES_KEPT:])
        outputs.time(now_us)
        for stamp_us, by_camera in images.items():
            known = {camera.camera_id for camera in self._mounted}
            outputs.resize({i: image_size(image) for i, image in by_camera.items() if i in known})
            outputs.images(stamp_us, by_camera)

    def _text(self, now_us: int) -> str:
        if self._route is None or self._planners.settings.navigation == "off":
            return ""
        time_us, guidance = self._route
        return guidance.instruction if 0 <= now_us - time_us <= ROUTE_AGE_US else ""

    def drove(self, outcome: DriveOutcome) -> None:
        """Nothing of this is published: the planner's own topics show it."""

    # The planner.

    def plan(self, observation: Observation) -> Plan:
        """Return what the planner node made of the same inputs.

        Raises:
            InvalidInput: where it makes none in time, or one that may not be driven.
            PlannerStops: where it answers with a stop.
        """
        planners, t0_ns = self._planners, observation.t0_ns
        if t0_ns != self._shown_t0_ns:
            raise InvalidInput(f"plan: expected an observation at {self._shown_t0_ns} ns, got {t0_ns} ns")
        try:
            message = self._wait()
        except Interrupted as error:
            raise InvalidInput("plan: expected one over topics, got the end of the driver") from error
        if message.status == PlanStatus.REJECTED:
            raise InvalidInput(f"plan: rejected by the planner node: {message.status_reason}")
        if message.status == PlanStatus.FALLBACK:
            raise PlannerStops(self._stop_of(message))
        return require_drivable(
            message,
            t0_ns=t0_ns,
            rig_frame=planners.rig.rig_frame,
            local_from_rig_t0=observation.rig_pose_in_odom_at_t0,
        ).plan

    def _stop_of(self, message: PlanMsg) -> Stop:
        """Return the planner node's stop, if it begins at one of the poses that it was told last."""
        stamp_ns = stamp_to_ns(message.header.stamp)
        pose = self._poses.get(stamp_ns)
        if pose is None:
            raise InvalidInput(
                f"plan: expected a stop from one of the latest poses, got one of {stamp_ns} ns: "
                f"{message.status_reason}"
            )
        published = require_drivable(
            message, t0_ns=stamp_ns, rig_frame=self._planners.rig.rig_frame, local_from_rig_t0=pose
        )
        return Stop(published.plan, published.odom_from_rig_t0, published.status_reason, published.decided_ns)

    def _wait(self) -> PlanMsg:
        """Return the Plan message, looking now and then whether there is still a planner."""
        planners = self._planners
        deadline_s = time.monotonic() + planners.plan_timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            message = planners.inbox.wait(timeout_s=min(left_s, _LOOK_S))
            if message is not None:
                return message
            if planners.gone:
                raise InvalidInput("planner: expected one that publishes plans, got none any more")
            if self._ended:
                raise InvalidInput("plan: expected a session that is on, got the end of it")
        raise InvalidInput(f"plan: expected one within {planners.plan_timeout_s:g} s, got none")

    def close(self) -> None:
        """End; called as planner and as watcher, in any order."""
        self._ended = True
        self._planners.ended(self)
