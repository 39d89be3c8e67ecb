"""A camera model as the GPU sees it: numbers for the vertex shader, and a grid of rays over the image.

Vertices are projected by the lens itself and joined by straight lines; meshes near the camera are cut finely
enough for that (see mesh_library.py). So a wide-angle image costs its own pixels, not those of a much larger
pinhole image that would have to be warped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel, Fisheye, FTheta, Pinhole
from alpamayo_ros.types import InvalidInput

RADIAL_SAMPLES = 2048
"""Samples of the radius over the angle from 0 to pi; between them it is linear."""

_CELL_PX = 16
_BEYOND_RAD = np.deg2rad(12.0)
_CLIP_BEYOND_RAD = np.deg2rad(55.0)

GLSL = """
uniform int lens_kind;           // 0 radius over angle, 1 pinhole
uniform vec4 lens_linear;        // radial: [[x, y], [z, w]]; pinhole: fx, 0, 0, fy
uniform vec2 lens_centre;        // pixels
uniform vec2 lens_size;          // pixels
uniform vec3 lens_angles;        // last exact angle, clip angle, slope of the radius beyond the first
uniform float lens_distortion[12];
uniform sampler2D lens_radius;   // radius / sample of the angle, RADIAL_SAMPLES x 1
out float gl_ClipDistance[1];

vec2 lens_distort(vec2 p) {
    float k1 = lens_distortion[0], k2 = lens_distortion[1], p1 = lens_distortion[2], p2 = lens_distortion[3];
    float r2 = dot(p, p);
    float up = 1.0 + r2 * (k1 + r2 * (k2 + r2 * lens_distortion[4]));
    float down = 1.0 + r2 * (lens_distortion[5] + r2 * (lens_distortion[6] + r2 * lens_distortion[7]));
    vec2 tangential = vec2(2.0 * p1 * p.x * p.y + p2 * (r2 + 2.0 * p.x * p.x),
                           p1 * (r2 + 2.0 * p.y * p.y) + 2.0 * p2 * p.x * p.y);
    vec2 prism = r2 * (vec2(lens_distortion[8], lens_distortion[10])
                       + r2 * vec2(lens_distortion[9], lens_distortion[11]));
    return p * (up / down) + tangential + prism;
}

// Pixel of a point in the optical frame. Behind the last exact angle the radius goes on in a straight line,
// so that what reaches out of the image still has its right half inside it.
vec2 lens_pixel(vec3 p, out float theta) {
    float rho = length(p.xy);
    theta = atan(rho, p.z);
    vec2 direction = rho > 1e-9 ? p.xy / rho : vec2(0.0);
    float inside = min(theta, lens_angles.x);
    float beyond = theta - inside;
    vec2 plane;
    if (lens_kind == 0) {
        float at = inside * RADIAL_SCALE;
        int index = min(int(at), RADIAL_LAST - 1);
        float a = texelFetch(lens_radius, ivec2(index, 0), 0).r;
        float b = texelFetch(lens_radius, ivec2(index + 1, 0), 0).r;
        plane = direction * (mix(a, b, at - float(index)) + beyond * lens_angles.z);
    } else {
        vec2 exact = lens_distort(direction * tan(inside));
        plane = beyond > 0.0 ? exact * (1.0 + beyond * lens_angles.z) : exact;
    }
    return vec2(dot(lens_linear.xy, plane), dot(lens_linear.zw, plane)) + lens_centre;
}

