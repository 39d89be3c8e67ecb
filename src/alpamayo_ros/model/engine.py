"""From prompt to actions: one prefill, K reasonings decoded together, K trajectories denoised together.

Rules that decide the result (checked against upstream's outputs):

- The last drawn token is never fed. For a sequence of L tokens (prompt and generated) the cache holds L − 1.
- `offset` = index of the first <|traj_future_start|> + 1; without one, L. The expert's 64 tokens stand at
  positions offset + rope_delta + 0 … 63 on all three rotary axes, and attend to the cache's first
  min(offset, L − 1) entries and to each other, both ways.
- Samples run on until the last has ended. What is behind a sample's own end lies behind its offset, so it is
  neither attended to nor kept: each sample alone gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.model.expert_context import ExpertContext
from alpamayo_ros.model.flow_matching import FlowMatching
from alpamayo_ros.model.kv_cache import KeyValueCache
from alpamayo_ros.model.lean import LeanNetwork, Runner
from alpamayo_ros.model.network import AlpamayoNetwork, VelocityFunction, VisualFeatures
from alpamayo_ros.model.prompt_layout import PromptLayouts
from alpamayo_ros.model.prompt_start import PromptStart, StartLayout
from alpamayo_ros.model.sampling import TokenSampler
from alpamayo_ros.model.speculation import Drafter
from alpamayo_ros.model.static_runner import StaticRunner, StaticStatistics
from alpamayo_ros.model.vision_cache import joined
from alpamayo_ros.types import NUM_WAYPOINTS

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class StopRule:
    """When a sample has ended.

    Attributes:
        limit: most tokens generated, the one behind the start token included.
        end_ids: tokens that end a sample at once (the backbone's eos).
        one_more_after: <|traj_future_start|>: a sample ends with the token *after* its first one. None when
            answering a question.
    """

    limit: int
    end_ids: frozenset[int] = frozenset()
    one_more_after: int | None = None

    def ended(self, generated: Sequence[int]) -> bool:
        """Return whether a sample with these generated tokens draws no more."""
        if len(generated) >= self.limit:
            return True
        if not generated:
            return False
        return generated[-1] in self.end_ids or self.one_more_after in generated[:-1]


@dataclass(frozen=True)
class PromptState:
    """What prefill leaves: the prompt in a cache of one row, and the logits of the first new token."""

    cache: KeyValueCache
    logits: Tensor
    length: int
    rope_delta: int
    visual_end: int


@dataclass(frozen=True)
class Generated:
    """K samples' generated tokens, and the cache of K rows with the prompt and all but the last of them."""

    token_ids: tuple[TokenIds, ...]
    cache: KeyValueCache


class Engine:
    """Runs a network; holds no state of a request.

    Args:
        network: with weights.
        image_token_id: the placeholder of images.
        future_start_id: <|traj_future_start|>.
        runner: computes with these weights; None is the network itself, by the library's layers.
        kept_layouts: prompts' layouts that are kept for the next plan.
    """

    def __init__(
        self,
        network: AlpamayoNetwork,
        *,
        image_token_id: int,
        future_start_id: int,
        runner: Runner | None = None,
        kept_layouts: int = 16,
    ) -> None:
        self.network = network
        self._runner: Runner = runner or network
        self._layouts = PromptLayouts(network.device, image_token_id=image_token_id, kept=kept_layouts)
        self._future_start_id = future_start_id
        self.image_token_id = image_token_id

    @property
    def static_statistics(self) -> StaticStatistics | None:
        """What ran on fixed buffers; None where the runner has none."""
        return self._runner.statistics if isinstance(self._runner, StaticRunner) else None

    def look(self, pixel_values: Tensor, grid_thw: Tensor) -> VisualFeatures:
        """Encode images: float32 patches [N, 1536], int64 patch grids [images, 3]."""
        device = self._runner.device
        with self._runner.autocast():
            return self._runner.encode_images(pixel_values.to(device), grid_thw.to(device))

    def prefill(
        self,
        token_ids: TokenIds,
        visual: VisualFeatures,
        *,
        grids: Sequence[tuple[int, int]],
        capacity: int,
        start: PromptStart | None = None,
    ) -> PromptState:
        """Read a prompt into a new cache.

        Args:
            token_ids: all of the prompt's.
            visual: features of its images; with a start, of those behind it.
            grids: all images' merged (rows, columns).
            capacity: of the cache.
            start: what stands at the beginning, where that has been read.
        """
        network = self._runner
        layout = self._layouts.of(token_ids, grids)
        positions, visual_index = layout.positions, layout.visual_index
        cache = network.new_cache(batch=1, capacity=capacity)
        if start is not None:
            start.write_to(cache)
            positions, visual_index = layout.behind(len(start))
        with network.autocast():
            last = network.read_prompt(
                network.embed(torch.tensor([token_ids[cache.length :]], device=network.device)),
                positions,
                cache,
                visual=visual,
                visual_index=visual_index,
            )
            logits = network.logits(last)
        cache.advance(len(token_ids) - cache.length)
        return PromptState(cache, logits, len(token_ids), layout.rope_delta, layout.visual_end)

    @property
    def reads_in_parts(self) -> bool:
        """Whether prompts may be read behind a start: the library's own layers read them in one piece."""
        return isinstance(self._runner, LeanNetwork | StaticRunner)

    def read_start(self, start: StartLayout, features: Sequence[VisualFeatures]) -> PromptStart:
        """Read what stands at a prompt's beginning, with its images' features."""
        network, count = self._runner, len(start.token_ids)
        layout = self._layouts.of(start.token_ids, start.grids)
        cache = network.new_cache(batch=1, capacity=count)
        with network.autocast():
            network.read_prompt(
                network.embed(torch.tensor([start.token_ids], device=network.device)),
                layout.positions,
                cache,
                visual=joined(features),
                visual_index=layout.visual_index,
            )
        # Copies: the cache may be lent, and the next prompt's place.
        keys, values = (
            tuple(held[:, :, :count].clone() for held in layers) for layers in (cache.keys, cache.values)
        )
        return PromptStart(start, tuple(features), keys, values)

    def generate(
        self,
        prompt: PromptState,
        sampler: TokenSampler,
        *,
        num_samples: int,
        stop: StopRule,
        drafter: Drafter | None = None,
    ) -> Generated:
        """Draw tokens for K samples together until the last has ended.

        With a drafter, guessed tokens are read along, and `settled` makes the cache anew: what a plan is then
        depends on its tokens and not on how many of them were guessed.
        """

        def draw(logits: Tensor, step: int) -> list[int]:
            return sampler.draw(logits).tolist()

        generated = self._decode(prompt, draw, num_samples=num_samples, stop=stop, drafter=drafter)
        if drafter is None:
            return generated
        drafter.remember(generated.token_ids)
        return self.settled(prompt, generated.token_ids, cache=generated.cache)

    def replay(self, prompt: PromptState, token_ids: Sequence[TokenIds]) -> Generated:
        """Feed recorded tokens in place of drawn ones, by the same way; sample k ends with its last token."""

        def recorded(logits: Tensor, step: int) -> list[int]:
            return [ids[min(step, len(ids) - 1)] for ids in token_ids]

        longest = max(len(ids) for ids in token_ids)
        generated = self._decode(prompt, recorded, num_samples=len(token_ids), stop=StopRule(longest))
        return Generated(tuple(token_ids), generated.cache)

    def settled(
        self, prompt: PromptState, token_ids: Sequence[TokenIds], *, cache: KeyValueCache | None = None
    ) -> Generated:
        """Read known tokens of K samples in one pass.

        `cache` has K rows, the prompt in each and room for the tokens; None takes the prompt's own, or
        copies of it.
        """
        longest = max(map(len, token_ids))
        if cache is None:
            cache = self._rows(prompt, len(token_ids), longest)
        cache.length = prompt.length
        if longest > 1:
            fed = [ids[:-1] + (0,) * (longest - len(ids)) for ids in token_ids]
            self._read_on(prompt, cache, fed)
            cache.advance(longest - 1)
        return Generated(tuple(token_ids), cache)

    def _decode(
        self,
        prompt: PromptState,
        draw: Callable[[Tensor, int], list[int]],
        *,
        num_samples: int,
        stop: StopRule,
        drafter: Drafter | None = None,
    ) -> Generated:
        cache = self._rows(prompt, num_samples, stop.limit)
        ahead = prompt.logits.expand(num_samples, -1)[:, None]  # of tokens that were read and not yet drawn
        guessed: list[TokenIds] = [()] * num_samples
        generated: list[list[int]] = [[] for _ in range(num_samples)]
        running = list(range(num_samples))
        read = 0
        for step in range(stop.limit):
            tokens = draw(ahead[:, read], step)
            for k in running:
                generated[k].append(tokens[k])
            running = [k for k in running if not stop.ended(generated[k])]
            if not running:
                if drafter is not None:
                    drafter.learn(len(guessed[0]), read)
                break
            read += 1
            if read < ahead.shape[1] and all(tokens[k] == guessed[k][read - 1] for k in running):
                continue
            # Of the pass before, the guesses that were drawn stay in the cache.
            cache.advance(read - 1)
            if drafter is not None:
                drafter.learn(len(guessed[0]), read - 1)
            guessed = self._guesses(drafter, generated, running, most=stop.limit - step - 2)
            # An ended sample is fed whatever it would draw: its entries lie behind its offset.
            fed = [(token, *guess) for token, guess in zip(tokens, guessed, strict=True)]
            hidden = self._read_on(prompt, cache, fed)
            with self._runner.autocast():
                ahead = self._runner.logits(hidden.flatten(0, 1)).view(*hidden.shape[:2], -1)
            read = 0
            cache.advance(1)
        return Generated(tuple(tuple(tokens) for tokens in generated), cache)

    def _guesses(
        self, drafter: Drafter | None, generated: list[list[int]], running: list[int], *, most: int
    ) -> list[TokenIds]:
        """Return as many guessed tokens for every sample: as many as there are for the one with least."""
        nothing: list[TokenIds] = [()] * len(generated)
        if drafter is None or most < 1:
            return nothing
        found = {k: drafter.guess(generated[k])[:most] for k in running}
        count = min(map(len, found.values()))
        if not count:
            return nothing
        return [found[k][:count] if k in found else (0,) * count for k in range(len(generated))]

    def _read_on(self, prompt: PromptState, cache: KeyValueCache, fed: Sequence[TokenIds]) -> Tensor:
        """Read tokens [K][n] behind the cache's entries, not advancing it; return hidden [K, n, hidden]."""
        network = self._runner
        ids = torch.tensor(fed, device=network.device)
        with network.autocast():
            return network.read_tail(ids, cache.length + prompt.rope_delta, cache)

    def _rows(self, prompt: PromptState, num_samples: int, limit: int) -> KeyValueCache:
        """Return a cache of K rows with the prompt in each: its own where there is one row and room."""
        capacity = prompt.length + limit + NUM_WAYPOINTS
        if num_samples > 1 or prompt.cache.capacity < capacity:
            return prompt.cache.expanded(num_samples, capacity)
        return prompt.cache

    def expert_context(self, prompt: PromptState, generated: Generated) -> ExpertContext:
        """Return what the expert sees after `generated`."""
        offsets, kept = [], []
        for tokens in generated.token_ids:
            length = prompt.length + len(tokens)
            offset = self._offset(prompt.length, tokens)
            offsets.append(offset)
            kept.append(min(offset, length - 1))
        return self._context(generated.cache, [offset + prompt.rope_delta for offset in offsets], kept)

    def unguided_context(
        self,
        prompt: PromptState,
        generated: Generated,
        token_ids: TokenIds,
        *,
        guided_ids: TokenIds,
        grids: Sequence[tuple[int, int]],
    ) -> ExpertContext:
        """Return what the expert sees without the route: `token_ids` is the prompt that lacks it.

        Both prompts are the same up to the route, images included, so those entries are copied from the
        guided cache and only what follows is read. As upstream, *all* generated tokens are fed, the last
        included: without a start token this branch sees one more than the guided one.
        """
        network, device = self._runner, self._runner.device
        shared = next(i for i, (a, b) in enumerate(zip(guided_ids, token_ids, strict=False)) if a != b)
        if shared < prompt.visual_end:
            raise ValueError(
                f"the route must stand behind the images, got it at {shared} < {prompt.visual_end}"
            )
        rope_delta = self._layouts.of(token_ids, grids).rope_delta
        tails = [token_ids[shared:] + tokens for tokens in generated.token_ids]
        longest = max(len(tail) for tail in tails)
        padded = torch.tensor([tail + (0,) * (longest - len(tail)) for tail in tails], device=device)
        cache = generated.cache.expanded(len(tails), shared + longest + NUM_WAYPOINTS, length=shared)
        with network.autocast():
            network.read_tail(padded, shared + rope_delta, cache)
        cache.advance(longest)
        offsets = [self._offset(len(token_ids), tokens) for tokens in generated.token_ids]
        return self._context(cache, [offset + rope_delta for offset in offsets], offsets)

    def velocity(self, context: ExpertContext) -> VelocityFunction:
        """Return the flow's velocity as a function of x_t float32 [K, 64, 2] and t float32 [K, 1, 1]."""
        network = self._runner
        step = network.velocity_function(context)

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            with network.autocast():
                return step(actions, time)

        return velocity

    def denoise(
        self,
        context: ExpertContext,
        noise: Tensor,
        *,
        flow: FlowMatching,
        unguided: ExpertContext | None = None,
        guidance_weight: float | None = None,
    ) -> Tensor:
        """Return the actions that `flow` makes of noise, both float32 [K, 64, 2]; see FlowMatching.states."""
        network = self._runner
        with network.autocast():
            return network.denoise(
                context, noise, flow=flow, unguided=unguided, guidance_weight=guidance_weight
            )

    def _offset(self, prompt_length: int, generated: TokenIds) -> int:
        if self._future_start_id in generated:
            return prompt_length + generated.index(self._future_start_id) + 1
        return prompt_length + len(generated)

    def _context(self, cache: KeyValueCache, first_positions: list[int], kept: list[int]) -> ExpertContext:
        # Behind the longest row nothing is needed any more: the action tokens overwrite it.
        cache.length = max(kept)
        return ExpertContext(cache, tuple(first_positions), tuple(kept))
