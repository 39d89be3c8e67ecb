"""Meshes of pedestrians and cyclists, each in its unit cube (x forward)."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sim.render.mesh import Colour, Mesh, MeshBuilder

_WHITE: Colour = (1.0, 1.0, 1.0)
_SKIN: Colour = (0.80, 0.62, 0.52)
_HAIR: Colour = (0.22, 0.16, 0.12)
_SHOE: Colour = (0.15, 0.14, 0.14)
_FRAME: Colour = (0.25, 0.26, 0.30)
_TYRE: Colour = (0.12, 0.12, 0.12)

PEDESTRIAN_SIZE = (0.6, 0.6, 1.75)
CYCLIST_SIZE = (1.8, 0.6, 1.75)
WALK_PHASES = 4


def pedestrian(phase: int, *, detail: int) -> Mesh:
    """Return a walker in one of WALK_PHASES of the stride; shirt is tint, trousers tint2."""
    swing = (0.0, 0.24, 0.0, -0.24)[phase % WALK_PHASES]
    b = MeshBuilder()
    sides = 7 if detail else 4
    for side, reach in ((1, swing), (-1, -swing)):
        hip, foot = (0.0, side * 0.09, 0.88), (reach, side * 0.1, 0.07)
        knee = ((hip[0] + foot[0]) / 2 + 0.05 * abs(np.sign(swing)), side * 0.1, 0.48)
        b.tube(hip, knee, (0.105, 0.085), _WHITE, sides=sides, material="tint2", caps=False)
        b.tube(knee, foot, (0.085, 0.06), _WHITE, sides=sides, material="tint2", caps=False)
        b.box((reach + 0.05, side * 0.1, 0.045), (0.26, 0.1, 0.09), _SHOE)
        shoulder, hand = (0.0, side * 0.23, 1.40), (-reach * 0.9, side * 0.27, 0.86)
        elbow = (-reach * 0.4 - 0.03, side * 0.27, 1.12)
        b.tube(shoulder, elbow, (0.07, 0.055), _WHITE, sides=sides, material="tint", caps=False)
        b.tube(elbow, hand, (0.055, 0.045), (0.9, 0.9, 0.9), sides=sides, material="tint", caps=False)
        b.blob(hand, (0.05, 0.04, 0.06), _SKIN, rows=2, columns=5)
    b.blob((0, 0, 1.17), (0.15, 0.235, 0.36), _WHITE, rows=4 if detail else 3, columns=sides, material="tint",
           shade=0.2)  # fmt: skip
    b.tube((0, 0, 1.4), (0.01, 0, 1.55), (0.06, 0.055), _SKIN, sides=5, caps=False)
    b.blob((0.015, 0, 1.62), (0.11, 0.09, 0.125), _SKIN, rows=4 if detail else 3, columns=sides)
    b.blob((-0.015, 0, 1.655), (0.11, 0.1, 0.105), _HAIR, rows=3, columns=sides)
    return b.build().normalised(PEDESTRIAN_SIZE, (0, 0, PEDESTRIAN_SIZE[2] / 2))


def cyclist(*, detail: int) -> Mesh:
    """Return a rider on a bicycle; jersey is tint, trousers tint2."""
    b = MeshBuilder()
    radius = 0.34
    sides = 12 if detail else 8
    for x in (-0.53, 0.53):
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        outer = np.stack([x + radius * np.cos(angles), 0 * angles, radius + radius * np.sin(angles)], axis=1)
        inner = np.stack(
            [x + 0.84 * radius * np.cos(angles), 0 * angles, radius + 0.84 * radius * np.sin(angles)], axis=1
        )
        for i in range(sides):
            ring = [outer[i], outer[i + 1], inner[i + 1], inner[i]]
            for y in (-0.022, 0.022):
                face = np.array(ring) + np.array([0, y, 0])
                b.polygon(face if y < 0 else face[::-1], _TYRE)
            tread = [outer[i] - (0, 0.022, 0), outer[i] + (0, 0.022, 0), outer[i + 1] + (0, 0.022, 0),
                     outer[i + 1] - (0, 0.022, 0)]  # fmt: skip
            b.polygon(tread[::-1], _TYRE)
    pipes = (
        ((-0.53, 0, 0.34), (-0.1, 0, 0.3)),
        ((-0.53, 0, 0.34), (-0.2, 0, 0.8)),
        ((-0.1, 0, 0.3), (-0.22, 0, 0.88)),
        ((-0.1, 0, 0.3), (0.38, 0, 0.78)),
        ((-0.2, 0, 0.78), (0.38, 0, 0.82)),
        ((0.53, 0, 0.34), (0.36, 0, 0.95)),
    )
    for start, end in pipes:
        b.tube(start, end, (0.026, 0.026), _FRAME, sides=5, caps=False)
    b.tube((0.38, -0.26, 0.97), (0.38, 0.26, 0.97), (0.02, 0.02), _FRAME, sides=5)
    b.box((-0.24, 0, 0.9), (0.24, 0.14, 0.06), _SHOE)
    b.box((-0.42, 0, 0.72), (0.05, 0.06, 0.06), (0.7, 0.05, 0.05), material="tail")
    n = 7 if detail else 5
    for side, pedal in ((1, (-0.1, 0.12, 0.14)), (-1, (-0.04, -0.12, 0.46))):
        hip = (-0.22, side * 0.1, 0.95)
        knee = (0.14, side * 0.12, 0.62 if side > 0 else 0.82)
        b.tube(hip, knee, (0.1, 0.075), _WHITE, sides=n, material="tint2", caps=False)
        b.tube(knee, pedal, (0.075, 0.05), _WHITE, sides=n, material="tint2", caps=False)
        b.box((pedal[0] + 0.05, pedal[1], pedal[2] - 0.03), (0.24, 0.09, 0.08), _SHOE)
        shoulder, hand = (0.06, side * 0.2, 1.40), (0.38, side * 0.23, 1.0)
        elbow = (0.24, side * 0.27, 1.16)
        b.tube(shoulder, elbow, (0.065, 0.055), _WHITE, sides=n, material="tint", caps=False)
        b.tube(elbow, hand, (0.055, 0.045), _SKIN, sides=n, caps=False)
    sections = []
    for t, w, d in ((0.0, 0.15, 0.11), (0.5, 0.2, 0.13), (1.0, 0.21, 0.11)):
        x, z = -0.22 + 0.3 * t, 0.92 + 0.5 * t
        turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
        sections.append(np.stack([x + d * np.cos(turn), w * np.sin(turn), z + 0.03 * np.cos(turn)], axis=1))
    b.strip(np.array(sections), _WHITE, material="tint", closed=True)
    b.blob((0.09, 0, 1.45), (0.12, 0.2, 0.07), _WHITE, rows=3, columns=n, material="tint")
    b.blob((0.17, 0, 1.60), (0.11, 0.09, 0.125), _SKIN, rows=4 if detail else 3, columns=n)
    b.blob((0.15, 0, 1.665), (0.15, 0.105, 0.085), (0.85, 0.85, 0.82), rows=3, columns=n)
    return b.build().normalised(CYCLIST_SIZE, (0, 0, CYCLIST_SIZE[2] / 2))
