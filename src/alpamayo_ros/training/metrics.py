"""Where a run's figures go: JSON lines always, TensorBoard on request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpamayo_ros.training.losses import LossParts
from alpamayo_ros.types import InvalidInput

METRICS_FILE = "metrics.jsonl"


class Averages:
    """Means over many batches, each weighted by its number of terms."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, parts: LossParts) -> None:
        """Take in a batch's means."""
        for name, mean in parts.means.items():
            count = parts.counts[name]
            self._sums[name] = self._sums.get(name, 0.0) + mean * count
            self._counts[name] = self._counts.get(name, 0) + count

    def means(self) -> dict[str, float]:
        """Return the means of all that was taken in."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}


class MetricsLog:
    """Writes one line a record: {"step": …, "kind": "train" or "held_out", figures…}.

    Args:
        folder: where `metrics.jsonl` and TensorBoard's files go.
        resumed_at: records of later steps are taken out first: the run will write them again.
        tensorboard: write TensorBoard's event files, too.

    Raises:
        InvalidInput: where TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, resumed_at: int = 0, tensorboard: bool = False) -> None:
        self._path = folder / METRICS_FILE
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InvalidInput(
                    "tensorboard: expected the package (pip install tensorboard), got none"
                ) from error
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1)
        kept = [record for record in read_metrics(folder) if record["step"] <= resumed_at]
        self._file = self._path.open("w", encoding="utf-8")
        for record in kept:
            self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def write(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
        """Write one record; it is on disk when this returns."""
        self._file.write(json.dumps({"step": step, "kind": kind, **figures}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return a run's records; [] where there are none yet. A last line that was cut off is left out."""
    path = folder / METRICS_FILE
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):  # no newline behind it: the process ended while it wrote
                break
            raise InvalidInput(f"{path}:{number}: expected a JSON object, got {line[:60]!r}") from error
    return records
