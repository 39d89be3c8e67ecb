"""What a model is shown, and which of its answers are taken."""

from __future__ import annotations

import base64
from itertools import pairwise

import cv2
import numpy as np
import pytest
from episode_factory import data_set, episode, picture

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.labels.chat import Failure, NoAnswer
from alpamayo_ros.training.labels.prompt import MAX_CHARACTERS, messages_for, sentence_of
from alpamayo_ros.training.sample import TrainingSample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> TrainingSample:
    return EpisodeSamples(data_set(tmp_path_factory.mktemp("data"), [episode()]), split="train")[1]


def test_each_camera_s_newest_picture_is_shown_after_its_name(sample: TrainingSample) -> None:
    _, user = messages_for(sample)
    content = user["content"]
    shown = [
        (said["text"], image["image_url"]["url"])
        for said, image in pairwise(content)
        if image["type"] == "image_url"
    ]
    assert [name for name, _ in shown] == ["Camera front_wide:", "Camera front_tele:"]
    for (_, url), camera_id in zip(shown, sample.observation.camera_ids, strict=True):
        head, _, data = url.partition(",")
        assert head == "data:image/jpeg;base64"
        seen = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        newest = picture(camera_id, 1)
        assert np.abs(seen[..., ::-1].transpose(2, 0, 1).astype(int) - newest).mean() < 8.0


def test_the_motion_is_told_and_the_automatic_reasoning_is_not(sample: TrainingSample) -> None:
    system, user = messages_for(sample)
    told = user["content"][-1]["text"]
    assert "Speed now: 5.0 m/s; in 3 s: 5.0 m/s" in told
    assert "15.0 m ahead" in told and "Navigation: Turn left in 30m." in told and "Manoeuvre: keep." in told
    assert system["role"] == "system" and user["role"] == "user"
    assert sample.reasoning not in str(system) + told


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("Slow down for the curve ahead.", "Slow down for the curve ahead."),
        ('  "Slow down for the curve ahead."\n', "Slow down for the curve ahead."),
        ("Slow down for the curve ahead", "Slow down for the curve ahead."),
        (
            "Keep 5.5 m to the lead vehicle, e.g. by braking!",
            "Keep 5.5 m to the lead vehicle, e.g. by braking.",
        ),
    ],
)
def test_one_sentence_is_taken(answer: str, sentence: str) -> None:
    assert sentence_of(answer) == sentence
    assert sentence_of(sentence) == sentence


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ("", Failure.EMPTY),
        (' "" ', Failure.EMPTY),
        ("word " * (MAX_CHARACTERS // 5 + 1), Failure.TOO_LONG),
        ("Slow down.", Failure.NOT_A_SENTENCE),
        ("Slow down for the curve. Then speed up again.", Failure.NOT_A_SENTENCE),
        ("- Slow down for the curve\n- Keep your lane", Failure.NOT_A_SENTENCE),
        ("<think>What is there?</think> Slow down for it.", Failure.NOT_A_SENTENCE),
        ("Slow down for the curve ahead.<|cot_end|>", Failure.NOT_A_SENTENCE),
        ("Slow down\u2028for the curve ahead.", Failure.NOT_A_SENTENCE),
    ],
)
def test_anything_else_is_not(answer: str, failure: Failure) -> None:
    with pytest.raises(NoAnswer) as raised:
        sentence_of(answer)
    assert raised.value.failure is failure
