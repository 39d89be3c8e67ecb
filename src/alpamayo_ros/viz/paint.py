"""Strokes and fills with fractions of a pixel; whole-number pixels are pixel centres, here and in OpenCV."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.colours import RGB

Pixels = NDArray[np.float64]

_SHIFT = 4
_BEYOND_PX = 1e5


def fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    """Return pixels [..., 2] as OpenCV takes them: in sixteenths. What is far outside comes nearer."""
    if not np.isfinite(points).all():
        points = np.nan_to_num(points)
    return np.round(np.clip(points, -_BEYOND_PX, _BEYOND_PX) * 2**_SHIFT).astype(np.int32)


def fill(image: UInt8Array, polygons: Sequence[Pixels], colour: RGB, *, opacity: float = 1.0) -> None:
    """Fill polygons [N, 2] of a picture [H, W, 3]; where they overlap they count once."""
    if not polygons or opacity == 0:
        return
    if opacity == 1:
        for polygon in polygons:
            cv2.fillPoly(image, [fixed(polygon)], colour, cv2.LINE_AA, _SHIFT)
        return
    height, width = image.shape[:2]
    low = np.min([polygon.min(axis=0) for polygon in polygons], axis=0) - 1
    high = np.max([polygon.max(axis=0) for polygon in polygons], axis=0) + 2
    x0, y0 = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    if x0 >= x1 or y0 >= y1:
        return
    region = image[y0:y1, x0:x1]
    painted = region.copy()
    for polygon in polygons:
        cv2.fillPoly(painted, [fixed(polygon - (x0, y0))], colour, cv2.LINE_AA, _SHIFT)
    region[:] = cv2.addWeighted(painted, opacity, region, 1 - opacity, 0)


def polyline(
    image: UInt8Array, points: NDArray[np.floating], colour: RGB, *, thickness: int = 1, closed: bool = False
) -> None:
    """Draw a line through pixels [N, 2]."""
    cv2.polylines(image, [fixed(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)


def dot(
    image: UInt8Array, centre: Sequence[float] | NDArray[np.floating], colour: RGB, *, radius: float
) -> None:
    """Draw a disc."""
    x, y = (int(v) for v in fixed(np.asarray(centre)))
    cv2.circle(image, (x, y), round(radius * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)
