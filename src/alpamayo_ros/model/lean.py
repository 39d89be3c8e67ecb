"""A network run by lean layers: what `AlpamayoNetwork` computes, with less around it.

`Runner` is what the engine asks of a network; `AlpamayoNetwork` answers by the library's layers,
`LeanNetwork` by our own over the same weights. Which one ran cannot be told by tokens, nor by waypoints
beyond rounding.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from alpamayo_ros.model.expert_context import ExpertContext
from alpamayo_ros.model.flow_matching import FlowMatching, StepVelocity
from alpamayo_ros.model.fp8 import Quantiser
from alpamayo_ros.model.kv_cache import KeyValueCache, causal_behind
from alpamayo_ros.model.lean_attention import AttentionChoice, LinearFunction, Phase
from alpamayo_ros.model.lean_layers import (
    CannotBeLean,
    LeanLayers,
    Rotation,
    linear_function,
    rotation_of,
)
from alpamayo_ros.model.lean_vision import LeanVision
from alpamayo_ros.model.network import AlpamayoNetwork, CacheLike, VelocityFunction, VisualFeatures

_log = logging.getLogger(__name__)
_TABLE_STEP = 1024
_KEPT_FLOWS = 4
_KEPT_PROMPTS = 2
"""Of a prompt that is read in two parts."""

RotationTable: TypeAlias = Callable[[Tensor], Rotation]
"""The angles that suit hidden states (their dtype is the angles')."""


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

    def read_tail(self, token_ids: Tensor, first_position: int, cache: KeyValueCache) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...

    def velocity_function(self, context: ExpertContext) -> VelocityFunction: ...

    def denoise(
        self,
        context: ExpertContext,
        noise: Tensor,
        *,
        flow: FlowMatching,
        unguided: ExpertContext | None = None,
        guidance_weight: float | None = None,
    ) -> Tensor: ...

    def new_cache(self, *, batch: int, capacity: int) -> KeyValueCache: ...


def fastest(
    network: AlpamayoNetwork,
    *,
    attention: AttentionChoice | None = None,
    quantiser: Quantiser | None = None,
) -> Runner:
    """Return a lean runner over `network`'s weights, or `network` where its layers are not plain Qwen3-VL.

    Which one is said in the log. `attention` is for the lean one; None is the rule's. To be called before the
    weights are shared with another process or graph: parameters become views of fused ones.

    Raises:
        CannotBeLean: with a quantiser, which is for lean layers alone.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            return LeanNetwork(network, attention=attention, quantiser=quantiser)
    except CannotBeLean as error:
        if quantiser is not None:
            raise
        _log.warning("runs the library's own layers, slower: %s", error)
        return network


class LeanNetwork:
    """Runs the weights of an AlpamayoNetwork.

    Args:
        network: whose weights they are.
        attention: which way is taken in which phase; None is the rule's.
        quantiser: puts the text layers' projections into FP8; the rest is moved to its device.

    Raises:
        CannotBeLean: for layers that are not plain Qwen3-VL.
    """

    def __init__(
        self,
        network: AlpamayoNetwork,
        *,
        attention: AttentionChoice | None = None,
        quantiser: Quantiser | None = None,
    ) -> None:
        self._network = network
        device = network.device if quantiser is None else quantiser.device
        linear = linear_function(device, network.dtype)
        model: Any = network.vlm.model
        self._linear = linear
        self._text, self._expert = (
            LeanLayers(layers, config, linear, attention=attention, quantiser=quantiser)
            for layers, config in (
                (model.language_model, network.text_config),
                (network.expert, network.expert.config),
            )
        )
        if quantiser is not None:
            network.to(device)  # what is left
        self._visual = LeanVision(model.visual, linear)
        self._actions_in = _ActionsIn(network, linear)
        self._rotary: Any = model.language_model.rotary_emb
        self._table: Rotation | None = None
        self._expert_table: Rotation | None = None
        self._steps: dict[int, tuple[Tensor, ...]] = {}
        self._prompts: deque[tuple[Tensor, Rotation]] = deque(maxlen=_KEPT_PROMPTS)

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
        """Read a prompt of one row, or a part of one; return the last token's hidden state [1, hidden].

        Args:
            embeds: [1, L, hidden].
            positions: int64 [3, 1, L]; angles are kept for the tensors that were given last.
            cache: empty, or with what stands before these tokens; written to, not advanced.
            visual: image features, in the order of the placeholders.
            visual_index: int64 [N], the placeholders' indices; not the last token's.
        """
        rotation = self.prompt_rotation(embeds, positions)
        return self.through_prompt(embeds, rotation, cache, visual=visual, visual_index=visual_index)

    def through_prompt(
        self,
        embeds: Tensor,
        rotation: Rotation,
        cache: CacheLike,
        *,
        visual: VisualFeatures,
        visual_index: Tensor,
        last: Tensor | None = None,
    ) -> Tensor:
        """Do what `read_prompt` says, with angles that are there.

        `last` int64 [1] is the index of the last token where padding follows it; None is the end of `embeds`.
        """
        width = embeds.shape[-1]
        hidden = embeds.view(-1, width).index_copy(0, visual_index, visual.embeds.to(embeds.dtype))
        hidden = hidden.view(embeds.shape)
        end = len(self._text) - 1
        for index in range(end):
            hidden = self._text.through(hidden, index, rotation, cache, phase="prefill")
            if index < len(visual.deepstack):
                seen = visual.deepstack[index].to(hidden.dtype)
                hidden = hidden.view(-1, width).index_add(0, visual_index, seen).view(embeds.shape)
        # DeepStack behind the last layer would reach image tokens only, and nobody reads those any more.
        hidden = self._text.last_through(hidden, end, rotation, cache, last=last)
        return self._text.normed(hidden)[:, -1]

    def read_tail(self, token_ids: Tensor, first_position: int, cache: KeyValueCache) -> Tensor:
        """Read text tokens [B, L] behind a cache's entries; return normed hidden states [B, L, hidden].

        Args:
            token_ids: int64 [B, L], text alone.
            first_position: of the first, on all three axes.
            cache: of B rows; written to, not advanced. Each token attends to it and to those before itself.
        """
        count = token_ids.shape[1]
        rotation = self._text_rotation(first_position, count)
        mask = causal_behind(cache.length, count, self.device)
        return self.through_tail(token_ids, rotation, cache, mask=mask)

    def through_tail(
        self, token_ids: Tensor, rotation: Rotation, cache: CacheLike, *, mask: Tensor | None
    ) -> Tensor:
        """Do what `read_tail` says, with angles and a mask bool [1, 1, L, entries] that are there."""
        hidden = self.embed(token_ids)
        phase: Phase = "decode" if token_ids.shape[1] == 1 else "verify"
        for index in range(len(self._text)):
            hidden = self._text.through(hidden, index, rotation, cache, mask=mask, phase=phase)
        return self._text.normed(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's logits, float32 [rows, vocabulary], of hidden states [rows, hidden]."""
        head: Any = self._network.vlm.lm_head
        return self._linear(hidden, head.weight, head.bias).float()

    def velocity_function(self, context: ExpertContext) -> VelocityFunction:
        """Return the flow's velocity over a context; see AlpamayoNetwork.velocity for shapes.

        What the steps have in common is made here: rotary angles, and keys and values stay where they are.
        """
        velocity = self._velocity_of_features(context)

        def of_time(actions: Tensor, time: Tensor) -> Tensor:
            return velocity(actions, self._actions_in.of_time(time))

        return of_time

    def denoise(
        self,
        context: ExpertContext,
        noise: Tensor,
        *,
        flow: FlowMatching,
        unguided: ExpertContext | None = None,
        guidance_weight: float | None = None,
    ) -> Tensor:
        """Return the actions that `flow` makes of noise, both float32 [K, 64, 2]; see FlowMatching.states."""
        features = self.step_features(flow, noise)

        def at(context: ExpertContext) -> StepVelocity:
            velocity = self._velocity_of_features(context)
            return lambda actions, step: velocity(actions, features[step])

        return flow.states_by_step(
            at(context),
            noise,
            unguided_velocity=None if unguided is None else at(unguided),
            guidance_weight=guidance_weight,
        )[-1]

    def step_features(self, flow: FlowMatching, noise: Tensor) -> tuple[Tensor, ...]:
        """Return what each step's time is to the expert, float32 [1, 1, features] each; made once."""
        found = self._steps.get(flow.num_steps)
        if found is None:
            times = flow.times(noise)[:-1]
            found = tuple(self._actions_in.of_time(time.view(1, 1, 1)) for time in times)
            self._steps[flow.num_steps] = found
            while len(self._steps) > _KEPT_FLOWS:
                self._steps.pop(next(iter(self._steps)))
        return found

    def velocity(
        self,
        actions: Tensor,
        time: Tensor,
        rotation: Rotation | RotationTable,
        cache: CacheLike,
        *,
        mask: Tensor | None,
    ) -> Tensor:
        """Return the velocity of actions float32 [B, 64, 2]; `time` is one of `step_features`."""
        experts, out = self._expert, self._network.action_out_proj
        batch, count, _ = actions.shape
        hidden = self._actions_in(actions, time)
        angles = rotation(hidden) if callable(rotation) else rotation
        for index in range(len(experts)):
            hidden = experts.through(hidden, index, angles, cache, mask=mask, phase="denoise")
        flat = experts.normed(hidden).view(batch * count, -1)
        return self._linear(flat, out.weight, out.bias).float().view(batch, count, -1)

    def _velocity_of_features(self, context: ExpertContext) -> VelocityFunction:
        positions, mask = context.positions(), context.attention_mask()
        rotary: Any = self._network.expert.rotary_emb
        made: list[Rotation] = []

        def rotation(hidden: Tensor) -> Rotation:
            if not made:
                made.append(rotation_of(*rotary(hidden, positions)))
            return made[0]

        return lambda actions, time: self.velocity(actions, time, rotation, context.cache, mask=mask)

    def prompt_rotation(self, embeds: Tensor, positions: Tensor) -> Rotation:
        """Return the angles of a prompt's positions; those of the tensors that were given last are kept."""
        for known, rotation in self._prompts:
            if known is positions:
                return rotation
        rotation = rotation_of(*self._rotary(embeds, positions))
        self._prompts.append((positions, rotation))
        return rotation

    def text_table(self, rows: int) -> Rotation:
        """Return the rotation of text tokens at positions 0 … rows − 1 and beyond, made once."""
        if self._table is None or self._table[0].shape[1] < rows:
            self._table = self._tabled(self._rotary, rows, self._network.vlm.lm_head.weight.dtype)
        return self._table

    def expert_table(self, rows: int, dtype: torch.dtype) -> Rotation:
        """Return the same for action tokens in a dtype."""
        table = self._expert_table
        if table is None or table[0].shape[1] < rows or table[0].dtype != dtype:
            table = self._expert_table = self._tabled(self._network.expert.rotary_emb, rows, dtype)
        return table

    def _tabled(self, rotary: Any, rows: int, dtype: torch.dtype) -> Rotation:
        places = torch.arange(-(-rows // _TABLE_STEP) * _TABLE_STEP, device=self.device).expand(3, 1, -1)
        return rotation_of(*rotary(torch.empty(0, dtype=dtype, device=self.device), places))

    def _text_rotation(self, first: int, count: int) -> Rotation:
        cos, sin = self.text_table(first + count)
        return cos[:, first : first + count], sin[:, first : first + count]


class _ActionsIn:
    """`ActionInProj` with the Fourier features of all actions made at once, those of the time once a row."""

    def __init__(self, network: AlpamayoNetwork, linear: LinearFunction) -> None:
        module: Any = network.action_in_proj
        self._linear = linear
        self._action_frequencies = torch.cat([encode.freqs for encode in module.sinus])
        self._time: Any = module.timestep_fourier_encoder
        self._trunk: list[nn.Module] = list(module.encoder.trunk)
        self._norm: nn.Module = module.norm

    def of_time(self, time: Tensor) -> Tensor:
        """Return the features [B, 1, features] of times float32 [B, 1, 1]."""
        features: Tensor = self._time(time[..., 0])
        return features

    def __call__(self, actions: Tensor, time: Tensor) -> Tensor:
        """Project float32 [B, 64, 2] and features of the time to expert tokens [B, 64, expert hidden]."""
        batch, count, _ = actions.shape
        phase = actions[..., None] * self._action_frequencies * (2 * math.pi)
        waves = torch.cat((phase.sin(), phase.cos()), dim=-1) * math.sqrt(2)
        x = torch.cat((waves.flatten(2), time.expand(batch, count, -1)), dim=-1).view(batch * count, -1)
        for module in self._trunk:
            if type(module) is nn.Linear:
                x = self._linear(x, module.weight, module.bias)
            else:
                x = module(x)
        x = self._norm(x)
        return x.view(batch, count, -1)
