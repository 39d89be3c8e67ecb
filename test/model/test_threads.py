"""The model's threads leave room for the rest of the stack."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from alpamayo_ros.model.threads import default_cpu_threads, use_cpu_threads


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (16, 8)])
def test_half_of_the_cores_and_at_least_one(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_cpu_threads() == threads
    assert use_cpu_threads(0) == threads == torch.get_num_threads()


def test_a_count_is_taken_as_it_is() -> None:
    assert use_cpu_threads(2) == 2 == torch.get_num_threads()
