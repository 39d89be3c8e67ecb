"""The reading head: image tokens to what is about. It is thrown away when the tower has learned to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.training.perception.samples import Sight
from alpamayo_ros.training.perception.surroundings import GRID_SHAPE, HOW_FAR, YES_OR_NO
from alpamayo_ros.types import InvalidInput, UInt8Array

_WIDTH = 384
_GRID_WEIGHTS = (1.0, 1.0, 3.0, 6.0, 6.0)
"""What a cell with something in it counts, by channel: few cells have a pedestrian."""
_YES_WEIGHT = 2.0
_BETA = 0.2


class ReadingHead(nn.Module):
    """Reads all cameras' tokens of one instant, of each camera their mean.

    So every token has to tell of its whole picture, and who attends to a picture learns what is in it without
    knowing where to look: for a small backbone, which has to learn to look from few samples, that is most of
    seeing. Weights for every token of its own, ten million of them, would also know few scenes by heart.

    Args:
        cameras: how many.
        tokens: of each picture.
        channels: of each token, DeepStack's features behind the embedding.
    """

    def __init__(self, *, cameras: int, tokens: int, channels: int) -> None:
        super().__init__()
        self.cameras, self.tokens = cameras, tokens
        self.norm = nn.LayerNorm(channels)
        self.gather = nn.Linear(cameras * channels, _WIDTH)
        self.mix = nn.Linear(_WIDTH, _WIDTH)
        self.out = nn.Linear(_WIDTH, int(np.prod(GRID_SHAPE)) + len(YES_OR_NO) + len(HOW_FAR))

    def forward(self, features: VisualFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [B, 5, 14, 16] of the grid, logits [B, 11] of yes or no, and distances [B, 21]."""
        tokens = self.norm(torch.cat((features.embeds, *features.deepstack), dim=-1))
        rows = tokens.reshape(-1, self.cameras, self.tokens, tokens.shape[-1]).mean(dim=2).flatten(1)
        hidden = F.gelu(self.gather(rows))
        hidden = hidden + F.gelu(self.mix(hidden))
        grid, yes, far = (
            self.out(hidden).float().split([int(np.prod(GRID_SHAPE)), len(YES_OR_NO), len(HOW_FAR)], dim=-1)
        )
        return grid.unflatten(-1, GRID_SHAPE), yes, far


@dataclass(frozen=True, eq=False)
class SightBatch:
    """Sights side by side.

    Attributes:
        frames: uint8 [B · C, 3, h, w], camera by camera of each sight.
        grid: float32 [B, 5, 14, 16].
        yes: float32 [B, 11].
        far: float32 [B, 21], NaN where unknown.
    """

    frames: np.ndarray
    grid: Tensor
    yes: Tensor
    far: Tensor

    @classmethod
    def of(cls, sights: Sequence[Sight]) -> SightBatch:
        """Return a batch; raises InvalidInput for no sights, or pictures of different shapes."""
        shapes = {sight.frames.shape for sight in sights}
        if len(shapes) != 1:
            raise InvalidInput(f"sights: expected pictures of one shape, got {sorted(shapes)}")
        about = [sight.surroundings for sight in sights]
        return cls(
            np.concatenate([sight.frames for sight in sights]),
            torch.from_numpy(np.stack([each.grid for each in about])).float(),
            torch.from_numpy(np.stack([each.yes for each in about])).float(),
            torch.from_numpy(np.stack([each.far for each in about])),
        )


def jittered(frames: UInt8Array, rng: np.random.Generator, *, most: float) -> UInt8Array:
    """Return pictures uint8 [N, 3, h, w] in other light: contrast and colours by up to `most`, each anew."""
    shape = (len(frames), 3, 1, 1)
    gain = 1 + rng.uniform(-most, most, (len(frames), 1, 1, 1)) + rng.uniform(-most, most, shape) / 4
    offset = 128 * rng.uniform(-most, most, (len(frames), 1, 1, 1))
    changed = (frames.astype(np.float32) - 128) * gain.astype(np.float32) + (128 + offset).astype(np.float32)
    return np.clip(changed, 0, 255).astype(np.uint8)


def reading_loss(
    read: tuple[Tensor, Tensor, Tensor], batch: SightBatch
) -> tuple[Tensor, dict[str, float], dict[str, int]]:
    """Return the loss, figures by name, and how many terms each figure is a mean of.

    Cross-entropy for the grid and for yes or no, a Huber loss for known distances; their means are added.
    """
    grid, yes, far = read
    weights = torch.tensor(_GRID_WEIGHTS, device=grid.device)[:, None, None]
    of_grid = F.binary_cross_entropy_with_logits(grid, batch.grid.to(grid.device), pos_weight=weights)
    of_yes = F.binary_cross_entropy_with_logits(yes, batch.yes.to(yes.device))
    wanted = batch.far.to(far.device)
    known = ~wanted.isnan()
    errors = F.smooth_l1_loss(far, wanted.nan_to_num(), beta=_BETA, reduction="none")
    of_far = (errors * known).sum() / known.sum().clamp_min(1)
    total = of_grid.mul(5.0) + of_yes.mul(_YES_WEIGHT) + of_far
    means: dict[str, float] = {}
    counts: dict[str, int] = {}
    with torch.no_grad():
        right = ((yes > 0) == (batch.yes.to(yes.device) > 0.5)).float().mean(dim=0).tolist()
        values = {"loss": float(total), "grid_loss": float(of_grid), "yes_loss": float(of_yes)}
        values["far_loss"] = float(of_far)
        values |= {f"right: {name}": share for name, share in zip(YES_OR_NO, right, strict=True)}
        for name, value in values.items():
            means[name], counts[name] = value, len(yes)
        off = (far - wanted).abs()
        for index, name in enumerate(HOW_FAR):
            count = int(known[:, index].sum())
            if count:
                means[f"off: {name}"] = float(off[:, index][known[:, index]].mean())
                counts[f"off: {name}"] = count
    return total, means, counts
