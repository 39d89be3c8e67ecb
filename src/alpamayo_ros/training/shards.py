"""A data set of episodes: their files beside an index.

    DIR/dataset.json           format and settings: one data set, one kind of pictures
    DIR/index.jsonl            one line an episode: file, size, SHA-256, how many samples, split, tags
    DIR/episodes/ID.safetensors

Files (episode_file.py) and index lines are written whole: whatever kills a run, what the index names is
there, and an episode that it does not name is made again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.training.episode_file import FORMAT, DataSetError, IndexEntry

SETTINGS_FILE, INDEX_FILE = "dataset.json", "index.jsonl"
_LOCK_FILE = ".writing"


def read_index(folder: Path) -> tuple[IndexEntry, ...]:
    """Return the index's lines; a last one that was cut off while it was written counts as absent.

    Raises:
        DataSetError: for no data set, or a line that is none.
    """
    settings = folder / SETTINGS_FILE
    if not settings.is_file():
        raise DataSetError(f"{folder}: expected a data set with {SETTINGS_FILE}, got none")
    found = json.loads(settings.read_text("utf-8")).get("format")
    if found != FORMAT:
        raise DataSetError(f"{settings}: expected format {FORMAT!r}, got {found!r}")
    index = folder / INDEX_FILE
    if not index.is_file():
        return ()
    text = index.read_text("utf-8")
    entries: dict[str, IndexEntry] = {}
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            entry = IndexEntry(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataSetError(
                f"{index}: line {number}: expected an episode's entry, got: {error}"
            ) from error
        entries[entry.episode_id] = entry
    return tuple(entries.values())


class DataSetWriter:
    """A data set that is being made; made by open_writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        entries = read_index(folder)
        self._rewrite(entries)
        self.done: dict[str, IndexEntry] = {entry.episode_id: entry for entry in entries}

    def lacks(self, episode_id: str) -> bool:
        """Return whether an episode is to be made: not in the index, or its file gone or of another size."""
        entry = self.done.get(episode_id)
        if entry is None:
            return True
        file = self.folder / entry.file
        return not file.is_file() or file.stat().st_size != entry.size_bytes

    def add(self, entry: IndexEntry) -> None:
        """Put an episode whose file is written into the index."""
        with (self.folder / INDEX_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done[entry.episode_id] = entry

    def _rewrite(self, entries: Sequence[IndexEntry]) -> None:
        """Drop a line that was cut off, and earlier lines of an episode that was made again."""
        index = self.folder / INDEX_FILE
        text = "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
        if index.is_file() and index.read_text("utf-8") == text:
            return
        unfinished = index.with_name(f".{index.name}.{os.getpid()}")
        unfinished.write_text(text, "utf-8")
        unfinished.replace(index)


@contextmanager
def open_writer(folder: Path, settings: Mapping[str, Any]) -> Iterator[DataSetWriter]:
    """Yield the writer of a new data set, or of one that is gone on with; nobody else writes there meanwhile.

    Args:
        folder: made if need be.
        settings: JSON of what all episodes have in common; those of bags have less of it than simulated ones.

    Raises:
        DataSetError: for a folder that cannot be written, one that another run writes, one with other files
            in it, or a data set of other settings.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK_FILE).open("w")
    except OSError as error:
        raise DataSetError(f"{folder}: expected a folder that can be written, got: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataSetError(f"{folder}: expected nobody else to write here, got another run") from error
        _settle(folder, settings)
        yield DataSetWriter(folder)


def _settle(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write a new data set's settings, or compare with those of the one that is there."""
    file = folder / SETTINGS_FILE
    if not file.is_file():
        others = sorted(path.name for path in folder.iterdir() if path.name != _LOCK_FILE)
        if others:
            raise DataSetError(
                f"{folder}: expected an empty folder or a data set, got {', '.join(others[:5])}"
            )
        write_json(file, {"format": FORMAT, "settings": dict(settings)})
        return
    there = json.loads(file.read_text("utf-8"))
    if there.get("format") != FORMAT:
        raise DataSetError(f"{file}: expected format {FORMAT!r}, got {there.get('format')!r}")
    known, wanted = there["settings"], json.loads(json.dumps(settings))
    other = [name for name in sorted({*known} & {*wanted}) if known[name] != wanted[name]]
    if other:
        told = "; ".join(f"{name} {known[name]!r}, not {wanted[name]!r}" for name in other)
        raise DataSetError(f"{folder}: expected the settings that this data set was begun with: {told}")
    if not {*wanted} <= {*known}:
        write_json(file, {"format": FORMAT, "settings": {**known, **wanted}})
