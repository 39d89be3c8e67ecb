"""A data set of episodes as samples by index."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np

from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.training.episode import SPLITS, Split, assemble
from alpamayo_ros.training.episode_file import DataSetError, EpisodeFile, IndexEntry
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.training.shards import read_index
from alpamayo_ros.types import InvalidInput, UInt8Array

_OPEN_FILES = 64


class EpisodeSamples:
    """The samples of one split, or of all (a sample.SampleSource), read from their files when asked for.

    They are in the order of the episodes' names, so an index means the same sample however the data set came
    about. Picklable, and safe to use in forked processes: files are only mapped.

    Args:
        folder: the data set.
        split: which part of it; None for the whole, to label or review it.

    Raises:
        DataSetError: for no data set, or one without a sample in this split.
    """

    def __init__(self, folder: Path, *, split: Split | None) -> None:
        if split is not None and split not in SPLITS:
            raise InvalidInput(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        self.folder, self.split = folder, split
        there = read_index(folder)
        entries = [entry for entry in there if split in (None, entry.split) and entry.samples]
        self.entries: tuple[IndexEntry, ...] = tuple(sorted(entries, key=lambda entry: entry.episode_id))
        if not self.entries:
            raise DataSetError(
                f"{folder}: expected samples of {f'split {split}' if split else 'any split'}, got none in "
                f"{len(there)} episodes"
            )
        self._ends = list(accumulate(entry.samples for entry in self.entries))
        self._open: OrderedDict[int, EpisodeFile] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> TrainingSample:
        """Return a sample; raises IndexError beyond the last, DataSetError for a file that is damaged."""
        file, row = self.place(index)
        moment = file.moment(row)
        frames, stamps_ns = file.frames(moment)
        return assemble(file.head, moment, frames, stamps_ns)

    def tags(self, index: int) -> Mapping[str, str]:
        """Return a sample's tags without reading its pictures."""
        file, row = self.place(index)
        return file.tags(row)

    def all_tags(self) -> Iterator[Mapping[str, str]]:
        """Yield the tags of all samples, in order; opens each file once."""
        for number in range(len(self.entries)):
            file = self._file(number)
            for row in range(len(file)):
                yield file.tags(row)

    def pictures(self) -> Iterator[UInt8Array]:
        """Yield all frames that samples show, once each: uint8 RGB [N, 3, h, w] of a camera of an episode."""
        for number in range(len(self.entries)):
            file = self._file(number)
            for camera_id in file.head.camera_ids:
                yield np.stack([decode_rgb(data) for data in file.all_frames(camera_id)])

    def verify(self) -> None:
        """Read all files; raises DataSetError for the first that is not the one that the index names."""
        for entry in self.entries:
            path = self.folder / entry.file
            if not path.is_file():
                raise DataSetError(f"{path}: expected the file of {entry.episode_id}, got none")
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != entry.sha256:
                raise DataSetError(f"{path}: expected SHA-256 {entry.sha256[:12]}…, got {found[:12]}…")

    def __getstate__(self) -> dict[str, object]:
        """Go to other processes without the open files."""
        return {**self.__dict__, "_open": OrderedDict()}

    def place(self, index: int) -> tuple[EpisodeFile, int]:
        """Return a sample's file and its row there; raises IndexError beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: sample {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        return self._file(number), index - (self._ends[number - 1] if number else 0)

    def _file(self, number: int) -> EpisodeFile:
        file = self._open.pop(number, None)
        if file is None:
            entry = self.entries[number]
            file = EpisodeFile(self.folder / entry.file)
            if len(file) != entry.samples:
                raise DataSetError(f"{file.path}: expected {entry.samples} samples, got {len(file)}")
        self._open[number] = file
        while len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)
        return file
