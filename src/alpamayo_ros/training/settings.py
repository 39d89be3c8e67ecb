"""How one stage is trained. What changes the result may not change between a run and its resumption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from alpamayo_ros.training.flow_terms import FlowTerms
from alpamayo_ros.training.losses import SpanWeights
from alpamayo_ros.types import InvalidInput

JOINT = 3
STAGES = (1, 2, JOINT)

AUTOMATIC_REASONINGS = "automatic"
"""Those in the samples alone, see labels/chosen.py."""


@dataclass(frozen=True)
class LoraSettings:
    """Adapters instead of whole matrices; see lora.py."""

    rank: int = 16
    alpha: float = 32.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InvalidInput(f"lora rank: expected at least 1, got {self.rank}")
        if not self.alpha > 0:
            raise InvalidInput(f"lora alpha: expected a positive number, got {self.alpha}")


@dataclass(frozen=True)
class TrainSettings:
    """One stage of a run.

    Attributes:
        stage: 1 trains the backbone, 2 the expert and the action projections, 3 all of them at once, the
            flow's gradient reaching the backbone (joint.py).
        steps: optimiser steps.
        batch_size, accumulate: sequences a pass, and passes a step.
        peak_rate, warmup_steps, rate_floor: the learning rate's course (optim.learning_rate).
        weight_decay, beta1, beta2: AdamW's.
        clip_norm: gradients are scaled down to this norm.
        ema_decay: of the weights' moving average, which is what is evaluated and exported; 0 is none.
        seed: of the samples' order, times and noise.
        autocast: compute in bfloat16, with float32 weights of what is trained.
        recompute: keep only each layer's input for the gradient and compute the rest anew: less memory, about
            a third more time.
        train_vision: whether stages 1 and 3 train the vision tower.
        lora: adapters, None trains whole matrices.
        span_weights: of the words' loss, stages 1 and 3.
        flow_weight: of the flow's loss in stage 3, where the words' counts once.
        lateral_speed_mps, near_weight, displacement_weight, flow_draws: of the flow's loss, stages 2 and 3:
            flow_terms.FlowTerms.
        read_plan: whether the backbone also learns in stage 3 from plans read at once (plan_reader.py).
        eval_every, eval_samples: held-out samples are evaluated so often, so many of them.
        patience: stop after so many evaluations without a smaller held-out loss; 0 never does.
        checkpoint_every, log_every: steps.
        workers: processes that read samples; 0 reads in the training process.
        vision_cache_bytes: memory for the features of frames, where the vision tower is not trained.
        reasonings: which are trained on: labels.chosen.ChosenReasonings.identity, only compared here.
    """

    stage: int
    steps: int = 1000
    batch_size: int = 8
    accumulate: int = 1
    peak_rate: float = 1e-3
    warmup_steps: int = 50
    rate_floor: float = 0.1
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    autocast: bool = False
    recompute: bool = False
    train_vision: bool = True
    lora: LoraSettings | None = None
    span_weights: SpanWeights = field(default_factory=SpanWeights)
    flow_weight: float = 1.0
    lateral_speed_mps: float = 0.0
    near_weight: float = 1.0
    displacement_weight: float = 0.0
    read_plan: bool = False
    flow_draws: int = 4
    eval_every: int = 200
    eval_samples: int = 64
    patience: int = 0
    checkpoint_every: int = 200
    log_every: int = 10
    workers: int = 0
    vision_cache_bytes: int = 0
    reasonings: str = AUTOMATIC_REASONINGS

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise InvalidInput(f"stage: expected 1, 2 or {JOINT}, got {self.stage}")
        positive = ("steps", "batch_size", "accumulate", "flow_draws", "eval_every", "eval_samples")
        for name in (*positive, "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)}")
        zero_or_more = ("warmup_steps", "weight_decay", "seed", "patience", "workers", "vision_cache_bytes")
        for name in (*zero_or_more, "lateral_speed_mps", "displacement_weight"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{name}: expected zero or more, got {getattr(self, name)}")
        for name in ("peak_rate", "clip_norm", "flow_weight", "near_weight"):
            if not getattr(self, name) > 0:
                raise InvalidInput(f"{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInput(f"{name}: expected a number in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.rate_floor <= 1:
            raise InvalidInput(f"rate_floor: expected a number in [0, 1], got {self.rate_floor}")
        if self.read_plan and self.stage != JOINT:
            raise InvalidInput(f"read_plan: expected stage {JOINT}, got stage {self.stage}")
        if self.recompute and self.stage == JOINT:
            # A layer that runs twice would bring its keys and values twice.
            raise InvalidInput(f"recompute: expected False in stage {JOINT}, got True")
        if self.vision_cache_bytes and self.trains_vision:
            raise InvalidInput(
                "vision_cache_bytes: expected 0 where the vision tower is trained, "
                f"got {self.vision_cache_bytes}"
            )

    @property
    def trains_vision(self) -> bool:
        """Whether the vision tower has gradients."""
        return self.stage in (1, JOINT) and self.train_vision and self.lora is None

    def flow_terms(self, *, action_std: tuple[float, float]) -> FlowTerms:
        """Return what the flow's loss is the mean of, for actions in these units (m/s², 1/m)."""
        return FlowTerms(
            self.flow_draws,
            self.lateral_speed_mps,
            self.near_weight,
            displacement_weight=self.displacement_weight,
            action_std=action_std,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values; `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Read what `as_dict` wrote.

        Raises:
            InvalidInput: for an unknown name, or a value that is refused.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise InvalidInput(f"settings: expected names of TrainSettings, got {', '.join(unknown)}")
        lora = values.get("lora")
        given = dict(values)
        given["lora"] = None if lora is None else LoraSettings(**lora)
        given["span_weights"] = SpanWeights(**values.get("span_weights", {}))
        return cls(**given)

    def require_same_result(self, earlier: TrainSettings) -> None:
        """Raise InvalidInput for a setting that a resumed run may not change, naming it."""
        ours, theirs = _lasting(self).as_dict(), _lasting(earlier).as_dict()
        changed = [f"{name} {theirs[name]}, got {ours[name]}" for name in ours if ours[name] != theirs[name]]
        if changed:
            raise InvalidInput(f"resume: expected the run's own settings: {'; '.join(changed)}")


def _lasting(settings: TrainSettings) -> TrainSettings:
    """Return the settings with those that don't change the result at fixed values.

    With or without a cache features are rounded differently; its size is nothing to them.
    """
    cache_bytes = min(1, settings.vision_cache_bytes)
    return replace(
        settings, checkpoint_every=1, log_every=1, workers=0, recompute=False, vision_cache_bytes=cache_bytes
    )
