from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from alpamayo_ros.training.optim import MovingAverage, adamw, learning_rate
from alpamayo_ros.types import InvalidInput


@given(warmup=st.integers(0, 20), steps=st.integers(30, 200), floor=st.floats(0, 1))
def test_the_rate_rises_then_falls_to_its_floor(warmup: int, steps: int, floor: float) -> None:
    rates = [
        learning_rate(step, peak=2.0, warmup=warmup, steps=steps, floor=floor) for step in range(steps + 1)
    ]
    top = max(warmup - 1, 0)
    assert max(rates) == pytest.approx(2.0) and rates[top] == pytest.approx(2.0)
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[warmup:]))
    assert rates[-1] == pytest.approx(2.0 * floor) and min(rates[:-1]) > 0


def test_biases_norms_and_embeddings_do_not_decay() -> None:
    names = {"embed_tokens.weight": (4, 2), "layer.weight": (2, 2), "layer.bias": (2,), "norm.weight": (2,)}
    parameters = {name: nn.Parameter(torch.ones(shape)) for name, shape in names.items()}
    optimizer = adamw(parameters, weight_decay=0.5, betas=(0.9, 0.95))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {name for name, parameter in parameters.items() if bool((parameter < 1).all())}
    assert shrunk == {"layer.weight"}


def test_the_average_follows_and_steps_aside() -> None:
    parameters = {"a": nn.Parameter(torch.zeros(3))}
    average = MovingAverage(parameters, decay=0.9)
    for _ in range(60):
        parameters["a"].data.fill_(1.0)
        average.update()
    assert 0.95 < float(average.values["a"][0]) < 1
    parameters["a"].data.fill_(5.0)
    with average.applied():
        torch.testing.assert_close(parameters["a"].data, average.values["a"])
    assert float(parameters["a"].detach()[0]) == 5.0


def test_no_decay_is_no_average_and_bad_ones_are_refused() -> None:
    parameters = {"a": nn.Parameter(torch.zeros(3))}
    average = MovingAverage(parameters, decay=0.0)
    parameters["a"].data.fill_(2.0)
    average.update()
    assert torch.equal(average.values["a"], torch.full((3,), 2.0))
    with pytest.raises(InvalidInput, match=r"ema_decay: expected a number in \[0, 1\), got 1"):
        MovingAverage(parameters, decay=1.0)
