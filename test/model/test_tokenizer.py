from __future__ import annotations

import dataclasses
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.model import special_tokens
from alpamayo_ros.model.config import CheckpointError, ModelConfig
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.types import InvalidInput


def test_ids_are_those_of_the_reference(golden) -> None:
    tokenizer, record = golden.tokenizer, golden.record
    assert len(tokenizer) == record["vocab_size"]
    ids = dict(record["token_ids"])
    assert tokenizer.traj_token_start == ids.pop("i0")
    assert {name: tokenizer.id_of(name) for name in ids} == ids
    assert (
        tokenizer.history_token_start == tokenizer.traj_token_start + golden.config.future_tokenizer.num_bins
    )


def test_released_vocabulary_has_155697_rows(raw_config) -> None:
    # Qwen3-VL's tokenizer has 151,669 tokens, <|image_pad|> among them.
    for generation in ("alpamayo_r1", "alpamayo1_5"):
        config = ModelConfig.from_dict({**raw_config, "model_type": generation})
        additions = special_tokens.build_vocabulary_additions(config)
        assert len(set(additions)) == len(additions)
        rows = [token for token in additions if token != "<|image_pad|>"]
        assert 151_669 + len(rows) == 155_697
        assert 151_669 + rows.index("<|traj_future_start|>") == 155_681


def test_1_5_renames_nine_tokens_in_place() -> None:
    old, new = special_tokens.names("alpamayo_r1"), special_tokens.names("alpamayo1_5")
    renamed = {i: name for i, (name, other) in enumerate(zip(new, old, strict=True)) if name != other}
    assert renamed == {i: f"_padding_{n}" for n, i in enumerate((3, 6, 10, 11, 13, 18, 19, 20, 21))}
    assert old[10:12] == ("meta_action_start", "meta_action_end")


def test_without_special_tokens_only_the_trajectorys_are_added(golden) -> None:
    config = dataclasses.replace(
        golden.config,
        add_special_tokens=False,
        vocab_size=None,
        traj_token_start_idx=None,
        traj_token_ids=None,
    )
    tokenizer = AlpamayoTokenizer.load(golden.folder / "backbone", config)
    assert len(tokenizer) == tokenizer.traj_token_start + config.traj_vocab_size + 6
    assert tokenizer.id_of("traj_history") == tokenizer.traj_token_start + config.traj_vocab_size
    assert not tokenizer.has("cot_end")
    with pytest.raises(CheckpointError, match=r"expected the token <\|cot_end\|>, got a vocabulary without"):
        tokenizer.id_of("cot_end")


@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1))
def test_plain_text_survives_both_ways(golden_1_5, text: str) -> None:
    tokenizer = golden_1_5.tokenizer
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


def test_decode_keeps_special_tokens_and_spaces(golden) -> None:
    tokenizer = golden.tokenizer
    text = "<|cot_start|> a , b .<|cot_end|><|traj_future_start|><i7>"
    assert tokenizer.decode(tokenizer.encode(text)).replace(" ", "") == text.replace(" ", "")
    assert tokenizer.encode(text)[-1] == tokenizer.traj_token_start + 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("go <|cot_end|> on", r"navigation: expected text without special tokens, got '<\|cot_end\|>'"),
        ("<|anything at all|>", r"expected text without special tokens, got '<\|anything at all\|>'"),
        ("<|traj_history|>", r"got '<\|traj_history\|>'"),
        ("<|im_end|>", r"got '<\|im_end\|>'"),
        ("turn at <i3>", "expected text without special tokens, got '<i3>'"),
        ("", "navigation: expected text, got ''"),
        (" \n", "navigation: expected text, got "),
        (None, "navigation: expected text, got NoneType"),
        (b"left", "navigation: expected text, got bytes"),
        ("left \ud800", "navigation: expected valid Unicode text"),
    ],
)
def test_text_that_would_break_the_prompt_is_refused(golden, text: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        golden.tokenizer.require_plain_text("navigation", text)


def test_text_with_harmless_brackets_is_taken(golden) -> None:
    text = "a < b | c > d, <left> || <|"
    assert golden.tokenizer.require_plain_text("question", text) == golden.tokenizer.encode(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 1}, "expected vocab_size 1 as in config.json, got"),
        ({"traj_token_start_idx": 2}, "expected traj_token_start_idx 2 as in config.json, got"),
        (
            {"traj_token_ids": {"future_start": 3}},
            r"expected traj_token_ids\.future_start 3 as in config.json",
        ),
    ],
)
def test_tokenizer_of_another_model_is_refused(golden, change: dict[str, Any], message: str) -> None:
    config = dataclasses.replace(golden.config, **change)
    with pytest.raises(CheckpointError, match=message):
        AlpamayoTokenizer.load(golden.folder / "backbone", config)


def test_tokenizer_that_was_extended_already_is_refused(golden) -> None:
    from transformers import AutoTokenizer

    base = AutoTokenizer.from_pretrained(golden.folder / "backbone")
    base.add_tokens(["<i0>", "<i1>"])
    with pytest.raises(
        CheckpointError, match=r"expected a base vocabulary without <i0> .* got one with 2 of them"
    ):
        AlpamayoTokenizer(base, golden.config)


def test_tokenizer_of_another_family_is_refused(golden, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])))
    with pytest.raises(CheckpointError, match=r"expected a Qwen3-VL vocabulary with <\|im_start\|> "):
        AlpamayoTokenizer(other, golden.config)


def test_missing_backbone_folder_is_named(golden, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"backbone: expected a folder or a reachable hub id .*nowhere"):
        AlpamayoTokenizer.load(tmp_path / "nowhere", golden.config)
