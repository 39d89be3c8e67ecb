"""The plan can be read from what the backbone keeps, the reader is learned with it and left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sft_samples import make_sample, samples

from alpamayo_ros.training.flow_terms import FlowTerms
from alpamayo_ros.training.plan_reader import READER_PREFIX, reading_loss
from alpamayo_ros.training.sequence import collate
from alpamayo_ros.training.settings import JOINT, TrainSettings
from alpamayo_ros.training.stage2 import Memory
from alpamayo_ros.training.trainer import Trainer
from alpamayo_ros.training.trainer_model import TrainableModel
from alpamayo_ros.training.trainer_state import TrainState
from alpamayo_ros.types import InvalidInput

SETTINGS = TrainSettings(
    stage=JOINT, steps=2, batch_size=2, train_vision=False, read_plan=True, warmup_steps=0, eval_every=1
)


def _memory(model: TrainableModel, rows: int) -> Memory:
    text = model.network.vlm.config.text_config
    shape = (rows, text.num_key_value_heads, 40, text.head_dim)
    return [(torch.randn(shape), torch.randn(shape)) for _ in range(text.num_hidden_layers)]


def test_it_reads_the_values_at_the_last_word_alone(model: TrainableModel) -> None:
    torch.manual_seed(0)
    reader, memory = model.plan_reader(seed=1), _memory(model, 2)
    torch.nn.init.normal_(reader.out.weight, std=0.1)
    offsets = torch.tensor([40, 25])
    before = reader(memory, offsets)
    assert before.shape == (2, 64, 2)
    for keys, values in memory:
        keys.add_(1.0)
        values[1, :, :24] += 1.0
        values[1, :, 25:] += 1.0
    assert torch.equal(reader(memory, offsets), before)
    memory[0][1][1, :, 24] += 1.0
    changed = reader(memory, offsets)
    assert torch.equal(changed[0], before[0]) and not torch.allclose(changed[1], before[1])


def test_its_loss_is_that_of_the_actions_it_reads(model: TrainableModel) -> None:
    batch = collate([model.builder.build(make_sample(i)) for i in range(2)], image_pad_id=model.image_pad_id)
    reader = model.plan_reader(seed=0)
    with torch.no_grad():
        reader.out.bias.zero_()
    memory = _memory(model, 2)
    padded = [(torch.nn.functional.pad(k, (0, 0, 0, 2000)), torch.nn.functional.pad(v, (0, 0, 0, 2000)))
              for k, v in memory]  # fmt: skip
    loss = reading_loss(reader, batch, memory=padded, terms=FlowTerms())
    assert loss.means["plan_loss"] == pytest.approx(float(batch.actions.square().mean()), rel=1e-5)


def test_it_is_trained_and_gone_on_with_but_not_kept(model: TrainableModel, tmp_path: Path) -> None:
    trainer = Trainer(model, samples(4), settings=SETTINGS, folder=tmp_path, held_out=samples(2, first=9))
    trainer.run()
    state = TrainState.load(tmp_path)
    assert state is not None
    of_reader = [name for name in state.weights if name.startswith(READER_PREFIX)]
    assert of_reader
    new = model.plan_reader(seed=SETTINGS.seed).state_dict()
    assert any(
        not torch.equal(state.weights[name], new[name.removeprefix(READER_PREFIX)]) for name in of_reader
    )
    kept = load_file(tmp_path / "best.safetensors")
    assert kept and not any(name.startswith(READER_PREFIX) for name in kept)
    assert "plan_loss" in trainer.evaluate()
    again = Trainer(model, samples(4), settings=SETTINGS, folder=tmp_path, held_out=samples(2, first=9))
    assert again.step == 2


def test_it_is_for_the_joint_stage() -> None:
    with pytest.raises(InvalidInput, match="read_plan: expected stage 3, got stage 2"):
        TrainSettings(stage=2, read_plan=True)