// Clip-space position; w is the distance, so attributes are interpolated in perspective.
vec4 lens_project(vec3 p) {
    float theta;
    vec2 pixel = lens_pixel(p, theta);
    vec2 ndc = (pixel + 0.5) / lens_size * 2.0 - 1.0;
    float d = length(p);
    gl_ClipDistance[0] = lens_angles.y - theta;
    return vec4(ndc.x * d, ndc.y * d, DEPTH_A * d + DEPTH_B, d);
}
"""
"""The image is drawn upside down (row 0 at the framebuffer's bottom), so that it is read top row first."""

NEAR_M, FAR_M = 0.1, 4000.0


def glsl_source() -> str:
    """Return GLSL with the constants filled in."""
    a = (FAR_M + NEAR_M) / (FAR_M - NEAR_M)
    b = -2.0 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
    return (
        GLSL.replace("RADIAL_SCALE", f"{(RADIAL_SAMPLES - 1) / np.pi:.9f}")
        .replace("RADIAL_LAST", str(RADIAL_SAMPLES - 1))
        .replace("DEPTH_A", f"{a:.9f}")
        .replace("DEPTH_B", f"{b:.9f}")
    )


@dataclass(frozen=True, eq=False)
class RayGrid:
    """Rays at the corners of a grid of cells that covers the image.

    Attributes:
        ndc: float32 [V, 2], the corners in normalised device coordinates, row 0 of the image at -1.
        rays: float32 [V, 3] in the optical frame, unit length.
        triangles: int32 [C, 6], two triangles a cell.
    """

    ndc: NDArray[np.float32]
    rays: NDArray[np.float32]
    triangles: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class GpuLens:
    """What the shaders need to know of a camera model.

    Attributes:
        kind: 0 for a radius over the angle (f-theta, fisheye), 1 for a pinhole with distortion.
        linear: [[xx, xy], [yx, yy]] from the plane (pixels, or pinhole's z = 1 plane) to pixels.
        centre_px: principal point.
        angles_rad: the last angle at which the projection is exact, the angle at which triangles are clipped,
            and the slope at which the radius goes on between them.
        distortion: 12 numbers in the order that `lens_distort` reads.
        radius: float32 [RADIAL_SAMPLES] in pixels (or of the unit plane, for a fisheye).
        max_angle_rad: nothing in the image is at a larger angle to the axis.
        pixels_per_rad: at the centre, for levels of detail.
        bend_px: how strongly the lens bends straight lines: one that spans an angle phi is at most
            phi^2 / 8 * bend_px pixels away from its chord in the image. 0 for an ideal pinhole.
        grid: rays over the image; cells that the lens does not reach are left out.
        unmapped: bool [H, W], pixels that the lens does not reach; None if it reaches all.
    """

    model: CameraModel
    kind: int
    linear: NDArray[np.float64]
    centre_px: tuple[float, float]
    angles_rad: tuple[float, float, float]
    distortion: tuple[float, ...]
    radius: NDArray[np.float32]
    max_angle_rad: float
    pixels_per_rad: float
    bend_px: float
    grid: RayGrid
    unmapped: NDArray[np.bool_] | None

    @cached_property
    def plane_scale(self) -> float:
        """Pixels per unit of the plane, of equal area."""
        return float(np.sqrt(abs(np.linalg.det(self.linear))))

    @cached_property
    def plane_stretch(self) -> float:
        """How much longer than that the longest unit of the plane is in the image."""
        return float(np.linalg.norm(self.linear / self.plane_scale, 2))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.model.width, self.model.height


def gpu_lens(model: CameraModel) -> GpuLens:
    """Return the lens of a camera model; raises InvalidInput for a kind that the shaders do not know."""
    if not isinstance(model, (Pinhole, Fisheye, FTheta)):
        raise InvalidInput(f"camera model: expected Pinhole, Fisheye or FTheta, got {type(model).__name__}")
    return _gpu_lens(model)


@lru_cache(maxsize=64)
def _gpu_lens(model: Pinhole | Fisheye | FTheta) -> GpuLens:
    grid, unmapped, widest = _ray_grid(model)
    limit = _limit_rad(model)
    exact = min(widest + _BEYOND_RAD, limit * (1.0 - 1e-6), np.pi - 1e-3)
    if isinstance(model, Pinhole):
        exact = min(exact, np.pi / 2 - 0.02)
    clip = min(exact + _CLIP_BEYOND_RAD, np.pi - 0.05)
    radius = np.zeros(RADIAL_SAMPLES, np.float32)
    distortion = (0.0,) * 12
    if isinstance(model, Pinhole):
        kind, linear = 1, np.diag([model.fx, model.fy])
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (
            *model.distortion,
            *(0.0,) * (12 - len(model.distortion)),
        )
        distortion = (k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4)
        slope = 2.0 / max(np.sin(2 * exact), 1e-3)  # of tan, relative to it
    else:
        kind = 0
        angles = np.linspace(0.0, np.pi, RADIAL_SAMPLES)
        radius, slope = _radius_over_angle(model, angles, exact)
        linear = (
            np.diag([model.fx, model.fy])
            if isinstance(model, Fisheye)
            else np.array([[model.linear_cde[0], model.linear_cde[1]], [model.linear_cde[2], 1.0]])
        )
    return GpuLens(
        model=model,
        kind=kind,
        linear=linear,
        centre_px=(model.cx, model.cy),
        angles_rad=(exact, clip, slope),
        distortion=distortion,
        radius=radius,
        max_angle_rad=min(widest, limit),
        pixels_per_rad=_pixels_per_rad(model),
        bend_px=_bend_px(model, min(widest, limit)),
        grid=grid,
        unmapped=unmapped,
    )


def _limit_rad(model: Pinhole | Fisheye | FTheta) -> float:
    if isinstance(model, Pinhole):
        return float(np.arctan(min(model._max_radius, 1e6)))
    return float(model._limit_rad)


def _pixels_per_rad(model: CameraModel) -> float:
    """Return the pixels per rad near the centre of the image, across and down the larger of the two."""
    step = 0.01
    points = np.array([[0, 0, 1], [np.tan(step), 0, 1], [0, np.tan(step), 1]])
    pixels, _ = model.project(points)
    return float(np.linalg.norm(pixels[1:] - pixels[0], axis=1).max() / step)


def _bend_px(model: CameraModel, widest_rad: float) -> float:
    """Return GpuLens.bend_px, by looking at how short straight lines all over the image are bent.

    A line through a direction is a great circle; the part of its image's second derivative that is across the
    line's image is what bends it, and the distance to the chord is an eighth of that times the span squared.
    """
    step = 0.01
    theta, turn, way = (
        a.ravel()
        for a in np.meshgrid(
            np.linspace(0.02, max(widest_rad - step, 0.03), 24),
            np.linspace(0.0, 2 * np.pi, 12, endpoint=False),
            np.linspace(0.0, np.pi, 12, endpoint=False),
        )
    )
    ahead = np.stack([np.sin(theta) * np.cos(turn), np.sin(theta) * np.sin(turn), np.cos(theta)], axis=1)
    outwards = np.stack([np.cos(theta) * np.cos(turn), np.cos(theta) * np.sin(turn), -np.sin(theta)], axis=1)
    along = outwards * np.cos(way)[:, None] + np.cross(ahead, outwards) * np.sin(way)[:, None]
    before, at, after = (
        model.project(ahead * np.cos(k * step) + along * np.sin(k * step))[0] for k in (-1, 0, 1)
    )
    first, second = (after - before) / (2 * step), (after - 2 * at + before) / step**2
    across = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    bend = across / np.maximum(np.linalg.norm(first, axis=1), 1e-9)
    return float(np.nanmax(bend, initial=0.0))


def _radius_over_angle(
    model: Fisheye | FTheta, angles: NDArray[np.float64], exact: float
) -> tuple[NDArray[np.float32], float]:
    """Sample the radius in the image plane, and its slope at the last exact angle."""

    def radius_at(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        points = np.stack([np.sin(theta), np.zeros_like(theta), np.cos(theta)], axis=1)
        pixels, _ = model.project(points)
        if isinstance(model, Fisheye):
            return np.asarray((pixels[:, 0] - model.cx) / model.fx)
        c, _, e = model.linear_cde
        # (u, v) - centre is (c, e) times the radius for a direction along x; c or e may be small, not both.
        return np.asarray((pixels - (model.cx, model.cy)) @ np.array([c, e]) / (c * c + e * e))

    step = 1e-4
    last = radius_at(np.array([exact - step, exact]))
    slope = float((last[1] - last[0]) / step)
    radius = np.zeros(len(angles))
    inside = angles <= exact
    radius[inside] = radius_at(angles[inside])
    radius[~inside] = last[1] + (angles[~inside] - exact) * slope
    return radius.astype(np.float32), slope


def _ray_grid(model: CameraModel) -> tuple[RayGrid, NDArray[np.bool_] | None, float]:
    """Return the grid, the pixels that the lens does not reach, and the widest angle in the image."""
    cell = max(_CELL_PX, round(_CELL_PX * model.width / 1152))
    u, v, rays, valid, across = _grid_of_rays(model, cell)
    unmapped = None
    if not valid.all():
        # The rim of the image circle: smaller cells, and exact to the pixel by a mask.
        u, v, rays, valid, across = _grid_of_rays(model, max(2, cell // 8))
        y, x = np.mgrid[: model.height, : model.width]
        reached = model.unproject(np.stack([x.ravel(), y.ravel()], axis=1))[1]
        unmapped = ~reached.reshape(model.height, model.width)
        if not valid.any():
            raise InvalidInput(
                "camera model: expected a lens that maps some of the image, got one that maps none"
            )
    ndc = np.stack([(u + 0.5) / model.width * 2 - 1, (v + 0.5) / model.height * 2 - 1], axis=1)
    corner = np.arange(len(u)).reshape(-1, across)[:-1, :-1].ravel()
    cells = np.stack([corner, corner + 1, corner + across, corner + across + 1], axis=1)
    triangles = cells[valid[cells].all(axis=1)][:, [0, 1, 2, 1, 3, 2]]
    widest = float(np.arccos(np.clip(rays[valid, 2], -1, 1)).max())
    rays = np.where(valid[:, None], rays, 0.0)
    return (
        RayGrid(ndc.astype(np.float32), rays.astype(np.float32), triangles.astype(np.int32)),
        unmapped,
        widest,
    )


def _grid_of_rays(
    model: CameraModel, cell: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], int]:
    """Return u, v, rays and validity of the corners of cells, row by row, and how many make a row."""
    columns = np.linspace(-0.5, model.width - 0.5, max(2, -(-model.width // cell)) + 1)
    rows = np.linspace(-0.5, model.height - 0.5, max(2, -(-model.height // cell)) + 1)
    u, v = (a.ravel() for a in np.meshgrid(columns, rows))
    rays, valid = model.unproject(np.stack([u, v], axis=1))
    return u, v, rays, valid, len(columns)
