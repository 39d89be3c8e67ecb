"""The file of a log: MCAP, one zstd chunk a record, and whole again after a disk that was full.

A record is on disk as soon as it was appended, so a process that is killed loses none; a file without its end
is read up to its last whole chunk. Where the disk takes no more, what is missing of the record waits, and
nothing is appended until it has been written: so no half a record ever stands between two others.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any, cast

from alpamayo_ros.audit.record import KINDS, NO_RECORD, Body, Entry, digest_of, schema_text

MIN_FREE_BYTES = 32 * 2**20
"""Free disk space at which the log stops: it must not be what fills the disk."""

TOPIC_PREFIX = "/audit/"
_PROFILE = ""


class _Pending:
    """A stream for the MCAP writer: takes everything, and writes it to a new file when told to."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._written = 0
        self.bytes = bytearray()

    def write(self, data: bytes) -> int:
        self.bytes += data
        return len(data)

    def tell(self) -> int:
        return self._written + len(self.bytes)

    def flush(self) -> None:
        """Do nothing, as the MCAP writer may ask for it at any time: `push` is what writes."""

    def push(self) -> None:
        """Write what waits; after an OSError the rest waits on."""
        while self.bytes:
            count = os.pwrite(self._fd, self.bytes, self._written)
            self._written += count
            del self.bytes[:count]

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class AuditFile:
    """A new log on disk. Not thread-safe.

    Args:
        path: of the file, which must not exist.
        min_free_bytes: space to leave on the disk.

    Raises:
        OSError: where it cannot be made.
    """

    def __init__(self, path: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
        from mcap.writer import CompressionType, Writer

        self.path = path
        self.records = 0
        self.head = NO_RECORD
        self._min_free_bytes = min_free_bytes
        self._require_space()
        self._stream = _Pending(path)
        # A chunk is finished with the first message that exceeds its size, so of none with every message.
        self._writer = Writer(cast(Any, self._stream), chunk_size=0, compression=CompressionType.ZSTD)
        self._writer.start(profile=_PROFILE)
        self._channels = {
            kind: self._writer.register_channel(
                topic=TOPIC_PREFIX + kind,
                message_encoding="json",
                schema_id=self._writer.register_schema(
                    name=f"alpamayo_ros.audit.{kind}", encoding="jsonschema", data=schema_text(kind)
                ),
            )
            for kind in KINDS
        }

    def append(self, body: Body) -> None:
        """Add a record and write it.

        Raises:
            OSError: where the disk does not take it. If `waits` was false before, the record waits for the
                next `push`; otherwise it is not part of the log.
            InvalidInput: for a record that cannot be encoded; then nothing has changed.
        """
        self.push()
        entry = Entry(self.records, self.head, time.time_ns(), body)
        data = entry.encode()
        stamp_ns = max(entry.stamp_ns, 0)
        self._writer.add_message(
            self._channels[entry.kind],
            log_time=stamp_ns,
            publish_time=stamp_ns,
            sequence=entry.sequence,
            data=data,
        )
        self.records += 1
        self.head = digest_of(data)
        self.push()

    @property
    def waits(self) -> bool:
        """Whether something has not been written yet."""
        return bool(self._stream.bytes)

    def push(self) -> None:
        """Write what waits; raises OSError where the disk does not take it."""
        if self._stream.bytes:
            self._require_space()
            self._stream.push()

    def sync(self) -> None:
        """Let the disk itself have it, for the case that the computer loses its power."""
        self._stream.sync()

    def close(self) -> None:
        """Write the index and close the file; raises OSError where it no longer fits (the rest is whole)."""
        try:
            self.push()
            self._writer.finish()
            self.push()
        finally:
            self._stream.close()

    def abandon(self) -> None:
        """Close the file as it is; a reader still finds every record that was written."""
        self._stream.close()

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < self._min_free_bytes:
            raise OSError(
                errno.ENOSPC,
                f"expected at least {self._min_free_bytes >> 20} MiB of free disk space, "
                f"got {free >> 20} MiB",
            )


def new_path(folder: Path, *, now_s: float | None = None) -> Path:
    """Return the path of a new log, e.g. audit_20260131T120000Z.mcap; with a number if it is taken."""
    stem = time.strftime("audit_%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    path, number = folder / f"{stem}.mcap", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}_{number}.mcap"
    return path
