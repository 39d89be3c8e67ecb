"""A lean network whose passes run on fixed buffers, by length: CUDA graphs on a GPU.

Four things are captured, each once for its lengths: the prompt's pass, a pass over one or several tokens
behind it (the speculation's too), the vocabulary's product, and the whole denoise loop with all Euler steps
and guidance. Whatever changes from plan to plan is in the buffers, lengths included, so nothing in there
waits for the host or depends on it.

Lengths are padded: the prompt to a multiple of 64, tokens to 1, 8, 32, 64, 96 …, the entries that are
attended to to a multiple of 256. What padding computes lies behind what is used: masked or never read.
So results are those of the lean network up to the rounding of products of another shape.

Where a graph cannot be captured, the log says so once and the lean network computes, on the same caches.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import Tensor

from alpamayo_ros.model.expert_context import ExpertContext
from alpamayo_ros.model.flow_matching import FlowMatching, StepVelocity
from alpamayo_ros.model.kv_cache import KeyValueCache
from alpamayo_ros.model.lean import LeanNetwork
from alpamayo_ros.model.network import VelocityFunction, VisualFeatures
from alpamayo_ros.model.static_cache import CachePool, IndexedWrites, PooledCache
from alpamayo_ros.model.static_call import CannotCapture, Capturer, Outputs, StaticCall
from alpamayo_ros.model.static_lengths import entries_bucket, prompt_bucket, tail_bucket
from alpamayo_ros.types import NUM_WAYPOINTS

_log = logging.getLogger(__name__)
_Key: TypeAlias = tuple[Any, ...]
"""What is done, the slots that it is done on, and its lengths."""
_Buffers: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class StaticStatistics:
    """What a runner did: passes that ran on fixed buffers, passes that did not, and buffers made for them."""

    replayed: int = 0
    eager: int = 0
    captured: int = 0


class StaticRunner:
    """Runs a LeanNetwork on fixed buffers; a `lean.Runner`. For one plan at a time.

    Args:
        lean: computes.
        capturer: what makes a repeatable thing of a pass.
        most_calls: passes of so many different lengths are kept; the least recently used go.
    """

    def __init__(self, lean: LeanNetwork, *, capturer: Capturer, most_calls: int = 64) -> None:
        self._lean, self._capturer, self._most_calls = lean, capturer, most_calls
        self._calls: OrderedDict[_Key, StaticCall] = OrderedDict()
        forget = weakref.WeakMethod(self._forget)  # a cycle would keep weights that nobody has

        def forget_calls(slot: int) -> None:
            method = forget()
            if method is not None:
                method(slot)

        self._pool = CachePool(
            lambda batch, capacity: lean.new_cache(batch=batch, capacity=capacity), forget=forget_calls
        )
        self._broken = False
        self._replayed = self._eager = self._captured = 0

    @property
    def statistics(self) -> StaticStatistics:
        """What it did so far."""
        return StaticStatistics(self._replayed, self._eager, self._captured)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._lean.device

    def autocast(self) -> torch.autocast:
        """Return the context every forward runs in."""
        return self._lean.autocast()

    def new_cache(self, *, batch: int, capacity: int) -> KeyValueCache:
        """Return an empty cache, in the buffers of the last plan's where those are free."""
        return self._pool.take(batch, capacity)

    def encode_images(self, pixel_values: Tensor, grid_thw: Tensor) -> VisualFeatures:
        """See LeanNetwork."""
        return self._lean.encode_images(pixel_values, grid_thw)

    def embed(self, token_ids: Tensor) -> Tensor:
        """See LeanNetwork."""
        return self._lean.embed(token_ids)

    def velocity_function(self, context: ExpertContext) -> VelocityFunction:
        """See LeanNetwork: a velocity at a time."""
        return self._lean.velocity_function(context)

    def read_prompt(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: KeyValueCache,
        *,
        visual: VisualFeatures,
        visual_index: Tensor,
    ) -> Tensor:
        """See LeanNetwork."""
        length, before, lean = embeds.shape[1], cache.length, self._lean
        padded = prompt_bucket(length)
        cos, sin = lean.prompt_rotation(embeds, positions)

        def eager() -> Tensor:
            return lean.read_prompt(embeds, positions, cache, visual=visual, visual_index=visual_index)

        if not self._fixed(cache) or before + padded > cache.capacity:
            return self._by_hand(eager)
        features = {"visual": visual.embeds} | {f"deep{i}": t for i, t in enumerate(visual.deepstack)}
        shapes = tuple((t.shape, t.dtype) for t in features.values())
        depth, held = len(visual.deepstack), _Held(cache)

        def make() -> StaticCall:
            inputs = {
                "embeds": _grown(embeds, 1, padded),
                "cos": _grown(cos, 1, padded),
                "sin": _grown(sin, 1, padded),
                "index": _grown(visual_index, 0, len(visual_index)),
                "last": self._numbers(1),
                **{name: _grown(t, 0, len(t)) for name, t in features.items()},
            }

            def function(b: _Buffers) -> Outputs:
                hidden = lean.through_prompt(
                    b["embeds"],
                    (b["cos"], b["sin"]),
                    held.behind(before, padded),
                    visual=VisualFeatures(b["visual"], tuple(b[f"deep{i}"] for i in range(depth))),
                    visual_index=b["index"],
                    last=b["last"],
                )
                return (hidden,)

            return self._call(function, inputs, kept=frozenset(("cos", "sin", "index")))

        return self._static(
            ("prompt", (cache.slot,), before, padded, embeds.dtype, shapes),
            make,
            eager,
            {"embeds": embeds, "cos": cos, "sin": sin, "index": visual_index, "last": length - 1, **features},
        )

    def read_tail(self, token_ids: Tensor, first_position: int, cache: KeyValueCache) -> Tensor:
        """See LeanNetwork."""
        lean, (batch, count) = self._lean, token_ids.shape
        padded = tail_bucket(count)

        def eager() -> Tensor:
            return lean.read_tail(token_ids, first_position, cache)

        if not self._fixed(cache):
            return self._by_hand(eager)
        entries = entries_bucket(cache.length + padded, cache.capacity)
        # A text token never stands further on than its index: images take less positions than tokens.
        rows = cache.capacity
        if cache.length + padded > entries or first_position + padded > rows:
            return self._by_hand(eager)
        held, device = _Held(cache), self.device

        def make() -> StaticCall:
            table_cos, table_sin = lean.text_table(rows)
            inputs = {
                "ids": self._numbers(batch, padded),
                "start": self._numbers(1),
                "position": self._numbers(1),
            }

            def function(b: _Buffers) -> Outputs:
                steps = torch.arange(padded, device=device)
                index, places = b["start"] + steps, b["position"] + steps
                rotation = table_cos.index_select(1, places), table_sin.index_select(1, places)
                mask = torch.arange(entries, device=device) <= index[:, None]
                writes = held.at(index, entries=entries)
                return (lean.through_tail(b["ids"], rotation, writes, mask=mask[None, None]),)

            return self._call(function, inputs)

        hidden = self._static(
            ("tail", (cache.slot,), padded, entries),
            make,
            eager,
            {"ids": token_ids, "start": cache.length, "position": first_position},
        )
        return hidden[:, :count]

    def logits(self, hidden: Tensor) -> Tensor:
        """See LeanNetwork."""
        lean, rows = self._lean, len(hidden)
        padded = tail_bucket(rows)

        def make() -> StaticCall:
            inputs = {"hidden": _grown(hidden, 0, padded)}
            return self._call(lambda b: (lean.logits(b["hidden"]),), inputs)

        key = ("logits", (), padded, hidden.dtype)
        return self._static(key, make, lambda: lean.logits(hidden), {"hidden": hidden})[:rows]

    def denoise(
        self,
        context: ExpertContext,
        noise: Tensor,
        *,
        flow: FlowMatching,
        unguided: ExpertContext | None = None,
        guidance_weight: float | None = None,
    ) -> Tensor:
        """See LeanNetwork; all steps at once."""
        lean = self._lean

        def eager() -> Tensor:
            return lean.denoise(context, noise, flow=flow, unguided=unguided, guidance_weight=guidance_weight)

        branches = [context] if unguided is None else [context, unguided]
        slots: list[tuple[int, int]] = []
        for branch in branches:
            cache = branch.cache
            entries = entries_bucket(cache.length + NUM_WAYPOINTS, cache.capacity)
            last = max(branch.first_positions) + NUM_WAYPOINTS
            if not self._fixed(cache) or cache.length + NUM_WAYPOINTS > entries:
                return self._by_hand(eager)
            if last > cache.capacity:
                return self._by_hand(eager)
            slots.append((cache.slot, entries))
        # What is captured must not hold on to the contexts: their caches would stay lent.
        guided = unguided is not None
        caches = [_Held(branch.cache) for branch in branches]
        rows = [branch.cache.capacity for branch in branches]

        def make() -> StaticCall:
            features = lean.step_features(flow, noise)
            inputs = {"noise": _grown(noise, 0, len(noise))}
            for i in range(len(branches)):
                inputs |= {f"kept{i}": self._numbers(len(noise)), f"first{i}": self._numbers(len(noise))}
                inputs |= {f"start{i}": self._numbers(1)}

            def function(b: _Buffers) -> Outputs:
                def velocity(i: int) -> StepVelocity:
                    step = _step_velocity(
                        lean, caches[i], b[f"start{i}"], b[f"kept{i}"], b[f"first{i}"], slots[i][1], rows[i]
                    )
                    return lambda actions, number: step(actions, features[number])

                states = flow.states_by_step(
                    velocity(0),
                    b["noise"],
                    unguided_velocity=velocity(1) if guided else None,
                    guidance_weight=guidance_weight,
                )
                return (states[-1],)

            return self._call(function, inputs)

        values: dict[str, Any] = {"noise": noise}
        for i, branch in enumerate(branches):
            values |= {f"kept{i}": branch.kept, f"first{i}": branch.first_positions}
            values |= {f"start{i}": branch.cache.length}
        key = (
            "denoise",
            tuple(slot for slot, _ in slots),
            tuple(entries for _, entries in slots),
            flow.num_steps,
            guidance_weight,
        )
        return self._static(key, make, eager, values)

    def _static(
        self, key: _Key, make: Callable[[], StaticCall], eager: Callable[[], Tensor], values: dict[str, Any]
    ) -> Tensor:
        if self._broken:
            return self._by_hand(eager)
        try:
            call = self._calls.get(key)
            if call is None:
                with torch.inference_mode(False), torch.no_grad():
                    call = make()
                (result,) = call(**values)
                self._calls[key] = call
                self._captured += 1
                while len(self._calls) > self._most_calls:
                    self._calls.popitem(last=False)
            else:
                self._calls.move_to_end(key)
                (result,) = call(**values)
        except (CannotCapture, torch.OutOfMemoryError) as error:
            self._give_up(error)
            return self._by_hand(eager)
        self._replayed += 1
        return result

    def _fixed(self, cache: KeyValueCache) -> TypeGuard[PooledCache]:
        return self._pool.lends(cache)

    def _give_up(self, error: RuntimeError) -> None:
        self._broken = True
        self._calls.clear()
        self._pool.close()
        reason = str(error).splitlines()[0]
        _log.warning("graphs cannot be used, plans take longer and stay the same: %s", reason)

    def _by_hand(self, eager: Callable[[], Tensor]) -> Tensor:
        self._eager += 1
        return eager()

    def _call(
        self,
        function: Callable[[_Buffers], Outputs],
        inputs: Mapping[str, Tensor],
        *,
        kept: frozenset[str] = frozenset(),
    ) -> StaticCall:
        return StaticCall(function, inputs, capturer=self._capturer, kept=kept)

    def _numbers(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self.device)

    def _forget(self, slot: int) -> None:
        """Let go of what was captured over a slot's buffers."""
        for key in [key for key in self._calls if slot in key[1]]:
            del self._calls[key]


