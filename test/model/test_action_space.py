from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alpamayo_ros.model.action_space import UnicycleActionSpace, _solve_growing_ridge
from alpamayo_ros.model.config import ActionSpaceConfig
from alpamayo_ros.types import InvalidInput

CONFIG = ActionSpaceConfig(accel_mean=0.029, accel_std=0.68, curvature_mean=0.00027, curvature_std=0.026)
SPACE = UnicycleActionSpace(CONFIG)


def arc(
    speed_mps: float,
    *,
    accel_mps2: float = 0.0,
    curvature_per_m: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """History [16], [16] and future [64], [64] poses of an exact arc through the origin at t0."""
    t = torch.arange(-15, 65, dtype=torch.float64) * 0.1
    way = speed_mps * t + 0.5 * accel_mps2 * t**2
    yaw = curvature_per_m * way
    if abs(curvature_per_m) < 1e-9:
        x, y = way, torch.zeros_like(way)
    else:
        x, y = torch.sin(yaw) / curvature_per_m, (1 - torch.cos(yaw)) / curvature_per_m
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    c, s = torch.cos(yaw), torch.sin(yaw)
    rot = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).reshape(-1, 3, 3).to(dtype)
    xyz = torch.stack([x, y, zero], dim=-1).to(dtype)
    return xyz[:16], rot[:16], xyz[16:], rot[16:]


def test_waypoints_are_the_references(golden) -> None:
    space = UnicycleActionSpace(golden.config.action_space)
    for tag in golden.planning_tags:
        trajectory = space.to_trajectory(golden[f"{tag}.action"], *golden.history)
        torch.testing.assert_close(trajectory.xyz_in_rig_t0, golden[f"{tag}.xyz"][0, 0], rtol=0, atol=3e-5)
        torch.testing.assert_close(trajectory.rot_in_rig_t0, golden[f"{tag}.rot"][0, 0], rtol=0, atol=1e-6)


def test_both_ways_are_the_references(golden) -> None:
    space = UnicycleActionSpace(golden.config.action_space)
    xyz, rot = golden.history
    torch.testing.assert_close(space.initial_speed(xyz, rot), golden["space.v0"][0], rtol=0, atol=1e-5)
    action = space.to_action(
        xyz[None], rot[None], future_xyz=golden["space.future_xyz"], future_rot=golden["space.future_rot"]
    )
    torch.testing.assert_close(action, golden["space.action"], rtol=0, atol=1e-4)
    back = space.to_trajectory(golden["space.action"], xyz, rot)
    torch.testing.assert_close(back.xyz_in_rig_t0, golden["space.back_xyz"], rtol=0, atol=3e-5)
    torch.testing.assert_close(back.rot_in_rig_t0, golden["space.back_rot"], rtol=0, atol=1e-6)


smooth = {
    "speed": st.floats(3.0, 30.0),  # slower ones end near a standstill, where curvature is smoothed away
    "accel": st.floats(-0.25, 2.0),
    "lateral": st.floats(-3.0, 3.0),
}


@settings(max_examples=60, deadline=None)
@given(**smooth, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_smooth_arcs_come_back_within_centimetres(
    speed: float, accel: float, lateral: float, dtype: torch.dtype
) -> None:
    curvature = max(-0.2, min(0.2, lateral / max(speed, speed + 6.4 * accel) ** 2))
    history_xyz, history_rot, xyz, rot = arc(speed, accel_mps2=accel, curvature_per_m=curvature, dtype=dtype)
    action = SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot)
    assert action.dtype == dtype
    back = SPACE.to_trajectory(action, history_xyz, history_rot)
    assert float((back.xyz_in_rig_t0 - xyz).norm(dim=-1).max()) < 0.05
    assert float((back.rot_in_rig_t0 - rot).abs().max()) < 0.01
    assert float((back.accel_mps2 - accel).abs().max()) < 0.1
    assert float((back.curvature_per_m - curvature).abs().max()) < 0.003


@settings(max_examples=40, deadline=None)
@given(**smooth)
def test_initial_speed_of_an_arc(speed: float, accel: float, lateral: float) -> None:
    xyz, rot, _, _ = arc(speed, accel_mps2=accel, curvature_per_m=lateral / 900, dtype=torch.float32)
    assert float(SPACE.initial_speed(xyz, rot)) == pytest.approx(speed, abs=0.02)


