"""A small tokenizer of the Qwen kind, trained on driving sentences written here.

It stands in for the backbone's where weights are random: byte-level BPE with Qwen's control tokens, so
prompts and Alpamayo's vocabulary are built by the same code as for the released checkpoints, and what a
random network says is at least made of words.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

SENTENCES = (
    "Keep the lane and maintain the current speed since the road ahead is clear.",
    "Slow down for the lead vehicle that is braking ahead.",
    "Stop behind the white line because the traffic light is red.",
    "Yield to the pedestrian who is crossing from the right.",
    "Nudge to the left around the parked van, then return to the lane.",
    "Change to the right lane to follow the route to the exit.",
    "Turn left at the intersection after the oncoming car has passed.",
    "Adapt speed for the curve to the right.",
    "Accelerate to merge into the gap behind the truck.",
    "Keep a safe distance to the cyclist on the right side.",
    "Proceed through the intersection since the light is green and cross traffic waits.",
    "Decelerate as the vehicle in the left lane cuts in.",
    "Wait for the bus that is pulling out of the stop.",
    "Creep forward to see past the parked cars.",
    "Follow the lead car at a steady gap on the highway.",
    "Give way to the emergency vehicle from behind and move to the right.",
    "Drive slowly through the construction zone along the cones.",
    "The lane is blocked by a delivery van, so change to the left lane.",
    "No critical agents ahead, keep lane.",
    "The car ahead is turning right and slows down, so reduce speed.",
    "A child on the sidewalk may enter the road, so be ready to stop.",
    "Heavy rain and wet road, lower the speed and increase the gap.",
    "The speed limit drops to thirty near the school.",
    "Resume to the target speed once the crosswalk is empty.",
    "What is ahead of the ego vehicle?",
    "Is it safe to change lanes now?",
    "Turn right in 30m",
    "Turn left onto Main Street in 40m",
    "Continue straight for 200m",
    "Take the second exit at the roundabout",
)

_WORDS = frozenset(re.findall(r"(?<= )[a-z]{2,}\b", "\n".join(SENTENCES)))


def write_tokenizer(folder: Path, *, prompt_texts: tuple[str, ...], vocab_size: int = 700) -> dict[str, int]:
    """Train and write tokenizer.json and tokenizer_config.json; return the ids of CONTROL_TOKENS.

    Args:
        folder: where to; must exist.
        prompt_texts: further texts to learn words from (what every prompt says).
        vocab_size: tokens before the control tokens; the 256 bytes are always among them.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # Words with their leading space, single digits, runs of punctuation: Qwen's split in short.
    split = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, behavior="isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SENTENCES, *prompt_texts], trainer)
    tokenizer.add_special_tokens(list(CONTROL_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    ids: dict[str, int] = tokenizer.get_vocab()
    return {token: ids[token] for token in CONTROL_TOKENS}


def is_word(text: str) -> bool:
    """Return whether a token's text is one of SENTENCES' lower-case words, with its leading space."""
    return text[:1] == " " and text[1:] in _WORDS
