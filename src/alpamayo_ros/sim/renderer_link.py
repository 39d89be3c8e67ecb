"""What a driven simulation needs of its renderer: scenes and their worlds, cameras, pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Protocol

from alpamayo_ros.sim.asl_log import RenderExchange
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.images import SceneCameras, movers_of
from alpamayo_ros.sim.protocol.channel import CallPolicy, ClientTls, Connection, ServiceError
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera, RenderError, RendererVersion, SensorsimClient
from alpamayo_ros.sim.recorded_world import RecordedWorld, recorded_scene
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.renderer_connection import open_connection
from alpamayo_ros.sim.scenarios import parse_scenarios
from alpamayo_ros.sim.scene import Scene, family_and_seed
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.usdz import RecordedScene, read_usdz
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput, camera_name

RENDERER_ERRORS: tuple[type[Exception], ...] = (ServiceError, RenderError, RendererUnavailable)
"""What a renderer can do to its user, beside refusing input."""

_SHOWN_SCENES = 5
_ANSWER_S = 2.0

_log = logging.getLogger(__name__)


class LinkSettings(Protocol):
    """What is to be linked; ros/sim_parameters.py says what each means."""

    @property
    def renderer(self) -> str: ...
    @property
    def world(self) -> str: ...
    @property
    def usdz(self) -> str: ...
    @property
    def image_width(self) -> int: ...
    @property
    def image_height(self) -> int: ...
    @property
    def out(self) -> str: ...
    @property
    def render_timeout_s(self) -> float: ...
    @property
    def renderer_timeout_s(self) -> float: ...


@contextmanager
def link_to_renderer(
    settings: LinkSettings, *, tls: ClientTls | None = None, warn: Callable[[str], None] = _log.warning
) -> Iterator[RendererLink]:
    """Yield a link to the renderer that the settings name; an empty name starts one of our own.

    The first question waits `renderer_timeout_s` for an answer; so does any later one for a renderer that is
    gone, which may be started anew at its address meanwhile.

    Args:
        settings: what to link.
        tls: to encrypt; None is plain.
        warn: told, from any thread, what is worth knowing and no error.

    Raises:
        InvalidInput: for what is no address, or a .usdz that cannot be read.
        RendererUnavailable: if one of our own does not start.
    """
    usdz = read_usdz(settings.usdz) if settings.usdz else None
    policy = CallPolicy(connect_timeout_s=settings.renderer_timeout_s)
    with open_connection(settings.renderer, policy=policy, tls=tls, warn=warn) as connection:
        yield RendererLink(connection, settings, usdz=usdz, warn=warn)


class RendererLink:
    """Asks one renderer; every question may raise one of RENDERER_ERRORS, too.

    Args:
        connection: to it.
        settings: what to ask for.
        usdz: the recording that it shows, where its file is known.
        warn: told what is worth knowing and no error.
    """

    def __init__(
        self,
        connection: Connection,
        settings: LinkSettings,
        *,
        usdz: RecordedScene | None = None,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self._connection, self._settings, self._usdz = connection, settings, usdz
        self._client = SensorsimClient(connection, warn=warn)
        self._scenes: dict[str, Scene] = {}

    def cancel(self) -> None:
        """End what is being asked, at once: it raises ServiceError, and so does what is asked later."""
        self._connection.cancel()

    @cached_property
    def version(self) -> RendererVersion:
        """What the renderer says of itself; the first question, and so the one that finds nobody there."""
        # An absent renderer is told from one that does not answer only once it was waited for.
        return self._client.version(deadline_s=self._settings.renderer_timeout_s + _ANSWER_S)

    @property
    def description(self) -> str:
        """Who renders, for people."""
        version = self.version
        whose = "ours" if version.is_ours else "foreign"
        started = "" if self._settings.renderer else ", started here"
        return f"{version.version_id or 'unnamed'} at {self._connection.address} ({whose}{started})"

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        return self._client.scene_ids()

    def scene_ids(self, scenarios: str) -> tuple[str, ...]:
        """Return the scenes that a text asks for: as in scenarios.py of procedural ones, else ids by comma.

        Raises:
            InvalidInput: for what is neither.
        """
        scene_ids: dict[str, None] = {}
        for part in (each.strip() for each in scenarios.split(",")):
            if self._knows_seeds and part not in self._listed:
                scene_ids.update(dict.fromkeys(parse_scenarios(part)))
            elif part == "all":
                scene_ids.update(dict.fromkeys(self._listed))
            elif part in self._listed:
                scene_ids[part] = None
            else:
                raise InvalidInput(
                    f"scenarios: expected all or the renderer's scenes ({self._some_scenes()}), got {part!r}"
                )
        return tuple(scene_ids)

    def _some_scenes(self) -> str:
        more = len(self._listed) - _SHOWN_SCENES
        shown = ", ".join(self._listed[:_SHOWN_SCENES]) or "none"
        return f"{shown} and {more} more" if more > 0 else shown

    @property
    def _knows_seeds(self) -> bool:
        """Whether the renderer serves procedural scenes."""
        return self.version.is_ours or self._settings.world == "procedural"

    @property
    def _drives_ours(self) -> bool:
        """Whether the worlds are procedural where the scenes are."""
        if self._settings.world == "auto":
            return self.version.is_ours and self._usdz is None
        return self._settings.world == "procedural"

    def world(self, scene_id: str) -> ProceduralWorld | RecordedWorld:
        """Return a new world of a scene: the procedural one that a renderer of ours draws, or a recorded one.

        Raises:
            InvalidInput: for a scene that cannot be driven (no drive, one too short), or not the .usdz'.
        """
        world = (
            ProceduralWorld(make_scene(scene_id))
            if self._drives_ours and _is_procedural(scene_id)
            else RecordedWorld(self._recorded(scene_id))
        )
        self._scenes[scene_id] = world.scene
        return world

    def _recorded(self, scene_id: str) -> Scene:
        usdz = self._usdz
        if usdz is not None:
            if usdz.scene_id != scene_id:
                raise InvalidInput(f"usdz: expected the file of scene {scene_id!r}, got {usdz.scene_id!r}'s")
            return recorded_scene(
                scene_id,
                usdz.stamps_us,
                usdz.local_from_rig,
                actors=usdz.actors,
                start_us=usdz.first_frame_us,
            )
        drives = self._client.trajectories(scene_id)
        if not drives:
            raise InvalidInput(f"scene {scene_id}: expected a recorded drive from the renderer, got none")
        stamps_us, local_from_rig = drives[0]
        return recorded_scene(scene_id, stamps_us, local_from_rig)

    def cameras(self, scene_id: str, camera_ids: Sequence[int]) -> dict[int, AvailableCamera]:
        """Return a scene's cameras by Alpamayo's camera ids; raises InvalidInput for one that it lacks."""
        names = [LOGICAL_IDS[camera_id] for camera_id in camera_ids]
        cameras = self._client.cameras(scene_id, names)
        return {camera_id: cameras[LOGICAL_IDS[camera_id]] for camera_id in camera_ids}

    def images(
        self,
        scene_id: str,
        cameras: Mapping[int, AvailableCamera],
        *,
        warn: Callable[[str], None] = _log.warning,
    ) -> LinkImages:
        """Return the source of a rollout's pictures.

        Args:
            scene_id: of a scene whose world was asked for before.
            cameras: from `cameras`.
            warn: told once of a size that was not asked for, and of windshields.
        """
        bent = [camera_name(camera_id) for camera_id, camera in cameras.items() if camera.has_windshield]
        if bent:
            warn(f"renderer: {', '.join(bent)}: there is a windshield; camera_info tells of the lens alone")
        source = SceneCameras(
            self._client,
            scene_id,
            width=self._settings.image_width,
            height=self._settings.image_height,
            cameras={camera.logical_id: camera for camera in cameras.values()},
            movers=movers_of(self._scenes[scene_id]),
            deadline_s=self._settings.render_timeout_s,
            keep=bool(self._settings.out),
            warn=warn,
        )
        return LinkImages(source, tuple(cameras))


class LinkImages:
    """Pictures of one rollout; made by RendererLink.images."""

    def __init__(self, source: SceneCameras, camera_ids: tuple[int, ...]) -> None:
        self._source, self._camera_ids = source, camera_ids

    @property
    def exchanges(self) -> list[RenderExchange]:
        """What was asked and answered, where results are kept."""
        return self._source.exchanges

    @property
    def sizes(self) -> Mapping[int, tuple[int, int]]:
        """(width, height) of the pictures that came, by camera id; empty before the first."""
        return self._source.sizes

    def render(self, time_us: int, ego: EgoState, actors: Sequence[ActorState]) -> dict[int, bytes]:
        """Return one encoded picture a camera, by camera id.

        Raises:
            InvalidInput: for an ego of another time.
            RenderError, ServiceError: where the renderer fails or does not answer in time.
        """
        if ego.time_us != time_us:
            raise InvalidInput(f"images: expected the ego at {time_us} us, got it at {ego.time_us} us")
        return self._source.render(ego, actors, camera_ids=self._camera_ids)


def _is_procedural(scene_id: str) -> bool:
    try:
        family_and_seed(scene_id)
    except InvalidInput:
        return False
    return True
