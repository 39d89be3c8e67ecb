"""Our way through the layers against transformers' own top-level forward, whichever version is installed."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_helpers import make_observation
from transformers import DynamicCache

from alpamayo_ros.model import Alpamayo
from alpamayo_ros.model.config import CheckpointError, ModelConfig
from alpamayo_ros.model.engine import Generated
from alpamayo_ros.model.loading import meta_network
from alpamayo_ros.model.network import AlpamayoNetwork, backbone_config, expert_config
from alpamayo_ros.model.positions import prompt_positions
from alpamayo_ros.model.request import Request


def image_type_arguments(network: AlpamayoNetwork, ids: torch.Tensor, image_token_id: int) -> dict:
    """transformers 5 wants to be told which tokens are images, 4 does not take it."""
    if "mm_token_type_ids" in inspect.signature(network.vlm.forward).parameters:
        return {"mm_token_type_ids": (ids == image_token_id).int()}
    return {}


@pytest.mark.parametrize("cameras", [(0, 1, 2, 6), (1,), (0, 2, 5), (1, 3, 6)])
@torch.inference_mode()
def test_prefill_is_the_library_forward(random_alpamayo: Alpamayo, cameras: tuple[int, ...]) -> None:
    model = random_alpamayo
    observation = make_observation(len(cameras), cameras=cameras)
    start = model._tokenizer.history_token_start
    request = Request.of(
        observation,
        lambda counts: model._prompts.planning(cameras, counts, history_token_ids=[start] * 48),
        images=model.image_preparer,
    )
    prompt = request.prompt
    pixel_values, grid_thw = model._images.patchify(
        [model._images.prepare_frames(frames) for frames in observation.frames]
    )
    state = model._reader.engine.prefill(
        prompt.fused_ids,
        model._reader.engine.look(pixel_values, grid_thw),
        grids=request.grids,
        capacity=len(prompt.fused_ids),
    )
    ids = torch.tensor([prompt.fused_ids])
    output = model.network.vlm(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixel_values,
        image_grid_thw=grid_thw,
        use_cache=True,
        past_key_values=DynamicCache(),
        **image_type_arguments(model.network, ids, model._tokenizer.image_pad_id),
    )
    torch.testing.assert_close(state.logits, output.logits[:, -1], atol=1e-4, rtol=1e-4)
    assert state.rope_delta == int(model.network.vlm.model.rope_deltas)


@torch.inference_mode()
def test_expert_is_the_library_text_model(random_alpamayo: Alpamayo) -> None:
    """Velocity over our cache equals the library's text model over its own, with rows of uneven length."""
    model, network = random_alpamayo, random_alpamayo.network
    state = small_prompt(model)
    start = model._tokenizer.id_of("traj_future_start")
    tokens = ((5, 6, 7, start, 8), (9, start, 4))
    generated = model._reader.engine.replay(state, tokens)
    context = model._reader.engine.expert_context(state, generated)
    noise, time = torch.randn(2, 64, 2), torch.full((2, 1, 1), 0.3)
    ours = model._reader.engine.velocity(context)(noise, time)
    for k in range(2):
        kept = state.length + tokens[k].index(start) + 1
        cache = DynamicCache()
        for layer in range(network.text_config.num_hidden_layers):
            keys, values = generated.cache.keys[layer], generated.cache.values[layer]
            cache.update(keys[k : k + 1, :, :kept].clone(), values[k : k + 1, :, :kept].clone(), layer)
        hidden = network.expert(
            inputs_embeds=network.action_in_proj(noise[k : k + 1], time[k : k + 1]),
            position_ids=(torch.arange(64) + kept + state.rope_delta).expand(3, 1, -1),
            attention_mask=torch.zeros(1, 1, 64, kept + 64),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        torch.testing.assert_close(ours[k : k + 1], network.action_out_proj(hidden), atol=1e-5, rtol=1e-4)


def small_prompt(model: Alpamayo):
    """A prompt of one small image and a few words."""
    pad = model._tokenizer.image_pad_id
    ids = (3, 4, pad, pad, 5, 6, 7)
    grid = torch.tensor([[1, 2, 4]])
    visual = model._reader.engine.look(torch.randn(8, 1536, generator=torch.Generator().manual_seed(1)), grid)
    return model._reader.engine.prefill(ids, visual, grids=[(1, 2)], capacity=len(ids))


@torch.inference_mode()
def test_decoding_token_by_token_equals_reading_at_once(random_alpamayo: Alpamayo) -> None:
    model, network = random_alpamayo, random_alpamayo.network
    state = small_prompt(model)
    tail = (11, 12, 13, 14)
    stepped = model._reader.engine.replay(state, [(*tail, 99)]).cache
    cache = state.cache.expanded(1, state.length + len(tail))
    positions = torch.arange(state.length, state.length + len(tail)) + state.rope_delta
    seen = torch.arange(state.length + len(tail)) <= torch.arange(state.length, cache.capacity)[:, None]
    network.read(
        network.embed(torch.tensor([tail])),
        positions.expand(3, 1, -1),
        cache,
        attention_mask=seen[None, None],
    )
    for layer in range(network.text_config.num_hidden_layers):
        written = stepped.keys[layer][:, :, : cache.capacity]
        torch.testing.assert_close(written, cache.keys[layer], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_expert_sees_nothing_behind_a_samples_offset(random_alpamayo: Alpamayo) -> None:
    model = random_alpamayo
    state = small_prompt(model)
    start = model._tokenizer.id_of("traj_future_start")
    tokens = ((9, start, 4), (5, 6, 7, 8, start, 4))
    noise, time = torch.randn(2, 64, 2), torch.zeros(2, 1, 1)
    generated = model._reader.engine.replay(state, tokens)
    before = model._reader.engine.velocity(model._reader.engine.expert_context(state, generated))(noise, time)
    kept = state.length + 2
    for layer in range(len(generated.cache.keys)):
        generated.cache.keys[layer][0, :, kept:] = 1e3
        generated.cache.values[layer][0, :, kept:] = 1e3
    context = model._reader.engine.expert_context(state, Generated(tokens, generated.cache))
    after = model._reader.engine.velocity(context)(noise, time)
    torch.testing.assert_close(before, after, atol=0, rtol=0)


def test_computed_buffers_are_those_of_a_real_construction(random_folder) -> None:
    config = ModelConfig.from_file(random_folder)
    shape = backbone_config(str(random_folder / "backbone"), vocab_size=100)
    real = AlpamayoNetwork(shape, expert_config(shape.text_config, {}), config.action_in_proj)
    empty = meta_network(shape, config)
    assert all(tensor.is_meta for tensor in [*empty.parameters(), *empty.buffers()])
    empty.initialise_computed_buffers(torch.device("cpu"))
    expected = dict(real.named_buffers())
    found = dict(empty.named_buffers())
    assert expected.keys() == found.keys()
    for name, buffer in expected.items():
        torch.testing.assert_close(found[name], buffer, atol=0, rtol=0)
        assert found[name].dtype == torch.float32


def test_an_unknown_buffer_is_not_left_empty(random_folder) -> None:
    network = meta_network(
        backbone_config(str(random_folder / "backbone"), vocab_size=100), ModelConfig.from_file(random_folder)
    )
    network.expert.register_buffer("surprise", torch.empty(3, device="meta"))
    with pytest.raises(RuntimeError, match="surprise"):
        network.initialise_computed_buffers(torch.device("cpu"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"num_hidden_layers": 1}, "expert_cfg.num_hidden_layers: expected the backbone's 3, got 1"),
        ({"head_dim": 32}, "expert_cfg.head_dim: expected the backbone's 16, got 32"),
        ({"num_key_value_heads": 1}, "expert_cfg.num_key_value_heads"),
        ({"no_such_field": 1}, "no_such_field"),
    ],
)
def test_an_expert_that_cannot_read_the_cache_is_refused(random_folder, overrides, expected) -> None:
    text = backbone_config(str(random_folder / "backbone"), vocab_size=100).text_config
    with pytest.raises(CheckpointError, match=expected):
        expert_config(text, overrides)


