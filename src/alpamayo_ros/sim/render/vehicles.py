"""Meshes of cars, vans and trucks, each filling the unit cube about its box's centre (x forward)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.render.mesh import Colour, Mesh, MeshBuilder

_WHITE: Colour = (1.0, 1.0, 1.0)
_GLASS: Colour = (0.20, 0.23, 0.26)
_TYRE: Colour = (0.13, 0.13, 0.14)
_RIM: Colour = (0.55, 0.56, 0.58)
_TRIM: Colour = (0.16, 0.16, 0.17)
_LAMP: Colour = (0.92, 0.93, 0.93)
_TAIL: Colour = (0.44, 0.05, 0.06)
_PLATE: Colour = (0.88, 0.88, 0.82)


@dataclass(frozen=True)
class _Profile:
    """Side view of a car body: shares of length (from the middle, forward) and of height.

    Attributes:
        size_m: nominal length, width, height.
        belt: height where the windows begin.
        nose, tail: heights of bonnet and boot lid at the very front and rear.
        glass: x of rear window's foot, roof's rear end, roof's front end, windscreen's foot.
        wheels: x of rear and front axle; wheel_m: radius.
        pillars: x of pillars between the side windows.
        closed_behind: x behind which the sides have no windows (-1: none).
    """

    size_m: tuple[float, float, float]
    belt: float
    nose: float
    tail: float
    glass: tuple[float, float, float, float]
    wheels: tuple[float, float]
    wheel_m: float
    pillars: tuple[float, ...]
    closed_behind: float = -1.0


HATCHBACK = _Profile((4.4, 1.85, 1.55), 0.64, 0.62, 0.66, (-0.497, -0.465, 0.15, 0.32), (-0.29, 0.31), 0.34,
                     (-0.28, -0.04))  # fmt: skip
SALOON = _Profile((4.7, 1.85, 1.48), 0.66, 0.66, 0.79, (-0.47, -0.36, 0.16, 0.33), (-0.28, 0.31), 0.34,
                  (-0.25, -0.03))  # fmt: skip
SUV = _Profile((4.7, 1.95, 1.75), 0.64, 0.65, 0.66, (-0.497, -0.47, 0.18, 0.32), (-0.28, 0.31), 0.38,
               (-0.29, -0.05))  # fmt: skip
VAN = _Profile((5.4, 2.05, 2.3), 0.52, 0.48, 0.52, (-0.499, -0.495, 0.31, 0.45), (-0.30, 0.31), 0.36,
               (0.16,), closed_behind=0.14)  # fmt: skip
MINIBUS = _Profile((5.4, 2.05, 2.3), 0.52, 0.48, 0.52, (-0.499, -0.49, 0.31, 0.45), (-0.30, 0.31), 0.36,
                   (-0.24, -0.02, 0.16))  # fmt: skip


def car(profile: _Profile, *, detail: int) -> Mesh:
    """Return a car; detail 2 has wheels with rims, plates and pillars, 1 plain wheels, 0 a silhouette."""
    length, width, height = profile.size_m
    b = MeshBuilder()
    half_w = width / 2 * (0.985 if detail else 1.0)
    clear = 0.075 * height if detail else 0.06 * height
    belt = profile.belt * height
    wind_foot = profile.glass[3] * length
    _body(b, profile, half_w=half_w, clear=clear, detail=detail)
    _greenhouse(b, profile, half_w=half_w, belt=belt, detail=detail)
    _ends(b, profile, half_w=half_w, clear=clear, detail=detail)
    if detail:
        for x in profile.wheels:
            for side in (-1, 1):
                _wheel(b, x * length, side * width / 2, profile.wheel_m, sides=14 if detail > 1 else 8,
                       rim=detail > 1)  # fmt: skip
    if detail > 1:
        mirror_x = wind_foot - 0.12 * length
        for side in (-1, 1):
            b.box((mirror_x, side * half_w * 0.99, belt + 0.08), (0.14, 0.1, 0.13), _WHITE, material="tint")
    return b.build().normalised(profile.size_m, (0, 0, height / 2))


def _stations(profile: _Profile, detail: int) -> list[tuple[float, float, float]]:
    """Return (x, top, share of the half width) of the lower body's cross-sections, rear to front."""
    length, _, height = profile.size_m
    rear_foot, _, _, wind_foot = profile.glass
    belt, nose, tail = profile.belt * height, profile.nose * height, profile.tail * height
    stations = [(-0.5, tail * 0.97, 0.93), (-0.47, tail, 0.98), (rear_foot, max(belt, tail), 1.0)]
    if detail:
        for x in (-0.25, -0.02):
            stations.append((x, belt, 1.0))
    stations += [
        (wind_foot, belt * 0.99, 1.0),
        (0.40, (belt + nose) / 2 * 1.02, 0.99),
        (0.47, nose, 0.97),
        (0.5, nose * 0.93, 0.93),
    ]
    return [(x * length, top, w) for x, top, w in sorted(stations)]


