"""The framing of .asl files: entries, each behind its length in four bytes, big-endian."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from alpamayo_ros.sim.protocol.generated import logging_pb2
from alpamayo_ros.types import InvalidInput

_LENGTH = struct.Struct(">I")


def write_entries(path: Path, entries: Iterable[logging_pb2.LogEntry]) -> None:
    """Write a log."""
    with path.open("wb") as file:
        for entry in entries:
            data = entry.SerializeToString(deterministic=True)
            file.write(_LENGTH.pack(len(data)))
            file.write(data)


def read_entries(path: Path) -> Iterator[logging_pb2.LogEntry]:
    """Yield a log's entries.

    Raises:
        InvalidInput: for what is no file, is cut off, or holds other bytes.
    """
    if not path.is_file():
        raise InvalidInput(f"log: expected an .asl file, got {path}")
    with path.open("rb") as file:
        count = 0
        while head := file.read(_LENGTH.size):
            if len(head) == _LENGTH.size:
                (length,) = _LENGTH.unpack(head)
                data = file.read(length)
            if len(head) < _LENGTH.size or len(data) < length:
                raise InvalidInput(f"log {path}: expected whole entries, got one cut off after {count}")
            try:
                yield logging_pb2.LogEntry.FromString(data)
            except DecodeError as error:
                raise InvalidInput(
                    f"log {path}: expected a LogEntry, got other bytes after {count}"
                ) from error
            count += 1
