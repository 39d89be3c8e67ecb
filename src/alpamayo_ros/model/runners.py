"""Which runner computes a model's plans, by its speed options and device."""

from __future__ import annotations

import logging

import torch

from alpamayo_ros.model.lean import LeanNetwork, Runner, fastest
from alpamayo_ros.model.lean_attention import AttentionChoice
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.model.static_call import Capturer, CudaGraphs, SameBuffers
from alpamayo_ros.model.static_runner import StaticRunner

_log = logging.getLogger(__name__)


def runner_of(network: AlpamayoNetwork, speed: SpeedOptions, *, prompt_tokens: int) -> Runner:
    """Return what runs `network` as `speed` says; `prompt_tokens` is about how long its prompts are."""
    if not speed.lean:
        return network
    runner = fastest(network, attention=_attention(network, speed, prompt_tokens))
    if not isinstance(runner, LeanNetwork):
        return runner
    capturer = _capturer(network.device, speed.graphs)
    return runner if capturer is None else StaticRunner(runner, capturer=capturer)


def _capturer(device: torch.device, graphs: str) -> Capturer | None:
    if graphs == "buffers":
        return SameBuffers()
    return CudaGraphs(device) if graphs == "auto" and device.type == "cuda" else None


def _attention(network: AlpamayoNetwork, speed: SpeedOptions, prompt_tokens: int) -> AttentionChoice | None:
    if speed.attention == "rule" or (speed.attention == "auto" and network.device.type != "cuda"):
        return None
    from alpamayo_ros.model.attention_calibration import AttentionShapes, chosen

    choice = chosen(AttentionShapes.of(network, prompt_tokens=prompt_tokens))
    _log.info("attention: %s", choice)
    return choice
