"""Texts beside a data set: read, added, laid over the samples; the three sources stay apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_factory import data_set, episode
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.reasonings import (
    Decision,
    ReasonedSamples,
    Reasoning,
    ReasoningFile,
    automatic_texts,
    read_reasonings,
)
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.types import InvalidInput

MODEL, HUMAN, AUTOMATIC = ReasoningSource.MODEL, ReasoningSource.HUMAN, ReasoningSource.AUTOMATIC
SAMPLE = "straight-100.0/2"
BY_MODEL = Reasoning(SAMPLE, MODEL, "Slow down for the fog ahead.", "vlm")


def human(
    decision: Decision, of: ReasoningSource = MODEL, text: str = "Stop for the dog ahead."
) -> Reasoning:
    return Reasoning(SAMPLE, HUMAN, "" if decision is Decision.REJECT else text, "kim", decision, of)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> EpisodeSamples:
    return EpisodeSamples(data_set(tmp_path_factory.mktemp("data"), [episode()]), split="train")


def of_sample(samples: EpisodeSamples, *texts: Reasoning, trust_model: bool = False) -> tuple[str, str]:
    laid = ReasonedSamples(samples, {SAMPLE: {one.source: one for one in texts}}, trust_model=trust_model)
    assert len(laid) == len(samples)
    for index in (0, 1, 3, 4):
        assert laid[index].reasoning == samples[index].reasoning
    return laid[2].reasoning, laid[2].source.value


def test_which_text_counts(samples: EpisodeSamples) -> None:
    automatic = samples[2].reasoning
    assert of_sample(samples) == (automatic, "automatic")
    assert of_sample(samples, BY_MODEL) == (automatic, "automatic")
    assert of_sample(samples, BY_MODEL, trust_model=True) == (BY_MODEL.text, "model")
    for trust in (False, True):
        edited = human(Decision.EDIT)
        assert of_sample(samples, BY_MODEL, edited, trust_model=trust) == (edited.text, "human")
        rejected = human(Decision.REJECT)
        assert of_sample(samples, BY_MODEL, rejected, trust_model=trust) == (automatic, "automatic")
        rejected = human(Decision.REJECT, AUTOMATIC)
        assert of_sample(samples, rejected, trust_model=trust) == ("", "none")


def test_the_samples_themselves_are_never_changed(samples: EpisodeSamples) -> None:
    before = samples[2].reasoning
    of_sample(samples, human(Decision.EDIT))
    assert samples[2].reasoning == before and samples[2].source is AUTOMATIC


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "reasonings.jsonl"
    assert read_reasonings(path) == {}
    with ReasoningFile(path) as file:
        file.add([BY_MODEL])
    with ReasoningFile(path) as file:
        file.add([human(Decision.EDIT)])
    assert read_reasonings(path) == {SAMPLE: {MODEL: BY_MODEL, HUMAN: human(Decision.EDIT)}}


@settings(max_examples=40)
@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_any_text_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, sample_id: str, text: str, author: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "reasonings.jsonl"
    one = Reasoning(sample_id, MODEL, text, author)
    try:
        line = one.line().encode("utf-8")
    except UnicodeEncodeError:
        return  # half a character cannot come from a file or a network
    path.write_bytes(line)
    assert read_reasonings(path) == {sample_id: {MODEL: one}}


def test_a_line_that_was_cut_off_is_removed_before_another_comes(tmp_path: Path) -> None:
    path = tmp_path / "reasonings.jsonl"
    path.write_text(BY_MODEL.line() + '{"sample_id": "straight-100.0/3", "sou', "utf-8")
    with ReasoningFile(path) as file:
        file.add([human(Decision.ACCEPT)])
    assert path.read_text("utf-8") == BY_MODEL.line() + human(Decision.ACCEPT).line()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "expected JSON"),
        ("[]", "expected an object"),
        ('{"sample_id": 5}', "sample_id: expected a text, got 5"),
        ('{"sample_id": "a", "source": "model", "text": "b"}', "expected the field 'author', got none"),
        ('{"sample_id": "a", "source": "oracle", "text": "b", "author": "c"}', "oracle"),
        ('{"sample_id": "a", "source": "automatic", "text": "b", "author": "c"}', "expected model or human"),
        ('{"sample_id": "a", "source": "human", "text": "b", "author": "c"}', "expected a decision"),
        (BY_MODEL.line().strip(), "expected one model reasoning of straight-100.0/2, got another"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "reasonings.jsonl"
    path.write_text(f"{BY_MODEL.line()}\n{line}\n", "utf-8")
    with pytest.raises(InvalidInput, match=f"reasonings.jsonl:3: .*{says}"):
        read_reasonings(path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (("", MODEL, "text", "vlm"), "expected a sample_id"),
        (("a", MODEL, "text", ""), "and an author"),
        (("a", MODEL, "", "vlm"), "expected a text unless it is rejected"),
        (("a", AUTOMATIC, "text", "rules"), "expected model or human"),
        (("a", MODEL, "text", "vlm", Decision.ACCEPT, AUTOMATIC), "of a human alone"),
        (("a", HUMAN, "text", "kim"), "of a human alone"),
        (("a", HUMAN, "text", "kim", Decision.REJECT, MODEL), "expected a text unless"),
        (("a", HUMAN, "text", "kim", Decision.ACCEPT, HUMAN), "of: expected automatic or model"),
    ],
)
def test_fields_that_do_not_go_together(fields: tuple[object, ...], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Reasoning(*fields)  # type: ignore[arg-type]


def test_automatic_texts_are_those_of_the_samples(samples: EpisodeSamples) -> None:
    listed = list(automatic_texts(samples))
    assert [index for index, _, _ in listed] == list(range(len(samples)))
    assert [(sample_id, text) for _, sample_id, text in listed] == [
        (samples[index].sample_id, samples[index].reasoning) for index in range(len(samples))
    ]
