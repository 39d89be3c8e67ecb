"""A checkpoint opened for training: its network, what of it is trained, and how samples become sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from alpamayo_ros.model.action_space import UnicycleActionSpace
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.loading import OpenedCheckpoint, open_checkpoint
from alpamayo_ros.model.network import AlpamayoNetwork
from alpamayo_ros.model.trajectory_tokens import FutureTokenizer
from alpamayo_ros.training import lora
from alpamayo_ros.training.grouped_attention import attend_in_groups
from alpamayo_ros.training.plan_reader import PlanReader
from alpamayo_ros.training.sequence import SequenceBuilder
from alpamayo_ros.training.settings import JOINT, TrainSettings
from alpamayo_ros.training.targets import TargetBuilder

_VISION = "vlm.model.visual."
_TRAINED: dict[int, tuple[str, ...]] = {1: ("vlm.",), 2: ("expert.", "action_in_proj.", "action_out_proj.")}
_TRAINED[JOINT] = _TRAINED[1] + _TRAINED[2]
_ADAPTED: dict[int, tuple[str, ...]] = {1: ("vlm.model.language_model.",), 2: ("expert.",)}
_ADAPTED[JOINT] = _ADAPTED[1] + _ADAPTED[2]
"""Prefixes of parameter names by stage: trained whole, or by adapters."""


@dataclass(frozen=True, eq=False)
class TrainableModel:
    """A loaded checkpoint and what training needs of it.

    Attributes:
        opened: config, tokenizer and network, its weights in place and without gradients.
        action_space: in the checkpoint's constants, as inference uses it.
        images: its image preparation.
        builder: samples to sequences.
    """

    opened: OpenedCheckpoint
    action_space: UnicycleActionSpace
    images: ImagePreparer
    builder: SequenceBuilder

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        backbone: str | Path | None = None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        progress: bool = False,
    ) -> TrainableModel:
        """Load a checkpoint, a folder or a hub id, in `dtype` on `device`.

        Take the dtype in which the result will drive: in bfloat16 the constants of the action space and the
        Fourier frequencies are rounded (model/action_proj.py), and weights must be trained with the same.

        Raises:
            CheckpointError: for a checkpoint that cannot be used.
        """
        opened = open_checkpoint(checkpoint, backbone)
        action_space = opened.load(device=device, dtype=dtype, progress=progress)
        vision = opened.network.vlm.config.vision_config
        images = ImagePreparer(
            opened.config,
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            temporal_patch_size=vision.temporal_patch_size,
        )
        targets = TargetBuilder(action_space, FutureTokenizer(opened.config.future_tokenizer))
        builder = SequenceBuilder(opened.config, opened.tokenizer, images=images, targets=targets)
        return cls(opened, action_space, images, builder)

    @property
    def network(self) -> AlpamayoNetwork:
        """The network."""
        return self.opened.network

    @property
    def image_pad_id(self) -> int:
        """Id of the images' placeholder."""
        return self.opened.tokenizer.image_pad_id

    def plan_reader(self, *, seed: int) -> PlanReader:
        """Return a new reader of plans for this backbone, beside it."""
        text = self.network.vlm.config.text_config
        reader = PlanReader(
            layers=text.num_hidden_layers,
            kv_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            seed=seed,
        )
        return reader.to(self.network.device)

    def prepare(self, settings: TrainSettings) -> dict[str, nn.Parameter]:
        """Give gradients to what a stage trains, and to nothing else; return those parameters by name.

        They become float32, whatever they were loaded in. With adapters in `settings` the network gets them.
        """
        network = self.network
        network.requires_grad_(False)
        patch_embed = network.vlm.model.visual.patch_embed
        patch_embed.forward = partial(_embed_patches, patch_embed.proj)
        add_adapters(network, settings)
        if settings.autocast and network.device.type == "cpu":
            attend_in_groups(network)
        if settings.recompute:
            trained_layers = (
                network.expert.layers if settings.stage == 2 else network.vlm.model.language_model.layers
            )
            for layer in trained_layers:
                # Neither stage's cache is written to, so a layer may run twice.
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        chosen: dict[str, nn.Parameter] = {}
        for name, parameter in network.named_parameters():
            if settings.lora is not None:
                trained = name.rpartition(".")[2].startswith("lora_")
            else:
                trained = name.startswith(_TRAINED[settings.stage])
                trained = trained and (settings.train_vision or not name.startswith(_VISION))
            if trained:
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
                chosen[name] = parameter
        return chosen


def add_adapters(network: AlpamayoNetwork, settings: TrainSettings) -> None:
    """Give the network a stage's adapters, if its settings have some."""
    if settings.lora is not None:
        lora.inject(
            network,
            _ADAPTED[settings.stage],
            rank=settings.lora.rank,
            alpha=settings.lora.alpha,
            seed=settings.seed,
        )


def _embed_patches(convolution: nn.Conv3d, patches: Tensor) -> Tensor:
    """Embed patches [N, channels · copies · 16 · 16] as the tower's convolution does, its stride its kernel.

    As a matrix product: on a CPU the convolution's gradient alone would be a sixth of a whole step.
    """
    return nn.functional.linear(
        patches.to(convolution.weight.dtype), convolution.weight.flatten(1), convolution.bias
    )
