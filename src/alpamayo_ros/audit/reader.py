"""Read a log from its beginning, as far as it goes: also after a kill, and past a record that is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.audit.record import Entry, digest_of
from alpamayo_ros.audit.store import TOPIC_PREFIX
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from mcap.records import Message

_MAX_RECORD_BYTES = 256 * 2**20


class AuditError(InvalidInput):
    """A log that cannot be read or compared; the message names the log, expected and got."""


@dataclass(frozen=True, eq=False)
class StoredEntry:
    """A record as it stands in the file.

    Attributes:
        topic, log_time_ns: of its MCAP message; "" and 0 where there is none.
        sha256: of its bytes; "" where they cannot be read.
        entry: what it says; None where it cannot be read, and `problem` says why.
    """

    topic: str
    log_time_ns: int
    sha256: str
    entry: Entry | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class LogContent:
    """What a log holds.

    Attributes:
        path: of the log.
        records: in the order of the file.
        problem: why reading ended before the file's end, e.g. because it has none; "" otherwise.
    """

    path: Path
    records: tuple[StoredEntry, ...]
    problem: str


def read_log(path: str | Path) -> LogContent:
    """Return all of a log that can be read.

    Raises:
        AuditError: where there is no file, or none of its records can be read.
    """
    path = Path(path)
    records: list[StoredEntry] = []
    problem = ""
    try:
        for stored in _records(path):
            records.append(stored)  # noqa: PERF402 -- what came before an error stays
    except OSError as error:
        raise AuditError(f"{path}: expected a log, got {error}") from error
    except Exception as error:  # a file that was cut off ends in any of the library's errors
        problem = f"{type(error).__name__}: {error}".removesuffix(": ")
    if not any(stored.entry for stored in records):
        raise AuditError(f"{path}: expected an audit log (MCAP), got {problem or 'no record of one'}")
    return LogContent(path, tuple(records), problem)


def _records(path: Path) -> Iterator[StoredEntry]:
    from mcap.records import Channel, Chunk, Message
    from mcap.stream_reader import StreamReader, breakup_chunk

    topics: dict[int, str] = {}
    with path.open("rb") as file:
        # From the front. The index is at the end, which may be missing, and is not part of the chain.
        reader = StreamReader(file, emit_chunks=True, record_size_limit=_MAX_RECORD_BYTES)
        for record in reader.records:
            parts = [record]
            if isinstance(record, Chunk):
                try:
                    parts = breakup_chunk(record, validate_crc=True)
                except Exception as error:  # of zstd, of the checksum, or of what was decompressed
                    yield StoredEntry("", 0, "", None, f"damaged: {error}")
                    continue
            for part in parts:
                if isinstance(part, Channel):
                    topics[part.id] = part.topic
                elif isinstance(part, Message):
                    yield _stored(topics.get(part.channel_id, ""), part)


def _stored(topic: str, message: Message) -> StoredEntry:
    entry, problem = None, ""
    try:
        entry = Entry.decode(message.data)
        if topic != TOPIC_PREFIX + entry.kind:
            problem = f"expected on {TOPIC_PREFIX}{entry.kind}, got on {topic or 'no topic'}"
        elif message.log_time != max(entry.stamp_ns, 0):
            problem = f"log time: expected {entry.stamp_ns} ns as in the record, got {message.log_time} ns"
    except InvalidInput as error:
        problem = str(error)
    return StoredEntry(topic, message.log_time, digest_of(message.data), entry, problem)
