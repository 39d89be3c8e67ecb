"""Which texts count for a choice, and that a run can tell whether they are still the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_factory import data_set, episode

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.chosen import CHOICES, ChosenReasonings, choose_reasonings, unused_note
from alpamayo_ros.training.labels.reasonings import FILE_NAME, Decision, Reasoning, ReasoningFile
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.types import InvalidInput

MODEL, HUMAN, AUTOMATIC = ReasoningSource.MODEL, ReasoningSource.HUMAN, ReasoningSource.AUTOMATIC


def by_model(tick: int) -> Reasoning:
    return Reasoning(f"straight-100.0/{tick}", MODEL, f"Slow down for the fog number {tick}.", "vlm")


def by_human(tick: int, decision: Decision = Decision.EDIT, of: ReasoningSource = MODEL) -> Reasoning:
    text = "" if decision is Decision.REJECT else f"Stop for the dog number {tick}."
    return Reasoning(f"straight-100.0/{tick}", HUMAN, text, "kim", decision, of)


def write(data: Path, *texts: Reasoning) -> None:
    with ReasoningFile(data / FILE_NAME) as file:
        file.add(texts)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_set(tmp_path / "data", [episode()])


def test_what_each_choice_trains_on(data: Path) -> None:
    write(data, by_model(0), by_model(1), by_human(1), by_human(2, Decision.REJECT, AUTOMATIC))
    samples = EpisodeSamples(data, split="train")

    def sources(choice: str) -> list[str]:
        chosen = choose_reasonings(data, choice).over(samples)
        assert len(chosen) == len(samples)
        return [chosen[index].source.value for index in range(4)]

    assert sources("automatic") == ["automatic"] * 4
    assert sources("human") == ["automatic", "human", "none", "automatic"]
    assert sources("model") == ["model", "human", "none", "automatic"]


def test_a_run_is_told_apart_by_what_counts_for_it_alone(data: Path) -> None:
    write(data, by_model(0), by_human(1))
    before = {choice: choose_reasonings(data, choice).identity for choice in CHOICES}
    assert before["automatic"] == "automatic" and len(set(before.values())) == 3
    (data / FILE_NAME).write_text(by_human(1).line() + by_model(0).line(), "utf-8")  # another order
    assert {choice: choose_reasonings(data, choice).identity for choice in CHOICES} == before
    write(data, by_model(3))
    after = {choice: choose_reasonings(data, choice).identity for choice in CHOICES}
    assert [choice for choice in CHOICES if after[choice] != before[choice]] == ["model"]
    write(data, by_human(3, Decision.REJECT))
    assert choose_reasonings(data, "human").identity != before["human"]


def test_what_is_told_to_people(data: Path) -> None:
    assert unused_note(data, "automatic") == ""
    write(data, by_model(0), by_model(1), by_human(1))
    assert f"{data / FILE_NAME} is not used" in unused_note(data, "automatic")
    assert unused_note(data, "human") == ""
    assert str(choose_reasonings(data, "model")) == (
        "reasonings: 1 decisions of people and 2 of a model over the automatic ones"
    )


def test_a_choice_without_texts_is_refused(data: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected texts of source human or model .*'model', got none"):
        choose_reasonings(data, "model")
    write(data, by_model(0))
    with pytest.raises(InvalidInput, match="expected texts of source human for reasonings 'human', got none"):
        choose_reasonings(data, "human")
    with pytest.raises(InvalidInput, match="reasonings: expected one of automatic, human, model, got 'all'"):
        choose_reasonings(data, "all")
    with pytest.raises(InvalidInput, match="expected no model text for 'human', got one"):
        ChosenReasonings("human", {"straight-100.0/0": {MODEL: by_model(0)}})
