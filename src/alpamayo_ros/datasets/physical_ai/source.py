"""Where clips come from: the hub, what was fetched from it, or a folder laid out like it.

Imports the optional package: import this module behind package.require_package().
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from physical_ai_av import PhysicalAIAVDatasetInterface

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.names import INDEX_FILE, REPOSITORY
from alpamayo_ros.datasets.physical_ai.package import explained

DAMAGED_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError)
"""What reading an archive that is cut off or damaged leads to."""


class _Fetched(PhysicalAIAVDatasetInterface):
    """The package's interface held to what the hub's cache has: it never asks the hub."""

    def _load_metadata(self) -> None:
        self.is_offline_mode = True
        super()._load_metadata()


class _Folder(_Fetched):
    """The package's interface on a folder that holds the repository's files under their own names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        super().__init__(revision="folder", token=False)

    def _get_cached_path(self, filename: str) -> str | None:
        path = self._root / filename
        return str(path) if path.is_file() else None

    def download_file(self, filename: str, **_: Any) -> str:
        path = self._get_cached_path(filename)
        if path is None:
            raise FileNotFoundError(filename)
        return path


def open_hub(*, revision: str = "main", cache: Path | None = None) -> PhysicalAIAVDatasetInterface:
    """Return the data set on the hub, by the user's own login; metadata is downloaded (some 32 MB).

    Args:
        revision: branch, tag or commit; it is pinned to the commit, so that what is fetched stays together.
        cache: the hub's cache, its usual place if None.

    Raises:
        DatasetError: without a login that accepted the licence, a connection, or such a revision.
    """

    def make() -> PhysicalAIAVDatasetInterface:
        with explained("the data set's index"):
            commit = huggingface_hub.HfApi().repo_info(REPOSITORY, repo_type="dataset", revision=revision).sha
            return PhysicalAIAVDatasetInterface(
                revision=commit, cache_dir=cache, confirm_download_threshold_gb=float("inf")
            )

    return _opened(make, f"{REPOSITORY}, revision {revision}")


def open_fetched(*, revision: str = "", cache: Path | None = None) -> PhysicalAIAVDatasetInterface:
    """Return what was fetched of the data set; the hub is not asked.

    Args:
        revision: commit, or the beginning of one; the one fetched last if "".
        cache: the hub's cache, its usual place if None.

    Raises:
        DatasetError: where nothing was fetched.
    """
    place = Path(cache or huggingface_hub.constants.HF_HUB_CACHE)
    snapshots = place / f"datasets--{REPOSITORY.replace('/', '--')}" / "snapshots"
    known = sorted(snapshots.glob(f"*/{INDEX_FILE}"), key=lambda file: file.lstat().st_mtime)
    commits = [file.parent.name for file in known]
    chosen = [commit for commit in commits if commit.startswith(revision)]
    if not chosen:
        have = f"{', '.join(commits)} only" if commits else "nothing of it"
        wanted = f"revision {revision}" if revision else "something fetched"
        raise DatasetError(
            f"{REPOSITORY}: expected {wanted} in the hub's cache {place}, got {have}; "
            "`alpamayo dataset fetch CLIP` fetches"
        )
    return _opened(lambda: _Fetched(revision=chosen[-1], cache_dir=cache), str(snapshots / chosen[-1]))


def open_folder(root: Path) -> PhysicalAIAVDatasetInterface:
    """Return the data set in a folder with the repository's files (`hf download --local-dir` makes one).

    Raises:
        DatasetError: for a folder that does not hold the data set's index.
    """
    if not (root / INDEX_FILE).is_file():
        raise DatasetError(f"{root}: expected a folder with the data set's {INDEX_FILE}, got none in it")
    return _opened(lambda: _Folder(root), str(root))


def _opened(make: Callable[[], PhysicalAIAVDatasetInterface], place: str) -> PhysicalAIAVDatasetInterface:
    """Return what `make` makes; the package raises whatever missing or damaged metadata leads it to."""
    try:
        return make()
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(
            f"{place}: expected the data set's metadata (features.csv, {INDEX_FILE}, metadata/*.parquet), "
            f"got {type(error).__name__}: {error}"
        ) from error


def require_clip(dataset: PhysicalAIAVDatasetInterface, clip_id: str) -> None:
    """Raise DatasetError for a clip that the data set's index does not name."""
    if clip_id not in dataset.clip_index.index:
        raise DatasetError(
            f"clip {clip_id!r}: expected one of the {len(dataset.clip_index)} clips of {REPOSITORY}, got "
            "none of them (`alpamayo dataset list --ids` names some)"
        )


def has_feature(dataset: PhysicalAIAVDatasetInterface, clip_id: str, feature: str) -> bool:
    """Whether a clip has a feature, as the data set's own table says (a table without it: yes)."""
    presence = dataset.feature_presence
    if feature not in dataset.features.ALL:
        return False
    if feature not in presence.columns or clip_id not in presence.index:
        return True
    return bool(presence.at[clip_id, feature])


def read_members(
    dataset: PhysicalAIAVDatasetInterface, clip_id: str, feature: str, *, aliases: Collection[str]
) -> dict[str, bytes]:
    """Return files of a clip, alias -> bytes: from the chunk's archive where it is here, else one by one.

    Raises:
        DatasetError: for a file that is not here, or an archive that is cut off or damaged.
    """
    archive = dataset.features.get_chunk_feature_filename(dataset.get_clip_chunk(clip_id), feature)
    try:
        if dataset.is_file_cached(archive):
            names = dataset.features.get_clip_files_in_zip(clip_id, feature)
            with dataset.open_file(archive) as stream, zipfile.ZipFile(stream) as opened:
                return {alias: opened.read(names[alias]) for alias in aliases}
        paths = dataset.get_clip_feature_paths(clip_id, feature, members=list(aliases))
        return {alias: path.read_bytes() for alias, path in paths.items()}
    except FileNotFoundError as error:
        raise _not_here(clip_id, feature) from error
    except KeyError as error:
        raise DatasetError(f"{archive}: expected the files of clip {clip_id}, got none: {error}") from error
    except (*DAMAGED_ARCHIVE, OSError) as error:
        raise DatasetError(
            f"{archive}: expected a whole archive, got {error}; remove it and fetch it again"
        ) from error


def read_table(dataset: PhysicalAIAVDatasetInterface, clip_id: str, feature: str) -> Any:
    """Return what the package makes of a clip's calibration; raises DatasetError where it is not here."""
    with _readable(clip_id, feature):
        return dataset.get_clip_feature(clip_id, feature)


@contextmanager
def _readable(clip_id: str, feature: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _not_here(clip_id, feature) from error
    except Exception as error:  # pandas and pyarrow raise whatever the bytes lead them to
        raise DatasetError(
            f"clip {clip_id}: expected a readable {feature}, got {type(error).__name__}: {error}"
        ) from error


def _not_here(clip_id: str, feature: str) -> DatasetError:
    return DatasetError(
        f"clip {clip_id}: expected its {feature}, got none: it was not fetched: "
        f"`alpamayo dataset fetch {clip_id}` does so (see --cameras)"
    )
