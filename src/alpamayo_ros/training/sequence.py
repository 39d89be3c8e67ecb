"""A sample as the tokens that stage 1 learns, and what of them counts.

The prompt is the planner's own (model/prompt.py). Behind it:

    CoC <|cot_end|> [<|meta_action_start|> … <|meta_action_end|>]
    <|traj_future_start|> 128 tokens <|traj_future_end|> <|im_end|>

Every span counts with its start and its end token: <|cot_start|>, the prompt's last, too. A sample without
reasoning has an empty CoC that doesn't count, so that only the trajectory is learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alpamayo_ros.model import special_tokens
from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.history_tokens import HistoryTokenizer
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.positions import prompt_positions
from alpamayo_ros.model.prompt import PromptBuilder
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.training.targets import TargetBuilder
from alpamayo_ros.types import NUM_FRAMES, InvalidInput, UInt8Array


class Span(IntEnum):
    """What a token belongs to; tokens of OTHER don't count."""

    OTHER = 0
    REASONING = 1
    META_ACTION = 2
    TRAJECTORY = 3


@dataclass(frozen=True, eq=False)
class TrainingSequence:
    """One sample, ready for a batch.

    Attributes:
        sample_id: the sample's.
        token_ids: int64 [L], prompt and what follows.
        spans: int8 [L], the Span of each token.
        positions: int64 [3, L], rotary positions (time, row, column).
        prompt_length: tokens of the prompt.
        offset: index behind <|traj_future_start|>: the expert's context ends there.
        action: float32 [64, 2], the flow's target.
        history_xyz, history_rot: float32 [16, 3] m, [16, 3, 3], in the rig frame at t0.
        future_xyz: float32 [64, 3] m, the sample's waypoints in the same frame.
        frames: uint8 RGB [4, 3, h, w] a camera, at the model's size.
        round_trip_error_m: see Targets.
    """

    sample_id: str
    token_ids: NDArray[np.int64]
    spans: NDArray[np.int8]
    positions: NDArray[np.int64]
    prompt_length: int
    offset: int
    action: Tensor
    history_xyz: Tensor
    history_rot: Tensor
    future_xyz: Tensor
    frames: tuple[UInt8Array, ...]
    round_trip_error_m: float

    def __post_init__(self) -> None:
        length = len(self.token_ids)
        if self.spans.shape != (length,) or self.positions.shape != (3, length):
            given = f"{list(self.spans.shape)} and {list(self.positions.shape)}"
            raise InvalidInput(
                f"{self.sample_id}: expected spans [{length}] and positions [3, {length}], got {given}"
            )
        if not 0 < self.prompt_length < self.offset <= length:
            given = f"{self.prompt_length}, {self.offset}, {length}"
            raise InvalidInput(f"{self.sample_id}: expected 0 < prompt < offset <= length, got {given}")


