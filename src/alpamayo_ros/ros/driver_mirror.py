"""Shows a driver's sessions on topics: each under `session_<8 hex>/`, and one of them under `watched/`.

The server's threads only leave what there is to show: everything is published from a thread of the mirror's
own, so that nobody who looks, or records, delays an answer.
"""

from __future__ import annotations

import math
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.node import Node

from alpamayo_ros.ros.driver_session_topics import SessionTopics, session_cameras
from alpamayo_ros.ros.qos import latched_qos, no_publisher_events, output_qos
from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import Guidance
from alpamayo_ros.sim.driver.settings import DriverSettings
from alpamayo_ros.sim.protocol.egodriver_messages import DriveSession, Egomotion

WATCHED = "watched"
_MOST_WAITING = {"image": 64, "other": 1024}


@dataclass(frozen=True, eq=False)
class _Job:
    kind: str
    work: Callable[[], None]


class DriverMirror:
    """A DriverWatcher (see sim/driver/events.py).

    Args:
        node: publishes.
        rig: the cameras that are used.
        settings: the driver's.
        images: whether to show images at all.

    Attributes:
        dropped: what was not shown as the mirror was behind, by kind: image, other.
        failures: how often publishing failed.
    """

    def __init__(self, node: Node, rig: Rig, settings: DriverSettings, *, images: bool = True) -> None:
        from tf2_msgs.msg import TFMessage

        self._node, self._rig, self._settings, self.shows_images = node, rig, settings, images
        self.dropped: Counter[str] = Counter()
        self.failures = 0
        quiet = no_publisher_events()
        self._tf = node.create_publisher(TFMessage, "/tf", output_qos(depth=100), event_callbacks=quiet)
        self._tf_static = node.create_publisher(TFMessage, "/tf_static", latched_qos(), event_callbacks=quiet)
        self.watched = self.topics(WATCHED)
        self._open: list[SessionMirror] = []
        self._watching: SessionMirror | None = None
        self._jobs: deque[_Job] = deque()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def topics(self, prefix: str) -> SessionTopics:
        """Return new topics under a prefix."""
        return SessionTopics(
            self._node,
            prefix,
            tf=self._tf,
            camera_ids=self._rig.camera_ids,
            max_plan_age_s=self._settings.max_plan_age_s,
        )

    def opened(self, session: DriveSession) -> SessionMirror:
        """Return what shows a session that has begun."""
        used = {i: n for i, n in self._settings.camera_ids().items() if n in self._rig.camera_ids}
        mirror = SessionMirror(self, session, *session_cameras(session, used))
        self.put(partial(self._begin, mirror), kind="kept")
        return mirror

    def put(self, work: Callable[[], None], *, kind: str = "other") -> None:
        """Have something published; where too much of a kind waits, its oldest is dropped and counted.

        Kinds are "image", "other", and "kept" for what is never dropped.
        """
        with self._changed:
            if self._ending:
                return
            if self._waiting[kind] >= _MOST_WAITING.get(kind, math.inf):
                self._drop_oldest(kind)
            self._jobs.append(_Job(kind, work))
            self._waiting[kind] += 1
            self._changed.notify()

    def waiting(self, kind: str) -> int:
        """Return how much waits to be published: "image", "other" or "kept"."""
        with self._changed:
            return self._waiting[kind]

    def close(self) -> None:
        """End: what waits is not published any more, and all topics vanish."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()
        for mirror in self._open:
            mirror.destroy()
        self._open.clear()
        self.watched.destroy()
        for publisher in (self._tf, self._tf_static):
            self._node.destroy_publisher(publisher)

    # The mirror's thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._ending:
                    self._changed.wait()
                if self._ending:
                    return
                job = self._jobs.popleft()
                self._waiting[job.kind] -= 1
            try:
                job.work()
            except Exception:
                self.failures += 1
                self._node.get_logger().error(f"mirror: {traceback.format_exc()}")

    def _begin(self, mirror: SessionMirror) -> None:
        names = {other.prefix for other in self._open}
        mirror.begin(self.topics(_free_name(mirror.session_uuid, names)))
        self._open.append(mirror)
        if len(self._open) == 1:
            self._watch(mirror)
        self._tell_mounts()

    def end(self, mirror: SessionMirror) -> None:
        """Take a session's topics off the graph, and watch the one that has been open for longest."""
        if mirror not in self._open:
            return
        self._open.remove(mirror)
        if self._watching is mirror:
            self._watching = None
        mirror.destroy()
        if self._watching is None and self._open:
            self._watch(self._open[0])
        self._tell_mounts()

    def _watch(self, mirror: SessionMirror) -> None:
        self._node.get_logger().info(f"{WATCHED}: {mirror.prefix}")
        self.watched.begin(mirror.lenses, mirror.mounts)
        self._watching = mirror

    def is_watched(self, mirror: SessionMirror) -> bool:
        """Return whether a session is the one under `watched/`."""
        return self._watching is mirror

    def _tell_mounts(self) -> None:
        """Say where all sessions' cameras sit: a late joiner gets the last message only."""
        from tf2_msgs.msg import TFMessage

        transforms: list[Any] = self.watched.static_transforms()
        for mirror in self._open:
            transforms += mirror.static_transforms()
        self._tf_static.publish(TFMessage(transforms=transforms))

    def _drop_oldest(self, kind: str) -> None:
        oldest = next(job for job in self._jobs if job.kind == kind)
        self._jobs.remove(oldest)
        self._waiting[kind] -= 1
        self.dropped[kind] += 1


