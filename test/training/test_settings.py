from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alpamayo_ros.training.losses import SpanWeights
from alpamayo_ros.training.settings import LoraSettings, TrainSettings
from alpamayo_ros.types import InvalidInput


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(stage=1, span_weights=SpanWeights(reasoning=3.0)),
        TrainSettings(stage=2, lora=LoraSettings(8, 16.0), vision_cache_bytes=10),
    ],
)
def test_settings_survive_json(settings: TrainSettings) -> None:
    import json

    assert TrainSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stage": 4}, "stage: expected 1, 2 or 3, got 4"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"patience": -1}, "patience: expected zero or more, got -1"),
        ({"peak_rate": 0.0}, "peak_rate: expected a positive number, got 0.0"),
        ({"beta2": 1.0}, r"beta2: expected a number in \[0, 1\), got 1.0"),
        ({"rate_floor": 2.0}, r"rate_floor: expected a number in \[0, 1\], got 2.0"),
        (
            {"vision_cache_bytes": 1},
            "vision_cache_bytes: expected 0 where the vision tower is trained, got 1",
        ),
    ],
)
def test_refuses(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        replace(TrainSettings(stage=1), **change)


def test_refuses_unknown_names_and_bad_adapters() -> None:
    with pytest.raises(InvalidInput, match="settings: expected names of TrainSettings, got colour"):
        TrainSettings.from_dict({"stage": 1, "colour": "red"})
    with pytest.raises(InvalidInput, match="lora rank: expected at least 1, got 0"):
        LoraSettings(rank=0)
    with pytest.raises(InvalidInput, match="lora alpha: expected a positive number, got -1"):
        LoraSettings(alpha=-1)


def test_a_resumed_run_may_only_change_what_does_not_change_the_result() -> None:
    earlier = TrainSettings(stage=2)
    replace(earlier, workers=2, log_every=1, checkpoint_every=7).require_same_result(earlier)
    with pytest.raises(InvalidInput, match="resume: expected the run's own settings: batch_size 8, got 4"):
        replace(earlier, batch_size=4).require_same_result(earlier)
