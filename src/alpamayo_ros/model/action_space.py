"""The unicycle action space: (acceleration, curvature) per waypoint to a trajectory and back.

Upstream's UnicycleAccelCurvatureActionSpace. Motion within an interval dt has constant acceleration a and
curvature κ:

    v₊ = v + a·dt        θ₊ = θ + κ·(v·dt + ½·a·dt²)        p₊ = p + ½·dt·(v·u(θ) + v₊·u(θ₊))

with u(θ) = (cos θ, sin θ). The way back is four regularised least-squares fits, each solved by a dense
Cholesky factorisation of its normal equations, (AᵀA + λ/dt²ᵏ·DₖᵀDₖ + ρ·I) x = Aᵀb, where Dₖ takes k-th
differences. Velocity is no input anywhere: v₀ is fitted to the history, so it decides every waypoint.

Tensors keep their dtype (the model gives float32); autocast is switched off, since products in bfloat16
would ruin the factorisations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from alpamayo_ros.model.config import ActionSpaceConfig
from alpamayo_ros.types import InvalidInput

_MAX_RIDGE_GROWTH = 1e12


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What a sequence of actions does; N waypoints, the i-th at t0 + (i + 1)·dt, in the rig frame at t0.

    Attributes:
        xyz_in_rig_t0: [..., N, 3] m.
        rot_in_rig_t0: [..., N, 3, 3], about z.
        yaw_rad: [..., N], not wrapped.
        accel_mps2, curvature_per_m: [..., N], constant over each interval; curvature positive to the left.
        speed_mps: [..., N + 1], from t0 on.
    """

    xyz_in_rig_t0: Tensor
    rot_in_rig_t0: Tensor
    yaw_rad: Tensor
    accel_mps2: Tensor
    curvature_per_m: Tensor
    speed_mps: Tensor


