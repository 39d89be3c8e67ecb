"""Write a checkpoint of random weights in the released layout, with a backbone beside it.

For trying the stack end to end where no trained weights are at hand, and for tests. The loading, prompt
and inference code is the one for real checkpoints; what comes out means nothing, and config.json says so
({"alpamayo_ros": {"random_weights": true, "seed": ...}}), which `Alpamayo.model_id` repeats.

Two things are shaped, everything else is drawn from normal distributions:

- *The reasoning's length and words.* Channel 0 of the backbone's residual stream is kept constant (every
  embedding has it, no layer writes it) and serves the output head as a bias: whole words, and now and then
  the end token, instead of any token of the vocabulary. Channel 1 marks <|cot_end|>, so that
  <|traj_future_start|> follows it. Which words come is random.
- *The expert's input is smooth*, as a trained one is: the first layer's weights fall with the Fourier
  frequency, and velocities are small. Otherwise rounding errors grow a million-fold over ten Euler steps.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alpamayo_ros.model.config import ALPAMAYO_1_5, ALPAMAYO_R1, GENERATIONS, ModelConfig
from alpamayo_ros.model.loading import RANDOM_MARK
from alpamayo_ros.model.network import AlpamayoNetwork, backbone_config, expert_config
from alpamayo_ros.model.prompt import CAMERA_LABELS, PLANNING_TEXT, SYSTEM_TEXT
from alpamayo_ros.model.random_tokenizer import is_word, write_tokenizer
from alpamayo_ros.model.special_tokens import TRAJECTORY_NAMES
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.types import NUM_HISTORY_POSES, NUM_WAYPOINTS, InvalidInput, PlanOptions

BACKBONE_FOLDER = "backbone"
_PACKAGES = {ALPAMAYO_R1: "alpamayo_r1", ALPAMAYO_1_5: "alpamayo1_5"}
_CONSTANT_CHANNEL, _END_CHANNEL = 0, 1
_WORDS_A_TEXT = 12
"""About how many words a text has at the default temperature."""


@dataclass(frozen=True)
class CheckpointSize:
    """Widths and depths of a random checkpoint; `head_dim` must be 16, 32, 64 or 128.

    `deepstack` are the vision layers whose features go to the first text layers; None is all but the first.
    """

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vision_hidden: int
    vision_mlp: int
    vision_depth: int
    vision_heads: int
    expert_hidden: int
    expert_mlp: int
    action_hidden: int
    traj_vocab: int
    future_bins: int
    history_bins: int
    min_pixels: int
    max_pixels: int
    base_vocab: int = 700
    deepstack: tuple[int, ...] | None = None


SIZES = {
    "tiny": CheckpointSize(
        layers=3, hidden=48, mlp=96, heads=6, kv_heads=2, head_dim=16,
        vision_hidden=32, vision_mlp=64, vision_depth=3, vision_heads=2,
        expert_hidden=32, expert_mlp=64, action_hidden=48,
        traj_vocab=300, future_bins=200, history_bins=80, min_pixels=1024, max_pixels=8192, base_vocab=400,
    ),
    "small": CheckpointSize(
        layers=3, hidden=128, mlp=256, heads=4, kv_heads=2, head_dim=32,
        vision_hidden=64, vision_mlp=128, vision_depth=3, vision_heads=2,
        expert_hidden=64, expert_mlp=128, action_hidden=96,
        traj_vocab=4000, future_bins=3000, history_bins=1000, min_pixels=4096, max_pixels=16384,
    ),
}  # fmt: skip
"""Named sizes: `tiny` for tests, `small` for the demo (under 120 ms a plan on a CPU core or two)."""


def write_random_checkpoint(
    folder: str | Path,
    *,
    generation: str = ALPAMAYO_1_5,
    size: str | CheckpointSize = "small",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int | None = None,
) -> Path:
    """Write config.json, weights and `backbone/` into `folder`; return it.

    Args:
        folder: created if absent; must not hold another config.json.
        generation: "alpamayo_r1" or "alpamayo1_5".
        size: a key of SIZES, or sizes.
        seed: of the weights.
        dtype: of the stored weights.
        max_shard_bytes: weights are split into files up to this size, with an index; None is one file.

    Raises:
        InvalidInput: for an unknown generation or size, or a folder that holds a checkpoint.
    """
    folder = Path(folder)
    if generation not in GENERATIONS:
        raise InvalidInput(f"generation: expected one of {', '.join(GENERATIONS)}, got {generation}")
    if isinstance(size, str):
        if size not in SIZES:
            raise InvalidInput(f"size: expected one of {', '.join(SIZES)}, got {size}")
        size = SIZES[size]
    if (folder / "config.json").exists():
        raise InvalidInput(f"{folder}: expected a new folder, got one that holds a config.json")
    config, raw = write_random_description(folder, size, generation=generation, seed=seed)
    tokenizer = AlpamayoTokenizer.load(folder / BACKBONE_FOLDER, config)
    shape = backbone_config(str(folder / BACKBONE_FOLDER), vocab_size=len(tokenizer))
    network = AlpamayoNetwork(
        shape, expert_config(shape.text_config, dict(config.expert_cfg)), config.action_in_proj
    )
    draw_weights(network, tokenizer, seed=seed)
    tensors = {name: value.detach().to(dtype) for name, value in network.named_parameters()}
    if generation == ALPAMAYO_R1:  # 1.5's checkpoints store neither
        tensors |= {name: b for name, b in network.named_buffers() if name.startswith("action_in_proj.")}
        for name in ("accel_mean", "accel_std", "curvature_mean", "curvature_std"):
            tensors[f"action_space.{name}"] = torch.tensor(getattr(config.action_space, name))
    _save(folder, tensors, max_shard_bytes)
    _write_json(folder / "config.json", raw)  # last: a folder with it is whole
    return folder


def write_random_description(
    folder: Path, size: CheckpointSize, *, generation: str, seed: int
) -> tuple[ModelConfig, dict[str, Any]]:
    """Write `backbone/` into `folder`; return the checkpoint's config, and as it is to be written."""
    backbone = folder / BACKBONE_FOLDER
    backbone.mkdir(parents=True, exist_ok=True)
    prompt_texts = (SYSTEM_TEXT, PLANNING_TEXT, *CAMERA_LABELS, "system user assistant frame")
    control_ids = write_tokenizer(backbone, prompt_texts=prompt_texts, vocab_size=size.base_vocab)
    raw = _config(generation, size, seed)
    _write_json(backbone / "config.json", _backbone_config(size, control_ids))
    tokenizer = AlpamayoTokenizer.load(backbone, ModelConfig.from_dict(raw))
    raw["vocab_size"] = len(tokenizer)
    raw["traj_token_start_idx"] = tokenizer.traj_token_start
    raw["traj_token_ids"] = {key: tokenizer.id_of(name) for key, name in TRAJECTORY_NAMES.items()}
    return ModelConfig.from_dict(raw), raw


