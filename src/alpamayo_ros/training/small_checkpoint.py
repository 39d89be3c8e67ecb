"""A new, small member of the family to train from scratch, in the layout of Alpamayo 1.5.

The same architecture, prompt and action space as the 10B model, thinner and shallower, for images of 96 × 160
pixels. Weights are drawn as transformers draws Qwen's (normal, 0.02), except that what a layer adds to the
residual stream starts smaller with depth (GPT-2's rule) and velocities start near zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alpamayo_ros.model.config import ALPAMAYO_1_5, ModelConfig
from alpamayo_ros.model.network import AlpamayoNetwork, backbone_config, expert_config
from alpamayo_ros.model.shipped import or_shipped
from alpamayo_ros.model.special_tokens import TRAJECTORY_NAMES
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.training.small_tokenizer import write_small_tokenizer
from alpamayo_ros.training.targets import ActionStatistics
from alpamayo_ros.types import NUM_HISTORY_POSES, NUM_WAYPOINTS, InvalidInput

BACKBONE_FOLDER = "backbone"
SMALL = "small:"
"""What names of new checkpoints begin with."""
IMAGE_HEIGHT, IMAGE_WIDTH = 96, 160
_HEAD_DIM = 32
_MROPE_SECTION = [6, 5, 5]
"""Half a head's frequencies, dealt to time, row and column as Qwen3-VL deals its 64: [24, 20, 20]."""
_INIT_STD = 0.02
_RESIDUAL_WRITERS = ("o_proj.weight", "down_proj.weight", "attn.proj.weight", "mlp.linear_fc2.weight")
_HISTORY_BINS, _FUTURE_BINS = 1000, 1000


@dataclass(frozen=True)
class SmallSize:
    """Widths and depths; heads have 32 channels, the expert has the backbone's layers and heads.

    Attributes:
        layers, hidden, mlp, heads, kv_heads: the backbone's.
        vision_depth, vision_hidden, vision_mlp, vision_heads: the vision tower's.
        deepstack: vision layers (from 0) whose features are added behind the first text layers.
        expert_hidden, expert_mlp: the expert's.
        action_hidden: width of the action projection's MLP.
    """

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vision_depth: int
    vision_hidden: int
    vision_mlp: int
    vision_heads: int
    deepstack: tuple[int, ...]
    expert_hidden: int
    expert_mlp: int
    action_hidden: int

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise InvalidInput(f"heads: expected a multiple of kv_heads {self.kv_heads}, got {self.heads}")
        if self.vision_hidden % (4 * self.vision_heads):
            wanted = f"a multiple of 4 * vision_heads {self.vision_heads}"
            raise InvalidInput(f"vision_hidden: expected {wanted}, got {self.vision_hidden}")
        if any(not 0 <= layer < self.vision_depth for layer in self.deepstack):
            raise InvalidInput(
                f"deepstack: expected layers 0 ... {self.vision_depth - 1}, got {list(self.deepstack)}"
            )


SMALL_SIZES: dict[str, SmallSize] = {
    "1M": SmallSize(  # learns easy roads by one camera in a minute: to try the pipeline
        layers=2, hidden=128, mlp=256, heads=4, kv_heads=2,
        vision_depth=2, vision_hidden=64, vision_mlp=160, vision_heads=2, deepstack=(0,),
        expert_hidden=96, expert_mlp=224, action_hidden=96,
    ),
    "4M": SmallSize(
        layers=4, hidden=192, mlp=448, heads=6, kv_heads=2,
        vision_depth=3, vision_hidden=128, vision_mlp=320, vision_heads=4, deepstack=(1,),
        expert_hidden=128, expert_mlp=320, action_hidden=128,
    ),
    "7M": SmallSize(  # sees more than it says: what a tower makes of a picture is computed once a picture
        layers=4, hidden=224, mlp=512, heads=8, kv_heads=2,
        vision_depth=5, vision_hidden=192, vision_mlp=512, vision_heads=6, deepstack=(2,),
        expert_hidden=160, expert_mlp=384, action_hidden=160,
    ),
    "10M": SmallSize(
        layers=6, hidden=256, mlp=576, heads=8, kv_heads=2,
        vision_depth=4, vision_hidden=192, vision_mlp=512, vision_heads=6, deepstack=(2,),
        expert_hidden=192, expert_mlp=384, action_hidden=192,
    ),
}  # fmt: skip
"""Named sizes, by about how many parameters they have."""


