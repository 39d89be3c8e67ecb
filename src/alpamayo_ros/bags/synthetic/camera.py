"""Pinhole cameras in the vehicle, and what they see of the scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.synthetic.course import FloatArray, Pose
from alpamayo_ros.bags.synthetic.scene import HAZE, Image, Quads, Scene
from alpamayo_ros.types import camera_name

FOV_DEG: tuple[float, ...] = (120.0, 120.0, 120.0, 70.0, 30.0, 70.0, 30.0)
"""Horizontal field of view of Alpamayo's cameras, by camera id."""

MOUNTS: tuple[tuple[float, float, float, float], ...] = (
    (2.35, 0.95, 0.95, 55.0),
    (1.75, 0.0, 1.55, 0.0),
    (2.35, -0.95, 0.95, -55.0),
    (2.25, 0.98, 0.9, 150.0),
    (-0.75, 0.0, 1.2, 180.0),
    (2.25, -0.98, 0.9, -150.0),
    (1.75, 0.12, 1.55, 0.0),
)
"""x, y, z (m) in the rig and yaw (degrees, to the left) of each camera, by camera id; all look level."""

_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation from optical axes (x right, y down, z forward) to the vehicle's (x forward, y left, z up)."""

_NEAR_M = 0.4
_FAR_M = 260.0
_HAZE_M = 170.0
_SKY_SCALE = 4

Thing: TypeAlias = tuple[float, float, Callable[[Image], None]]
"""Distance (m), order at one place, and what draws it."""