def draw_weights(network: AlpamayoNetwork, tokenizer: AlpamayoTokenizer, *, seed: int) -> None:
    """Draw a network's weights where they are, and shape head and action input as this module says."""
    with torch.no_grad(), network.device, network.autocast():
        _draw_weights(network, torch.Generator(network.device).manual_seed(seed))
        _shape_head(network, tokenizer)
        _smooth_action_input(network)


def _config(generation: str, size: CheckpointSize, seed: int) -> dict[str, Any]:
    package = _PACKAGES[generation]
    action_space = {
        "_target_": f"{package}.action_space.unicycle_accel_curvature.UnicycleAccelCurvatureActionSpace",
        "accel_mean": 0.029,
        "accel_std": 0.68,
        "curvature_mean": 0.00027,
        "curvature_std": 0.026,
        "accel_bounds": [-9.8, 9.8],
        "curvature_bounds": [-0.33, 0.33],
        "dt": 0.1,
        "n_waypoints": NUM_WAYPOINTS,
    }
    raw: dict[str, Any] = {
        "model_type": generation,
        "architectures": ["AlpamayoR1" if generation == ALPAMAYO_R1 else "Alpamayo1_5"],
        RANDOM_MARK: {"random_weights": True, "seed": seed},
        "vlm_name_or_path": BACKBONE_FOLDER,
        "vlm_backend": "qwenvl3",
        "traj_vocab_size": size.traj_vocab,
        "tokens_per_history_traj": 3 * NUM_HISTORY_POSES,
        "tokens_per_future_traj": 2 * NUM_WAYPOINTS,
        "model_dtype": "float32",
        "attn_implementation": "sdpa",
        "min_pixels": size.min_pixels,
        "max_pixels": size.max_pixels,
        "add_special_tokens": True,
        "traj_tokenizer_cfg": {
            "_target_": f"{package}.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "action_space_cfg": action_space,
            "dims_min": [-10, -10],
            "dims_max": [10, 10],
            "num_bins": size.future_bins,
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": f"{package}.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "num_bins": size.history_bins,
        },
        "action_space_cfg": action_space,
        "diffusion_cfg": {
            "_target_": f"{package}.diffusion.flow_matching.FlowMatching",
            "int_method": "euler",
            "num_inference_steps": 10,
        },
        "action_in_proj_cfg": {
            "_target_": f"{package}.models.action_in_proj.PerWaypointActionInProjV2",
            "hidden_size": size.action_hidden,
            "max_freq": 100.0,
            "num_enc_layers": 4,
            "num_fourier_feats": 20,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "expert_cfg": {"hidden_size": size.expert_hidden, "intermediate_size": size.expert_mlp},
        "expert_non_causal_attention": True,
        "keep_same_dtype": True,
    }
    if generation == ALPAMAYO_1_5:
        raw |= {"include_camera_ids": True, "include_frame_nums": True}
    return raw


def _backbone_config(size: CheckpointSize, control_ids: dict[str, int]) -> dict[str, Any]:
    rope_sections = {16: [4, 2, 2], 32: [6, 5, 5], 64: [12, 10, 10], 128: [24, 20, 20]}
    if size.head_dim not in rope_sections:
        raise InvalidInput(f"head_dim: expected 16, 32, 64 or 128, got {size.head_dim}")
    return {
        "model_type": "qwen3_vl",
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "tie_word_embeddings": False,
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
            "head_dim": size.head_dim,
            "vocab_size": max(control_ids.values()) + 1,  # without Alpamayo's tokens, as the released one
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 5000000,
            "rope_scaling": {
                "rope_type": "default",
                "mrope_interleaved": True,
                "mrope_section": rope_sections[size.head_dim],
            },
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
            "deepstack_visual_indexes": list(size.deepstack or range(1, size.vision_depth)),
        },
    }