def test_initial_speed_doesnt_depend_on_the_frame() -> None:
    xyz, rot, _, _ = arc(8.0, curvature_per_m=0.05)
    c, s = math.cos(3.0), math.sin(3.0)  # near ±π, where yaw wraps
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    moved = xyz @ turn.T + torch.tensor([100.0, -50.0, 3.0], dtype=torch.float64)
    assert float(SPACE.initial_speed(moved, turn @ rot)) == pytest.approx(
        float(SPACE.initial_speed(xyz, rot)), abs=1e-9
    )


def test_initial_speed_is_negative_when_reversing() -> None:
    xyz, rot, _, _ = arc(-2.0)
    assert float(SPACE.initial_speed(xyz, rot)) == pytest.approx(-2.0, abs=0.02)


def test_constant_curvature_drives_a_circle() -> None:
    history_xyz, history_rot, xyz, _ = arc(10.0, curvature_per_m=0.02)
    action = SPACE.normalise(
        torch.zeros(64, dtype=torch.float64), torch.full((64,), 0.02, dtype=torch.float64)
    )
    trajectory = SPACE.to_trajectory(action, history_xyz, history_rot)
    assert float((trajectory.xyz_in_rig_t0 - xyz).norm(dim=-1).max()) < 0.05
    assert trajectory.speed_mps.shape == (65,)
    assert trajectory.xyz_in_rig_t0[-1, 1] > 10  # positive curvature turns left
    torch.testing.assert_close(trajectory.yaw_rad[-1].item(), 0.02 * 64, rtol=1e-3, atol=0)


def test_path_starts_at_the_origin_and_keeps_the_height() -> None:
    history_xyz, history_rot, _, _ = arc(10.0)
    moved = history_xyz + torch.tensor([3.0, 4.0, 0.25], dtype=torch.float64)
    trajectory = SPACE.to_trajectory(torch.zeros(64, 2, dtype=torch.float64), moved, history_rot)
    assert float(trajectory.xyz_in_rig_t0[0, 0]) == pytest.approx(1.0, abs=0.01)
    assert trajectory.xyz_in_rig_t0[:, 2].tolist() == [0.25] * 64


def least_squares_action(history_xyz, history_rot, xyz, rot) -> np.ndarray:
    """The four fits written as stacked least squares and solved by SVD, another way than normal equations."""
    c, dt = CONFIG, CONFIG.dt_s
    yaw = lambda r: np.unwrap(np.arctan2(r[:, 1, 0], r[:, 0, 0]))  # noqa: E731

    def diff(n: int, order: int) -> np.ndarray:
        return np.diff(np.eye(n), n=order, axis=0)

    def solve(rows: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        return np.linalg.lstsq(
            np.vstack([a for a, _ in rows]), np.concatenate([b for _, b in rows]), rcond=None
        )[0]

    def speed_rows(p: np.ndarray, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        n = len(theta)
        rows = []
        for k, u in enumerate((np.cos(theta), np.sin(theta))):
            a = np.zeros((n - 1, n))
            for t in range(n - 1):
                a[t, t], a[t, t + 1] = u[t], u[t + 1]
            rows.append((a, 2 * np.diff(p[:, k]) / dt))
        rows.append((math.sqrt(c.v_lambda / dt**6) * diff(n, 3), np.zeros(n - 3)))
        return rows

    ridge = lambda n, r: (math.sqrt(r) * np.eye(n), np.zeros(n))  # noqa: E731
    v0 = solve([*speed_rows(history_xyz, yaw(history_rot)), ridge(16, c.v_ridge)])[-1]
    smoothness = math.sqrt(c.theta_lambda / dt**6) * diff(65, 3)[:, 1:]
    theta = solve([(np.eye(64), yaw(rot)), (smoothness, np.zeros(62)), ridge(64, c.theta_ridge)])
    theta = np.concatenate([[0.0], theta])
    p = np.vstack([history_xyz[-1:], xyz])
    rows = [(a[:, 1:], b - a[:, 0] * v0) for a, b in speed_rows(p, theta)]
    v = np.concatenate([[v0], solve([*rows, ridge(64, c.v_ridge)])])

    def fit(scale: np.ndarray, target: np.ndarray, weight: float, rho: float) -> np.ndarray:
        return solve(
            [(np.diag(scale), target), (math.sqrt(weight) * diff(64, 2), np.zeros(62)), ridge(64, rho)]
        )

    a = fit(np.ones(64), np.diff(v) / dt, c.a_lambda / dt**4, c.a_ridge)
    way = dt * v[:-1] + dt**2 / 2 * a
    kappa = fit(way, np.diff(theta), c.kappa_lambda / dt**4, c.kappa_ridge)
    return np.stack([(a - c.accel_mean) / c.accel_std, (kappa - c.curvature_mean) / c.curvature_std], axis=-1)


@pytest.mark.parametrize("seed", range(4))
def test_action_minimises_the_written_objectives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = arc(rng.uniform(3, 20), accel_mps2=rng.uniform(-0.3, 1), curvature_per_m=rng.uniform(-0.01, 0.01))
    history_xyz, history_rot, xyz, rot = (p.clone() for p in poses)
    xyz[:, :2] += torch.from_numpy(rng.normal(0, 0.05, (64, 2)))
    action = SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot)
    expected = least_squares_action(*(p.numpy() for p in (history_xyz, history_rot, xyz, rot)))
    # The constants are float32 by design.
    np.testing.assert_allclose(action.numpy(), expected, atol=1e-5)


def test_each_of_a_batch_is_as_alone() -> None:
    parts = [
        arc(v, curvature_per_m=k, dtype=torch.float32) for v, k in ((0.0, 0.0), (5.0, 0.1), (30.0, -0.002))
    ]
    batch = [torch.stack(p) for p in zip(*parts, strict=True)]
    action = SPACE.to_action(batch[0], batch[1], future_xyz=batch[2], future_rot=batch[3])
    assert action.shape == (3, 64, 2)
    trajectory = SPACE.to_trajectory(action, batch[0], batch[1])
    for i, (history_xyz, history_rot, xyz, rot) in enumerate(parts):
        alone = SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot)
        torch.testing.assert_close(action[i], alone, rtol=0, atol=1e-4)
        again = SPACE.to_trajectory(action[i], history_xyz, history_rot)
        torch.testing.assert_close(trajectory.xyz_in_rig_t0[i], again.xyz_in_rig_t0, rtol=0, atol=1e-5)