class SequenceBuilder:
    """Turns samples into sequences, for one checkpoint.

    Args:
        config, tokenizer: the checkpoint's.
        images: its image size rule.
        targets: gives a sample's actions and bins.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: AlpamayoTokenizer,
        *,
        images: ImagePreparer,
        targets: TargetBuilder,
    ) -> None:
        self._tokenizer = tokenizer
        self._takes_instruction = config.takes_instruction
        self._prompts = PromptBuilder(config, tokenizer)
        self._history = HistoryTokenizer(config.history_tokenizer)
        self._images = images
        self._targets = targets
        id_of = tokenizer.id_of
        self._cot_end = id_of("cot_end")
        self._future_start, self._future_end = id_of("traj_future_start"), id_of("traj_future_end")
        self._meta_action = (
            tuple(
                id_of(special_tokens.names(config.generation)[position])
                for position in special_tokens.META_ACTION_POSITIONS
            )
            if config.add_special_tokens
            else None
        )

    @property
    def meta_action_ids(self) -> tuple[int, ...] | None:
        """Ids of the meta action's start and end token, None where the vocabulary lacks them."""
        return self._meta_action

    def build(self, sample: TrainingSample) -> TrainingSequence:
        """Return the sequence of `sample`; reasoning and meta action are stripped of blanks around them.

        Raises:
            InvalidInput: naming the sample, for text with special tokens in it, an instruction or meta action
                that the checkpoint has no tokens for, or a future that cannot be fitted.
        """
        try:
            return self._build(sample)
        except InvalidInput as error:
            if str(error).startswith(sample.sample_id):
                raise
            raise InvalidInput(f"{sample.sample_id}: {error}") from error

    def _build(self, sample: TrainingSample) -> TrainingSequence:
        observation = sample.observation
        token = self._images.patch_size * self._images.merge_size
        sizes = [self._images.model_size(*frames.shape[-2:]) for frames in observation.frames]
        grids = [(height // token, width // token) for height, width in sizes for _ in range(NUM_FRAMES)]
        prompt = self._prompts.planning(
            observation.camera_ids,
            [rows * columns for rows, columns in grids],
            history_token_ids=self._history.token_ids(
                observation.history_xyz_in_rig_t0, first_id=self._tokenizer.history_token_start
            ),
            instruction=observation.instruction,
        ).fused_ids
        targets = self._targets.build(sample)

        parts: list[tuple[Span, Sequence[int]]] = []
        if sample.reasoning:
            text = self._tokenizer.require_plain_text("reasoning", sample.reasoning.strip())
            # The prompt's last token, <|cot_start|>, is this span's first.
            parts += [(Span.OTHER, prompt[:-1]), (Span.REASONING, (prompt[-1], *text, self._cot_end))]
        else:
            parts += [(Span.OTHER, (*prompt, self._cot_end))]
        if sample.meta_action:
            parts.append((Span.META_ACTION, self._meta_action_ids(sample.meta_action)))
        before = sum(len(ids) for _, ids in parts)
        bins = (targets.bins + self._tokenizer.traj_token_start).tolist()
        end = (self._future_end, self._tokenizer.im_end_id)
        parts.append((Span.TRAJECTORY, (self._future_start, *bins, *end)))

        token_ids = np.concatenate([np.asarray(ids, dtype=np.int64) for _, ids in parts])
        spans = np.concatenate([np.full(len(ids), span, dtype=np.int8) for span, ids in parts])
        positions, _ = prompt_positions(
            token_ids.tolist(), grids, image_token_id=self._tokenizer.image_pad_id
        )
        return TrainingSequence(
            sample_id=sample.sample_id,
            token_ids=token_ids,
            spans=spans,
            positions=positions,
            prompt_length=len(prompt),
            offset=before + 1,
            action=targets.action,
            history_xyz=torch.tensor(observation.history_xyz_in_rig_t0),
            history_rot=torch.tensor(observation.history_rot_in_rig_t0),
            future_xyz=torch.tensor(sample.future_xyz_in_rig_t0),
            frames=tuple(self._images.prepare_frames(frames) for frames in observation.frames),
            round_trip_error_m=targets.round_trip_error_m,
        )

    def _meta_action_ids(self, text: str) -> tuple[int, ...]:
        if self._meta_action is None:
            raise InvalidInput(f"meta_action: expected '' for a vocabulary without its tokens, got {text!r}")
        start, end = self._meta_action
        return (start, *self._tokenizer.require_plain_text("meta_action", text.strip()), end)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences side by side, padded at their ends.

    Padding needs no mask where attention is causal: nothing that counts stands behind it.

    Attributes:
        token_ids: int64 [B, L].
        spans: int8 [B, L], OTHER where padded.
        positions: int64 [3, B, L].
        offsets: int64 [B].
        actions: float32 [B, 64, 2].
        history_xyz, history_rot, future_xyz: float32 [B, 16, 3], [B, 16, 3, 3], [B, 64, 3].
        round_trip_error_m: float32 [B], see Targets.
        visual_index: int64 [N], the image placeholders' indices into the flattened [B * L].
        frames: all samples' cameras one after the other, uint8 [4, 3, h, w] each.
        sample_ids: B names.
    """

    token_ids: Tensor
    spans: Tensor
    positions: Tensor
    offsets: Tensor
    actions: Tensor
    history_xyz: Tensor
    history_rot: Tensor
    future_xyz: Tensor
    round_trip_error_m: Tensor
    visual_index: Tensor
    frames: tuple[UInt8Array, ...]
    sample_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def cropped(self) -> Batch:
        """Return the batch up to its last offset: all that the expert's context needs."""
        length = int(self.offsets.max())
        width = self.token_ids.shape[1]
        rows, columns = self.visual_index // width, self.visual_index % width
        return replace(
            self,
            token_ids=self.token_ids[:, :length],
            spans=self.spans[:, :length],
            positions=self.positions[..., :length],
            visual_index=rows * length + columns,
        )

    def without_trajectory(self) -> Batch:
        """Return the batch up to its last offset, with <|traj_future_start|> counted among the words.

        It is the trajectory's own start, and what ends the words: a backbone that is never told goes on
        talking.
        """
        cropped = self.cropped()
        spans = cropped.spans.clone()
        spans[torch.arange(len(self), device=spans.device), self.offsets - 1] = Span.META_ACTION
        return replace(cropped, spans=spans)


def collate(sequences: Sequence[TrainingSequence], *, image_pad_id: int) -> Batch:
    """Return the batch of one or more sequences; padding is token 0 at position 0."""
    if not sequences:
        raise InvalidInput("batch: expected at least one sequence, got none")
    count, length = len(sequences), max(len(sequence.token_ids) for sequence in sequences)
    token_ids = torch.zeros(count, length, dtype=torch.int64)
    spans = torch.zeros(count, length, dtype=torch.int8)
    positions = torch.zeros(3, count, length, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        own = len(sequence.token_ids)
        token_ids[row, :own] = torch.from_numpy(sequence.token_ids)
        spans[row, :own] = torch.from_numpy(sequence.spans)
        positions[:, row, :own] = torch.from_numpy(sequence.positions)
    return Batch(
        token_ids=token_ids,
        spans=spans,
        positions=positions,
        offsets=torch.tensor([sequence.offset for sequence in sequences]),
        actions=torch.stack([sequence.action for sequence in sequences]),
        history_xyz=torch.stack([sequence.history_xyz for sequence in sequences]),
        history_rot=torch.stack([sequence.history_rot for sequence in sequences]),
        future_xyz=torch.stack([sequence.future_xyz for sequence in sequences]),
        round_trip_error_m=torch.tensor([sequence.round_trip_error_m for sequence in sequences]),
        visual_index=(token_ids.flatten() == image_pad_id).nonzero()[:, 0],
        frames=tuple(frames for sequence in sequences for frames in sequence.frames),
        sample_ids=tuple(sequence.sample_id for sequence in sequences),
    )
