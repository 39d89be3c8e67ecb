"""Prompts of one layout share tensors, and others don't."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from model_helpers import make_observation

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.positions import prompt_positions
from alpamayo_ros.model.prompt_layout import PromptLayouts
from alpamayo_ros.model.request import Request
from alpamayo_ros.model.speed import SpeedOptions

PAD = 9


def test_layouts_are_kept_by_where_images_stand() -> None:
    layouts = PromptLayouts(torch.device("cpu"), image_token_id=PAD, kept=2)
    first = layouts.of((1, PAD, PAD, 2, 3), [(1, 2)])
    assert layouts.of((4, PAD, PAD, 5, 6), [(1, 2)]) is first
    others = [((1, PAD, PAD, 2), [(1, 2)]), ((1, PAD, PAD, 2, 3), [(2, 1)]), ((PAD, PAD, 1, 2, 3), [(1, 2)])]
    for ids, grids in others:
        layout = layouts.of(ids, grids)
        assert layout is not first
        positions, delta = prompt_positions(ids, grids, image_token_id=PAD)
        np.testing.assert_array_equal(layout.positions[:, 0].numpy(), positions)
        assert layout.rope_delta == delta
        assert [i for i, token in enumerate(ids) if token == PAD] == layout.visual_index.tolist()
        assert layout.visual_end == layout.visual_index[-1] + 1
    assert layouts.of((1, PAD, PAD, 2, 3), [(1, 2)]) is not first, "the oldest should have gone"
    with pytest.raises(ValueError, match="image tokens: expected"):
        layouts.of((1, PAD), [(1, 2)])


def test_plans_are_the_same_with_prompts_made_anew(random_alpamayo: Alpamayo, random_folder: Path) -> None:
    """Over changes of rig, instruction and history."""
    anew = Alpamayo.from_pretrained(
        random_folder, device="cpu", dtype="float32", speed=SpeedOptions(prompt_reuse=False)
    )
    full, two = make_observation(1), make_observation(2, cameras=(1, 6))
    route = dataclasses.replace(full, instruction="Turn left")
    history = dataclasses.replace(full, history_xyz_in_rig_t0=make_observation(4).history_xyz_in_rig_t0)
    options = PlanOptions(num_samples=2, seed=3, temperature=1.0, max_reasoning_tokens=12)
    for observation in (full, route, history, two, route, full):
        kept, made = random_alpamayo.plan(observation, options), anew.plan(observation, options)
        assert kept.token_ids == made.token_ids
        assert (kept.reasoning, kept.meta_action) == (made.reasoning, made.meta_action)
        np.testing.assert_array_equal(kept.normalised_action, made.normalised_action)


def test_decoding_in_two_pieces_is_decoding_in_one(random_alpamayo: Alpamayo) -> None:
    model = random_alpamayo
    observation = make_observation(6, instruction="Turn left in 30m")
    history = [model._tokenizer.history_token_start] * 48
    request = Request.of(
        observation,
        lambda counts: model._prompts.planning(
            observation.camera_ids, counts, history_token_ids=history, instruction=observation.instruction
        ),
        images=model.image_preparer,
    )
    ids = request.prompt.fused_ids
    end = len(ids) - ids[::-1].index(model._tokenizer.image_pad_id)
    assert model._texts.prompt(ids, end) == model._tokenizer.decode(ids)
