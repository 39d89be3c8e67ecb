"""A checkpoint's config.json, parsed and checked: what the network is made of, and nothing more.

The released checkpoints name their parts by `_target_` strings of the upstream packages
(NVlabs/alpamayo, NVlabs/alpamayo1.5). They are mapped by class name to ours; a class that is not
known here is refused, since another part with the same weights would drive differently. Defaults are
upstream's, and stand only where upstream's own classes have them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alpamayo_ros.model.config_reader import CheckpointError, Section, require
from alpamayo_ros.types import NUM_HISTORY_POSES, NUM_WAYPOINTS, WAYPOINT_INTERVAL_S

__all__ = [
    "ALPAMAYO_1_5",
    "ALPAMAYO_R1",
    "GENERATIONS",
    "ActionInProjConfig",
    "ActionSpaceConfig",
    "CheckpointError",
    "FlowConfig",
    "FutureTokenizerConfig",
    "HistoryTokenizerConfig",
    "ModelConfig",
]

ALPAMAYO_R1 = "alpamayo_r1"
ALPAMAYO_1_5 = "alpamayo1_5"
GENERATIONS = (ALPAMAYO_R1, ALPAMAYO_1_5)
_NOT_YET = {"alpamayo2_super": "Alpamayo 2 Super"}

DEFAULT_MIN_PIXELS = 163_840
DEFAULT_MAX_PIXELS = 196_608
"""Pixel budget of one image where config.json gives none (upstream's helper.py)."""

ACTION_DIMS = 2
ACTION_SPACE_CLASS = "UnicycleAccelCurvatureActionSpace"


def _require_generation(name: str) -> None:
    given = f"{name!r} ({_NOT_YET[name]}, which is not supported yet)" if name in _NOT_YET else repr(name)
    require(name in GENERATIONS, "model_type", f"one of {', '.join(GENERATIONS)}", given)


@dataclass(frozen=True)
class ActionSpaceConfig:
    """Unicycle action space: (acceleration m/s^2, curvature 1/m) at `dt_s`, normalised by mean and std.

    `*_lambda` weigh smoothness and `*_ridge` size in the least-squares fits of action_space.py;
    the bounds are physical (m/s^2 and 1/m).
    """

    accel_mean: float
    accel_std: float
    curvature_mean: float
    curvature_std: float
    accel_bounds: tuple[float, float] = (-9.8, 9.8)
    curvature_bounds: tuple[float, float] = (-0.2, 0.2)
    dt_s: float = 0.1
    num_waypoints: int = 64
    theta_lambda: float = 1e-6
    theta_ridge: float = 1e-8
    v_lambda: float = 1e-6
    v_ridge: float = 1e-4
    a_lambda: float = 1e-4
    a_ridge: float = 1e-4
    kappa_lambda: float = 1e-4
    kappa_ridge: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("accel_std", "curvature_std", "dt_s"):
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for prefix in ("theta", "v", "a", "kappa"):
            name = f"{prefix}_lambda"
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))
            name = f"{prefix}_ridge"
            require(getattr(self, name) > 0, name, "a positive number", getattr(self, name))
        for name in ("accel_bounds", "curvature_bounds"):
            low, high = getattr(self, name)
            require(low < high, name, "[low, high] with low < high", [low, high])
        require(self.num_waypoints >= 4, "n_waypoints", "at least 4", self.num_waypoints)

    @classmethod
    def from_section(cls, section: Section) -> ActionSpaceConfig:
        """Read an action_space_cfg; the means and stds must be there."""
        values: dict[str, Any] = {
            name: section.number(name)
            for name in ("accel_mean", "accel_std", "curvature_mean", "curvature_std")
        }
        for prefix in ("theta", "v", "a", "kappa"):
            for name in (f"{prefix}_lambda", f"{prefix}_ridge"):
                values[name] = section.number(name, getattr(cls, name))
        for name in ("accel_bounds", "curvature_bounds"):
            values[name] = section.numbers(name, 2, getattr(cls, name))
        values["dt_s"] = section.number("dt", cls.dt_s)
        values["num_waypoints"] = section.integer("n_waypoints", cls.num_waypoints)
        section.only()
        return section.build(cls, **values)


