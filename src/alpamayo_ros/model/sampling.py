"""Draw tokens and noise, each sample from its own generators.

Sample k of a plan draws from generators seeded with (seed, k) alone, one number per vocabulary entry and
step, whatever the other samples do. A token is chosen by the Gumbel-max rule, argmax(logits + Gumbel
noise), which has the distribution softmax(logits) and depends on each logit by itself: a rounding error
of a batched matrix product changes a draw only where two candidates tie to within that error, while the
usual search in a cumulative sum would also depend on how near-equal logits happen to be sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.types import PlanOptions

_TOKEN_STREAM, _NOISE_STREAM = 0, 1


def fresh_seed() -> int:
    """Draw a seed from the operating system's entropy, in PlanOptions' range."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))


def _generator(seed: int, sample: int, stream: int, device: torch.device | str) -> torch.Generator:
    state = np.random.SeedSequence([seed, sample, stream]).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device=device)
    generator.manual_seed(int(state))
    return generator


def initial_noise(seed: int, num_samples: int, shape: tuple[int, ...]) -> Tensor:
    """Return standard normal float32 [K, *shape]; row k depends on (seed, k) only."""
    rows = [
        torch.randn(shape, generator=_generator(seed, k, _NOISE_STREAM, "cpu"), dtype=torch.float32)
        for k in range(num_samples)
    ]
    return torch.stack(rows)


def filter_logits(logits: Tensor, *, temperature: float, top_k: int | None, top_p: float) -> Tensor:
    """Divide by temperature, then put what top-k and top-p leave out at -inf, in this order.

    Top-p keeps the least set of most probable tokens whose probability reaches `top_p`, at least one
    (nucleus sampling, arXiv 1904.09751; ties as transformers' TopPLogitsWarper).

    `logits` are float32 [..., vocabulary]; -inf marks tokens that are masked already.
    """
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        ascending, order = logits.sort(dim=-1)
        below = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        below[..., -1] = False
        logits = logits.masked_fill(torch.zeros_like(below).scatter(-1, order, below), -torch.inf)
    return logits


@dataclass(frozen=True)
class MaskedTokens:
    """Ids [start, stop) that are never drawn."""

    start: int
    stop: int


class TokenSampler:
    """Draws the next token of K samples.

    Args:
        options: temperature, top_k, top_p; num_samples is K.
        seed: base of the samples' generators.
        masked: ids at -inf throughout (the trajectory tokens while reasoning), or None.
        device: where the logits are. The numbers of a seed are the device's own: CPU and CUDA differ.
    """

    def __init__(
        self, options: PlanOptions, *, seed: int, masked: MaskedTokens | None, device: torch.device
    ) -> None:
        self._options = options
        self._masked = masked
        self._generators = [_generator(seed, k, _TOKEN_STREAM, device) for k in range(options.num_samples)]

    def draw(self, logits: Tensor) -> Tensor:
        """Return ids int64 [K] for float32 logits [K, vocabulary] (not changed)."""
        if self._masked is not None:
            logits = logits.clone()
            logits[:, self._masked.start : self._masked.stop] = -torch.inf
        options = self._options
        if options.top_k == 1:
            return logits.argmax(dim=-1)
        logits = filter_logits(
            logits, temperature=options.temperature, top_k=options.top_k, top_p=options.top_p
        )
        return (logits + self._gumbel(logits)).argmax(dim=-1)

    def _gumbel(self, logits: Tensor) -> Tensor:
        """Gumbel noise is -log of a standard exponential."""
        noise = torch.empty_like(logits)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        # An exact zero would become an infinity, and NaN (the maximum) at masked tokens.
        return noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_().neg_()
