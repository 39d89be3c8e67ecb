"""The vision tower for one image at a time, without the library's modules around it.

What depends on an image's size alone, learned positions brought to its grid and rotary angles, is made once
per size and kept. The operations are those of transformers' Qwen3-VL tower, in its order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from alpamayo_ros.model.lean_attention import LinearFunction
from alpamayo_ros.model.lean_layers import CannotBeLean, Rotation, rotate, rotation_of
from alpamayo_ros.model.network import VISION_ROPE_THETA, VisualFeatures, inverse_frequencies

_EPS = 1e-6
_ACTIVATIONS = {"gelu_pytorch_tanh": "tanh", "gelu": "none"}
_MAX_SIZES = 32


class LeanVision:
    """Encodes images of one network.

    Args:
        tower: a Qwen3VLVisionModel.
        linear: see `lean_layers.linear_function`.

    Raises:
        CannotBeLean: for another activation.
    """

    def __init__(self, tower: nn.Module, linear: LinearFunction) -> None:
        self._tower: Any = tower
        self._linear = linear
        config: Any = self._tower.config
        if config.hidden_act not in _ACTIVATIONS:
            raise CannotBeLean(
                f"vision hidden_act: expected one of {', '.join(_ACTIVATIONS)}, got {config.hidden_act}"
            )
        self._gelu = _ACTIVATIONS[config.hidden_act]
        self._heads = int(config.num_heads)
        self._width = int(config.hidden_size)
        self._merge = int(config.spatial_merge_size)
        self._merged = self._width * self._merge**2
        self._deepstack = {layer: i for i, layer in enumerate(config.deepstack_visual_indexes)}
        self._sizes: dict[tuple[int, int], tuple[Tensor, Rotation]] = {}

    def encode(self, patches: Tensor, rows: int, columns: int) -> VisualFeatures:
        """Return the features of one image: float32 patches [rows * columns, 1536] in merge order."""
        tower, linear = self._tower, self._linear
        positions, rotation = self._of_size(rows, columns)
        projection = tower.patch_embed.proj
        weight = projection.weight.view(self._width, -1)
        x = linear(patches.to(weight.dtype), weight, projection.bias)
        x = x + positions.to(x.dtype)
        deepstack: list[Tensor] = []
        for index, block in enumerate(tower.blocks):
            x = self._through(block, x, rotation)
            if index in self._deepstack:
                merger = tower.deepstack_merger_list[self._deepstack[index]]
                deepstack.append(self._merge_tokens(merger, x.view(-1, self._merged), norm_first=False))
        return VisualFeatures(self._merge_tokens(tower.merger, x, norm_first=True), tuple(deepstack))

    def _through(self, block: Any, x: Tensor, rotation: Rotation) -> Tensor:
        linear, attention = self._linear, block.attn
        count = x.shape[0]
        qkv = linear(_normed(x, block.norm1), attention.qkv.weight, attention.qkv.bias)
        qkv = qkv.view(1, count, 3 * self._heads, -1)
        # As the library: angles are float32 whatever the tower computes in.
        turned = rotate(qkv[:, :, : 2 * self._heads].float(), rotation).to(qkv.dtype)
        query, key = turned.transpose(1, 2).chunk(2, dim=1)
        value = qkv[:, :, 2 * self._heads :].transpose(1, 2)
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).reshape(count, self._width)
        x = x + linear(attended, attention.proj.weight, attention.proj.bias)
        mlp = block.mlp
        inner = linear(_normed(x, block.norm2), mlp.linear_fc1.weight, mlp.linear_fc1.bias)
        inner = functional.gelu(inner, approximate=self._gelu)
        return x + linear(inner, mlp.linear_fc2.weight, mlp.linear_fc2.bias)

    def _merge_tokens(self, merger: Any, x: Tensor, *, norm_first: bool) -> Tensor:
        x = _normed(x, merger.norm).view(-1, self._merged)
        inner = functional.gelu(self._linear(x, merger.linear_fc1.weight, merger.linear_fc1.bias))
        return self._linear(inner, merger.linear_fc2.weight, merger.linear_fc2.bias)

    def _of_size(self, rows: int, columns: int) -> tuple[Tensor, Rotation]:
        found = self._sizes.get((rows, columns))
        if found is None:
            if len(self._sizes) >= _MAX_SIZES:
                self._sizes.pop(next(iter(self._sizes)))
            found = self._positions(rows, columns), self._rotation(rows, columns)
            self._sizes[rows, columns] = found
        return found

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Interpolate the learned square grid bilinearly, corners on corners: [rows * columns, width]."""
        table: Tensor = self._tower.pos_embed.weight
        side = round(table.shape[0] ** 0.5)
        row, row_share = _taps(rows, side, table.device)
        column, column_share = _taps(columns, side, table.device)
        index = row[:, None, :, None] * side + column[None, :, None, :]
        share = row_share[:, None, :, None] * column_share[None, :, None, :]
        index, share = (self._in_merge_order(t).flatten(1) for t in (index, share))
        return (table[index] * share[:, :, None]).sum(1)

    def _rotation(self, rows: int, columns: int) -> Rotation:
        device = self._tower.pos_embed.weight.device
        frequencies = inverse_frequencies(self._width // self._heads // 2, VISION_ROPE_THETA).to(device)
        angles = [torch.arange(n, device=device)[:, None].float() * frequencies for n in (rows, columns)]
        grid = torch.cat(
            (
                angles[0][:, None].expand(-1, columns, -1),
                angles[1][None].expand(rows, -1, -1),
            ),
            dim=-1,
        )
        flat = self._in_merge_order(grid)
        whole = torch.cat((flat, flat), dim=-1)
        return rotation_of(whole.cos(), whole.sin())

    def _in_merge_order(self, grid: Tensor) -> Tensor:
        """Flatten [rows, columns, ...] as patches come: those of a token are neighbours."""
        merge, (rows, columns) = self._merge, grid.shape[:2]
        blocks = grid.reshape(rows // merge, merge, columns // merge, merge, *grid.shape[2:])
        return blocks.transpose(1, 2).reshape(rows * columns, *grid.shape[2:])


def _taps(count: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the two neighbours [count, 2] in a row of `side`, and their shares."""
    place = torch.linspace(0, side - 1, count, device=device)
    low = place.long()
    share = place - low
    return torch.stack((low, (low + 1).clamp(max=side - 1)), -1), torch.stack((1 - share, share), -1)


def _normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, _EPS)
