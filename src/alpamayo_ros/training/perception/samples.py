"""Pictures of one instant with what is about then, from a data set of simulated episodes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import Split
from alpamayo_ros.training.perception.surroundings import SceneReader, Surroundings
from alpamayo_ros.training.shards import DataSetError, EpisodeFile
from alpamayo_ros.types import UInt8Array


@dataclass(frozen=True, eq=False)
class Sight:
    """The newest picture of each camera, uint8 RGB [C, 3, h, w], and what is about."""

    frames: UInt8Array
    surroundings: Surroundings


class Sights:
    """Sights of a data set's simulated episodes, by index; what is about is worked out once each.

    Args:
        folder: the data set's.
        split: which part of it.

    Raises:
        DataSetError: for no data set, or one without simulated episodes in this split.
    """

    def __init__(self, folder: Path, *, split: Split) -> None:
        samples = EpisodeSamples(folder, split=split)
        self.entries = tuple(entry for entry in samples.entries if entry.seed is not None)
        if not self.entries:
            raise DataSetError(f"{folder}: expected simulated episodes in split {split}, got none")
        self.folder = folder
        self._ends = list(accumulate(entry.samples for entry in self.entries))
        self._files: dict[int, EpisodeFile] = {}
        self._readers: dict[str, SceneReader] = {}
        self._known: dict[int, Surroundings] = {}

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sight:
        """Return a sight; raises IndexError beyond the last, DataSetError for a damaged file."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: sight {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        row = index - (self._ends[number - 1] if number else 0)
        entry = self.entries[number]
        if number not in self._files:
            self._files[number] = EpisodeFile(self.folder / entry.file)
        file = self._files[number]
        moment = file.moment(row)
        if index not in self._known:
            if entry.scene_id not in self._readers:
                self._readers[entry.scene_id] = SceneReader(entry.scene_id)
            self._known[index] = self._readers[entry.scene_id].read(moment)
        frames = np.stack([decode_rgb(data) for data in file.newest_frames(moment)])
        return Sight(frames, self._known[index])