def _body(b: MeshBuilder, profile: _Profile, *, half_w: float, clear: float, detail: int) -> None:
    sections = []
    for x, top, share in _stations(profile, detail):
        w = half_w * share
        mid = clear + 0.45 * (top - clear)
        sections.append(
            [(x, w * 0.96, clear), (x, w, mid), (x, w * 0.975, top - 0.05), (x, w * 0.93, top),
             (x, -w * 0.93, top), (x, -w * 0.975, top - 0.05), (x, -w, mid), (x, -w * 0.96, clear)]
        )  # fmt: skip
    rows = np.array(sections)
    dull = (0.86, 0.86, 0.86)
    colours = [dull, _WHITE, _WHITE, _WHITE, _WHITE, _WHITE, dull, (0.1, 0.1, 0.1)]
    b.strip(rows, _WHITE, colours=colours, materials=["tint"] * 7 + ["fixed"], closed=True)
    b.polygon(rows[-1], (0.96, 0.96, 0.96), material="tint")
    b.polygon(rows[0][::-1], (0.96, 0.96, 0.96), material="tint")
    if detail:
        x0, x1 = rows[0, 0, 0], rows[-1, 0, 0]
        sill = clear + 0.09
        for y in (-1, 1):
            side = y * half_w * 1.003
            points = [
                (x0 + 0.1, side, clear),
                (x1 - 0.14, side, clear),
                (x1 - 0.14, side, sill),
                (x0 + 0.1, side, sill),
            ]
            b.polygon(points if y < 0 else points[::-1], _TRIM)


def _greenhouse(b: MeshBuilder, profile: _Profile, *, half_w: float, belt: float, detail: int) -> None:
    length, _, height = profile.size_m
    rear_foot, roof_rear, roof_front, wind_foot = (x * length for x in profile.glass)
    foot_w, roof_w = half_w * 0.97, half_w * (0.90 if height < 2 else 0.94)
    rim = height - 0.045
    rear_belt = max(belt, profile.tail * height)

    def corner(x: float, z: float) -> float:
        share = (z - belt) / (rim - belt)
        return foot_w + (roof_w - foot_w) * share

    # Roof: a flat cap with a bevel all round.
    for side in (-1, 1):
        edge = [
            (roof_rear, side * roof_w, rim),
            (roof_front, side * roof_w, rim),
            (roof_front - 0.08, side * roof_w * 0.9, height),
            (roof_rear + 0.06, side * roof_w * 0.9, height),
        ]
        b.polygon(edge if side < 0 else edge[::-1], _WHITE, material="tint")
    front, rear = roof_front - 0.08, roof_rear + 0.06
    b.polygon([(roof_front, -roof_w, rim), (roof_front, roof_w, rim), (front, roof_w * 0.9, height),
               (front, -roof_w * 0.9, height)], _WHITE, material="tint")  # fmt: skip
    b.polygon([(roof_rear, roof_w, rim), (roof_rear, -roof_w, rim), (rear, -roof_w * 0.9, height),
               (rear, roof_w * 0.9, height)], _WHITE, material="tint")  # fmt: skip
    b.polygon([(rear, -roof_w * 0.9, height), (front, -roof_w * 0.9, height), (front, roof_w * 0.9, height),
               (rear, roof_w * 0.9, height)], _WHITE, material="tint")  # fmt: skip
    # Windscreen and rear window, framed by the body's colour.
    _pane(b, [(wind_foot, -foot_w, belt), (wind_foot, foot_w, belt), (roof_front, roof_w, rim),
              (roof_front, -roof_w, rim)], frame=0.07 if detail else 0.0)  # fmt: skip
    closed = profile.closed_behind > -1
    _pane(b, [(rear_foot, foot_w, rear_belt), (rear_foot, -foot_w, rear_belt), (roof_rear, -roof_w, rim),
              (roof_rear, roof_w, rim)], frame=0.12 if detail else 0.0,
          glass=not (closed and profile.closed_behind > 0.9))  # fmt: skip
    # Sides: window panes between pillars, along a trapezoid.
    for side in (-1, 1):
        cuts = [rear_foot, *(p * length for p in profile.pillars), wind_foot]
        tops = [roof_rear, *(p * length for p in profile.pillars), roof_front]
        for x0, x1, t0, t1 in zip(cuts[:-1], cuts[1:], tops[:-1], tops[1:], strict=True):
            low0 = rear_belt if x0 == rear_foot else belt
            quad = [(x0, side * foot_w, low0), (x1, side * foot_w, belt),
                    (t1, side * corner(t1, rim), rim), (t0, side * corner(t0, rim), rim)]  # fmt: skip
            solid = closed and x1 <= profile.closed_behind * length + 0.2
            _pane(b, quad if side < 0 else quad[::-1], frame=0.09 if detail else 0.0, glass=not solid)


