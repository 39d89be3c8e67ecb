"""Which runner computes a model's plans, by its speed options and device."""

from __future__ import annotations

import logging

import torch

from alpamayo_ros.model.fp8 import Quantiser
from alpamayo_ros.model.lean import LeanNetwork, Runner, fastest
from alpamayo_ros.model.lean_attention import AttentionChoice
from alpamayo_ros.model.lean_layers import CannotBeLean
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.model.static_call import Capturer, CudaGraphs, SameBuffers
from alpamayo_ros.model.static_runner import StaticRunner
from alpamayo_ros.types import InvalidInput

_log = logging.getLogger(__name__)


def runner_of(
    network: AlpamayoNetwork, speed: SpeedOptions, *, prompt_tokens: int, device: torch.device
) -> Runner:
    """Return what runs `network` as `speed` says.

    `prompt_tokens` is about how long its prompts are. `device` is where it computes; only weights that become
    FP8 may be elsewhere yet.

    Raises:
        InvalidInput: for FP8 on a device without it, or of layers that are not plain Qwen3-VL.
    """
    if not speed.lean:
        return network
    quantiser = None if speed.fp8 == "off" else Quantiser(device, emulated=speed.fp8 == "emulated")
    attention = _attention(network, speed, prompt_tokens, device)
    try:
        runner = fastest(network, attention=attention, quantiser=quantiser)
    except CannotBeLean as error:
        raise InvalidInput(f"fp8: expected plain Qwen3-VL layers, got: {error}") from error
    if not isinstance(runner, LeanNetwork):
        return runner
    capturer = _capturer(device, speed.graphs)
    return runner if capturer is None else StaticRunner(runner, capturer=capturer)


def _capturer(device: torch.device, graphs: str) -> Capturer | None:
    if graphs == "buffers":
        return SameBuffers()
    return CudaGraphs(device) if graphs == "auto" and device.type == "cuda" else None


def _attention(
    network: AlpamayoNetwork, speed: SpeedOptions, prompt_tokens: int, device: torch.device
) -> AttentionChoice | None:
    if speed.attention == "rule" or (speed.attention == "auto" and device.type != "cuda"):
        return None
    from alpamayo_ros.model.attention_calibration import AttentionShapes, chosen

    choice = chosen(AttentionShapes.of(network, device=device, prompt_tokens=prompt_tokens))
    _log.info("attention: %s", choice)
    return choice
