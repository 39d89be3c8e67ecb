"""Columns of image tokens are to tell who stands in their directions, and how near.

What all of a picture's tokens have in common tells of a person, who is in one of them, with a fifteenth of
the strength; to find people from that alone takes more pictures than there are. So columns are asked, too.
What is wanted of them follows from the grid of the surroundings, seen from each camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.sim.cameras import SimCamera, default_cameras
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.training.perception.surroundings import GRID_CHANNELS, GRID_SHAPE, X_EDGES_M, Y_EDGES_M
from alpamayo_ros.types import InvalidInput, UInt8Array

SECTOR_KINDS = GRID_CHANNELS[2:]
"""Of road users: those that have a channel of the grid."""
_POINTS_OF_CELL = (-0.35, 0.0, 0.35)
"""Of a cell's size: where it is looked at, so that what only touches a sector is not in it."""
_NEAR_M = 4.0
_FARTHEST_M = 80.0
_PRESENT_WEIGHTS = (1.5, 4.0, 4.0)
_LOSS_WEIGHTS = (3.0, 1.0)
_BETA = 0.2
_WIDTH = 160


@dataclass(frozen=True, eq=False)
class Sectors:
    """What the columns of several instants' pictures are to tell.

    Attributes:
        present: bool [B, C, K, 3], by camera, column from left to right and SECTOR_KINDS.
        nearness: float32 [B, C, K, 3], log(1 + distance / 4 m) of the nearest from the camera, along the
            ground; NaN where there is none.
    """

    present: Tensor
    nearness: Tensor


class SectorReader:
    """Tells what stands in the columns of pictures of the simulator's vehicle.

    Only what the grid holds counts: ahead of the rear axle, within 75 m ahead and 16 m to either side. A
    column that looks elsewhere has nobody.

    Args:
        camera_ids: of the pictures, in their order.
        columns: of tokens in a picture.

    Raises:
        InvalidInput: for no cameras or columns, or a camera that the vehicle lacks.
    """

    def __init__(self, camera_ids: Sequence[int], *, columns: int) -> None:
        cameras = {camera.camera_id: camera for camera in default_cameras()}
        unknown = sorted(set(camera_ids) - set(cameras))
        if not camera_ids or unknown or columns < 1:
            wanted = f"cameras of {sorted(cameras)} and columns"
            raise InvalidInput(f"sectors: expected {wanted}, got {list(camera_ids)}, {columns}")
        points = _cell_points()
        seen = [_seen_from(cameras[camera_id], points, columns=columns) for camera_id in camera_ids]
        self._inside = np.stack([inside for inside, _ in seen])
        self._distance_m = np.stack([distance_m for _, distance_m in seen])

    def read(self, grids: Sequence[UInt8Array]) -> Sectors:
        """Return the sectors of grids uint8 [5, 14, 16] (`Surroundings.grid`)."""
        taken = np.stack(grids)[:, 2:].reshape(len(grids), 1, 1, len(SECTOR_KINDS), -1) > 0
        there = taken & self._inside[None, :, :, None]
        distance_m = np.where(there, self._distance_m[None, :, None, None], np.inf).min(axis=-1)
        present = np.isfinite(distance_m)
        nearness = np.where(present, nearness_of(np.where(present, distance_m, 0.0)), np.nan)
        return Sectors(torch.from_numpy(present), torch.from_numpy(nearness.astype(np.float32)))


class SectorHead(nn.Module):
    """Reads each column of each camera's tokens, the same weights for all of a camera's columns.

    Args:
        cameras: how many.
        rows, columns: of a picture's tokens.
        channels: of each token, DeepStack's features behind the embedding.
    """

    def __init__(self, *, cameras: int, rows: int, columns: int, channels: int) -> None:
        super().__init__()
        self.shape = (cameras, rows, columns)
        self.norm = nn.LayerNorm(channels)
        self.gather = nn.Linear(channels, _WIDTH)
        self.camera = nn.Parameter(torch.zeros(cameras, 1, _WIDTH))
        self.out = nn.Linear(_WIDTH, 2 * len(SECTOR_KINDS))

    def forward(self, features: VisualFeatures) -> tuple[Tensor, Tensor]:
        """Return logits of presence and nearness, both float32 [B, C, K, 3]."""
        tokens = self.norm(torch.cat((features.embeds, *features.deepstack), dim=-1))
        columns = tokens.unflatten(0, (-1, *self.shape)).mean(dim=2)
        present, nearness = self.out(F.gelu(self.gather(columns) + self.camera)).float().chunk(2, dim=-1)
        return present, nearness


