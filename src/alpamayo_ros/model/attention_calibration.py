"""Which way of attention is fastest here, measured for each phase of a plan.

    python -m benchmarks.model.attention

Ways that a device lacks are left out, and so are those that are not exact: each result is held against
float64. What was found is kept for the process and in the user's cache, by device, versions, dtype and
shapes: a plan's rounding depends on the way, and should not change because a measurement came out otherwise
the next time.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from alpamayo_ros.model.lean_attention import (
    KERNELS,
    LAYOUTS,
    OWN_WAYS,
    PHASES,
    RULE,
    AttentionChoice,
    LinearFunction,
    Phase,
    attend,
)
from alpamayo_ros.model.lean_layers import linear_function
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.types import NUM_WAYPOINTS, InvalidInput

_log = logging.getLogger(__name__)
_ROUNDS, _LEAST_S = 7, 2e-3
_GAIN = 0.97
"""The rule stays unless another way takes less than this share of its time."""
_VERIFIED = 8
_found: dict[str, AttentionChoice] = {}


@dataclass(frozen=True)
class AttentionShapes:
    """What attends: heads of backbone and expert, one dtype and device, and about how long a prompt is."""

    heads: int
    expert_heads: int
    kv_heads: int
    head_dim: int
    prompt_tokens: int
    dtype: str
    device: str

    def __post_init__(self) -> None:
        sizes = (self.heads, self.expert_heads, self.kv_heads, self.head_dim, self.prompt_tokens)
        if min(sizes) < 1 or self.heads % self.kv_heads or self.expert_heads % self.kv_heads:
            raise InvalidInput(f"attention: expected positive sizes and heads in whole groups, got {sizes}")

    @classmethod
    def of(cls, network: AlpamayoNetwork, *, device: torch.device, prompt_tokens: int) -> AttentionShapes:
        """Return those of a network that computes on `device`."""
        text, expert = network.text_config, network.expert.config
        return cls(
            heads=int(text.num_attention_heads),
            expert_heads=int(expert.num_attention_heads),
            kv_heads=int(text.num_key_value_heads),
            head_dim=int(text.head_dim),
            prompt_tokens=prompt_tokens,
            dtype=str(network.dtype).removeprefix("torch."),
            device=str(device),
        )


@dataclass(frozen=True)
class Measured:
    """How one way did in one phase: the least ms of a call, and the largest error against float64."""

    phase: Phase
    way: str
    ms: float
    error: float


def chosen(shapes: AttentionShapes) -> AttentionChoice:
    """Return the fastest ways for these shapes, measured where that was never done before."""
    key = _key(shapes)
    if key not in _found:
        _found[key] = _remembered(key) or _measured(shapes, key)
    return _found[key]


def measure(shapes: AttentionShapes) -> list[Measured]:
    """Measure every exact way of every phase that the device has; "rule" is the first of each."""
    device, dtype = torch.device(shapes.device), getattr(torch, shapes.dtype)
    product = linear_function(device, dtype)
    own = None if product is functional.linear else product
    found = []
    with torch.inference_mode():
        for phase in PHASES:
            tensors = _tensors(shapes, phase, device, dtype)
            exact = _exact(tensors, causal=phase == "prefill")
            runs = {way: _run(tensors, phase, way, own) for way in _ways(device, phase)}
            errors = {way: _error(run, exact) for way, run in runs.items()}
            there = {way: run for way, run in runs.items() if errors[way] is not None}
            for way, ms in _least_ms(there, device).items():
                found.append(Measured(phase, way, ms, errors[way] or 0.0))
    return found


def fastest_of(measured: list[Measured]) -> AttentionChoice:
    """Return the choice that measurements make; an error more than four times the rule's rules a way out."""
    choice = AttentionChoice()
    for phase in PHASES:
        rows = [row for row in measured if row.phase == phase]
        rule = next(row for row in rows if row.way == RULE)
        exact = [row for row in rows if row.error <= 4 * rule.error + 1e-7]
        best = min(exact, key=lambda row: row.ms)
        if best.ms < _GAIN * rule.ms:
            choice = replace(choice, **{phase: best.way})
    return choice


def _ways(device: torch.device, phase: Phase) -> list[str]:
    kernels = KERNELS if device.type == "cuda" else ("",)
    layouts = [layout for layout in LAYOUTS if not (phase == "prefill" and layout == "rows")]
    forced = [f"{layout}/{kernel}" if kernel else layout for layout in layouts for kernel in kernels]
    own = [way for way in OWN_WAYS if not (phase == "prefill" and way == "matmul")]
    return [RULE, *forced, *own]


