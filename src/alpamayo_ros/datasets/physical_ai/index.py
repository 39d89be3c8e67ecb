"""Which clips there are: chosen by country, time of day, month, platform, split, cameras and reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.names import REASONING_FILE, camera_feature
from alpamayo_ros.types import InvalidInput

COLUMNS: tuple[str, ...] = ("country", "month", "hour_of_day", "platform_class", "split")
"""What the data set's tables tell of a clip, as far as a revision has it."""

_PLAIN = {"countries": "country", "platforms": "platform_class", "splits": "split"}
_CYCLES = {"hours": ("hour_of_day", 0, 23), "months": ("month", 1, 12)}


@dataclass(frozen=True)
class ClipFilter:
    """Which clips are wanted; what is left empty does not matter.

    Attributes:
        countries: as the data set writes them, upper or lower case.
        hours: first and last hour of the day, 0 ... 23; (22, 4) is a night.
        months: first and last month, 1 ... 12; (11, 2) is a winter.
        platforms: e.g. "hyperion_8.1".
        splits: e.g. "train", "val", "test".
        camera_ids: cameras that a clip must have.
        reasoning: only clips that the data set has reasoning for.

    Raises:
        InvalidInput: for hours or months out of range.
    """

    countries: tuple[str, ...] = ()
    hours: tuple[int, int] | None = None
    months: tuple[int, int] | None = None
    platforms: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    camera_ids: tuple[int, ...] = ()
    reasoning: bool = False

    def __post_init__(self) -> None:
        for name, (_, low, high) in _CYCLES.items():
            span = getattr(self, name)
            if span is not None and not all(low <= value <= high for value in span):
                raise InvalidInput(f"{name}: expected {low} ... {high}, got {span[0]}-{span[1]}")


def matching_clips(dataset: Any, wanted: ClipFilter) -> Any:
    """Return the clips that a filter lets through, without those that the data set marks as invalid.

    Args:
        dataset: of source.open_hub, open_fetched or open_folder.
        wanted: the filter.

    Returns:
        A pandas.DataFrame by clip id, in the index's order, with those of COLUMNS that the revision has.

    Raises:
        DatasetError: for a value that no clip has (the known ones are listed), or a column or the
            reasoning table that the revision lacks.
    """
    table = dataset.clip_index.join(
        dataset.data_collection[dataset.data_collection.columns.difference(dataset.clip_index.columns)]
    )
    chosen = table["clip_is_valid"].astype(bool) if "clip_is_valid" in table.columns else table["chunk"] >= 0
    for name, column in _PLAIN.items():
        values: Sequence[str] = getattr(wanted, name)
        if values:
            chosen &= _column(table, column).astype(str).str.lower().isin(_known(table, column, values))
    for name, (column, _, _) in _CYCLES.items():
        span = getattr(wanted, name)
        if span is not None:
            first, last = span
            numbers = _column(table, column)
            inside = (numbers >= first, numbers <= last)
            chosen &= (inside[0] & inside[1]) if first <= last else (inside[0] | inside[1])
    for camera_id in wanted.camera_ids:
        feature = camera_feature(camera_id)
        if feature in dataset.feature_presence.columns:
            chosen &= dataset.feature_presence[feature].reindex(table.index, fill_value=False).astype(bool)
    if wanted.reasoning:
        chosen &= table.index.isin(_with_reasoning(dataset))
    return table.loc[chosen, [column for column in COLUMNS if column in table.columns]]


def _column(table: Any, column: str) -> Any:
    if column not in table.columns:
        raise DatasetError(
            f"the data set's tables: expected a column {column}, got {', '.join(map(str, table.columns))}"
        )
    return table[column]


def _known(table: Any, column: str, values: Sequence[str]) -> set[str]:
    """Return wanted values in lower case; DatasetError names the first that no clip has."""
    there = sorted(set(_column(table, column).astype(str)))
    lower = {value.lower() for value in there}
    for value in values:
        if value.lower() not in lower:
            raise DatasetError(f"{column}: expected one of {', '.join(there)}, got {value!r}")
    return {value.lower() for value in values}


def _with_reasoning(dataset: Any) -> Any:
    import pandas

    from alpamayo_ros.datasets.physical_ai.clip import reasoning_events

    if not dataset.is_file_cached(REASONING_FILE):
        raise DatasetError(
            f"{REASONING_FILE}: expected the table, which this revision or folder does not have"
        )
    with dataset.open_file(REASONING_FILE) as stream:
        table = pandas.read_parquet(stream, columns=["events"])
    return table.index[[bool(reasoning_events(cell)) for cell in table["events"]]]
