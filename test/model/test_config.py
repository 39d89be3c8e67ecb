from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from alpamayo_ros.model.config import CheckpointError, ModelConfig
from alpamayo_ros.types import InvalidInput


def test_reads_the_reference_checkpoints(golden) -> None:
    config = golden.config
    assert config.generation == golden.config.raw["model_type"]
    assert config.vocab_size == golden.record["vocab_size"]
    assert config.pixel_budget == (golden.config.raw["min_pixels"], golden.config.raw["max_pixels"])
    labelled = config.generation == "alpamayo1_5"
    assert (config.include_camera_ids, config.include_frame_nums) == (labelled, labelled)
    assert (config.takes_instruction, config.takes_question) == (labelled, labelled)


def test_released_layout_has_upstreams_defaults(raw_config) -> None:
    config = ModelConfig.from_dict(raw_config)
    assert config.pixel_budget == (163_840, 196_608)
    assert config.history_tokenizer.xyz_min_m == (-4, -4, -10)
    assert config.history_tokenizer.num_bins == 1000
    assert config.flow.num_inference_steps == 10
    assert config.action_space.theta_lambda == 1e-6
    assert config.include_camera_ids and config.include_frame_nums  # as upstream's scripts label 1.5's prompt
    assert config.expert_cfg == {"hidden_size": 2048}
    assert pickle.loads(pickle.dumps(config)) == config


def test_labels_are_the_configs_where_it_says(raw_config) -> None:
    raw_config.update(include_camera_ids=False, include_frame_nums=False)
    config = ModelConfig.from_dict(raw_config)
    assert not config.include_camera_ids and not config.include_frame_nums


def test_target_of_any_package_is_taken_by_class_name(raw_config) -> None:
    raw_config["diffusion_cfg"]["_target_"] = "elsewhere.FlowMatching"
    ModelConfig.from_dict(raw_config)


SECTIONS = [
    "traj_tokenizer_cfg",
    "hist_traj_tokenizer_cfg",
    "action_space_cfg",
    "diffusion_cfg",
    "action_in_proj_cfg",
    "action_out_proj_cfg",
]


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_target_is_refused_by_name(raw_config, section: str) -> None:
    raw_config[section]["_target_"] = "alpamayo1_5.parts.Novel"
    with pytest.raises(
        CheckpointError, match=rf"^{section}\._target_: expected a class named \w+, got .*Novel"
    ):
        ModelConfig.from_dict(raw_config)


