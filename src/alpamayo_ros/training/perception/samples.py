"""Pictures of one instant with what is about then, from a data set of simulated episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from alpamayo_ros.sim.observations import decode_rgb
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import Split
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.perception.surroundings import SceneReader, Surroundings
from alpamayo_ros.types import UInt8Array


@dataclass(frozen=True, eq=False)
class Sight:
    """The newest picture of each camera, uint8 RGB [C, 3, h, w], and what is about."""

    frames: UInt8Array
    surroundings: Surroundings


class SightSource(Protocol):
    """Sights by index; `camera_ids` are Alpamayo's, in the order of the pictures."""

    @property
    def camera_ids(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sight: ...


class Sights:
    """Sights of a data set's simulated episodes, by index; what is about is worked out once each.

    Args:
        folder: the data set's.
        split: which part of it.

    Attributes:
        camera_ids: Alpamayo's, in the order of the pictures.

    Raises:
        DataSetError: for no data set, or one without simulated episodes in this split.
    """

    def __init__(self, folder: Path, *, split: Split) -> None:
        self._samples = EpisodeSamples(folder, split=split)
        of_simulation = [entry.seed is not None for entry in self._samples.entries]
        counts = [entry.samples for entry in self._samples.entries]
        self._indices = np.flatnonzero(np.repeat(of_simulation, counts))
        if not len(self._indices):
            raise DataSetError(f"{folder}: expected simulated episodes in split {split}, got none")
        self.camera_ids = self._samples.place(int(self._indices[0]))[0].head.camera_ids
        self._readers: dict[str, SceneReader] = {}
        self._known: dict[int, Surroundings] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sight:
        """Return a sight; raises IndexError beyond the last, DataSetError for a damaged file."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self._samples.folder}: sight {index} of {len(self)}")
        file, row = self._samples.place(int(self._indices[index]))
        moment = file.moment(row)
        if index not in self._known:
            scene_id = file.head.scene_id
            if scene_id not in self._readers:
                self._readers[scene_id] = SceneReader(scene_id)
            self._known[index] = self._readers[scene_id].read(moment)
        frames = np.stack([decode_rgb(data) for data in file.newest_frames(moment)])
        return Sight(frames, self._known[index])
