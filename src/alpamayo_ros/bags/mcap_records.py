"""MCAP's records as bytes, and the summary that a file ends with (https://mcap.dev/spec).

Ours, not the mcap package's: recording must work where only what package.xml names is installed.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
PREFIX = struct.Struct("<BQ")
"""Opcode and length before each record."""
MESSAGE_HEAD = struct.Struct("<BQHIQQ")
"""Prefix, channel, sequence, log time and publish time of a message."""
MESSAGE_HEAD_BYTES = MESSAGE_HEAD.size - PREFIX.size
FOOTER_BYTES = PREFIX.size + 20
COMPRESSIONS = ("zstd", "lz4", "none")

_U64 = struct.Struct("<Q")
_CHUNK_HEAD = struct.Struct("<QQQI")


@dataclass(frozen=True)
class Schema:
    """A message type: its id in the file, name, encoding ("ros2msg") and definition."""

    id: int
    name: str
    encoding: str
    data: bytes = field(repr=False)

    def pack(self) -> bytes:
        """Return the record."""
        return record(
            SCHEMA, struct.pack("<H", self.id) + text(self.name) + text(self.encoding) + sized(self.data)
        )

    @classmethod
    def parse(cls, body: bytes) -> Schema:
        """Return the schema of a record's body."""
        cursor = Cursor(body)
        return cls(cursor.number(2), cursor.text(), cursor.text(), cursor.sized())


@dataclass(frozen=True)
class Channel:
    """A topic: its id in the file, its schema's id, and its metadata (QoS, type hash)."""

    id: int
    schema_id: int
    topic: str
    encoding: str
    metadata: Mapping[str, str]

    def pack(self) -> bytes:
        """Return the record."""
        ids = struct.pack("<HH", self.id, self.schema_id)
        return record(CHANNEL, ids + text(self.topic) + text(self.encoding) + text_map(self.metadata))

    @classmethod
    def parse(cls, body: bytes) -> Channel:
        """Return the channel of a record's body."""
        cursor = Cursor(body)
        ids = cursor.number(2), cursor.number(2)
        return cls(*ids, cursor.text(), cursor.text(), cursor.text_map())


@dataclass(frozen=True)
class Chunk:
    """A compressed run of records: the extremes of its messages' log times, size, checksum and bytes."""

    start_ns: int
    end_ns: int
    size: int
    crc: int
    compression: str
    data: bytes = field(repr=False)

    def head(self) -> bytes:
        """Return the record but its data, which end it: a chunk is large, and so not copied."""
        head = _CHUNK_HEAD.pack(self.start_ns, self.end_ns, self.size, self.crc)
        body = head + text(self.compression) + _U64.pack(len(self.data))
        return PREFIX.pack(CHUNK, len(body) + len(self.data)) + body

    @classmethod
    def parse(cls, body: bytes) -> Chunk:
        """Return the chunk of a record's body."""
        cursor = Cursor(body, _CHUNK_HEAD.size)
        if len(body) < _CHUNK_HEAD.size:
            raise ValueError("a chunk that ends early")
        start_ns, end_ns, whole, crc = _CHUNK_HEAD.unpack_from(body)
        compression, size = cursor.text(), cursor.number(8)
        return cls(start_ns, end_ns, whole, crc, compression, cursor.take(size))

    def records(self) -> bytes:
        """Return the records in it; raises ValueError where they are damaged."""
        try:
            data = decompress(self.data, self.compression)
        except Exception as error:  # each library has its own
            raise ValueError(f"a chunk that cannot be unpacked ({error})") from error
        if len(data) != self.size or (self.crc and zlib.crc32(data) != self.crc):
            raise ValueError("a chunk whose checksum is not that of its content")
        return data


@dataclass(frozen=True)
class ChunkIndex:
    """Where a chunk lies and what is in it; `offsets` channel id -> place of its message index."""

    start_ns: int
    end_ns: int
    offset: int
    length: int
    offsets: Mapping[int, int]
    index_length: int
    compression: str
    compressed_size: int
    size: int

    def pack(self) -> bytes:
        """Return the record."""
        return record(
            CHUNK_INDEX,
            struct.pack("<QQQQ", self.start_ns, self.end_ns, self.offset, self.length)
            + id_map(self.offsets)
            + _U64.pack(self.index_length)
            + text(self.compression)
            + struct.pack("<QQ", self.compressed_size, self.size),
        )


def message_index(channel_id: int, entries: Iterable[tuple[int, int]]) -> bytes:
    """Return the record of a channel's messages in the chunk before it: log time, place in the chunk."""
    packed = b"".join(struct.pack("<QQ", stamp, offset) for stamp, offset in entries)
    return record(MESSAGE_INDEX, struct.pack("<HI", channel_id, len(packed)) + packed)


def metadata(name: str, values: Mapping[str, str]) -> bytes:
    """Return a record of texts."""
    return record(METADATA, text(name) + text_map(values))


def header(library: str) -> bytes:
    """Return what a file begins with."""
    return MAGIC + record(HEADER, text("ros2") + text(library))


def without_summary() -> bytes:
    """Return the end of a file that has no summary: it is read from its front."""
    footer = PREFIX.pack(FOOTER, 20) + struct.pack("<QQ", 0, 0)
    return record(DATA_END, struct.pack("<I", 0)) + footer + struct.pack("<I", zlib.crc32(footer)) + MAGIC


