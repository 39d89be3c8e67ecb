from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.training.metrics import METRICS_FILE, Averages, MetricsLog, read_metrics
from alpamayo_ros.types import InvalidInput


def test_means_weigh_batches_by_their_terms() -> None:
    averages = Averages()
    averages.add(LossParts(torch.tensor(0.0), {"loss": 1.0, "other": 5.0}, {"loss": 1, "other": 2}))
    averages.add(LossParts(torch.tensor(0.0), {"loss": 4.0}, {"loss": 3}))
    assert averages.means() == {"loss": 3.25, "other": 5.0}


def test_a_resumed_log_forgets_what_will_be_written_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(1, 6):
        log.write(step, "train", {"loss": float(step)})
    log.close()
    log = MetricsLog(tmp_path, resumed_at=3)
    log.write(4, "train", {"loss": 40.0})
    log.close()
    assert [(each["step"], each["loss"]) for each in read_metrics(tmp_path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 40.0),
    ]


def test_a_line_cut_off_is_left_out_and_a_bad_one_is_named(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    path = tmp_path / METRICS_FILE
    path.write_text('{"step": 1}\n{"ste')
    assert read_metrics(tmp_path) == [{"step": 1}]
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InvalidInput, match=r"metrics.jsonl:2: expected a JSON object, got 'nonsense'"):
        read_metrics(tmp_path)


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ImportError(name)
        return import_module(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidInput, match=r"tensorboard: expected the package \(pip install tensorboard\)"):
        MetricsLog(tmp_path, tensorboard=True)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_files_are_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=True)
    log.write(1, "train", {"loss": 1.0})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events*"))
