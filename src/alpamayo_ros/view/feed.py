"""From a source's topics to what the web page is sent: the topics that matter, decoded in a thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from alpamayo_ros.bags.run import PLAN_TYPE, plan_record, plan_status_names, pose_matrix
from alpamayo_ros.sensing.rig import CameraConfig, Rig
from alpamayo_ros.types import CAMERA_NAMES
from alpamayo_ros.view.cameras import COMPRESSED_TYPE, IMAGE_TYPE, Picture, PlanPainter, as_it_is
from alpamayo_ros.view.mailbox import Mailbox
from alpamayo_ros.view.source import Source, Topic
from alpamayo_ros.view.web_messages import (
    Json,
    diagnostics_json,
    markers_json,
    plan_json,
    pose_json,
    stamp_ns,
    thought_json,
)

HISTORY = 240
"""Thoughts that are kept for pages that open later."""

_DIAGNOSTICS_S = 0.25
_SHARED = {"diagnostics": 8, "tf_static": 64}
_WAITING = 16
"""Plans that wait to be decoded: more would be shown long after they were driven."""

_JUMP = object()
_LEFT_TO_RIGHT = ("cross_left", "front_wide", "cross_right", "front_tele")


class Audience(Protocol):
    """Whom a feed speaks to; called from the feed's thread, and never to block."""

    def state(self, key: str, content: Json) -> None:
        """Show this in the place of what was shown under the key before."""
        ...

    def event(self, content: Json) -> None:
        """Add this to what is shown."""
        ...

    def picture(self, picture: Picture) -> None:
        """Show a camera's picture."""
        ...