class UnicycleActionSpace:
    """Normalised actions [..., N, 2] to trajectories and back; all leading dimensions are a batch.

    Args:
        config: normalisation, interval and the fits' weights.
        rounded_to: round means and stds to this dtype. Upstream keeps them as buffers of the network, so a
            model loaded in bfloat16 computes with rounded ones (in float32): pass torch.bfloat16 then.
    """

    def __init__(self, config: ActionSpaceConfig, *, rounded_to: torch.dtype | None = None) -> None:
        self.config = config

        def constant(value: float) -> float:
            rounded = torch.tensor(value, dtype=torch.float32)
            return rounded.to(rounded_to or torch.float32).item()

        self._mean = (constant(config.accel_mean), constant(config.curvature_mean))
        self._std = (constant(config.accel_std), constant(config.curvature_std))

    @property
    def std(self) -> tuple[float, float]:
        """Units of normalised actions: acceleration in m/s², curvature in 1/m."""
        return self._std

    def normalise(self, accel_mps2: Tensor, curvature_per_m: Tensor) -> Tensor:
        """Return normalised actions [..., N, 2] of acceleration and curvature [..., N]."""
        accel = (accel_mps2 - self._mean[0]) / self._std[0]
        curvature = (curvature_per_m - self._mean[1]) / self._std[1]
        return torch.stack([accel, curvature], dim=-1)

    def denormalise(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return acceleration m/s² and curvature 1/m, [..., N] each, of normalised actions [..., N, 2]."""
        accel = action[..., 0] * self._std[0] + self._mean[0]
        curvature = action[..., 1] * self._std[1] + self._mean[1]
        return accel, curvature

    def is_within_bounds(self, action: Tensor) -> Tensor:
        """Return bool [...]: whether all of normalised actions [..., N, 2] lie in the config's bounds."""
        accel, curvature = self.denormalise(action)
        (low_a, high_a), (low_k, high_k) = self.config.accel_bounds, self.config.curvature_bounds
        inside = (accel >= low_a) & (accel <= high_a) & (curvature >= low_k) & (curvature <= high_k)
        return inside.all(dim=-1)

    def initial_speed(self, history_xyz: Tensor, history_rot: Tensor) -> Tensor:
        """Estimate the speed at t0, [...] m/s, from positions [..., T, 3] m and rotations [..., T, 3, 3].

        The last of the speeds v_t that minimise
        Σ|v_t·u_t + v_{t+1}·u_{t+1} − 2·Δp_t/dt|² + λ_v/dt⁶·‖D₃v‖² + ρ_v·‖v‖², in the plane.

        Raises:
            InvalidInput: on a wrong shape or dtype, or values that are not finite.
        """
        _check_poses("history", history_xyz, history_rot)
        with torch.no_grad(), _full_precision(history_xyz):
            normal, rhs = self._speed_equations(history_xyz, _unwrapped(_yaw(history_rot)))
            return _solve(normal, rhs)[..., -1]

    def to_trajectory(self, action: Tensor, history_xyz: Tensor, history_rot: Tensor) -> Trajectory:
        """Return the trajectory of normalised actions [..., N, 2] that starts with the history's speed.

        Starts at x = y = yaw = 0 whatever the last history pose, and stays at its z. Differentiable in
        `action`.

        Args:
            action: [..., N, 2]; its leading dimensions broadcast with the history's.
            history_xyz: [..., T, 3] m in the rig frame at t0, the last at t0.
            history_rot: [..., T, 3, 3].

        Raises:
            InvalidInput: on a wrong shape or dtype, or a history that is not finite.
        """
        self._check_action(action)
        v0 = self.initial_speed(history_xyz, history_rot)
        with _full_precision(action):
            return self._integrate(action, v0, history_xyz[..., -1, 2])

    def to_action(
        self, history_xyz: Tensor, history_rot: Tensor, *, future_xyz: Tensor, future_rot: Tensor
    ) -> Tensor:
        """Return the normalised actions [..., N, 2] that drive the given future, smoothed.

        Args:
            history_xyz: [..., T, 3] m in the rig frame at t0, the last at t0.
            history_rot: [..., T, 3, 3].
            future_xyz: [..., N, 3] m, the waypoints behind t0 in the same frame.
            future_rot: [..., N, 3, 3].

        Raises:
            InvalidInput: on wrong shapes or dtypes, or values that are not finite.
        """
        n = self.config.num_waypoints
        _check_poses("future", future_xyz, future_rot)
        if future_xyz.shape[-2] != n:
            raise InvalidInput(f"future: expected {n} waypoints, got {future_xyz.shape[-2]}")
        if history_xyz.shape[:-2] != future_xyz.shape[:-2] or history_xyz.dtype != future_xyz.dtype:
            raise InvalidInput(
                "future: expected the history's leading dimensions and dtype "
                f"{list(history_xyz.shape[:-2])} {history_xyz.dtype}, "
                f"got {list(future_xyz.shape[:-2])} {future_xyz.dtype}"
            )
        v0 = self.initial_speed(history_xyz, history_rot)
        with torch.no_grad(), _full_precision(future_xyz):
            xyz = torch.cat([history_xyz[..., -1:, :], future_xyz], dim=-2)
            theta = self._smooth_yaw(_unwrapped(_yaw(future_rot)))
            speed = self._fit_speed(xyz, theta, v0)
            accel = self._fit_accel(speed)
            curvature = self._fit_curvature(theta, speed, accel)
            return self.normalise(accel, curvature)

    def _integrate(self, action: Tensor, v0: Tensor, z: Tensor) -> Trajectory:
        dt = self.config.dt_s
        accel, curvature = self.denormalise(action)
        lead = torch.broadcast_shapes(accel.shape[:-1], v0.shape)
        accel, curvature = (x.expand(*lead, x.shape[-1]) for x in (accel, curvature))
        start = v0.expand(lead).unsqueeze(-1)
        speed = torch.cat([start, start + torch.cumsum(accel * dt, dim=-1)], dim=-1)
        yaw = torch.cumsum(curvature * speed[..., :-1] * dt, dim=-1)
        yaw = yaw + torch.cumsum(curvature * accel * (0.5 * dt**2), dim=-1)
        theta = torch.cat([torch.zeros_like(start), yaw], dim=-1)

        def position(velocity: Tensor) -> Tensor:
            half = 0.5 * dt
            return torch.cumsum(velocity[..., :-1] * half, dim=-1) + torch.cumsum(
                velocity[..., 1:] * half, dim=-1
            )

        cos, sin = torch.cos(theta), torch.sin(theta)
        height = z.expand(lead).unsqueeze(-1).expand_as(yaw)
        return Trajectory(
            xyz_in_rig_t0=torch.stack([position(speed * cos), position(speed * sin), height], dim=-1),
            rot_in_rig_t0=_rotation_about_z(cos[..., 1:], sin[..., 1:]),
            yaw_rad=yaw,
            accel_mps2=accel,
            curvature_per_m=curvature,
            speed_mps=speed,
        )

    def _speed_equations(self, xyz: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normal equations of the speeds at T poses [..., T, 3], [..., T].

        The data term is |S·(v ∘ u) − 2Δp/dt|² in x and y, S summing neighbours, so its matrix is
        SᵀS ∘ (cos·cosᵀ + sin·sinᵀ): no 2(T−1) × T matrix is needed.
        """
        c = self.config
        count = theta.shape[-1]
        target = (2.0 / c.dt_s) * torch.diff(xyz[..., :2], dim=-2)
        eye = torch.eye(count, dtype=theta.dtype, device=theta.device)
        sums = eye[:-1] + eye[1:]
        cos, sin = torch.cos(theta), torch.sin(theta)
        outer = cos.unsqueeze(-1) * cos.unsqueeze(-2) + sin.unsqueeze(-1) * sin.unsqueeze(-2)
        summed = pad(target, (0, 0, 1, 0)) + pad(target, (0, 0, 0, 1))  # Sᵀ·target
        rhs = cos * summed[..., 0] + sin * summed[..., 1]
        normal = (sums.T @ sums) * outer + _roughness(eye, order=3, weight=c.v_lambda / c.dt_s**6)
        return normal + c.v_ridge * eye, rhs

    def _smooth_yaw(self, yaw: Tensor) -> Tensor:
        """Return θ₀ … θ_N with θ₀ = 0: Σ(θ_t − yaw_t)² + λ_θ/dt⁶·‖D₃θ₀…N‖² + ρ_θ·‖θ₁…N‖² is least."""
        c = self.config
        eye = torch.eye(yaw.shape[-1] + 1, dtype=yaw.dtype, device=yaw.device)
        normal = _roughness(eye, order=3, weight=c.theta_lambda / c.dt_s**6)[1:, 1:]
        normal = normal + (1.0 + c.theta_ridge) * eye[1:, 1:]
        theta = _solve(normal.expand(*yaw.shape, yaw.shape[-1]), yaw)
        return torch.cat([torch.zeros_like(yaw[..., :1]), theta], dim=-1)

    def _fit_speed(self, xyz: Tensor, theta: Tensor, v0: Tensor) -> Tensor:
        """Return v₀ … v_N with v₀ given: `initial_speed`'s objective without ρ_v·v₀², which is constant."""
        normal, rhs = self._speed_equations(xyz, theta)
        v0 = v0.unsqueeze(-1)
        speed = _solve(normal[..., 1:, 1:], rhs[..., 1:] - normal[..., 1:, 0] * v0)
        return torch.cat([v0.expand_as(speed[..., :1]), speed], dim=-1)

    def _fit_accel(self, speed: Tensor) -> Tensor:
        """Return a: Σ(a_t − Δv_t/dt)² + λ_a/dt⁴·‖D₂a‖² + ρ_a·‖a‖² is least."""
        c = self.config
        slope = torch.diff(speed, dim=-1) / c.dt_s
        return self._fit(torch.ones_like(slope), slope, weight=c.a_lambda / c.dt_s**4, ridge=c.a_ridge)

    def _fit_curvature(self, theta: Tensor, speed: Tensor, accel: Tensor) -> Tensor:
        """Return κ: Σ(s_t·κ_t − Δθ_t)² + λ_κ/dt⁴·‖D₂κ‖² + ρ_κ·‖κ‖² is least, s_t = dt·v_t + ½·dt²·a_t."""
        c = self.config
        way = c.dt_s * speed[..., :-1] + (c.dt_s**2 / 2.0) * accel
        return self._fit(
            way, torch.diff(theta, dim=-1), weight=c.kappa_lambda / c.dt_s**4, ridge=c.kappa_ridge
        )

    @staticmethod
    def _fit(scale: Tensor, target: Tensor, *, weight: float, ridge: float) -> Tensor:
        """Return x that minimises ‖scale ∘ x − target‖² + weight·‖D₂x‖² + ridge·‖x‖²."""
        eye = torch.eye(target.shape[-1], dtype=target.dtype, device=target.device)
        normal = torch.diag_embed(scale * scale) + _roughness(eye, order=2, weight=weight)
        return _solve_growing_ridge(normal, scale * target, ridge)

    def _check_action(self, action: Tensor) -> None:
        n = self.config.num_waypoints
        if not action.is_floating_point() or tuple(action.shape[-2:]) != (n, 2):
            raise InvalidInput(
                f"action: expected floats of shape [..., {n}, 2], got {action.dtype} {list(action.shape)}"
            )


def _full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _roughness(eye: Tensor, *, order: int, weight: float) -> Tensor:
    """Return weight·DᵀD, D taking differences of the given order of as many values as `eye` has rows."""
    difference = torch.diff(eye, n=order, dim=0)
    return weight * (difference.T @ difference)


def _solve(normal: Tensor, rhs: Tensor) -> Tensor:
    """Solve positive definite systems [..., n, n] x = [..., n]."""
    factor = torch.linalg.cholesky(normal)
    return torch.cholesky_solve(rhs.unsqueeze(-1), factor).squeeze(-1)


def _solve_growing_ridge(normal: Tensor, rhs: Tensor, ridge: float) -> Tensor:
    """Solve (normal + ridge·I) x = rhs, the ridge growing tenfold where the system is not positive definite.

    A standing vehicle has no curvature to speak of: there the data term vanishes and rounding can make
    the smoothness term indefinite. Each system of the batch has its own ridge, so that a sample doesn't
    depend on its neighbours.
    """
    eye = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    ridges = torch.full(normal.shape[:-2], ridge, dtype=normal.dtype, device=normal.device)
    largest = ridge * _MAX_RIDGE_GROWTH
    while True:
        factor, failed = torch.linalg.cholesky_ex(normal + ridges[..., None, None] * eye)
        if not failed.any():
            return torch.cholesky_solve(rhs.unsqueeze(-1), factor).squeeze(-1)
        ridges = torch.where(failed > 0, ridges * 10, ridges)
        if ridges.max() > largest:
            raise InvalidInput(
                f"trajectory: expected values that can be fitted, got a ridge above {largest:g}"
            )


def _yaw(rotation: Tensor) -> Tensor:
    return torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])


