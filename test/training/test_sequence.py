"""What the model is trained to write stands behind the very prompt that it plans from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sft_samples import make_sample

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.engine import Engine
from alpamayo_ros.model.positions import prompt_positions
from alpamayo_ros.training.sample import ReasoningSource, TrainingSample
from alpamayo_ros.training.sequence import Span, TrainingSequence, collate
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.types import InvalidInput, Observation

GENERATIONS = ["alpamayo1_5", "alpamayo_r1"]


@pytest.fixture(scope="module", params=GENERATIONS)
def golden(request: pytest.FixtureRequest, golden_dir: Path) -> Path:
    return golden_dir / request.param


def load(golden: Path) -> TrainableModel:
    return TrainableModel.load(
        golden / "checkpoint", golden / "backbone", device=torch.device("cpu"), dtype=torch.float32
    )


@pytest.fixture(scope="module")
def model(golden: Path) -> TrainableModel:
    return load(golden)


@pytest.fixture(scope="module")
def model_1_5(golden_dir: Path) -> TrainableModel:
    return load(golden_dir / "alpamayo1_5")


def golden_sample(golden: Path) -> TrainingSample:
    tensors = load_file(golden / "golden.safetensors")
    cameras = tuple(tensors["camera_indices"].tolist())
    observation = Observation(
        t0_ns=0,
        camera_ids=cameras,
        frames=tensors["frames"].numpy(),
        frame_stamps_ns=np.tile(np.arange(4), (len(cameras), 1)),
        history_xyz_in_rig_t0=tensors["ego_history_xyz"][0, 0].numpy(),
        history_rot_in_rig_t0=tensors["ego_history_rot"][0, 0].numpy(),
    )
    return replace(make_sample(0), observation=observation)


def spans_of(sequence: TrainingSequence, span: Span) -> list[int]:
    return sequence.token_ids[sequence.spans == span].tolist()


def test_the_prompt_is_the_references(model: TrainableModel, golden: Path) -> None:
    sequence = model.builder.build(golden_sample(golden))
    wanted = load_file(golden / "golden.safetensors")["plain.fused_ids"][0]
    assert sequence.token_ids[: sequence.prompt_length].tolist() == wanted.tolist()


def test_the_prompt_is_what_the_planner_prefills(
    model_1_5: TrainableModel, golden_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = golden_dir / "alpamayo1_5"
    seen: list[Any] = []
    prefill = Engine.prefill

    def spying(self: Engine, token_ids: Any, visual: Any, **rest: Any) -> Any:
        seen.append((token_ids, visual.embeds))
        return prefill(self, token_ids, visual, **rest)

    monkeypatch.setattr(Engine, "prefill", spying)
    planner = Alpamayo.from_pretrained(
        folder / "checkpoint", folder / "backbone", device="cpu", dtype="float32", progress=False
    )
    sample = make_sample(3, instruction="Turn right in 30m")
    planner.plan(sample.observation, PlanOptions(max_reasoning_tokens=2, flow_steps=1))
    sequence = model_1_5.builder.build(sample)
    ((token_ids, _),) = seen
    assert sequence.token_ids[: sequence.prompt_length].tolist() == list(token_ids)


def test_spans_count_with_their_start_and_end(model: TrainableModel) -> None:
    tokenizer = model.opened.tokenizer
    sequence = model.builder.build(make_sample(1))
    reasoning = tokenizer.decode(spans_of(sequence, Span.REASONING))
    assert reasoning == "<|cot_start|>Stop behind the lead car that is braking.<|cot_end|>"
    start, *meta, end = spans_of(sequence, Span.META_ACTION)
    # Their rows are the eleventh and twelfth special token's in both generations, whatever they are called.
    first = tokenizer.id_of("cot_start") + 2
    assert (start, end) == (first, first + 1) == model.builder.meta_action_ids
    assert tokenizer.decode(meta) == "brake, keep lane"
    future_start, *bins, future_end, last = spans_of(sequence, Span.TRAJECTORY)
    assert future_start == tokenizer.id_of("traj_future_start")
    assert future_end == tokenizer.id_of("traj_future_end") and last == tokenizer.im_end_id
    assert len(bins) == 128 and min(bins) >= tokenizer.traj_token_start
    assert max(bins) < tokenizer.history_token_start
    assert sequence.token_ids[sequence.offset - 1] == future_start
    counted = np.flatnonzero(sequence.spans)
    assert counted[0] == sequence.prompt_length - 1
    assert np.array_equal(counted, np.arange(counted[0], len(sequence.token_ids)))


def test_without_reasoning_only_the_trajectory_counts(model: TrainableModel) -> None:
    sequence = model.builder.build(make_sample(1, reasoned=False))
    assert set(sequence.spans.tolist()) == {Span.OTHER, Span.TRAJECTORY}
    cot = model.opened.tokenizer.decode(sequence.token_ids[sequence.prompt_length - 1 : sequence.offset])
    assert cot == "<|cot_start|><|cot_end|><|traj_future_start|>"
    assert (sequence.spans == Span.TRAJECTORY).sum() == 131


def test_positions_go_on_as_decoding_does(model: TrainableModel) -> None:
    sequence = model.builder.build(make_sample(2))
    prompt = sequence.token_ids[: sequence.prompt_length]
    grids = [(rows // 32, columns // 32) for rows, columns in (f.shape[-2:] for f in sequence.frames)]
    positions, rope_delta = prompt_positions(
        prompt.tolist(), [grid for grid in grids for _ in range(4)], image_token_id=model.image_pad_id
    )
    assert np.array_equal(sequence.positions[:, : sequence.prompt_length], positions)
    behind = np.arange(sequence.prompt_length, len(sequence.token_ids)) + rope_delta
    assert np.array_equal(sequence.positions[:, sequence.prompt_length :], np.tile(behind, (3, 1)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reasoning": "Keep <|cot_end|> lane."}, "reasoning: expected text without special tokens"),
        ({"reasoning": "  "}, "reasoning: expected text, got ''"),
        ({"meta_action": "<i3>"}, "meta_action: expected text without special tokens"),
    ],
)
def test_text_with_special_tokens_is_refused_by_the_samples_name(
    model_1_5: TrainableModel, change: dict[str, str], says: str
) -> None:
    sample = replace(make_sample(4), **change, source=ReasoningSource.HUMAN)
    with pytest.raises(InvalidInput, match=f"^synthetic/4: {says}"):
        model_1_5.builder.build(sample)


def test_an_instruction_that_the_generation_lacks_is_refused(golden_dir: Path) -> None:
    model = load(golden_dir / "alpamayo_r1")
    with pytest.raises(InvalidInput, match=r"^synthetic/4: instruction: expected a checkpoint trained with"):
        model.builder.build(make_sample(4, instruction="Turn left"))


def test_a_batch_is_its_sequences_padded(model_1_5: TrainableModel) -> None:
    short, long = make_sample(0, reasoned=False, cameras=(1,)), make_sample(1, instruction="Turn left")
    sequences = [model_1_5.builder.build(sample) for sample in (short, long)]
    batch = collate(sequences, image_pad_id=model_1_5.image_pad_id)
    assert len(batch) == 2 and batch.sample_ids == ("synthetic/0", "synthetic/1")
    for row, sequence in enumerate(sequences):
        own = len(sequence.token_ids)
        assert np.array_equal(batch.token_ids[row, :own].numpy(), sequence.token_ids)
        assert np.array_equal(batch.positions[:, row, :own].numpy(), sequence.positions)
        assert not batch.spans[row, own:].any()
    flat = batch.token_ids.flatten()
    assert (flat[batch.visual_index] == model_1_5.image_pad_id).all()
    assert len(batch.visual_index) == int((flat == model_1_5.image_pad_id).sum())
    cropped = batch.cropped()
    assert cropped.token_ids.shape[1] == int(batch.offsets.max())
    assert torch.equal(cropped.token_ids.flatten()[cropped.visual_index], flat[batch.visual_index])
    with pytest.raises(InvalidInput, match="batch: expected at least one sequence"):
        collate([], image_pad_id=model_1_5.image_pad_id)
