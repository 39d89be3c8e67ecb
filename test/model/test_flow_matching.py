from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from alpamayo_ros.model.flow_matching import FlowMatching
from alpamayo_ros.types import InvalidInput


def test_steps_are_the_references(golden) -> None:
    """Driven with the velocities that the recorded states imply, the integration gives the states."""
    for tag in golden.planning_tags:
        recorded = golden[f"{tag}.flow_steps"]
        steps = recorded.shape[1] - 1
        times: list[float] = []

        def velocity(x: Tensor, t: Tensor, recorded=recorded, steps=steps, times=times) -> Tensor:
            i = len(times)
            assert x.shape == recorded[:, i].shape and t.shape == (len(x), 1, 1)
            times.append(float(t[0, 0, 0]))
            return (recorded[:, i + 1] - recorded[:, i]) * steps

        states = FlowMatching(steps).states(velocity, golden["noise"])
        torch.testing.assert_close(torch.stack(states, dim=1), recorded, rtol=0, atol=1e-5)
        assert times == pytest.approx([i / steps for i in range(steps)])
        torch.testing.assert_close(states[-1], golden[f"{tag}.action"], rtol=0, atol=1e-5)


def test_straight_flow_reaches_the_data_in_any_number_of_steps() -> None:
    noise, data = torch.randn(3, 64, 2), torch.randn(3, 64, 2)
    for steps in (1, 2, 7, 10):
        reached = FlowMatching(steps).integrate(lambda x, t: data - noise, noise)
        torch.testing.assert_close(reached, data, rtol=0, atol=1e-5)


def test_euler_error_is_of_first_order() -> None:
    x0 = torch.ones(1, 4, dtype=torch.float64)
    errors = [
        abs(float(FlowMatching(n).integrate(lambda x, t: x, x0)[0, 0]) - math.e) for n in (50, 100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_guidance_extrapolates() -> None:
    x0 = torch.zeros(2, 64, 2)
    ones, twos = (lambda x, t: torch.ones_like(x)), (lambda x, t: 2 * torch.ones_like(x))
    flow = FlowMatching(4)
    for weight, expected in ((0.0, 1.0), (1.0, 2.0), (3.0, 4.0)):
        reached = flow.integrate(twos, x0, unguided_velocity=ones, guidance_weight=weight)
        torch.testing.assert_close(reached, torch.full_like(x0, expected))


def test_network_in_bfloat16_leaves_the_state_float32() -> None:
    states = FlowMatching(3).states(lambda x, t: x.bfloat16(), torch.randn(1, 64, 2))
    assert {state.dtype for state in states} == {torch.float32}


def test_training_pair_lies_on_the_way_from_noise_to_data() -> None:
    data, noise = torch.randn(50, 64, 2), torch.randn(50, 64, 2)
    pair = FlowMatching().training_pair(data, noise=noise)
    assert pair.t.shape == (50, 1, 1)
    assert torch.equal(pair.velocity, data - noise)
    torch.testing.assert_close(pair.x_t + (1 - pair.t) * pair.velocity, data, rtol=0, atol=1e-5)
    torch.testing.assert_close(pair.x_t - pair.t * pair.velocity, noise, rtol=0, atol=1e-5)


def test_training_times_follow_their_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.zeros(200_000, 1)
    t = FlowMatching().training_pair(data, generator=generator).t.squeeze()
    assert float(t.min()) >= 0 and float(t.max()) <= 0.999
    s = (1 - t / 0.999).double()
    assert float(s.mean()) == pytest.approx(1.5 / 2.5, abs=0.003)  # mean of Beta(1.5, 1)
    assert float(s.var()) == pytest.approx(1.5 / (2.5**2 * 3.5), abs=0.002)
    for level in (0.1, 0.5, 0.9):  # its distribution function is s^1.5
        assert float((s <= level).double().mean()) == pytest.approx(level**1.5, abs=0.005)


def test_training_loss_is_zero_for_the_true_velocity_and_repeats() -> None:
    data, noise = torch.randn(4, 64, 2), torch.randn(4, 64, 2)
    flow = FlowMatching()
    assert float(flow.training_loss(lambda x, t: data - noise, data, noise=noise)) == 0
    off_by_two = flow.training_loss(lambda x, t: data - noise + 2, data, noise=noise)
    assert float(off_by_two) == pytest.approx(4, rel=1e-5)
    losses = [
        flow.training_loss(lambda x, t: x * t, data, generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    ]
    assert torch.equal(*losses)


def test_gradient_step_lowers_the_loss() -> None:
    scale = torch.zeros((), requires_grad=True)
    data = torch.full((64, 8, 2), 3.0)
    loss = FlowMatching().training_loss(
        lambda x, t: scale + 0 * x, data, generator=torch.Generator().manual_seed(1)
    )
    loss.backward()
    assert scale.grad is not None and float(scale.grad) == pytest.approx(-6, abs=0.5)


def test_refuses_half_of_guidance_and_wrong_arguments() -> None:
    flow, x0 = FlowMatching(2), torch.zeros(1, 4, 2)
    with pytest.raises(
        InvalidInput, match=r"guidance: expected a weight and an unguided velocity.* got a weight alone"
    ):
        flow.integrate(lambda x, t: x, x0, guidance_weight=2.0)
    with pytest.raises(InvalidInput, match=r"got an unguided velocity alone"):
        flow.integrate(lambda x, t: x, x0, unguided_velocity=lambda x, t: x)
    with pytest.raises(InvalidInput, match=r"x0: expected float32 .*, got torch.bfloat16"):
        flow.integrate(lambda x, t: x, x0.bfloat16())
    with pytest.raises(InvalidInput, match="num_steps: expected at least 1, got 0"):
        FlowMatching(0)
    with pytest.raises(InvalidInput, match=r"noise: expected shape \[1, 4, 2\], got \[2, 4, 2\]"):
        flow.training_pair(x0, noise=torch.zeros(2, 4, 2))