def _tensors(
    shapes: AttentionShapes, phase: Phase, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return queries, keys, values and a mask as that phase has them, padded where it pads."""
    before = shapes.prompt_tokens
    heads = shapes.expert_heads if phase == "denoise" else shapes.heads
    count = {"prefill": before, "decode": 1, "verify": _VERIFIED, "denoise": NUM_WAYPOINTS}[phase]
    entries = before if phase == "prefill" else before + count
    generator = torch.Generator().manual_seed(0)

    def drawn(of_heads: int, length: int) -> Tensor:
        made = torch.randn(1, length, of_heads, shapes.head_dim, generator=generator)
        return made.to(device=device, dtype=dtype).transpose(1, 2)

    query, keys, values = (
        drawn(heads, count),
        drawn(shapes.kv_heads, entries),
        drawn(shapes.kv_heads, entries),
    )
    mask = None
    if phase == "verify" or (phase != "prefill" and device.type == "cuda"):
        places = torch.arange(entries, device=device)
        last = entries - 1 if phase != "verify" else places[before:, None]
        mask = (
            (places <= last).expand(count, -1)[None, None]
            if phase != "verify"
            else (places <= last)[None, None]
        )
    return query, keys.contiguous(), values.contiguous(), mask


def _exact(tensors: tuple[Tensor, Tensor, Tensor, Tensor | None], *, causal: bool) -> Tensor:
    query, keys, values, mask = tensors
    share = query.shape[1] // keys.shape[1]
    last = query[:, :, -64:].double()
    keys, values = (t.double().repeat_interleave(share, 1) for t in (keys, values))
    scores = last @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
    if causal:
        count = query.shape[2]
        places = torch.arange(count, device=query.device)
        scores = scores.masked_fill(places > places[-last.shape[2] :, None], -torch.inf)
    elif mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values


def _run(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor | None],
    phase: Phase,
    way: str,
    product: LinearFunction | None,
) -> Callable[[], Tensor]:
    query, keys, values, mask = tensors

    def run() -> Tensor:
        if way == "products" and (product is None or mask is not None):
            raise RuntimeError("no such products here")
        return attend(query, keys, values, mask=mask, causal=phase == "prefill", product=product, way=way)

    return run


def _error(run: Callable[[], Tensor], exact: Tensor) -> float | None:
    """Return the largest error of a way, None where the device does not do it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of why a kernel was not taken
            return float((run()[:, :, -exact.shape[2] :].double() - exact).abs().max())
    except RuntimeError:
        return None


def _least_ms(runs: dict[str, Callable[[], Tensor]], device: torch.device) -> dict[str, float]:
    """Return the least time of each in several rounds, in turns: what else a machine does only adds."""

    def took(run: Callable[[], Tensor], times: int) -> float:
        _wait(device)
        began = time.perf_counter()
        for _ in range(times):
            run()
        _wait(device)
        return (time.perf_counter() - began) / times

    times = {way: max(1, int(_LEAST_S / max(took(run, 1), 1e-7))) for way, run in runs.items()}
    rounds = [{way: took(run, times[way]) for way, run in runs.items()} for _ in range(_ROUNDS)]
    return {way: 1e3 * min(each[way] for each in rounds) for way in runs}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _measured(shapes: AttentionShapes, key: str) -> AttentionChoice:
    choice = fastest_of(measure(shapes))
    _remember(key, choice)
    return choice


def _key(shapes: AttentionShapes) -> str:
    device = torch.device(shapes.device)
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} {torch.get_num_threads()}"
    sizes = {key: value for key, value in asdict(shapes).items() if key != "device"}
    return json.dumps({"device": name, "torch": torch.__version__, **sizes}, sort_keys=True)


def cache_file() -> Path:
    """Return where choices are kept: `alpamayo_ros/attention.json` in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "alpamayo_ros" / "attention.json"


def _remembered(key: str) -> AttentionChoice | None:
    try:
        return AttentionChoice(**json.loads(cache_file().read_text("utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never measured, or not ours: it is measured and written anew


def _remember(key: str, choice: AttentionChoice) -> None:
    path = cache_file()
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        read = None
    known = read if isinstance(read, dict) else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump({**known, key: asdict(choice)}, file, indent=1)
        Path(file.name).replace(path)
    except OSError as error:
        _log.warning("the choice of attention cannot be kept for the next time: %s", error)
