"""Warps between camera models: the map against the projection formula, and pictures against pictures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.sensing.warp import WarpMap
from alpamayo_ros.types import InvalidInput

SOURCES: dict[str, CameraModel] = {
    "pinhole": Pinhole(
        width=640, height=400, fx=330, fy=331, cx=322, cy=198, distortion=(-0.28, 0.09, 7e-4, -4e-4, -0.014)
    ),
    "fisheye": Fisheye(
        width=640, height=400, fx=210, fy=211, cx=318, cy=203, distortion=(0.03, -0.008, 0.002, -4e-4)
    ),
    "ftheta": FTheta(
        width=640,
        height=400,
        cx=317,
        cy=202,
        angle_to_pixeldist=(0, 300, 2, -6, 1),
        linear_cde=(1.002, 1e-3, -7e-4),
    ),
}  # fmt: skip
TARGETS: dict[str, CameraModel] = {
    "pinhole": Pinhole(
        width=480, height=270, fx=260, fy=262, cx=238, cy=136, distortion=(-0.05, 0.01, 2e-4, 1e-4)
    ),
    "fisheye": Fisheye(
        width=480, height=270, fx=260, fy=260, cx=241, cy=133, distortion=(0.01, 0.0, 0.0, 0.0)
    ),
    "ftheta": FTheta(width=480, height=270, cx=239.5, cy=134.5, angle_to_pixeldist=(0, 255, 0, -4)),
}
ROTATION = Rotation.from_euler("xyz", [4, -6, 3], degrees=True).as_matrix()
PAIRS = [(s, t) for s in SOURCES for t in TARGETS]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_map_is_the_projection_formula(source: str, target: str) -> None:
    """Forwards: a point in the world has a pixel in both cameras, and the map leads from one to the other."""
    warp = WarpMap.between(SOURCES[source], TARGETS[target], ROTATION)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4000, 3)) * [0.5, 0.3, 0] + [0, 0, 1]
    in_target, seen_by_target = TARGETS[target].project(directions)
    in_source, seen_by_source = SOURCES[source].project(directions @ ROTATION.T)
    u, v = in_target.T
    inner = (u > 1) & (u < 478) & (v > 1) & (v < 268) & seen_by_target & seen_by_source
    assert inner.sum() > 1000
    left, top = np.floor(u[inner]).astype(int), np.floor(v[inner]).astype(int)
    a, b = (u[inner] - left)[:, None], (v[inner] - top)[:, None]
    at = warp.map_xy
    looked_up = (1 - b) * ((1 - a) * at[top, left] + a * at[top, left + 1]) + b * (
        (1 - a) * at[top + 1, left] + a * at[top + 1, left + 1]
    )
    known = np.isfinite(looked_up).all(axis=1)
    assert known.mean() > 0.97
    assert np.abs(looked_up - in_source[inner])[known].max() < 0.02


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_pictured_points_come_to_where_the_formula_says(source: str, target: str) -> None:
    """A spot drawn in the real camera's image appears in the warped one within half a pixel."""
    warp = WarpMap.between(SOURCES[source], TARGETS[target], ROTATION)
    spots = 0
    for azimuth in np.linspace(-0.5, 0.5, 5):
        for elevation in np.linspace(-0.25, 0.25, 3):
            direction = np.array([[np.tan(azimuth), np.tan(elevation), 1.0]])
            at_source, seen = SOURCES[source].project(direction @ ROTATION.T)
            expected, wanted = TARGETS[target].project(direction)
            if not (seen[0] and wanted[0]) or np.abs(expected[0] - [239.5, 134.5]).max() > 225:
                continue
            if np.abs(expected[0, 1] - 134.5) > 120:
                continue
            v, u = np.mgrid[0:400, 0:640]
            spot = 250 * np.exp(-((u - at_source[0, 0]) ** 2 + (v - at_source[0, 1]) ** 2) / (2 * 3.0**2))
            frame = np.repeat(spot.round().astype(np.uint8)[None], 3, axis=0)
            warped = warp.apply(frame)
            assert warped.shape == (3, 270, 480)
            weight = warped[1].astype(float)
            v, u = np.mgrid[0:270, 0:480]
            centre = np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()
            assert np.abs(centre - expected[0]).max() < 0.5, (azimuth, elevation)
            spots += 1
    assert spots >= 9


def test_the_same_camera_gives_the_same_picture() -> None:
    model = SOURCES["pinhole"]
    frame = np.random.default_rng(0).integers(0, 256, (3, 400, 640), dtype=np.uint8)
    warp = WarpMap.between(model, model)
    seen = np.isfinite(warp.map_xy[..., 0])
    np.testing.assert_array_equal(warp.apply(frame)[:, seen], frame[:, seen])


def test_what_the_camera_does_not_see_is_black_and_counted() -> None:
    narrow = Pinhole(width=200, height=200, fx=400, fy=400, cx=99.5, cy=99.5)
    wide = Pinhole(width=400, height=400, fx=400, fy=400, cx=199.5, cy=199.5)
    warp = WarpMap.between(narrow, wide)
    assert warp.coverage == pytest.approx(0.25, abs=0.01)
    warped = warp.apply(np.full((3, 200, 200), 200, np.uint8))
    assert (warped[:, 100:300, 100:300] == 200).all(), "the picture reaches its edges undimmed"
    assert (warped[:, :99] == 0).all()
    assert (warped[:, :, 301:] == 0).all()


def test_a_coarser_virtual_camera_does_not_alias() -> None:
    fine = Pinhole(width=1201, height=800, fx=900, fy=900, cx=600, cy=399.5)
    coarse = Pinhole(width=300, height=200, fx=225, fy=225, cx=149.625, cy=99.5)
    warp = WarpMap.between(fine, coarse)
    assert warp.shrink == 4
    stripes = np.zeros((3, 800, 1201), np.uint8)
    stripes[:, :, ::2] = 200
    warped = warp.apply(stripes)[:, 2:-2, 2:-2]
    assert np.abs(warped.astype(int) - 100).max() <= 2


def test_a_rotation_looks_where_it_says() -> None:
    """Turned 10 degrees to the right, the virtual camera sees on its axis what stands there."""
    model = Pinhole(width=401, height=301, fx=300, fy=300, cx=200, cy=150)
    right = Rotation.from_euler(
        "y", 10, degrees=True
    ).as_matrix()  # y points down: positive turns to the right
    warp = WarpMap.between(model, model, right)
    np.testing.assert_allclose(warp.map_xy[150, 200], [200 + 300 * np.tan(np.deg2rad(10)), 150], atol=1e-3)


def test_a_camera_that_looks_elsewhere_is_refused() -> None:
    model = SOURCES["pinhole"]
    with pytest.raises(InvalidInput, match=r"expected the camera to see a part .* got none"):
        WarpMap.between(model, model, Rotation.from_euler("y", 180, degrees=True).as_matrix())


def test_images_too_large_to_map_are_refused() -> None:
    large = Pinhole(width=40_000, height=10, fx=1e4, fy=1e4, cx=2e4, cy=5)
    with pytest.raises(InvalidInput, match="at most 32766 pixels a side"):
        WarpMap.between(large, SOURCES["pinhole"])


def test_frames_of_another_size_are_refused() -> None:
    warp = WarpMap.between(SOURCES["pinhole"], TARGETS["pinhole"])
    with pytest.raises(InvalidInput, match=r"expected shape \[3, 400, 640\], got \[3, 400, 641\]"):
        warp.apply(np.zeros((3, 400, 641), np.uint8))
