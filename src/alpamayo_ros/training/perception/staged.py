"""Staged instants: a scene's own road and bodies, but who stands where is drawn anew each time.

An instant of a drive is like the one before it, and a drive has a handful of road users: a tower that learns
to see from drives knows hundreds of scenes by heart and sees little in others. What costs is to build a
scene; to draw its road users about the ego again costs nothing. So each instant puts the ego somewhere on its
route, off its lane's centre by a little, and whoever can move into its lane, into others, across, or nowhere.
That nobody would drive so does not matter: what is learned is where things are (domain randomisation, Tobin
et al., arXiv 1703.06907).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from alpamayo_ros.sim.attached_driver import VehicleCameras
from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, ActorSpec
from alpamayo_ros.sim.scenes.assembly import box_on_ground
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.training.perception.samples import Sight
from alpamayo_ros.training.perception.surroundings import SceneReader
from alpamayo_ros.training.simulate import PictureSettings, resize_frame, road_users_in_rig

_DRIVE_S = 20.0
_ROUTE_MARGINS_M = (25.0, 170.0)
"""What a RouteFrame draws out beyond the route's ends, and a little."""
_OFF_CENTRE_M, _MOST_OFF_CENTRE_M = 0.5, 1.6
_OFF_HEADING_RAD, _MOST_OFF_HEADING_RAD = 0.04, 0.15
_AHEAD_M = (2.0, 68.0)
_ABOUT_M = 75.0
_APART_M = 0.6
_FRONT_M = EGO_BOX_IN_RIG_M[0] + 2.5
_LEADERS, _WALKERS = (0.4, 0.35, 0.25), (0.5, 0.35, 0.15)
"""How likely none, one or two vehicles stand in the ego's lane ahead, and how many people are about."""
_ELSEWHERE = 0.5
"""Of the other vehicles those that stand in another lane or beside one; the rest isn't there."""


