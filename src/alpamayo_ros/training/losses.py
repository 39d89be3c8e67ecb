"""Cross-entropy over the spans that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from alpamayo_ros.training.sequence import Span
from alpamayo_ros.types import InvalidInput

COUNTED: tuple[Span, ...] = (Span.REASONING, Span.META_ACTION, Span.TRAJECTORY)


@dataclass(frozen=True)
class SpanWeights:
    """How much a token of each span counts; 1 each is upstream's plain mean over tokens.

    The trajectory has 131 tokens and a reasoning about 20: a small model that is to speak well may weigh
    its few words more.
    """

    reasoning: float = 1.0
    meta_action: float = 1.0
    trajectory: float = 1.0

    def __post_init__(self) -> None:
        values = (self.reasoning, self.meta_action, self.trajectory)
        if min(values) < 0 or max(values) == 0:
            raise InvalidInput(f"span weights: expected none negative and one above zero, got {list(values)}")

    def by_span(self, device: torch.device) -> Tensor:
        """Return float32 [4], the weight of each Span."""
        return torch.tensor([0.0, self.reasoning, self.meta_action, self.trajectory], device=device)


@dataclass(frozen=True, eq=False)
class LossParts:
    """A loss and what it is made of.

    Attributes:
        total: scalar with a gradient.
        means: detached means by name, "NAME" over `counts["NAME"]` terms, to be averaged over batches.
        counts: number of terms of each mean.
    """

    total: Tensor
    means: Mapping[str, float]
    counts: Mapping[str, int]


def span_cross_entropy(
    hidden: Tensor,
    token_ids: Tensor,
    *,
    spans: Tensor,
    logits: Callable[[Tensor], Tensor],
    weights: SpanWeights,
) -> LossParts:
    """Return the weighted mean cross-entropy of counted tokens, each predicted from the token before it.

    The vocabulary's logits are computed only where something is predicted that counts.

    Args:
        hidden: [B, L, hidden], the backbone's output.
        token_ids: int64 [B, L].
        spans: int8 [B, L].
        logits: hidden [N, hidden] -> float32 [N, vocabulary].
        weights: of the spans.

    Raises:
        InvalidInput: when no token of the batch counts.
    """
    kinds = spans[:, 1:].to(torch.int64)
    weight = weights.by_span(hidden.device)[kinds]
    counted = weight > 0
    if not bool(counted.any()):
        raise InvalidInput("batch: expected a token that counts, got none")
    targets = token_ids[:, 1:][counted]
    scores = logits(hidden[:, :-1][counted])
    losses = F.cross_entropy(scores, targets, reduction="none")
    weight, kinds = weight[counted], kinds[counted]
    total = (losses * weight).sum() / weight.sum()
    means: dict[str, float] = {}
    counts: dict[str, int] = {}
    with torch.no_grad():
        right = (scores.argmax(dim=-1) == targets).float()
        for span in COUNTED:
            of_span = kinds == span
            count = int(of_span.sum())
            if count:
                for name, values in (("loss", losses), ("accuracy", right)):
                    means[f"{span.name.lower()}_{name}"] = float(values[of_span].mean())
                    counts[f"{span.name.lower()}_{name}"] = count
        means["loss"], counts["loss"] = float(total.detach()), int(counted.sum())
    return LossParts(total, means, counts)
