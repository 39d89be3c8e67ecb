"""A network run by lean layers: what `AlpamayoNetwork` computes, with less around it.

`Runner` is what the engine asks of a network; `AlpamayoNetwork` answers by the library's layers,
`LeanNetwork` by our own over the same weights. Which one ran cannot be told by tokens, nor by waypoints
beyond rounding.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from alpamayo_ros.model.kv_cache import KeyValueCache
from alpamayo_ros.model.lean_attention import LinearFunction
from alpamayo_ros.model.lean_layers import (
    CannotBeLean,
    LeanLayers,
    Rotation,
    linear_function,
    rotation_of,
)
from alpamayo_ros.model.lean_vision import LeanVision
from alpamayo_ros.model.network import AlpamayoNetwork, VelocityFunction, VisualFeatures

_log = logging.getLogger(__name__)
_TABLE_STEP = 1024


class Runner(Protocol):
    """What the engine needs of a network; shapes are those of AlpamayoNetwork's methods."""

    @property
    def device(self) -> torch.device: ...

    def autocast(self) -> torch.autocast: ...

    def encode_images(self, pixel_values: Tensor, grid_thw: Tensor) -> VisualFeatures: ...

    def embed(self, token_ids: Tensor) -> Tensor: ...

    def read_prompt(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: KeyValueCache,
        *,
        visual: VisualFeatures,
        visual_index: Tensor,
    ) -> Tensor: ...

    def read_tail(
        self, token_ids: Tensor, first_position: int, cache: KeyValueCache, *, attention_mask: Tensor | None
    ) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...

    def velocity_function(
        self, positions: Tensor, cache: KeyValueCache, *, attention_mask: Tensor | None
    ) -> VelocityFunction: ...

    def new_cache(self, *, batch: int, capacity: int) -> KeyValueCache: ...