def test_many_samples_share_one_history() -> None:
    history_xyz, history_rot, _, _ = arc(7.0, dtype=torch.float32)
    action = torch.randn(5, 64, 2)
    trajectory = SPACE.to_trajectory(action, history_xyz, history_rot)
    assert trajectory.xyz_in_rig_t0.shape == (5, 64, 3)
    assert trajectory.speed_mps.shape == (5, 65)
    one = SPACE.to_trajectory(action[3], history_xyz, history_rot)
    assert torch.equal(trajectory.xyz_in_rig_t0[3], one.xyz_in_rig_t0)


def test_standing_still_gives_a_finite_action() -> None:
    history_xyz, history_rot, xyz, rot = arc(0.0, dtype=torch.float32)
    action = SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot)
    assert torch.isfinite(action).all()
    back = SPACE.to_trajectory(action, history_xyz, history_rot)
    assert float(back.xyz_in_rig_t0.abs().max()) < 0.01


def test_ridge_grows_only_where_it_must() -> None:
    good = torch.eye(3)
    indefinite = torch.diag(torch.tensor([1.0, 1.0, -1e-3]))
    rhs = torch.ones(2, 3)
    solved = _solve_growing_ridge(torch.stack([good, indefinite]), rhs, 1e-4)
    torch.testing.assert_close(solved[0], rhs[0] / (1 + 1e-4))
    # 1e-4 and 1e-3 fail, 1e-2 is the first to do.
    torch.testing.assert_close(solved[1], 1 / (torch.tensor([1.0, 1.0, -1e-3]) + 1e-2))
    with pytest.raises(InvalidInput, match="expected values that can be fitted"):
        _solve_growing_ridge(-1e30 * good, rhs[0], 1e-4)


def test_normalisation_both_ways_and_bounds() -> None:
    action = torch.randn(4, 64, 2)
    torch.testing.assert_close(SPACE.normalise(*SPACE.denormalise(action)), action, rtol=0, atol=1e-4)
    accel, curvature = torch.zeros(2, 64), torch.zeros(2, 64)
    accel[1, 5] = 9.9
    assert SPACE.is_within_bounds(SPACE.normalise(accel, curvature)).tolist() == [True, False]
    curvature[0, 9] = -0.21
    assert SPACE.is_within_bounds(SPACE.normalise(accel, curvature)).tolist() == [False, False]