class _Held:
    """A slot's buffers without the lease of them: what is captured must not keep a cache lent."""

    def __init__(self, cache: KeyValueCache) -> None:
        self._cache = _unlent(cache)

    def behind(self, before: int, count: int) -> IndexedWrites:
        index = torch.arange(before, before + count, device=self._cache.keys[0].device)
        return IndexedWrites(self._cache, index, entries=before + count)

    def at(self, index: Tensor, *, entries: int) -> IndexedWrites:
        return IndexedWrites(self._cache, index, entries=entries)


def _step_velocity(
    lean: LeanNetwork, held: _Held, start: Tensor, kept: Tensor, first: Tensor, entries: int, rows: int
) -> VelocityFunction:
    """Return the velocity of a captured loop: what its steps have in common is made here."""
    device = lean.device
    steps = torch.arange(NUM_WAYPOINTS, device=device)
    places = torch.arange(entries, device=device)
    own = (places >= start) & (places < start + NUM_WAYPOINTS)
    mask = ((places < kept[:, None]) | own)[:, None, None]
    writes = held.at(start + steps, entries=entries)
    stands = (first[:, None] + steps).flatten()
    made: list[tuple[Tensor, Tensor]] = []

    def rotation(hidden: Tensor) -> tuple[Tensor, Tensor]:
        if not made:
            tables = lean.expert_table(rows, hidden.dtype)
            cos, sin = (
                t[0].index_select(0, stands).view(len(first), NUM_WAYPOINTS, *t.shape[2:]) for t in tables
            )
            made.append((cos, sin))
        return made[0]

    return lambda actions, time: lean.velocity(actions, time, rotation, writes, mask=mask)


def _unlent(cache: KeyValueCache) -> KeyValueCache:
    plain = KeyValueCache.__new__(KeyValueCache)
    plain.keys, plain.values, plain.length = cache.keys, cache.values, 0
    return plain


def _grown(like: Tensor, axis: int, length: int) -> Tensor:
    """Return zeros shaped as `like`, of another length along an axis."""
    shape = list(like.shape)
    shape[axis] = length
    return torch.zeros(shape, dtype=like.dtype, device=like.device)