def fastest(network: AlpamayoNetwork) -> Runner:
    """Return a lean runner over `network`'s weights, or `network` where its layers are not plain Qwen3-VL.

    Which one is said in the log. To be called before the weights are shared with another process or graph:
    parameters become views of fused ones.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            return LeanNetwork(network)
    except CannotBeLean as error:
        _log.warning("runs the library's own layers, slower: %s", error)
        return network


class LeanNetwork:
    """Runs the weights of an AlpamayoNetwork.

    Raises:
        CannotBeLean: for layers that are not plain Qwen3-VL.
    """

    def __init__(self, network: AlpamayoNetwork) -> None:
        self._network = network
        linear = linear_function(network.device, network.dtype)
        model: Any = network.vlm.model
        self._linear = linear
        self._visual = LeanVision(model.visual, linear)
        self._text = LeanLayers(model.language_model, network.text_config, linear)
        self._expert = LeanLayers(network.expert, network.expert.config, linear)
        self._actions_in = _ActionsIn(network, linear)
        self._rotary: Any = model.language_model.rotary_emb
        self._table: Rotation | None = None
        self._prompt: tuple[Tensor, Rotation] | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._network.device

    def autocast(self) -> torch.autocast:
        """Return the context every forward runs in."""
        return self._network.autocast()

    def new_cache(self, *, batch: int, capacity: int) -> KeyValueCache:
        """Return an empty cache in the network's dtype and device."""
        return self._network.new_cache(batch=batch, capacity=capacity)

    def encode_images(self, pixel_values: Tensor, grid_thw: Tensor) -> VisualFeatures:
        """Return the features of patches float32 [N, 1536] of images with patch grids int64 [images, 3]."""
        grids: list[list[int]] = grid_thw.tolist()
        if any(times != 1 for times, _, _ in grids):
            raise ValueError(f"grid_thw: expected still images, got {grids}")
        patches = pixel_values.split([rows * columns for _, rows, columns in grids])
        images = [
            self._visual.encode(part, rows, columns)
            for part, (_, rows, columns) in zip(patches, grids, strict=True)
        ]
        if len(images) == 1:
            return images[0]
        deepstack = tuple(torch.cat(parts) for parts in zip(*(i.deepstack for i in images), strict=True))
        return VisualFeatures(torch.cat([image.embeds for image in images]), deepstack)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Return text embeddings [B, L, hidden] of ids [B, L]."""
        table: Any = self._network.vlm.model.language_model.embed_tokens
        return functional.embedding(token_ids, table.weight)

    def read_prompt(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: KeyValueCache,
        *,
        visual: VisualFeatures,
        visual_index: Tensor,
    ) -> Tensor:
        """Read a prompt of one row into an empty cache; return the last token's hidden state [1, hidden].

        Args:
            embeds: [1, L, hidden].
            positions: int64 [3, 1, L]; angles are kept for the tensor that was given last.
            cache: empty; written to, not advanced.
            visual: image features, in the order of the placeholders.
            visual_index: int64 [N], the placeholders' indices; not the last token's.
        """
        width = embeds.shape[-1]
        hidden = embeds.view(-1, width).index_copy(0, visual_index, visual.embeds.to(embeds.dtype))
        hidden = hidden.view(embeds.shape)
        rotation = self._prompt_rotation(hidden, positions)
        last = len(self._text) - 1
        for index in range(last):
            hidden = self._text.through(hidden, index, rotation, cache, causal=True)
            if index < len(visual.deepstack):
                seen = visual.deepstack[index].to(hidden.dtype)
                hidden = hidden.view(-1, width).index_add(0, visual_index, seen).view(embeds.shape)
        # DeepStack behind the last layer would reach image tokens only, and nobody reads those any more.
        hidden = self._text.last_through(hidden, last, rotation, cache)
        return self._text.normed(hidden)[:, -1]

    def read_tail(
        self, token_ids: Tensor, first_position: int, cache: KeyValueCache, *, attention_mask: Tensor | None
    ) -> Tensor:
        """Read tokens behind a prompt; return normed hidden states [B, L, hidden].

        Args:
            token_ids: int64 [B, L], text alone.
            first_position: of the first, on all three axes.
            cache: of B rows; written to, not advanced.
            attention_mask: bool [B or 1, 1, L, entries]; None for L = 1.
        """
        hidden = self.embed(token_ids)
        rotation = self._text_rotation(first_position, token_ids.shape[1], hidden.dtype)
        for index in range(len(self._text)):
            hidden = self._text.through(hidden, index, rotation, cache, mask=attention_mask)
        return self._text.normed(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's logits, float32 [rows, vocabulary], of hidden states [rows, hidden]."""
        head: Any = self._network.vlm.lm_head
        return self._linear(hidden, head.weight, head.bias).float()

    def velocity_function(
        self, positions: Tensor, cache: KeyValueCache, *, attention_mask: Tensor | None
    ) -> VelocityFunction:
        """Return the flow's velocity over a cache; see AlpamayoNetwork.velocity for shapes.

        What the steps have in common is made here: rotary angles, and keys and values stay where they are.
        """
        network, experts = self._network, self._expert
        out = network.action_out_proj
        rotary: Any = network.expert.rotary_emb
        rotation: Rotation | None = None

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            nonlocal rotation
            batch, count, _ = actions.shape
            hidden = self._actions_in(actions, time)
            if rotation is None:
                rotation = rotation_of(*rotary(hidden, positions))
            for index in range(len(experts)):
                hidden = experts.through(hidden, index, rotation, cache, mask=attention_mask)
            flat = experts.normed(hidden).view(batch * count, -1)
            return self._linear(flat, out.weight, out.bias).float().view(batch, count, -1)

        return velocity

    def _prompt_rotation(self, hidden: Tensor, positions: Tensor) -> Rotation:
        if self._prompt is None or self._prompt[0] is not positions:
            self._prompt = positions, rotation_of(*self._rotary(hidden, positions))
        return self._prompt[1]

    def _text_rotation(self, first: int, count: int, dtype: torch.dtype) -> Rotation:
        """Return the rotation of `count` text tokens from position `first` on, from a table that grows."""
        end = first + count
        if self._table is None or self._table[0].shape[1] < end or self._table[0].dtype != dtype:
            rows = -(-end // _TABLE_STEP) * _TABLE_STEP
            places = torch.arange(rows, device=self.device).expand(3, 1, -1)
            like = torch.empty(0, dtype=dtype, device=self.device)
            self._table = rotation_of(*self._rotary(like, places))
        cos, sin = self._table
        return cos[:, first:end], sin[:, first:end]


class _ActionsIn:
    """`ActionInProj` with the Fourier features of all actions made at once, those of the time once a row."""

    def __init__(self, network: AlpamayoNetwork, linear: LinearFunction) -> None:
        module: Any = network.action_in_proj
        self._linear = linear
        self._action_frequencies = torch.cat([encode.freqs for encode in module.sinus])
        self._time: Any = module.timestep_fourier_encoder
        self._trunk: list[nn.Module] = list(module.encoder.trunk)
        self._norm: nn.Module = module.norm

    def __call__(self, actions: Tensor, time: Tensor) -> Tensor:
        """Project float32 [B, 64, 2] and [B, 1, 1] to expert tokens [B, 64, expert hidden]."""
        batch, count, _ = actions.shape
        phase = actions[..., None] * self._action_frequencies * (2 * math.pi)
        waves = torch.cat((phase.sin(), phase.cos()), dim=-1) * math.sqrt(2)
        times = self._time(time[..., 0]).expand(-1, count, -1)
        x = torch.cat((waves.flatten(2), times), dim=-1).view(batch * count, -1)
        for module in self._trunk:
            if type(module) is nn.Linear:
                x = self._linear(x, module.weight, module.bias)
            else:
                x = module(x)
        x = self._norm(x)
        return x.view(batch, count, -1)