@dataclass(frozen=True)
class HistoryTokenizerConfig:
    """Bins of the ego history's position differences: `num_bins` from `xyz_min_m` to `xyz_max_m`."""

    xyz_min_m: tuple[float, float, float] = (-4.0, -4.0, -10.0)
    xyz_max_m: tuple[float, float, float] = (4.0, 4.0, 10.0)
    num_bins: int = 1000

    def __post_init__(self) -> None:
        require(self.num_bins >= 2, "num_bins", "at least 2", self.num_bins)
        ordered = all(low < high for low, high in zip(self.xyz_min_m, self.xyz_max_m, strict=True))
        require(
            ordered, "ego_xyz_min", f"values below ego_xyz_max {list(self.xyz_max_m)}", list(self.xyz_min_m)
        )

    @classmethod
    def from_section(cls, section: Section) -> HistoryTokenizerConfig:
        """Read a hist_traj_tokenizer_cfg."""
        with_yaw = section.flag("predict_yaw", False)
        require(not with_yaw, section.key("predict_yaw"), "false (three tokens a pose)", "true")
        values = {
            "xyz_min_m": section.numbers("ego_xyz_min", 3, cls.xyz_min_m),
            "xyz_max_m": section.numbers("ego_xyz_max", 3, cls.xyz_max_m),
            "num_bins": section.integer("num_bins", cls.num_bins),
        }
        # These have no effect where yaw is not predicted.
        section.only("ego_yaw_min", "ego_yaw_max", "load_weights")
        return section.build(cls, **values)


@dataclass(frozen=True)
class FutureTokenizerConfig:
    """Bins of the future's actions (normalised): `num_bins` from `dims_min` to `dims_max`."""

    action_space: ActionSpaceConfig
    dims_min: tuple[float, float]
    dims_max: tuple[float, float]
    num_bins: int

    def __post_init__(self) -> None:
        require(self.num_bins >= 2, "num_bins", "at least 2", self.num_bins)
        ordered = all(low < high for low, high in zip(self.dims_min, self.dims_max, strict=True))
        require(ordered, "dims_min", f"values below dims_max {list(self.dims_max)}", list(self.dims_min))

    @classmethod
    def from_section(cls, section: Section) -> FutureTokenizerConfig:
        """Read a traj_tokenizer_cfg; keys that upstream's class swallows unread are left alone here too."""
        space = section.part("action_space_cfg", ACTION_SPACE_CLASS)
        return section.build(
            cls,
            action_space=ActionSpaceConfig.from_section(space),
            dims_min=section.numbers("dims_min", ACTION_DIMS),
            dims_max=section.numbers("dims_max", ACTION_DIMS),
            num_bins=section.integer("num_bins"),
        )


@dataclass(frozen=True)
class ActionInProjConfig:
    """The projection of noisy actions and flow time into the expert's hidden size."""

    hidden_size: int = 1024
    max_freq: float = 100.0
    num_enc_layers: int = 4
    num_fourier_feats: int = 20

    def __post_init__(self) -> None:
        require(self.hidden_size >= 1, "hidden_size", "at least 1", self.hidden_size)
        require(self.max_freq > 0, "max_freq", "a positive number", self.max_freq)
        require(self.num_enc_layers >= 1, "num_enc_layers", "at least 1", self.num_enc_layers)
        even = self.num_fourier_feats >= 2 and self.num_fourier_feats % 2 == 0
        require(even, "num_fourier_feats", "an even number, at least 2", self.num_fourier_feats)

    @classmethod
    def from_section(cls, section: Section) -> ActionInProjConfig:
        """Read an action_in_proj_cfg."""
        values = {
            "hidden_size": section.integer("hidden_size", cls.hidden_size),
            "max_freq": section.number("max_freq", cls.max_freq),
            "num_enc_layers": section.integer("num_enc_layers", cls.num_enc_layers),
            "num_fourier_feats": section.integer("num_fourier_feats", cls.num_fourier_feats),
        }
        section.only("in_dims", "out_dim")  # follow from the action space and the expert
        return section.build(cls, **values)