def _unwrapped(yaw: Tensor) -> Tensor:
    """Return yaw [..., T] with steps in [−π, π], each wrapped by atan2 as upstream does."""
    steps = torch.diff(yaw, dim=-1)
    steps = torch.atan2(torch.sin(steps), torch.cos(steps))
    return torch.cat([yaw[..., :1], yaw[..., :1] + torch.cumsum(steps, dim=-1)], dim=-1)


def _rotation_about_z(cos: Tensor, sin: Tensor) -> Tensor:
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _check_poses(name: str, xyz: Tensor, rot: Tensor) -> None:
    """Raise InvalidInput unless these are four or more finite poses [..., T, 3], [..., T, 3, 3]."""
    fits = xyz.ndim >= 2 and xyz.shape[-1] == 3 and tuple(rot.shape) == (*xyz.shape, 3)
    if not fits or xyz.shape[-2] < 4:
        raise InvalidInput(
            f"{name}: expected positions [..., T, 3] and rotations [..., T, 3, 3] with T >= 4, "
            f"got {list(xyz.shape)} and {list(rot.shape)}"
        )
    if xyz.dtype not in (torch.float32, torch.float64) or rot.dtype != xyz.dtype:
        raise InvalidInput(
            f"{name}: expected float32 (or float64) throughout, got {xyz.dtype} and {rot.dtype}"
        )
    for part, values in (("positions", xyz), ("rotations", rot)):
        if not torch.isfinite(values).all():
            index = torch.nonzero(~torch.isfinite(values))[0].tolist()
            raise InvalidInput(
                f"{name} {part}: expected finite values, got {values[tuple(index)].item()} at index {index}"
            )
