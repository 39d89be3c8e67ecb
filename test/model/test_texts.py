from __future__ import annotations

import pytest

from alpamayo_ros.model import special_tokens
from alpamayo_ros.model.texts import GeneratedTexts, extract, parse_sections, until_trajectory
from alpamayo_ros.types import ReasoningSections


def test_texts_are_the_references(golden) -> None:
    for tag, expected in golden.record["texts"].items():
        prompt_length = golden[f"{tag}.input_ids"].shape[1]
        is_plan = f"{tag}.action" in golden.tensors
        for k, sequence in enumerate(golden[f"{tag}.sequences"]):
            text = golden.tokenizer.decode(sequence if is_plan else sequence[prompt_length:])
            texts = GeneratedTexts.from_decoded(text, generation=golden.config.generation)
            assert texts.reasoning == expected["cot"][k], (tag, k)
            assert texts.meta_action == expected["meta_action"][k], (tag, k)
            assert texts.answer == expected["answer"][k], (tag, k)
            text = text.partition("<|traj_future_start|>")[0]
            assert texts.reasoning_complete == ("<|cot_end|>" in text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<|cot_start|> Keep lane. <|cot_end|><|traj_future_start|>", "Keep lane."),
        ("prompt<|cot_start|>a<|cot_start|>b<|cot_end|>c<|cot_end|>", "b"),
        ("no start<|cot_end|>", "no start"),
        ("<|cot_start|>never ends", ""),
        ("<|cot_end|>late<|cot_start|>", ""),
        ("", ""),
    ],
)
def test_extraction_at_its_edges(text: str, expected: str) -> None:
    assert extract(text, "cot") == expected


def test_nothing_behind_the_trajectory_is_read() -> None:
    text = "<|cot_start|>a<|traj_future_start|>b<|cot_end|><|traj_future_start|>"
    assert until_trajectory(text) == "<|cot_start|>a<|traj_future_start|>"
    assert GeneratedTexts.from_decoded(text) == GeneratedTexts("", False, "", "")


def test_all_texts_at_once() -> None:
    text = (
        "<|cot_start|>Yield.<|cot_end|><|meta_action_start|>slow down<|meta_action_end|>"
        "<|answer_start|>Yes<|answer_end|><|traj_future_start|>"
    )
    assert GeneratedTexts.from_decoded(text) == GeneratedTexts("Yield.", True, "slow down", "Yes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<|cot_end|><|_padding_2|> stop, go_straight <|_padding_3|><|traj_future_start|>",
            "stop, go_straight",
        ),
        ("<|_padding_2|>a<|_padding_2|>b<|_padding_3|>c<|_padding_3|>", "b"),
        ("a prompt<|_padding_3|>", ""),
        ("<|_padding_2|>never ends", ""),
        ("<|_padding_3|>late<|_padding_2|>", ""),
        ("<|traj_future_start|><|_padding_2|>a<|_padding_3|>", ""),
        ("<|meta_action_start|>a<|meta_action_end|>", ""),
    ],
)
def test_1_5_has_the_meta_action_between_tokens_of_other_names(text: str, expected: str) -> None:
    assert GeneratedTexts.from_decoded(text, generation="alpamayo1_5").meta_action == expected


def test_the_tokens_around_a_meta_action_are_those_of_its_ids() -> None:
    for generation in ("alpamayo_r1", "alpamayo1_5"):
        start, end = (special_tokens.names(generation)[i] for i in special_tokens.META_ACTION_POSITIONS)
        text = f"<|{start}|>stop<|{end}|>"
        assert GeneratedTexts.from_decoded(text, generation=generation).meta_action == "stop"


def test_empty_reasoning_that_ended_is_complete() -> None:
    texts = GeneratedTexts.from_decoded("<|cot_start|><|cot_end|><|traj_future_start|>")
    assert (texts.reasoning, texts.reasoning_complete) == ("", True)


@pytest.mark.parametrize(
    "text",
    [
        "OBSERVATION: A car brakes. REASONING: It is slow. ACTION: Brake: gently. PREDICTION: It stops.",
        "Observation: A car brakes.\nReasoning: It is slow.\nAction: Brake: gently.\nPrediction: It stops.",
        "**Observation:** A car brakes.\n\n**Reasoning**: It is slow.\n**ACTION:** Brake: gently.\n"
        "**Prediction:** It stops.",
        "## Observations\nA car brakes.\n## Reasoning\nIt is slow.\n## Action\nBrake: gently.\n"
        "## Prediction\nIt stops.\n",
        "[OBSERVATION] A car brakes.\n[REASONING] It is slow.\n[ACTION] Brake: gently.\n"
        "[PREDICTION] It stops.",
        "1. Observation: A car brakes.\n2. Reasoning: It is slow.\n3. Action: Brake: gently.\n"
        "4. Prediction: It stops.",
    ],
)
def test_sections_in_the_ways_they_are_written(text: str) -> None:
    assert parse_sections(text) == ReasoningSections(
        "A car brakes.", "It is slow.", "Brake: gently.", "It stops."
    )


def test_sections_that_are_missing_are_empty() -> None:
    assert parse_sections("ACTION: Stop. OBSERVATION: Red.") == ReasoningSections(
        observation="Red.", action="Stop."
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Slow down for the lead vehicle ahead.",
        "OBSERVATION: only one section",
        "The action: brake, since the prediction: it stops.",
        "Nudge left. ACTION: brake. PREDICTION: it stops.",
        "Reasoning about the action is hard",
    ],
)
def test_plain_texts_have_no_sections(text: str) -> None:
    assert parse_sections(text) is None


def test_a_heading_that_comes_again_is_text() -> None:
    sections = parse_sections("OBSERVATION: a ACTION: b OBSERVATION: c")
    assert sections == ReasoningSections(observation="a", action="b OBSERVATION: c")
