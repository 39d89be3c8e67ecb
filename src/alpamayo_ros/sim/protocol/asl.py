"""AlpaSim's .asl logs: [length, four bytes big-endian][LogEntry] over and over.

Logs can be gigabytes, so entries are read and written one by one. A rollout that crashed leaves a log whose
last entry is cut off; what is whole before it is read all the same, then BrokenLog says where it ends.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, Message

from alpamayo_ros.sim.protocol.generated import logging_pb2
from alpamayo_ros.types import InvalidInput

try:
    from google.protobuf.unknown_fields import UnknownFieldSet
except ImportError:  # protobuf before 4.22: messages tell themselves

    def UnknownFieldSet(message: Message) -> Any:  # noqa: N802
        """Return the fields that a message was parsed with and its type does not have."""
        return message.UnknownFields()


LENGTH_BYTES = 4
MAX_ENTRY_BYTES = 2**31 - 1
"""Protobuf's own limit: a longer length is not one."""

_LENGTH = struct.Struct(">I")


class BrokenLog(InvalidInput):
    """A log that does not go on as one.

    Attributes:
        path: of the log.
        entry: number of the entry that is broken, from 0: as many before it are whole.
        offset_byte: where in the file it begins.
        cut_off: whether the file just ends too early, as a crash leaves it; else other bytes stand there.
    """

    def __init__(self, path: Path, expected_got: str, *, entry: int, offset_byte: int, cut_off: bool) -> None:
        super().__init__(f"log {path}: entry {entry} at byte {offset_byte}: {expected_got}")
        self.path, self.entry, self.offset_byte, self.cut_off = path, entry, offset_byte, cut_off


def write_entries(path: Path, entries: Iterable[logging_pb2.LogEntry]) -> None:
    """Write a log; the same entries give the same bytes."""
    with path.open("wb") as file:
        for entry in entries:
            data = entry.SerializeToString(deterministic=True)
            file.write(_LENGTH.pack(len(data)))
            file.write(data)


def read_entries(path: Path) -> Iterator[logging_pb2.LogEntry]:
    """Yield a log's entries, one in memory at a time.

    Raises:
        InvalidInput: for what is no file, cannot be read, or is empty.
        BrokenLog: an InvalidInput, after the last whole entry of a log that is cut off or holds other bytes.
    """
    if not path.is_file():
        raise InvalidInput(f"log: expected an .asl file, got {path}{'' if path.exists() else ' (not there)'}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidInput(f"log {path}: expected a file to read, got {error.strerror}") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise InvalidInput(f"log {path}: expected entries, got an empty file")
        number = offset = 0
        while offset < size:
            rest = size - offset - LENGTH_BYTES
            problem, cut_off = "", True
            head = file.read(LENGTH_BYTES)
            length = _LENGTH.unpack(head)[0] if len(head) == LENGTH_BYTES else 0
            if len(head) < LENGTH_BYTES:
                problem = f"expected {LENGTH_BYTES} bytes of length, got the last {len(head)} of the file"
            elif not 1 <= length <= MAX_ENTRY_BYTES:  # zeros: a crash can leave them too
                problem = f"expected a length of 1 ... {MAX_ENTRY_BYTES} bytes, got {length}"
                cut_off = False
            elif length > rest:
                problem = f"expected {length} bytes, got the last {rest} of the file"
            if problem:
                raise BrokenLog(path, problem, entry=number, offset_byte=offset, cut_off=cut_off)
            try:
                entry = logging_pb2.LogEntry.FromString(file.read(length))
            except DecodeError as error:
                problem = f"expected a LogEntry of {length} bytes, got other bytes"
                raise BrokenLog(path, problem, entry=number, offset_byte=offset, cut_off=False) from error
            yield entry
            number, offset = number + 1, offset + LENGTH_BYTES + length


def unknown_fields(message: Message) -> list[str]:
    """Return the paths of all fields, at any depth, that a message holds and its type does not know.

    A path is like "render_request.dynamic_objects[2].pose_pair.17": the last part is the unknown field's
    number. A message parsed by a wrong or too old .proto looks empty otherwise.
    """
    return list(_unknown(message, ""))


def _unknown(message: Message, path: str) -> Iterator[str]:
    for field in UnknownFieldSet(message):
        yield f"{path}{field.field_number}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        name = f"{path}{descriptor.name}"
        if isinstance(value, Message):
            yield from _unknown(value, f"{name}.")
        else:
            for index, item in enumerate(value):
                yield from _unknown(item, f"{name}[{index}].")
