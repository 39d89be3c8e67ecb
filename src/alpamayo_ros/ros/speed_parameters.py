"""Parameters of how a model computes, for every node that loads one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpamayo_ros.model.speed import FP8_WAYS, GRAPHS, SpeedOptions
from alpamayo_ros.ros.parameters import ParameterSpec

_SPEED = SpeedOptions()
_MIB = 2**20

SPEED_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "fp8",
        _SPEED.fp8,
        "Weights in 8 bits: on, for 16 GB GPUs of compute capability 8.9 or more, gives OTHER PLANS than the "
        "exact ones; emulated rounds alike anywhere, slowly, to see how far off they are.",
        choices=FP8_WAYS,
    ),
    ParameterSpec(
        "graphs",
        _SPEED.graphs,
        "CUDA graphs: auto replays them on a GPU, off never does; plans are the same.",
        choices=GRAPHS,
    ),
    ParameterSpec(
        "read_ahead",
        _SPEED.read_ahead,
        "While no plan is being made, read the start of the next one's prompt: up to the first camera's "
        "newest frame, which has yet to come. For devices that are idle between plans; needs the vision "
        "cache.",
    ),
    ParameterSpec(
        "vision_cache_mib",
        _SPEED.vision_cache_bytes // _MIB,
        "Memory for the features of images that the next plans see again, MiB; 0 encodes all at every plan.",
        minimum=0,
        maximum=65_536,
    ),
)


def speed_options(values: Mapping[str, Any]) -> SpeedOptions:
    """Return how the model computes, of parameter values by name."""
    return SpeedOptions(
        fp8=values["fp8"],
        graphs=values["graphs"],
        read_ahead=values["read_ahead"],
        vision_cache_bytes=values["vision_cache_mib"] * _MIB,
    )
