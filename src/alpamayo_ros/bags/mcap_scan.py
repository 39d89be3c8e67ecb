"""Reads an MCAP file from its front, as far as it goes: what is whole, and the summary that it lacks."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.mcap_records import (
    CHANNEL,
    CHUNK,
    DATA_END,
    FOOTER,
    FOOTER_BYTES,
    HEADER,
    MAGIC,
    MESSAGE,
    MESSAGE_INDEX,
    METADATA,
    PREFIX,
    SCHEMA,
    STATISTICS,
    Channel,
    Chunk,
    ChunkIndex,
    Cursor,
    Schema,
    Summary,
    message_index,
    records_in,
    without_summary,
)

_MESSAGE = struct.Struct("<HIQ")
"""Channel, sequence and log time, with which a message begins."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What is whole of a file.

    Attributes:
        path: of the file.
        summary: of the whole part.
        data_end: where the whole part ends.
        problem: why it ends there, "" at the file's own end.
        loose: whether there are messages that no index tells of; such a file can only be read in sequence.
        indexes: message indexes that the last chunk lacks.
    """

    path: Path
    summary: Summary
    data_end: int
    problem: str
    loose: bool
    indexes: bytes

    @property
    def tail(self) -> bytes:
        """What the file would have after its data, had it been closed."""
        if self.loose:
            return self.indexes + without_summary()
        return self.indexes + self.summary.tail(self.data_end + len(self.indexes))


def is_complete(path: Path) -> bool:
    """Whether an MCAP file ends as one that was closed; raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < len(MAGIC) + FOOTER_BYTES + len(MAGIC):
            return False
        file.seek(size - FOOTER_BYTES - len(MAGIC))
        end = file.read()
    return end.endswith(MAGIC) and PREFIX.unpack_from(end) == (FOOTER, FOOTER_BYTES - PREFIX.size)


def scan(path: Path) -> Scan:
    """Read all of a file's data section, checksums included, up to the first record that is not whole.

    Raises:
        BagError: where the file does not begin as a recording of ROS 2.
    """
    try:
        with path.open("rb") as file:
            return _Scanner(path, file).run()
    except OSError as error:
        raise BagError(f"bag {path}: expected a file that can be read, got {error}") from error


def summary_of(path: Path) -> Summary:
    """Return what a file's own summary tells, or, where it has none that tells all, what a scan does.

    Raises:
        BagError: where the file cannot be read.
    """
    try:
        if is_complete(path) and (told := _told_summary(path)) is not None:
            return told
    except (OSError, ValueError) as error:
        raise BagError(f"bag {path}: expected a readable summary, got {error}") from error
    return scan(path).summary


def _told_summary(path: Path) -> Summary | None:
    """Return schemas, channels and statistics of a complete file; None where it lacks some."""
    with path.open("rb") as file:
        footer_at = file.seek(-(FOOTER_BYTES + len(MAGIC)), os.SEEK_END)
        (start,) = struct.unpack_from("<Q", file.read(FOOTER_BYTES), PREFIX.size)
        if not 0 < start <= footer_at:
            return None
        file.seek(start)
        data = file.read(footer_at - start)
    summary, counted = Summary(), None
    for _, opcode, body in records_in(data):
        if opcode == SCHEMA:
            schema = Schema.parse(body)
            summary.schemas[schema.id] = schema
        elif opcode == CHANNEL:
            channel = Channel.parse(body)
            summary.channels[channel.id] = channel
        elif opcode == STATISTICS:
            count, *_, start_ns, end_ns = struct.unpack_from("<QHIIIIQQ", body)
            counted = count
            summary.counts.update(dict(struct.iter_unpack("<HQ", body[struct.calcsize("<QHIIIIQQ") + 4 :])))
            if count:
                summary.add_times(start_ns, end_ns)
    known = counted is not None and counted == summary.message_count
    return summary if known and summary.counts.keys() <= summary.channels.keys() else None