def _pane(b: MeshBuilder, quad: Sequence[Sequence[float]], *, frame: float, glass: bool = True) -> None:
    """Add a window: the quad in the body's colour, glass inside it."""
    if not glass or frame == 0.0:
        b.polygon(quad, _GLASS if glass else _WHITE, material="glass" if glass else "tint")
        return
    outer = np.asarray(quad, np.float64)
    middle = outer.mean(axis=0)
    extent = np.linalg.norm(outer - middle, axis=1, keepdims=True)
    inner = middle + (outer - middle) * np.maximum(1 - frame * 1.3 / extent, 0.5)
    for i in range(4):
        j = (i + 1) % 4
        b.polygon([outer[i], outer[j], inner[j], inner[i]], _WHITE, material="tint")
    b.polygon(inner, _GLASS, material="glass")


def _ends(b: MeshBuilder, profile: _Profile, *, half_w: float, clear: float, detail: int) -> None:
    length, _, height = profile.size_m
    nose, tail = profile.nose * height, profile.tail * height
    x = length / 2 + 0.002
    lamp_w = 0.22 * half_w * 2
    y_head, y_tail = half_w * 0.88 - lamp_w / 2, half_w * 0.93 - lamp_w / 2
    for side in (-1, 1):
        _plate(b, x, side * y_head * 0.97, nose * _HEAD_OF_NOSE, lamp_w, 0.16, _LAMP, "head")
        _plate(
            b, -x, side * y_tail, tail * _TAIL_OF_TAIL, lamp_w, 0.17 if height < 2 else 0.32, _TAIL, "tail"
        )
    if detail:
        _plate(b, x, 0.0, nose * 0.66, half_w * 0.9, 0.2, _TRIM, "fixed")
        _plate(b, x, 0.0, clear + 0.12, half_w * 1.5, 0.16, _TRIM, "fixed")
        _plate(b, -x, 0.0, clear + 0.12, half_w * 1.6, 0.2, _TRIM, "fixed")
    if detail > 1:
        _plate(b, -x - 0.002, 0.0, tail * 0.64, 0.46, 0.12, _PLATE, "fixed")
        _plate(b, x + 0.002, 0.0, nose * 0.45, 0.46, 0.11, _PLATE, "fixed")


def _plate(
    b: MeshBuilder, x: float, y: float, z: float, width: float, high: float, colour: Colour, material: str
) -> None:
    """Add a rectangle that faces forward (x > 0) or back."""
    w, h = width / 2, high / 2
    points = [(x, y - w, z - h), (x, y + w, z - h), (x, y + w, z + h), (x, y - w, z + h)]
    b.polygon(points if x > 0 else points[::-1], colour, material=material)


def _wheel(b: MeshBuilder, x: float, y: float, radius: float, *, sides: int, rim: bool) -> None:
    side = 1 if y > 0 else -1
    b.tube((x, y - side * 0.22, radius), (x, y, radius), (radius, radius), _TYRE, sides=sides)
    if rim:
        y_out = y + side * 0.006
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False) * side
        disc = np.stack(
            [
                x + 0.64 * radius * np.cos(-angles),
                0 * angles + y_out,
                radius + 0.64 * radius * np.sin(-angles),
            ],
            axis=1,
        )
        b.polygon(disc, _RIM)


