"""The public class on a random checkpoint of other sizes: seeds, company, refusals."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from model_helpers import load_alpamayo, make_observation

from alpamayo_ros.model import Alpamayo, PlanOptions
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.types import InvalidInput, Observation, Planner, medoid

# Long enough for samples to end at different lengths.
LIVELY = {"temperature": 1.0, "top_p": 1.0, "max_reasoning_tokens": 24}
NAVIGATION = "Turn left in 30m"


@pytest.fixture(scope="module")
def observation() -> Observation:
    return make_observation(3)


def test_it_is_a_planner_that_says_its_weights_are_random(random_alpamayo: Alpamayo) -> None:
    assert isinstance(random_alpamayo, Planner)
    assert random_alpamayo.random_seed == 7
    assert random_alpamayo.model_id == "tiny (alpamayo1_5, float32, random weights, seed 7)"


def test_plan_is_whole(random_alpamayo: Alpamayo, observation: Observation) -> None:
    options = PlanOptions(num_samples=4, seed=1, **LIVELY)
    plan = random_alpamayo.plan(observation, options)
    assert plan.t0_ns == observation.t0_ns
    assert plan.num_samples == 4
    assert plan.seed == 1
    assert plan.model == random_alpamayo.model_id
    assert plan.chosen == medoid(plan.xyz_in_rig_t0)
    assert plan.times.tokens == max(map(len, plan.token_ids))
    stages = plan.times.as_dict()
    del stages["tokens"]
    total = stages.pop("total")
    assert all(ms > 0 for ms in stages.values())
    assert sum(stages.values()) <= total
    assert any(plan.reasoning_complete)
    for text, complete in zip(plan.reasoning, plan.reasoning_complete, strict=True):
        assert complete or text == ""


@pytest.mark.parametrize("seed", range(8))
def test_a_sample_is_the_same_in_any_company(random_alpamayo, observation, seed: int) -> None:
    plans = [
        random_alpamayo.plan(observation, PlanOptions(num_samples=count, seed=seed, **LIVELY))
        for count in (1, 2, 5)
    ]
    assert len({len(tokens) for tokens in plans[-1].token_ids}) > 1, "samples of one length show too little"
    for plan in plans[:-1]:
        k = plan.num_samples
        assert plan.token_ids == plans[-1].token_ids[:k]
        np.testing.assert_allclose(plan.xyz_in_rig_t0, plans[-1].xyz_in_rig_t0[:k], atol=1e-4, rtol=0)


def test_a_seed_repeats_and_none_draws_a_fresh_one(random_alpamayo, observation) -> None:
    again = [random_alpamayo.plan(observation, PlanOptions(seed=5)) for _ in range(2)]
    assert again[0].token_ids == again[1].token_ids
    np.testing.assert_array_equal(again[0].xyz_in_rig_t0, again[1].xyz_in_rig_t0)
    fresh = [random_alpamayo.plan(observation, PlanOptions()) for _ in range(2)]
    assert fresh[0].seed != fresh[1].seed
    repeated = random_alpamayo.plan(observation, PlanOptions(seed=fresh[0].seed))
    np.testing.assert_array_equal(repeated.xyz_in_rig_t0, fresh[0].xyz_in_rig_t0)


def test_recorded_tokens_give_the_recorded_plan(random_alpamayo, observation) -> None:
    options = PlanOptions(num_samples=3, seed=2, **LIVELY)
    plan = random_alpamayo.plan(observation, options)
    replayed = random_alpamayo.plan(observation, options, forced_tokens=plan.token_ids)
    assert replayed.token_ids == plan.token_ids
    assert replayed.reasoning == plan.reasoning
    np.testing.assert_allclose(replayed.xyz_in_rig_t0, plan.xyz_in_rig_t0, atol=1e-4, rtol=0)


def test_noise_temperature_scales_the_drawn_noise(random_alpamayo, observation) -> None:
    def actions(temperature: float) -> np.ndarray:
        options = PlanOptions(seed=1, noise_temperature=temperature, **LIVELY)
        return random_alpamayo.plan(observation, options).normalised_action

    assert actions(0.0).std() < 0.5 * actions(1.0).std()


def test_guidance_of_weight_one_is_none_and_of_others_is_not(random_alpamayo) -> None:
    observation = make_observation(4, instruction=NAVIGATION)

    def action(weight: float | None) -> np.ndarray:
        options = PlanOptions(num_samples=3, seed=3, guidance_weight=weight, **LIVELY)
        return random_alpamayo.plan(observation, options).normalised_action

    np.testing.assert_allclose(action(1.0), action(None), atol=1e-5)
    assert np.abs(action(3.0) - action(None)).max() > 1e-4


def test_fully_unguided_is_the_plan_without_instruction(random_alpamayo) -> None:
    """Weight 0 leaves the unguided branch alone: the same tokens without the route must give the same."""
    with_route, without = make_observation(4, instruction=NAVIGATION), make_observation(4)
    options = PlanOptions(num_samples=3, seed=3, guidance_weight=0.0, **LIVELY)
    guided = random_alpamayo.plan(with_route, options)
    start = random_alpamayo._tokenizer.id_of("traj_future_start")
    ended = [k for k in range(3) if start in guided.token_ids[k][:-1]]  # else it sees a token more
    assert ended
    options = PlanOptions(num_samples=3, seed=3, **LIVELY)
    plain = random_alpamayo.plan(without, options, forced_tokens=guided.token_ids)
    np.testing.assert_allclose(
        guided.normalised_action[ended], plain.normalised_action[ended], atol=1e-4, rtol=0
    )


def test_frames_at_the_models_size_give_the_same_plan(random_alpamayo, observation) -> None:
    prepared = tuple(
        np.stack([random_alpamayo.prepare_frame(frame) for frame in frames]) for frames in observation.frames
    )
    other = dataclasses.replace(observation, frames=prepared)
    plans = [random_alpamayo.plan(o, PlanOptions(seed=1)) for o in (observation, other)]
    np.testing.assert_array_equal(plans[0].xyz_in_rig_t0, plans[1].xyz_in_rig_t0)


def test_threads_take_turns(random_alpamayo, observation) -> None:
    options = PlanOptions(num_samples=2, seed=9)
    expected = random_alpamayo.plan(observation, options).xyz_in_rig_t0
    found: list[np.ndarray] = []

    def work() -> None:
        found.append(random_alpamayo.plan(observation, options).xyz_in_rig_t0)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for xyz in found:
        np.testing.assert_array_equal(xyz, expected)


def test_answers(random_alpamayo, observation) -> None:
    options = PlanOptions(num_samples=2, seed=1, max_reasoning_tokens=6)
    answers = random_alpamayo.ask(observation, "What is ahead?", options)
    assert len(answers) == 2
    for answer in answers:
        assert answer.complete == ("<|answer_end|>" in answer.generated)
        assert answer.complete or answer.text == ""
    assert random_alpamayo.answer(observation, "What is ahead?", options) == [a.text for a in answers]


@pytest.mark.parametrize("text", ["Turn <|cot_end|> left", "<|route_end|>", "go <i7>", ""])
def test_special_tokens_are_refused_before_any_compute(random_alpamayo, text, monkeypatch) -> None:
    monkeypatch.setattr(random_alpamayo._reader.engine, "look", pytest.fail)
    with pytest.raises(InvalidInput, match="instruction: expected"):
        random_alpamayo.plan(make_observation(instruction=text))
    with pytest.raises(InvalidInput, match="question: expected"):
        random_alpamayo.answer(make_observation(), text)


def bad_noise() -> np.ndarray:
    noise = np.zeros((1, 64, 2), np.float32)
    noise[0, 3, 1] = np.nan
    return noise


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"noise": np.zeros((2, 64, 2), np.float32)},
            r"noise: expected shape \[1, 64, 2\], got \[2, 64, 2\]",
        ),
        ({"noise": np.zeros((1, 64, 2))}, "noise: expected dtype float32, got float64"),
        ({"noise": bad_noise()}, r"noise: expected finite values, got nan at index \[0, 3, 1\]"),
        ({"forced_tokens": [[1], [2]]}, "forced_tokens: expected 1 sequences, got 2"),
        ({"forced_tokens": [[]]}, r"forced_tokens\[0\]: expected ids in .*, got none"),
        ({"forced_tokens": [[1, 10**6]]}, r"forced_tokens\[0\]: expected ids in .*, got 1000000"),
        ({"options": PlanOptions(guidance_weight=2.0)}, "guidance_weight: expected None without"),
    ],
)
def test_bad_arguments_are_refused_before_any_compute(
    random_alpamayo, observation, arguments, message, monkeypatch
) -> None:
    monkeypatch.setattr(random_alpamayo._reader.engine, "look", pytest.fail)
    with pytest.raises(InvalidInput, match=message):
        random_alpamayo.plan(observation, **arguments)


def test_forced_tokens_end_where_a_sample_ends(random_alpamayo, observation) -> None:
    start = random_alpamayo._tokenizer.id_of("traj_future_start")
    with pytest.raises(InvalidInput, match="expected no more than 3 tokens, where the sample ends, got 4"):
        random_alpamayo.plan(observation, forced_tokens=[[1, start, 2, 3]])


def test_alpamayo_1_takes_no_text(tmp_path) -> None:
    folder = write_random_checkpoint(tmp_path / "r1", generation="alpamayo_r1", size="tiny")
    model = Alpamayo.from_pretrained(folder, device="cpu", dtype="float32", progress=False)
    with pytest.raises(InvalidInput, match="instruction: expected a checkpoint trained with navigation"):
        model.plan(make_observation(instruction=NAVIGATION))
    with pytest.raises(InvalidInput, match="question: expected a checkpoint trained to answer"):
        model.answer(make_observation(), "What is ahead?")
    plan = model.plan(make_observation(), PlanOptions(seed=0, num_samples=2, **LIVELY))
    assert np.isfinite(plan.xyz_in_rig_t0).all()


def test_a_closed_model_plans_no_more(random_folder, observation) -> None:
    model = Alpamayo.from_pretrained(random_folder, device="cpu", dtype="auto", progress=False)
    model.plan(observation, PlanOptions(seed=0))
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.plan(observation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "gpu"}, "device: expected auto, cpu, cuda or cuda:N, got gpu"),
        ({"device": "meta"}, "device: expected auto, cpu, cuda or cuda:N, got meta"),
        ({"device": "cuda:99"}, "device: expected a CUDA GPU, got cuda:99 while torch sees"),
        ({"device": "cpu", "dtype": "float16"}, "dtype: expected auto, float32, bfloat16, got float16"),
    ],
)
def test_unknown_devices_and_dtypes_are_refused(random_folder, arguments, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        Alpamayo.from_pretrained(random_folder, **arguments)


def test_bfloat16_rounds_what_upstream_rounds(random_folder, observation) -> None:
    model = load_alpamayo(random_folder, None, "bfloat16")
    encoder = model.network.action_in_proj.timestep_fourier_encoder
    assert encoder.freqs.dtype == torch.float32
    expected = [1, 1.671875, 2.78125, 4.65625, 7.75, 12.9375, 21.5, 36, 60, 100]
    assert encoder.freqs[0].tolist() == expected
    assert model._action_space._mean[0] == torch.tensor(0.029).bfloat16().item()
    assert model._action_space._std[1] == torch.tensor(0.026).bfloat16().item()
    assert model.network.expert.rotary_emb.inv_freq.dtype == torch.float32
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    plan = model.plan(observation, PlanOptions(num_samples=2, seed=0))
    assert np.isfinite(plan.xyz_in_rig_t0).all()
    assert plan.xyz_in_rig_t0.dtype == np.float32


def test_the_light_parts_need_no_transformers() -> None:
    script = (
        "import sys; sys.modules['transformers'] = None\n"
        "import alpamayo_ros.model.action_space, alpamayo_ros.model.config\n"
        "from alpamayo_ros.model import PlanOptions\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_torchvision_is_imported(random_alpamayo) -> None:
    assert "torchvision" not in sys.modules
