"""What stands beside the roads: buildings, trees, bushes, lamps, poles, signs; never on the drivable area."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import MultiPolygon, Point, Polygon
from shapely.prepared import prep

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import Prop, PropKind
from alpamayo_ros.sim.scenes.paths import Path
from alpamayo_ros.sim.scenes.roadmap import Street

if TYPE_CHECKING:
    from alpamayo_ros.sim.scenes.assembly import Draft

_MAX_PROPS = 480


class _Site:
    """Keeps what is put down apart from roads and from one another."""

    def __init__(self, area: Polygon | MultiPolygon, verge_m: float) -> None:
        self._road = prep(area)
        self._verge = prep(area.buffer(verge_m + 0.3, 4))
        self._placed: list[tuple[float, float, float]] = []

    def take(self, xy: Float64Array, radius_m: float, *, on_verge: bool = False) -> bool:
        """Take the place if it is free; what may stand on the verge only has to keep off the road."""
        point = Point(float(xy[0]), float(xy[1])).buffer(radius_m, 3)
        if (self._road if on_verge else self._verge).intersects(point):
            return False
        if self._placed:
            placed = np.array(self._placed)
            apart = np.hypot(placed[:, 0] - xy[0], placed[:, 1] - xy[1])
            if np.any(apart < placed[:, 2] + radius_m):
                return False
        self._placed.append((float(xy[0]), float(xy[1]), radius_m))
        return True


def decorate(draft: Draft, area: Polygon | MultiPolygon, route: Path) -> list[Prop]:
    """Return scenery along the streets of a draft, by its kind: "city", "suburb" or "country"."""
    rng = np.random.default_rng(draft.rng.integers(2**32))
    site = _Site(area, draft.verge_m)
    for prop in draft.props:
        site.take(np.array([prop.x_m, prop.y_m]), max(prop.size_xyz_m[:2]) / 2, on_verge=True)
    props: list[Prop] = []
    along = {"city": 3.5, "suburb": 4.5, "country": 6.0}[draft.scenery]
    for street in draft.builder.streets:
        props += _lamps(street, site, draft.scenery, draft.verge_m)
        props += _signs(street, site, draft.verge_m)
    for street in draft.builder.streets:
        props += _buildings(street, site, rng, draft.scenery, draft.verge_m)
    for street in draft.builder.streets:
        props += _greens(street, site, rng, draft.scenery, draft.verge_m, along)
    if len(props) > _MAX_PROPS:
        centre = route.xy
        distance = [float(np.min(np.hypot(centre[::20, 0] - p.x_m, centre[::20, 1] - p.y_m))) for p in props]
        keep = np.sort(np.argsort(distance, kind="stable")[:_MAX_PROPS])
        props = [props[i] for i in keep]
    return props


def _beside(street: Street, s_m: float, side: float, away_m: float) -> tuple[Float64Array, float]:
    """Return a place `away_m` beyond the street's right (-1) or left (1) border, and the road's heading."""
    border = street.right_m if side < 0 else street.left_m
    x, y, yaw = street.line.pose(s_m, side * (border + away_m))
    return np.array([x, y]), yaw


def _lamps(street: Street, site: _Site, scenery: str, verge_m: float) -> list[Prop]:
    props = []
    spacing = {"city": 28.0, "suburb": 34.0, "country": 48.0}[scenery]
    kind: PropKind = "pole" if scenery == "country" else "lamp"
    for index, s in enumerate(np.arange(10.0, street.line.length_m - 5.0, spacing)):
        for side in (-1.0, 1.0) if scenery == "city" else ((-1.0, 1.0)[index % 2],):
            xy, yaw = _beside(street, float(s), side, 0.45)
            if site.take(xy, 0.25, on_verge=True):
                # A lamp's arm reaches over the road: its x axis points there.
                facing = yaw - side * np.pi / 2
                height = 7.5 if kind == "lamp" else 8.0
                props.append(Prop(kind, float(xy[0]), float(xy[1]), float(facing), (0.25, 0.25, height)))
    return props


def _signs(street: Street, site: _Site, verge_m: float) -> list[Prop]:
    props = []
    variant = int(round(street.limit_mps * 3.6 / 10) * 10)
    for s, side in ((25.0, -1.0), (street.line.length_m * 0.55, -1.0), (street.line.length_m - 25.0, 1.0)):
        if not 5 < s < street.line.length_m - 5 or (side > 0 and not street.backward):
            continue
        xy, yaw = _beside(street, s, side, 0.5)
        if site.take(xy, 0.3, on_verge=True):
            facing = yaw + np.pi if side < 0 else yaw
            props.append(
                Prop("sign_speed", float(xy[0]), float(xy[1]), float(facing), (0.1, 0.7, 2.6), variant)
            )
    return props


def _buildings(
    street: Street, site: _Site, rng: np.random.Generator, scenery: str, verge_m: float
) -> list[Prop]:
    props = []
    low, high = {"city": (12.0, 26.0), "suburb": (9.0, 16.0), "country": (9.0, 18.0)}[scenery]
    gap = {"city": 2.0, "suburb": 9.0, "country": 70.0}[scenery]
    for side in (-1.0, 1.0):
        s = 6.0 + rng.uniform(0, gap)
        while s < street.line.length_m - 4:
            length = rng.uniform(low, high)
            depth = rng.uniform(8.0, 14.0)
            height = rng.uniform(7, 22) if scenery == "city" else rng.uniform(4.5, 8.5)
            back = rng.uniform(0.5, 3.0) if scenery == "city" else rng.uniform(5, 12)
            away = verge_m + back + depth / 2
            xy, yaw = _beside(street, s + length / 2, side, away)
            radius = float(np.hypot(length, depth)) / 2
            if _fits(site, xy, yaw, (length, depth), radius):
                props.append(
                    Prop(
                        "building",
                        float(xy[0]),
                        float(xy[1]),
                        yaw,
                        (float(length), float(depth), float(height)),
                        int(rng.integers(1000)),
                    )
                )
            s += length + gap * rng.uniform(0.6, 1.5)
    return props


def _fits(site: _Site, xy: Float64Array, yaw: float, size: tuple[float, float], radius: float) -> bool:
    """Take the place of a building: three discs along it, all or none."""
    heading = np.array([np.cos(yaw), np.sin(yaw)])
    width = size[1] / 2 * 1.25
    reach = max(0.0, size[0] / 2 - size[1] / 2)
    before = len(site._placed)
    mine: list[tuple[float, float, float]] = []
    for part in (-reach, 0.0, reach):
        others = site._placed
        site._placed = others[:before]
        free = site.take(xy + heading * part, width)
        site._placed = others
        if not free:
            return False
        mine.append((float(xy[0] + heading[0] * part), float(xy[1] + heading[1] * part), width))
    site._placed.extend(mine)
    return True


def _greens(
    street: Street, site: _Site, rng: np.random.Generator, scenery: str, verge_m: float, spacing: float
) -> list[Prop]:
    props = []
    for side in (-1.0, 1.0):
        for s in np.arange(5.0, street.line.length_m - 3.0, spacing):
            row = rng.uniform()
            away = verge_m + 1.2 + (rng.uniform(0, 2.0) if row < 0.5 else rng.uniform(3, 25))
            xy, yaw = _beside(street, float(s + rng.uniform(-2, 2)), side, away)
            if rng.uniform() < (0.35 if scenery == "city" else 0.25):
                size = float(rng.uniform(0.8, 1.8))
                if site.take(xy, size / 2 + 0.2):
                    props.append(
                        Prop(
                            "bush",
                            float(xy[0]),
                            float(xy[1]),
                            yaw,
                            (size, size, size * 0.8),
                            int(rng.integers(1000)),
                        )
                    )
            else:
                crown = float(rng.uniform(2.5, 5.0))
                height = float(rng.uniform(5, 11))
                if site.take(xy, 0.9):
                    props.append(
                        Prop(
                            "tree",
                            float(xy[0]),
                            float(xy[1]),
                            yaw,
                            (crown, crown, height),
                            int(rng.integers(1000)),
                        )
                    )
    return props
