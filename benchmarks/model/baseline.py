"""A plan as upstream's code makes it: `generate` with a dynamic cache, then eager expert steps.

All images of every tick are encoded, for each sample anew, the prompt is read once a sample, and the expert
runs by the library's text model over the library's cache, cropped after each step. Only the draws are ours (a
logits processor that leaves the token which our sampler draws), so that both write the same words.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from alpamayo_ros.model import Alpamayo
from alpamayo_ros.model.engine import StopRule, TokenIds
from alpamayo_ros.model.flow_matching import FlowMatching
from alpamayo_ros.model.replay_inputs import ACTION_SHAPE
from alpamayo_ros.model.request import Request
from alpamayo_ros.model.sampling import TokenSampler, initial_noise
from alpamayo_ros.types import NUM_WAYPOINTS, Float32Array, Observation, PlanOptions, StageTimes


class _Draws(LogitsProcessor):
    """Leaves one token a row, the one that our sampler draws; notes when the first logits came."""

    def __init__(self, sampler: TokenSampler, clock: _Clock) -> None:
        self._sampler, self._clock = sampler, clock
        self._first = True

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._first:
            self._clock.lap("prefill")
            self._first = False
        tokens = self._sampler.draw(scores.float())
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


class _Stops(StoppingCriteria):
    def __init__(self, rule: StopRule, prompt_length: int) -> None:
        self._rule, self._prompt_length = rule, prompt_length

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        rows = input_ids[:, self._prompt_length :].tolist()
        return torch.tensor([self._rule.ended(row) for row in rows], device=input_ids.device)


class _Clock:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.laps: dict[str, float] = {}
        self._last = self._start = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def lap(self, stage: str) -> None:
        now = self._now()
        self.laps[f"{stage}_ms"] = (now - self._last) * 1e3
        self._last = now

    def total_ms(self) -> float:
        return (self._now() - self._start) * 1e3


class Baseline:
    """Plans over the weights of a loaded model."""

    def __init__(self, model: Alpamayo) -> None:
        self._model = model

    @torch.inference_mode()
    def plan(
        self, observation: Observation, options: PlanOptions
    ) -> tuple[tuple[TokenIds, ...], Float32Array, StageTimes]:
        """Return K token sequences, waypoints float32 [K, 64, 3] m, and how long the stages took."""
        model, network, count = self._model, self._model.network, options.num_samples
        clock = _Clock(model.device)
        history = model._history.token_ids(
            observation.history_xyz_in_rig_t0, first_id=model._tokenizer.history_token_start
        )
        request = Request.of(
            observation,
            lambda counts: model._prompts.planning(observation.camera_ids, counts, history_token_ids=history),
            images=model.image_preparer,
        )
        frames = [model.image_preparer.prepare_frames(camera) for camera in observation.frames]
        pixel_values, grid_thw = model.image_preparer.patchify(frames, device=model.device)
        clock.lap("preprocess")
        ids = torch.tensor([request.prompt.fused_ids] * count, device=model.device)
        seed = options.seed or 0
        sampler = TokenSampler(options, seed=seed, masked=model._trajectory_tokens, device=model.device)
        stop = StopRule(options.max_reasoning_tokens, model._end_ids, model._future_start_id)
        watched = network.vlm.model.visual.register_forward_hook(lambda *_: clock.lap("vision"))
        try:
            with network.autocast():
                output = network.vlm.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    pixel_values=pixel_values.repeat(count, 1),
                    image_grid_thw=grid_thw.to(model.device).repeat(count, 1),
                    do_sample=False,
                    max_new_tokens=options.max_reasoning_tokens,
                    pad_token_id=0,
                    eos_token_id=None,
                    past_key_values=DynamicCache(),
                    return_dict_in_generate=True,
                    logits_processor=LogitsProcessorList([_Draws(sampler, clock)]),
                    stopping_criteria=StoppingCriteriaList([_Stops(stop, ids.shape[1])]),
                    **_image_types(network.vlm, ids, model._tokenizer.image_pad_id),
                )
        finally:
            watched.remove()
        clock.lap("reasoning")
        rows = output.sequences[:, ids.shape[1] :].tolist()
        tokens = tuple(_until_ended(row, stop) for row in rows)
        action = self._denoise(output.past_key_values, tokens, ids.shape[1], options, seed)
        trajectory = model._action_space.to_trajectory(
            action.cpu(),
            torch.tensor(observation.history_xyz_in_rig_t0),
            torch.tensor(observation.history_rot_in_rig_t0),
        )
        clock.lap("denoise")
        longest = max(map(len, tokens))
        times = StageTimes(**clock.laps, total_ms=clock.total_ms(), tokens=longest)
        return tokens, trajectory.xyz_in_rig_t0.numpy(), times

    def _denoise(
        self, cache: Any, tokens: tuple[TokenIds, ...], prompt_length: int, options: PlanOptions, seed: int
    ) -> Tensor:
        model, network = self._model, self._model.network
        device, held = model.device, cache.get_seq_length()
        start = model._future_start_id
        offsets = [prompt_length + (ids.index(start) + 1 if start in ids else len(ids)) for ids in tokens]
        kept = torch.tensor(
            [min(offset, prompt_length + len(ids) - 1) for offset, ids in zip(offsets, tokens, strict=True)],
            device=device,
        )
        rope_delta = int(network.vlm.model.rope_deltas.flatten()[0])
        places = torch.tensor(offsets, device=device)[:, None] + rope_delta
        positions = (places + torch.arange(NUM_WAYPOINTS, device=device)).expand(3, -1, -1)
        seen = torch.arange(held, device=device) < kept[:, None]
        mask = torch.cat((seen, seen.new_ones(len(tokens), NUM_WAYPOINTS)), dim=1)[:, None, None]
        mask = mask.expand(-1, -1, NUM_WAYPOINTS, -1)
        hidden_by = torch.zeros(mask.shape, dtype=network.dtype, device=device)
        hidden_by = hidden_by.masked_fill(~mask, torch.finfo(network.dtype).min)

        def velocity(actions: Tensor, t: Tensor) -> Tensor:
            with network.autocast():
                hidden = network.expert(
                    inputs_embeds=network.action_in_proj(actions, t),
                    position_ids=positions,
                    attention_mask=hidden_by,
                    past_key_values=cache,
                    use_cache=True,
                ).last_hidden_state
                cache.crop(-NUM_WAYPOINTS)
                return network.action_out_proj(hidden).float()

        noise = initial_noise(seed, len(tokens), ACTION_SHAPE).to(device)
        return FlowMatching(options.flow_steps).integrate(velocity, noise * options.noise_temperature)


def _until_ended(row: list[int], stop: StopRule) -> TokenIds:
    for count in range(1, len(row)):
        if stop.ended(row[:count]):
            return tuple(row[:count])
    return tuple(row)


def _image_types(vlm: Any, ids: Tensor, image_token_id: int) -> dict[str, Tensor]:
    """Return which tokens are images, where transformers wants to be told (5 does)."""
    if "mm_token_type_ids" in inspect.signature(vlm.forward).parameters:
        return {"mm_token_type_ids": (ids == image_token_id).int()}
    return {}
