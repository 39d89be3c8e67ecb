"""A model writes reasonings: good answers are kept, bad ones counted, a dead endpoint is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_factory import data_set, episode
from stub_endpoint import Clock, Reply, Stub, completion, stub_endpoint

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.chat import ChatClient, Endpoint, EndpointRefuses, Failure
from alpamayo_ros.training.labels.reasonings import ReasoningFile, Reasonings, read_reasonings
from alpamayo_ros.training.labels.vlm import Tally, write_reasonings
from alpamayo_ros.training.sample import ReasoningSource

GOOD = "Slow down for the curve ahead."


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> EpisodeSamples:
    return EpisodeSamples(data_set(tmp_path_factory.mktemp("data"), [episode(ticks=8)]), split="train")


def written(
    samples: EpisodeSamples, stub: Stub, path: Path, indices: list[int], *, tries: int = 2
) -> tuple[Tally, Reasonings]:
    clock = Clock()
    client = ChatClient(
        Endpoint(stub.url, "vlm-1", timeout_s=0.5, tries=tries), clock=clock, sleep=clock.sleep
    )
    with ReasoningFile(path) as file:
        tally = write_reasonings(samples, indices, client, file=file)
    return tally, read_reasonings(path)


def test_answers_become_reasonings_of_the_model(samples: EpisodeSamples, tmp_path: Path) -> None:
    with stub_endpoint(Reply(completion(GOOD)), Reply(completion("Stop for the red light."))) as stub:
        tally, found = written(samples, stub, tmp_path / "r.jsonl", [0, 3])
    assert tally.written == 2 and not tally.failures and not tally.gave_up
    assert {key: texts[ReasoningSource.MODEL].text for key, texts in found.items()} == {
        samples[0].sample_id: GOOD,
        samples[3].sample_id: "Stop for the red light.",
    }
    assert {texts[ReasoningSource.MODEL].author for texts in found.values()} == {"vlm-1"}
    images = [part for part in stub.asked[0]["messages"][1]["content"] if part["type"] == "image_url"]
    assert len(images) == len(samples[0].observation.camera_ids)


def test_bad_answers_are_counted_and_kept_out(samples: EpisodeSamples, tmp_path: Path) -> None:
    replies = [
        Reply(completion("")),
        Reply(completion("very " * 100 + "long.")),
        Reply(b"<html>busy</html>"),
        Reply(b"too large", 413),
        Reply(completion("Go. Stop! Go again.")),
        Reply(completion(GOOD)),
    ]
    with stub_endpoint(*replies) as stub:
        tally, found = written(samples, stub, tmp_path / "r.jsonl", [0, 1, 2, 3, 4, 5])
    assert tally.failures == {
        Failure.EMPTY: 1,
        Failure.TOO_LONG: 1,
        Failure.NOT_JSON: 1,
        Failure.HTTP: 1,
        Failure.NOT_A_SENTENCE: 1,
    }
    assert tally.written == 1 and set(found) == {samples[5].sample_id}


def test_busy_then_good_and_slow_then_good_are_good(samples: EpisodeSamples, tmp_path: Path) -> None:
    replies = [Reply(b"", 429), Reply(completion(GOOD)), Reply(completion("late"), wait_s=30.0)]
    with stub_endpoint(*replies, Reply(completion(GOOD))) as stub:
        tally, found = written(samples, stub, tmp_path / "r.jsonl", [0, 1])
    assert tally.written == 2 and not tally.failures and len(found) == 2


def test_a_dead_endpoint_is_left_alone(samples: EpisodeSamples, tmp_path: Path) -> None:
    with stub_endpoint(Reply(b"out of memory", 500)) as stub:
        tally, found = written(samples, stub, tmp_path / "r.jsonl", list(range(8)), tries=1)
    assert tally.gave_up and tally.failures == {Failure.HTTP: 5} and len(stub.asked) == 5
    assert not found


def test_bad_answers_of_the_model_are_no_dead_endpoint(samples: EpisodeSamples, tmp_path: Path) -> None:
    with stub_endpoint(Reply(completion(""))) as stub:
        tally, _ = written(samples, stub, tmp_path / "r.jsonl", list(range(8)), tries=1)
    assert not tally.gave_up and tally.failures == {Failure.EMPTY: 8}


def test_a_wrong_key_ends_it_and_keeps_what_was_written(samples: EpisodeSamples, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with (
        stub_endpoint(Reply(completion(GOOD)), Reply(b"key expired", 401)) as stub,
        pytest.raises(EndpointRefuses, match="key expired"),
    ):
        written(samples, stub, path, [0, 1, 2])
    assert set(read_reasonings(path)) == {samples[0].sample_id}