@dataclass
class Summary:
    """What is known of a file's data: all that its summary section tells.

    Attributes:
        counts: channel id -> messages.
        start_ns, end_ns: extremes of the log times; None without a message.
        metadata_indexes: place, length and name of each metadata record.
    """

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    start_ns: int | None = None
    end_ns: int | None = None
    metadata_indexes: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def message_count(self) -> int:
        """Messages in the file."""
        return sum(self.counts.values())

    def add_times(self, start_ns: int, end_ns: int) -> None:
        """Widen the extremes."""
        self.start_ns = start_ns if self.start_ns is None else min(self.start_ns, start_ns)
        self.end_ns = end_ns if self.end_ns is None else max(self.end_ns, end_ns)

    def tail(self, at: int) -> bytes:
        """Return everything from the end of the data on, of a file whose data end at byte `at`."""
        end = record(DATA_END, struct.pack("<I", 0))
        start = at + len(end)
        groups = (
            (SCHEMA, b"".join(s.pack() for s in self.schemas.values())),
            (CHANNEL, b"".join(c.pack() for c in self.channels.values())),
            (STATISTICS, self._statistics()),
            (CHUNK_INDEX, b"".join(c.pack() for c in self.chunks)),
            (
                METADATA_INDEX,
                b"".join(
                    record(METADATA_INDEX, struct.pack("<QQ", offset, length) + text(name))
                    for offset, length, name in self.metadata_indexes
                ),
            ),
        )
        body, offsets = b"".join(packed for _, packed in groups), b""
        place = start
        for opcode, packed in groups:
            if packed:
                offsets += record(SUMMARY_OFFSET, struct.pack("<BQQ", opcode, place, len(packed)))
            place += len(packed)
        # The checksum covers the summary and the footer up to itself.
        covered = body + offsets + PREFIX.pack(FOOTER, 20) + struct.pack("<QQ", start, place)
        return end + covered + struct.pack("<I", zlib.crc32(covered)) + MAGIC

    def _statistics(self) -> bytes:
        return record(
            STATISTICS,
            struct.pack(
                "<QHIIIIQQ",
                self.message_count,
                len(self.schemas),
                len(self.channels),
                0,
                len(self.metadata_indexes),
                len(self.chunks),
                self.start_ns or 0,
                self.end_ns or 0,
            )
            + id_map(self.counts),
        )


class Cursor:
    """Reads a record's body from the front; what goes beyond its end raises ValueError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise ValueError(f"a record that ends {size - len(part)} bytes early")
        self._at += size
        return part

    def number(self, size: int) -> int:
        """Return an unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def sized(self) -> bytes:
        """Return bytes with their length before them."""
        return self.take(self.number(4))

    def text(self) -> str:
        """Return a text."""
        return self.sized().decode()

    def text_map(self) -> dict[str, str]:
        """Return a map of texts."""
        inner = Cursor(self.sized())
        found = {}
        while inner._at < len(inner._data):
            key = inner.text()
            found[key] = inner.text()
        return found


def records_in(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield place, opcode and body of each record of a chunk; raises ValueError where one is cut off."""
    at, end = 0, len(data)
    while at < end:
        if end - at < PREFIX.size:
            raise ValueError("a chunk that ends within a record")
        opcode, size = PREFIX.unpack_from(data, at)
        if at + PREFIX.size + size > end:
            raise ValueError("a chunk that ends within a record")
        yield at, opcode, data[at + PREFIX.size : at + PREFIX.size + size]
        at += PREFIX.size + size


def record(opcode: int, body: bytes) -> bytes:
    """Return a record."""
    return PREFIX.pack(opcode, len(body)) + body


def text(value: str) -> bytes:
    """Return a text with its length."""
    return sized(value.encode())


def sized(value: bytes) -> bytes:
    """Return bytes with their length."""
    return struct.pack("<I", len(value)) + value


def text_map(values: Mapping[str, str]) -> bytes:
    """Return a map of texts."""
    return sized(b"".join(text(key) + text(value) for key, value in values.items()))


def id_map(values: Mapping[int, int]) -> bytes:
    """Return a map of channel ids to numbers."""
    return sized(b"".join(struct.pack("<HQ", key, value) for key, value in sorted(values.items())))


def compress(data: bytes, compression: str) -> bytes:
    """Return `data` packed by "zstd", "lz4", or as it is by ""."""
    if compression == "zstd":
        return bytes(_zstd().compress(data, level=1))
    if compression == "lz4":
        import lz4.frame

        return bytes(lz4.frame.compress(data))
    return data


def decompress(data: bytes, compression: str) -> bytes:
    """Return `data` unpacked; raises what the library raises, ValueError for an unknown compression."""
    if compression == "zstd":
        return bytes(_zstd().decompress(data))
    if compression == "lz4":
        import lz4.frame

        return bytes(lz4.frame.decompress(data))
    if compression:
        raise ValueError(f"compression {compression!r}")
    return data


def _zstd():  # type: ignore[no-untyped-def]
    """Return the standard library's module, or its backport, which rosbags needs too."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
