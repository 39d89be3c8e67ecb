"""The network: Qwen3-VL backbone, diffusion expert, and the two action projections.

The layers are transformers'; the way through them is ours. Calling the layers directly (instead of the
library's top-level `forward`) is what lets one prefill serve K samples, the expert read the backbone's
cache, and transformers 4.57 and 5 run the same code: they differ in caches, masks and inputs, not in layers.
Parameter names are those of the released checkpoints (`vlm.*`, `expert.*`, `action_{in,out}_proj.*`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from alpamayo_ros.model.action_proj import ActionInProj, FourierFeatures
from alpamayo_ros.model.config import ACTION_DIMS, ActionInProjConfig, CheckpointError
from alpamayo_ros.model.expert_context import ExpertContext
from alpamayo_ros.model.flow_matching import FlowMatching
from alpamayo_ros.model.kv_cache import KeyValueCache, causal_behind

VelocityFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(x_t float32 [B, 64, 2], t float32 [B, 1, 1]) -> velocity float32 [B, 64, 2]."""

VISION_ROPE_THETA = 10_000.0
"""Qwen3-VL's vision rotary base; transformers has it as a default argument, not in the config."""


class CacheLike(Protocol):
    """What attention needs of a cache; transformers' own caches will do as well (training)."""

    def update(self, keys: Tensor, values: Tensor, layer: int, /) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class VisualFeatures:
    """Image tokens [N, hidden] and what is added to them behind the first text layers (DeepStack)."""

    embeds: Tensor
    deepstack: tuple[Tensor, ...]