@dataclass(frozen=True)
class SyntheticCamera:
    """One camera: Alpamayo's field of view for its role as a pinhole without distortion.

    Attributes:
        camera_id: Alpamayo's.
        width: of the image, pixels.
        height: of the image, pixels.
    """

    camera_id: int
    width: int
    height: int
    rig_from_camera: FloatArray = field(init=False, repr=False)
    _bands: tuple[tuple[int, int, float], ...] = field(init=False, repr=False)
    _sky_azimuth: NDArray[np.float32] = field(init=False, repr=False)
    _sky_elevation: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        camera_name(self.camera_id)
        x, y, z, yaw_deg = MOUNTS[self.camera_id]
        pose = np.eye(4)
        pose[:3, :3] = _turn(np.deg2rad(yaw_deg)) @ _OPTICAL
        pose[:3, 3] = (x, y, z)
        object.__setattr__(self, "rig_from_camera", pose)
        object.__setattr__(self, "_bands", tuple(self._make_bands(z)))
        rows = -(-(self._horizon + 1) // _SKY_SCALE)
        columns = -(-self.width // _SKY_SCALE)
        u = (np.arange(columns) + 0.5) * _SKY_SCALE - 0.5
        v = (np.arange(rows) + 0.5) * _SKY_SCALE - 0.5
        right, down = np.meshgrid(
            (u - self._centre[0]) / self.focal_px, (v - self._centre[1]) / self.focal_px
        )
        object.__setattr__(self, "_sky_azimuth", np.arctan2(-right, 1.0).astype(np.float32))
        object.__setattr__(self, "_sky_elevation", np.arctan2(-down, np.hypot(right, 1.0)).astype(np.float32))

    @property
    def name(self) -> str:
        """Alpamayo's name of the camera."""
        return camera_name(self.camera_id)

    @property
    def frame(self) -> str:
        """TF frame of the optical axes."""
        return f"camera_{self.name}"

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, both ways."""
        return float(self.width / 2 / np.tan(np.deg2rad(FOV_DEG[self.camera_id]) / 2))

    @property
    def intrinsics(self) -> FloatArray:
        """The camera matrix K [3, 3]; whole numbers are pixel centres."""
        centre = self._centre
        return np.array([[self.focal_px, 0, centre[0]], [0, self.focal_px, centre[1]], [0, 0, 1]])

    def render(self, scene: Scene, vehicle: Pose) -> Image:
        """Return what the camera sees, BGR [height, width, 3]: sky, ground, then things from far to near."""
        world_from_rig: FloatArray = np.eye(4)
        world_from_rig[:3, :3] = _turn(vehicle.yaw_rad)
        world_from_rig[:2, 3] = (vehicle.x_m, vehicle.y_m)
        world_from_camera: FloatArray = world_from_rig @ self.rig_from_camera
        camera_from_world: FloatArray = np.asarray(np.linalg.inv(world_from_camera), np.float64)
        image = np.empty((self.height, self.width, 3), np.uint8)
        self._draw_sky(image, scene.panorama, vehicle.yaw_rad + np.deg2rad(MOUNTS[self.camera_id][3]))
        self._draw_ground(image, scene, camera_from_world)
        things = self._visible_quads(scene.quads, camera_from_world, world_from_camera[:3, 3])
        things += self._visible_trees(scene, camera_from_world)
        for _, _, draw in sorted(things, key=lambda thing: (-thing[0], thing[1])):
            draw(image)
        return image

    @property
    def _centre(self) -> tuple[float, float]:
        return (self.width - 1) / 2, (self.height - 1) / 2

    @property
    def _horizon(self) -> int:
        """The last row of the sky."""
        return int(np.floor(self._centre[1]))

    def _make_bands(self, height_m: float) -> list[tuple[int, int, float]]:
        """Cut the ground into bands of rows, each with the width of its nearest row's pixels in metres."""
        bands = []
        top, reach = self._horizon + 1, 2
        while top < self.height:
            bottom = min(self.height, self._horizon + 1 + reach)
            distance_m = height_m * self.focal_px / (bottom - 1 - self._centre[1] + 1e-6)
            bands.append((top, bottom, distance_m / self.focal_px))
            top, reach = bottom, reach * 2
        return bands

    def _draw_sky(self, image: Image, panorama: Image, yaw_rad: float) -> None:
        rows, columns = panorama.shape[:2]
        azimuth = np.mod((self._sky_azimuth + np.float32(yaw_rad)) / np.float32(2 * np.pi), 1.0)
        elevation = 1 - np.clip(self._sky_elevation / np.float32(np.deg2rad(60)), 0, 1)
        small = cv2.remap(
            panorama,
            (azimuth * columns).astype(np.float32),
            (elevation * (rows - 1)).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        full = cv2.resize(small, (small.shape[1] * _SKY_SCALE, small.shape[0] * _SKY_SCALE))
        image[: self._horizon + 1] = full[: self._horizon + 1, : self.width]

    def _draw_ground(self, image: Image, scene: Scene, camera_from_world: FloatArray) -> None:
        """Warp the ground into the image, each band of rows from the pyramid level of its pixels' size."""
        ground = scene.ground
        pixel_from_world = self.intrinsics @ camera_from_world[:3][:, [0, 1, 3]]
        for top, bottom, metres in self._bands:
            level = int(np.clip(np.floor(np.log2(2 * metres / ground.metres[0])), 0, len(ground.levels) - 1))
            shift = np.array([[1.0, 0, 0], [0, 1, -top], [0, 0, 1]])
            band = cv2.warpPerspective(
                ground.levels[level],
                shift @ pixel_from_world @ ground.world_from_pixel(level),
                (self.width, bottom - top),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            image[top:bottom] = band
            self._haze_rows(image, top, bottom)

    def _haze_rows(self, image: Image, top: int, bottom: int) -> None:
        rows = np.arange(top, bottom)
        distance_m = MOUNTS[self.camera_id][2] * self.focal_px / (rows - self._centre[1])
        share = np.round(256 * (1 - np.exp(-distance_m / _HAZE_M))).astype(np.uint16)[:, None, None]
        if share.max() > 5:
            clear = image[top:bottom].astype(np.uint16) * (256 - share)
            image[top:bottom] = (clear + np.array(HAZE, np.uint16) * share) >> 8

    def _visible_quads(self, quads: Quads, camera_from_world: FloatArray, eye: FloatArray) -> list[Thing]:
        rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
        corners = quads.corners_m @ rotation.T + translation
        depths = corners[..., 2]
        faces_us = np.einsum("ij,ij->i", quads.normals, eye - quads.corners_m[:, 0]) > 0
        sideways = np.abs(corners[..., 0]).min(axis=1) < np.maximum(depths.max(axis=1), 0) * 2.0 + 10
        near_enough = (depths.max(axis=1) > _NEAR_M) & (depths.min(axis=1) < _FAR_M)
        chosen = np.flatnonzero(faces_us & sideways & near_enough)
        corners, depths = corners[chosen], depths[chosen]
        pixels = corners[..., :2] / np.maximum(depths, _NEAR_M)[..., None] * self.focal_px + self._centre
        seen = (np.ptp(pixels[..., 1], axis=1) >= 1.5) & (pixels[..., 0].max(axis=1) >= 0)
        seen &= pixels[..., 0].min(axis=1) <= self.width
        cut = depths.min(axis=1) < _NEAR_M
        fixed = _fixed_point(pixels)
        distances = np.hypot(*(quads.boxes_xy_m[chosen] - eye[:2]).T)
        clear = np.exp(-distances / _HAZE_M)[:, None]
        colours = (quads.colours[chosen] * clear + np.array(HAZE) * (1 - clear)).tolist()
        things: list[Thing] = []
        for i in np.flatnonzero(seen | cut):
            polygon = fixed[i]
            if cut[i]:
                clipped = _clip_near(corners[i])
                polygon = _fixed_point(clipped[:, :2] / clipped[:, 2:] * self.focal_px + self._centre)
            draw = partial(_fill, polygon=polygon, colour=colours[i])
            things.append((float(distances[i]), float(quads.ranks[chosen[i]]), draw))
        return things

    def _visible_trees(self, scene: Scene, camera_from_world: FloatArray) -> list[Thing]:
        things: list[Thing] = []
        for tree in scene.trees:
            foot = camera_from_world[:3] @ (*tree.xy_m, 0.0, 1.0)
            if not 1.0 < foot[2] < _FAR_M:
                continue
            height_px = tree.height_m * self.focal_px / foot[2]
            column = foot[0] / foot[2] * self.focal_px + self._centre[0]
            row = foot[1] / foot[2] * self.focal_px + self._centre[1]
            if height_px < 4 or not -height_px < column < self.width + height_px:
                continue
            sizes = scene.sprites[tree.kind]
            fitting = [sprite for sprite in sizes if sprite.shape[0] >= height_px]
            draw = partial(
                _stamp,
                sprite=fitting[-1] if fitting else sizes[0],
                foot_px=(column, row),
                height_px=height_px,
                haze=1 - float(np.exp(-foot[2] / _HAZE_M)),
            )
            things.append((float(np.hypot(foot[0], foot[2])), 0.0, draw))
        return things


def _fill(image: Image, *, polygon: NDArray[np.int32], colour: list[float]) -> None:
    cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_AA, 4)


def _stamp(
    image: Image, *, sprite: Image, foot_px: tuple[float, float], height_px: float, haze: float
) -> None:
    """Lay a sprite over the image, its foot's middle at `foot_px`; only the part that shows is scaled."""
    scale = height_px / sprite.shape[0]
    left, top = foot_px[0] - sprite.shape[1] * scale / 2, foot_px[1] - height_px
    x0, y0 = max(int(left), 0), max(int(top), 0)
    x1 = min(int(np.ceil(left + sprite.shape[1] * scale)), image.shape[1])
    y1 = min(int(np.ceil(foot_px[1])), image.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    if haze > 0.02:  # before scaling: a sprite has far fewer pixels than a tree close by
        sprite = sprite.copy()
        sprite[..., :3] = sprite[..., :3] * (1 - haze) + np.array(HAZE) * haze
    placed = np.array([[scale, 0, left - x0], [0, scale, top - y0]])
    cut = cv2.warpAffine(sprite, placed, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = cut[..., 3].astype(np.float32) / 255
    colour, under = np.ascontiguousarray(cut[..., :3]), np.ascontiguousarray(image[y0:y1, x0:x1])
    image[y0:y1, x0:x1] = cv2.blendLinear(colour, under, alpha, 1 - alpha)


def _turn(yaw_rad: float) -> FloatArray:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _clip_near(polygon: FloatArray) -> FloatArray:
    """Return the part of a polygon [N, 3] that lies beyond the near plane (Sutherland-Hodgman, one plane)."""
    kept = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        inside, next_inside = a[2] >= _NEAR_M, b[2] >= _NEAR_M
        if inside:
            kept.append(a)
        if inside != next_inside:
            kept.append(a + (b - a) * ((_NEAR_M - a[2]) / (b[2] - a[2])))
    return np.array(kept)


def _fixed_point(pixels: FloatArray) -> NDArray[np.int32]:
    """Return pixels as OpenCV's polygons take them, in sixteenths."""
    return np.round(np.clip(pixels, -20_000, 20_000) * 16).astype(np.int32)