def test_constants_are_rounded_as_a_bfloat16_model_has_them() -> None:
    rounded = UnicycleActionSpace(CONFIG, rounded_to=torch.bfloat16)
    accel, curvature = rounded.denormalise(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    values = [accel[0], curvature[0], accel[1] - accel[0], curvature[1] - curvature[0]]
    for value, exact in zip(values, (0.029, 0.00027, 0.68, 0.026), strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(torch.tensor(exact).bfloat16().item(), rel=1e-5)
    # The state is no bfloat16: 0.1 s at 20 m/s would be off by centimetres.
    history_xyz, history_rot, _, _ = arc(20.0, dtype=torch.float32)
    plain = SPACE.to_trajectory(torch.zeros(64, 2), history_xyz, history_rot)
    other = rounded.to_trajectory(torch.zeros(64, 2), history_xyz, history_rot)
    assert 0 < float((plain.xyz_in_rig_t0 - other.xyz_in_rig_t0).abs().max()) < 0.05


def test_autocast_doesnt_reach_in() -> None:
    history_xyz, history_rot, xyz, rot = arc(12.0, curvature_per_m=0.03, dtype=torch.float32)
    expected = SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        action = SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot)
    assert torch.equal(action, expected)


def test_gradient_reaches_the_action() -> None:
    history_xyz, history_rot, _, _ = arc(12.0, dtype=torch.float32)
    action = torch.zeros(64, 2, requires_grad=True)
    SPACE.to_trajectory(action, history_xyz, history_rot).xyz_in_rig_t0[-1].sum().backward()
    assert action.grad is not None and float(action.grad[0].abs().min()) > 0


def test_refuses_wrong_poses() -> None:
    history_xyz, history_rot, xyz, rot = arc(5.0, dtype=torch.float32)
    nan = history_xyz.clone()
    nan[3, 1] = math.nan
    with pytest.raises(
        InvalidInput, match=r"history positions: expected finite values, got nan at index \[3, 1\]"
    ):
        SPACE.initial_speed(nan, history_rot)
    with pytest.raises(InvalidInput, match=r"history: expected positions \[\.\.\., T, 3\].*got \[3, 3\]"):
        SPACE.initial_speed(history_xyz[:3], history_rot[:3])
    with pytest.raises(InvalidInput, match=r"history: expected positions .* got \[16, 3\] and \[15, 3, 3\]"):
        SPACE.initial_speed(history_xyz, history_rot[:15])
    with pytest.raises(InvalidInput, match=r"expected float32 .* got torch.bfloat16"):
        SPACE.initial_speed(history_xyz.bfloat16(), history_rot.bfloat16())
    with pytest.raises(InvalidInput, match="future: expected 64 waypoints, got 63"):
        SPACE.to_action(history_xyz, history_rot, future_xyz=xyz[:63], future_rot=rot[:63])
    with pytest.raises(InvalidInput, match="future rotations: expected finite values, got inf"):
        SPACE.to_action(history_xyz, history_rot, future_xyz=xyz, future_rot=rot * math.inf)
    with pytest.raises(InvalidInput, match=r"future: expected the history's leading dimensions .* got \[1\]"):
        SPACE.to_action(history_xyz, history_rot, future_xyz=xyz[None], future_rot=rot[None])


@pytest.mark.parametrize(
    "action", [torch.zeros(63, 2), torch.zeros(64, 3), torch.zeros(64, 2, dtype=torch.int64)]
)
def test_refuses_wrong_actions(action: Tensor) -> None:
    history_xyz, history_rot, _, _ = arc(5.0, dtype=torch.float32)
    with pytest.raises(InvalidInput, match=r"action: expected floats of shape \[\.\.\., 64, 2\], got torch"):
        SPACE.to_trajectory(action, history_xyz, history_rot)


def test_other_interval_and_length() -> None:
    config = dataclasses.replace(CONFIG, dt_s=0.2, num_waypoints=10)
    space = UnicycleActionSpace(config)
    history_xyz, history_rot, _, _ = arc(5.0)
    trajectory = space.to_trajectory(
        space.normalise(torch.zeros(10), torch.zeros(10)).double(), history_xyz, history_rot
    )
    # The history's poses are 0.2 s apart here, so the same way is half the speed.
    assert float(trajectory.speed_mps[0]) == pytest.approx(2.5, abs=0.01)
