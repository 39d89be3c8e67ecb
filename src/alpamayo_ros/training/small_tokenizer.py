"""The tokenizer of a small checkpoint: byte-level BPE over what the data say.

A small model has no knowledge of English to lose: what it ever reads or writes are its prompt, the
instructions and the reasonings of its samples. So the vocabulary is learned from those, nearly every word is
one token, a reasoning takes few steps to write, and any other text still has its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from alpamayo_ros.model.prompt import CAMERA_LABELS, PLANNING_TEXT, SYSTEM_TEXT
from alpamayo_ros.model.random_tokenizer import write_tokenizer
from alpamayo_ros.training.sample import SampleSource
from alpamayo_ros.types import InvalidInput

PROMPT_TEXTS: tuple[str, ...] = (
    SYSTEM_TEXT,
    PLANNING_TEXT,
    *CAMERA_LABELS,
    "system",
    "user",
    "assistant",
    "frame",
)
"""What every prompt says; words that begin a line or follow a token stand without a blank before them."""

_LEAST_VOCABULARY = 257  # the bytes, and something learned


def texts_of(source: SampleSource, *, limit: int = 5000) -> tuple[str, ...]:
    """Return the different reasonings, meta actions and instructions of up to `limit` samples, sorted."""
    if limit < 1 or len(source) < 1:
        raise InvalidInput(f"samples: expected at least 1, got {min(limit, len(source))}")
    indices = np.unique(np.linspace(0, len(source) - 1, min(limit, len(source))).round().astype(int))
    found: set[str] = set()
    for index in indices.tolist():
        sample = source[index]
        found |= {sample.reasoning.strip(), sample.meta_action.strip(), sample.observation.instruction or ""}
    return tuple(sorted(found - {""}))


def write_small_tokenizer(folder: Path, texts: Iterable[str], *, vocab_size: int = 1024) -> dict[str, int]:
    """Train the tokenizer on `texts` and what every prompt says; return the ids of Qwen's control tokens.

    Args:
        folder: where tokenizer.json and tokenizer_config.json go; must exist.
        texts: what the model is to say and to be told.
        vocab_size: at most so many tokens, bytes included, before control tokens and Alpamayo's own.

    Raises:
        InvalidInput: for a vocabulary without room for more than the bytes.
    """
    if vocab_size < _LEAST_VOCABULARY:
        raise InvalidInput(f"vocab_size: expected at least {_LEAST_VOCABULARY}, got {vocab_size}")
    # A word in a sentence has its leading space, which is part of its token.
    return write_tokenizer(folder, prompt_texts=(*PROMPT_TEXTS, *texts), vocab_size=vocab_size)
