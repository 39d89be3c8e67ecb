"""Recordings that nobody closed (a kill, a full disk): read them as they are, or complete them.

What such a file lacks, its summary, is computed by a scan. Reading puts it behind the file's whole part in
memory, and leaves the file alone; repair() writes it there.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.mcap_records import Summary
from alpamayo_ros.bags.mcap_scan import Scan, is_complete, scan, summary_of
from alpamayo_ros.bags.metadata import (
    METADATA_NAME,
    FileMetadata,
    TopicMetadata,
    metadata_yaml,
    write_metadata,
)

CUT_SUFFIX = ".cut"
"""Of the file that keeps what repair() cuts off."""

_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?\.mcap")


@dataclass(frozen=True)
class Repaired:
    """What became of a file.

    Attributes:
        name: of the file.
        was_complete: nothing was wanting.
        messages: that it holds.
        cut_bytes: how much could not be read at its end.
        problem: what was there.
        cut_is_kept: whether it lies beside the file (see CUT_SUFFIX); not if it was nothing but zeros.
    """

    name: str
    was_complete: bool
    messages: int
    cut_bytes: int = 0
    problem: str = ""
    cut_is_kept: bool = False


def parts_of(folder: Path) -> list[Path]:
    """Return the MCAP files of one recording in a folder, in order (NAME_0.mcap, NAME_1.mcap and so on).

    Of files that are not of one name (or of equal number), none: nobody knows what belongs together. Empty
    files do not count: a kill or a power cut leaves one where the next file was to begin.
    """
    found = []
    for path in _filled(folder):
        match = _NUMBERED.fullmatch(path.name)
        assert match is not None
        found.append((match[1], int(match[2] or 0), path))
    stems, numbers = {stem for stem, _, _ in found}, {number for _, number, _ in found}
    if len(stems) > 1 or len(numbers) < len(found):
        return []
    return [path for _, _, path in sorted(found)]


def readable(path: Path) -> Any:
    """Return what the rosbags library is to open in the place of an MCAP file or a folder of such files.

    Args:
        path: a file, a folder with metadata.yaml, or one without whose files parts_of() knows.

    Returns:
        `path` itself where nothing is wanting, else one that behaves as if it were complete.

    Raises:
        BagError: where a file is no recording at all.
    """
    if path.is_file():
        return path if is_complete(path) else _CompletedFile(scan(path))
    files = _filled(path)
    views = {file.name: _CompletedFile(scan(file)) for file in files if not is_complete(file)}
    if (path / METADATA_NAME).is_file():
        return _CompletedFolder(path, views, None) if views else path
    return _CompletedFolder(path, views, _metadata_of(parts_of(path), views))


def _filled(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.mcap") if path.stat().st_size]


def problems_of(opened: Any) -> dict[str, str]:
    """Return what readable() has completed: file -> what is at its end, "" where nothing is lost."""
    files = opened.files.values() if isinstance(opened, _CompletedFolder) else [opened]
    return {f.scan.path.name: f.scan.problem for f in files if isinstance(f, _CompletedFile)}


def repair(path: Path) -> list[Repaired]:
    """Complete the files of a recording, and write its metadata.yaml where that is missing.

    A second repair, or one that was itself interrupted, does no harm.

    Raises:
        BagError: where there is no MCAP recording, it is still being written, or the disk fails.
    """
    folder = None if path.is_file() else path
    files = [path] if folder is None else parts_of(folder) if folder.is_dir() else []
    if not files or any(file.suffix != ".mcap" for file in files):
        raise BagError(f"bag {path}: expected an MCAP file, or a folder with those of one recording")
    try:
        results = [_repair_file(file) for file in files]
        if folder is not None and not (folder / METADATA_NAME).is_file():
            write_metadata(folder, _metadata_of(files, {}))
    except OSError as error:
        raise BagError(f"bag {path}: expected a recording that can be written, got {error}") from error
    return results


def _repair_file(path: Path) -> Repaired:
    if is_complete(path):
        return Repaired(path.name, True, summary_of(path).message_count)
    with _locked(path) as file:
        whole = scan(path)
        file.seek(whole.data_end)
        rest = file.read()
        # An end that was written already (the index did not fit, the disk was full) holds no message.
        cut = rest if whole.problem else b""
        kept = bool(cut.strip(b"\0"))
        if kept:
            path.with_name(path.name + CUT_SUFFIX).write_bytes(cut)
        file.truncate(whole.data_end)
        file.seek(whole.data_end)
        file.write(whole.tail)
        file.flush()
        os.fsync(file.fileno())
    return Repaired(path.name, False, whole.summary.message_count, len(cut), whole.problem, kept)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file for changes; raises BagError while a writer has it open (see McapFile)."""
    with path.open("r+b") as file:
        try:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except BlockingIOError as error:
            raise BagError(f"bag {path}: expected a recording that has ended, got one in progress") from error
        except OSError:  # a file system without locks
            pass
        yield file