class Stage:
    """Draws instants of one procedural scene.

    Args:
        scene_id: the scene's.

    Raises:
        InvalidInput: for a scene that is none of ours, or one without a map.
    """

    def __init__(self, scene_id: str) -> None:
        self._reader = SceneReader(scene_id)
        self._scene, self._frame = self._reader.scene, self._reader.frame
        assert self._scene.road is not None
        lanes = self._scene.road.lanes
        self._lane_xy = np.concatenate([lane.centre[:, :2] for lane in lanes])
        self._lane_yaw = np.concatenate([_headings(lane.centre[:, :2]) for lane in lanes])
        self._static = tuple(
            ActorState(name, spec.kind, spec.size_xyz_m, spec.track.local_from_box[0], 0.0, is_static=True)
            for name, spec in self._scene.actors.items()
            if spec.is_static
        )
        self._movers = {name: spec for name, spec in self._scene.actors.items() if not spec.is_static}

    def sights(
        self,
        cameras: Callable[[], VehicleCameras],
        settings: PictureSettings,
        *,
        count: int,
        rng: np.random.Generator,
    ) -> list[Sight]:
        """Return instants, their pictures at the size that `settings` stores.

        Args:
            cameras: makes cameras of this scene; asked for each instant, as nothing moves while a shutter is
                open.
            settings: of the pictures.
            count: how many.
            rng: draws them.

        Raises:
            ServiceError, RenderError: where pictures do not come.
        """
        found = []
        for _ in range(count):
            ego, actors = self.draw(rng)
            images = cameras().render(ego, actors, camera_ids=settings.camera_ids)
            frames = np.stack(
                [
                    resize_frame(decode_rgb(images[i]), height=settings.height, width=settings.width)
                    for i in settings.camera_ids
                ]
            )
            users = road_users_in_rig(ego, actors)
            about = self._reader.read_at(ego.local_from_rig, users, time_us=ego.time_us)
            found.append(Sight(frames, about))
        return found

    def draw(self, rng: np.random.Generator) -> tuple[EgoState, tuple[ActorState, ...]]:
        """Return an ego on the route and who is about, those included that never move."""
        frame, terrain = self._frame, self._scene.terrain
        before_m, behind_m = _ROUTE_MARGINS_M
        s = float(rng.uniform(before_m, max(before_m + 1.0, float(frame.s_m[-1]) - behind_m)))
        off = float(np.clip(rng.normal(0.0, _OFF_CENTRE_M), -_MOST_OFF_CENTRE_M, _MOST_OFF_CENTRE_M))
        turn = rng.normal(0.0, _OFF_HEADING_RAD)
        yaw = float(frame.at(frame.yaw_rad, s)) + float(
            np.clip(turn, -_MOST_OFF_HEADING_RAD, _MOST_OFF_HEADING_RAD)
        )
        x, y = frame.to_xy(np.array(s), np.array(off))
        time_us = self._scene.start_us + int(rng.uniform(0.0, _DRIVE_S) * 1e6)
        ego = EgoState(time_us, terrain.pose_on_ground(float(x), float(y), yaw))
        # Circles stand for bodies: the ego's own, then all that are placed, none in another's.
        taken = [(ego.local_from_box[:2, 3], 2.6)]
        taken += [(actor.xy_m, max(actor.size_xyz_m[:2]) / 2) for actor in self._static]
        actors = list(self._static)
        names = list(self._movers)
        rng.shuffle(names)
        leaders, walkers = int(rng.choice(3, p=_LEADERS)), int(rng.choice(3, p=_WALKERS))
        for name in names:
            spec = self._movers[name]
            if spec.kind in ("pedestrian", "cyclist"):
                walkers -= 1
                place = self._beside_the_way(spec, s, rng) if walkers >= 0 else None
            else:
                leaders -= 1
                place = self._in_lane(spec, s, rng) if leaders >= 0 else self._elsewhere(ego.xy_m, rng)
            if place is None or not _free(place, spec, taken):
                continue
            taken.append((place[:2], max(spec.size_xyz_m[:2]) / 2))
            pose = box_on_ground(terrain, place.tolist(), spec.size_xyz_m[2])
            speed = 0.0 if rng.random() < 0.4 else float(rng.uniform(1.0, 15.0))
            actors.append(ActorState(name, spec.kind, spec.size_xyz_m, pose, speed))
        return ego, tuple(actors)

    def _beside_the_way(self, spec: ActorSpec, s: float, rng: np.random.Generator) -> Float64Array:
        """Return x, y, yaw in local near the route, ahead of an ego at s."""
        at = s + rng.uniform(4.0, 50.0)
        yaw = rng.uniform(-np.pi, np.pi)
        if spec.kind == "cyclist" and rng.random() < 0.7:
            yaw = float(self._frame.at(self._frame.yaw_rad, at)) + rng.normal(0.0, 0.1)
        return np.array([*self._frame.to_xy(np.array(at), np.array(rng.uniform(-8.0, 8.0))), yaw])

    def _in_lane(self, spec: ActorSpec, s: float, rng: np.random.Generator) -> Float64Array:
        """Return x, y, yaw in local on the route, ahead of an ego at s."""
        at = s + _FRONT_M + spec.size_xyz_m[0] / 2 + _gap_m(rng)
        xy = self._frame.to_xy(np.array(at), np.array(rng.normal(0.0, 0.4)))
        return np.array([*xy, float(self._frame.at(self._frame.yaw_rad, at)) + rng.normal(0.0, 0.06)])

    def _elsewhere(self, ego_xy: Float64Array, rng: np.random.Generator) -> Float64Array | None:
        """Return x, y, yaw in local in or beside any lane, None for nowhere."""
        near = np.flatnonzero(np.linalg.norm(self._lane_xy - ego_xy, axis=1) < _ABOUT_M)
        if rng.random() > _ELSEWHERE or not len(near):
            return None
        chosen = int(rng.choice(near))
        yaw = float(self._lane_yaw[chosen]) + rng.normal(0.0, 0.1)
        if rng.random() < 0.1:
            yaw += rng.uniform(-np.pi, np.pi)
        return np.array([*(self._lane_xy[chosen] + rng.normal(0.0, 0.7, 2)), yaw])


def _gap_m(rng: np.random.Generator) -> float:
    """Return a gap to a leader, m: near ones oftener, as they are what counts."""
    near, far = _AHEAD_M
    return float(near + (far - near) * rng.random() ** 1.5)


def _free(place: Float64Array, spec: ActorSpec, taken: Sequence[tuple[Float64Array, float]]) -> bool:
    radius = max(spec.size_xyz_m[:2]) / 2
    return all(
        float(np.linalg.norm(place[:2] - xy)) > radius * 0.8 + other * 0.8 + _APART_M for xy, other in taken
    )


def _headings(points: Float64Array) -> Float64Array:
    steps = np.gradient(points, axis=0)
    return np.asarray(np.arctan2(steps[:, 1], steps[:, 0]))