def write_small_checkpoint(
    folder: str | Path,
    texts: Iterable[str],
    *,
    size: str | SmallSize = "4M",
    statistics: ActionStatistics | None = None,
    base_vocab: int = 1024,
    seed: int = 0,
) -> Path:
    """Write config.json, weights and `backbone/` into `folder`; return it.

    Args:
        folder: created if absent; must not hold another config.json.
        texts: what the tokenizer is learned from (small_tokenizer.texts_of).
        size: a key of SMALL_SIZES, or a size.
        statistics: of the actions; None takes Alpamayo's own.
        base_vocab: at most so many tokens before Qwen's control tokens and Alpamayo's.
        seed: of the weights.

    Raises:
        InvalidInput: for an unknown size, or a folder that holds a checkpoint.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    if isinstance(size, str):
        if size not in SMALL_SIZES:
            raise InvalidInput(f"size: expected one of {', '.join(SMALL_SIZES)}, got {size}")
        size = SMALL_SIZES[size]
    if (folder / "config.json").exists():
        raise InvalidInput(f"{folder}: expected a new folder, got one that holds a config.json")
    backbone = folder / BACKBONE_FOLDER
    backbone.mkdir(parents=True, exist_ok=True)
    control_ids = write_small_tokenizer(backbone, texts, vocab_size=base_vocab)
    _write_json(backbone / "config.json", _backbone(size, control_ids))
    raw = _config(size, statistics or ActionStatistics())
    tokenizer = AlpamayoTokenizer.load(backbone, ModelConfig.from_dict(raw))
    raw["vocab_size"] = len(tokenizer)
    raw["traj_token_start_idx"] = tokenizer.traj_token_start
    raw["traj_token_ids"] = {key: tokenizer.id_of(name) for key, name in TRAJECTORY_NAMES.items()}
    config = ModelConfig.from_dict(raw)

    shape = backbone_config(str(backbone), vocab_size=len(tokenizer))
    expert = expert_config(shape.text_config, dict(config.expert_cfg))
    network = AlpamayoNetwork(shape, expert, config.action_in_proj)
    with torch.no_grad():
        _draw(network, size, torch.Generator().manual_seed(seed))
    tied = "vlm.lm_head.weight"  # to the embedding, so it isn't stored
    tensors = {name: value.detach() for name, value in network.named_parameters() if name != tied}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", raw)  # last: a folder with it is whole
    return folder


def small_start(checkpoint: str, data: Path, *, folder: Path, seed: int) -> Path:
    """Return the folder to start from: `checkpoint`'s, or for "small:SIZE" a new one in `folder`.

    A new one's words and scale of actions are those of the data's train split; what is in `folder` is kept.

    Raises:
        InvalidInput: for an unknown size, or a data set without train samples.
    """
    if not checkpoint.startswith(SMALL):
        return Path(or_shipped(checkpoint)).expanduser()
    from alpamayo_ros.training.dataset import EpisodeSamples
    from alpamayo_ros.training.small_tokenizer import texts_of
    from alpamayo_ros.training.targets import action_statistics

    if not (folder / "config.json").exists():
        train = EpisodeSamples(data, split="train")
        write_small_checkpoint(
            folder,
            texts_of(train),
            size=checkpoint.removeprefix(SMALL),
            statistics=action_statistics(train),
            seed=seed,
        )
    return folder


def _config(size: SmallSize, statistics: ActionStatistics) -> dict[str, Any]:
    action_space = {
        "_target_": "alpamayo1_5.action_space.unicycle_accel_curvature.UnicycleAccelCurvatureActionSpace",
        "accel_mean": statistics.accel_mean_mps2,
        "accel_std": statistics.accel_std_mps2,
        "curvature_mean": statistics.curvature_mean_per_m,
        "curvature_std": statistics.curvature_std_per_m,
        "accel_bounds": [-9.8, 9.8],
        "curvature_bounds": [-0.33, 0.33],
        "dt": 0.1,
        "n_waypoints": NUM_WAYPOINTS,
    }
    pixels = IMAGE_HEIGHT * IMAGE_WIDTH
    return {
        "model_type": ALPAMAYO_1_5,
        "architectures": ["Alpamayo1_5"],
        "vlm_name_or_path": BACKBONE_FOLDER,
        "vlm_backend": "qwenvl3",
        "traj_vocab_size": _HISTORY_BINS + _FUTURE_BINS,
        "tokens_per_history_traj": 3 * NUM_HISTORY_POSES,
        "tokens_per_future_traj": 2 * NUM_WAYPOINTS,
        "model_dtype": "float32",
        "attn_implementation": "sdpa",
        "min_pixels": pixels // 4,
        "max_pixels": pixels + 2640,  # cameras of 16:10 to 16:9 come to this size, 576 x 320 included
        "add_special_tokens": True,
        "traj_tokenizer_cfg": {
            "_target_": "alpamayo1_5.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "action_space_cfg": action_space,
            "dims_min": [-10, -10],
            "dims_max": [10, 10],
            "num_bins": _FUTURE_BINS,
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": "alpamayo1_5.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "num_bins": _HISTORY_BINS,
        },
        "action_space_cfg": action_space,
        "diffusion_cfg": {
            "_target_": "alpamayo1_5.diffusion.flow_matching.FlowMatching",
            "int_method": "euler",
            "num_inference_steps": 10,
        },
        "action_in_proj_cfg": {
            "_target_": "alpamayo1_5.models.action_in_proj.PerWaypointActionInProjV2",
            "hidden_size": size.action_hidden,
            "max_freq": 100.0,
            "num_enc_layers": 4,
            "num_fourier_feats": 20,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "expert_cfg": {"hidden_size": size.expert_hidden, "intermediate_size": size.expert_mlp},
        "expert_non_causal_attention": True,
        "keep_same_dtype": True,
        "include_camera_ids": True,
        "include_frame_nums": True,
    }


def _backbone(size: SmallSize, control_ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "qwen3_vl",
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "tie_word_embeddings": True,
        "image_token_id": control_ids["<|image_pad|>"],
        "video_token_id": control_ids["<|video_pad|>"],
        "vision_start_token_id": control_ids["<|vision_start|>"],
        "vision_end_token_id": control_ids["<|vision_end|>"],
        "text_config": {
            "model_type": "qwen3_vl_text",
            "hidden_size": size.hidden,
            "intermediate_size": size.mlp,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": _HEAD_DIM,
            "vocab_size": max(control_ids.values()) + 1,  # without Alpamayo's tokens, as the released one
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 5000000,
            "rope_scaling": {
                "rope_type": "default",
                "mrope_interleaved": True,
                "mrope_section": _MROPE_SECTION,
            },
            "tie_word_embeddings": True,
            "eos_token_id": control_ids["<|im_end|>"],
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "depth": size.vision_depth,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_mlp,
            "num_heads": size.vision_heads,
            "out_hidden_size": size.hidden,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": list(size.deepstack),
        },
    }


def _draw(network: AlpamayoNetwork, size: SmallSize, generator: torch.Generator) -> None:
    """Draw the weights; norms start at 1, biases at 0."""
    residual_std = _INIT_STD / math.sqrt(2 * max(size.layers, size.vision_depth))
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name == "bias" else 1.0)
            elif isinstance(module, nn.Linear) and prefix.startswith("action_in_proj."):
                # Behind Fourier features and norms of unit scale, not behind a residual stream.
                parameter.normal_(0, 1 / math.sqrt(module.in_features), generator=generator)
            elif f"{prefix}.{name}".endswith(_RESIDUAL_WRITERS):
                parameter.normal_(0, residual_std, generator=generator)
            else:
                parameter.normal_(0, _INIT_STD, generator=generator)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
