"""What a plan needs of a GPU's memory, derived from a network's shapes; nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.model.static_cache import BLOCK, SLACK
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput

CONTEXT_BYTES = 600 * 2**20
"""CUDA's context, kernels and the workspaces of its libraries: an assumption, drivers differ."""
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes, by what holds them."""

    weights: int
    cache: int
    vision_cache: int
    activations: int
    buffers: int
    context: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


def memory_need(
    network: AlpamayoNetwork,
    *,
    num_samples: int,
    prompt_tokens: int,
    new_tokens: int,
    guided: bool = False,
    fp8: bool = False,
    vision_cache_bytes: int = 512 * 2**20,
    bytes_a_number: int = 2,
) -> MemoryNeed:
    """Return the need of a plan of K samples; the network may be on the meta device.

    Args:
        network: shapes.
        num_samples: K.
        prompt_tokens: of the prompt, images included.
        new_tokens: most tokens of a reasoning.
        guided: whether there is a second branch without the instruction.
        fp8: the text layers' projections in one byte a number.
        vision_cache_bytes: bound of the cache of images' features.
        bytes_a_number: of the dtype, 2 for bfloat16.

    Raises:
        InvalidInput: for less than one of K or tokens.
    """
    if min(num_samples, prompt_tokens, new_tokens) < 1:
        given = (num_samples, prompt_tokens, new_tokens)
        raise InvalidInput(f"memory: expected samples and tokens of 1 or more, got {given}")
    text, vocabulary = network.text_config, network.vlm.lm_head.weight.shape[0]
    layers: list[nn.Module] = [network.vlm.model.language_model.layers, network.expert.layers]
    narrow = sum(_projection_numbers(part) for part in layers) if fp8 else 0
    weights = _numbers(network.parameters()) * bytes_a_number - narrow * (bytes_a_number - 1)
    entry = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * bytes_a_number
    capacity = -(-(prompt_tokens + new_tokens + NUM_WAYPOINTS + SLACK) // BLOCK) * BLOCK
    prompt_rows = 1 if num_samples > 1 else 0  # one sample goes on in the prompt's own
    rows = prompt_rows + num_samples * (2 if guided else 1)
    # At its widest a prompt's layer holds what comes in, gate and up, and their product.
    widest = prompt_tokens * (3 * text.intermediate_size + 4 * text.hidden_size) * bytes_a_number
    # A graph's inputs: the prompt's embeddings, its images' features and what is added behind layers.
    depth = len(network.vlm.config.vision_config.deepstack_visual_indexes)
    logits = num_samples * 32 * vocabulary * 4  # of a pass over guessed tokens, float32
    return MemoryNeed(
        weights=weights,
        cache=rows * capacity * entry,
        vision_cache=vision_cache_bytes,
        activations=widest + 2 * logits,
        buffers=prompt_tokens * text.hidden_size * bytes_a_number * (2 + depth),
        context=CONTEXT_BYTES,
    )


def _numbers(tensors: Iterable[Any]) -> int:
    return sum(int(tensor.numel()) for tensor in tensors)


def _projection_numbers(layers: nn.Module) -> int:
    named = layers.named_modules()
    return _numbers(module.weight for name, module in named if name.rpartition(".")[2] in _PROJECTIONS)