TRUCK_SIZE = (8.5, 2.5, 3.4)
_TRUCK_HEAD_M, _TRUCK_TAIL_M = 0.85, 0.98
_HEAD_OF_NOSE, _TAIL_OF_TAIL = 0.78, 0.80

LAMP_HEIGHTS: dict[str, tuple[float, float]] = {
    **{
        name: (profile.nose * _HEAD_OF_NOSE, profile.tail * _TAIL_OF_TAIL)
        for name, profile in (
            ("hatchback", HATCHBACK),
            ("saloon", SALOON),
            ("suv", SUV),
            ("van", VAN),
            ("minibus", MINIBUS),
        )
    },
    "truck": (_TRUCK_HEAD_M / TRUCK_SIZE[2], _TRUCK_TAIL_M / TRUCK_SIZE[2]),
}
"""Heights of head and tail lamps of each mesh as shares of its own."""


def truck(*, detail: int) -> Mesh:
    """Return a lorry with a box body."""
    length, width, height = TRUCK_SIZE
    b = MeshBuilder()
    w = width / 2 * 0.99
    cab0, cab1 = 0.27 * length, 0.5 * length
    b.box((-0.125 * length, 0, (height + 0.8) / 2), (0.75 * length, width, height - 0.8), (0.93, 0.93, 0.92),
          material="tint2")  # fmt: skip
    b.box((-0.01 * length, 0, 0.62), (0.96 * length, w * 1.94, 0.44), _TRIM)
    roof = height * 0.88
    sections = np.array(
        [
            [(cab0, w, 0.5), (cab0, w, roof), (cab0, -w, roof), (cab0, -w, 0.5)],
            [(cab1 - 0.35, w, 0.5), (cab1 - 0.35, w, roof), (cab1 - 0.35, -w, roof), (cab1 - 0.35, -w, 0.5)],
            [(cab1, w * 0.97, 0.5), (cab1, w * 0.97, 1.55), (cab1, -w * 0.97, 1.55), (cab1, -w * 0.97, 0.5)],
        ]
    )
    b.strip(sections, _WHITE, material="tint", closed=True)
    b.polygon(sections[-1], _WHITE, material="tint")
    b.polygon(sections[0][::-1], _WHITE, material="tint")
    slope = [
        (cab1 - 0.02, -w * 0.88, 1.62),
        (cab1 - 0.02, w * 0.88, 1.62),
        (cab1 - 0.32, w * 0.88, roof - 0.15),
        (cab1 - 0.32, -w * 0.88, roof - 0.15),
    ]
    b.polygon(np.array(slope) + np.array([0.03, 0, 0.02]), _GLASS, material="glass")
    for side in (-1, 1):
        y = side * w * 1.005
        quad = [
            (cab0 + 0.35, y, 1.55),
            (cab1 - 0.42, y, 1.55),
            (cab1 - 0.5, y, roof - 0.3),
            (cab0 + 0.35, y, roof - 0.3),
        ]
        b.polygon(quad if side < 0 else quad[::-1], _GLASS, material="glass")
        _plate(b, cab1 + 0.004, side * w * 0.72, _TRUCK_HEAD_M, 0.4, 0.2, _LAMP, "head")
        _plate(b, -length / 2 - 0.004, side * w * 0.8, _TRUCK_TAIL_M, 0.34, 0.16, _TAIL, "tail")
        if detail:
            for x in (-0.33, -0.19, 0.36):
                _wheel(b, x * length, side * width / 2, 0.5, sides=12, rim=detail > 1)
    if detail:
        _plate(b, cab1 + 0.003, 0, 1.2, w * 1.2, 0.42, _TRIM, "fixed")
        _plate(b, cab1 + 0.003, 0, 0.6, w * 1.9, 0.16, _TRIM, "fixed")
        _plate(b, -length / 2 - 0.003, 0, 0.62, w * 1.9, 0.16, (0.7, 0.5, 0.1), "fixed")
        _plate(b, -length / 2 - 0.003, 0, (height + 1.1) / 2, 0.03, height - 1.2, (0.5, 0.5, 0.5), "fixed")
    return b.build().normalised(TRUCK_SIZE, (0, 0, height / 2))
