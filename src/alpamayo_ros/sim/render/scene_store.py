"""Scenes that are ready to draw: made when first asked for, the least recently used freed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from alpamayo_ros.sim.cameras import SimCamera, default_cameras
from alpamayo_ros.sim.protocol.server import NotFound
from alpamayo_ros.sim.render.render_thread import RenderThread
from alpamayo_ros.sim.render.renderer import SceneRenderer
from alpamayo_ros.sim.scene import FAMILIES, Scene
from alpamayo_ros.types import InvalidInput

LISTED_SEEDS = 100


class UnknownScene(NotFound):
    """A scene id that is neither FAMILY-SEED nor a log's."""


@dataclass(frozen=True, eq=False)
class FixedScene:
    """A scene that does not come from a seed, with the cameras of its own."""

    scene: Scene
    cameras: tuple[SimCamera, ...]


@dataclass(eq=False)
class _Entry:
    ready: Future[SceneRenderer] = field(default_factory=Future)
    users: int = 0


class SceneStore:
    """Keeps at most `capacity` scenes on the GPU, more only while all of them are in use.

    Args:
        make_scene: scene id -> Scene; raises InvalidInput for an id that it does not know.
        fixed: scenes by id that come before those.
        capacity: at least 1.
    """

    def __init__(
        self,
        thread: RenderThread,
        make_scene: Callable[[str], Scene],
        *,
        fixed: Mapping[str, FixedScene] | None = None,
        capacity: int = 8,
    ) -> None:
        if capacity < 1:
            raise InvalidInput(f"cached scenes: expected at least 1, got {capacity}")
        self._thread, self._make, self._fixed = thread, make_scene, dict(fixed or {})
        self.capacity = capacity
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def listed_ids(self) -> list[str]:
        """The fixed scenes, and the first 100 seeds of each family."""
        procedural = [f"{family}-{seed}" for family in FAMILIES for seed in range(LISTED_SEEDS)]
        return [*self._fixed, *procedural]

    @property
    def loaded(self) -> dict[str, int]:
        """Scenes that are ready, and how many requests are using each."""
        with self._lock:
            return {
                scene_id: entry.users
                for scene_id, entry in self._entries.items()
                if entry.ready.done() and entry.ready.exception() is None
            }

    def scene(self, scene_id: str) -> Scene:
        """Return a scene; raises UnknownScene."""
        if scene_id in self._fixed:
            return self._fixed[scene_id].scene
        try:
            return self._make(scene_id)
        except InvalidInput as error:
            raise UnknownScene(f"scene_id: {error}") from error

    def cameras(self, scene_id: str) -> tuple[SimCamera, ...]:
        """Return a scene's cameras; raises UnknownScene."""
        if scene_id in self._fixed:
            return self._fixed[scene_id].cameras
        self.scene(scene_id)
        return default_cameras()

    @contextmanager
    def lease(self, scene_id: str) -> Iterator[SceneRenderer]:
        """Give a scene's renderer, which is not freed meanwhile; raises UnknownScene."""
        with self._lock:
            entry = self._entries.get(scene_id)
            mine = entry is None
            if entry is None:
                entry = self._entries[scene_id] = _Entry()
            entry.users += 1
            self._entries.move_to_end(scene_id)
        try:
            if mine:
                self._fill(scene_id, entry)
            yield entry.ready.result()
        finally:
            with self._lock:
                entry.users -= 1
            self._evict()

    def _fill(self, scene_id: str, entry: _Entry) -> None:
        try:
            entry.ready.set_result(SceneRenderer(self.scene(scene_id), self._thread))
        except BaseException as error:
            with self._lock:
                self._entries.pop(scene_id, None)
            entry.ready.set_exception(error)

    def _evict(self) -> None:
        idle: list[SceneRenderer] = []
        with self._lock:
            excess = len(self._entries) - self.capacity
            for scene_id in [i for i, e in self._entries.items() if e.users == 0][: max(excess, 0)]:
                entry = self._entries.pop(scene_id)
                if entry.ready.done() and entry.ready.exception() is None:
                    idle.append(entry.ready.result())
        for renderer in idle:
            renderer.release()