def _draw_weights(network: AlpamayoNetwork, generator: torch.Generator) -> None:
    """Draw normal weights of variance 1 / inputs; norms are 1, biases 0."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            else:
                inputs = parameter[0].numel()
                scale = 1.0 if isinstance(module, nn.Embedding) else 1 / math.sqrt(inputs)
                parameter.normal_(0, scale, generator=generator)


def _shape_head(network: AlpamayoNetwork, tokenizer: AlpamayoTokenizer) -> None:
    """Let channel 0 be the head's bias and channel 1 follow <|cot_end|> up; see the module's docstring."""
    model: Any = network.vlm.model.language_model
    embeddings: Tensor = model.embed_tokens.weight
    head: Tensor = network.vlm.lm_head.weight
    reserved = [_CONSTANT_CHANNEL, _END_CHANNEL]
    for layer in model.layers:
        layer.self_attn.o_proj.weight[reserved] = 0
        layer.mlp.down_proj.weight[reserved] = 0
    embeddings[:, reserved] = torch.tensor([2.0, 0.0])
    head[:, reserved] = 0
    cot_end, future_start = tokenizer.id_of("cot_end"), tokenizer.id_of("traj_future_start")
    head[[cot_end, future_start]] = 0
    words = torch.tensor([i for i in range(tokenizer.traj_token_start) if is_word(tokenizer.decode([i]))])
    # What the constant has become behind the last norm, and what words weigh, is measured on words.
    hidden = network.read(network.embed(words[None]), torch.arange(len(words)).expand(3, 1, -1))[0]
    temperature = PlanOptions().temperature
    weight_of_words = (network.logits(hidden)[:, words] / temperature).exp().sum(dim=-1).mean()
    bias = torch.full((len(head),), -12.0)
    bias[len(tokenizer) :] = -30.0  # rows that the vocabulary has no token for
    bias[words] = 0.0
    bias[cot_end] = temperature * (weight_of_words / _WORDS_A_TEXT).log()
    head[:, _CONSTANT_CHANNEL] = bias.to(head.dtype) / hidden[:, _CONSTANT_CHANNEL].mean()
    embeddings[cot_end, _END_CHANNEL] = 20.0
    head[future_start, _END_CHANNEL] = 100.0


def _smooth_action_input(network: AlpamayoNetwork) -> None:
    encoder = network.action_in_proj
    trunk: Any = encoder.encoder.trunk
    first = trunk[0]
    per_frequency = 1 / encoder.timestep_fourier_encoder.frequencies()[0]
    first.weight.mul_(per_frequency.repeat(2 * (len(encoder.sinus) + 1)))
    network.action_out_proj.weight.mul_(0.3)


def _save(folder: Path, tensors: dict[str, Tensor], max_shard_bytes: int | None) -> None:
    from safetensors.torch import save_file

    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if max_shard_bytes is not None and shards[-1] and filled + tensor.nbytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor.contiguous()
        filled += tensor.nbytes
    metadata = {"format": "pt"}
    if max_shard_bytes is None:
        save_file(tensors, folder / "model.safetensors", metadata=metadata)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / name, metadata=metadata)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
