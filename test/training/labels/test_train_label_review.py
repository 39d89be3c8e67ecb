"""The commands `alpamayo train label` and `alpamayo train review`, from a data set to what is trained on."""

from __future__ import annotations

import builtins
from pathlib import Path

import cv2
import pytest
from episode_factory import data_set, episode
from stub_endpoint import Reply, completion, stub_endpoint

from alpamayo_ros.cli.main import main
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.reasonings import FILE_NAME, ReasonedSamples, read_reasonings
from alpamayo_ros.training.labels.review import read_review, write_review


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_set(tmp_path / "data", [episode(ticks=4), episode(101, ticks=2)])


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def label(data: Path, url: str, *options: str) -> int:
    return main(["train", "label", str(data), "--vlm", url, "--model", "vlm", "--timeout", "5", *options])


def test_from_the_model_s_answers_to_the_samples(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = EpisodeSamples(data, split="train")
    before = [samples[index].reasoning for index in range(len(samples))]
    answers = [Reply(completion(f"Slow down for the dog number {i}.")) for i in range(3)]
    with stub_endpoint(*answers[:2], Reply(completion("")), answers[2]) as stub:
        assert label(data, stub.url, "--limit", "3") == 0
        assert "2 of 3 answers written" in capsys.readouterr().out
        assert label(data, stub.url, "--limit", "1") == 0  # the one without an answer is asked again
    assert len(read_reasonings(data / FILE_NAME)) == 3

    review, pictures = tmp_path / "review.jsonl", tmp_path / "pictures"
    assert main(["train", "review", "export", str(data), str(review), "--pictures", str(pictures)]) == 0
    assert [entry.model for entry in read_review(review)] == [
        f"Slow down for the dog number {i}." for i in range(3)
    ]
    images = [cv2.imread(str(path)) for path in sorted(pictures.iterdir())]
    assert len(images) == 3 and all(image.shape == (24, 80, 3) for image in images)

    keys = iter(["a", "e", "Stop for the dog on the road.", "r"])
    monkeypatch.setattr(builtins, "input", lambda question: next(keys))
    assert main(["train", "review", "walk", str(review), "--reviewer", "kim"]) == 0
    assert main(["train", "review", "import", str(data), str(review)]) == 0
    assert "1 accept, 1 edit, 1 reject" in capsys.readouterr().out

    laid = ReasonedSamples(samples, read_reasonings(data / FILE_NAME))
    assert [(laid[i].reasoning, laid[i].source.value) for i in range(4)] == [
        ("Slow down for the dog number 0.", "human"),
        ("Stop for the dog on the road.", "human"),
        (before[2], "automatic"),
        (before[3], "automatic"),
    ]
    assert [samples[index].reasoning for index in range(len(samples))] == before


def test_the_key_comes_from_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    with stub_endpoint(Reply(completion("Slow down for the dog."))) as stub:
        assert label(data, stub.url, "--limit", "1", "--key-env", "MY_KEY") == 0
        assert label(data, stub.url, "--limit", "1") == 0
    assert [headers.get("Authorization") for headers in stub.headers] == ["Bearer secret", None]


def test_when_all_have_an_answer_nobody_is_asked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stub_endpoint(Reply(completion("Slow down for the dog."))) as stub:
        assert label(data, stub.url, "--every", "2") == 0
        asked = len(stub.asked)
        assert label(data, stub.url, "--every", "2") == 0
        assert len(stub.asked) == asked == 3
    assert "nothing left to ask" in capsys.readouterr().out


def test_exit_codes_of_failures(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stub_endpoint(Reply(b"", 500)) as stub:
        assert label(data, stub.url, "--tries", "1") == 1
    assert "the rest was not asked" in capsys.readouterr().out
    with stub_endpoint(Reply(b"no such model", 404)) as stub:
        assert label(data, stub.url) == 2
    assert "no such model" in capsys.readouterr().err
    assert not read_reasonings(data / FILE_NAME)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--every", "0"), "--every: expected at least 1"),
        (("--limit", "0"), "--limit: expected at least 1"),
        (("--split", "validation"), "expected samples of split validation"),
        (("--timeout", "0"), "timeout_s: expected a positive number"),
    ],
)
def test_what_label_refuses(
    data: Path, options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(data, "http://127.0.0.1:9/v1", *options) == 2
    assert says in capsys.readouterr().err


def test_an_import_that_is_refused_changes_nothing(data: Path, tmp_path: Path) -> None:
    review = tmp_path / "review.jsonl"
    assert main(["train", "review", "export", str(data), str(review), "--all"]) == 0
    first, *others = read_review(review)
    assert len(others) == 5
    accepted = [
        entry.__class__(**{**vars(entry), "decision": "accept", "reviewer": "kim"}) for entry in others
    ]
    stranger = first.__class__("other-1.0/7", "Keep lane and speed.", decision="reject", reviewer="kim")
    write_review(review, [*accepted, stranger], replace=True)
    assert main(["train", "review", "import", str(data), str(review)]) == 2
    assert not read_reasonings(data / FILE_NAME)
    write_review(review, accepted, replace=True)
    assert main(["train", "review", "import", str(data), str(review)]) == 0
    assert len(read_reasonings(data / FILE_NAME)) == 5


def test_export_says_that_nothing_is_left(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "review", "export", str(data), str(tmp_path / "review.jsonl")]) == 2
    assert "--all takes the automatic ones" in capsys.readouterr().err
    assert not (tmp_path / "review.jsonl").exists()
