"""What a projected box covers in an image, by the camera's formula alone."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib.path import Path

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]


def hull_mask(model, box):
    """The pixels inside the projected box, from its edges by the formula."""
    at = np.linspace(0, 1, 40)
    points = np.concatenate(
        [(CORNERS[a] + (CORNERS[b] - CORNERS[a]) * t[:, None]) for a, b in EDGES for t in (at,)]
    )
    pixels, _ = model.project(points @ box[:3, :3].T + box[:3, 3])
    if not np.isfinite(pixels).all():
        return None
    outline = convex_outline(pixels)
    low = np.maximum(np.floor(outline.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 1, (model.width, model.height))
    mask = np.zeros((model.height, model.width), bool)
    v, u = np.mgrid[low[1] : high[1], low[0] : high[0]]
    if u.size:
        inside = Path(outline).contains_points(np.stack([u.ravel(), v.ravel()], axis=1))
        mask[low[1] : high[1], low[0] : high[0]] = inside.reshape(u.shape)
    return mask


def convex_outline(pixels):
    return cv2.convexHull(pixels.astype(np.float32))[:, 0]


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)
