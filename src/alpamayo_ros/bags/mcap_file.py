"""Writes one MCAP file in chunks that are whole on disk within a second, whatever becomes of the process.

Two chunks are open at a time: one for topics whose bytes are compressed already, stored as they are, and one
for everything else, compressed. JPEG shrinks by less than a hundredth, so compressing it costs time in
writing and in every reading, for nothing.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alpamayo_ros import __version__
from alpamayo_ros.bags.mcap_records import (
    COMPRESSIONS,
    MESSAGE,
    MESSAGE_HEAD,
    MESSAGE_HEAD_BYTES,
    Channel,
    Chunk,
    ChunkIndex,
    Schema,
    Summary,
    compress,
    header,
    message_index,
    metadata,
)
from alpamayo_ros.types import InvalidInput

CHUNK_BYTES = 2**20
LIVE_CHUNK_NS = 500_000_000
"""For recordings in progress, which a kill may end."""


@dataclass(frozen=True)
class ChunkOptions:
    """How a file is cut into chunks; what is in an unfinished one is lost with the process.

    Attributes:
        compression: "zstd", "lz4" or "none", of topics that are not compressed already.
        max_bytes: at which a chunk is finished.
        max_ns: of wall time after which a chunk is finished (by the next message, or by flush_due); 0 for no
            limit, so that equal messages make equal files.
    """

    compression: str = "zstd"
    max_bytes: int = CHUNK_BYTES
    max_ns: int = 0

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise InvalidInput(
                f"compression: expected one of {', '.join(COMPRESSIONS)}, got {self.compression!r}"
            )
        if self.max_bytes < 1 or self.max_ns < 0:
            raise InvalidInput(
                f"chunks: expected a positive size and no negative time, got {self.max_bytes} bytes, "
                f"{self.max_ns} ns"
            )


def is_compressed(type_name: str) -> bool:
    """Whether messages of a type hold bytes that are compressed already: images, video, point clouds."""
    return type_name.rpartition("/")[2].startswith("Compressed")


class _OpenChunk:
    """A chunk that messages are still added to."""

    def __init__(self, compression: str) -> None:
        self.compression = compression
        self.parts: list[bytes | memoryview] = []
        self.size = 0
        self.messages: dict[int, list[tuple[int, int]]] = {}
        self.begun_ns = 0

    def add(self, channel_id: int, log_ns: int, publish_ns: int, data: bytes | memoryview) -> None:
        self.messages.setdefault(channel_id, []).append((log_ns, self.size))
        length = MESSAGE_HEAD_BYTES + len(data)
        self.parts += (MESSAGE_HEAD.pack(MESSAGE, length, channel_id, 0, log_ns, publish_ns), data)
        self.size += MESSAGE_HEAD.size + len(data)

    def clear(self) -> None:
        self.parts, self.messages, self.size = [], {}, 0


class McapFile:
    """A new MCAP file of ROS 2 messages; close() it for an index.

    Args:
        path: of the file, which must not exist.
        options: how it is cut into chunks.
        clock_ns: a monotonic clock.

    Attributes:
        summary: of what is on disk.
        size: bytes on disk.

    Raises:
        OSError: where it cannot be made or written; then the file ends with its last whole chunk.
    """

    def __init__(
        self,
        path: Path,
        *,
        options: ChunkOptions | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.path = path
        self.summary = Summary()
        self.size = 0
        self._options = options or ChunkOptions()
        self._clock_ns = clock_ns
        self._stored = _OpenChunk("")
        packed = "" if self._options.compression == "none" else self._options.compression
        self._packed = _OpenChunk(packed)
        self._of_channel: dict[int, _OpenChunk] = {}
        self._file = path.open("xb", buffering=0)
        try:
            self._lock()
            self._append(header(f"alpamayo_ros {__version__}"))
        except BaseException:
            self._file.close()
            raise

    @property
    def pending_bytes(self) -> int:
        """Bytes of messages that are not on disk yet."""
        return self._stored.size + self._packed.size

    @property
    def message_count(self) -> int:
        """Messages on disk and in open chunks."""
        waiting = sum(len(m) for c in (self._stored, self._packed) for m in c.messages.values())
        return self.summary.message_count + waiting

    def add(self, schema: Schema, channel: Channel) -> None:
        """Write a topic, before its first message."""
        new = b"" if schema.id in self.summary.schemas else schema.pack()
        self._append(new + channel.pack())
        self.summary.schemas[schema.id] = schema
        self.summary.channels[channel.id] = channel
        self._of_channel[channel.id] = self._stored if is_compressed(schema.name) else self._packed

    def write(self, channel_id: int, log_ns: int, publish_ns: int, data: bytes | memoryview) -> None:
        """Add a message; writes a chunk where that fills one, or one has become old."""
        chunk = self._of_channel[channel_id]
        if not chunk.parts:
            chunk.begun_ns = self._clock_ns()
        chunk.add(channel_id, log_ns, publish_ns, data)
        if chunk.size >= self._options.max_bytes:
            self._finish(chunk)
        self.flush_due()

    def flush_due(self) -> None:
        """Write the chunks that have been open for as long as they may."""
        if not self._options.max_ns:
            return
        now_ns = self._clock_ns()
        for chunk in (self._stored, self._packed):
            if chunk.parts and now_ns - chunk.begun_ns >= self._options.max_ns:
                self._finish(chunk)

    def flush(self) -> None:
        """Write what is in open chunks, each that fits; raises OSError if one does not."""
        error: OSError | None = None
        for chunk in (self._stored, self._packed):
            try:
                if chunk.parts:
                    self._finish(chunk)
            except OSError as full:
                error = full
        if error is not None:
            raise error

    def close(self, rosbag2_metadata: str = "") -> None:
        """Write the metadata as rosbag2 stores it in a file, and the index; flush() comes before.

        The file is closed whatever happens: without an index where OSError is raised.
        """
        packed = metadata("rosbag2", {"serialized_metadata": rosbag2_metadata})
        place = (self.size, len(packed), "rosbag2")
        self.summary.metadata_indexes.append(place)
        try:
            self._append(packed + self.summary.tail(self.size + len(packed)))
        except OSError:
            self.summary.metadata_indexes.remove(place)
            raise
        finally:
            self._file.close()

    def _finish(self, chunk: _OpenChunk) -> None:
        records = b"".join(chunk.parts)
        compression, data = chunk.compression, compress(records, chunk.compression)
        if len(data) >= len(records):
            compression, data = "", records
        stamps = [stamp for entries in chunk.messages.values() for stamp, _ in entries]
        start_ns, end_ns = min(stamps), max(stamps)
        head = Chunk(start_ns, end_ns, len(records), zlib.crc32(records), compression, data).head()
        length = len(head) + len(data)
        offsets, indexes, place = {}, [], self.size + length
        for channel_id, entries in chunk.messages.items():
            offsets[channel_id] = place
            indexes.append(message_index(channel_id, entries))
            place += len(indexes[-1])
        index = ChunkIndex(
            start_ns,
            end_ns,
            self.size,
            length,
            offsets,
            place - self.size - length,
            compression,
            len(data),
            len(records),
        )
        counts = {channel_id: len(entries) for channel_id, entries in chunk.messages.items()}
        chunk.clear()  # if it does not fit, it is lost; a second attempt would write it behind later ones
        self._append(head, data, b"".join(indexes))
        self.summary.chunks.append(index)
        self.summary.counts.update(counts)
        self.summary.add_times(start_ns, end_ns)

    def _append(self, *parts: bytes) -> None:
        """Write all of `parts`, or nothing that stays."""
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[self._file.write(view) :]
        except OSError:
            os.ftruncate(self._file.fileno(), self.size)
            self._file.seek(self.size)
            raise
        self.size += sum(map(len, parts))

    def _lock(self) -> None:
        """Hold the file for as long as it is open, so that nobody repairs it meanwhile; see recovery.py."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a file system without locks
            return