class SessionMirror:
    """A SessionWatcher: what one session does, on topics of its own."""

    def __init__(
        self,
        mirror: DriverMirror,
        session: DriveSession,
        lenses: dict[int, CameraModel],
        mounts: dict[int, Matrix4],
    ) -> None:
        self.session_uuid, self.lenses, self.mounts = session.session_uuid, lenses, mounts
        self._mirror = mirror
        self._topics: SessionTopics | None = None

    @property
    def prefix(self) -> str:
        """Of its topics and frames; "" before there are any."""
        return "" if self._topics is None else self._topics.prefix

    # What the server's threads call.

    def frame(self, camera_id: int, stamp_us: int, image_bytes: bytes) -> None:
        """Show a picture, if anybody looks."""
        own, watched = self._topics, self._mirror.watched
        if not self._mirror.shows_images or own is None:
            return
        if own.looked_at(camera_id) or (self._mirror.is_watched(self) and watched.looked_at(camera_id)):
            self._show(lambda topics: topics.frame(camera_id, stamp_us, image_bytes), kind="image")

    def egomotion(self, egomotion: Egomotion) -> None:
        """Show where it is."""
        self._show(lambda topics: topics.egomotion(egomotion))

    def route(self, time_us: int, guidance: Guidance) -> None:
        """Show where it is to go."""
        self._show(lambda topics: topics.route(time_us, guidance))

    def driving(self, now_us: int) -> None:
        """Nothing of this is shown."""

    def drove(self, outcome: DriveOutcome) -> None:
        """Show an answer."""
        self._show(lambda topics: topics.drove(outcome))

    def close(self) -> None:
        """End, after all that came before."""
        self._mirror.put(partial(self._mirror.end, self), kind="kept")

    # What the mirror's thread calls.

    def begin(self, topics: SessionTopics) -> None:
        """Take the topics to show the session on."""
        topics.begin(self.lenses, self.mounts)
        self._topics = topics

    def static_transforms(self) -> list[Any]:
        """Return where its cameras sit."""
        return [] if self._topics is None else self._topics.static_transforms()

    def destroy(self) -> None:
        """Take its topics off the graph."""
        topics, self._topics = self._topics, None
        if topics is not None:
            topics.destroy()

    def _show(self, what: Callable[[SessionTopics], None], *, kind: str = "other") -> None:
        def work() -> None:
            if self._topics is None:
                return
            what(self._topics)
            if self._mirror.is_watched(self):
                what(self._mirror.watched)

        self._mirror.put(work, kind=kind)


def _free_name(session_uuid: str, taken: set[str]) -> str:
    """Return session_ and the first 8 digits of the uuid, and a number where another has these too."""
    name = f"session_{session_uuid.replace('-', '')[:8].lower()}"
    if name not in taken:
        return name
    return next(f"{name}_{n}" for n in range(2, len(taken) + 3) if f"{name}_{n}" not in taken)
