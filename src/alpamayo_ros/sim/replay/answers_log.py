"""The replayed log with the driver's answers in place of the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alpamayo_ros.sim.protocol.asl import BrokenLog, read_entries, write_entries
from alpamayo_ros.sim.protocol.generated import logging_pb2
from alpamayo_ros.sim.replay.session import SessionRecord
from alpamayo_ros.types import InvalidInput


def write_answers(path: Path, *, recorded: Path, record: SessionRecord, random_seed: int | None) -> None:
    """Write a log that our scores and `alpamayo asl` read: what was driven is as recorded, plans are new.

    Args:
        path: of the log to write.
        recorded: the log that was replayed; what a crash cut off of it is left out.
        record: of the session whose answers are taken. A drive() without an answer is left without one.
        random_seed: of the session, None for the recorded one.

    Raises:
        InvalidInput: where it cannot be written, or is the recorded log itself.
    """
    if path.exists() and path.samefile(recorded):
        raise InvalidInput(f"out: expected another file than the log that is replayed, got {path}")
    try:
        write_entries(path, _entries(recorded, record, random_seed))
    except OSError as error:
        raise InvalidInput(f"out: expected a file that can be written, got {path}: {error}") from error


def _entries(
    recorded: Path, record: SessionRecord, random_seed: int | None
) -> Iterator[logging_pb2.LogEntry]:
    step = 0
    try:
        for entry in read_entries(recorded):
            kind = entry.WhichOneof("log_entry")
            if kind == "driver_return":
                continue
            if kind == "driver_session_request" and random_seed is not None:
                entry.driver_session_request.random_seed = random_seed
            yield entry
            if kind == "driver_request":
                if step in record.answers:
                    yield logging_pb2.LogEntry(driver_return=record.answers[step])
                step += 1
    except BrokenLog as error:
        if not error.cut_off:
            raise
