"""The projection of noisy actions and flow time into the expert (upstream's PerWaypointActionInProjV2).

Every waypoint becomes one token: Fourier features of its acceleration, its curvature and the flow
time go through a small MLP. Parameter names are those of the released checkpoints.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from alpamayo_ros.model.config import ACTION_DIMS, ActionInProjConfig

_RMS_NORM_EPS = 1e-5


class FourierFeatures(nn.Module):
    """z -> sqrt(2) * [sin 2 pi f z, cos 2 pi f z] with log-spaced frequencies f from 1 to `max_freq`.

    `freqs` [1, num_features / 2] is stored by Alpamayo 1's checkpoints and not by 1.5's. It stays float32,
    rounded to bfloat16 *in value* where the model is loaded in bfloat16, as upstream's is: at 100 Hz the
    difference is a phase of up to 0.4 rad per unit, and the weights were trained with the rounded ones.
    """

    freqs: Tensor

    def __init__(self, num_features: int, max_freq: float) -> None:
        super().__init__()
        self.num_features = num_features
        self.max_freq = max_freq
        self.register_buffer("freqs", self.frequencies())

    def frequencies(self) -> Tensor:
        """Return the frequencies that the config gives, float32 [1, num_features / 2]."""
        return torch.logspace(0, math.log10(self.max_freq), self.num_features // 2, dtype=torch.float32)[None]

    def forward(self, z: Tensor) -> Tensor:
        """Map float32 [...] to features [..., num_features]."""
        phase = z[..., None] * self.freqs * (2 * math.pi)
        return torch.cat((phase.sin(), phase.cos()), dim=-1) * math.sqrt(2)


def _trunk(config: ActionInProjConfig, num_inputs: int, num_outputs: int) -> nn.Sequential:
    width = config.hidden_size
    layers: list[nn.Module] = [nn.Linear(num_inputs, width), nn.SiLU()]
    for _ in range(config.num_enc_layers - 1):
        layers += [nn.RMSNorm(width, eps=_RMS_NORM_EPS), nn.Linear(width, width), nn.SiLU()]
    layers += [nn.RMSNorm(width, eps=_RMS_NORM_EPS), nn.Linear(width, num_outputs)]
    return nn.Sequential(*layers)


class ActionInProj(nn.Module):
    """Noisy normalised actions [B, 64, 2] and flow time [B, 1, 1] -> expert tokens [B, 64, expert hidden]."""

    def __init__(self, config: ActionInProjConfig, expert_hidden_size: int) -> None:
        super().__init__()
        features, max_freq = config.num_fourier_feats, config.max_freq
        self.sinus = nn.ModuleList([FourierFeatures(features, max_freq) for _ in range(ACTION_DIMS)])
        self.timestep_fourier_encoder = FourierFeatures(features, max_freq)
        trunk = _trunk(config, features * (ACTION_DIMS + 1), expert_hidden_size)
        self.encoder = nn.Sequential(OrderedDict(trunk=trunk))
        self.norm = nn.LayerNorm(expert_hidden_size)

    def forward(self, actions: Tensor, time: Tensor) -> Tensor:
        """Project; both inputs float32, `time` broadcasts over the waypoints."""
        features = [encode(actions[..., i]) for i, encode in enumerate(self.sinus)]
        features.append(self.timestep_fourier_encoder(time[..., 0].expand(actions.shape[:-1])))
        tokens: Tensor = self.norm(self.encoder(torch.cat(features, dim=-1)))
        return tokens