@pytest.mark.parametrize(
    "key",
    [
        *SECTIONS,
        "model_type",
        "vlm_name_or_path",
        "traj_vocab_size",
        "tokens_per_history_traj",
        "tokens_per_future_traj",
        "expert_cfg",
        "action_space_cfg.accel_std",
        "action_space_cfg._target_",
        "traj_tokenizer_cfg.dims_min",
        "traj_tokenizer_cfg.num_bins",
        "traj_tokenizer_cfg.action_space_cfg.curvature_mean",
    ],
)
def test_missing_key_is_named(raw_config, key: str) -> None:
    *path, last = key.split(".")
    section = raw_config
    for name in path:
        section = section[name]
    del section[last]
    with pytest.raises(CheckpointError, match=rf"^{key.replace('.', '[.]')}: expected a value, got none"):
        ModelConfig.from_dict(raw_config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "alpamayo2_super", "model_type: expected one of .* not supported yet"),
        ("model_type", "llama", "model_type: expected one of alpamayo_r1, alpamayo1_5, got 'llama'"),
        ("model_type", 3, "model_type: expected a string, got 3"),
        ("vlm_name_or_path", "", "vlm_name_or_path: expected a folder or hub id"),
        ("traj_vocab_size", 3999, "traj_vocab_size: expected at least 4000 .*, got 3999"),
        ("traj_vocab_size", "4000", "traj_vocab_size: expected an integer, got '4000'"),
        ("traj_vocab_size", True, "traj_vocab_size: expected an integer, got True"),
        ("tokens_per_history_traj", 16, r"tokens_per_history_traj: expected 48 .*, got 16"),
        ("tokens_per_future_traj", 64, r"tokens_per_future_traj: expected 128 .*, got 64"),
        ("min_pixels", 200_000, "min_pixels, max_pixels: expected .*, got 200000, 196608"),
        ("add_special_tokens", "yes", "add_special_tokens: expected true or false, got 'yes'"),
        ("expert_cfg", [1], r"expert_cfg: expected a mapping, got \[1\]"),
        ("traj_token_ids", {"history": 1.5}, r"traj_token_ids.history: expected an integer, got 1.5"),
        ("action_space_cfg.n_waypoints", 32, "action_space_cfg.n_waypoints: expected 64, got 32"),
        ("action_space_cfg.dt", 0.2, "action_space_cfg.dt: expected 0.1, got 0.2"),
        ("action_space_cfg.accel_std", 0, "action_space_cfg.accel_std: expected a positive number, got 0"),
        ("action_space_cfg.accel_std", float("nan"), "accel_std: expected a finite number, got nan"),
        ("action_space_cfg.v_lambda", -1, "action_space_cfg.v_lambda: expected zero or more"),
        ("action_space_cfg.a_ridge", 0, "action_space_cfg.a_ridge: expected a positive number"),
        ("action_space_cfg.accel_bounds", [1, -1], "action_space_cfg.accel_bounds: expected"),
        ("action_space_cfg.accel_bounds", [1], "action_space_cfg.accel_bounds: expected 2 finite numbers"),
        ("action_space_cfg.jerk", 1, "action_space_cfg.jerk: expected one of a_lambda, .* an unknown key"),
        ("traj_tokenizer_cfg.dims_max", [-20, 10], "traj_tokenizer_cfg.dims_min: expected values below"),
        ("traj_tokenizer_cfg.num_bins", 1, "traj_tokenizer_cfg.num_bins: expected at least 2, got 1"),
        ("hist_traj_tokenizer_cfg.predict_yaw", True, "hist_traj_tokenizer_cfg.predict_yaw: expected false"),
        ("hist_traj_tokenizer_cfg.ego_xyz_min", [9, 9, 9], "hist_traj_tokenizer_cfg.ego_xyz_min: expected"),
        ("hist_traj_tokenizer_cfg.bins", 9, "hist_traj_tokenizer_cfg.bins: expected one of .*unknown key"),
        ("diffusion_cfg.int_method", "heun", "diffusion_cfg.int_method: expected 'euler', got 'heun'"),
        ("diffusion_cfg.num_inference_steps", 0, "diffusion_cfg.num_inference_steps: expected at least 1"),
        ("action_in_proj_cfg.num_fourier_feats", 5, "action_in_proj_cfg.num_fourier_feats: expected an even"),
        ("action_in_proj_cfg.max_freq", 0, "action_in_proj_cfg.max_freq: expected a positive number"),
        ("action_out_proj_cfg.bias", False, "action_out_proj_cfg.bias: expected .*unknown key"),
    ],
)
def test_wrong_value_is_named_with_what_was_expected(raw_config, key: str, value: Any, message: str) -> None:
    *path, last = key.split(".")
    section = raw_config
    for name in path:
        section = section[name]
    section[last] = value
    with pytest.raises(CheckpointError, match=message):
        ModelConfig.from_dict(raw_config)


def test_keys_that_upstream_ignores_do_not_stop_loading(raw_config) -> None:
    raw_config["traj_tokenizer_cfg"]["load_weights"] = False
    raw_config["diffusion_cfg"].update(x_dims=[64, 2], note="any")
    raw_config["action_space_cfg"]["_convert_"] = "all"
    raw_config["architectures"] = ["Alpamayo1_5"]
    ModelConfig.from_dict(raw_config)


def test_file_is_named_in_the_message(tmp_path: Path, raw_config) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(
        CheckpointError, match=r"config\.json: expected a readable config\.json, got No such file"
    ):
        ModelConfig.from_file(tmp_path)
    path.write_text("{not json")
    with pytest.raises(CheckpointError, match=r"config\.json: expected JSON"):
        ModelConfig.from_file(path)
    path.write_text("[1, 2]")
    with pytest.raises(CheckpointError, match=r"config\.json: config: expected a mapping, got \[1, 2\]"):
        ModelConfig.from_file(path)
    broken = copy.deepcopy(raw_config)
    del broken["expert_cfg"]
    path.write_text(json.dumps(broken))
    with pytest.raises(InvalidInput, match=r"config\.json: expert_cfg: expected a value"):
        ModelConfig.from_file(path)
    path.write_text(json.dumps(raw_config))
    assert ModelConfig.from_file(tmp_path) == ModelConfig.from_dict(raw_config)
