"""The whole model against upstream's outputs, within golden/README.md's tolerances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from model_helpers import golden_observation, load_alpamayo

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.engine import PromptState, StopRule
from alpamayo_ros.model.flow_matching import FlowMatching

_LIMITS = {"plain": 24, "cut": 5, "vqa": 16}
_GUIDANCE = {"nav_cfg": 3.0}
_TAGS = ("plain", "cut", "uneven", "nav", "nav_cfg")


def generated_tokens(golden, model: Alpamayo, tag: str) -> list[tuple[int, ...]]:
    """Return each sample's tokens up to its own end: upstream's batches run on until the last has ended."""
    prompt_length = golden[f"{tag}.input_ids"].shape[1]
    start = model._tokenizer.id_of("traj_future_start")
    stop = StopRule(10**6, model._end_ids, start)
    sequences = []
    for row in golden[f"{tag}.sequences"][:, prompt_length:].tolist():
        ended = (n for n in range(1, len(row) + 1) if stop.ended(row[:n]))
        sequences.append(tuple(row[: next(ended, len(row))]))
    return sequences


def greedy(golden, tag: str, num_samples: int) -> PlanOptions:
    limit = _LIMITS.get(tag, golden[f"{tag}.sequences"].shape[1] - golden[f"{tag}.input_ids"].shape[1])
    return PlanOptions(
        num_samples=num_samples,
        top_k=1,
        temperature=1.0,
        top_p=1.0,
        max_reasoning_tokens=limit,
        guidance_weight=_GUIDANCE.get(tag),
    )


def require_tag(golden, tag: str) -> None:
    if tag not in golden.record["texts"]:
        pytest.skip(f"{golden.folder.name} has no {tag}")


def prefill(golden, model: Alpamayo, tag: str) -> PromptState:
    grids = [(rows // 2, columns // 2) for _, rows, columns in golden[f"{tag}.image_grid_thw"].tolist()]
    visual = model._reader.engine.look(golden["pixel_values"], golden[f"{tag}.image_grid_thw"])
    ids = tuple(golden[f"{tag}.fused_ids"][0].tolist())
    return model._reader.engine.prefill(ids, visual, grids=grids, capacity=len(ids))


@torch.inference_mode()
def test_prompt_logits_and_rope_delta(golden, golden_alpamayo: Alpamayo) -> None:
    state = prefill(golden, golden_alpamayo, "plain")
    assert state.rope_delta == int(golden["plain.rope_delta"])
    torch.testing.assert_close(state.logits, golden["plain.prompt_last_logits"], atol=1e-3, rtol=0)


@torch.inference_mode()
def test_action_in_proj(golden, golden_alpamayo: Alpamayo) -> None:
    out = golden_alpamayo.network.action_in_proj(golden["proj.x"], golden["proj.t"])
    torch.testing.assert_close(out, golden["proj.out"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("tag", _TAGS)
def test_plan(golden, golden_alpamayo: Alpamayo, tag: str) -> None:
    require_tag(golden, tag)
    recorded = generated_tokens(golden, golden_alpamayo, tag)
    plan = golden_alpamayo.plan(
        golden_observation(golden, tag),
        greedy(golden, tag, len(recorded)),
        noise=golden["noise"],
        forced_tokens=recorded if tag == "uneven" else None,
    )
    assert list(plan.token_ids) == recorded
    texts = golden.record["texts"][tag]
    assert list(plan.reasoning) == texts["cot"]
    assert list(plan.meta_action) == texts["meta_action"]
    np.testing.assert_allclose(plan.normalised_action, golden[f"{tag}.action"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(plan.xyz_in_rig_t0, golden[f"{tag}.xyz"][0, 0], atol=1e-3, rtol=0)
    np.testing.assert_allclose(plan.rot_in_rig_t0, golden[f"{tag}.rot"][0, 0], atol=1e-4, rtol=0)
    end, start = (golden.tokenizer.id_of(name) for name in ("cot_end", "traj_future_start"))
    before = [tokens[: tokens.index(start)] if start in tokens else tokens for tokens in recorded]
    assert list(plan.reasoning_complete) == [end in tokens for tokens in before]


@pytest.mark.parametrize("tag", _TAGS)
def test_each_sample_alone(golden, golden_alpamayo: Alpamayo, tag: str) -> None:
    require_tag(golden, tag)
    for k, tokens in enumerate(generated_tokens(golden, golden_alpamayo, tag)):
        plan = golden_alpamayo.plan(
            golden_observation(golden, tag),
            greedy(golden, tag, 1),
            noise=golden["noise"][k : k + 1],
            forced_tokens=[tokens] if tag == "uneven" else None,
        )
        assert plan.token_ids == (tokens,)
        np.testing.assert_allclose(plan.normalised_action[0], golden[f"{tag}.action"][k], atol=1e-4, rtol=0)
        np.testing.assert_allclose(plan.xyz_in_rig_t0[0], golden[f"{tag}.xyz"][0, 0, k], atol=1e-3, rtol=0)


@pytest.mark.parametrize("tag", _TAGS)
@torch.inference_mode()
def test_every_euler_step(golden, golden_alpamayo: Alpamayo, tag: str) -> None:
    require_tag(golden, tag)
    engine = golden_alpamayo._reader.engine
    state = prefill(golden, golden_alpamayo, tag)
    generated = engine.replay(state, generated_tokens(golden, golden_alpamayo, tag))
    unguided = None
    if tag in _GUIDANCE:
        context = engine.unguided_context(
            state,
            generated,
            tuple(golden["plain.fused_ids"][0].tolist()),
            guided_ids=tuple(golden[f"{tag}.fused_ids"][0].tolist()),
            grids=[(r // 2, c // 2) for _, r, c in golden[f"{tag}.image_grid_thw"].tolist()],
        )
        unguided = engine.velocity(context)
    states = FlowMatching(10).states(
        engine.velocity(engine.expert_context(state, generated)),
        golden["noise"],
        unguided_velocity=unguided,
        guidance_weight=_GUIDANCE.get(tag),
    )
    for step, x in enumerate(states):
        torch.testing.assert_close(x, golden[f"{tag}.flow_steps"][:, step], atol=1e-4, rtol=0)


def test_question(golden, golden_alpamayo: Alpamayo) -> None:
    require_tag(golden, "vqa")
    prompt_length = golden["vqa.input_ids"].shape[1]
    recorded = golden["vqa.sequences"][:, prompt_length:].tolist()
    options = greedy(golden, "vqa", len(recorded))
    answers = golden_alpamayo.ask(golden_observation(golden), golden.question, options)
    tokenizer = golden_alpamayo._tokenizer
    assert [answer.generated for answer in answers] == [tokenizer.decode(row) for row in recorded]
    assert [answer.text for answer in answers] == golden.record["texts"]["vqa"]["answer"]
    assert golden_alpamayo.answer(golden_observation(golden), golden.question, options) == [
        answer.text for answer in answers
    ]


def test_camera_subsets_plan(golden, golden_alpamayo: Alpamayo) -> None:
    """Every proper subset of cameras gives a plan of its own; test_network.py checks what is computed."""
    cameras = tuple(golden["camera_indices"].tolist())
    seen = set()
    for subset in itertools.combinations(cameras, 3):
        plan = golden_alpamayo.plan(
            golden_observation(golden, cameras=subset), greedy(golden, "plain", 1), noise=golden["noise"][:1]
        )
        assert np.isfinite(plan.xyz_in_rig_t0).all()
        seen.add(plan.normalised_action.tobytes())
    assert len(seen) == len(list(itertools.combinations(cameras, 3)))


def test_bfloat16_stays_near(golden) -> None:
    """Autocast runs on the CPU as well: same tokens fed, the plan differs by rounding only."""
    model = load_alpamayo(golden.folder / "checkpoint", golden.folder / "backbone", "bfloat16")
    recorded = generated_tokens(golden, model, "plain")
    plan = model.plan(
        golden_observation(golden),
        PlanOptions(num_samples=len(recorded)),
        noise=golden["noise"],
        forced_tokens=recorded,
    )
    assert plan.normalised_action.dtype == np.float32
    error = np.abs(plan.normalised_action - golden["plain.action"].numpy())
    assert 0 < error.max() < 0.3
