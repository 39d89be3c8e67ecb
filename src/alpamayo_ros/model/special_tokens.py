"""Names of the tokens that Alpamayo adds to its backbone's vocabulary.

A token's id follows from its position, so the order is part of the checkpoint's format (upstream's
models/base_model.py). 1.5 renamed nine tokens that it no longer uses; their rows are still there.
"""

from __future__ import annotations

from alpamayo_ros.model.config import ALPAMAYO_1_5, ModelConfig

_NAMES: tuple[str, ...] = (
    "prompt_start",
    "prompt_end",
    "image_start",
    "image_pre_tkn",
    "image_end",
    "traj_history_start",
    "traj_history_pre_tkn",
    "traj_history_end",
    "cot_start",
    "cot_end",
    "meta_action_start",
    "meta_action_end",
    "traj_future_start",
    "traj_future_pre_tkn",
    "traj_future_end",
    "traj_history",
    "traj_future",
    "image_pad",
    "vectorized_wm",
    "vectorized_wm_start",
    "vectorized_wm_end",
    "vectorized_wm_pre_tkn",
    "route_start",
    "route_pad",
    "route_end",
    "question_start",
    "question_end",
    "answer_start",
    "answer_end",
)
_RENAMED_IN_1_5: tuple[int, ...] = (3, 6, 10, 11, 13, 18, 19, 20, 21)

META_ACTION_POSITIONS: tuple[int, int] = (10, 11)
"""Of the tokens around the meta action, which 1.5 has under other names."""

TRAJECTORY_NAMES: dict[str, str] = {
    "history": "traj_history",
    "future": "traj_future",
    "history_start": "traj_history_start",
    "future_start": "traj_future_start",
    "history_end": "traj_history_end",
    "future_end": "traj_future_end",
}
"""Key in config.json's traj_token_ids -> name; in the order in which they are added when they come alone."""


def token(name: str) -> str:
    """Return a special token's text, e.g. "<|cot_end|>"."""
    return f"<|{name}|>"


def trajectory_token(index: int) -> str:
    """Return a trajectory token's text, e.g. "<i0>"."""
    return f"<i{index}>"


def names(generation: str) -> tuple[str, ...]:
    """Return the names of a generation's special tokens in the order of their ids."""
    if generation != ALPAMAYO_1_5:
        return _NAMES
    renamed = {position: f"_padding_{i}" for i, position in enumerate(_RENAMED_IN_1_5)}
    return tuple(renamed.get(position, name) for position, name in enumerate(_NAMES))


def added_special_tokens(config: ModelConfig) -> list[str]:
    """Return the texts of the special tokens in the order in which they are added behind <i0>, <i1> ..."""
    chosen = names(config.generation) if config.add_special_tokens else tuple(TRAJECTORY_NAMES.values())
    return [token(name) for name in chosen]


def build_vocabulary_additions(config: ModelConfig) -> list[str]:
    """Return all that is added to the base vocabulary, in order: trajectory tokens, then special ones.

    A special token that the base tokenizer has already (<|image_pad|>) keeps its id and adds no row.
    """
    return [trajectory_token(i) for i in range(config.traj_vocab_size)] + added_special_tokens(config)