def sector_loss(
    read: tuple[Tensor, Tensor], wanted: Sectors
) -> tuple[Tensor, dict[str, float], dict[str, int]]:
    """Return the loss, figures by name, and how many terms each figure is a mean of.

    Cross-entropy for presence, those that are there counting more; a Huber loss for the nearness of those.
    The figures of a kind say how many of them are found, and how many of those found are there.
    """
    logits, nearness = read
    present, known = wanted.present.to(logits.device), wanted.nearness.to(logits.device)
    weights = torch.tensor(_PRESENT_WEIGHTS, device=logits.device)
    of_presence = F.binary_cross_entropy_with_logits(logits, present.float(), pos_weight=weights)
    errors = F.smooth_l1_loss(nearness, known.nan_to_num(), beta=_BETA, reduction="none")
    of_nearness = (errors * present).sum() / present.sum().clamp_min(1)
    total = _LOSS_WEIGHTS[0] * of_presence + _LOSS_WEIGHTS[1] * of_nearness
    means = {"sector_loss": float(total.detach())}
    counts = {"sector_loss": len(logits)}
    found = logits.detach() > 0
    for index, kind in enumerate(SECTOR_KINDS):
        right = int((found & present)[..., index].sum())
        for name, count in (
            (f"found: {kind}", int(present[..., index].sum())),
            (f"true: {kind}", int(found[..., index].sum())),
        ):
            if count:
                means[name], counts[name] = right / count, count
    return total, means, counts


def nearness_of(distance_m: Float64Array) -> Float64Array:
    """Return log(1 + distance / 4 m): near metres count more."""
    return np.asarray(np.log1p(np.minimum(distance_m, _FARTHEST_M) / _NEAR_M))


def _cell_points() -> Float64Array:
    """Return points [14 · 16, 9, 2] of the grid's cells in the rig frame, m."""
    spans = [
        [(low + high) / 2 + (high - low) * np.array(_POINTS_OF_CELL) for low, high in pairwise(edges)]
        for edges in (X_EDGES_M, Y_EDGES_M)
    ]
    points = [
        np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2) for x in spans[0] for y in spans[1]
    ]
    assert len(points) == GRID_SHAPE[1] * GRID_SHAPE[2]
    return np.stack(points)


def _seen_from(
    camera: SimCamera, points: Float64Array, *, columns: int
) -> tuple[NDArray[np.bool_], Float64Array]:
    """Return which cells [K, cells] each column shows, and how far [cells] their middles are, m."""
    model, pose = camera.model, camera.rig_from_camera
    edges = np.linspace(0.0, model.width, columns + 1)
    middle = np.full(columns + 1, model.height / 2)
    rays, valid = model.unproject(np.stack([edges, middle], axis=-1))
    if not valid.all():
        raise InvalidInput(
            f"{camera.logical_id}: expected a lens with a ray for each column, got one without"
        )
    ahead = pose[:2, :3] @ np.array([0.0, 0.0, 1.0])
    of_edges = _bearing(rays @ pose[:2, :3].T, ahead)
    offsets = points - pose[:2, 3]
    of_points = _bearing(offsets.reshape(-1, 2), ahead).reshape(offsets.shape[:2])
    # Columns go from left to right, bearings fall.
    inside = [
        ((of_points <= left) & (of_points > right)).any(axis=1) for left, right in pairwise(of_edges.tolist())
    ]
    distance_m: Float64Array = np.linalg.norm(offsets.mean(axis=1), axis=-1)
    return np.stack(inside), distance_m


def _bearing(vectors: Float64Array, ahead: Float64Array) -> Float64Array:
    """Return the angles of [N, 2] to the left of `ahead`, rad in (−π, π]."""
    along = vectors @ ahead
    left = vectors @ np.array([-ahead[1], ahead[0]])
    return np.asarray(np.arctan2(left, along))
