"""What a model generated, put together as a plan."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from alpamayo_ros.model.action_space import Trajectory
from alpamayo_ros.model.engine import TokenIds
from alpamayo_ros.model.texts import GeneratedTexts, parse_sections
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.types import Observation, Plan, StageTimes, medoid


class TextsOfPlans:
    """Takes the texts out of generated tokens.

    Args:
        tokenizer: the checkpoint's.
        generation: of the model; see GeneratedTexts.from_decoded.
        kept: texts of prompts' heads that are kept for the next plan.
    """

    def __init__(self, tokenizer: AlpamayoTokenizer, generation: str, *, kept: int) -> None:
        self._tokenizer, self._generation = tokenizer, generation
        self._kept = kept
        self._heads: dict[TokenIds, str] = {}

    def of(
        self, prompt_ids: TokenIds, visual_end: int, token_ids: Sequence[TokenIds]
    ) -> list[GeneratedTexts]:
        """Return the texts of K samples; `visual_end` is the index behind the prompt's last image token."""
        # The prompt as well, as upstream: an end token without its start reaches back into it.
        prompt = self.prompt(prompt_ids, visual_end)
        return [
            GeneratedTexts.from_decoded(prompt + self._tokenizer.decode(ids), generation=self._generation)
            for ids in token_ids
        ]

    def prompt(self, ids: TokenIds, visual_end: int) -> str:
        """Return a prompt's text. Its head ends with a special token, so it may be decoded by itself."""
        head = ids[:visual_end]
        text = self._heads.get(head)
        if text is None:
            text = self._tokenizer.decode(head)
            if self._kept:
                if len(self._heads) >= self._kept:
                    self._heads.pop(next(iter(self._heads)))
                self._heads[head] = text
        return text + self._tokenizer.decode(ids[visual_end:])


def assembled(
    observation: Observation,
    action: Tensor,
    trajectory: Trajectory,
    texts: list[GeneratedTexts],
    *,
    token_ids: tuple[TokenIds, ...],
    times: StageTimes,
    model: str,
    seed: int,
) -> Plan:
    """Return the plan of K samples: actions float32 [K, 64, 2], their trajectory and texts."""
    xyz = trajectory.xyz_in_rig_t0.numpy()
    return Plan(
        t0_ns=observation.t0_ns,
        xyz_in_rig_t0=xyz,
        rot_in_rig_t0=trajectory.rot_in_rig_t0.numpy(),
        accel_mps2=trajectory.accel_mps2.numpy(),
        curvature_per_m=trajectory.curvature_per_m.numpy(),
        speed_mps=trajectory.speed_mps.numpy(),
        normalised_action=action.numpy(),
        reasoning=tuple(text.reasoning for text in texts),
        reasoning_complete=tuple(text.reasoning_complete for text in texts),
        meta_action=tuple(text.meta_action for text in texts),
        token_ids=token_ids,
        sections=tuple(parse_sections(text.reasoning) for text in texts),
        chosen=medoid(xyz),
        times=times,
        model=model,
        seed=seed,
    )