def test_another_backbone_is_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(CheckpointError, match="expected model_type qwen3_vl, got qwen2"):
        backbone_config(str(tmp_path), vocab_size=10)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="expected a Qwen3-VL config"):
        backbone_config(str(tmp_path), vocab_size=10)


@given(st.lists(st.one_of(st.integers(1, 6), st.tuples(st.integers(1, 5), st.integers(1, 5))), min_size=1))
@settings(deadline=None, max_examples=60)
def test_prompt_positions(parts: list[int | tuple[int, int]]) -> None:
    """Text advances by one; an image starts where it stands, what follows goes on behind its longer side."""
    ids: list[int] = []
    grids: list[tuple[int, int]] = []
    starts: list[int] = []
    following = 0
    for part in parts:
        starts.append(following)
        if isinstance(part, int):
            ids += [1] * part
            following += part
        else:
            ids += [9] * (part[0] * part[1])
            grids.append(part)
            following += max(part)
    positions, delta = prompt_positions(ids, grids, image_token_id=9)
    assert positions.shape == (3, len(ids))
    assert delta == following - len(ids)
    index = 0
    for part, start in zip(parts, starts, strict=True):
        if isinstance(part, int):
            assert (positions[:, index : index + part] == start + torch.arange(part).numpy()).all()
            index += part
        else:
            for row in range(part[0]):
                for column in range(part[1]):
                    assert positions[:, index].tolist() == [start, start + row, start + column]
                    index += 1


def test_prompt_positions_refuse_images_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="image tokens"):
        prompt_positions([1, 9, 9, 1], [(1, 3)], image_token_id=9)