@dataclass(frozen=True)
class FlowConfig:
    """The flow's Euler integration; `guidance_weight` is what the checkpoint suggests."""

    num_inference_steps: int = 10
    use_guidance: bool = False
    guidance_weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.num_inference_steps >= 1, "num_inference_steps", "at least 1", self.num_inference_steps)

    @classmethod
    def from_section(cls, section: Section) -> FlowConfig:
        """Read a diffusion_cfg; keys that upstream's class swallows unread are left alone here too."""
        method = section.text("int_method", "euler")
        require(method == "euler", section.key("int_method"), "'euler'", repr(method))
        return section.build(
            cls,
            num_inference_steps=section.integer("num_inference_steps", cls.num_inference_steps),
            use_guidance=section.flag("use_classifier_free_guidance", cls.use_guidance),
            guidance_weight=section.number("inference_guidance_weight", cls.guidance_weight),
        )


@dataclass(frozen=True)
class ModelConfig:
    """config.json of an Alpamayo checkpoint.

    Attributes:
        generation: "alpamayo_r1" or "alpamayo1_5" (config.json's model_type).
        vlm_name_or_path: folder or hub id of the backbone's config and tokenizer.
        traj_vocab_size: number of trajectory tokens <i0>, <i1> ...
        tokens_per_history_traj, tokens_per_future_traj: tokens of the 16 history poses and the 64 waypoints.
        min_pixels, max_pixels: pixel budget of one image, None for config.json's null (see `pixel_budget`).
        add_special_tokens: whether all of special_tokens.py are in the vocabulary or just the trajectory's.
        include_camera_ids, include_frame_nums: whether the prompt labels cameras and frames.
        expert_cfg: fields laid over the backbone's text config to give the expert's.
        expert_non_causal_attention: whether the action tokens attend to each other both ways.
        vocab_size, traj_token_start_idx, traj_token_ids: the vocabulary as the checkpoint records it, for
            the tokenizer to be checked against; None where config.json doesn't.
        raw: config.json as it was read.

    Raises:
        CheckpointError: naming the key, what was expected and what was given.
    """

    generation: str
    vlm_name_or_path: str
    traj_vocab_size: int
    tokens_per_history_traj: int
    tokens_per_future_traj: int
    history_tokenizer: HistoryTokenizerConfig
    future_tokenizer: FutureTokenizerConfig
    action_space: ActionSpaceConfig
    action_in_proj: ActionInProjConfig
    flow: FlowConfig
    expert_cfg: Mapping[str, Any]
    min_pixels: int | None = None
    max_pixels: int | None = None
    add_special_tokens: bool = False
    include_camera_ids: bool = False
    include_frame_nums: bool = False
    expert_non_causal_attention: bool = True
    keep_same_dtype: bool = True
    model_dtype: str = "bfloat16"
    vocab_size: int | None = None
    traj_token_start_idx: int | None = None
    traj_token_ids: Mapping[str, int] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_generation(self.generation)
        require(
            bool(self.vlm_name_or_path), "vlm_name_or_path", "a folder or hub id", repr(self.vlm_name_or_path)
        )
        history_tokens = 3 * NUM_HISTORY_POSES
        require(
            self.tokens_per_history_traj == history_tokens,
            "tokens_per_history_traj",
            f"{history_tokens} (x, y, z of {NUM_HISTORY_POSES} poses)",
            self.tokens_per_history_traj,
        )
        for where, space in (
            ("action_space_cfg", self.action_space),
            ("traj_tokenizer_cfg.action_space_cfg", self.future_tokenizer.action_space),
        ):
            require(
                space.num_waypoints == NUM_WAYPOINTS,
                f"{where}.n_waypoints",
                NUM_WAYPOINTS,
                space.num_waypoints,
            )
            require(space.dt_s == WAYPOINT_INTERVAL_S, f"{where}.dt", WAYPOINT_INTERVAL_S, space.dt_s)
        future_tokens = ACTION_DIMS * NUM_WAYPOINTS
        require(
            self.tokens_per_future_traj == future_tokens,
            "tokens_per_future_traj",
            f"{future_tokens} (two actions of {NUM_WAYPOINTS} waypoints)",
            self.tokens_per_future_traj,
        )
        bins = self.future_tokenizer.num_bins + self.history_tokenizer.num_bins
        require(
            bins <= self.traj_vocab_size,
            "traj_vocab_size",
            f"at least {bins} (bins of the future and the history tokenizer)",
            self.traj_vocab_size,
        )
        low, high = self.pixel_budget
        require(0 < low <= high, "min_pixels, max_pixels", "0 < min_pixels <= max_pixels", f"{low}, {high}")
        object.__setattr__(self, "expert_cfg", dict(self.expert_cfg))

    @property
    def pixel_budget(self) -> tuple[int, int]:
        """Least and most pixels of one image, with the released models' values where config.json has null."""
        low = DEFAULT_MIN_PIXELS if self.min_pixels is None else self.min_pixels
        high = DEFAULT_MAX_PIXELS if self.max_pixels is None else self.max_pixels
        return low, high

    @property
    def takes_instruction(self) -> bool:
        """Whether the model was trained with navigation text."""
        return self.generation != ALPAMAYO_R1

    @property
    def takes_question(self) -> bool:
        """Whether the model was trained to answer questions."""
        return self.generation != ALPAMAYO_R1

    @classmethod
    def from_file(cls, path: str | Path) -> ModelConfig:
        """Read config.json, given its path or its folder's."""
        path = Path(path)
        path = path / "config.json" if path.is_dir() else path
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"{path}: expected a readable config.json, got {reason}") from error
        except ValueError as error:
            raise CheckpointError(f"{path}: expected JSON, got {error}") from error
        try:
            return cls.from_dict(raw)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Parse config.json's content; see the class for what is refused."""
        top = Section(raw, "")
        generation = top.text("model_type")
        # First of all: another generation has other keys, and its name says more than a missing one.
        _require_generation(generation)
        labelled = generation == ALPAMAYO_1_5
        top.part("action_out_proj_cfg", "Linear").only()
        token_ids = top.get("traj_token_ids", None)
        if token_ids is not None:
            ids = Section(token_ids, "traj_token_ids")
            token_ids = {str(key): ids.integer(key) for key in ids.raw}
        expert = top.get("expert_cfg")  # null upstream where the expert is shaped like the backbone
        return cls(
            generation=generation,
            vlm_name_or_path=top.text("vlm_name_or_path"),
            traj_vocab_size=top.integer("traj_vocab_size"),
            tokens_per_history_traj=top.integer("tokens_per_history_traj"),
            tokens_per_future_traj=top.integer("tokens_per_future_traj"),
            history_tokenizer=HistoryTokenizerConfig.from_section(
                top.part("hist_traj_tokenizer_cfg", "DeltaTrajectoryTokenizer")
            ),
            future_tokenizer=FutureTokenizerConfig.from_section(
                top.part("traj_tokenizer_cfg", "DiscreteTrajectoryTokenizer")
            ),
            action_space=ActionSpaceConfig.from_section(top.part("action_space_cfg", ACTION_SPACE_CLASS)),
            action_in_proj=ActionInProjConfig.from_section(
                top.part("action_in_proj_cfg", "PerWaypointActionInProjV2")
            ),
            flow=FlowConfig.from_section(top.part("diffusion_cfg", "FlowMatching")),
            expert_cfg={} if expert is None else Section(expert, "expert_cfg").raw,
            min_pixels=top.optional_integer("min_pixels"),
            max_pixels=top.optional_integer("max_pixels"),
            add_special_tokens=top.flag("add_special_tokens", False),
            include_camera_ids=top.flag("include_camera_ids", labelled),
            include_frame_nums=top.flag("include_frame_nums", labelled),
            expert_non_causal_attention=top.flag("expert_non_causal_attention", True),
            keep_same_dtype=top.flag("keep_same_dtype", True),
            model_dtype=top.text("model_dtype", "bfloat16"),
            vocab_size=top.optional_integer("vocab_size"),
            traj_token_start_idx=top.optional_integer("traj_token_start_idx"),
            traj_token_ids=token_ids,
            raw=dict(raw),
        )
