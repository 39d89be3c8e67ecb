"""The simulated world for RViz and Foxglove: actors and lights as they are now, the map once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.ros.conversions import duration_from_ns, pose_from_matrix, stamp_from_ns
from alpamayo_ros.ros.sim_messages import NS_PER_US, ODOMETRY_FRAME
from alpamayo_ros.sim.roads import Float64Array, RoadNetwork
from alpamayo_ros.sim.scene import Scene
from alpamayo_ros.sim.state import ActorState, EgoState

if TYPE_CHECKING:
    from geometry_msgs.msg import Point
    from std_msgs.msg import ColorRGBA
    from visualization_msgs.msg import Marker, MarkerArray

Colour = tuple[float, float, float, float]

_LIFETIME_NS = 1_000_000_000
_ACTOR_COLOURS: dict[str, Colour] = {
    "car": (0.35, 0.55, 0.95, 0.9),
    "van": (0.30, 0.75, 0.85, 0.9),
    "truck": (0.55, 0.45, 0.85, 0.9),
    "pedestrian": (0.95, 0.75, 0.20, 0.95),
    "cyclist": (0.95, 0.55, 0.20, 0.95),
    "cone": (1.00, 0.40, 0.05, 1.0),
}
_LIGHT_COLOURS: dict[str, Colour] = {
    "green": (0.1, 0.9, 0.2, 1.0),
    "yellow": (1.0, 0.8, 0.1, 1.0),
    "red": (1.0, 0.1, 0.1, 1.0),
}
_EGO_COLOUR: Colour = (0.46, 0.73, 0.0, 0.6)


def actors_to_markers(actors: Sequence[ActorState], ego: EgoState, scene: Scene) -> MarkerArray:
    """Return boxes of the ego and all actors, and the lights' colours; they vanish after 1 s."""
    from visualization_msgs.msg import Marker, MarkerArray

    markers = [_box("ego", 0, ego.local_from_box, size=(5.0, 2.0, 1.5), colour=_EGO_COLOUR)]
    numbers = {actor_id: number for number, actor_id in enumerate(sorted(scene.actors))}
    for actor in actors:
        # Ids must stay with their actor while others come and go.
        number = numbers.setdefault(actor.actor_id, len(numbers))
        colour = _ACTOR_COLOURS[actor.kind]
        markers.append(_box("actors", number, actor.local_from_box, size=actor.size_xyz_m, colour=colour))
    if scene.road is not None:
        time_s = (ego.time_us - scene.start_us) / 1e6
        for number, light in enumerate(scene.road.lights):
            lamp = _marker("lights", number, Marker.SPHERE_LIST, _LIGHT_COLOURS[light.colour_at(time_s)])
            lamp.scale.x = lamp.scale.y = lamp.scale.z = 0.5
            lamp.points = _points(light.heads[:, :3])
            markers.append(lamp)
    stamp, lifetime = stamp_from_ns(ego.time_us * NS_PER_US), duration_from_ns(_LIFETIME_NS)
    for marker in markers:
        marker.header.stamp, marker.lifetime = stamp, lifetime
    return MarkerArray(markers=markers)


def map_to_markers(scene: Scene) -> MarkerArray:
    """Return the route and, where the map is known, lanes, edges, crossings and stop lines; for ever.

    The first marker removes whatever an earlier scene left behind.
    """
    from visualization_msgs.msg import Marker, MarkerArray

    markers = [Marker(action=Marker.DELETEALL)]
    markers[0].header.frame_id = ODOMETRY_FRAME
    markers.append(_lines("route", [scene.route], colour=(0.2, 0.8, 0.3, 0.6), width_m=0.4))
    road = scene.road
    if road is not None:
        centres = [lane.centre for lane in road.lanes]
        markers.append(_lines("lanes", centres, colour=(0.5, 0.5, 0.6, 0.5), width_m=0.08))
        markers.append(_lines("edges", road.edges, colour=(0.9, 0.9, 0.9, 1.0), width_m=0.15))
        markers.append(_lines("stop_lines", _stop_lines(road), colour=(1.0, 0.3, 0.3, 1.0), width_m=0.3))
        crossings = [_closed(scene, crosswalk.polygon) for crosswalk in road.crosswalks]
        markers.append(_lines("crosswalks", crossings, colour=(0.95, 0.95, 0.6, 0.9), width_m=0.12))
    stamp = stamp_from_ns(scene.start_us * NS_PER_US)
    for marker in markers:
        marker.header.stamp = stamp
    return MarkerArray(markers=[m for m in markers if m.action == Marker.DELETEALL or m.points])


def _stop_lines(road: RoadNetwork) -> list[Float64Array]:
    lights = [light.stop_line for light in road.lights]
    return [*lights, *(sign.stop_line for sign in road.stop_signs)]


def _closed(scene: Scene, polygon: Float64Array) -> Float64Array:
    return scene.terrain.on_ground(np.concatenate([polygon, polygon[:1]]))


def _marker(namespace: str, number: int, kind: int, colour: Colour) -> Marker:
    from visualization_msgs.msg import Marker

    marker = Marker(ns=namespace, id=number, type=kind, action=Marker.ADD, color=_colour(colour))
    marker.header.frame_id = ODOMETRY_FRAME
    marker.pose.orientation.w = 1.0
    return marker


def _box(
    namespace: str, number: int, pose: Float64Array, *, size: tuple[float, float, float], colour: Colour
) -> Marker:
    from visualization_msgs.msg import Marker

    marker = _marker(namespace, number, Marker.CUBE, colour)
    marker.pose = pose_from_matrix(pose)
    marker.scale.x, marker.scale.y, marker.scale.z = (float(v) for v in size)
    return marker


def _lines(namespace: str, lines: Iterable[Float64Array], *, colour: Colour, width_m: float) -> Marker:
    """Return polylines [N, 3] as one marker."""
    from visualization_msgs.msg import Marker

    marker = _marker(namespace, 0, Marker.LINE_LIST, colour)
    marker.scale.x = width_m
    pairs = [np.stack([line[:-1], line[1:]], axis=1).reshape(-1, line.shape[1]) for line in lines]
    marker.points = _points(np.concatenate(pairs)) if pairs else []
    return marker


def _points(xyz: Float64Array) -> list[Point]:
    from geometry_msgs.msg import Point

    return [Point(x=x, y=y, z=z) for x, y, z in xyz.tolist()]


def _colour(rgba: Colour) -> ColorRGBA:
    from std_msgs.msg import ColorRGBA

    r, g, b, a = rgba
    return ColorRGBA(r=r, g=g, b=b, a=a)
