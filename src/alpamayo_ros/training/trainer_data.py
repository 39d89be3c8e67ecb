"""Which samples a step sees, and their way into batches."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from alpamayo_ros.training.sample import SampleSource
from alpamayo_ros.training.sequence import Batch, SequenceBuilder, TrainingSequence, collate
from alpamayo_ros.types import InvalidInput


class SampleOrder:
    """An endless order of samples that follows from the seed, readable from any position.

    Each epoch is a permutation of its own; with weights, draws with replacement.

    Args:
        count: number of samples.
        seed: of the order.
        weights: float [count], how often each is drawn, relative to the others; None: each once an epoch.

    Raises:
        InvalidInput: for no samples, or weights of another number, negative, or all zero.
    """

    def __init__(self, count: int, *, seed: int, weights: NDArray[np.floating] | None = None) -> None:
        if count < 1:
            raise InvalidInput("samples: expected at least 1, got 0")
        self._count = count
        self._seed = seed
        self._shares: NDArray[np.float64] | None = None
        if weights is not None:
            values = np.asarray(weights, dtype=np.float64)
            fits = values.shape == (count,) and np.isfinite(values).all() and values.min() >= 0
            if not fits or values.sum() <= 0:
                raise InvalidInput(f"weights: expected {count} numbers from zero up, got {values.shape}")
            self._shares = values / values.sum()
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    @property
    def digest(self) -> str:
        """A digest of number, seed and weights: the same for the same order."""
        shares = b"" if self._shares is None else self._shares.tobytes()
        return hashlib.blake2b(f"{self._count} {self._seed} ".encode() + shares, digest_size=16).hexdigest()

    def indices(self, start: int, count: int) -> list[int]:
        """Return the samples at positions start … start + count − 1 of the order."""
        chosen = []
        for position in range(start, start + count):
            epoch, place = divmod(position, self._count)
            chosen.append(int(self._of_epoch(epoch)[place]))
        return chosen

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            if self._shares is None:
                order = generator.permutation(self._count)
            else:
                order = generator.choice(self._count, self._count, p=self._shares)
            self._epoch = (epoch, order)
        return self._epoch[1]


class _Sequences(Dataset[TrainingSequence]):
    def __init__(self, source: SampleSource, builder: SequenceBuilder) -> None:
        self._source = source
        self._builder = builder

    def __getitem__(self, index: int) -> TrainingSequence:
        return self._builder.build(self._source[index])


class _Positions:
    """Index lists of successive batches, from a position on."""

    def __init__(self, order: SampleOrder, *, first_batch: int, last_batch: int, batch_size: int) -> None:
        self._order = order
        self._batches = range(first_batch, last_batch)
        self._size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches:
            yield self._order.indices(batch * self._size, self._size)

    def __len__(self) -> int:
        return len(self._batches)


def batches(
    source: SampleSource,
    builder: SequenceBuilder,
    *,
    order: SampleOrder,
    first_batch: int,
    last_batch: int,
    batch_size: int,
    image_pad_id: int,
    workers: int,
) -> Iterator[Batch]:
    """Return the batches first_batch … last_batch − 1 of an order; the same whatever the workers."""
    sampler = _Positions(order, first_batch=first_batch, last_batch=last_batch, batch_size=batch_size)
    return _loaded(source, builder, sampler=sampler, image_pad_id=image_pad_id, workers=workers)


def held_out_batches(
    source: SampleSource,
    builder: SequenceBuilder,
    *,
    limit: int,
    batch_size: int,
    image_pad_id: int,
    workers: int,
) -> Iterator[Batch]:
    """Return up to `limit` samples of a source, evenly picked and always the same, in batches."""
    count = min(limit, len(source))
    picked = np.unique(np.linspace(0, len(source) - 1, count).round().astype(int)).tolist()
    lists = [picked[i : i + batch_size] for i in range(0, len(picked), batch_size)]
    return _loaded(source, builder, sampler=lists, image_pad_id=image_pad_id, workers=workers)


def _loaded(
    source: SampleSource,
    builder: SequenceBuilder,
    *,
    sampler: Sequence[list[int]] | _Positions,
    image_pad_id: int,
    workers: int,
) -> Iterator[Batch]:
    loader: Any = DataLoader(
        _Sequences(source, builder),
        batch_sampler=sampler,
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_trainer,
        collate_fn=partial(collate, image_pad_id=image_pad_id),
        generator=torch.Generator(),  # or it would draw its base seed from the global one
    )
    return iter(loader)


def _leave_interrupts_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the trainer ends its step with what the workers bring."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