def backbone_config(folder: str, *, vocab_size: int) -> Any:
    """Read the backbone's Qwen3VLConfig from `folder`, with the extended vocabulary's size.

    Raises:
        CheckpointError: for another architecture, or rotary positions that are not Qwen3-VL's plain ones.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"backbone {folder}: expected a Qwen3-VL config.json, got: {error}") from error
    if config.model_type != "qwen3_vl":
        raise CheckpointError(f"backbone {folder}: expected model_type qwen3_vl, got {config.model_type}")
    text = config.text_config
    if _rope_parameters(text).get("rope_type", "default") != "default":
        raise CheckpointError(f"backbone {folder}: expected rope_type default, got {_rope_parameters(text)}")
    text.vocab_size = vocab_size
    config.tie_word_embeddings = bool(config.tie_word_embeddings)
    config._attn_implementation = "sdpa"
    return config


def _rope_parameters(text_config: Any) -> dict[str, Any]:
    """Rotary settings: `rope_parameters` since transformers 5, `rope_scaling` and `rope_theta` before."""
    found = getattr(text_config, "rope_parameters", None)
    if found is not None:
        return dict(found)
    return {**(text_config.rope_scaling or {}), "rope_theta": text_config.rope_theta}


def expert_config(text_config: Any, overrides: dict[str, Any]) -> Any:
    """Lay `expert_cfg` over the backbone's text config.

    Raises:
        CheckpointError: for a field that the config lacks, or layers, KV heads or head_dim that differ from
            the backbone's: the expert attends to the backbone's cache layer by layer.
    """
    config = copy.deepcopy(text_config)
    for name, value in overrides.items():
        if not hasattr(config, name):
            raise CheckpointError(f"expert_cfg: expected fields of the backbone's text config, got {name!r}")
        setattr(config, name, value)
    for name in ("num_hidden_layers", "num_key_value_heads", "head_dim"):
        want, have = getattr(text_config, name), getattr(config, name)
        if want != have:
            raise CheckpointError(f"expert_cfg.{name}: expected the backbone's {want}, got {have}")
    config._attn_implementation = "sdpa"
    return config


class AlpamayoNetwork(nn.Module):
    """Backbone and expert with the checkpoint's parameter names.

    Build it under `torch.device("meta")` for a checkpoint to fill (checkpoint.py); whatever is computed and
    not stored is then made by `initialise_computed_buffers`.
    """

    def __init__(self, backbone: Any, expert: Any, action_in_proj: ActionInProjConfig) -> None:
        from transformers.models.qwen3_vl.modeling_qwen3_vl import (
            Qwen3VLForConditionalGeneration,
            Qwen3VLTextModel,
        )

        super().__init__()
        self.vlm = Qwen3VLForConditionalGeneration(backbone)
        self.expert = Qwen3VLTextModel(expert)
        del self.expert.embed_tokens  # action tokens come from action_in_proj
        self.action_in_proj = ActionInProj(action_in_proj, expert.hidden_size)
        self.action_out_proj = nn.Linear(expert.hidden_size, ACTION_DIMS)
        self.tied = bool(backbone.tie_word_embeddings)
        self.text_config = backbone.text_config
        self.merge_size: int = backbone.vision_config.spatial_merge_size
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.action_out_proj.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the parameters are."""
        return self.action_out_proj.weight.dtype

    def autocast(self) -> torch.autocast:
        """Return the context every forward runs in: bfloat16 weights compute as upstream's autocast does."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16, cache_enabled=False
        )

    def initialise_computed_buffers(self, device: torch.device) -> None:
        """Give every buffer that no checkpoint stores its value, float32 on `device`.

        Raises:
            RuntimeError: for a buffer that is not known here, so that none is left without a value.
        """
        text, vision = self.text_config, self.vlm.config.vision_config
        theta = float(_rope_parameters(text)["rope_theta"])
        vision_head_dim = vision.hidden_size // vision.num_heads
        known = {
            "Qwen3VLTextRotaryEmbedding": inverse_frequencies(text.head_dim, theta),
            "Qwen3VLVisionRotaryEmbedding": inverse_frequencies(vision_head_dim // 2, VISION_ROPE_THETA),
        }
        for name, module in self.named_modules():
            kind = type(module).__name__
            for key in [key for key, _ in module.named_buffers(recurse=False)]:
                if isinstance(module, FourierFeatures):
                    value = module.frequencies()
                elif kind in known and key in ("inv_freq", "original_inv_freq"):
                    value = known[kind].clone()
                else:
                    raise RuntimeError(f"buffer {name}.{key} of {kind}: don't know its value")
                setattr(module, key, value.to(device))
            if kind == "Qwen3VLTextRotaryEmbedding" and "original_inv_freq" not in module._buffers:
                module.original_inv_freq = module.inv_freq  # transformers 4 keeps a plain attribute

    def encode_images(self, pixel_values: Tensor, grid_thw: Tensor) -> VisualFeatures:
        """Run the vision tower on patches float32 [N, 1536] of images with patch grids int64 [images, 3]."""
        output = self.vlm.model.visual(pixel_values, grid_thw=grid_thw)
        if isinstance(output, tuple):  # transformers 4
            embeds, deepstack = output
        else:
            embeds, deepstack = output.pooler_output, output.deepstack_features
        return VisualFeatures(embeds, tuple(deepstack))

    def embed(self, token_ids: Tensor) -> Tensor:
        """Return text embeddings [B, L, hidden] of ids [B, L]."""
        embeds: Tensor = self.vlm.model.language_model.embed_tokens(token_ids)
        return embeds

    def read(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: CacheLike | None = None,
        *,
        attention_mask: Tensor | None = None,
        visual: VisualFeatures | None = None,
        visual_index: Tensor | None = None,
    ) -> Tensor:
        """Run the backbone's text layers; return normed hidden states [B, L, hidden].

        Args:
            embeds: [B, L, hidden]; image placeholders are replaced by `visual`.
            positions: int64 [3, B, L] (time, row, column).
            cache: entries of earlier tokens; written to, not advanced.
            attention_mask: bool [B or 1, 1, L, entries], True where attended; None is causal, which is right
                for an empty cache or a single new token.
            visual: image features, in the order of the placeholders.
            visual_index: int64 [N], the placeholders' indices into the flattened [B * L].
        """
        model = self.vlm.model.language_model
        if visual is not None:
            if visual_index is None:
                raise ValueError("visual features need visual_index")
            embeds = _at_rows(embeds, visual_index, visual.embeds, add=False)
        hidden = embeds
        rotary = model.rotary_emb(hidden, positions)
        for index, layer in enumerate(model.layers):
            hidden = _through(layer, hidden, rotary, attention_mask, cache)
            if visual is not None and visual_index is not None and index < len(visual.deepstack):
                hidden = _at_rows(hidden, visual_index, visual.deepstack[index], add=True)
        normed: Tensor = model.norm(hidden)
        return normed

    def read_prompt(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: CacheLike,
        *,
        visual: VisualFeatures,
        visual_index: Tensor,
    ) -> Tensor:
        """Read a prompt of one row into an empty cache; return the last token's hidden state [1, hidden]."""
        return self.read(embeds, positions, cache, visual=visual, visual_index=visual_index)[:, -1]

    def read_tail(self, token_ids: Tensor, first_position: int, cache: KeyValueCache) -> Tensor:
        """Read text tokens [B, L] behind a cache's entries; return normed hidden states [B, L, hidden].

        The first stands at `first_position`. Each attends to the valid entries and to those before it.
        """
        batch, count = token_ids.shape
        places = torch.arange(first_position, first_position + count, device=self.device)
        mask = causal_behind(cache.length, count, self.device)
        return self.read(self.embed(token_ids), places.expand(3, batch, -1), cache, attention_mask=mask)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's logits, float32, of hidden states [..., hidden]."""
        logits: Tensor = self.vlm.lm_head(hidden)
        return logits.float()

    def velocity(
        self, actions: Tensor, time: Tensor, positions: Tensor, cache: CacheLike, *, attention_mask: Tensor
    ) -> Tensor:
        """Return the flow's velocity, float32 [B, 64, 2], by the expert over the backbone's cache.

        Args:
            actions: float32 [B, 64, 2], x_t.
            time: float32 [B, 1, 1], t.
            positions: int64 [3, B, 64].
            cache: the backbone's; the action tokens are written behind its valid entries, not advanced.
            attention_mask: bool [B, 1, 64, entries + 64], True where attended.
        """
        hidden = self.action_in_proj(actions, time)
        rotary = self.expert.rotary_emb(hidden, positions)
        for layer in self.expert.layers:
            hidden = _through(layer, hidden, rotary, attention_mask, cache)
        velocity: Tensor = self.action_out_proj(self.expert.norm(hidden))
        return velocity.float()

    def velocity_function(self, context: ExpertContext) -> VelocityFunction:
        """Return `velocity` over a context as a function of actions and time."""
        positions, mask, cache = context.positions(), context.attention_mask(), context.cache
        if mask is None:
            entries = cache.length + positions.shape[-1]
            mask = torch.ones(1, 1, 1, entries, dtype=torch.bool, device=self.device)
            mask = mask.expand(-1, -1, positions.shape[-1], -1)
        seen = mask

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            return self.velocity(actions, time, positions, cache, attention_mask=seen)

        return velocity

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
        return flow.integrate(
            self.velocity_function(context),
            noise,
            unguided_velocity=None if unguided is None else self.velocity_function(unguided),
            guidance_weight=guidance_weight,
        )

    def new_cache(self, *, batch: int, capacity: int) -> KeyValueCache:
        """Return an empty cache in the network's dtype and device."""
        text = self.text_config
        return KeyValueCache(
            text.num_hidden_layers,
            batch=batch,
            kv_heads=text.num_key_value_heads,
            capacity=capacity,
            head_dim=text.head_dim,
            dtype=self.dtype,
            device=self.device,
        )

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """The backbone's own end tokens (`text_config.eos_token_id`), none where it names none."""
        eos = getattr(self.text_config, "eos_token_id", None)
        if eos is None:
            return frozenset()
        return frozenset(eos if isinstance(eos, Sequence) else (eos,))


def _through(
    layer: nn.Module,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor],
    mask: Tensor | None,
    cache: CacheLike | None,
) -> Tensor:
    output = layer(
        hidden,
        position_embeddings=rotary,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=cache is not None,
    )
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result


def _at_rows(hidden: Tensor, index: Tensor, rows: Tensor, *, add: bool) -> Tensor:
    """Set or add `rows` [N, width] at `index` of the flattened [B * L, width]."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    rows = rows.to(flat.dtype)
    flat = flat.index_add(0, index, rows) if add else flat.index_copy(0, index, rows)
    return flat.view(hidden.shape)


def inverse_frequencies(dim: int, theta: float) -> Tensor:
    """Rotary inverse frequencies theta^(-2i / dim), float32 [dim / 2] (RoFormer, arXiv 2104.09864)."""
    return 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
