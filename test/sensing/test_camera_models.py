"""Camera models against OpenCV, against the f-theta formula, and against their own inverses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole, horizontal_fov_rad
from alpamayo_ros.sensing.polynomials import first_stationary_point, invert_monotonic
from alpamayo_ros.sensing.rig import ROLE_FOV_DEG, field_of_view_warning, nominal_model
from alpamayo_ros.types import InvalidInput

LENS = {"width": 1280, "height": 720, "fx": 600.0, "fy": 610.0, "cx": 650.0, "cy": 350.0}
SENSOR = {"width": 1920, "height": 1080, "cx": 955.0, "cy": 540.0}
PLUMB_BOB = (-0.28, 0.09, 0.0007, -0.0004, -0.014)
RATIONAL = (1.2, 0.4, 0.0005, -0.0003, 0.02, 1.5, 0.65, 0.08)
THIN_PRISM = (*RATIONAL, 0.001, -0.0005, 0.0008, 0.0002)

MODELS: dict[str, CameraModel] = {
    "pinhole": Pinhole(**LENS),
    "plumb_bob": Pinhole(**LENS, distortion=PLUMB_BOB),
    "rational": Pinhole(**LENS, distortion=RATIONAL),
    "thin_prism": Pinhole(**LENS, distortion=THIN_PRISM),
    "fisheye": Fisheye(**{**LENS, "fx": 330.0, "fy": 333.0}, distortion=(0.03, -0.008, 0.002, -0.0004)),
    "ftheta": FTheta(
        **SENSOR, angle_to_pixeldist=(0.0, 920.0, 5.0, -18.0, 3.0), linear_cde=(1.002, 0.001, -0.0007)
    ),
    "ftheta_backward": FTheta(
        **SENSOR,
        pixeldist_to_angle=(0.0, 1.08e-3, 1e-9, 2e-11),
        reference="pixeldist_to_angle",
        max_angle_rad=1.4,
    ),
    "nominal": nominal_model(1),
}


@pytest.fixture(params=MODELS)
def model(request) -> CameraModel:
    return MODELS[request.param]


def grid(model: CameraModel, columns: int = 33, rows: int = 21) -> np.ndarray:
    u, v = np.meshgrid(np.linspace(0, model.width - 1, columns), np.linspace(0, model.height - 1, rows))
    return np.stack([u.ravel(), v.ravel()], axis=1)


def test_unproject_is_the_inverse_of_project(model: CameraModel) -> None:
    pixels = grid(model)
    rays, valid = model.unproject(pixels)
    assert valid.mean() > 0.8
    np.testing.assert_allclose(np.linalg.norm(rays[valid], axis=1), 1.0, atol=1e-12)
    back, visible = model.project(rays[valid] * 7.5)
    assert visible.all()
    np.testing.assert_allclose(back, pixels[valid], atol=1e-4)


def test_the_axis_meets_the_principal_point(model: CameraModel) -> None:
    pixels, visible = model.project(np.array([[0.0, 0.0, 5.0]]))
    np.testing.assert_allclose(pixels[0], [model.cx, model.cy], atol=1e-9)  # type: ignore[attr-defined]
    assert visible.all()


def test_what_the_lens_does_not_map_is_nan_and_not_visible(model: CameraModel) -> None:
    points = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [np.nan, 0.0, 1.0]])
    pixels, visible = model.project(points)
    assert not visible.any()
    assert np.isnan(pixels).any(axis=1).all()


def test_outside_the_image_is_not_visible(model: CameraModel) -> None:
    rays, _ = model.unproject(np.array([[model.width - 1.0, 20.0]]))
    pixels, visible = model.project(rays + np.array([0.1, 0, 0]))
    assert not visible[0]
    assert pixels[0, 0] > model.width - 0.5 or np.isnan(pixels[0, 0])


@pytest.mark.parametrize("name", ["pinhole", "plumb_bob", "rational", "thin_prism"])
def test_pinhole_agrees_with_opencv(name: str) -> None:
    model = MODELS[name]
    assert isinstance(model, Pinhole)
    rays, valid = model.unproject(grid(model))
    matrix = np.array([[model.fx, 0, model.cx], [0, model.fy, model.cy], [0, 0, 1]])
    distortion = np.array(model.distortion or (0.0,) * 4)
    expected, _ = cv2.projectPoints(rays[valid] * 3.0, np.zeros(3), np.zeros(3), matrix, distortion)
    pixels, visible = model.project(rays[valid] * 3.0)
    assert visible.all()
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-6)


def test_fisheye_agrees_with_opencv() -> None:
    model = MODELS["fisheye"]
    assert isinstance(model, Fisheye)
    rays, valid = model.unproject(grid(model))
    rays = rays[valid & (rays[:, 2] > 0.05)]  # OpenCV's divides by z
    matrix = np.array([[model.fx, 0, model.cx], [0, model.fy, model.cy], [0, 0, 1]])
    expected, _ = cv2.fisheye.projectPoints(
        rays[:, None], np.zeros(3), np.zeros(3), matrix, np.array(model.distortion)
    )
    np.testing.assert_allclose(model.project(rays)[0], expected[:, 0], atol=1e-6)


def test_fisheye_sees_behind_90_degrees() -> None:
    model = Fisheye(width=1000, height=1000, fx=280, fy=280, cx=499.5, cy=499.5)
    pixels, visible = model.project(np.array([[1.0, 0.0, -0.1]]))
    np.testing.assert_allclose(pixels[0, 0], 499.5 + 280 * np.arctan2(1.0, -0.1))
    assert visible[0]
    limited = Fisheye(width=1000, height=1000, fx=280, fy=280, cx=499.5, cy=499.5, max_angle_rad=np.pi / 2)
    assert not limited.project(np.array([[1.0, 0.0, -0.1]]))[1][0]


def test_ftheta_is_the_published_formula() -> None:
    model = MODELS["ftheta"]
    assert isinstance(model, FTheta)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 3)) * [2, 1, 0.2] + [0, 0, 3]
    c, d, e = model.linear_cde
    for point, pixel in zip(points, model.project(points)[0], strict=True):
        x, y, z = point
        norm = np.hypot(x, y)
        theta = np.arctan2(norm, z)
        r = sum(a * theta**i for i, a in enumerate(model.angle_to_pixeldist))
        u = (c * x + d * y) * r / norm + model.cx
        v = (e * x + y) * r / norm + model.cy
        np.testing.assert_allclose(pixel, [u, v], atol=1e-9)


def test_ftheta_with_an_exact_backward_polynomial() -> None:
    model = MODELS["ftheta_backward"]
    assert isinstance(model, FTheta)
    pixel = np.array([[model.cx + 300.0, model.cy]])
    ray = model.unproject(pixel)[0][0]
    theta = np.polynomial.polynomial.polyval(300.0, model.pixeldist_to_angle)
    np.testing.assert_allclose(np.arctan2(ray[0], ray[2]), theta, atol=1e-12)


def test_ftheta_ends_at_its_largest_angle() -> None:
    model = FTheta(**SENSOR, angle_to_pixeldist=(0.0, 900.0), max_angle_rad=0.8)
    points = np.array([[np.sin(a), 0.0, np.cos(a)] for a in (0.79, 0.81)])
    assert model.project(points)[1].tolist() == [True, False]
    pixels = np.array([[model.cx + 900 * angle, model.cy] for angle in (0.79, 0.81)])
    assert model.unproject(pixels)[1].tolist() == [True, False]


def test_points_behind_the_turn_of_the_distortion_do_not_come_back_into_the_image() -> None:
    """With strong barrel distortion the plain formula maps far-off points into the image again."""
    model = Pinhole(**LENS, distortion=(-0.3, 0.0, 0.0, 0.0))
    far = np.array([[1.6, 0.0, 1.0]])
    plain, _ = cv2.projectPoints(
        far,
        np.zeros(3),
        np.zeros(3),
        np.array([[600.0, 0, 650], [0, 610, 350], [0, 0, 1]]),
        np.array(model.distortion),
    )
    assert 0 < plain[0, 0, 0] < model.width
    assert not model.project(far)[1][0]
    assert np.isnan(model.project(far)[0]).all()


def test_scaling_keeps_rays(model: CameraModel) -> None:
    sx, sy = 0.4, 0.25
    scaled = model.scaled_to(round(model.width * sx), round(model.height * sy))
    assert (scaled.width, scaled.height) == (round(model.width * sx), round(model.height * sy))
    rays, valid = model.unproject(grid(model))
    expected = grid(model)[valid] * [sx, sy]
    np.testing.assert_allclose(scaled.project(rays[valid])[0], expected, atol=1e-4)
    np.testing.assert_allclose(scaled.unproject(expected)[0], rays[valid], atol=1e-6)


def test_ftheta_scales_as_alpasim_says() -> None:
    model = MODELS["ftheta"].scaled_to(1916, 540)
    assert isinstance(model, FTheta)
    original = MODELS["ftheta"]
    assert isinstance(original, FTheta)
    sx, sy = 1916 / 1920, 0.5
    np.testing.assert_allclose(model.angle_to_pixeldist, np.multiply(original.angle_to_pixeldist, sy))
    c, d, e = original.linear_cde
    np.testing.assert_allclose(model.linear_cde, (c * sx / sy, d * sx / sy, e))
    np.testing.assert_allclose((model.cx, model.cy), (original.cx * sx, original.cy * sy))


def test_horizontal_field_of_view() -> None:
    wide = Pinhole(width=1000, height=500, fx=500, fy=500, cx=499.5, cy=249.5)
    np.testing.assert_allclose(np.rad2deg(horizontal_fov_rad(wide)), 90.0, atol=1e-6)
    fisheye = Fisheye(width=1000, height=1000, fx=1000 / np.deg2rad(200), fy=280, cx=499.5, cy=499.5)
    np.testing.assert_allclose(np.rad2deg(horizontal_fov_rad(fisheye)), 200.0, atol=1e-6)
    circular = Fisheye(
        width=1000, height=1000, fx=200, fy=200, cx=499.5, cy=499.5, max_angle_rad=np.deg2rad(95)
    )
    np.testing.assert_allclose(np.rad2deg(horizontal_fov_rad(circular)), 190.0, atol=3.0)
    for camera_id, fov_deg in enumerate(ROLE_FOV_DEG):
        np.testing.assert_allclose(
            np.rad2deg(horizontal_fov_rad(nominal_model(camera_id))), fov_deg, atol=1e-6
        )


def test_a_field_of_view_far_from_the_roles_is_warned_about() -> None:
    kitti = Pinhole(width=397, height=120, fx=230.6, fy=230.9, cx=194.5, cy=55.0)
    warning = field_of_view_warning(1, kitti)
    assert warning is not None
    assert warning.startswith("camera front_wide: expected a horizontal field of view near 120 degrees")
    assert "got 81.4" in warning
    assert field_of_view_warning(3, kitti) is None
    assert field_of_view_warning(6, kitti) is not None
    assert all(field_of_view_warning(i, nominal_model(i)) is None for i in range(7))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pinhole(**{**LENS, "fx": 0.0}), "fx: expected a positive number, got 0.0"),
        (lambda: Pinhole(**{**LENS, "cx": np.nan}), "cx: expected a finite number, got nan"),
        (lambda: Pinhole(**{**LENS, "width": 0}), "width: expected a positive whole number, got 0"),
        (lambda: Pinhole(**{**LENS, "height": 1.5}), "height: expected a positive whole number, got 1.5"),
        (lambda: Pinhole(**LENS, distortion=(0.1,) * 6), "expected 0, 4, 5, 8 or 12 coefficients .* got 6"),
        (
            lambda: Pinhole(**LENS, distortion=(0.1, np.inf, 0, 0)),
            r"distortion\[1\]: expected a finite number",
        ),
        (lambda: Fisheye(**LENS, distortion=(0.1,) * 5), "expected 4 coefficients .* got 5"),
        (lambda: Fisheye(**LENS, max_angle_rad=-1), "max_angle_rad: expected zero"),
        (lambda: FTheta(**SENSOR), "angle_to_pixeldist: expected a polynomial .* got"),
        (lambda: FTheta(**SENSOR, angle_to_pixeldist=(3.0, 900.0)), "begins with 0 and then rises"),
        (lambda: FTheta(**SENSOR, angle_to_pixeldist=(0.0, -900.0)), "begins with 0 and then rises"),
        (lambda: FTheta(**SENSOR, angle_to_pixeldist=(0.0, 900.0), reference="both"), "got 'both'"),
        (
            lambda: FTheta(**SENSOR, angle_to_pixeldist=(0.0, 900.0), linear_cde=(1.0, 1.0, 1.0)),
            "linear_cde: expected .* that can be inverted",
        ),
        (
            lambda: Pinhole(**LENS).project(np.zeros((2, 2))),
            r"points_in_camera: expected shape \[N, 3\], got \[2, 2\]",
        ),
        (
            lambda: Pinhole(**LENS).unproject(np.zeros((2, 3))),
            r"pixels: expected shape \[N, 2\], got \[2, 3\]",
        ),
    ],
)
def test_impossible_cameras_are_refused(build, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build()


@settings(max_examples=50, deadline=None)
@given(
    k=st.tuples(*[st.floats(-0.2, 0.2)] * 4),
    width=st.integers(200, 2000),
    f=st.floats(200, 2000),
)
@example(k=(0.0, 0.0, 0.0, 5e-324), width=200, f=200.0)  # a polynomial that cannot be divided by its last
def test_any_fisheye_round_trips_where_it_maps(k, width: int, f: float) -> None:
    model = Fisheye(
        width=width, height=width // 2, fx=f, fy=f * 1.01, cx=width / 2, cy=width / 4, distortion=k
    )
    rays, valid = model.unproject(grid(model, 9, 7))
    back, visible = model.project(rays[valid])
    assert visible.all()
    # Near the turn of the polynomial the radius hardly changes with the angle, in pixels it still agrees.
    np.testing.assert_allclose(back, grid(model, 9, 7)[valid], atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(roots=st.lists(st.floats(0.1, 3.0), min_size=1, max_size=3))
def test_the_first_stationary_point_is_the_smallest(roots: list[float]) -> None:
    slope = np.polynomial.polynomial.polyfromroots(roots)
    polynomial = np.polynomial.polynomial.polyint(slope)
    found = first_stationary_point(polynomial.tolist())
    assert found == pytest.approx(min(roots), abs=0.02) or len(roots) > 1


def test_no_root_beyond_the_reach() -> None:
    assert first_stationary_point((0.0, 1.0, 0.0, 1.0)) == np.inf
    values = invert_monotonic((0.0, 1.0, 0.0, -0.1), np.array([0.0, 0.5, 1.1, 1.3, -1.0, np.nan]), upper=1.8)
    np.testing.assert_allclose(values[:2], [0.0, 0.5136], atol=1e-3)
    assert np.isnan(values[3:]).all()
