"""Several data sets as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path

from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import Split
from alpamayo_ros.training.episode_file import DataSetError
from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.training.shards import read_index
from alpamayo_ros.types import InvalidInput, UInt8Array


class JoinedSamples:
    """Data sets behind each other (a sample.SampleSource).

    Args:
        sources: at least one.

    Raises:
        InvalidInput: for none.
    """

    def __init__(self, sources: Sequence[EpisodeSamples]) -> None:
        if not sources:
            raise InvalidInput("sources: expected at least one, got none")
        self._sources = tuple(sources)
        self._ends = list(accumulate(len(source) for source in self._sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> TrainingSample:
        """Return a sample; raises IndexError beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        return self._sources[number][index - (self._ends[number - 1] if number else 0)]

    def all_tags(self) -> Iterator[Mapping[str, str]]:
        """Yield the tags of all samples, in order."""
        return chain.from_iterable(source.all_tags() for source in self._sources)

    def pictures(self) -> Iterator[UInt8Array]:
        """Yield all frames that samples show, as EpisodeSamples.pictures does."""
        return chain.from_iterable(source.pictures() for source in self._sources)


def open_joined(folders: Sequence[Path], *, split: Split) -> JoinedSamples:
    """Return the samples of a split of all folders; a folder may lack the split, if another has it.

    Raises:
        DataSetError: for what is no data set, none with samples of this split, or an episode that is in two.
    """
    sources: list[EpisodeSamples] = []
    owners: dict[str, Path] = {}
    refused: DataSetError | None = None
    for folder in folders:
        read_index(folder)  # which refuses what is no data set: lacking the split alone is forgiven
        try:
            source = EpisodeSamples(folder, split=split)
        except DataSetError as error:
            refused = error
            continue
        for entry in source.entries:
            if entry.episode_id in owners:
                both = f"{entry.episode_id}, which is in {owners[entry.episode_id]}, too"
                raise DataSetError(f"{folder}: expected episodes that no other data set has, got {both}")
            owners[entry.episode_id] = folder
        sources.append(source)
    if not sources:
        raise refused or InvalidInput("data: expected at least one folder, got none")
    return JoinedSamples(sources)