def _metadata_of(files: Sequence[Path], views: dict[str, _CompletedFile]) -> str:
    """Return metadata.yaml for files that lack it."""
    known: dict[tuple[str, str], TopicMetadata] = {}
    counts: Counter[tuple[str, str]] = Counter()
    described = []
    for path in files:
        view = views.get(path.name)
        summary = summary_of(path) if view is None else view.scan.summary
        described.append(_describe(path, summary))
        for channel in summary.channels.values():
            schema = summary.schemas.get(channel.schema_id)
            if schema is None:
                raise BagError(f"bag {path}: expected a type for {channel.topic}, got none")
            key = (channel.topic, schema.name)
            counts[key] += summary.counts[channel.id]
            qos = channel.metadata.get("offered_qos_profiles", "")
            known.setdefault(
                key,
                TopicMetadata(*key, qos, channel.metadata.get("topic_type_hash", ""), 0),
            )
    topics = [TopicMetadata(t.name, t.type_name, t.qos, t.rihs01, counts[k]) for k, t in known.items()]
    return metadata_yaml(topics, described)


def _describe(path: Path, summary: Summary) -> FileMetadata:
    return FileMetadata(path.name, summary.message_count, summary.start_ns or 0, summary.end_ns or 0)


class _Completed(io.RawIOBase):
    """A file's whole part, and behind it the end that it lacks."""

    def __init__(self, whole: Scan) -> None:
        self._file = whole.path.open("rb")
        self._data_end = whole.data_end
        self._tail = whole.tail
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._data_end + len(self._tail)}[whence]
        if base + offset < 0:
            raise OSError(22, "seek before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at < self._data_end:
            self._file.seek(self._at)
            data = self._file.read(min(len(buffer), self._data_end - self._at))
        else:
            data = self._tail[self._at - self._data_end :][: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _CompletedFile:
    """What rosbags asks of a file's path (its RPath)."""

    def __init__(self, whole: Scan) -> None:
        self.scan = whole
        self.stem, self.suffix = whole.path.stem, whole.path.suffix

    def __str__(self) -> str:
        return str(self.scan.path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    def open(self, *_: Any, **__: Any) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Completed(self.scan), 2**16))


class _CompletedFolder:
    """What rosbags asks of a folder's path; `metadata` None where it has its own."""

    def __init__(self, path: Path, files: dict[str, _CompletedFile], metadata: str | None) -> None:
        self.path = path
        self.files = files
        self._metadata = metadata
        self.stem, self.suffix = path.stem, path.suffix

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return True

    def __truediv__(self, name: PurePath | str) -> Any:
        if str(name) == METADATA_NAME and self._metadata is not None:
            return _Text(self._metadata)
        return self.files.get(str(name)) or self.path / name


class _Text:
    """A file that is only thought of."""

    def __init__(self, text: str) -> None:
        self._text = text

    def exists(self) -> bool:
        return True

    def read_text(self, encoding: str | None = None) -> str:
        return self._text
