"""Fetch clips from the hub into its cache: their own files, or the whole chunks that hold them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.clip import require_features
from alpamayo_ros.datasets.physical_ai.names import (
    CALIBRATION,
    EGOMOTION,
    FRAME_TIMESTAMPS,
    REASONING_FILE,
    VIDEO,
    camera_feature,
)
from alpamayo_ros.datasets.physical_ai.package import explained
from alpamayo_ros.datasets.physical_ai.source import DAMAGED_ARCHIVE, require_clip

_SPARE_BYTES = 2 * 2**30
"""Disk space to leave free."""
_FEATURE_BYTES = 25 * 10**6
"""What one camera of one clip takes at most, as far as is known before it is fetched."""
_FILES_A_QUESTION = 200


@dataclass(frozen=True)
class Part:
    """Something to fetch: a file of the repository, or files of one clip out of a packed one.

    Attributes:
        file: in the repository.
        clip_id: "" for the whole file.
        feature: what it is of.
        aliases: of the clip's files.
    """

    file: str
    clip_id: str = ""
    feature: str = ""
    aliases: tuple[str, ...] = ()


def parts_of(
    dataset: Any, clip_ids: Sequence[str], *, camera_ids: Iterable[int], whole_chunks: bool
) -> tuple[Part, ...]:
    """Return what is to be fetched for clips: cameras, egomotion, calibration, and the reasoning table.

    Raises:
        DatasetError: for an unknown clip, or one without one of the cameras, egomotion or calibration.
    """
    ids = sorted(set(camera_ids))
    for clip_id in clip_ids:
        require_clip(dataset, clip_id)
        require_features(dataset, clip_id, ids)
    parts: dict[tuple[str, str], Part] = {}
    for clip_id in clip_ids:
        chunk = dataset.get_clip_chunk(clip_id)
        for feature in CALIBRATION:
            file = dataset.features.get_chunk_feature_filename(chunk, feature)
            parts.setdefault((file, ""), Part(file))
        packed: list[tuple[str, tuple[str, ...]]] = [(EGOMOTION, (EGOMOTION,))]
        packed += [(camera_feature(i), (VIDEO, FRAME_TIMESTAMPS)) for i in ids]
        for feature, aliases in packed:
            file = dataset.features.get_chunk_feature_filename(chunk, feature)
            part = Part(file) if whole_chunks else Part(file, clip_id, feature, aliases)
            parts.setdefault((file, part.clip_id), part)
    if _has_reasoning(dataset):
        parts.setdefault((REASONING_FILE, ""), Part(REASONING_FILE))
    return tuple(parts.values())


def fetch_reasoning(dataset: Any) -> None:
    """Fetch the reasoning table, if the revision has one; raises DatasetError without a connection."""
    if _has_reasoning(dataset):
        fetch_files(dataset, [Part(REASONING_FILE)])


def bytes_to_fetch(dataset: Any, parts: Sequence[Part]) -> tuple[int, int]:
    """Return bytes of the whole files among `parts`, and how many of them are not here yet.

    How large a clip's files within a packed one are is not known before they are fetched.

    Raises:
        DatasetError: for a file that the repository does not have, or without a connection.
    """
    files = [part.file for part in parts if not part.clip_id]
    with explained("sizes of files"):
        sizes = _sizes(dataset, files)
    missing = [file for file in files if file not in sizes]
    if missing:
        raise DatasetError(f"{missing[0]}: expected a file of the data set, got none in this revision")
    return sum(sizes.values()), sum(size for file, size in sizes.items() if not dataset.is_file_cached(file))


def require_space(dataset: Any, parts: Sequence[Part], *, missing_bytes: int) -> None:
    """Raise DatasetError unless the disk of the hub's cache has room for the parts, and some to spare.

    Args:
        dataset: of source.open_hub.
        parts: what is to be fetched.
        missing_bytes: of the whole files among them, of bytes_to_fetch.
    """
    needed_bytes = missing_bytes + _FEATURE_BYTES * sum(1 for part in parts if part.clip_id)
    place = Path(dataset.cache_dir or huggingface_hub.constants.HF_HUB_CACHE)
    there = next(folder for folder in (place, *place.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed_bytes + _SPARE_BYTES:
        raise DatasetError(
            f"{place}: expected {(needed_bytes + _SPARE_BYTES) / 1e9:.1f} GB of free disk space, got "
            f"{free / 1e9:.1f} GB (--cache chooses another place)"
        )


def fetch_files(dataset: Any, parts: Sequence[Part], *, bars: bool = False) -> int:
    """Fetch the whole files among the parts that are not here yet; return the bytes of all of them.

    Several at a time, by the package. What arrived whole stays.

    Args:
        dataset: of source.open_hub.
        parts: what to fetch.
        bars: whether the hub's client draws its own progress bars, by bytes.

    Raises:
        DatasetError: without access or connection.
    """
    files = [part.file for part in parts if not part.clip_id]
    missing = [file for file in files if not dataset.is_file_cached(file)]
    if missing:
        with explained(f"{len(missing)} files of the data set"), _progress_bars(shown=bars):
            dataset.download_files(missing)
    with explained("files of the data set"):
        return sum(Path(dataset.download_file(file)).stat().st_size for file in files)


def fetch_clips(
    dataset: Any, parts: Sequence[Part], *, progress: Callable[[int, int, str], None] = lambda *_: None
) -> int:
    """Fetch the clips' own files among the parts that are not here yet; return the bytes of all of them.

    Those whose whole file is here are not fetched: they are read out of it.

    Args:
        dataset: of source.open_hub.
        parts: what to fetch.
        progress: told how many parts are done, of how many, and what comes next.

    Raises:
        DatasetError: without access or connection, or for an archive that lacks the clip.
    """
    own = [part for part in parts if part.clip_id]
    size = 0
    for done, part in enumerate(own):
        progress(done, len(own), f"{part.feature} {part.clip_id[:8]}")
        if dataset.is_file_cached(part.file):
            continue
        with explained(part.file):
            try:
                paths = dataset.get_clip_feature_paths(
                    part.clip_id, part.feature, members=list(part.aliases), maybe_stream=True
                )
            except (KeyError, *DAMAGED_ARCHIVE) as error:
                raise DatasetError(
                    f"{part.file}: expected an archive with the files of clip {part.clip_id}, got {error}"
                ) from error
        size += sum(path.stat().st_size for path in paths.values())
    progress(len(own), len(own), "")
    return size


@contextmanager
def _progress_bars(*, shown: bool) -> Iterator[None]:
    """Show or hide the bars of the hub's client, which is asked for them for the whole process alone."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _has_reasoning(dataset: Any) -> bool:
    with explained(REASONING_FILE):
        return dataset.is_file_cached(REASONING_FILE) or bool(_sizes(dataset, [REASONING_FILE]))


def _sizes(dataset: Any, files: Sequence[str]) -> dict[str, int]:
    """Return file -> bytes of those that the repository has."""
    found: list[Any] = []
    for first in range(0, len(files), _FILES_A_QUESTION):
        some = list(files[first : first + _FILES_A_QUESTION])
        found += dataset.api.get_paths_info(paths=some, **dataset.repo_snapshot_info)
    return {info.path: int(info.size) for info in found if getattr(info, "size", None) is not None}
