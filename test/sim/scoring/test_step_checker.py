"""Shapes, and the checks of single steps."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from score_factory import straight_road, straight_scene

from alpamayo_ros.sim.roads import Lane, RoadNetwork, Surface
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M
from alpamayo_ros.sim.scoring.events import Collision, StepChecker
from alpamayo_ros.sim.scoring.lanes import lane_map
from alpamayo_ros.sim.scoring.shapes import box_shape
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.types import InvalidInput


def box_pose(x_m: float, y_m: float, yaw_rad: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    pose[:2, 3] = x_m, y_m
    return pose


def ego_at(x_m: float, y_m: float, yaw_rad: float = 0.0) -> EgoState:
    """Return the ego with the centre of its box there."""
    pose = box_pose(x_m, y_m, yaw_rad)
    pose[:3, 3] -= pose[:3, :3] @ np.array(EGO_BOX_IN_RIG_M)
    return EgoState(0, pose)


def other(actor_id: str, x_m: float, y_m: float, yaw_rad: float = 0.0) -> ActorState:
    return ActorState(actor_id, "car", (4.0, 2.0, 1.5), box_pose(x_m, y_m, yaw_rad), 0.0)


def test_shape_is_shrunk_and_rounded() -> None:
    shape = box_shape(5.0, 2.0)
    polygon = shape.at(0.0, 0.0, 0.0)
    assert polygon.bounds == pytest.approx((-2.45, -0.98, 2.45, 0.98), abs=1e-9)
    radius = 0.49
    assert polygon.area == pytest.approx(4.9 * 1.96 - (4 - np.pi) * radius**2, abs=2e-3)
    # The arc's middle lies where a quarter circle around (length / 2 - r, width / 2 - r) has it.
    corner = shapely.Point(2.45 - radius + radius / np.sqrt(2), 0.98 - radius + radius / np.sqrt(2))
    assert polygon.exterior.distance(corner) < 1e-3
    assert shape.reach_m < np.hypot(2.45, 0.98)


def test_shape_moves_with_its_pose() -> None:
    shape = box_shape(5.0, 2.0)
    turned = shape.at(10.0, 20.0, np.pi / 2)
    assert turned.bounds == pytest.approx((10 - 0.98, 20 - 2.45, 10 + 0.98, 20 + 2.45), abs=1e-9)
    front = shape.front_at(10.0, 20.0, np.pi / 2)
    assert front.bounds[1] == pytest.approx(20 + 2.45 - 0.49, abs=1e-3)
    rows = np.array([[10.0, 20.0, np.pi / 2], [np.nan, 0.0, 0.0]])
    first, second = shape.along(rows)
    assert first.equals_exact(turned, 1e-9)
    assert second is None


@pytest.mark.parametrize("size", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0)])
def test_shapes_without_size_are_refused(size: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="expected a positive length and width"):
        box_shape(*size)


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (other("front", 4.3, 0.0), "front"),
        (other("rear", -4.3, 0.0), "rear"),
        (other("side", 0.0, 1.9), "lateral"),
        (other("corner", 4.2, 1.2), "front"),
        (other("clear", 4.6, 0.0), None),
        (other("beside", 0.0, 2.0), None),
    ],
)
def test_collisions_are_told_apart(actor: ActorState, expected: str | None) -> None:
    found = StepChecker(straight_scene(straight_road())).collision(
        ego_at(0.0, 0.0), [other("far", 50.0, 0.0), actor]
    )
    assert found == (expected and Collision(actor.actor_id, expected))
    if found:
        assert found.at_fault == (expected != "rear")


def test_the_worst_collision_is_named() -> None:
    checker = StepChecker(straight_scene(straight_road()))
    rear, side, front = other("r", -4.3, 0.0), other("s", 0.0, 1.9), other("f", 4.3, 0.0)
    assert checker.collision(ego_at(0.0, 0.0), [rear, side]) == Collision("s", "lateral")
    assert checker.collision(ego_at(0.0, 0.0), [rear, side, front]) == Collision("f", "front")


def road(surfaces: tuple[Surface, ...] = (), *, edges: bool = True) -> RoadNetwork:
    """Return two lanes to the east, y 0 … 3.5 and 3.5 … 7, kerbs at y -1 and 8."""

    def line(y_m: float) -> np.ndarray:
        return np.array([[-100.0, y_m, 0.0], [100.0, y_m, 0.0]])

    lanes = (
        Lane("right", line(1.75), line(3.5), line(0.0), 14.0),
        Lane("left", line(5.25), line(7.0), line(3.5), 14.0),
    )
    return RoadNetwork(lanes, (line(-1.0), line(8.0)) if edges else (), surfaces)


def strict(network: RoadNetwork, y_m: float, yaw_rad: float = 0.0) -> bool:
    return lane_map(network).strictly_off_road(box_shape(5.0, 2.0).at(0.0, y_m, yaw_rad))


def rectangle(y_min: float, y_max: float) -> np.ndarray:
    return np.array([[-100.0, y_min], [100.0, y_min], [100.0, y_max], [-100.0, y_max]])


@pytest.mark.parametrize("y_m", [1.0, 1.75, 3.5, 5.25, 6.0])
def test_in_lane_and_across_lanes_is_on_the_road_by_any_map(y_m: float) -> None:
    paved = (Surface("sidewalk", rectangle(-3.0, 10.0)), Surface("road", rectangle(-1.0, 8.0)))
    for network in (road(), road(paved), road(edges=False)):
        assert not strict(network, y_m)


@pytest.mark.parametrize(
    ("y_m", "off"), [(0.97, False), (0.5, False), (0.03, False), (-0.1, True), (-1.0, True), (-5.0, True)]
)
def test_the_kerb_is_the_border_with_and_without_surfaces(y_m: float, off: bool) -> None:
    """The right side of the shape is 0.98 m right of its centre, the kerb at -1, the margin 5 cm."""
    paved = (Surface("sidewalk", rectangle(-3.0, 10.0)), Surface("road", rectangle(-1.0, 8.0)))
    assert strict(road(paved), y_m) == off
    assert strict(road(), y_m) == off


def test_without_edges_the_lanes_are_the_border() -> None:
    assert not strict(road(edges=False), 0.95)
    assert strict(road(edges=False), 0.9)


def test_what_is_laid_over_the_road_is_not_road() -> None:
    island = Surface("island", np.array([[-10.0, -1.0], [10.0, -1.0], [10.0, -0.2], [-10.0, -0.2]]))
    paved = (Surface("road", rectangle(-1.0, 8.0)), island)
    assert strict(road(paved), 0.5)
    assert not strict(road(paved), 0.9)


def test_parking_is_drivable_and_dirt_is_not() -> None:
    ground = (Surface("dirt", rectangle(-20.0, 20.0)), Surface("road", rectangle(0.0, 7.0)))
    assert strict(road(ground), 0.5)
    assert not strict(road((*ground, Surface("parking", rectangle(-2.5, 0.0)))), -1.0)


def test_a_lane_that_is_neither_paved_nor_an_edge_is_still_drivable() -> None:
    assert not strict(road((Surface("road", rectangle(3.5, 7.0)),)), 1.75)


def test_off_road_of_the_ego_and_of_scenes_without_a_map() -> None:
    checker = StepChecker(straight_scene(straight_road()))
    assert not checker.off_road(ego_at(0.0, -1.75))
    assert checker.off_road(ego_at(0.0, -30.0))
    assert not StepChecker(straight_scene(None)).off_road(ego_at(0.0, -30.0))