class _Scanner:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._summary = Summary()
        self._loose = False
        self._chunk: _ScannedChunk | None = None

    def run(self) -> Scan:
        self._file.seek(0)
        begin = self._file.read(len(MAGIC) + PREFIX.size)
        if begin[: len(MAGIC)] != MAGIC or begin[len(MAGIC) : len(MAGIC) + 1] != bytes([HEADER]):
            raise BagError(f"bag {self._path}: expected an MCAP file, got another beginning")
        at, problem = len(MAGIC), ""
        try:
            body = self._body(at, HEADER)
            profile = Cursor(body).text()
            if profile != "ros2":
                raise BagError(f"bag {self._path}: expected a recording of ROS 2, got profile {profile!r}")
            at += PREFIX.size + len(body)
            while at < self._size:
                opcode, length = self._prefix(at)
                if opcode == DATA_END:
                    break
                self._take(opcode, at, length)
                at += PREFIX.size + length
        except (ValueError, UnicodeDecodeError) as error:
            if isinstance(error, BagError):
                raise
            problem = str(error)
        indexes = b""
        if self._chunk is not None and not self._chunk.is_indexed:
            at = self._chunk.end
            indexes = self._chunk.make_indexes()
        self._end_chunk()
        return Scan(self._path, self._summary, at, problem, self._loose, indexes)

    def _prefix(self, at: int) -> tuple[int, int]:
        self._file.seek(at)
        prefix = self._file.read(PREFIX.size)
        if len(prefix) != PREFIX.size:
            raise ValueError("a record that is cut off")
        opcode, length = PREFIX.unpack(prefix)
        if opcode == 0:
            raise ValueError("zeros")
        if at + PREFIX.size + length > self._size:
            raise ValueError("a record that is cut off")
        return opcode, length

    def _body(self, at: int, opcode: int) -> bytes:
        found, length = self._prefix(at)
        if found != opcode:
            raise ValueError(f"record {found} instead of {opcode}")
        return self._file.read(length)

    def _take(self, opcode: int, at: int, length: int) -> None:
        """Note a record of the data section; raises ValueError where it is damaged."""
        if opcode != MESSAGE_INDEX:
            self._end_chunk()
        if opcode == CHUNK:
            self._chunk = _ScannedChunk(at, length, self._file.read(length), self._summary)
        elif opcode == MESSAGE_INDEX:
            if self._chunk is not None:
                self._chunk.indexed(Cursor(self._file.read(length)).number(2), at, PREFIX.size + length)
        elif opcode == SCHEMA:
            schema = Schema.parse(self._file.read(length))
            self._summary.schemas[schema.id] = schema
        elif opcode == CHANNEL:
            channel = Channel.parse(self._file.read(length))
            self._summary.channels[channel.id] = channel
        elif opcode == MESSAGE:
            self._loose = True
            channel_id, _, log_ns = _MESSAGE.unpack(self._file.read(_MESSAGE.size))
            self._summary.counts[channel_id] += 1
            self._summary.add_times(log_ns, log_ns)
        elif opcode == METADATA:
            name = Cursor(self._file.read(length)).text()
            self._summary.metadata_indexes.append((at, PREFIX.size + length, name))

    def _end_chunk(self) -> None:
        if self._chunk is not None:
            self._loose |= not self._chunk.is_indexed
            self._summary.chunks.append(self._chunk.index())
            self._chunk = None


class _ScannedChunk:
    """A chunk whose message indexes may still follow."""

    def __init__(self, at: int, length: int, body: bytes, summary: Summary) -> None:
        self._at, self._length = at, PREFIX.size + length
        self._entries: dict[int, list[tuple[int, int]]] = {}
        chunk = Chunk.parse(body)
        self._chunk = chunk
        self._compressed_size = len(chunk.data)
        self._offsets: dict[int, int] = {}
        self._index_length = 0
        schemas, channels = [], []
        for place, opcode, content in records_in(chunk.records()):
            if opcode == MESSAGE:
                channel_id, _, log_ns = _MESSAGE.unpack_from(content)
                self._entries.setdefault(channel_id, []).append((log_ns, place))
            elif opcode == SCHEMA:
                schemas.append(Schema.parse(content))
            elif opcode == CHANNEL:
                channels.append(Channel.parse(content))
        # Nothing of a chunk that is damaged is noted.
        summary.schemas.update({s.id: s for s in schemas})
        summary.channels.update({c.id: c for c in channels})
        summary.counts.update({k: len(entries) for k, entries in self._entries.items()})
        if self._entries:
            summary.add_times(chunk.start_ns, chunk.end_ns)

    @property
    def end(self) -> int:
        """Where it ends, and its message indexes begin."""
        return self._at + self._length

    @property
    def is_indexed(self) -> bool:
        """Whether the messages of each of its channels are indexed behind it."""
        return self._offsets.keys() == self._entries.keys()

    def make_indexes(self) -> bytes:
        """Return all its message indexes, to stand directly behind it, and count on them."""
        self._offsets, self._index_length = {}, 0
        packed = []
        for channel_id, entries in self._entries.items():
            packed.append(message_index(channel_id, entries))
            self.indexed(channel_id, self.end + self._index_length, len(packed[-1]))
        return b"".join(packed)

    def indexed(self, channel_id: int, at: int, length: int) -> None:
        """Note that the messages of a channel are indexed there."""
        self._offsets[channel_id] = at
        self._index_length += length

    def index(self) -> ChunkIndex:
        """Return what the summary says of it."""
        chunk = self._chunk
        return ChunkIndex(
            chunk.start_ns,
            chunk.end_ns,
            self._at,
            self._length,
            self._offsets,
            self._index_length,
            chunk.compression,
            self._compressed_size,
            chunk.size,
        )
