"""The backbone's tokenizer with Alpamayo's tokens behind it.

Only the tokenizer is taken from transformers: the Qwen3-VL processor would pull in torchvision, and
images are prepared in images.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from alpamayo_ros.model import special_tokens
from alpamayo_ros.model.config import CheckpointError, ModelConfig
from alpamayo_ros.types import InvalidInput

_BASE_TOKENS = ("im_start", "im_end", "vision_start", "vision_end", "image_pad")
"""Tokens that a Qwen3-VL tokenizer must bring along."""

_SPECIAL_PATTERN = re.compile(r"<\|.*?\|>", re.DOTALL)


class AlpamayoTokenizer:
    """Text to token ids and back, over the extended vocabulary.

    Attributes:
        traj_token_start: id of <i0>; the future's tokens start here.
        history_token_start: id of the history's first token, behind the future's.
        image_pad_id, vision_start_id, vision_end_id, im_start_id, im_end_id: the backbone's own.
        eos_token_id, pad_token_id: the tokenizer's, None where it names none. What ends a generation is
            the backbone config's eos_token_id, which may differ.

    Raises:
        CheckpointError: if the tokenizer cannot be loaded or doesn't give the checkpoint's vocabulary.
    """

    def __init__(self, tokenizer: Any, config: ModelConfig) -> None:
        """Extend `tokenizer`, a transformers tokenizer without Alpamayo's tokens, in place."""
        self._tokenizer = tokenizer
        self.config = config
        base = tokenizer.get_vocab()
        missing = [name for name in _BASE_TOKENS if special_tokens.token(name) not in base]
        if missing:
            wanted = " ".join(special_tokens.token(name) for name in missing)
            raise CheckpointError(f"tokenizer: expected a Qwen3-VL vocabulary with {wanted}, got one without")
        trajectory = [special_tokens.trajectory_token(i) for i in range(config.traj_vocab_size)]
        added = tokenizer.add_tokens(trajectory)
        if added != config.traj_vocab_size:
            raise CheckpointError(
                f"tokenizer: expected a base vocabulary without <i0> ... <i{config.traj_vocab_size - 1}>, "
                f"got one with {config.traj_vocab_size - added} of them"
            )
        tokenizer.add_tokens(special_tokens.added_special_tokens(config), special_tokens=True)
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._length = len(tokenizer)
        self._reserved = frozenset(tokenizer.get_added_vocab().values())
        self._texts = {token_id: text for text, token_id in tokenizer.get_added_vocab().items()}
        self.traj_token_start = self._ids[special_tokens.trajectory_token(0)]
        self.history_token_start = self.traj_token_start + config.future_tokenizer.num_bins
        self.im_start_id, self.im_end_id, self.vision_start_id, self.vision_end_id, self.image_pad_id = (
            self.id_of(name) for name in _BASE_TOKENS
        )
        self.eos_token_id: int | None = tokenizer.eos_token_id
        self.pad_token_id: int | None = tokenizer.pad_token_id
        self._check_against_config()

    @classmethod
    def load(cls, backbone: str | os.PathLike[str], config: ModelConfig) -> AlpamayoTokenizer:
        """Load the tokenizer of `backbone`, a folder or a hub id, and extend it."""
        from transformers import AutoTokenizer

        name = os.fspath(backbone)
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
        except Exception as error:  # whatever transformers and the hub raise: there is no common class
            reason = str(error).strip().splitlines()
            raise CheckpointError(
                f"backbone: expected a folder or a reachable hub id with a tokenizer, got {name!r} "
                f"({type(error).__name__}: {reason[0] if reason else 'no message'})"
            ) from error
        return cls(tokenizer, config)

    def __len__(self) -> int:
        """Return the number of tokens, i.e. rows of the embedding."""
        return self._length

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens in it become their own ids, none are added."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of `token_ids`, special tokens included."""
        ids = [int(i) for i in token_ids]
        return self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def id_of(self, name: str) -> int:
        """Return the id of the special token <|name|>; raises CheckpointError if the vocabulary has none."""
        token_id = self._ids.get(special_tokens.token(name))
        if token_id is None:
            token = special_tokens.token(name)
            raise CheckpointError(f"tokenizer: expected the token {token}, got a vocabulary without it")
        return token_id

    def has(self, name: str) -> bool:
        """Return whether the vocabulary has the special token <|name|>."""
        return special_tokens.token(name) in self._ids

    def require_plain_text(self, name: str, text: object) -> list[int]:
        """Return the ids of a user's text, or refuse it.

        Raises:
            InvalidInput: if it is not a string, is blank, or contains a token such as <|cot_end|> or <i7>
                that the text of a prompt must not bring in. `name` says in the message what it is.
        """
        if not isinstance(text, str):
            raise InvalidInput(f"{name}: expected text, got {type(text).__name__}")
        if not text.strip():
            raise InvalidInput(f"{name}: expected text, got {text!r}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{name}: expected valid Unicode text, got {text!r}") from error
        # Also one that this vocabulary lacks: another generation's is a mistake all the same.
        found = _SPECIAL_PATTERN.search(text)
        token_ids = self.encode(text)
        reserved = next((self._texts[i] for i in token_ids if i in self._reserved), None)
        if found or reserved:
            token = found.group() if found else reserved
            raise InvalidInput(f"{name}: expected text without special tokens, got {token!r} in {text!r}")
        return token_ids

    def _check_against_config(self) -> None:
        """Refuse a tokenizer that gives other ids than the checkpoint was trained with."""
        config = self.config
        checks: list[tuple[str, int | None, int]] = [
            ("vocab_size", config.vocab_size, len(self)),
            ("traj_token_start_idx", config.traj_token_start_idx, self.traj_token_start),
        ]
        for key, name in special_tokens.TRAJECTORY_NAMES.items():
            recorded = None if config.traj_token_ids is None else config.traj_token_ids.get(key)
            checks.append((f"traj_token_ids.{key}", recorded, self.id_of(name)))
        for key, recorded, own in checks:
            if recorded is not None and recorded != own:
                raise CheckpointError(
                    f"tokenizer: expected {key} {recorded} as in config.json, got {own}: "
                    "this is not the tokenizer that the checkpoint was trained with"
                )