class WebFeed:
    """A viewer that makes the web page's messages; of what it is too slow for, only the newest is kept.

    Args:
        source: the live graph or a recording.
        audience: whom to tell.
        namespace: of our nodes, e.g. "alpamayo".
        rig: which topics are cameras and odometry; None looks for the usual names in the namespace.
    """

    def __init__(
        self, source: Source, audience: Audience, *, namespace: str = "alpamayo", rig: Rig | None = None
    ) -> None:
        self._source = source
        self._audience = audience
        self._prefix = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"
        self._rig = rig
        self._lock = threading.Lock()
        self._topics: dict[str, Topic] = {}
        self._roles: dict[str, tuple[str, Any]] = {}
        self._active = False
        self._numbers = 0
        self._problems: Counter[str] = Counter()
        self.last_problem = ""
        self.thoughts: deque[Json] = deque(maxlen=HISTORY)
        self._states: dict[str, Json] = {}
        self._diagnostics: dict[str, Any] = {}
        self._diagnosed_s = 0.0
        self._shared: Counter[str] = Counter()
        self._cameras: tuple[str, ...] = ()
        self._painter = PlanPainter(rig_frame=rig.rig_frame if rig is not None else "base_link")
        self._status_names: dict[int, str] | None = None
        self._inbox = Mailbox(max_events=_WAITING)
        self._thread = threading.Thread(target=self._run, name="web feed", daemon=True)
        self._thread.start()
        source.attach(self)

    @property
    def problems(self) -> dict[str, int]:
        """Topic -> messages that could not be shown."""
        with self._lock:
            return dict(self._problems)

    @property
    def skipped(self) -> int:
        """Messages that a newer one replaced before there was time for them."""
        return self._inbox.replaced + self._inbox.dropped

    def snapshot(self) -> list[Json]:
        """Return what a page that opens now is to know."""
        with self._lock:
            states, thoughts = list(self._states.values()), list(self.thoughts)
        return [*states, {"kind": "thoughts", "items": thoughts}]

    def watched(self, anybody: bool) -> None:
        """Say whether anybody looks; topics are asked for only then."""
        with self._lock:
            self._active = anybody
        self._ask()

    def close(self) -> None:
        """End the thread."""
        self._inbox.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # What the source calls.

    def topics_changed(self, topics: Mapping[str, Topic]) -> None:
        """Choose what to show of these."""
        roles = self._choose(topics)
        cameras = tuple(_in_order({what for role, what in roles.values() if role == "overlay"}))
        cameras = cameras or tuple(c.name for c in self._raw_cameras(topics))
        with self._lock:
            self._topics, self._roles = dict(topics), roles
        if cameras != self._cameras:
            self._cameras = cameras
            self._tell("cameras", {"kind": "cameras", "names": list(cameras)})
        self._ask()

    def message(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Have a message wait for the thread."""
        role = self._roles.get(topic)
        if role is None:
            return
        if role[0] == "plan":
            self._inbox.put_event((topic, stamp_ns, data))
        elif role[0] in _SHARED:  # several nodes publish parts of what there is: the newest few are kept
            self._shared[topic] += 1
            place = self._shared[topic] % _SHARED[role[0]]
            self._inbox.put_state(f"{topic} {place}", (topic, stamp_ns, data))
        else:
            self._inbox.put_state(topic, (topic, stamp_ns, data))

    def time_is(self, stamp_ns: int) -> None:
        """Nothing: the page goes by the messages' stamps."""

    def jumped(self) -> None:
        """Forget what was shown."""
        self._inbox.clear()
        self._inbox.put_event(_JUMP)

    # How topics are chosen.

    def _choose(self, topics: Mapping[str, Topic]) -> dict[str, tuple[str, Any]]:
        """Return topic -> its role, and what of."""
        names = {
            "plan": (PLAN_TYPE, "plan"),
            "odometry": ("nav_msgs/msg/Odometry", "pose"),
            "sim/map": ("visualization_msgs/msg/MarkerArray", "map"),
            "sim/actors": ("visualization_msgs/msg/MarkerArray", "actors"),
        }
        wanted = {self._prefix + name: told for name, told in names.items()}
        wanted["/diagnostics"] = ("diagnostic_msgs/msg/DiagnosticArray", "diagnostics")
        if self._rig is not None:
            wanted.pop(f"{self._prefix}odometry")
            wanted[self._absolute(self._rig.odometry_topic)] = ("nav_msgs/msg/Odometry", "pose")
        roles: dict[str, tuple[str, Any]] = {
            name: (role, None)
            for name, (kind, role) in wanted.items()
            if name in topics and topics[name].type_name == kind
        }
        overlays = f"{self._prefix}overlay/"
        for name, topic in topics.items():
            if name.startswith(overlays) and topic.type_name == COMPRESSED_TYPE:
                roles[name] = ("overlay", name.removeprefix(overlays).partition("/")[0])
        if any(role == "overlay" for role, _ in roles.values()):
            return roles
        for camera in self._raw_cameras(topics):
            roles[camera.topic] = ("camera", camera)
            if camera.info_topic is not None:
                roles[camera.info_topic] = ("info", camera.name)
        if "/tf_static" in topics:
            roles["/tf_static"] = ("tf_static", None)
        return roles

    def _raw_cameras(self, topics: Mapping[str, Topic]) -> list[CameraConfig]:
        """Return the cameras that there are, with absolute topics."""
        found = []
        if self._rig is not None:
            for camera in self._rig.cameras:
                topic = self._absolute(camera.topic)
                info = None if camera.info_topic is None else self._absolute(camera.info_topic)
                kind = IMAGE_TYPE if camera.transport == "raw" else COMPRESSED_TYPE
                if topic in topics and topics[topic].type_name == kind:
                    found.append(_moved(camera, topic, info if info in topics else None))
        else:
            for number, name in enumerate(CAMERA_NAMES):
                base = f"{self._prefix}camera/{name}"
                info = f"{base}/camera_info"
                for topic, transport, kind in (
                    (f"{base}/image/compressed", "compressed", COMPRESSED_TYPE),
                    (f"{base}/image", "raw", IMAGE_TYPE),
                ):
                    if topic in topics and topics[topic].type_name == kind:
                        camera = CameraConfig(number, topic, transport=transport)
                        found.append(_moved(camera, topic, info if info in topics else None))
                        break
        order = _in_order({camera.name for camera in found})
        return sorted(found, key=lambda camera: order.index(camera.name))

    def _absolute(self, topic: str) -> str:
        return topic if topic.startswith("/") else self._prefix + topic

    def _ask(self) -> None:
        with self._lock:
            wanted = set(self._roles) if self._active else set()
        self._source.want(wanted)

    # What the thread does.

    def _run(self) -> None:
        while True:
            item = self._inbox.wait()
            if item is None:
                return
            if item is _JUMP:
                self._forget()
                continue
            topic, received_ns, data = item
            try:
                self._show(topic, received_ns, data)
            except Exception as error:  # whatever damaged bytes lead the decoder to; the page goes on
                with self._lock:
                    self._problems[topic] += 1
                    self.last_problem = f"{topic}: {error}"

    def _forget(self) -> None:
        with self._lock:
            self.thoughts.clear()
            for key in ("plan", "pose", "actors"):
                self._states.pop(key, None)
        self._painter.forget()
        self._audience.event({"kind": "jump"})

    def _show(self, topic: str, received_ns: int, data: bytes) -> None:
        with self._lock:
            known, role = self._topics.get(topic), self._roles.get(topic)
        if known is None or role is None:  # gone meanwhile
            return
        content: Any = self._source.typestore.deserialize_cdr(data, known.type_name)
        kind, of = role
        if kind == "plan":
            self._plan(topic, received_ns, content)
        elif kind == "pose":
            self._painter.pose(stamp_ns(content.header.stamp), pose_matrix(content.pose.pose))
            self._tell("pose", pose_json(content))
        elif kind in ("map", "actors"):
            self._tell(kind, markers_json(kind, content))
        elif kind == "diagnostics":
            self._diagnostics.update({str(s.name): s for s in content.status})
            if time.monotonic() - self._diagnosed_s >= _DIAGNOSTICS_S:  # the next report tells the rest
                self._diagnosed_s = time.monotonic()
                self._tell("diagnostics", diagnostics_json(self._diagnostics))
        elif kind == "overlay":
            self._audience.picture(as_it_is(of, content))
        elif kind == "camera":
            self._take_pose()
            self._audience.picture(self._painter.picture(of, content))
        elif kind == "info":
            self._painter.info(of, content)
        elif kind == "tf_static":
            self._painter.transforms(content)

    def _take_pose(self) -> None:
        """Take the newest odometry out of turn: the plan is painted as seen from there."""
        with self._lock:
            topics = [topic for topic, (role, _) in self._roles.items() if role == "pose"]
        for topic in topics:
            waiting = self._inbox.take_state(topic)
            if waiting is not None:
                self._show(*waiting)

    def _plan(self, topic: str, received_ns: int, content: Any) -> None:
        if self._status_names is None:
            self._status_names = plan_status_names(self._source.typestore)
        plan = plan_record(content, topic=topic, received_ns=received_ns, status_names=self._status_names)
        self._painter.plan(plan)
        self._tell("plan", plan_json(plan, engaged=bool(getattr(content, "engaged", False))))
        thought = thought_json(plan, meta_action=str(content.meta_action))
        with self._lock:
            self._numbers += 1
            thought["number"] = self._numbers
            self.thoughts.append(thought)
        self._audience.event(thought)

    def _tell(self, key: str, content: Json) -> None:
        with self._lock:
            self._states[key] = content
        self._audience.state(key, content)


def _moved(camera: CameraConfig, topic: str, info_topic: str | None) -> CameraConfig:
    """Return a camera with other topics."""
    return replace(camera, topic=topic, info_topic=info_topic, model_camera=None)


def _in_order(names: set[str]) -> list[str]:
    """Return camera names as one looks around: the usual four from left to right, then the others."""
    first = [name for name in _LEFT_TO_RIGHT if name in names]
    return first + sorted(names - set(first))
